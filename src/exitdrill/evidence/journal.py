"""The journal: what a run did and decided, in order, on disk before it is done.

One line of canonical JSON (RFC 8785) an event: ``n`` (from 0), ``utc``, ``elapsed_ns`` (drill time), ``session``,
``event`` and its facts. A line is fsynced before `record` returns. A crash can tear the last line only; the next
process cuts it off and says so in a line of its own. Canonical JSON has no whole numbers of 2**53 and more (and
104 days have that many nanoseconds): those are written as strings of digits, as RFC 7493 says. Nor has it halves of
surrogate pairs, which texts from outside may have: those are written out (`exitdrill.model.codec.utf8`).

The journal is a log as RFC 6962 has it: the bytes of each line, without its line end, are a leaf. While it is written
the right edge of the tree is kept; who opens it reads it from its start, and says what roots it must have had at
certain sizes. Those come from checkpoints, which are written after the lines they cover: a journal that lacks one of
those lines, or has another in its place, was altered.
"""

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import rfc8785

from exitdrill.clock import DrillClock, format_utc
from exitdrill.errors import EvidenceError
from exitdrill.evidence.merkle import Frontier
from exitdrill.model.codec import utf8
from exitdrill.model.journal import Json
from exitdrill.transfer.layout import disk_errors, fsync_directory

__all__ = ["Journal", "read_journal", "read_tree"]

_EXACT_MAX = 2**53 - 1
_LINE_MAX_BYTES = 64 * 1024 * 1024
"""No line of ours comes near it: a file that is one endless line must not fill the memory of who reads it."""
_ALTERED = "nothing can be proven by this run any more: keep its directory as it is, and find out who changed it"


class Journal:
    """An open journal; one process writes it at a time. Usable from several threads.

    Args:
        path: The file; made if it is not there.
        clock: The drill's clock.
        session: Which process of the run this is, from 1.
        roots: What the root of the tree must be at these sizes, by the checkpoints there are.

    Raises:
        EvidenceError: A line is none, or the journal is not the one whose roots are given.
    """

    def __init__(
        self, path: Path, clock: DrillClock, session: int = 1, roots: Mapping[int, bytes] | None = None
    ) -> None:
        """See the class. Repairs a torn last line."""
        self._clock, self._session, self._lock = clock, session, Lock()
        self._path = path
        # Compared before anything is cut off: of a journal that was altered, nothing is changed here.
        self._tree = read_tree(path, roots or {})
        torn = _repair(path) if path.exists() else 0
        with disk_errors(str(path)):
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fsync_directory(path.parent)
        if torn:
            self.record("journal repaired", torn_bytes=torn)

    def record(self, event: str, **facts: Json) -> None:
        """Append one event, durably. Raises NoSpaceError."""
        with self._lock:
            line = {
                **facts,
                "n": self._tree.size,
                "utc": format_utc(self._clock.clock.utc_now()),
                "elapsed_ns": self._clock.elapsed_ns,
                "session": self._session,
                "event": event,
            }
            leaf = rfc8785.dumps(_exact(line))
            data = leaf + b"\n"
            with disk_errors(str(self._path)):
                start = os.fstat(self._fd).st_size
                try:
                    left = memoryview(data)
                    while left:
                        left = left[os.write(self._fd, left) :]
                    os.fsync(self._fd)
                except OSError:
                    os.ftruncate(self._fd, start)
                    raise
            self._tree.append(leaf)

    def head(self) -> tuple[int, bytes]:
        """How many lines there are, and the root of the tree over them."""
        with self._lock:
            return self._tree.size, self._tree.root()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def _exact(value: Any) -> Any:
    """The value with whole numbers that JSON's doubles cannot hold as strings, and texts that UTF-8 can hold."""
    if isinstance(value, Mapping):
        return {utf8(name): _exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    if isinstance(value, int) and abs(value) > _EXACT_MAX:
        return str(value)
    return utf8(value) if isinstance(value, str) else value


def _repair(path: Path) -> int:
    """Cut a torn last line off; how many bytes it had."""
    with disk_errors(str(path)), path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        position = size
        while position > 0:
            step = min(65536, position)
            file.seek(position - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                position = position - step + found + 1
                break
            position -= step
        if position < size:
            file.truncate(position)
            os.fsync(file.fileno())
        return size - position


def read_journal(path: Path) -> Iterator[Mapping[str, Any]]:
    """The events of a journal, in order. Raises EvidenceError at a line that is none."""
    return (event for _, event in _lines(path))


def read_tree(path: Path, roots: Mapping[int, bytes] | None = None) -> Frontier:
    """The tree over a journal's whole lines.

    Args:
        path: The journal; without a file the tree is empty.
        roots: What its root must be at these sizes.

    Raises:
        EvidenceError: A line is none, or a root is another.
    """
    tree, roots = Frontier(), roots or {}
    _compare(path, tree, roots)
    for leaf, _ in _lines(path) if path.exists() else ():
        tree.append(leaf)
        _compare(path, tree, roots)
    if missing := [size for size in roots if size > tree.size]:
        raise EvidenceError(
            f"the journal was altered: it has {tree.size} lines, and a checkpoint says there were {max(missing)}",
            resource=path.name,
            hint=_ALTERED,
        )
    return tree


def _compare(path: Path, tree: Frontier, roots: Mapping[int, bytes]) -> None:
    expected = roots.get(tree.size)
    if expected is not None and tree.root() != expected:
        raise EvidenceError(
            f"the journal was altered: its first {tree.size} lines are not those that a checkpoint covers",
            resource=path.name,
            expected=f"root {b64encode(expected).decode()}",
            hint=_ALTERED,
        )


def _lines(path: Path) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """The whole lines without their ends, and what they say."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LINE_MAX_BYTES), b"")):
            if len(line) == _LINE_MAX_BYTES:
                raise EvidenceError("too long for a line", resource=f"{path.name}, line {number + 1}")
            if not line.endswith(b"\n"):
                return  # torn by a crash, or just being written
            try:
                event = json.loads(line)
            except (ValueError, RecursionError) as exc:
                raise EvidenceError("not a line of JSON", resource=f"{path.name}, line {number + 1}") from exc
            if not isinstance(event, dict) or event.get("n") != number:
                raise EvidenceError("not the next event", resource=f"{path.name}, line {number + 1}")
            yield line[:-1], event
