"""The run of the same drill before this one: found when a drill is declared, and pinned in its journal.

Rules. It is the newest in the same folder of runs that has a verdict; drills are the same when their names are. What it
left open is taken as it stands then, and kept in the run's state and record; the journal has its id, the digest of its
verdict and the digest of what was taken. A run that is taken up again keeps to it. Nothing in an earlier run keeps a
drill from being declared: what cannot be read or believed is named.
"""

import json
from pathlib import Path

from pydantic import TypeAdapter

from exitdrill.errors import ExitdrillError
from exitdrill.evidence.findings import PREVIOUS, pinned
from exitdrill.evidence.journal import Journal
from exitdrill.model.findings import PreviousRun
from exitdrill.model.journal import Json
from exitdrill.playbook.standing import findings_of
from exitdrill.playbook.state import State
from exitdrill.transfer.layout import RunDirectory

__all__ = ["find_previous", "keep_previous", "known_previous"]

_KEPT = ("run", "previous")
_PLAN_MAX_BYTES = 16 * 1024 * 1024


def find_previous(drill: str, runs: Path, run_id: str) -> PreviousRun | None:
    """The run of a drill before another; None if there is none.

    Args:
        drill: The drill's name.
        runs: The folder of all runs.
        run_id: The run that comes after it.
    """
    for path in sorted(runs.glob("*"), reverse=True):
        if path.name >= run_id or not (path / "run.json").exists() or not (path / "verdict.json").exists():
            continue
        if _drill(RunDirectory(path).plan) == drill:
            return _taken(path)
    return None


def _drill(plan: Path) -> str | None:
    """The name of the drill; None where it cannot be read, and then it is not known to be the same one."""
    try:
        with plan.open("rb") as file:
            data = json.loads(file.read(_PLAN_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


def _taken(path: Path) -> PreviousRun:
    try:
        found = findings_of(path)
    except ExitdrillError as error:
        return PreviousRun(path.name, "", (), (str(error),))
    items = tuple(item.finding for item in found.items)
    return PreviousRun(found.run_id, found.verdict_sha256, items, found.refused, found.plan.digest)


def keep_previous(found: PreviousRun | None, state: State, journal: Journal) -> None:
    """Keep it for the record, and pin it in the journal."""
    plain: Json = TypeAdapter(PreviousRun | None).dump_python(found, mode="json")
    state.put(*_KEPT, plain)
    if found is not None:
        journal.record(PREVIOUS, run=found.run_id, verdict_sha256=found.verdict_sha256, findings_sha256=pinned(found))


def known_previous(state: State) -> PreviousRun | None:
    """As it was kept."""
    return TypeAdapter(PreviousRun | None).validate_python(state.get(*_KEPT))
