"""Objects of the vault as a tree of files, with a manifest of what is which.

::

    <folder>/manifest.jsonl          a line an object: key, path, size, sha256, modified, etag, envelope
    <folder>/objects/ab/abcd…        an object, under the SHA-256 of its key
    <folder>/keys/…                  with names by key: an object, under its key where a file system can hold that

Rules. Every name is opened below its directory's descriptor, no symbolic link is followed, and no file that exists
is written to: nothing leads out of the folder, whatever the keys. A file whose bytes are not the right ones is
removed again. The manifest is there only when everything else is: it is called ``manifest.jsonl.new`` till then.
A key becomes a path only if that is asked for, and only as `exitdrill.transfer.rename` makes it harmless:
a segment of dots, an empty one, control characters and what is too long are escaped, ``%`` too. What then
still collides (``a`` with ``a/b``; names that differ in case, on a disk that ignores that) stays in ``objects``.
"""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from exitdrill.clock import format_utc
from exitdrill.errors import RunError, UsageError
from exitdrill.transfer.layout import disk_errors
from exitdrill.transfer.rename import target_key

__all__ = ["NAMES", "Exported", "Tree", "save"]

NAMES = ("hash", "key")
"""How files can be called."""
MANIFEST = "manifest.jsonl"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HASHED = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 64
_LONGEST_BYTES = 2048
_COPIES = 100
_LAST_SECOND = 2**34
_COLLIDES = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
)


@dataclass(frozen=True, slots=True)
class Exported:
    """One object, as the manifest names it."""

    key: str | None
    """None where only a ledger that is not at hand knows it."""
    hashed: str
    """The SHA-256 of the key."""
    size: int
    sha256: bytes | None
    modified: datetime | None
    etag: str | None
    envelope: str
    """As JSON."""

    def line(self, path: str | None, problem: str = "") -> bytes:
        """Its line in the manifest; ``path`` None with the problem why there is no file."""
        facts: dict[str, object] = {
            "key": self.key,
            "path": path,
            "size": self.size,
            "sha256": None if self.sha256 is None else self.sha256.hex(),
            "modified": None if self.modified is None else format_utc(self.modified),
            "etag": self.etag,
            "envelope": json.loads(self.envelope),
        }
        if problem:
            facts["problem"] = problem
        return json.dumps(facts).encode() + b"\n"


class Tree:
    """A folder being filled; a context manager.

    Args:
        folder: Made if it is not there; it must be empty.
        names: One of `NAMES`.
    """

    def __init__(self, folder: Path, names: str = "hash") -> None:
        """See the class. Raises UsageError if the folder cannot be made or is not empty."""
        if names not in NAMES:
            raise UsageError(f"no such way of naming: {names!r}", expected=f"one of: {', '.join(NAMES)}")
        self._folder, self._names = folder, names
        self.objects = self.size_bytes = self.problems = 0
        with ExitStack() as stack:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, self._root)
                with os.scandir(self._root) as there:
                    empty = not any(there)
                if empty:
                    self._manifest = stack.enter_context(os.fdopen(self._made(self._root, f"{MANIFEST}.new"), "wb"))
            except OSError as exc:
                raise UsageError(f"cannot be written to: {exc.strerror}", resource=str(folder)) from exc
            if not empty:
                raise UsageError("is not empty", resource=str(folder), hint="choose another folder: --to DIR")
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Let go of files. Without `finish` there is no manifest."""
        self._open.close()

    def add(self, what: Exported, chunks: Iterable[bytes]) -> str:
        """Write one object; nothing if it is there already, with the same bytes under the same hashed name.

        Args:
            what: Its facts.
            chunks: Its bytes. If they end with an error there is no file, and the error goes on.

        Returns:
            Its path in the folder.

        Raises:
            NoSpaceError, ReadOnlyError, RunError: The disk does not take it.
        """
        with self._writing():
            parts = self._parts(what)
            path = None if parts is None else self._write(parts, what, chunks)
            if path is None:
                path, made = self._write_hashed(what, chunks)
                if not made:
                    return path
            self._manifest.write(what.line(path))
        self.objects += 1
        self.size_bytes += what.size
        return path

    def note(self, what: Exported, problem: str) -> None:
        """Say in the manifest why an object that should be there is not."""
        self.remark(what, problem)
        self.problems += 1

    def remark(self, what: Exported, why: str) -> None:
        """Say in the manifest why an object is not there, and need not be."""
        with self._writing():
            self._manifest.write(what.line(None, why))

    def finish(self) -> None:
        """Everything is there: so is the manifest."""
        with self._writing():
            self._manifest.flush()
            os.fsync(self._manifest.fileno())
            os.rename(f"{MANIFEST}.new", MANIFEST, src_dir_fd=self._root, dst_dir_fd=self._root)

    def _parts(self, what: Exported) -> tuple[str, ...] | None:
        """The names on the way to a file named by its key; None where a hashed name is better."""
        if self._names != "key" or what.key is None:
            return None
        path = target_key("percent", "keys/", what.key)
        parts = tuple(path.split("/"))
        harmless = all(part not in ("", ".", "..") and "\0" not in part for part in parts)
        return parts if harmless and len(parts) <= _DEEPEST and len(path.encode()) <= _LONGEST_BYTES else None

    def _write(self, parts: tuple[str, ...], what: Exported, chunks: Iterable[bytes]) -> str | None:
        """Its path; None, and nothing of ``chunks`` read, if there cannot be such a file."""
        with ExitStack() as stack:
            try:
                folder = self._root
                for part in parts[:-1]:
                    folder = _below(folder, part)
                    stack.callback(os.close, folder)
                fd = self._made(folder, parts[-1])
            except OSError as exc:
                if exc.errno in _COLLIDES:
                    return None
                raise
            stack.callback(os.close, fd)
            try:
                _fill(fd, chunks, what.modified)
            except BaseException:
                os.unlink(parts[-1], dir_fd=folder)
                raise
        return "/".join(parts)

    def _write_hashed(self, what: Exported, chunks: Iterable[bytes]) -> tuple[str, bool]:
        """Its path, and whether it was made. Other bytes that have the name already stay, and these get a number."""
        if not _HASHED.fullmatch(what.hashed):
            msg = f"no SHA-256: {what.hashed!a}"
            raise ValueError(msg)
        for copy in range(1, _COPIES):
            name = what.hashed if copy == 1 else f"{what.hashed}.{copy}"
            parts = ("objects", what.hashed[:2], name)
            path = self._write(parts, what, chunks)
            if path is not None:
                return path, True
            if self._same(parts, what.sha256):
                return "/".join(parts), False
        raise RunError(f"more than {_COPIES} objects with the same key", resource=str(self._folder))

    def _same(self, parts: tuple[str, ...], sha256: bytes | None) -> bool:
        """Whether that file is there, with those bytes."""
        with ExitStack() as stack:
            folder = self._root
            for part in parts[:-1]:
                folder = os.open(part, _DIRECTORY, dir_fd=folder)
                stack.callback(os.close, folder)
            fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(fd, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == sha256

    def _made(self, folder: int, name: str) -> int:
        return os.open(name, _CREATE, 0o600, dir_fd=folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with disk_errors(str(self._folder)):
                yield
        except OSError as exc:
            raise RunError(f"cannot be written to: {exc.strerror}", resource=str(self._folder)) from exc


def save(path: Path, chunks: Iterable[bytes]) -> None:
    """Write one file, whole or not at all, replacing what is there; for the owner alone.

    Args:
        path: Where; the bytes are written beside it first.
        chunks: The bytes. If they end with an error there is no file, and the error goes on.

    Raises:
        UsageError: It cannot be written there.
        NoSpaceError, ReadOnlyError: The disk does not take it.
    """
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.new")
    try:
        with disk_errors(str(path)):
            fd = os.open(beside, _CREATE, 0o600)
            try:
                _fill(fd, chunks, None)
                os.fsync(fd)
                beside.replace(path)
            except BaseException:
                with suppress(OSError):
                    beside.unlink()
                raise
            finally:
                os.close(fd)
    except OSError as exc:
        raise UsageError(f"cannot be written: {exc.strerror}", resource=str(path)) from exc


def _below(folder: int, name: str) -> int:
    """A directory, made if needed. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    return os.open(name, _DIRECTORY, dir_fd=folder)


def _fill(fd: int, chunks: Iterable[bytes], modified: datetime | None) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
    if modified is not None:
        micros = (modified - _EPOCH) // timedelta(microseconds=1)
        if 0 <= micros < _LAST_SECOND * 1_000_000:
            os.utime(fd, ns=(micros * 1000, micros * 1000))
