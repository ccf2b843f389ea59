"""What people add to the findings of a run: findings of their own, owners and dates, and that something is done.

``findings/NNNN.json`` in the run's directory, from 0001: a DSSE envelope over canonical JSON (RFC 8785), signed by who
added it. The signature is over the plan's digest, the run, the place in the row, the digest of the file before it, and
the size and root of the journal at that time: it cannot be used for another run, and none can be taken out of the
middle. That the last is missing nobody can tell from the folder; who was given a later one can.

Record and verdict are never changed. The public halves of the keys are beside the files, for convenience and not as
proof. What does not verify is not believed, and said.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import rfc8785
from pydantic import TypeAdapter

from exitdrill.clock import format_utc
from exitdrill.errors import EvidenceError, ExitdrillError, RunError, UsageError
from exitdrill.evidence import dsse
from exitdrill.evidence.checkpoints import keep_public, public_keys, roots
from exitdrill.evidence.journal import read_tree
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signed import open_signed
from exitdrill.evidence.signers import Signer
from exitdrill.model.findings import PreviousRun, Severity
from exitdrill.transfer.layout import RunDirectory, disk_errors, fsync_directory, write_atomic

__all__ = [
    "ADDITION_TYPE",
    "PREVIOUS",
    "Addition",
    "Additions",
    "Kind",
    "add",
    "open_addition",
    "pinned",
    "read_additions",
]

ADDITION_TYPE = "application/vnd.exitdrill.finding+json"
PREVIOUS = "previous run"
"""The journal's event that says which run's findings are followed."""

_NAME = re.compile(r"[0-9]{4}\.json")
_FILE_MAX_BYTES = 256 * 1024
_NUMBER_MAX = 9999


class Kind(StrEnum):
    """What an addition says."""

    ADDED = "added"
    """A finding of a person's own."""
    ASSIGNED = "assigned"
    """Who is to put a finding right, and until when."""
    CLOSED = "closed"
    """A finding is done with."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What one person signed."""

    plan_digest: str
    run: str
    number: int
    """Its place in the row, from 1."""
    before_sha256: str
    """Of the file before it; empty for the first."""
    journal_size: int
    """How many lines the journal had."""
    journal_root: str
    """The root over them, in hexadecimal."""
    made_utc: str
    by: str
    """Who, in their own words."""
    kind: Kind
    fingerprint: str
    """Of the finding; a new one's own follows from run and number."""
    severity: Severity
    subject: str
    text: str
    remedy: str
    owner: str | None = None
    due: date | None = None
    keys: tuple[str, ...] = ()
    reason: str = ""
    """Why it is closed."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        plain = {**asdict(self), "due": None if self.due is None else self.due.isoformat()}
        return rfc8785.dumps(plain)


@dataclass(frozen=True, slots=True)
class Additions:
    """What people added to a run."""

    believed: tuple[tuple[Addition, PublicKey], ...] = ()
    """In order, each with the key that signed it."""
    refused: tuple[str, ...] = ()
    """A line for each file that does not verify: its name, and why."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time adds to a run."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def add(
    directory: RunDirectory, plan_digest: str, make: Callable[[int], Addition], signer: Signer, now: datetime
) -> tuple[Addition, Path]:
    """Add to the findings of a run, durably.

    Args:
        directory: The run's.
        plan_digest: Of its plan.
        make: What is to be added, given its number; plan, run, place in the row, journal and time are filled in here.
        signer: Who signs it.
        now: The time, UTC.

    Raises:
        EvidenceError: The run's journal was altered.
        SigningError: The key does not sign.
        NoSpaceError, ReadOnlyError: It cannot be written.
        RunError: There are too many.
    """
    folder = directory.findings
    with disk_errors(str(folder)):
        folder.mkdir(exist_ok=True)
        fsync_directory(folder.parent)
    run = directory.facts().run_id
    with _alone(folder):
        files = _files(folder)
        number = int(files[-1].stem) + 1 if files else 1
        if number > _NUMBER_MAX:
            raise RunError("holds as many additions as it can", resource=str(folder))
        tree = read_tree(directory.journal, roots(directory.checkpoints, run))
        addition = replace(
            make(number),
            plan_digest=plan_digest,
            run=run,
            number=number,
            before_sha256=sha256(files[-1].read_bytes()).hexdigest() if files else "",
            journal_size=tree.size,
            journal_root=tree.root().hex(),
            made_utc=format_utc(now),
        )
        envelope = dsse.sign(ADDITION_TYPE, addition.to_bytes(), [signer])
        if len(envelope) > _FILE_MAX_BYTES:
            raise UsageError("is too long", resource="the finding", expected=f"{_FILE_MAX_BYTES:,} bytes at most")
        keep_public(folder, [signer.key])
        path = folder / f"{number:04}.json"
        write_atomic(path, envelope)
    return addition, path


def read_additions(directory: RunDirectory, plan_digest: str) -> Additions:
    """What people added to a run, verified against the keys that stand beside it and against the run.

    Args:
        directory: The run's.
        plan_digest: Of its plan.

    Raises:
        ExitdrillError: The directory is no run's.
    """
    folder = directory.findings
    files = _files(folder)
    if not files:
        return Additions()
    run = directory.facts().run_id
    try:
        keys = public_keys(folder)
    except ExitdrillError as error:
        return Additions((), (f"public keys: {error}",))
    believed: list[tuple[Addition, PublicKey]] = []
    refused: list[str] = []
    before, expected = "", 1
    for path in files:
        if int(path.stem) != expected:
            refused.append(f"{expected:04}.json: is missing")
        expected, digest = int(path.stem) + 1, ""
        try:
            data = _bounded(path)
            digest = sha256(data).hexdigest()
            addition, key = open_addition(data, keys, path.name)
            _fits(addition, path, run, plan_digest, before)
            _journal(directory, addition, path.name)
        except ExitdrillError as error:
            refused.append(str(error))
        else:
            believed.append((addition, key))
        before = digest
    return Additions(tuple(believed), tuple(refused))


def open_addition(envelope: bytes, keys: Sequence[PublicKey], resource: str) -> tuple[Addition, PublicKey]:
    """What somebody signed, and with which of the keys. Raises EvidenceError if none of them signed it."""
    return open_signed(envelope, keys, ADDITION_TYPE, Addition, "an addition", resource)


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise EvidenceError(f"cannot be read: {exc.strerror}", resource=path.name) from exc
    if len(data) > _FILE_MAX_BYTES:
        raise EvidenceError("too long for an addition", resource=path.name)
    return data


def _fits(addition: Addition, path: Path, run: str, plan_digest: str, before: str) -> None:
    """It is for this run, this plan and this place in the row. Raises EvidenceError."""
    if (addition.run, addition.plan_digest) != (run, plan_digest):
        raise EvidenceError(f"signed for run {addition.run}", resource=path.name, expected=f"run {run} and its plan")
    if addition.number != int(path.stem) or addition.before_sha256 != before:
        what = "not what was signed in this place: another was put in, taken out or changed before it"
        raise EvidenceError(what, resource=path.name)


def _journal(directory: RunDirectory, addition: Addition, resource: str) -> None:
    """The journal is the one that was there when it was signed. Raises EvidenceError."""
    try:
        root = bytes.fromhex(addition.journal_root)
    except ValueError as exc:
        raise EvidenceError("has no root of the journal", resource=resource) from exc
    try:
        read_tree(directory.journal, {addition.journal_size: root})
    except EvidenceError as error:
        raise EvidenceError(f"signed over another journal: {error.what}", resource=resource) from error


def pinned(found: PreviousRun) -> str:
    """The SHA-256, in hexadecimal, of the canonical JSON (RFC 8785) of what was taken of a run before."""
    return sha256(rfc8785.dumps(TypeAdapter(PreviousRun).dump_python(found, mode="json"))).hexdigest()
