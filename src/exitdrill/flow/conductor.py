"""Runs a drill's tasks as Prefect task runs, and asks people through Prefect.

Rules. A task is a group of parts or an action, never an object: hundreds a drill. Prefect keeps no result,
caches nothing and repeats nothing, because the engine and the journal do. What a task raises comes back as it
was raised. Tasks of one depth share one pool, so that a task waiting for those it submitted never takes their
place. Threads that know nothing of the flow, such as the engine's, submit in the flow's name.

Tasks carry no Prefect tags: for a tagged task the server is asked for a slot before and after, and its limits
would outlive the drill. How much goes to one provider at a time is bounded by the pool's width.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from contextvars import Context, ContextVar, copy_context
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, PrefectException
from prefect.flow_runs import pause_flow_run
from prefect.futures import PrefectConcurrentFuture
from prefect.input import RunInput
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import Field

from exitdrill.errors import NotReadyError, RunError, StoppedError
from exitdrill.playbook.conductor import Answer, Asker, Pending, Question, nobody_to_ask

__all__ = ["Decision", "PrefectConductor"]

T = TypeVar("T")

_ASK_SECONDS = 24 * 3600.0
_POLL_SECONDS = 2
_STOP_POLL_SECONDS = 0.5

_depth: ContextVar[int] = ContextVar("exitdrill_task_depth", default=0)


class Decision(RunInput):
    """The form a person fills in to resume the flow run."""

    name: str = Field(min_length=1, max_length=200, description="Who decides; it is written into the evidence")
    approved: bool = Field(default=False, description="True: go on. False: stop the drill")
    note: str = Field(default="", max_length=2000, description="Anything worth keeping")


@task(name="exitdrill", task_run_name="{name}", retries=0, cache_policy=NO_CACHE, persist_result=False)
def _work(name: str, call: tuple[Callable[..., T], tuple[object, ...]]) -> T:
    _depth.set(_depth.get() + 1)  # in this task run's own context
    function, args = call
    try:
        return function(*args)
    except (SystemExit, KeyboardInterrupt) as exc:  # Prefect would raise it again in whoever waits
        raise RunError(f"task {name!r} ended its thread: {type(exc).__name__}") from exc


class _Submitted(Generic[T]):
    """A task run on its way."""

    def __init__(self, name: str, future: PrefectConcurrentFuture[T], context: Context) -> None:
        self._name, self._future, self._context = name, future, context

    def result(self, timeout: float | None = None) -> T:
        """What the function returned. Raises what it raised, TimeoutError when it takes longer than that."""
        return self._context.copy().run(self._result, timeout)

    def _result(self, timeout: float | None) -> T:
        try:
            return self._future.result(timeout)
        except PrefectException as exc:
            raise RunError(f"task {self._name!r} was not carried out: {exc}") from exc


class PrefectConductor:
    """A `exitdrill.playbook.conductor.Conductor` for use inside a flow run. A context manager.

    Args:
        asker: Who asks people on a terminal; None to ask by pausing the flow run, where somebody can see that.
        seen: Whether people look at the Prefect server; nobody does at one started for the drill.
        stop: Ends the wait for a person.
        width: How many tasks of one depth run side by side.
        limits: How long a person may take to answer, in seconds, by step; a day where nothing is said.
    """

    def __init__(
        self,
        asker: Asker | None = None,
        *,
        seen: bool = False,
        stop: threading.Event | None = None,
        width: int = 2,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        """See the class. Raises RuntimeError outside a flow run."""
        if FlowRunContext.get() is None:
            raise RuntimeError("outside a flow run")
        self._asker, self._seen, self._width = asker, seen, width
        self._stop = stop or threading.Event()
        self._limits = dict(limits or {})
        self._context = copy_context()
        self._runners: dict[int, ThreadPoolTaskRunner[Any]] = {}
        self._lock = threading.Lock()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Let running tasks end; begin none that waits."""
        self._exit.close()

    @property
    def width(self) -> int:
        """As `Conductor.width`."""
        return self._width

    def submit(self, name: str, function: Callable[..., T], *args: object) -> Pending[T]:
        """As `Conductor.submit`."""
        context = copy_context() if FlowRunContext.get() is not None else self._context.copy()
        runner = self._runner(context.get(_depth, 0))
        parameters = {"name": name, "call": quote((function, args))}
        future: PrefectConcurrentFuture[T] = context.run(runner.submit, _work, parameters)
        return _Submitted(name, future, context)

    def everywhere(self, function: Callable[..., T], *args: object) -> list[T]:
        """As `Conductor.everywhere`: here."""
        return [function(*args)]

    def _runner(self, depth: int) -> "ThreadPoolTaskRunner[Any]":
        with self._lock:
            if depth not in self._runners:
                # the runner's own set-up reads settings from the flow's context
                runner = self._context.copy().run(ThreadPoolTaskRunner[Any], self._width)
                self._runners[depth] = self._exit.enter_context(runner)
            return self._runners[depth]

    def ask(self, question: Question) -> Answer:
        """As `Conductor.ask`: on the terminal, else by pausing the flow run until somebody resumes it."""
        if self._asker is not None:
            return self._asker(question)
        if not self._seen:
            return nobody_to_ask(question)
        limit_seconds = self._limits.get(question.step, _ASK_SECONDS)
        decision = self._decision(question, limit_seconds)
        if not decision.approved:
            raise StoppedError(
                f"{decision.name} said no to {question.kind} {question.step!r}",
                expected="approval",
                hint="exitdrill resume asks again",
            )
        return Answer(decision.name, decision.note)

    def _decision(self, question: Question, limit_seconds: float) -> Decision:
        """Pause on a thread of its own, because Prefect's wait does not end when the drill is stopped."""
        form = Decision.with_initial_data(
            description=f"**{question.kind} of {question.step}**\n\nWhy: {question.why}\n\nBy hand: {question.by_hand}"
        )
        given: list[Decision] = []
        failed: list[Exception] = []

        def wait() -> None:
            try:
                seconds = max(1, int(limit_seconds))
                given.append(pause_flow_run(form, timeout=seconds, poll_interval=_POLL_SECONDS))
            except Exception as exc:  # noqa: BLE001 - carried to the thread that waits
                failed.append(exc)

        thread = threading.Thread(target=self._context.copy().run, args=(wait,), name="exitdrill-ask", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_STOP_POLL_SECONDS)
            if self._stop.is_set():
                raise StoppedError(f"stopped while a person was asked about {question.step!r}")
        if not failed:
            return given[0]
        error = failed[0]
        if isinstance(error, FlowPauseTimeout):
            raise NotReadyError(
                f"nobody answered about step {question.step!r} in {limit_seconds:.0f} seconds",
                hint=f"resume the run and answer in Prefect, or with --approve {question.step}=NAME",
            ) from error
        raise RunError(f"Prefect could not ask about step {question.step!r}: {error}") from error
