"""A clock that stands still until somebody sleeps."""

from datetime import UTC, datetime, timedelta

__all__ = ["SleepClock"]


class SleepClock:
    """Time passes only by sleeping; for one thread."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, tzinfo=UTC)) -> None:
        self.start = start
        self.now_ns = 0

    def utc_now(self) -> datetime:
        return self.start + timedelta(microseconds=self.now_ns / 1000)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += max(1, round(seconds * 1e9))
