"""One worker's pace at one place: what the drill's ``limits:`` make of its requests, bytes and copies.

Rules: a limit is one run's, not the organisation's: two runs at the same place know nothing of one another. Workers
of one run share it by taking an equal part each, so it is never exceeded, and not used up while one of them idles.
Where the drill sets no limit nothing is waited for, but the window still follows what the place can take.
"""

from collections.abc import Callable

from exitdrill.clock import Clock
from exitdrill.connector.limits import Timetable, TokenBucket
from exitdrill.connector.objects import CHUNK_BYTES
from exitdrill.connector.retry import RetryPolicy, Tally
from exitdrill.connector.window import AdaptiveWindow, PlaceGovernor
from exitdrill.model.limits import Limits
from exitdrill.plan.drill import Place

__all__ = ["Pace", "limits_for", "threads_for"]

_BETWEEN_CHUNKS_SECONDS = 10.0
"""How long a body may stand still for bandwidth. Servers hang up on slow ones: S3 after some 20 seconds."""


def limits_for(place: Place, share: int) -> Limits:
    """What one of ``share`` worker processes may ask of a place. Raises ValueError for fewer than one."""
    return place.limits.shared_by(share)


def threads_for(asked: int | None, default: int, *places: Place) -> int:
    """How many objects a worker has under way at most: what the step asks for, never more than a place allows.

    Args:
        asked: The step's own number, if it has one.
        default: Where neither it nor a place says.
        places: Those that a copy is under way at.
    """
    most = min((p.limits.concurrency for p in places if p.limits.concurrency is not None), default=None)
    if asked is None:
        return default if most is None else most
    return asked if most is None else min(asked, most)


class Pace:
    """One worker's pace at one place.

    Args:
        limits: This worker's part; see `limits_for`.
        threads: How many objects are under way at most, where the limits do not say.
        tally: Takes what is waited.
        clock: Where time comes from, and where to sleep.
        stopped: Ends a wait; asked several times a second while one lasts.
    """

    def __init__(self, limits: Limits, threads: int, tally: Tally, clock: Clock, stopped: Callable[[], bool]) -> None:
        """See the class."""
        self._tally, self._clock, self._stopped = tally, clock, stopped
        self.window = AdaptiveWindow(limits.concurrency or threads, clock)
        requests = None if limits.requests_per_second is None else TokenBucket(limits.requests_per_second, clock)
        self._requests = requests
        governor = PlaceGovernor(clock, self.window, tally, requests, stopped)
        self.retry = RetryPolicy(clock=clock, governor=governor, tally=tally)
        self.bandwidth: TokenBucket | None = None
        """None where the drill sets no limit."""
        if limits.bandwidth:
            table = Timetable(limits.bandwidth, limits.timezone)
            self.bandwidth = TokenBucket(lambda: table.rate_at(clock.utc_now()), clock, told=self._suit)

    def moved(self, size_bytes: int) -> None:
        """Bytes go to or come from the place: wait until they may. Raises StoppedError."""
        if self.bandwidth is not None and (waited := self.bandwidth.take(size_bytes, self._stopped)):
            self._tally.add_limited(waited)

    def facts(self) -> dict[str, int]:
        """What is worth a line in the journal: JSON values."""
        requests = 0 if self._requests is None else self._requests.waited_ns
        return {
            "window": self.window.size,
            "smallest_window": self.window.smallest,
            "decreases": self.window.decreases,
            "waited_for_requests_ns": requests,
            "waited_for_bandwidth_ns": 0 if self.bandwidth is None else self.bandwidth.waited_ns,
        }

    def _suit(self, rate: float | None) -> None:
        """No more at once than bandwidth lets go on: of many slow bodies each would stand still for too long."""
        most = self.window.most if rate is None else int(rate * _BETWEEN_CHUNKS_SECONDS / CHUNK_BYTES)
        self.window.bound(most)
