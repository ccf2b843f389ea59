"""How many at once, and when: what a place can take, found by trying, and what it asks for, heeded.

Rules: a place that asks for fewer requests (429, 503) halves what is under way there, once for all requests that
were on their way together; when it names a time, nothing new begins before it. Every wait heeds a wish to stop and
is tallied. For use from many threads.

Additive increase, multiplicative decrease: D.-M. Chiu and R. Jain, 1989, doi:10.1016/0169-7552(89)90019-6; no
growth while the window is not used up: RFC 7661. A slot lasts as long as an object's copy, and objects differ in
size by orders of magnitude: so how long one takes says nothing of congestion, and is not looked at.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from exitdrill.clock import Clock
from exitdrill.connector.limits import TokenBucket
from exitdrill.connector.retry import Tally
from exitdrill.errors import StoppedError, ThrottledError

__all__ = ["AdaptiveWindow", "PlaceGovernor", "Slots"]

Stopped = Callable[[], bool]

_NS = 1_000_000_000
_DOZE_SECONDS = 0.25
"""How long a wait lasts before it looks whether to stop."""
_SETTLE_NS = _NS // 4
"""How long a window that was throttled keeps its size, whichever way it went."""
_RETRY_AFTER_AT_MOST_SECONDS = 900.0
_SPREAD, _SPREAD_AT_MOST_SECONDS = 0.25, 1.0
"""After a wait that the place asked for, requests begin over this part of it, so that they do not come all at once."""


def _never() -> bool:
    return False


class AdaptiveWindow:
    """How many objects may be under way at one account at a time, found by trying.

    The seam to whoever copies: a copy begins with ``acquire(stopped)``, which waits for a slot, and ends with
    ``release(ok)``, ok if it succeeded; nothing else is to be told. The `PlaceGovernor` of the same place, which sees
    every request, calls `throttled`. Threads beyond the window wait in ``acquire``: run as many as `most`.

    Begins with ``start`` slots, one more for each success (so twice as many in a round trip) until the place
    first throttles; from then on one more for each window's worth of successes, and no more than a few a second: over
    a short way it would otherwise try the place's patience at every tenth request. It grows only while it is used up.
    A throttled request halves it, but not when it began within a moment of the last halving or before, and not while
    more are under way than that one allows: it has not shown its effect yet.

    Args:
        most: Slots at most.
        clock: For what is tallied.
        start: Slots at the beginning.
        decrease: What a throttled request multiplies the slots by.
    """

    def __init__(self, most: int, clock: Clock, start: int = 16, decrease: float = 0.5) -> None:
        """See the class."""
        self.most = max(1, most)
        self._clock, self._decrease = clock, decrease
        self._lock = Lock()
        self._size = self.smallest = min(max(1, start), self.most)
        self._bound = self.most
        self._used = 0
        self._successes = 0
        self._slow_start = True
        self._changed_ns = self._decreased_ns = clock.monotonic_ns() - _SETTLE_NS
        self._queue: deque[Lock] = deque()
        self.decreases = 0
        """How often it was made smaller."""
        self.waited_ns = 0
        """Time waited for a slot, over all threads."""

    @property
    def size(self) -> int:
        """Slots there are now."""
        return min(self._size, self._bound)

    @property
    def used(self) -> int:
        """Slots taken now; more than `size` shortly after a decrease."""
        return self._used

    @contextmanager
    def slot(self, stopped: Stopped = _never) -> Iterator[None]:
        """A slot for as long as the context lasts; whatever is raised in it counts as no success."""
        self.acquire(stopped)
        ok = False
        try:
            yield
            ok = True
        finally:
            self.release(ok)

    def acquire(self, stopped: Stopped = _never) -> None:
        """Wait for a slot, first come, first served. Raises StoppedError if ``stopped`` says so meanwhile."""
        with self._lock:
            if not self._queue and self._used < self._size and self._used < self._bound:
                self._used += 1
                return
            turn = Lock()
            turn.acquire()
            self._queue.append(turn)
        began = self._clock.monotonic_ns()
        try:
            while not turn.acquire(timeout=_DOZE_SECONDS):
                if stopped():
                    self._leave(turn)
                    raise StoppedError("stopped while waiting for its turn")
        finally:
            waited = self._clock.monotonic_ns() - began
            with self._lock:
                self.waited_ns += waited

    def release(self, ok: bool) -> None:
        """Give the slot back. ``ok``: what it was for has succeeded."""
        with self._lock:
            if ok and self._used == self._size <= self._bound:
                self._grow()
            self._used -= 1
            if self._queue:
                self._hand_out()

    def throttled(self, began_ns: int | None = None) -> bool:
        """A request was asked to come later.

        Args:
            began_ns: When it began, by the clock's monotonic time; now if left out.

        Returns:
            Whether the window became smaller.
        """
        with self._lock:
            now = self._clock.monotonic_ns()
            self._slow_start = False
            self._successes = 0
            began = now if began_ns is None else began_ns
            if self._used > self._size or began < self._decreased_ns + _SETTLE_NS:
                return False
            base = min(self._size, self._used or self._size)
            self._size = max(1, int(base * self._decrease))
            self._changed_ns = self._decreased_ns = now
            self.smallest = min(self.smallest, self._size)
            self.decreases += 1
            return True

    def bound(self, most: int) -> None:
        """Allow at most so many for another reason than what the place can take, such as the bandwidth in force."""
        with self._lock:
            self._bound = max(1, min(most, self.most))
            self.smallest = min(self.smallest, self._bound)
            self._hand_out()

    def _grow(self) -> None:
        self._successes += 1
        if self._size >= self.most or not (self._slow_start or self._successes >= self._size):
            return
        if not self._slow_start:
            now = self._clock.monotonic_ns()
            if now < self._changed_ns + _SETTLE_NS:
                return
            self._changed_ns = now
        self._size += 1
        self._successes = 0

    def _hand_out(self) -> None:
        while self._queue and self._used < min(self._size, self._bound):
            self._used += 1
            self._queue.popleft().release()

    def _leave(self, turn: Lock) -> None:
        """No longer wait; a slot that came in the same moment is passed on."""
        with self._lock:
            if turn in self._queue:
                self._queue.remove(turn)
            else:
                self._used -= 1
                self._hand_out()


class Slots:
    """A slot in each of several windows: a copy is under way at two places at once.

    Args:
        windows: Always acquired in this order, so that two copies never wait for one another.
    """

    def __init__(self, *windows: AdaptiveWindow) -> None:
        """See the class."""
        self._windows = windows

    def acquire(self, stopped: Stopped = _never) -> None:
        """As `AdaptiveWindow.acquire`, in each; none is kept if it is stopped."""
        for number, window in enumerate(self._windows):
            try:
                window.acquire(stopped)
            except StoppedError:
                for taken in self._windows[:number]:
                    taken.release(ok=False)
                raise

    def release(self, ok: bool) -> None:
        """As `AdaptiveWindow.release`, in each."""
        for window in self._windows:
            window.release(ok)

    @contextmanager
    def held(self, stopped: Stopped = _never) -> Iterator[None]:
        """As `AdaptiveWindow.slot`, in each."""
        self.acquire(stopped)
        ok = False
        try:
            yield
            ok = True
        finally:
            self.release(ok)


class PlaceGovernor:
    """Stands before every request to one place: `exitdrill.connector.retry.Governor`.

    Args:
        clock: Where time comes from, and where to sleep.
        window: Made smaller when the place throttles.
        tally: Takes what is waited.
        requests: The limit of requests a second, if there is one.
        stopped: Ends a wait.
        jitter: A random number between 0 and 1.
    """

    def __init__(
        self,
        clock: Clock,
        window: AdaptiveWindow,
        tally: Tally,
        requests: TokenBucket | None = None,
        stopped: Stopped = _never,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """See the class."""
        self._clock, self._window, self._tally = clock, window, tally
        self._requests, self._stopped, self._jitter = requests, stopped, jitter
        self._lock = Lock()
        self._open_ns = clock.monotonic_ns()
        """Nothing begins before it."""
        self._spread_ns = 0.0

    def before(self) -> int:
        """Wait until a request may begin, and say when that is. Raises StoppedError."""
        now = self._clock.monotonic_ns()
        if now < self._open_ns:
            now = self._sit_out(now)
        if self._requests is not None and (waited := self._requests.take(1, self._stopped)):
            self._tally.add_limited(waited)
            now = self._clock.monotonic_ns()
            if now < self._open_ns:  # the place asked to wait while this one waited for its turn
                now = self._sit_out(now)
        return now

    def throttled(self, error: ThrottledError, began_ns: int) -> None:
        """A request that began then was asked to come later."""
        self._window.throttled(began_ns)
        if error.retry_after_seconds is None:
            return
        seconds = min(max(0.0, error.retry_after_seconds), _RETRY_AFTER_AT_MOST_SECONDS)
        opens = self._clock.monotonic_ns() + int(seconds * _NS)
        with self._lock:
            if opens > self._open_ns:
                self._open_ns = opens
                self._spread_ns = min(_SPREAD * seconds, _SPREAD_AT_MOST_SECONDS) * _NS

    def _sit_out(self, began: int) -> int:
        """Wait till the time the place named, also when it names a later one meanwhile."""
        share, now = self._jitter(), began
        try:
            while (left := self._open_ns + int(share * self._spread_ns) - now) > 0:
                if self._stopped():
                    raise StoppedError("stopped while a place had asked to wait")
                self._clock.sleep(min(left / _NS, _DOZE_SECONDS))
                now = self._clock.monotonic_ns()
        finally:
            self._tally.add_waited(now - began)
        return now
