"""Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second ends the process at once.

At once is safe: the journal and the ledger are durable line by line, workers and emulators end when their
input closes, and `exitdrill resume` goes on from what is there.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupts"]

_EXIT_CODE = 4
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts(stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
    """Handle both signals while the context lasts. Only in the main thread.

    Args:
        stop: Set by the first.
        say: Tells the person; called from a thread of its own, because a handler may interrupt a print.
    """
    seen = threading.Event()  # not `stop`, which a step's time limit sets, too

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal gives them
        if seen.is_set():
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\r\n")  # the live display had hidden the cursor
            os.write(2, b"ended at once; exitdrill resume goes on from what is there\n")
            os._exit(_EXIT_CODE)
        seen.set()
        stop.set()
        text = "stopping cleanly; once more to exit at once"
        threading.Thread(target=say, args=(text,), daemon=True).start()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
