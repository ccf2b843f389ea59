"""The only place that reads time.

A drill's clock starts when the drill is declared and never stops: not for approvals, retries, a crash or a
resume. Spans inside one process are measured by the monotonic clock, because a wall clock can be set while
the drill runs. Between two processes (after a crash) only the wall clock is left; that span is the
*downtime*, reported under its own name, and never negative.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "DrillClock", "Lap", "Stopwatch", "SystemClock", "format_utc", "parse_utc"]

_NS = 1_000_000_000
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Where time comes from; handed in, so that a test can hand in another."""

    def utc_now(self) -> datetime:
        """The wall clock, UTC-aware."""

    def monotonic_ns(self) -> int:
        """A clock that never steps, in nanoseconds from an arbitrary origin."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clocks."""

    def utc_now(self) -> datetime:
        """The wall clock, UTC-aware."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """Counts on while the machine is suspended, where the system has such a clock (Linux)."""
        return time.clock_gettime_ns(_STEADY)

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        time.sleep(seconds)


def format_utc(moment: datetime) -> str:
    """RFC 3339 with microseconds and ``Z``. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        msg = "a time without a zone"
        raise ValueError(msg)
    # Not strftime: it writes the year 999 in three digits.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_utc(text: str) -> datetime:
    """The inverse of `format_utc`; any RFC 3339 time with an offset will do. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"a time without a zone: {text!r}"
        raise ValueError(msg)
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Lap:
    """One timed span."""

    name: str
    """What was timed: a phase, a step, an asset's leg, ``downtime``, ``waiting for approval``."""
    started_utc: datetime
    """When it began, by the wall clock."""
    start_elapsed_ns: int
    """When it began, in nanoseconds since the drill was declared."""
    duration_ns: int
    """How long it took, by the monotonic clock."""
    waiting_ns: int = 0
    """How much of that went into waiting for a person, a throttled service or a rehydration."""
    attempts: int = 1
    """How many tries it took."""

    @property
    def end_elapsed_ns(self) -> int:
        """When it ended, in nanoseconds since the drill was declared."""
        return self.start_elapsed_ns + self.duration_ns


class Stopwatch:
    """Measures one span by the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        """Starts at once."""
        self._clock = clock
        self._start_ns = clock.monotonic_ns()

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since the start."""
        return self._clock.monotonic_ns() - self._start_ns

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start."""
        return self.elapsed_ns / _NS


class DrillClock:
    """The clock of one run, across processes.

    Args:
        clock: The machine's clocks.
        t0_utc: When the drill was declared.
        base_elapsed_ns: How much drill time had passed when this process took over; 0 in the first.
    """

    def __init__(self, clock: Clock, t0_utc: datetime, base_elapsed_ns: int = 0) -> None:
        """See the class. The span of this process starts now."""
        self.clock = clock
        self.t0_utc = t0_utc
        self._base_ns = base_elapsed_ns
        self._watch = Stopwatch(clock)
        self._began_utc = clock.utc_now()

    @classmethod
    def resumed(
        cls, clock: Clock, t0_utc: datetime, last_utc: datetime, last_elapsed_ns: int
    ) -> tuple["DrillClock", Lap]:
        """The clock of a run another process began, and the downtime as a lap.

        Args:
            clock: The machine's clocks.
            t0_utc: When the drill was declared.
            last_utc: When the other process last wrote to the journal, by the wall clock.
            last_elapsed_ns: The drill time it wrote then.
        """
        now = clock.utc_now()
        gap_ns = max(0, int((now - last_utc) / timedelta(microseconds=1)) * 1000)
        lap = Lap("downtime", last_utc, last_elapsed_ns, gap_ns)
        return cls(clock, t0_utc, last_elapsed_ns + gap_ns), lap

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since the drill was declared, downtime included."""
        return self._base_ns + self._watch.elapsed_ns

    @property
    def stepped_ns(self) -> int:
        """How far the wall clock has moved against the monotonic one in this process; negative is backwards."""
        wall_ns = int((self.clock.utc_now() - self._began_utc) / timedelta(microseconds=1)) * 1000
        return wall_ns - self._watch.elapsed_ns

    def lap(self, name: str) -> Callable[..., Lap]:
        """Start a lap; calling what is returned ends it. Its arguments are `Lap`'s ``waiting_ns`` and ``attempts``."""
        started_utc, start_ns = self.clock.utc_now(), self.elapsed_ns

        def stop(*, waiting_ns: int = 0, attempts: int = 1) -> Lap:
            return Lap(name, started_utc, start_ns, self.elapsed_ns - start_ns, waiting_ns, attempts)

        return stop
