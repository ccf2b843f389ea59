"""Carries a run out in this process, under Prefect or without, and says what came of it.

Whatever happens, the record and the verdict are written (`finish`), and what was not foreseen leaves its trace
in the run's logs, never on the screen.
"""

import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from exitdrill.cli.asking import asker
from exitdrill.cli.console import err, hide, on_terminal, out, redact
from exitdrill.cli.interrupts import interrupts
from exitdrill.cli.screen import Screen
from exitdrill.errors import ExitdrillError, NotReadyError, RunError, StoppedError

if TYPE_CHECKING:
    from exitdrill.model.verdict import Verdict
    from exitdrill.plan.drill import DrillPlan
    from exitdrill.playbook.run import Run

__all__ = ["carry_out", "hide_secrets", "print_report", "say_error", "trace_to"]

_TRACE = "unexpected.txt"


def carry_out(run: "Run", screen: Screen, *, prefect: bool, as_json: bool) -> int:
    """Do what is left of a run, write record and verdict, print the report.

    Args:
        run: Declared or reopened.
        screen: Its progress.
        prefect: Whether Prefect runs the legs.
        as_json: The report as JSON.

    Returns:
        The process's exit code.
    """
    from exitdrill.playbook.engine import finish

    screen.attach(run)
    with interrupts(run.stop, screen.note, lambda: None):
        try:
            hide_secrets(run.plan, run)
            _conduct(run, screen, prefect=prefect)
        except ExitdrillError as error:
            run.error = run.error or error
        except Exception as error:  # noqa: BLE001 - the last resort: the record must be written, and the trace kept
            where = trace_to(run.directory.logs / _TRACE)
            run.error = RunError(f"unexpected {type(error).__name__}: {error}", hint=f"the trace is in {where}")
        finally:
            screen.end(_how(run.error))
        path, plan = run.directory.path, run.plan
        error_ended = run.error
        verdict = finish(run)
    if error_ended is not None:
        _say_end(error_ended, path)
    if as_json or not isinstance(error_ended, StoppedError | NotReadyError):
        print_report(path, plan, verdict, "json" if as_json else "text")
    return 3 if isinstance(error_ended, NotReadyError) else verdict.exit_code


def _conduct(run: "Run", screen: Screen, *, prefect: bool) -> None:
    from exitdrill.playbook.conductor import LocalConductor
    from exitdrill.playbook.engine import execute

    conductor = LocalConductor(asker(screen, run.stop))
    try:
        if not prefect:
            run.orchestrator = "none: asked to run without Prefect"
            execute(run, conductor)
            return
        raise NotImplementedError
    finally:
        conductor.close()


def _how(error: Exception | None) -> str:
    if error is None:
        return "done"
    return "stopped" if isinstance(error, StoppedError) else "failed"


def _say_end(error: Exception, path: Path) -> None:
    if isinstance(error, StoppedError):
        err(f"stopped: {error.what}. The drill's clock runs on.")
        err(f"  resume with   exitdrill resume {path.name}{_runs_option(path)}")
        err(f"  give up with  exitdrill teardown {path.name}{_runs_option(path)}")
        return
    if isinstance(error, ExitdrillError):
        say_error(error)
    err(f"the run's directory: {path}")


def _runs_option(path: Path) -> str:
    return "" if path.parent.resolve() == Path.cwd() / "runs" else f" --runs {path.parent}"


def say_error(error: ExitdrillError) -> None:
    """One error for people: what, on what, what was expected, what to do."""
    what = error.what.rstrip("\n")
    err(f"error: {error.resource}: {what}" if error.resource else f"error: {what}")
    if error.expected:
        err(f"  expected  {error.expected}")
    if error.hint:
        err(f"  to do     {error.hint}")


def trace_to(path: Path) -> str:
    """Write the trace of the exception being handled; where it is, or why it could not be written."""
    try:
        path.write_text(redact(traceback.format_exc()), encoding="utf-8")
    except OSError as exc:
        return f"not to be had: {path} cannot be written ({exc.strerror})"
    return str(path)


def hide_secrets(plan: "DrillPlan", run: "Run") -> None:
    """Keep the secret values of this run's places from being written anywhere by this process."""
    for role in ("source", "vault", "target"):
        if plan.places[getattr(plan.route, role)].emulator:
            continue  # an emulator's key is the one its manual prints
        with suppress(ExitdrillError):  # settings that cannot be made hold no secret; preflight says what is wrong
            hide(run.places.secrets(role))


def print_report(path: Path, plan: "DrillPlan", verdict: "Verdict", format_: str) -> None:
    """The report on a run that has a record, to stdout."""
    import sys

    from exitdrill.cli.stored import load_record
    from exitdrill.report import render
    from exitdrill.report.text import TextReport

    record = load_record(path)
    if format_ == "text" and on_terminal(sys.stdout):
        sys.stdout.write(redact(TextReport(colour=True).render(plan, record, verdict)))
        sys.stdout.flush()
        return
    out(render(format_, plan, record, verdict))
