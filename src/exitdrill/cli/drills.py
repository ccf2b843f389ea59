"""The commands that work on a drill file: check, plan, run, schedule."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exitdrill.cli.console import err, harmless, out, out_json, table
from exitdrill.cli.options import Approve, ApproverKey, AsJson, Prefect, Runs, Verbose, approvals, approver_keys, set_up
from exitdrill.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from exitdrill.cli.readiness import Readiness
    from exitdrill.plan.drill import DrillPlan

__all__ = ["check", "plan", "run", "schedule"]

Drill = Annotated[Path, Parameter(help="The drill file (YAML).")]
_NOT_READY = 3
_CRON_FIELDS = 5


def check(drill: Drill, /, *, runs: Runs = Path("runs"), json: AsJson = False, verbose: Verbose = False) -> int:
    """Say whether the drill could start now. Changes nothing that stays.

    It reads the files, tries credentials, clocks, room, names and what the
    places can do, and lists the source. What it makes to try, it removes.
    """
    set_up(verbose=verbose)
    loaded, found = _look(drill, runs, forecast=False)
    if json:
        out_json({"drill": loaded.name, "ready": found.ready, "checks": [asdict(c) for c in found.checks]})
        return 0 if found.ready else _NOT_READY
    _table_of_checks(found)
    return _say_ready(found)


def plan(drill: Drill, /, *, runs: Runs = Path("runs"), json: AsJson = False, verbose: Verbose = False) -> int:
    """Show steps, order and volumes, and forecast the time against the RTO.

    It checks first, as 'exitdrill check' does, and probes the throughput.
    A drill that is not ready has no forecast.
    """
    from exitdrill.cli.forecast import show_plan, to_json

    set_up(verbose=verbose)
    loaded, found = _look(drill, runs, forecast=True)
    if json:
        out_json(to_json(loaded, found))
        return 0 if found.ready else _NOT_READY
    show_plan(loaded, found)
    if not found.ready:
        out("")
        _table_of_checks(found)
    return _say_ready(found)


def run(
    drill: Drill,
    /,
    *,
    approve: Approve = (),
    approver_key: ApproverKey = (),
    runs: Runs = Path("runs"),
    prefect: Prefect = True,
    json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Declare the drill and carry it out: the clock starts now.

    Ctrl-C once stops it cleanly, to be resumed; twice ends it at once.
    The report goes to stdout, progress to stderr.
    """
    set_up(verbose=verbose)
    from exitdrill.flow.compose import load
    from exitdrill.playbook.run import RunOptions, declare

    loaded = load(drill)
    given = approvals(approve, loaded)
    keys = approver_keys(approver_key, loaded, given)
    _somebody_must_answer(loaded, given, prefect=prefect)
    from exitdrill.cli.screen import screen

    shown = screen()
    declared = declare(loaded, runs, RunOptions(given, keys, shown))
    from exitdrill.cli.conduct import carry_out

    return carry_out(declared, shown, prefect=prefect, as_json=json, verbose=verbose)


def _somebody_must_answer(plan: "DrillPlan", given: dict[str, str], *, prefect: bool) -> None:
    """A drill that is bound to fail after hours, because nobody can be asked, does not start."""
    import os
    import sys

    from exitdrill.flow.environment import configured_url
    from exitdrill.playbook.action import MANUAL

    if sys.stdin is not None and sys.stdin.isatty():
        return
    if prefect and configured_url(os.environ) is not None:
        return  # somebody looks at that server, and can answer there
    open_ = [s.id for s in plan.playbook.steps if (s.approval or s.uses == MANUAL) and s.id not in given]
    if open_:
        raise NotReadyError(
            f"these steps wait for a person, and there is no terminal to ask on: {', '.join(open_)}",
            resource=plan.name,
            hint="give the answers beforehand: " + " ".join(f"--approve {name}=NAME" for name in open_),
        )


def schedule(
    drill: Drill,
    /,
    *,
    cron: Annotated[str, Parameter(help='When: five fields, such as "0 6 1 1,4,7,10 *".')],
    timezone: Annotated[str, Parameter(help="Whose clock that is: Europe/Amsterdam.")] = "UTC",
    approve: Approve = (),
    work_pool: Annotated[str | None, Parameter(help="Deploy to this Prefect work pool; else served from here.")] = None,
    runs: Runs = Path("runs"),
    verbose: Verbose = False,
) -> int:
    """Schedule the drill with Prefect, served from here or by a work pool.

    Without --work-pool, this machine serves the schedule until it is stopped.
    """
    set_up(verbose=verbose)
    import os
    from threading import Event

    from platformdirs import user_data_path

    from exitdrill.cli.interrupts import interrupts
    from exitdrill.flow.compose import load
    from exitdrill.flow.deploy import Timetable, deploy_to_pool, serve_schedule
    from exitdrill.flow.environment import configured_url
    from exitdrill.flow.server import PrefectServer

    loaded = load(drill)
    given = approvals(approve, loaded)
    _must_be_times(cron, timezone)
    timetable = Timetable(drill.absolute(), runs.absolute(), cron, timezone, approvals=given)
    if work_pool is not None and configured_url(os.environ) is None:
        raise UsageError("a work pool needs a Prefect server of your own", hint="set PREFECT_API_URL")
    stop = Event()
    with PrefectServer(user_data_path("exitdrill") / "prefect", scheduler=True) as server, interrupts(stop, err):
        server.connect(verbose=verbose)
        server.wait_ready()
        if work_pool is not None:
            out(str(deploy_to_pool(timetable, work_pool)))
            err(f"{loaded.name} is deployed to work pool {work_pool}")
            return 0
        err(f"{loaded.name} runs by {cron!r} ({timezone}) from here, with Prefect at {server.url}; Ctrl-C ends it")
        serve_schedule(timetable, stop)
    return 0


def _must_be_times(cron: str, timezone: str) -> None:
    """What is plainly wrong is said at once; the rest of the cron line Prefect judges, once its server is up."""
    from zoneinfo import ZoneInfo

    if len(cron.split()) != _CRON_FIELDS:
        raise UsageError(f"{cron!r} is no cron line", resource="--cron", expected='such as "0 6 1 1,4,7,10 *"')
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise UsageError(
            f"no time zone is called {timezone!r}", resource="--timezone", expected="such as Europe/Amsterdam"
        ) from exc


def _look(drill: Path, runs: Path, *, forecast: bool) -> "tuple[DrillPlan, Readiness]":
    from exitdrill.cli.readiness import look
    from exitdrill.cli.screen import screen
    from exitdrill.flow.compose import load

    loaded = load(drill)
    return loaded, look(loaded, screen(), runs, forecast=forecast)


def _table_of_checks(found: "Readiness") -> None:
    rows = [
        ("ready" if c.ready else "NOT READY", c.name, c.resource, c.found + (f"\n-> {c.action}" if c.action else ""))
        for c in found.checks
    ]
    table(("", "check", "of", "found, and what to do"), rows)


def _say_ready(found: "Readiness") -> int:
    missing = [c for c in found.checks if not c.ready]
    if not missing:
        err(f"ready: {len(found.checks)} checks")
        return 0
    names = ", ".join(harmless(f"{c.name} {c.resource}".strip()) for c in missing)
    err(f"not ready: {len(missing)} of {len(found.checks)} checks say no: {names}")
    return _NOT_READY
