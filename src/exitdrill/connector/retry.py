"""Trying again: what is transient, within limits, honouring what the far end asks for.

SDKs' own retries are switched off, so that each attempt is counted and each wait is known.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol, TypeVar

from exitdrill.clock import Clock, SystemClock
from exitdrill.errors import ExitdrillError, ThrottledError

__all__ = ["Governor", "RetryPolicy", "Tally"]

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What trying again has cost, over all threads."""

    retries: int = 0
    """Calls made again."""
    throttled: int = 0
    """Of those, how many because the place asked for fewer."""
    waited_ns: int = 0
    """Time slept between tries, and before requests to a place that had asked to wait."""
    limited_ns: int = 0
    """Time waited for the drill's own limits, of requests and of bandwidth."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, *, throttled: bool, waited_ns: int) -> None:
        """Count one more try."""
        with self._lock:
            self.retries += 1
            self.throttled += throttled
            self.waited_ns += waited_ns

    def add_waited(self, waited_ns: int) -> None:
        """Count time waited because a place had asked for it."""
        with self._lock:
            self.waited_ns += waited_ns

    def add_limited(self, waited_ns: int) -> None:
        """Count time waited for the drill's own limits."""
        with self._lock:
            self.limited_ns += waited_ns


class Governor(Protocol):
    """Who says when a request may begin; asked before every try."""

    def before(self) -> int:
        """Wait until a request may begin; the moment, by a clock of its own. Raises StoppedError."""

    def throttled(self, error: ThrottledError, began_ns: int) -> None:
        """Told that the place asked for fewer requests, of a try that began at the moment `before` gave."""


class RetryPolicy:
    """Full-jitter exponential back-off.

    Args:
        attempts: How many tries in all.
        base_seconds: The ceiling of the first wait; it doubles.
        cap_seconds: The ceiling of any wait, ``Retry-After`` included.
        clock: Where to sleep.
        jitter: A random number between 0 and 1.
        governor: Asked before every try.
        tally: Where to count, if several policies are to count together.
    """

    def __init__(
        self,
        attempts: int = 6,
        base_seconds: float = 0.2,
        cap_seconds: float = 30.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        governor: Governor | None = None,
        tally: Tally | None = None,
    ) -> None:
        """See the class."""
        self.attempts = attempts
        self._base, self._cap = base_seconds, cap_seconds
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self.governor = governor
        self.tally = tally or Tally()

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
        governor = self.governor
        while True:
            began_ns = 0 if governor is None else governor.before()
            try:
                return action()
            except ExitdrillError as error:
                if governor is not None and isinstance(error, ThrottledError):
                    governor.throttled(error, began_ns)
                if not self.wait(error, attempt):
                    raise
            attempt += 1
