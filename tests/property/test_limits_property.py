"""Buckets and timetables hold what they promise, whatever is asked of them and when."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitdrill.connector.limits import Timetable, TokenBucket
from exitdrill.model.limits import EVERY_DAY, BandwidthLine, Limits
from ticking import SleepClock

_BURST_SECONDS = 0.05
_COUNTS = st.integers(1, 5_000_000)
_PAUSES = st.floats(0.001, 20)
_STEPS = st.lists(st.tuples(_COUNTS, st.none() | _PAUSES), min_size=1, max_size=30)
_RATES = st.floats(1_000, 1e9)

_ZONES = st.sampled_from(["UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
_MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_MINUTES = st.integers(0, 1440)
_LINES = st.builds(
    BandwidthLine,
    st.none() | _RATES,
    st.sets(st.sampled_from(EVERY_DAY), min_size=1).map(lambda days: tuple(sorted(days))),
    _MINUTES.filter(lambda minute: minute < 1440),
    _MINUTES,
).filter(lambda line: line.from_minute != line.to_minute)


@given(_RATES, _STEPS)
def test_a_bucket_is_neither_exceeded_nor_slow(rate: float, steps: list[tuple[int, float | None]]) -> None:
    """At no moment more has passed than the rate and one burst allow; who never pauses gets the whole rate."""
    clock = SleepClock()
    bucket = TokenBucket(rate, clock, _BURST_SECONDS)
    burst = max(1.0, rate * _BURST_SECONDS)
    passed, paused, waited = 0, False, 0
    for count, pause in steps:
        if pause is not None:
            clock.sleep(pause)
            paused = True
        waited += bucket.take(count)
        passed += count
        allowed = burst + rate * clock.now_ns / 1e9
        assert passed <= allowed * (1 + 1e-6) + 1
        if not paused:
            assert clock.now_ns / 1e9 <= max(0.0, passed - burst) / rate + 1e-6
    assert bucket.waited_ns == waited


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.3, 5), st.none() | _RATES), min_size=1, max_size=5), st.integers(1_000, 500_000))
def test_a_bucket_follows_its_rate_within_a_second(pieces: list[tuple[float, float | None]], count: int) -> None:
    """The rate may change at any time: a second later, what passes is bounded by the new one."""
    clock = SleepClock()

    def rate_at(seconds: float) -> float | None:
        for lasts, rate in pieces:
            if seconds < lasts:
                return rate
            seconds -= lasts
        return pieces[-1][1]

    bucket = TokenBucket(lambda: rate_at(clock.now_ns / 1e9), clock, _BURST_SECONDS)
    end = sum(lasts for lasts, _ in pieces) + 3
    passed, allowed = 0.0, 0.0
    for _ in range(100):
        before = clock.now_ns / 1e9
        if before > end:
            break
        bucket.take(count)
        if clock.now_ns / 1e9 == before:
            clock.sleep(0.01)
        now = clock.now_ns / 1e9
        steps = [before + (now - before) * n / 20 for n in range(21)]
        # a rate is in force up to a second and a wait's doze after it was another one
        fastest = [[rate_at(max(0.0, s - late)) for late in (0, 0.25, 0.5, 0.75, 1, 1.3)] for s in steps]
        if any(rate is None for rates in fastest for rate in rates):
            passed = allowed = 0.0
            continue
        passed += count
        allowed += max(rate for rates in fastest for rate in rates if rate is not None) * (now - before)
        most = max(rate for _, rate in pieces if rate is not None)
        assert passed <= (allowed + 2 * count + most * _BURST_SECONDS) * (1 + 1e-6) + 2


def _in_force(lines: list[BandwidthLine], zone: str, moment: datetime) -> float | None:
    """By another way: every line as the minutes of a week in which it holds."""
    local = moment.astimezone(ZoneInfo(zone))
    minute_of_week = local.weekday() * 1440 + local.hour * 60 + local.minute
    for line in lines:
        lasts = (line.to_minute - line.from_minute) % 1440 or 1440
        for day in line.days:
            begins = day * 1440 + line.from_minute
            if (minute_of_week - begins) % (7 * 1440) < lasts:
                return line.bytes_per_second
    return None


@given(st.lists(_LINES, max_size=4), _ZONES, _MOMENTS)
def test_the_first_line_that_matches_is_in_force(lines: list[BandwidthLine], zone: str, moment: datetime) -> None:
    """In any zone, at any time, over midnight and over the end of the week; without one there is no limit."""
    assert Timetable(lines, zone).rate_at(moment) == _in_force(lines, zone, moment)


@settings(max_examples=40, deadline=None)
@given(st.lists(_LINES, max_size=3), _ZONES, _MOMENTS, st.floats(1, 5e10))
def test_how_long_bytes_take_is_the_sum_of_the_minutes(
    lines: list[BandwidthLine], zone: str, moment: datetime, size: float
) -> None:
    """The forecast is what adding up minute by minute gives, when clocks are put forward or back as well."""
    table = Timetable(lines, zone)
    seconds = table.seconds_for(size, moment)
    at, left, checked = moment, size, 0.0
    while checked < 3 * 86400:
        until = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
        rate, lasts = table.rate_at(at), (until - at).total_seconds()
        if rate is None or left <= rate * lasts:
            assert seconds == pytest.approx(checked + (0 if rate is None else left / rate), rel=1e-6, abs=1e-3)
            return
        left -= rate * lasts
        checked += lasts
        at = until
    assert seconds >= checked


@pytest.mark.parametrize(
    ("start", "hours"),
    [(datetime(2026, 3, 28, 12, tzinfo=UTC), 0), (datetime(2026, 10, 24, 12, tzinfo=UTC), 2),
     (datetime(2026, 6, 6, 12, tzinfo=UTC), 1)],
)  # fmt: skip
def test_an_hour_that_is_left_out_or_comes_twice(start: datetime, hours: int) -> None:
    """A line from 02:00 to 03:00 in Amsterdam holds for no hour when clocks go forward, for two when they go back."""
    table = Timetable([BandwidthLine(1_000_000, from_minute=120, to_minute=180)], "Europe/Amsterdam")
    minutes = [start + timedelta(minutes=n) for n in range(24 * 60)]
    assert sum(table.rate_at(moment) is not None for moment in minutes) == hours * 60


def test_what_an_hour_that_is_left_out_or_comes_twice_makes_of_the_forecast() -> None:
    """At 1 MB/s from 02:00 to 03:00 and 1 kB/s else, the night in which clocks change has two fast hours or none."""
    slow, fast = BandwidthLine(1_000.0), BandwidthLine(1_000_000.0, from_minute=120, to_minute=180)
    table = Timetable([fast, slow], "Europe/Amsterdam")
    hour, day = 3600e6, 24 * 3600e3  # bytes of a fast hour, of a slow day
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC)  # 14:00; 02:00 comes at midnight UTC, and again an hour later
    assert table.seconds_for(12 * 3600e3 + 2 * hour, begin) == pytest.approx(14 * 3600)
    begin = datetime(2026, 3, 28, 12, tzinfo=UTC)  # 13:00; the fast hour is left out
    assert table.seconds_for(day, begin) == pytest.approx(24 * 3600)


@given(st.integers(1, 100), st.lists(_LINES, max_size=3), st.none() | st.integers(1, 10**6))
def test_shares_add_up_to_the_limit(workers: int, lines: list[BandwidthLine], requests: int | None) -> None:
    """So many equal shares are the whole limit and no more, at any hour; what is unlimited stays so."""
    limits = Limits(8, requests, tuple(lines))
    share = limits.shared_by(workers)
    assert share.concurrency == 8
    assert (share.requests_per_second or 0) * workers == pytest.approx(requests or 0)
    for mine, whole in zip(share.bandwidth, lines, strict=True):
        assert (mine.bytes_per_second is None) == (whole.bytes_per_second is None)
        assert (mine.bytes_per_second or 0) * workers == pytest.approx(whole.bytes_per_second or 0)
    with pytest.raises(ValueError, match="cannot share"):
        limits.shared_by(0)
