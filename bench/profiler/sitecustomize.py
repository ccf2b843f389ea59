"""Samples a worker process from within: which function each thread spent its CPU in.

Python imports this file at its start where its folder is on ``PYTHONPATH``; it does nothing unless BENCH_PROFILE
names a folder and the process is a worker. Every few milliseconds each thread's own CPU clock is read, and what it
advanced is booked on the function that the thread is in, for each tenth of a second of Unix time. The totals are
rewritten twice a second, because a worker ends without saying good-bye.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

_SAMPLE_SECONDS = 0.004
_WRITE_SECONDS = 0.5


def _name(frame: object) -> str:
    code = frame.f_code  # type: ignore[attr-defined]  # a frame
    parts = Path(code.co_filename).with_suffix("").parts
    return f"{'.'.join(parts[-2:])}:{code.co_name}"


def _sample(folder: Path) -> None:
    written = time.monotonic()
    mine = threading.get_ident()
    last: dict[int, float] = {}
    spent: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    path = folder / f"{os.getpid()}.json"
    while True:
        time.sleep(_SAMPLE_SECONDS)
        tenth = int(10 * time.time())
        for thread, frame in sys._current_frames().items():
            try:
                now = time.clock_gettime(time.pthread_getcpuclockid(thread))
            except OSError:
                continue  # it has ended
            if thread != mine:
                spent[tenth][_name(frame)] += now - last.get(thread, 0.0)
            last[thread] = now
        if time.monotonic() - written > _WRITE_SECONDS:
            written = time.monotonic()
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(spent))
            beside.replace(path)


if (_folder := os.environ.get("BENCH_PROFILE")) and "exitdrill.transfer.worker" in sys.orig_argv:
    threading.Thread(target=_sample, args=(Path(_folder),), name="bench-profiler", daemon=True).start()
