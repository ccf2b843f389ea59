"""How much a drill may ask of a place, as its file says it: requests, bandwidth by the time of day, concurrency.

Rules: a limit is one run's at one place, over all its worker processes. Of a timetable the first line that
matches the local time wins; where none matches there is no limit. A line over midnight belongs to the day it
begins on.
"""

from dataclasses import dataclass, replace
from datetime import datetime

__all__ = ["DAYS", "EVERY_DAY", "BandwidthLine", "Limits"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(len(DAYS)))
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class BandwidthLine:
    """One line of a timetable."""

    bytes_per_second: float | None
    """None: as fast as it goes."""
    days: tuple[int, ...] = EVERY_DAY
    """On which days it begins; 0 is Monday."""
    from_minute: int = 0
    """When it begins, in minutes since local midnight."""
    to_minute: int = _DAY_MINUTES
    """When it ends, itself not included; before ``from_minute`` it is on the day after."""

    @property
    def always(self) -> bool:
        """Whether it matches at any time."""
        return set(self.days) == set(EVERY_DAY) and self.to_minute - self.from_minute == _DAY_MINUTES

    def matches(self, local: datetime) -> bool:
        """Whether it is in force at a local time of day."""
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.from_minute < self.to_minute:
            return day in self.days and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return day in self.days
        return minute < self.to_minute and (day - 1) % len(DAYS) in self.days


@dataclass(frozen=True, slots=True)
class Limits:
    """What a drill sets for one place. None or empty: not limited."""

    concurrency: int | None = None
    """How many objects a worker process has under way at most."""
    requests_per_second: float | None = None
    bandwidth: tuple[BandwidthLine, ...] = ()
    timezone: str = "UTC"
    """The time zone of the lines, by its IANA name."""

    def shared_by(self, workers: int) -> "Limits":
        """What each of so many worker processes may use, so that together they stay within it.

        ``concurrency`` is a worker's own already. Raises ValueError for fewer than one.
        """
        if workers < 1:
            msg = f"{workers} workers cannot share a limit"
            raise ValueError(msg)
        requests = None if self.requests_per_second is None else self.requests_per_second / workers
        lines = (
            replace(line, bytes_per_second=None if line.bytes_per_second is None else line.bytes_per_second / workers)
            for line in self.bandwidth
        )
        return replace(self, requests_per_second=requests, bandwidth=tuple(lines))
