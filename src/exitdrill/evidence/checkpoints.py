"""A run's checkpoints on disk: ``checkpoints/NUMBER-SIZE.txt``, and beside one its timestamp, ``NUMBER-SIZE.tsr``.

NUMBER counts from 0001 in the order they were made, SIZE is how many lines of the journal it covers. Both names are
for people; what counts is the signed text. The public halves of the keys are ``signer.pub``, ``signer-2.pub`` … in the
run's directory: for convenience, never as proof, because who can replace a checkpoint can replace them, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exitdrill.errors import EvidenceError
from exitdrill.evidence.checkpoint import Checkpoint, origin, parse_checkpoint
from exitdrill.evidence.note import NOTE_MAX_BYTES, Note, parse_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.transfer.layout import write_atomic

__all__ = ["StoredCheckpoint", "keep_public", "public_keys", "roots", "stored_checkpoints", "write_checkpoint"]

_NAME = re.compile(r"([0-9]{4,})-([0-9]+)\.txt")
_SIGNERS_MAX = 999


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One checkpoint of a run, read and not verified."""

    number: int
    path: Path
    data: bytes
    """The file's bytes: what a timestamp is about."""
    note: Note
    checkpoint: Checkpoint

    @property
    def token_path(self) -> Path:
        """Where its timestamp is, or would be."""
        return self.path.with_suffix(".tsr")


def stored_checkpoints(folder: Path) -> list[StoredCheckpoint]:
    """The checkpoints of a run, in the order they were made. Raises EvidenceError for a file that is none."""
    found = [(int(match[1]), path) for path in folder.glob("*.txt") if (match := _NAME.fullmatch(path.name))]
    return [_read(number, path) for number, path in sorted(found)]


def _read(number: int, path: Path) -> StoredCheckpoint:
    try:
        with path.open("rb") as file:
            data = file.read(NOTE_MAX_BYTES + 1)
    except OSError as exc:
        raise EvidenceError(f"cannot be read: {exc.strerror}", resource=path.name) from exc
    note = parse_note(data, path.name)
    return StoredCheckpoint(number, path, data, note, parse_checkpoint(note.text, path.name))


def roots(folder: Path, run_id: str) -> dict[int, bytes]:
    """What the journal's root must be at which size, by all checkpoints of a run.

    Raises:
        EvidenceError: A file is no checkpoint, belongs to another run, or two contradict one another.
    """
    found: dict[int, bytes] = {}
    for stored in stored_checkpoints(folder):
        point = stored.checkpoint
        if point.origin != origin(run_id):
            raise EvidenceError("a checkpoint of another run", resource=stored.path.name, expected=origin(run_id))
        if found.setdefault(point.size, point.root) != point.root:
            raise EvidenceError("contradicts another checkpoint of the same size", resource=stored.path.name)
    return found


def write_checkpoint(folder: Path, number: int, size: int, note: Note) -> Path:
    """Write one, durably. Raises NoSpaceError, ReadOnlyError."""
    path = folder / f"{number:04}-{size}.txt"
    write_atomic(path, note.to_bytes())
    return path


def _public_paths(directory: Path) -> Iterable[Path]:
    yield directory / "signer.pub"
    for number in range(2, _SIGNERS_MAX):
        yield directory / f"signer-{number}.pub"


def public_keys(directory: Path) -> list[PublicKey]:
    """The public keys that stand in a run's directory. Raises SigningError for a file that is none."""
    found = []
    for path in _public_paths(directory):
        if not path.exists():
            break
        found.append(PublicKey.load(path))
    return found


def keep_public(directory: Path, keys: Iterable[PublicKey]) -> None:
    """Put public keys into a run's directory that are not there yet. Raises NoSpaceError, ReadOnlyError."""
    known = {key.id for key in public_keys(directory)}
    free = (path for path in _public_paths(directory) if not path.exists())
    for key in keys:
        if key.id not in known:
            write_atomic(next(free), key.pem)
            known.add(key.id)
