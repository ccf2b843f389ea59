"""Parts in groups: all of them, about equal, no more than a hundred, one process for a little work."""

from hypothesis import given
from hypothesis import strategies as st

from exitdrill.assets.grouping import Weight, groups_of

_WEIGHTS = st.dictionaries(
    st.integers(1, 2000), st.builds(Weight, st.integers(0, 50_000), st.integers(0, 64 * 1024**3)), max_size=300
)


@given(_WEIGHTS, st.integers(1, 64))
def test_every_part_is_in_one_group(parts: dict[int, Weight], width: int) -> None:
    """No part is lost or given twice, whatever the weights; there are at most a hundred groups and none is empty."""
    groups = groups_of(parts, width)
    assert sorted(n for group in groups for n in group) == sorted(parts)
    assert len(groups) <= 100
    assert all(group and list(group) == sorted(group) for group in groups)


@given(st.integers(2, 16), st.integers(1, 40))
def test_equal_parts_are_shared_out_evenly(width: int, each: int) -> None:
    """Where there is work for every core, no process gets more than one part more than another."""
    parts = {n: Weight(10_000, 0) for n in range(1, width * each + 1)}
    sizes = [len(group) for group in groups_of(parts, width)]
    assert len(sizes) >= width
    assert max(sizes) - min(sizes) <= 1


def test_a_little_work_is_one_process() -> None:
    """A second worker is not started for what takes less than its start."""
    assert groups_of({1: Weight(500, 10_000), 2: Weight(500, 10_000)}, 8) == [(1, 2)]
    assert groups_of({}, 8) == []


def test_a_billion_objects_are_a_hundred_groups() -> None:
    """20,000 parts of 50,000 rows: a hundred tasks."""
    groups = groups_of({n: Weight(50_000, 500_000_000) for n in range(1, 20_001)}, 4)
    assert [len(group) for group in groups] == [200] * 100
