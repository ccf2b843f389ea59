"""Carries a run out in this process, under Prefect or without, and says what came of it.

Whatever happens, the record and the verdict are written (`finish`), and what was not foreseen leaves its trace
in the run's logs, never on the screen.
"""

import sys
import threading
import traceback
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from exitdrill.cli.asking import asker
from exitdrill.cli.console import err, hide, on_terminal, out, redact, say_error
from exitdrill.cli.interrupts import interrupts
from exitdrill.cli.screen import Screen
from exitdrill.cli.stored import bundle_of, load_record, load_verdict
from exitdrill.errors import ExitdrillError, NotReadyError, RunError, StoppedError, can_resume
from exitdrill.flow.server import PrefectServer
from exitdrill.plan.secrets import has_reference, resolve
from exitdrill.playbook.action import MANUAL
from exitdrill.playbook.conductor import LocalConductor, nobody_to_ask
from exitdrill.playbook.engine import execute, finish
from exitdrill.report import Options, render
from exitdrill.report.text import TextReport
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.layout import RunDirectory

if TYPE_CHECKING:
    from exitdrill.model.verdict import Verdict
    from exitdrill.plan.drill import DrillPlan
    from exitdrill.playbook.run import Run

__all__ = ["carry_out", "hide_secrets", "print_report", "trace_to"]

_TRACE = "unexpected.txt"
_POLL_SECONDS = 0.2
_LONG = frozenset({"clauses"})
"""What the screen does without: three hundred lines, which the page has."""
_LOOKING = frozenset({"drill.declare", "preflight.check", "assets.inventory"})
"""Actions that change nothing and take no tasks worth showing: they do not wait for Prefect."""


def carry_out(run: "Run", screen: Screen, *, prefect: bool, as_json: bool, verbose: bool) -> int:
    """Do what is left of a run, write record and verdict, print the report.

    Args:
        run: Declared or reopened.
        screen: Its progress.
        prefect: Whether Prefect runs the legs.
        as_json: The report as JSON.
        verbose: Let Prefect say what it does.

    Returns:
        The process's exit code.
    """
    path, plan = run.directory.path, run.plan
    screen.attach(run)
    # What a library prints by habit must not end up in the result.
    with interrupts(run.stop, screen.note), redirect_stdout(sys.stderr):
        try:
            hide_secrets(plan, run)
            verdict = (_with_prefect if prefect else _without)(run, screen, verbose=verbose)
        except Exception as error:  # noqa: BLE001 - the last resort: the record must be written, and the trace kept
            verdict = _unforeseen(run, error)
        finally:
            screen.end(_how(run.error))
    ended = run.error
    if ended is not None:
        _say_end(ended, path)
    if as_json or not isinstance(ended, StoppedError | NotReadyError):
        print_report(path, plan, verdict, "json" if as_json else "text")
        if run.directory.report.exists():
            err(f"all of it as a page, with the clauses it answers: {run.directory.report}")
        bundle = bundle_of(path)
        if bundle is not None:
            err(f"evidence bundle: {bundle[0]}; check it with: {bundle[1]}")
    return NotReadyError.exit_code if isinstance(ended, NotReadyError) else verdict.exit_code


def _unforeseen(run: "Run", error: Exception) -> "Verdict":
    """A fault in this program: its trace goes into the run's logs, and what was measured is written."""
    where = trace_to(run.directory.logs / _TRACE)
    if isinstance(error, ExitdrillError):
        run.error = run.error or error
    else:
        run.error = RunError(f"unexpected {type(error).__name__}: {error}", hint=f"the trace is in {where}")
    return load_verdict(run.directory.path) if run.lock.closed else finish(run)


def _without(run: "Run", screen: Screen, *, verbose: bool) -> "Verdict":  # noqa: ARG001 - as `_with_prefect`
    run.orchestrator = "threads of one process, asked to run without Prefect"
    if run.plan.engine.spread:
        screen.note("without Prefect all is done on this machine: the cluster is not used")
    return _on_threads(run, LocalConductor(asker(screen, run.stop)))


def _on_threads(run: "Run", conductor: LocalConductor) -> "Verdict":
    if run.plan.engine.spread:
        with suppress(ExitdrillError), claim_table(run.plan, run.directory, run.environ(), run.base) as claims:
            claims.go_on(run.id)  # a conductor that was killed may have asked for a stop
    try:
        execute(run, conductor)
    except ExitdrillError as error:
        run.error = error
    finally:
        conductor.close()
    return finish(run)


def _with_prefect(run: "Run", screen: Screen, *, verbose: bool) -> "Verdict":
    """What comes before the legs while Prefect starts, the rest inside a flow run."""
    ask = asker(screen, run.stop)
    conductor = LocalConductor(ask)
    with PrefectServer() as server:
        starting = _Starting(server, verbose=verbose)
        try:
            execute(run, conductor, before=_first_for_prefect(run.plan, can_ask=ask is not nobody_to_ask))
            screen.phase_over()
            problem = starting.wait(run.stop)
        except ExitdrillError as error:
            run.error = error
            conductor.close()
            return finish(run)
        if run.stop.is_set():
            return _on_threads(run, conductor)  # which says that it was stopped, and where
        if problem is not None:
            # The clock runs, and the drill does not need its orchestrator: the same rule as inside the flow.
            run.journal.record("orchestrator failed", error=str(problem))
            screen.note(f"Prefect cannot conduct the drill, it goes on without: {problem}")
            run.orchestrator = "threads of one process, after Prefect failed"
            return _on_threads(run, conductor)
        conductor.close()
        from exitdrill.flow.drill import Conducting, run_in_flow

        screen.note(f"Prefect conducts from here: {server.url}")
        on_terminal_ = None if ask is nobody_to_ask else ask
        return run_in_flow(run, Conducting(on_terminal_, seen=not server.own, url=server.url))


class _Starting:
    """A Prefect server on its way up, and Prefect's import, which takes seconds too, beside preflight."""

    def __init__(self, server: PrefectServer, *, verbose: bool) -> None:
        self._server, self._verbose = server, verbose
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._start, name="exitdrill-prefect", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            self._server.connect(verbose=self._verbose)
            import exitdrill.flow.drill  # noqa: F401 - for its time

            self._server.wait_ready()
        except Exception as error:  # noqa: BLE001 - carried to the thread that waits
            self._problem = error

    def wait(self, stop: threading.Event) -> Exception | None:
        """What keeps Prefect from conducting, None if nothing does. Comes back early when stopped."""
        while self._thread.is_alive() and not stop.is_set():
            self._thread.join(_POLL_SECONDS)
        return self._problem


def _first_for_prefect(plan: "DrillPlan", *, can_ask: bool) -> str | None:
    """The first phase that is not looking only, or has a question that only Prefect can ask."""
    for phase in plan.playbook.phases:
        asks = any(step.approval or step.uses == MANUAL for step in phase.steps)
        if any(step.uses not in {*_LOOKING, MANUAL} for step in phase.steps) or (asks and not can_ask):
            return phase.name
    return None


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
    if can_resume(error):
        err("what was done is kept, and the drill's clock runs on.")
        err(f"  put it right, and resume with   exitdrill resume {path.name}{_runs_option(path)}")
        err(f"  give up with                    exitdrill teardown {path.name}{_runs_option(path)}")
    err(f"the run's directory: {path}")


def _runs_option(path: Path) -> str:
    return "" if path.parent.resolve() == Path.cwd() / "runs" else f" --runs {path.parent}"


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
    for signer in plan.evidence.signers:
        for text in filter(has_reference, (signer.key, signer.pin or "")):
            with suppress(ExitdrillError):
                # A key is hidden line by line: so it stands in a file, and so a library would print it.
                hide(str(resolve({"text": text}, run.environ(), run.base)["text"]).splitlines())
    if plan.engine.claims is not None:
        with suppress(ExitdrillError):
            url = str(resolve({"claims": plan.engine.claims}, run.environ(), run.base)["claims"])
            hide((url, *_passwords(url)))


def _passwords(url: str) -> tuple[str, ...]:
    """The password in a URL, as it stands and as it is meant."""
    with suppress(ValueError):
        if password := urlsplit(url).password:
            return password, unquote(password)
    return ()


def print_report(
    path: Path, plan: "DrillPlan", verdict: "Verdict", format_: str, options: Options | None = None
) -> None:
    """The report on a run that has a record, to stdout; without options one that fits a screen's memory."""
    record = load_record(path)
    options = options or Options(files=RunDirectory(path).report_digests(), leave_out=_LONG)
    if format_ == "text" and on_terminal(sys.stdout):
        sys.stdout.write(redact(TextReport(colour=True).render(plan, record, verdict, options)))
        sys.stdout.flush()
        return
    out(render(format_, plan, record, verdict, options))
