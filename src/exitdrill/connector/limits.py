"""What a drill allows itself at one place: so many requests a second, so many bytes by the time of day.

Rules: every wait heeds a wish to stop and is counted. Rates and times come from the clock handed in. For use from
many threads. What a place itself can take is found in `exitdrill.connector.window`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from zoneinfo import ZoneInfo

from exitdrill.clock import Clock
from exitdrill.errors import StoppedError
from exitdrill.model.limits import BandwidthLine

__all__ = ["Timetable", "TokenBucket"]

Stopped = Callable[[], bool]

_NS = 1_000_000_000
_DOZE_SECONDS = 0.25
"""How long a wait lasts before it looks whether to stop."""
_REREAD_NS = _NS
_LOOK_AHEAD = timedelta(days=3 * 365)


def _never() -> bool:
    return False


class Timetable:
    """Bandwidth by local time of day and day of the week.

    Args:
        lines: The first that matches wins; where none does there is no limit.
        timezone: Whose time of day, by its IANA name. Raises ZoneInfoNotFoundError.
    """

    def __init__(self, lines: Sequence[BandwidthLine], timezone: str = "UTC") -> None:
        """See the class."""
        self._lines, self._zone = tuple(lines), ZoneInfo(timezone)
        self._edges = {line.from_minute for line in lines} | {line.to_minute for line in lines} | {24 * 60}

    def rate_at(self, moment: datetime) -> float | None:
        """Bytes a second at a UTC-aware moment; None for no limit."""
        local = moment.astimezone(self._zone)
        return next((line.bytes_per_second for line in self._lines if line.matches(local)), None)

    def seconds_for(self, size_bytes: float, start: datetime) -> float:
        """How long that many bytes take from a moment on; with rates that change, no more than three years."""
        moment, left = start.astimezone(UTC), float(size_bytes)
        end = moment + _LOOK_AHEAD
        while moment < end:
            rate, until = self.rate_at(moment), self._next_edge(moment)
            if rate is None or left <= rate * (until - moment).total_seconds():
                seconds = 0.0 if rate is None else left / rate
                return (moment - start).total_seconds() + seconds
            left -= rate * (until - moment).total_seconds()
            if len(self._lines) == 1 and self._lines[0].always:
                return (until - start).total_seconds() + left / rate
            moment = until
        return _LOOK_AHEAD.total_seconds()

    def _next_edge(self, moment: datetime) -> datetime:
        """A moment before which no other line comes into force: the next edge, and at most the next half hour.

        Half hours of UTC are when clocks are put forward or back, everywhere.
        """
        local = moment.astimezone(self._zone)
        minute = local.hour * 60 + local.minute
        half_hour = 30 - moment.minute % 30
        minutes = min([half_hour, *(edge - minute for edge in self._edges if edge > minute)])
        return moment.replace(second=0, microsecond=0) + timedelta(minutes=minutes)


class TokenBucket:
    """Lets so many tokens (bytes, requests) pass a second, in the order they were asked for.

    Args:
        rate: How many a second, or what tells it: asked again every second. None for no limit.
        clock: Where time comes from, and where to sleep.
        burst_seconds: How much may pass at once after a pause, as time; one token at least.
        told: Told of the rate at the beginning and whenever it is another. It must not call back.

    A taker may take more than there is: it is let through when its turn is paid for. So a chunk larger than what
    flows in a second needs no cutting, and a rate that changes holds for those who wait already.
    """

    def __init__(
        self,
        rate: float | Callable[[], float | None] | None,
        clock: Clock,
        burst_seconds: float = 0.05,
        told: Callable[[float | None], None] = lambda _rate: None,
    ) -> None:
        """See the class."""
        self._read = rate if callable(rate) else lambda: rate
        self._clock, self._burst_seconds, self._told = clock, burst_seconds, told
        self._lock = Lock()
        self._at_ns = clock.monotonic_ns()
        self._reread_ns = self._at_ns + _REREAD_NS
        self._rate: float | None = self._read()
        self._taken = 0.0
        """Tokens asked for since the beginning: the last taker's turn comes when so many are paid for."""
        self._paid = 0.0 if self._rate is None else self._burst(self._rate)
        self._waited_ns = 0
        told(self._rate)

    @property
    def rate(self) -> float | None:
        """Tokens a second, as last read; None for no limit."""
        return self._rate

    @property
    def waited_ns(self) -> int:
        """Time waited, over all threads."""
        return self._waited_ns

    def take(self, count: float = 1, stopped: Stopped = _never) -> int:
        """Take tokens, and return when they are paid for.

        Returns:
            How long that took, in nanoseconds; 0 if there was no need to wait.

        Raises:
            StoppedError: ``stopped`` said so while it waited.
        """
        with self._lock:
            began = self._clock.monotonic_ns()
            self._pay(began)
            if self._rate is None:
                return 0
            self._taken += count
            turn = self._taken
            wait = self._wait_seconds(turn)
        if wait <= 0:
            return 0
        try:
            while wait > 0:
                if stopped():
                    raise StoppedError("stopped while a limit of the drill was waited for")
                self._clock.sleep(min(wait, _DOZE_SECONDS))
                with self._lock:
                    self._pay(self._clock.monotonic_ns())
                    wait = self._wait_seconds(turn)
        finally:
            waited = self._clock.monotonic_ns() - began
            with self._lock:
                self._waited_ns += waited
        return waited

    def _wait_seconds(self, turn: float) -> float:
        return 0.0 if self._rate is None else (turn - self._paid) / self._rate

    def _burst(self, rate: float) -> float:
        return max(1.0, rate * self._burst_seconds)

    def _pay(self, now_ns: int) -> None:
        if self._rate is not None:
            most = self._taken + self._burst(self._rate)
            self._paid = min(most, self._paid + self._rate * (now_ns - self._at_ns) / _NS)
        self._at_ns = now_ns
        if now_ns < self._reread_ns:
            return
        self._reread_ns = now_ns + _REREAD_NS
        rate = self._read()
        if rate != self._rate:
            self._rate = rate
            if rate is None:
                self._paid = self._taken
            self._told(rate)
