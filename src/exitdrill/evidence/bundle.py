"""The evidence bundle of a run: one file, ``evidence.zip``, that is checked without the run's directory.

What goes in is listed in `bundled`: plan, facts, journal, checkpoints with their timestamps, what was cut off, record,
verdict, reports, the statements, public keys, and inventory and ledger as they are. What does not: logs, work files,
state, reserve, lock, capabilities, whatever else somebody put there. Only files under names that this program gives are
read, and a symbolic link is refused, so that nothing from outside the directory gets in.

Rules. Files are copied in pieces; memory depends on the number of files alone. The file is there whole or not at all.
The same directory and the same deterministic keys (Ed25519 are) give the same bytes. The journal is closed and covered
by its last checkpoint before the statements are made, and these before the bundle: what the journal cannot hold is
therefore the statements' digests and the bundle's own.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO

from exitdrill import __version__
from exitdrill.clock import format_utc
from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse, statement
from exitdrill.evidence.checkpoint import Checkpoint
from exitdrill.evidence.index import INDEX, INDEX_TYPE, PAYLOAD, TAG_FILES, Index, Member, tag_files
from exitdrill.evidence.signers import Signer
from exitdrill.evidence.zipped import MEMBERS_MAX, Writer
from exitdrill.model import codec
from exitdrill.model.record import RunRecord
from exitdrill.plan.drill import DrillPlan
from exitdrill.transfer.layout import RunDirectory, disk_errors, fsync_directory

__all__ = [
    "BUNDLE",
    "DRILL_RESULT",
    "TEST_RESULT",
    "bound_files",
    "bundled",
    "files_digest",
    "is_bound",
    "manifests",
    "write_bundle",
]

BUNDLE = "evidence.zip"
DRILL_RESULT = "statements/drill-result.dsse.json"
TEST_RESULT = "statements/test-result.dsse.json"
_PIECE = 1024 * 1024
_FILES = ("plan.json", "run.json", "journal.jsonl", "record.json", "verdict.json", "cut.json", "early-cut.json")
_KINDS = {
    "": (r"signer(-[0-9]{1,3})?\.pub", r"report(-[a-z]{2,20}){0,2}\.(txt|md|html|json|pdf)"),
    "checkpoints": (r"[0-9]{4,9}-[0-9]{1,18}\.(txt|tsr)",),
}
_PARTS = {
    "inventory": (r"part-[0-9]{6}\.parquet", r"complete\.json", r"report\.json"),
    "ledger": (r"(evacuate|rebuild|readback)-[0-9]{6}\.parquet",),
}
_KEYS = "keys/"


def bundled(directory: Path) -> dict[str, Path]:
    """What of a run's directory goes into its bundle, by the path in ``data/``.

    Raises:
        EvidenceError: One of the files is none, or there are too many.
    """
    found = {name: directory / name for name in _FILES if (directory / name).exists()}
    for folder, rules in _KINDS.items():
        for path in _matching(directory / folder, rules):
            where = _KEYS if path.suffix == ".pub" else f"{folder}/" if folder else ""
            found[where + path.name] = path
    for kind, rules in _PARTS.items():
        for asset in sorted(p for p in (directory / kind).glob("*") if p.is_dir() and not p.is_symlink()):
            found |= {f"{kind}/{asset.name}/{path.name}": path for path in _matching(asset, rules)}
    if len(found) + len(TAG_FILES) + 3 > MEMBERS_MAX:
        raise EvidenceError(f"{len(found):,} files are too many for a bundle", expected=f"{MEMBERS_MAX:,} at most")
    return found


def _matching(folder: Path, rules: Sequence[str]) -> list[Path]:
    names = re.compile("|".join(f"(?:{rule})" for rule in rules))
    return sorted(path for path in folder.glob("*") if names.fullmatch(path.name))


def is_bound(name: str) -> bool:
    """Whether a file's digest is in the journal's last words: not the log's own files, nor what is made after it."""
    return name != "journal.jsonl" and not name.startswith(("checkpoints/", "keys/", "statements/"))


def files_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 for all files: of a line for each, as ``sha256sum`` writes it, by name."""
    lines = (f"{digests[name]}  {name}\n" for name in sorted(digests))
    return sha256("".join(lines).encode()).hexdigest()


def bound_files(directory: RunDirectory) -> tuple[int, str]:
    """How many files the journal's last words bind, and their `files_digest`. Raises EvidenceError."""
    digests: dict[str, str] = {}
    for name, path in bundled(directory.path).items():
        if is_bound(name):
            digest = sha256()
            with _opened(path) as (file, _):
                for piece in _pieces(file):
                    digest.update(piece)
            digests[name] = digest.hexdigest()
    return len(digests), files_digest(digests)


def write_bundle(
    directory: RunDirectory, plan: DrillPlan, head: Checkpoint, signers: Sequence[Signer]
) -> tuple[Path, str]:
    """Make the bundle of a run that has ended.

    Args:
        directory: The run's.
        plan: What was to be done.
        head: The last checkpoint: the journal as it is closed.
        signers: Who signs statements and index.

    Returns:
        Where it is, and its SHA-256.

    Raises:
        EvidenceError: A file is missing, is none or changed meanwhile.
        SigningError: A key does not sign.
        NoSpaceError, ReadOnlyError: It cannot be written.
        RunError: Record or verdict is none.
    """
    path = directory.path / BUNDLE
    beside = path.with_name(path.name + ".new")
    record, verdict = directory.record.read_bytes(), directory.verdict.read_bytes()
    measured = codec.load(RunRecord, record, "record.json")
    payloads = statement.statements(plan, record, verdict, head, manifests(measured))
    made = {
        name: statement.sign(payload, signers)
        for name, payload in zip((DRILL_RESULT, TEST_RESULT), payloads, strict=True)
    }
    when = format_utc(measured.ended_utc or measured.t0_utc)
    with disk_errors(str(path)):
        try:
            with beside.open("w+b") as file:
                _write(file, directory, made, when, signers)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = sha256()
                while piece := file.read(_PIECE):
                    digest.update(piece)
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)
    return path, digest.hexdigest()


def manifests(record: RunRecord) -> dict[str, bytes]:
    """The roots of the record, under the names by which the statement calls them."""
    places = ("source", "vault", "target")
    rooted = [(asset.name, asset.roots) for asset in record.assets if asset.roots is not None]
    pairs = [(f"manifest {name} {place}", getattr(roots, place).root) for name, roots in rooted for place in places]
    return {name: bytes.fromhex(root) for name, root in pairs if root}


def _write(
    file: IO[bytes], directory: RunDirectory, made: Mapping[str, bytes], when: str, signers: Sequence[Signer]
) -> None:
    writer, run = Writer(file), directory.id
    sources: dict[str, Path | bytes] = {**bundled(directory.path), **made}
    index = Index(run, when, __version__, tuple(_add(writer, run, name, sources[name]) for name in sorted(sources)))
    envelope = dsse.sign(INDEX_TYPE, index.to_bytes(), signers)
    tags = tag_files(index, envelope)
    for name, data in ((INDEX, envelope), *((name, tags[name]) for name in TAG_FILES)):
        writer.add(f"{run}/{name}", len(data), (data,), len)
    writer.end()


def _add(writer: Writer, run: str, name: str, source: Path | bytes) -> Member:
    digest, path = sha256(), PAYLOAD + name
    with _opened(source) as (file, size):
        writer.add(f"{run}/{path}", size, _pieces(file), digest.update)
    return Member(path, size, digest.hexdigest())


class _opened:  # noqa: N801 - read as a function
    """A source and its size; a file must be a plain one."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._file: IO[bytes] | None = None

    def __enter__(self) -> tuple[IO[bytes], int]:
        if isinstance(self._source, bytes):
            self._file = BytesIO(self._source)
            return self._file, len(self._source)
        try:
            fd = os.open(self._source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise EvidenceError(f"cannot be read: {exc.strerror}", resource=self._source.name) from exc
        self._file = os.fdopen(fd, "rb")
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            self._file.close()
            raise EvidenceError("not a plain file", resource=self._source.name)
        return self._file, facts.st_size

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
