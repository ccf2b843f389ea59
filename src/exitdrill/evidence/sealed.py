"""What a run's directory says of its own seal, for whoever holds it: which keys signed, and what is timestamped.

Nothing here is proof. The keys are those that stand in the directory itself; an auditor takes keys that came another
way.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from exitdrill.errors import EvidenceError, TimestampError
from exitdrill.evidence.checkpoint import origin
from exitdrill.evidence.checkpoints import StoredCheckpoint, public_keys, stored_checkpoints
from exitdrill.evidence.journal import read_tree
from exitdrill.evidence.note import verify_note
from exitdrill.evidence.timestamps import Token, read_token
from exitdrill.transfer.layout import RunDirectory

__all__ = ["SealState", "seal_state", "stored_token"]


@dataclass(frozen=True, slots=True)
class SealState:
    """How a run is sealed, by its directory."""

    checkpoints: int
    """How many there are."""
    covered: int
    """How many lines of the journal the newest covers."""
    lines: int
    """How many lines there are."""
    keys: tuple[str, ...]
    """The ids of the keys that signed the newest."""
    first_token: datetime | None
    """The time of the oldest timestamp."""
    last_token: datetime | None
    """The time of the newest."""
    tokens: int
    """How many checkpoints have one."""


def stored_token(stored: StoredCheckpoint) -> Token | None:
    """The timestamp beside a checkpoint, if there is one; not verified. Raises TimestampError if it is not about it."""
    try:
        data = stored.token_path.read_bytes()
    except FileNotFoundError:
        return None
    return read_token(data, stored.data, ())


def seal_state(path: Path) -> SealState:
    """How a run is sealed.

    Args:
        path: Its directory.

    Raises:
        EvidenceError: Journal, checkpoints or timestamps contradict one another.
        SigningError: A public key in the directory is none.
    """
    directory = RunDirectory(path)
    stored = stored_checkpoints(directory.checkpoints)
    name, keys = origin(directory.facts().run_id), public_keys(path)
    tree = read_tree(directory.journal, {one.checkpoint.size: one.checkpoint.root for one in stored})
    signed = [verify_note(one.note, name, keys, 1, one.path.name) for one in stored]
    try:
        tokens = [token for one in stored if (token := stored_token(one)) is not None]
    except TimestampError as error:
        raise EvidenceError(error.what, resource="checkpoints") from error
    return SealState(
        len(stored),
        stored[-1].checkpoint.size if stored else 0,
        tree.size,
        tuple(key.id for key in signed[-1]) if signed else (),
        tokens[0].at if tokens else None,
        tokens[-1].at if tokens else None,
        len(tokens),
    )
