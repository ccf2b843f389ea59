"""Calls that may never return, with a limit: other people's libraries and servers, which know no end of their own.

The call is made on a thread of its own, which is left behind when its time is over: it cannot be ended, and must not
be waited for while a drill's clock runs.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Busy"]

T = TypeVar("T")


class Busy(Generic[T]):
    """One thing that is called with a limit, and is not called again while an earlier call has not returned.

    Args:
        limit_seconds: How long a call may take.
    """

    def __init__(self, limit_seconds: float) -> None:
        """See the class."""
        self._limit_seconds = limit_seconds
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], T]) -> T:
        """What the work returns. Raises what it raises, and TimeoutError when it takes too long, or still does."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("an earlier call has not returned yet")
        returned: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                returned.append(work())
            except BaseException as exc:  # noqa: BLE001 - carried to the thread that waits
                raised.append(exc)

        self._thread = threading.Thread(target=run, name="exitdrill-within", daemon=True)
        self._thread.start()
        self._thread.join(self._limit_seconds)
        if raised:
            raise raised[0]
        if not returned:
            raise TimeoutError(f"no answer within {self._limit_seconds:g} s")
        return returned[0]
