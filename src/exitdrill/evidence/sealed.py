"""What a run's directory says of its own seal, for whoever holds it: which keys signed, and what is timestamped.

Nothing here is proof. The keys are those that stand in the directory itself; an auditor takes keys that came another
way. Signatures of timestamps are not checked here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from exitdrill.errors import EvidenceError, TimestampError
from exitdrill.evidence.checkpoint import origin
from exitdrill.evidence.checkpoints import StoredCheckpoint, public_keys, stored_checkpoints
from exitdrill.evidence.journal import read_journal, read_tree
from exitdrill.evidence.note import verify_note
from exitdrill.evidence.timestamps import TOKEN_MAX_BYTES, Token, read_token
from exitdrill.plan.stored import read_plan
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
        with stored.token_path.open("rb") as file:
            data = file.read(TOKEN_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise TimestampError(f"cannot be read: {exc.strerror}", resource=stored.token_path.name) from exc
    if len(data) > TOKEN_MAX_BYTES:
        raise TimestampError(f"larger than {TOKEN_MAX_BYTES} bytes", resource=stored.token_path.name)
    return read_token(data, stored.data, ())


def seal_state(path: Path) -> SealState:
    """How a run is sealed.

    Args:
        path: Its directory.

    Raises:
        EvidenceError: Journal, checkpoints, timestamps, plan, record or verdict contradict one another.
        SigningError: A public key in the directory is none.
    """
    directory = RunDirectory(path)
    stored = stored_checkpoints(directory.checkpoints)
    name, keys = origin(directory.facts().run_id), public_keys(path)
    tree = read_tree(directory.journal, {one.checkpoint.size: one.checkpoint.root for one in stored})
    _check_bound(directory)
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


def _check_bound(directory: RunDirectory) -> None:
    """Compare plan, record and verdict with what the journal says of them. Raises EvidenceError, RunError."""
    closed: Mapping[str, Any] | None = None
    for event in read_journal(directory.journal) if directory.journal.exists() else ():
        if event["event"] == "declared" and directory.plan.exists():
            _same("plan.json", event.get("plan_digest"), read_plan(directory.plan).digest)
        if event["event"] == "closed":
            closed = event
        elif event["event"] == "resumed":  # it is written anew
            closed = None
    digests = {} if closed is None else closed.get("sha256")
    for path in (directory.record, directory.verdict):
        if isinstance(digests, Mapping) and path.name in digests:
            _same(path.name, digests[path.name], sha256(path.read_bytes()).hexdigest() if path.exists() else None)


def _same(name: str, said: object, found: str | None) -> None:
    if found != said:
        what = (
            "is not the one that the journal names" if found is not None else "is not there, and the journal names it"
        )
        raise EvidenceError(what, resource=name, expected=f"SHA-256 {said}")
