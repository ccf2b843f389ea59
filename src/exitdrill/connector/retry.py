"""Trying again: what is transient, within limits, honouring what the far end asks for.

SDKs' own retries are switched off, so that each attempt is counted and each wait is known.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from exitdrill.clock import Clock, SystemClock
from exitdrill.errors import ExitdrillError, ThrottledError

__all__ = ["RetryPolicy", "Tally"]

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What trying again has cost, over all threads."""

    retries: int = 0
    """Calls made again."""
    throttled: int = 0
    """Of those, how many because the place asked for fewer."""
    waited_ns: int = 0
    """Time slept between tries."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, *, throttled: bool, waited_ns: int) -> None:
        """Count one more try."""
        with self._lock:
            self.retries += 1
            self.throttled += throttled
            self.waited_ns += waited_ns


class RetryPolicy:
    """Full-jitter exponential back-off.

    Args:
        attempts: How many tries in all.
        base_seconds: The ceiling of the first wait; it doubles.
        cap_seconds: The ceiling of any wait, ``Retry-After`` included.
        clock: Where to sleep.
        jitter: A random number between 0 and 1.
    """

    def __init__(
        self,
        attempts: int = 6,
        base_seconds: float = 0.2,
        cap_seconds: float = 30.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """See the class."""
        self.attempts = attempts
        self._base, self._cap = base_seconds, cap_seconds
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self.tally = Tally()

    def wait(self, error: ExitdrillError, attempt: int) -> bool:
        """Sleep before try number ``attempt + 1``; False if there is to be none."""
        if not error.transient or attempt >= self.attempts:
            return False
        seconds = min(self._cap, self._base * 2 ** min(attempt - 1, 62)) * self._jitter()
        throttled = isinstance(error, ThrottledError)
        if isinstance(error, ThrottledError) and error.retry_after_seconds is not None:
            seconds = min(self._cap, max(seconds, error.retry_after_seconds))
        self._clock.sleep(seconds)
        self.tally.add(throttled=throttled, waited_ns=int(seconds * 1e9))
        return True

    def call(self, action: Callable[[], T]) -> T:
        """Do it, again while what it raises is transient and tries are left. Raises what the last try raised."""
        attempt = 1
        while True:
            try:
                return action()
            except ExitdrillError as error:
                if not self.wait(error, attempt):
                    raise
            attempt += 1
