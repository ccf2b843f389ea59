"""What a leg moved when: bounded, the same in sum, and kept for a resume; and what a report makes of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.assess import assess
from exitdrill.model.codec import dump, load
from exitdrill.model.journal import Json
from exitdrill.model.record import RunRecord
from exitdrill.playbook.throughput import SPANS, Meters, kept_throughput
from exitdrill.report import render
from exitdrill.report._document import Picture, Trends
from exitdrill.report._throughput import trends
from exitdrill.report.language import ENGLISH
from exitdrill.testing.runs import make_measured, make_plan, make_record
from exitdrill.transfer.job import Tick
from reporting import NS, moved


class _Facts:
    """One asset's, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Json] = {}
        self.writes = 0

    def get(self, name: str) -> Json:
        return self.kept.get(name)

    def put(self, name: str, value: Json) -> None:
        self.kept[name] = value
        self.writes += 1


class _Run:
    """Meters on a clock that the test moves."""

    def __init__(self, facts: _Facts | None = None) -> None:
        self.facts = facts or _Facts()
        self.now_ns = 0
        self.meters = Meters(lambda _: self.facts, lambda: self.now_ns)

    def tick(self, seconds: float, objects: int, size: int, parts: tuple[int, ...] = (1,)) -> None:
        self.now_ns = int(seconds * NS)
        self.meters.tick(Tick("evacuate", "a", objects, size, 0, parts))


def test_ticks_are_shared_out_over_spans_of_a_second() -> None:
    """Two workers side by side; what a worker said before is not counted again."""
    run = _Run()
    run.tick(10.0, 0, 0)
    run.tick(10.2, 5, 50)
    run.tick(10.4, 2, 20, (2,))
    run.tick(12.1, 9, 90)
    run.meters.keep()
    kept = kept_throughput(run.facts, "evacuate")
    assert kept is not None
    assert (kept.start_elapsed_ns, kept.span_ns) == (10 * NS, NS)
    assert kept.objects == (7, 0, 4)
    assert kept.size_bytes == (70, 0, 40)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 1_000)), min_size=1, max_size=200))
def test_whatever_the_length_it_is_bounded_and_nothing_is_lost(steps: list[tuple[int, int]]) -> None:
    """Sums hold; spans stay under the limit, also over days."""
    run = _Run()
    at, total = 0, 0
    for gap, size in steps:
        at, total = at + gap, total + size
        run.tick(at, total, total)
    run.meters.keep()
    kept = kept_throughput(run.facts, "evacuate")
    if total == 0:
        assert kept is None
        return
    assert kept is not None
    assert len(kept.objects) == len(kept.size_bytes) <= SPANS
    assert sum(kept.size_bytes) == sum(kept.objects) == total
    assert kept.span_ns % NS == 0


def test_a_resume_goes_on_with_it() -> None:
    """Other workers count from zero, also on the same parts."""
    first = _Run()
    first.tick(0, 3, 30)
    first.meters.keep()
    second = _Run(first.facts)
    second.tick(100, 2, 20)
    second.tick(101, 1, 10)
    second.meters.keep()
    kept = kept_throughput(first.facts, "evacuate")
    assert kept is not None
    assert sum(kept.objects) == 3 + 2 + 1
    assert len(kept.objects) == 102


def test_it_is_kept_every_few_seconds_and_not_with_every_tick() -> None:
    """A crash loses seconds; the disk is not asked all the time."""
    run = _Run()
    for number in range(200):
        run.tick(number / 10, number + 1, number + 1)
    assert 2 <= run.facts.writes <= 5


@pytest.mark.parametrize("task", ["inventory", "verify", "read back", "clean target"])
def test_only_legs_are_metered(task: str) -> None:
    """Nor the probe of the cut, which is of no asset."""
    run = _Run()
    run.meters.tick(Tick(task, "a", 5, 5, 0))
    run.meters.tick(Tick("evacuate", "", 5, 5, 0))
    run.meters.keep()
    assert run.facts.kept == {}


def _recorded() -> RunRecord:
    plan = make_plan()
    good = make_measured()
    measured = replace(
        good,
        evacuate=replace(good.evacuate, throughput=moved(0, (60_000_000, 120_000_000))),
        rebuild=replace(good.rebuild, throughput=moved(240, (30_000_000,), 30)),
    )
    return make_record(plan, measured)


def test_the_record_gives_it_back_and_one_without_it_is_read_all_the_same() -> None:
    """A run made before this was kept has a report too."""
    record = _recorded()
    assert load(RunRecord, dump(record), "r") == record
    plan = make_plan()
    old = make_record(plan)
    assert "Not recorded" in render("text", plan, old, assess(plan, old))


def test_the_report_draws_bytes_a_second_on_one_axis() -> None:
    """Of spans of different length; the sum under the curve is what was moved."""
    (picture,) = trends(_recorded(), ENGLISH)
    assert isinstance(picture, Picture)
    assert isinstance(picture.chart, Trends)
    first, second = picture.chart.trends
    assert (picture.chart.begin, picture.chart.end) == ("0:00:00", "0:04:30")
    assert (first.highest, second.highest) == ("2.0 MB/s", "1.0 MB/s")
    for trend, highest, total in ((first, 2e6, 180e6), (second, 1e6, 30e6)):
        area = sum(width * height for _, width, height in trend.points) * 270 * highest
        assert abs(area - total) / total < 0.02
        assert all(x >= 0 and x + width <= 1.000001 and 0 < height <= 1 for x, width, height in trend.points)
    assert picture.table.rows[0] == ("evacuate", "0:00:00", "0:02:00", "180.0 MB", "1.5 MB/s", "2.0 MB/s")
