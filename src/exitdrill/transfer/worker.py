"""The worker process: ``python -m exitdrill.transfer.worker``.

Reads one job as a line of JSON from standard input, and after it ``stop`` or the end of the input, which both
mean: stop soon, keep what is done. Writes lines of JSON to standard output: ticks, attempts on a severed
source, and at the end one result or one error. Anything else (an SDK's chatter) goes to standard error.
In a run that is cut, the cut is enforced before any connector is loaded. A job is claimed by a lock on a file:
the worker of a conductor that was killed may still be ending when the next conductor starts the same job again.
On several machines parts are claimed one by one instead (`exitdrill.transfer.claims`).
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from exitdrill.errors import ExitdrillError, RunError
from exitdrill.transfer.claims import claimed_elsewhere
from exitdrill.transfer.cut import Refuser, cut_for
from exitdrill.transfer.job import Job
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


def _listen_for_stop(stop: threading.Event) -> None:
    def listen() -> None:
        sys.stdin.readline()
        stop.set()
        # A parent that is gone cannot kill us; a read that hangs must not keep us.
        timer = threading.Timer(_GRACE_SECONDS, os._exit, (70,))
        timer.daemon = True
        timer.start()

    threading.Thread(target=listen, daemon=True).start()


def _tick(wire: _Wire, meter: Meter, ended: threading.Event) -> None:
    while not ended.wait(_TICK_SECONDS):
        wire.tick(meter)


def _run(job: Job, wire: _Wire, stopped: Callable[[], bool]) -> None:
    directory = RunDirectory(Path(job.directory))
    if job.parts and claimed_elsewhere(directory):
        _carry_out(job, directory, wire, stopped)
        return
    claim = directory.claim(f"{job.task} {job.asset} {min(job.parts, default=0)}", _CLAIM_SECONDS, stopped)
    try:
        _carry_out(job, directory, wire, stopped)
    finally:
        claim.close()


def _carry_out(job: Job, directory: RunDirectory, wire: _Wire, stopped: Callable[[], bool]) -> None:
    cut = cut_for(directory, job)
    refuser = None
    if cut is not None:
        refuser = Refuser(cut, lambda address: wire.say("refused", address=address))
        refuser.enforce()
    from exitdrill.transfer.tasks import run_task  # only now: nothing may load a connector before the cut holds

    meter = Meter()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(wire, meter, ended), daemon=True)
    ticker.start()
    try:
        facts, tally = run_task(job, directory, meter, stopped)
    finally:
        ended.set()
        ticker.join()
        wire.tick(meter)
    cost = {name: getattr(tally, name) for name in ("retries", "throttled", "waited_ns", "limited_ns")}
    wire.say("result", facts=facts, **cost)


def main() -> int:
    """Carry out one job; 0 if it answered with a result."""
    wire = _Wire(_take_stdout())
    job = Job("job", "")
    stop = threading.Event()
    try:
        job = Job.from_json(sys.stdin.readline())
        _listen_for_stop(stop)
        _run(job, wire, stop.is_set)
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
