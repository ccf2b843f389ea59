"""Reads runs from their directories without taking them up: no lock, nothing written."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exitdrill.errors import ExitdrillError, RunError, UsageError
from exitdrill.evidence.journal import read_journal
from exitdrill.model import codec
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.plan.stored import read_plan
from exitdrill.transfer.layout import RunDirectory

__all__ = [
    "Stored",
    "bundle_of",
    "events",
    "every",
    "load_plan_of",
    "load_record",
    "load_verdict",
    "stored",
    "torn_down",
]

_AFTER_CLOSED = ("timestamped", "not timestamped", "signing failed")


@dataclass(frozen=True, slots=True)
class Stored:
    """One run, as its directory shows it."""

    id: str
    path: Path
    drill: str = ""
    mode: str = ""
    declared_utc: str = ""
    status: str = ""
    """``running``, ``interrupted``, or how the record says it ended."""
    judgement: str = ""
    rta_seconds: float | None = None
    rto_seconds: float | None = None
    problem: str = ""
    """Why it cannot be read, if it cannot."""


def stored(path: Path) -> Stored:
    """One run. Raises UsageError if it is none, RunError if another version made it or it is damaged."""
    directory = RunDirectory(path)
    facts = directory.facts()
    plan = load_plan_of(path)
    rto = plan.objectives.rto
    status, judgement, rta = _going_on(directory), "", None
    if not status:
        verdict = load_verdict(path)
        status, judgement, rta = load_record(path).status.value, verdict.judgement.value, verdict.rta_seconds
    rto_seconds = None if rto is None else rto.total_seconds()
    return Stored(facts.run_id, path, plan.name, plan.mode.value, facts.t0_utc, status, judgement, rta, rto_seconds)


def every(runs: Path) -> list[Stored]:
    """All runs in a folder, the oldest first; one that cannot be read says why."""
    found = []
    for path in sorted(p for p in runs.glob("*") if (p / "run.json").exists()) if runs.is_dir() else []:
        try:
            found.append(stored(path))
        except ExitdrillError as error:
            found.append(Stored(path.name, path, status="unreadable", problem=str(error)))
    return found


def _going_on(directory: RunDirectory) -> str:
    """``running`` or ``interrupted``; empty when the last process closed the run."""
    closed = False
    for event in events(directory.path):
        # What was asked of a timestamp authority at the end is answered after that end.
        closed = event["event"] == "closed" or (closed and event["event"] in _AFTER_CLOSED)
    if closed:
        return ""
    return "running" if _alive(directory.path / "lock") else "interrupted"


def _alive(lock: Path) -> bool:
    """Whether the process that took the lock last lives. Taking the lock to find out would get in its way."""
    try:
        os.kill(int(lock.read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def events(path: Path) -> list[Mapping[str, Any]]:
    """The journal of a run: some for each step and asset, none for each object."""
    journal = RunDirectory(path).journal
    return list(read_journal(journal)) if journal.exists() else []


def torn_down(path: Path) -> Mapping[str, Any] | None:
    """What the last teardown of this run said, if there was one."""
    found = [event for event in events(path) if event["event"] == "torn down"]
    return found[-1] if found else None


def load_plan_of(path: Path) -> DrillPlan:
    """The plan as it was declared. Raises RunError."""
    return read_plan(RunDirectory(path).plan)


def load_record(path: Path) -> RunRecord:
    """What was measured. Raises UsageError if nothing is written yet, RunError."""
    return codec.load(RunRecord, _bytes(RunDirectory(path).record), str(path))


def load_verdict(path: Path) -> Verdict:
    """The judgement. Raises UsageError if there is none yet, RunError."""
    return codec.load(Verdict, _bytes(RunDirectory(path).verdict), str(path))


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as exc:
        raise UsageError(
            f"no {file.name} yet: it was interrupted before its end, or is still running",
            resource=str(file.parent),
            hint=f"exitdrill show {file.parent.name}; exitdrill resume goes on with an interrupted one",
        ) from exc
    except OSError as exc:
        raise RunError(f"{file.name} cannot be read: {exc.strerror}", resource=str(file.parent)) from exc


def bundle_of(path: Path) -> tuple[Path, str] | None:
    """The evidence bundle of a run and the command that verifies it here; None where there is none."""
    from exitdrill.evidence.bundle import BUNDLE
    from exitdrill.playbook.sealing import public_names

    bundle = path / BUNDLE
    if not bundle.exists():
        return None
    plan, base = load_plan_of(path), Path(RunDirectory(path).facts().base)
    keys = " ".join(f"--key {shlex.quote(name)}" for name in public_names(plan, base))
    return bundle, f"exitdrill verify {shlex.quote(str(bundle))} {keys}"
