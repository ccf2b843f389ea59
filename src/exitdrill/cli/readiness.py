"""Finds out whether a drill could start, and how long it would take, and takes away what that left.

It is an ordinary run in a temporary directory, with the steps that look and no others: preflight and
inventory. Approvals are not asked for, because nothing that stays is changed.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from exitdrill.assets.interface import Forecast, asset_kind
from exitdrill.cli.conduct import hide_secrets
from exitdrill.cli.interrupts import interrupts
from exitdrill.cli.screen import Screen
from exitdrill.errors import ExitdrillError, NotReadyError, StoppedError, UsageError
from exitdrill.model.record import Check, Counts
from exitdrill.plan.drill import DrillPlan, Phase, Playbook, Step
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute
from exitdrill.playbook.run import Run, RunOptions, declare

__all__ = ["Readiness", "look", "only"]

_LOOKS = {"preflight": "preflight.check", "inventory": "assets.inventory"}
_NS = 1_000_000_000
_PREFIX = "exitdrill-check-"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What looking found."""

    checks: tuple[Check, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long ``preflight`` and ``inventory`` took just now."""
    listed: Mapping[str, Counts] = field(default_factory=dict)
    """Volumes, by asset; empty if inventory was not reached."""
    forecasts: Mapping[str, Forecast] = field(default_factory=dict)
    """By asset; empty if not asked for or not ready."""

    @property
    def ready(self) -> bool:
        """Whether the drill could start."""
        return all(check.ready for check in self.checks)


def look(plan: DrillPlan, screen: Screen, runs: Path, *, forecast: bool) -> Readiness:
    """Preflight and inventory against the real places, changing nothing that stays.

    Args:
        plan: The drill.
        screen: Shows how far it is.
        runs: The folder of all runs: on several machines the temporary run is in there, to find out who sees it.
        forecast: Also probe throughput.

    Raises:
        StoppedError: Somebody stopped it; what it had made is removed.
        ExitdrillError: The temporary run cannot be made.
    """
    with _folder(plan, runs) as folder:
        run = declare(_looking(plan), Path(folder), RunOptions(progress=screen, looking=True))
        conductor = LocalConductor()
        try:
            with interrupts(run.stop, screen.note):
                hide_secrets(plan, run)
                screen.attach(run, check=True)
                return _look(run, plan, conductor, forecast=forecast)
        finally:
            screen.end("done")
            conductor.close()
            run.close()


@contextmanager
def _folder(plan: DrillPlan, runs: Path) -> Iterator[str]:
    """Where the temporary run is, while the context lasts."""
    if not plan.engine.spread:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
            yield folder
        return
    made = not runs.exists()
    try:
        runs.mkdir(parents=True, exist_ok=True)
        there = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=runs.absolute())
    except OSError as exc:
        raise UsageError(f"cannot be written to: {exc.strerror}", resource=str(runs), hint="--runs DIR") from exc
    try:
        with there as folder:
            yield folder
    finally:
        if made:
            with suppress(OSError):
                runs.rmdir()


def _look(run: Run, plan: DrillPlan, conductor: LocalConductor, *, forecast: bool) -> Readiness:
    problems: list[Check] = []
    forecasts: dict[str, Forecast] = {}
    try:
        execute(run, conductor)
        if forecast:
            for asset in plan.assets:
                forecasts[asset.name] = asset_kind(asset.kind).forecast(run.asset_context(asset, None))
    except StoppedError:
        _take_away(run, conductor)
        raise
    except ExitdrillError as error:
        # What preflight and inventory found wanting is in the checks; what kept them from looking is not.
        if not (isinstance(error, NotReadyError) and any(not check.ready for check in run.state.checks())):
            problems.append(Check("look", error.resource, ready=False, found=error.what, action=error.hint))
    listed = {a.name: asset_kind(a.kind).record(run.asset_context(a, None)).listed for a in plan.assets}
    seconds = {
        lap.name.removeprefix("phase "): lap.duration_ns / _NS for lap in run.state.laps() if _is_phase(lap.name)
    }
    checks = run.state.checks()
    if (left := _take_away(run, conductor)) is not None:
        problems.append(left)
    return Readiness((*checks, *problems), seconds, listed, forecasts)


def _is_phase(lap: str) -> bool:
    return lap.removeprefix("phase ") in _LOOKS


def _take_away(run: Run, conductor: LocalConductor) -> Check | None:
    """Remove what looking made; a line about what could not be removed."""
    if not run.state.steps():
        return None  # it did not get as far as making anything
    run.stop = Event()  # also when somebody stopped the looking
    run.plan = replace(run.plan, keep=False, playbook=only("run.teardown"))
    try:
        execute(run, conductor)
    except ExitdrillError as error:
        return Check("cleanup", error.resource, ready=False, found=error.what, action="remove it by hand")
    return None


def _looking(plan: DrillPlan) -> DrillPlan:
    """The drill with the steps that look, as its playbook has them, and no others."""
    phases = []
    for name, uses in _LOOKS.items():
        found = [replace(s, approval=False, critical=True) for s in plan.playbook.steps if s.uses == uses]
        phases.append(Phase(name, tuple(found) or only(uses).steps))
    return replace(plan, playbook=Playbook(plan.playbook.name, tuple(phases)))


def only(uses: str) -> Playbook:
    """A playbook of one step."""
    step = Step(f"command:{uses}", uses, why="the command asks for it", by_hand="see the playbook")
    return Playbook("one step", (Phase(uses.rpartition(".")[2], (step,)),))
