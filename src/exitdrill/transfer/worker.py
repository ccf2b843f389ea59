"""The worker process: ``python -m exitdrill.transfer.worker``.

Reads jobs as lines of JSON from standard input, each after the answer to the one before. ``stop`` and the end of the
input mean: stop soon, keep what is done. Writes lines of JSON to standard output: ticks, attempts on a severed
source, and for each job one result or one error. Anything else (an SDK's chatter) goes to standard error.
It ends after an error, and where a job left threads behind; a result says whether it stays for another.
In a run that is cut, the cut is enforced before any connector is loaded, once and for good: all jobs of a worker
are to be under the same one. A job is claimed by a lock on a file:
the worker of a conductor that was killed may still be ending when the next conductor starts the same job again.
On several machines parts are claimed one by one instead (`exitdrill.transfer.claims`).
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from exitdrill.connector.retry import Tally
from exitdrill.errors import ExitdrillError, RunError
from exitdrill.transfer.claims import claimed_elsewhere
from exitdrill.transfer.cut import Cut, Refuser, cut_for
from exitdrill.transfer.job import READY, Job
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.partrun import Meter

_TICK_SECONDS = 0.5
_GRACE_SECONDS = 60.0
_CLAIM_SECONDS = 120.0
"""How long to wait for a worker that lost its parent to end: longer than its grace."""


class _Wire:
    """Lines of JSON to the parent, whole, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def say(self, kind: str, **facts: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"is": kind, **facts}) + "\n")
            self._file.flush()

    def tick(self, meter: Meter) -> None:
        self.say("tick", objects=meter.objects, size_bytes=meter.size_bytes, errors=meter.errors, beats=meter.beats)


def _take_stdout() -> TextIO:
    """The real standard output for us alone; what prints to it by habit ends on standard error."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return mine


def _listen(jobs: "queue.SimpleQueue[str | None]", stop: threading.Event) -> None:
    def listen() -> None:
        for line in sys.stdin:
            if line == "stop\n":
                break
            jobs.put(line)
        stop.set()
        jobs.put(None)
        # A parent that is gone cannot kill us; a read that hangs must not keep us.
        timer = threading.Timer(_GRACE_SECONDS, os._exit, (70,))
        timer.daemon = True
        timer.start()

    threading.Thread(target=listen, daemon=True).start()


def _tick(wire: _Wire, meter: Meter, ended: threading.Event) -> None:
    while not ended.wait(_TICK_SECONDS):
        wire.tick(meter)


class _Worker:
    """Carries out job after job."""

    def __init__(self, wire: _Wire, stopped: Callable[[], bool]) -> None:
        self._wire, self._stopped = wire, stopped
        self._cut: Cut | None = None
        self._began = False
        self._own_threads = threading.active_count()

    def carry_out(self, job: Job) -> bool:
        """Answer one job; whether another may follow."""
        directory = RunDirectory(Path(job.directory))
        if job.task == READY:
            self._ready(job, directory)
            return True
        if job.parts and claimed_elsewhere(directory):
            facts, tally = self._do(job, directory)
        else:
            claim = directory.claim(
                f"{job.task} {job.asset} {min(job.parts, default=0)}", _CLAIM_SECONDS, self._stopped
            )
            try:
                facts, tally = self._do(job, directory)
            finally:
                claim.close()
        cost = {name: getattr(tally, name) for name in ("retries", "throttled", "waited_ns", "limited_ns")}
        stays = not self._stopped() and threading.active_count() <= self._own_threads
        self._wire.say("result", facts=facts, stays=stays, **cost)
        return stays

    def _ready(self, job: Job, directory: RunDirectory) -> None:
        self._enforce(cut_for(directory, job))
        from exitdrill.transfer.tasks import load_connectors

        load_connectors(directory)
        self._wire.say("ready")

    def _do(self, job: Job, directory: RunDirectory) -> tuple[Mapping[str, Any], Tally]:
        self._enforce(cut_for(directory, job))
        from exitdrill.transfer.tasks import run_task  # only now: nothing may load a connector before the cut holds

        meter = Meter()
        ended = threading.Event()
        ticker = threading.Thread(target=_tick, args=(self._wire, meter, ended), daemon=True)
        ticker.start()
        try:
            return run_task(job, directory, meter, self._stopped)
        finally:
            ended.set()
            ticker.join()
            self._wire.tick(meter)

    def _enforce(self, cut: Cut | None) -> None:
        if self._began and cut != self._cut:
            raise RunError("this worker began under another cut", resource="worker")
        if not self._began and cut is not None:
            Refuser(cut, lambda address: self._wire.say("refused", address=address)).enforce()
        self._began, self._cut = True, cut


def main() -> int:
    """Carry out jobs until there are no more; 1 after an error."""
    wire = _Wire(_take_stdout())
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    stop = threading.Event()
    _listen(jobs, stop)
    worker, job = _Worker(wire, stop.is_set), Job("job", "")
    try:
        while (line := jobs.get()) is not None:
            job = Job.from_json(line)
            if not worker.carry_out(job):
                return 0
    except ExitdrillError as error:
        wire.say("error", error=error.to_json())
        return 1
    except Exception as error:  # noqa: BLE001 - a process border: it crosses as a RunError, its trace goes to the log
        import traceback

        traceback.print_exc()
        wrapped = RunError(f"{type(error).__name__}: {error}", resource=f"worker ({job.task} {job.asset})".strip())
        wire.say("error", error=wrapped.to_json())
        return 1
    return 0


if __name__ == "__main__":
    # Threads that still wait on a network must not hold the process: everything worth keeping is committed.
    code = main()
    sys.stderr.flush()
    os._exit(code)
