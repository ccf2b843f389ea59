"""The drill as a Prefect flow.

Rules. The run is what counts, Prefect shows and schedules it: a Prefect server that fails before, during or
after the drill is noted in the journal, and costs the drill nothing. A missed objective is a result, so its
flow run is completed; a drill that was not carried out is a failed flow run, one that was stopped is
cancelled. The flow's parameters are names, never credentials. The drill's work runs on a thread of its own:
Prefect puts a SIGTERM handler into the main thread while a flow runs there, and a signal is to stop the drill
cleanly, in the way its caller chose.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Failed

from exitdrill.errors import ExitdrillError, MissingExtraError, StoppedError
from exitdrill.flow.artifacts import ProgressArtifact, artifact_key
from exitdrill.flow.conductor import PrefectConductor
from exitdrill.flow.environment import OWN
from exitdrill.model import codec
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Judgement, Verdict
from exitdrill.playbook.conductor import Asker, LocalConductor, nobody_to_ask
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import Run, RunOptions, declare
from exitdrill.report import render
from exitdrill.transfer.client import cores

__all__ = ["Conducting", "run_in_flow", "scheduled_drill"]

T = TypeVar("T")

_STOP_SECONDS = 150.0
"""How long a drill may take to stop: a worker gets 90 seconds to put down what it holds."""


@dataclass(frozen=True, slots=True)
class Conducting:
    """How a run is conducted."""

    asker: Asker | None = None
    """Who asks people on a terminal; None: Prefect, where people look at its server."""
    seen: bool = False
    """Whether people look at the server: `PrefectServer.own` is false."""
    width: int = field(default_factory=cores)
    """How many tasks run side by side."""
    url: str | None = None
    """The server's API address, where it is not the one Prefect was imported with."""


@dataclass(slots=True)
class _Handover:
    """What a flow run in this process is given and gives back; too large and too alive for its parameters."""

    run: Run
    how: Conducting
    verdict: Verdict | None = None
    error: Exception | None = None


_under_way: dict[str, _Handover] = {}


def run_in_flow(run: Run, how: Conducting | None = None) -> Verdict:
    """Carry out what is left of a run as a Prefect flow run, write its record, close it, and judge it.

    `Run.error` then tells what ended it, if something did. Without a working Prefect server the drill goes on
    on threads of this process.

    Args:
        run: The run, open; some of its phases may be done.
        how: How it is conducted.

    Raises:
        Exception: A fault in this program; the record is written all the same.
    """
    how = how or Conducting()
    handover = _under_way[run.id] = _Handover(run, how)
    try:
        _on_thread(run, partial(_as_flow_run, handover))
    except Exception as exc:  # noqa: BLE001 - whatever Prefect raises must not end the drill
        if handover.error is not None:
            raise handover.error from None
        if handover.verdict is None:
            return _without_prefect(handover, exc)
        # carried out and judged; only Prefect's own record of it is not what it should be
        run.options.progress.note(f"Prefect's record of the flow run is incomplete: {type(exc).__name__}: {exc}")
    finally:
        del _under_way[run.id]
    if handover.error is not None:
        raise handover.error
    return handover.verdict if handover.verdict is not None else _without_prefect(handover, None)


def _as_flow_run(handover: _Handover) -> None:
    url = handover.how.url
    settings = {PREFECT_API_URL: url} if url is not None and PREFECT_API_URL.value() != url else {}
    with temporary_settings(settings):
        drill_flow(handover.run.plan.name, handover.run.id, return_state=True)


def _without_prefect(handover: _Handover, why: Exception | None) -> Verdict:
    """The clock runs: the drill goes on without the orchestrator."""
    run = handover.run
    reason = f"{type(why).__name__}: {why}" if why is not None else "the flow did not begin"
    run.journal.record("orchestrator failed", error=reason)
    run.options.progress.note(f"Prefect cannot conduct the drill, it goes on without: {reason}")
    run.orchestrator = "threads of one process, after Prefect failed"
    conductor = LocalConductor(handover.how.asker or nobody_to_ask, handover.how.width)
    try:
        execute(run, conductor)
    except ExitdrillError as error:
        run.error = error
    except Exception as exc:
        run.error = exc
        raise
    finally:
        conductor.close()
        verdict = finish(run)
    return verdict


@flow(
    name="exitdrill",
    flow_run_name="{drill}-{run_id}",
    retries=0,
    persist_result=False,
    validate_parameters=False,
    log_prints=False,
)
def drill_flow(drill: str, run_id: str) -> State[None]:  # noqa: ARG001 - Prefect shows them
    """Carry out a run that is open in this process."""
    # Prefect takes the flow to other machines along with its tasks, with all that this function names.
    from exitdrill.flow.drill import conduct_open

    return conduct_open(run_id)


def conduct_open(run_id: str) -> State[None]:
    """Inside a flow run: the run that this process has open under that id."""
    handover = _under_way[run_id]
    try:
        handover.verdict = _conduct(handover.run, handover.how)
    except Exception as exc:
        handover.error = exc
        raise
    return _state(handover.run, handover.verdict)


@flow(name="exitdrill", retries=0, persist_result=False, log_prints=False)
def scheduled_drill(drill: str, runs: str, approvals: dict[str, str] | None = None) -> State[None]:
    """Declare a drill and carry it out: what a deployment runs.

    Args:
        drill: The drill file.
        runs: The folder of all runs.
        approvals: Step id to the name of the person who approved it beforehand.
    """
    from exitdrill.flow.compose import load

    run = declare(load(Path(drill)), Path(runs), RunOptions(approvals or {}))
    try:
        name_flow_run(f"{run.plan.name}-{run.id}")
    except Exception as exc:  # noqa: BLE001 - a name is no reason to fail a drill
        run.journal.record("flow run not named", error=type(exc).__name__)
    verdict = _on_thread(run, partial(_conduct, run, Conducting(seen=OWN not in os.environ)))
    return _state(run, verdict)


def name_flow_run(name: str) -> None:
    """Give the flow run this is called in another name."""
    from prefect.client.orchestration import get_client

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("outside a flow run")
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, name=name)


def _conduct(run: Run, how: Conducting) -> Verdict:
    """Inside a flow run: the drill, its record, and what Prefect shows of it."""
    run.orchestrator = f"Prefect {version('prefect')}"
    phases = tuple(phase.name for phase in run.plan.playbook.phases)
    shown = ProgressArtifact(run.options.progress, run.plan.name, run.id, phases)
    run.options = replace(run.options, progress=shown)
    limits = {step.id: step.timeout.total_seconds() for step in run.plan.playbook.steps}
    try:
        with _conductor(run, how, limits) as conductor:
            execute(run, conductor)
    except ExitdrillError as error:
        run.error = error
    except Exception as exc:
        run.error = exc
        raise
    finally:
        verdict = finish(run)
    shown.done()
    _show(run, verdict)
    return verdict


def _conductor(run: Run, how: Conducting, limits: Mapping[str, float]) -> PrefectConductor:
    """On this machine, or on those of the cluster that the drill names. Raises MissingExtraError."""
    if not run.plan.engine.spread:
        return PrefectConductor(how.asker, seen=how.seen, stop=run.stop, width=how.width, limits=limits)
    try:
        from exitdrill.flow.dask import DaskConductor
    except ImportError as exc:
        hint = "pip install 'exitdrill[cluster]'"
        raise MissingExtraError(f"Dask cannot be loaded: {exc}", resource="engine", hint=hint) from exc
    run.orchestrator += f", Dask {version('distributed')} with {run.plan.engine.address}"
    return DaskConductor(run, how.asker, seen=how.seen, width=how.width, limits=limits)


def _show(run: Run, verdict: Verdict) -> None:
    try:
        record = codec.load(RunRecord, run.directory.record.read_bytes(), str(run.directory.record))
        text = render("markdown", run.plan, record, verdict)
        create_markdown_artifact(text, key=artifact_key(run.plan.name, "result"), description=f"run {run.id}")
    except Exception as exc:  # noqa: BLE001 - the result is on disk; showing it may fail
        run.options.progress.note(f"Prefect shows no result: {type(exc).__name__}: {exc}")


def _state(run: Run, verdict: Verdict) -> State[None]:
    message = f"{verdict.judgement.value}: {run.error}" if run.error is not None else verdict.judgement.value
    if isinstance(run.error, StoppedError):
        return Cancelled(message=message)
    if run.error is not None or verdict.judgement not in {Judgement.MET, Judgement.MISSED}:
        return Failed(message=message)
    return Completed(message=message)


def _on_thread(run: Run, do: Callable[[], T]) -> T:
    """Do it on another thread, in this one's context; an interrupt of this one asks the drill to stop, and waits."""
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # because a join that was interrupted takes the thread for ended (python/cpython#90882)

    def work() -> None:
        try:
            results.append(do())
        except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(exc)
        finally:
            ended.set()

    thread = threading.Thread(target=copy_context().run, args=(work,), name="exitdrill-drill", daemon=True)
    thread.start()
    try:
        ended.wait()
    except BaseException:  # KeyboardInterrupt, or what Prefect makes of SIGTERM
        run.stop.set()
        ended.wait(_STOP_SECONDS)
        raise
    if errors:
        raise errors[0]
    return results[0]
