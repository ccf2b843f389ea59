"""Preflight of the evidence: each key signs something that is thrown away, each authority is asked once."""

from collections.abc import Iterator
from pathlib import Path

from exitdrill.clock import Stopwatch
from exitdrill.errors import SigningError, TimestampError
from exitdrill.evidence.keys import machine_key_path
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.seal import KeySlot
from exitdrill.evidence.signers import open_key
from exitdrill.model.record import Check
from exitdrill.playbook.run import Run
from exitdrill.playbook.sealing import authority, key_slots

__all__ = ["signing_checks"]

_PROBE = b"exitdrill preflight: a signature that is thrown away"


def signing_checks(run: Run) -> Iterator[Check]:
    """A line a key, one for each approver's, and one for the authority.

    A key that does not sign is not ready; an authority that does not answer is a warning, because the drill can do
    without.
    """
    if run.options.looking and not run.plan.evidence.signers and not machine_key_path().exists():
        found = "none yet: the first run makes one for this machine"
        yield Check("signing", str(machine_key_path()), ready=True, found=found)
    else:
        yield from _keys(run)
    yield from _approvers(run)
    if run.plan.evidence.timestamps is not None:
        yield _authority(run)


def _keys(run: Run) -> Iterator[Check]:
    seen: dict[str, str] = {}
    for slot in key_slots(run.plan, run.environ(), run.base, run.notes):
        check, key = _key(slot)
        if key is not None and key in seen:
            found = f"the same key as {seen[key]}"
            check = Check("signing", slot.name, ready=False, found=found, action="name each key once")
        if key is not None:
            seen.setdefault(key, slot.name)
        yield check


def _key(slot: KeySlot) -> tuple[Check, str | None]:
    try:
        signer = slot.get()
        signer.sign(_PROBE)
    except SigningError as error:
        return Check("signing", slot.name, ready=False, found=error.problem, action=error.hint), None
    key = signer.key
    return Check("signing", slot.name, ready=True, found=f"{key.kind.value} key {key.id[:16]}… signs"), key.id


def _approvers(run: Run) -> Iterator[Check]:
    for step, paths in run.plan.evidence.approvers.items():
        try:
            keys = [PublicKey.load(run.base / Path(path).expanduser()) for path in paths]
            _answers(run, step, keys)
        except SigningError as error:
            yield Check("approvers", step, ready=False, found=error.problem, action=error.hint)
        else:
            found = ", ".join(f"key {key.id[:16]}…" for key in keys)
            yield Check("approvers", step, ready=True, found=found)


def _answers(run: Run, step: str, keys: list[PublicKey]) -> None:
    """Of an answer given beforehand: that it will count when its step comes. Raises SigningError."""
    name = run.options.approvals.get(step)
    if name is None:
        return
    path = run.options.approver_keys.get(name)
    if path is None:
        raise SigningError(f"the answer of {name} cannot be signed", hint=f"--approver-key {name}=PATH")
    signer = open_key(path, Path.cwd())
    signer.sign(_PROBE)
    if signer.key not in keys:
        raise SigningError(f"{name} has another key", resource=signer.name, expected="one of evidence.approvers")


def _authority(run: Run) -> Check:
    named = run.plan.evidence.timestamps
    assert named is not None  # noqa: S101 - its caller looked
    clock = run.clock.clock
    try:
        asked = authority(named, clock, run.base)
    except TimestampError as error:
        action = "evidence.timestamps.root must be certificates in PEM"
        return Check("timestamps", named.url, ready=False, found=error.problem, action=action)
    watch = Stopwatch(clock)
    try:
        token = asked.stamp(_PROBE)
    except TimestampError as error:
        action = "the drill goes on without; its evidence will say: not timestamped"
        return Check("timestamps", named.url, ready=True, found=error.problem, action=action)
    trust = "verified" if token.verified else "kept, not verified: no root is named"
    return Check("timestamps", named.url, ready=True, found=f"answers in {watch.elapsed_seconds:.2f} s, {trust}")
