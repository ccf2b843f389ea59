"""Starting a worker for a job, following it, and stopping it. Runs in the process that conducts the drill.

`run_job` is a module's own function with plain arguments, so that any task runner can carry it to another
machine. Who wants to see progress, and who may stop it, registers with `watch` for the run in this process.
"""

import json
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from exitdrill.errors import RunError, StoppedError, TransientError, WorkerDiedError, from_json
from exitdrill.transfer.cut import Cut, cut_for
from exitdrill.transfer.job import READY, Job, Result, Tick
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.workers import Kind, Worker, keep, keeping, take

__all__ = ["Watch", "cores", "run_job", "start_ahead", "watch", "watch_of"]

_BEAT_SECONDS = 0.5
_STOP_SECONDS = 90.0
_STALL_SECONDS = 900.0
_ENDING_SECONDS = 5.0
_PROXIED = ("NO_PROXY", "no_proxy")
_BEFORE_CUT = frozenset({"inventory", "evacuate", "last look"})


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a run's workers in this process."""

    tick: Callable[[Tick], None]
    stopped: Callable[[], bool]
    refused: Callable[[Job, str], None] = lambda _job, _address: None
    """Told of each connection to the source that the cut refused."""
    environ: Callable[[], Mapping[str, str]] = lambda: os.environ
    """The environment of workers, before the cut takes from it."""
    environ_cut_early: Callable[[], Mapping[str, str]] | None = None
    """The same for workers that are cut off before the run is, where it differs."""


_watches: dict[str, Watch] = {}
_NOBODY = Watch(lambda _: None, lambda: False)


@contextmanager
def watch(directory: RunDirectory, who: Watch) -> Iterator[None]:
    """Follow a run's workers while the context lasts, and keep them between jobs."""
    _watches[str(directory.path)] = who
    try:
        with keeping(directory):
            yield
    finally:
        _watches.pop(str(directory.path), None)


def cores() -> int:
    """How many worker processes run side by side: one a core that this process may use, and at least two."""
    return max(2, len(os.sched_getaffinity(0)))


def watch_of(directory: RunDirectory) -> Watch:
    """Who follows a run's workers in this process; somebody who does not care, if nobody does."""
    return _watches.get(str(directory.path), _NOBODY)


def run_job(job: Job, who: Watch | None = None) -> Result:
    """Carry a job out in a worker process: one that waits for a job of its kind, or a new one.

    After the cut, the worker's environment lacks the source's credentials, and jobs that need the source are
    refused. A job that asks to be cut off early is so before that too.

    Args:
        job: What to do.
        who: Who follows it; None for who registered with `watch`.

    Raises:
        StoppedError: It was stopped; what was done is kept.
        TransientError: It made no progress for a quarter of an hour, and was ended.
        ExitdrillError: What the worker ended with.
    """
    directory = RunDirectory(Path(job.directory))
    who = watch_of(directory) if who is None else who
    began_ns = time.monotonic_ns()
    worker = take(directory, _kind(directory, job, who))
    try:
        result, stays = _Follower(worker, job, who).follow()
    except BaseException:
        worker.end()
        raise
    if stays:
        keep(directory, worker)
    else:  # it ends by itself
        worker.end(_ENDING_SECONDS)
    return replace(result, busy_ns=time.monotonic_ns() - began_ns)


def start_ahead(directory: RunDirectory, workers: int) -> None:
    """Start workers for jobs to come and keep them, so that starting them takes nobody's time. Needs a `watch`."""
    job = Job(READY, str(directory.path))
    for _ in range(workers):
        worker = Worker(_kind(directory, job, watch_of(directory)), directory.logs)
        worker.tell(job.to_json())
        keep(directory, worker)


def _kind(directory: RunDirectory, job: Job, who: Watch) -> Kind:
    """What a worker for this job starts with. Raises RunError for one that needs the source after the cut."""
    cut = cut_for(directory, job)
    environ = dict((who.environ_cut_early or who.environ)() if job.cut_early else who.environ())
    if cut is not None:
        if job.task in _BEFORE_CUT:
            raise RunError(f"{job.task} needs the source, which is cut off", resource=job.directory)
        environ = _direct(cut.scrub(environ), cut)
    return Kind(environ, cut)


def _direct(environ: Mapping[str, str], cut: Cut) -> dict[str, str]:
    """The environment with the source taken out of what a proxy serves: the cut sees direct connections only."""
    hosts = ",".join(sorted({host.removeprefix("*") for host, _ in cut.hosts}))
    return {**environ, **{name: ",".join(filter(None, (environ.get(name), hosts))) for name in _PROXIED}}


class _Follower:
    """Gives a worker its job, and hears what it says of it."""

    def __init__(self, worker: Worker, job: Job, who: Watch) -> None:
        self._worker, self._job, self._who = worker, job, who
        self._last: tuple[int, ...] = ()
        self._moved = time.monotonic()
        self._stopping: float | None = None

    def follow(self) -> tuple[Result, bool]:
        """What it answered, and whether it may be given another job."""
        self._worker.tell(self._job.to_json())
        while True:
            self._watch()
            try:
                line = self._worker.lines.get(timeout=_BEAT_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                raise self._died()
            if not line.endswith("\n"):
                continue  # the beginning of a line: it was killed in the middle
            if (answer := self._hear(line)) is not None:
                result, stays = answer
                return result, stays and self._stopping is None

    def _hear(self, line: str) -> tuple[Result, bool] | None:
        try:
            message = json.loads(line)
            kind = message.pop("is")
            if kind == "ready":
                return None
            if kind == "tick":
                now = tuple(int(message[name]) for name in ("objects", "size_bytes", "errors", "beats"))
            elif kind == "refused":
                address = str(message["address"])
            elif kind == "error":
                error = from_json(message["error"])
            elif kind == "result":
                return Result(**{k: v for k, v in message.items() if k != "stays"}), bool(message["stays"])
            else:
                raise self._nonsense()
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._nonsense() from exc
        if kind == "tick":
            self._progress(*now)
        elif kind == "refused":
            self._who.refused(self._job, address)
        else:
            raise error
        return None

    def _nonsense(self) -> RunError:
        said = "the worker said something that is not of its protocol"
        return RunError(said, resource=self._job.task, hint=f"see {self._worker.log.name}")

    def _progress(self, objects: int, size_bytes: int, errors: int, beats: int) -> None:
        now = (objects, size_bytes, errors, beats)
        if now != self._last:
            self._last, self._moved = now, time.monotonic()
        self._who.tick(Tick(self._job.task, self._job.asset, objects, size_bytes, errors, parts=self._job.parts))

    def _watch(self) -> None:
        """Pass on a wish to stop, and end a worker that does not heed it, or that stands still."""
        now = time.monotonic()
        if self._stopping is None and self._who.stopped():
            self._stopping = now
            self._worker.tell("stop")
        if self._stopping is not None and now - self._stopping > _STOP_SECONDS:
            raise StoppedError("stopped; a worker had to be ended", resource=self._job.asset)
        if now - self._moved > _STALL_SECONDS:
            said = f"{self._job.task} made no progress for {_STALL_SECONDS:.0f} seconds"
            raise TransientError(said, resource=self._job.asset)

    def _died(self) -> RunError:
        code = self._worker.code()
        if self._stopping is not None:
            return StoppedError("stopped", resource=self._job.asset)
        return WorkerDiedError(
            f"the worker for {self._job.task} ended unexpectedly (code {code})",
            resource=self._job.asset,
            hint=f"its last words are in {self._worker.log.name}; exitdrill resume goes on from here",
        )
