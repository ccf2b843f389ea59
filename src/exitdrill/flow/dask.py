"""Carries a drill's parts out on the machines of a Dask cluster, as Prefect task runs.

Rules. What is split into parts goes to the cluster; what is one process anyway (inventory, last look, verification,
cleaning up) stays with the machine that conducts. A job whose Dask worker died is begun again on another by Dask itself
(``distributed.scheduler.allowed-failures``), one whose worker process died by us, both a bounded number of times; the
claims on its parts see to it that nothing is done twice. Where a machine of the cluster does not reach the Prefect
server, the job is carried out all the same, only not shown: an exit must not fail because its orchestrator did. When
one job fails, those that the same thread began beside it are stopped before its error goes on: nothing may still write
while others clean up, or read while the source is cut off.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from distributed import Client
from distributed.scheduler import KilledWorker
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect_dask.task_runners import DaskTaskRunner

from exitdrill.errors import ExitdrillError, StoppedError, TransientError, WorkerDiedError
from exitdrill.flow.conductor import PrefectConductor
from exitdrill.flow.quiet import Quiet
from exitdrill.playbook.conductor import Asker, Pending
from exitdrill.playbook.run import Run
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.client import run_job, watch_of
from exitdrill.transfer.cluster import Order, carry, collect_refused, order_for
from exitdrill.transfer.job import Job, Result, Tick
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.postgres import ClaimTable

__all__ = ["DaskConductor"]

T = TypeVar("T")

_POLL_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_NO_WORKERS_SECONDS = 300.0
_STOP_SECONDS = 150.0
_PROBE_SECONDS = 180.0
_AGAIN_AT_MOST = 3
"""How often a job is begun again whose worker process died on a machine that lives."""


@task(name="exitdrill", task_run_name="{name}", retries=0, cache_policy=NO_CACHE, persist_result=False)
def _carried(name: str, job: str, order: dict[str, str | None]) -> Result:  # noqa: ARG001 - Prefect shows it
    """What a Dask worker is given: plain values, which neither Prefect nor Dask looks into for tasks to wait for."""
    return carry(Job.from_json(job), Order(**order))  # type: ignore[arg-type]  # what `asdict` gave


class _Leg:
    """The jobs of one leg of one asset that are under way."""

    def __init__(self, leg: str, asset: str) -> None:
        self.leg, self.asset = leg, asset
        self.errands: set[_Errand] = set()
        self.stop_asked = False


class _Errand:
    """One job on the cluster."""

    def __init__(self, conductor: "DaskConductor", name: str, job: Job, leg: _Leg, context: Context) -> None:
        self._conductor, self._name, self._job, self._leg, self._context = conductor, name, job, leg, context
        self.by = threading.get_ident()
        self._ticket = f"{job.task}-{job.asset}-{min(job.parts)}-{secrets.token_hex(4)}".replace(" ", "-")
        self._begun = 0
        self._shown = True
        self._stopping: float | None = None
        self._alone: float | None = None
        self._looked = time.monotonic()
        self._future: Any = None
        self._send()

    def result(self, timeout: float | None = None) -> Result:
        """What the job answered. Raises what it raised, after the others of its leg have ended; TimeoutError."""
        try:
            result = self._context.copy().run(self._wait, timeout)
        except TimeoutError:
            raise
        except BaseException:
            self._end()
            self._conductor.failed(self._leg, self.by)
            raise
        with suppress(ExitdrillError):  # only for show
            self._conductor.pass_on_news()
        self._end()
        return result

    def ended(self, limit_seconds: float) -> None:
        """Wait until it has ended, whatever comes of it: another of its leg failed."""
        with suppress(ExitdrillError, TimeoutError):
            self._context.copy().run(self._wait, limit_seconds)
        self._end()

    def _end(self) -> None:
        self._leg.errands.discard(self)
        self._conductor.collect(self._ticket)

    def _send(self) -> None:
        self._begun += 1
        self._shown = self._conductor.shown
        order = order_for(self._job, self._ticket)
        self._future = self._context.copy().run(
            partial(self._conductor.send, self._name, self._job, order, shown=self._shown)
        )

    def _wait(self, timeout: float | None) -> Result:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return cast("Result", self._future.result(_POLL_SECONDS))
            except TimeoutError:
                self._look()
                if deadline is not None and time.monotonic() > deadline:
                    raise
            except WorkerDiedError:
                if self._begun > _AGAIN_AT_MOST or self._conductor.stopped or self._leg.stop_asked:
                    raise
                self._conductor.note(f"{self._name}: its worker died; it is begun again")
                self._send()
            except ExitdrillError:
                raise
            except KilledWorker as exc:
                raise WorkerDiedError(
                    f"machines died while they did it: {exc}",
                    resource=self._name,
                    hint="see to the cluster, then: exitdrill resume",
                ) from exc
            except (CancelledError, asyncio.CancelledError) as exc:
                raise self._conductor.gone(exc) from exc
            except Exception as exc:
                if not self._shown:
                    raise self._conductor.gone(exc) from exc
                self._conductor.without_prefect(self._name, exc)  # Prefect's: a job's own is an ExitdrillError
                self._send()

    def _look(self) -> None:
        """Whether there is any use in waiting."""
        now = time.monotonic()
        if self._conductor.stopped or self._leg.stop_asked:
            self._stopping = self._stopping or now
            if now - self._stopping > _STOP_SECONDS:
                raise StoppedError("stopped; a machine of the cluster did not answer", resource=self._name)
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if self._conductor.workers():
            self._alone = None
            return
        self._alone = self._alone or now
        if now - self._alone > _NO_WORKERS_SECONDS:
            raise WorkerDiedError(
                f"the cluster has had no worker for {_NO_WORKERS_SECONDS:.0f} seconds",
                resource=self._conductor.address,
                hint="start workers, then: exitdrill resume",
            )


class DaskConductor(PrefectConductor):
    """A `PrefectConductor` that has parts carried out on a cluster. A context manager.

    Args:
        run: The run, whose plan names the cluster.
        asker: As `PrefectConductor`.
        seen: As `PrefectConductor`.
        width: Tasks that stay here, side by side.
        limits: As `PrefectConductor`.
    """

    def __init__(
        self,
        run: Run,
        asker: Asker | None = None,
        *,
        seen: bool = False,
        width: int = 2,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        """See the class. Raises RuntimeError outside a flow run, and as `claim_table`."""
        super().__init__(asker, seen=seen, stop=run.stop, width=width, limits=limits)
        self.directory: RunDirectory = run.directory
        self.address = str(run.plan.engine.address)
        self._wanted = run.plan.engine.workers
        self.note = run.options.progress.note
        self._table: ClaimTable = claim_table(run.plan, run.directory, run.environ(), Path(run.base))
        self._legs: dict[tuple[str, str], _Leg] = {}
        self._dask: DaskTaskRunner | None = None
        self._quiet = False
        self.shown = True
        self._gate = threading.Lock()
        self._ended = threading.Event()
        self._follower: threading.Thread | None = None
        self._news, self._since = threading.Lock(), -1.0

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Let running tasks end; let go of the cluster and of the table of claims."""
        self._ended.set()
        if self._follower is not None:
            self._follower.join()
        super().__exit__(kind, exc, tb)
        if self._legs:
            with suppress(ExitdrillError):  # whoever resumes the run takes it back as well
                self._table.go_on(self.directory.id)
        self._table.close()

    @property
    def width(self) -> int:
        """As `Conductor.width`: a job for each thread of the cluster's workers."""
        try:
            threads = sum(self._threads().values())
        except TransientError:  # what needs the cluster says so; this is asked of a run that may need it no more
            threads = 0
        return max(threads, self._wanted)

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped the run."""
        return self._stop.is_set()

    def submit(self, name: str, function: Callable[..., T], *args: object) -> Pending[T]:
        """As `Conductor.submit`: on the cluster for a job with parts, else here."""
        job = args[0] if args and function is run_job else None
        if not isinstance(job, Job) or not job.parts:
            return super().submit(name, function, *args)
        context = copy_context() if FlowRunContext.get() is not None else self._context.copy()
        leg = self._begin(job)
        errand = _Errand(self, name, job, leg, context)
        leg.errands.add(errand)
        return cast("Pending[T]", errand)

    def everywhere(self, function: Callable[..., T], *args: object) -> list[T]:
        """As `Conductor.everywhere`: here, and once on each worker of the cluster."""
        here = function(*args)
        if function is not run_job or not isinstance(args[0], Job):
            return [here]
        client, job = self._client(), args[0]
        orders = {worker: order_for(job, f"probe-{secrets.token_hex(4)}") for worker in self.workers()}
        futures = [
            client.submit(carry, job, order, workers=[worker], allow_other_workers=False, pure=False)
            for worker, order in orders.items()
        ]
        try:
            return [here, *(cast("T", future.result(_PROBE_SECONDS)) for future in futures)]
        except ExitdrillError:
            raise
        except (Exception, asyncio.CancelledError) as exc:
            raise WorkerDiedError(
                f"a worker did not answer: {exc or type(exc).__name__}", resource=self.address
            ) from exc
        finally:
            for order in orders.values():
                self.collect(order.ticket)

    def workers(self) -> tuple[str, ...]:
        """The addresses of the cluster's workers. Raises TransientError if the scheduler does not answer."""
        return tuple(self._threads())

    def _threads(self) -> dict[str, int]:
        try:
            return dict(self._client().nthreads())  # type: ignore[no-untyped-call]  # distributed leaves it so
        except (Exception, asyncio.CancelledError) as exc:
            raise self.gone(exc) from exc

    def send(self, name: str, job: Job, order: Order, *, shown: bool) -> Any:
        """Put a job on the cluster: through Prefect, or past it where that did not work."""
        try:
            client = self._client()
            if shown:
                parameters = {"name": name, "job": job.to_json(), "order": asdict(order)}
                return self._runner_on_cluster().submit(_carried, parameters)
            return client.submit(carry, job, order, pure=False)
        except (Exception, asyncio.CancelledError) as exc:
            raise self.gone(exc) from exc

    def without_prefect(self, name: str, why: BaseException) -> None:
        """A job came back with an error that is not its own, but Prefect's: from now on, past it."""
        if self.shown:
            self.shown = False
            self.note(f"Prefect shows no tasks of the cluster any more: {name}: {type(why).__name__}: {why}")

    def collect(self, ticket: str) -> None:
        """Count what the cut refused on an errand that has ended."""
        collect_refused(self.directory, watch_of(self.directory).refused, (ticket,))

    def failed(self, leg: _Leg, by: int) -> None:
        """Have the jobs that were begun beside one that failed stop, and wait until they have."""
        others = [errand for errand in tuple(leg.errands) if errand.by == by]
        if not others:
            return
        with self._gate, suppress(TransientError):  # without Postgres they stop by themselves
            leg.stop_asked = True
            self._table.ask_stop(self.directory.id, leg.leg, leg.asset, stop=True)
        deadline = time.monotonic() + _STOP_SECONDS
        for errand in others:
            errand.ended(max(_POLL_SECONDS, deadline - time.monotonic()))

    def _begin(self, job: Job) -> _Leg:
        with self._gate:
            leg = self._legs.setdefault((job.task, job.asset), _Leg(job.task, job.asset))
            if not leg.errands:
                leg.stop_asked = False
                self._table.ask_stop(self.directory.id, leg.leg, leg.asset, stop=False)
            if self._follower is None:
                collect_refused(self.directory, watch_of(self.directory).refused)  # of a conductor that was killed
                self._follower = threading.Thread(target=self._follow, name="exitdrill-cluster", daemon=True)
                self._follower.start()
            return leg

    def _follow(self) -> None:
        """Pass on how far parts are, and a wish to stop."""
        told = False
        while not self._ended.wait(_POLL_SECONDS):
            try:
                self.pass_on_news()
                self._pass_on_stop()
                told = False
            except ExitdrillError as error:
                if not told:
                    self.note(f"no news of the cluster's parts: {error}")
                told = True

    def pass_on_news(self) -> None:
        """Pass on how far the parts of legs are that are under way. Raises what the table of claims raises."""
        who = watch_of(self.directory)
        with self._news:
            standing, later = self._table.standing(self.directory.id, max(self._since, 0.0))
            # What was there before we began to look is part of what the phase began with.
            moved, self._since = (standing if self._since >= 0 else []), later
            for part in moved:
                leg = self._legs.get((part.leg, part.asset))
                if leg is not None and leg.errands:
                    counts = part.objects, part.size_bytes, part.errors
                    who.tick(Tick(part.leg, part.asset, *counts, parts=(part.part,)))

    def _pass_on_stop(self) -> None:
        with self._gate:
            for leg in self._legs.values():
                if leg.errands and self.stopped and not leg.stop_asked:
                    leg.stop_asked = True
                    self._table.ask_stop(self.directory.id, leg.leg, leg.asset, stop=True)

    def _runner_on_cluster(self) -> DaskTaskRunner:
        with self._lock:
            if self._dask is None:
                made = self._context.copy().run(DaskTaskRunner, address=self.address)
                self._dask = self._exit.enter_context(made)
            return self._dask

    def _client(self) -> Client:
        runner = self._runner_on_cluster()
        with self._lock:
            client = cast("Client", runner.client)
            if not self._quiet:
                client.register_plugin(Quiet())
                self._quiet = True
            return client

    def gone(self, exc: BaseException) -> ExitdrillError:
        """What it means that the cluster does not do what it is asked."""
        if isinstance(exc, ExitdrillError):
            return exc
        return TransientError(
            f"the Dask scheduler does not do what it is asked: {type(exc).__name__}: {exc}",
            resource=self.address,
            hint="see that it runs and can be reached from here, then: exitdrill resume",
        )
