"""The critical path: what the recovery waited for, found from the laps alone."""

from hypothesis import given
from hypothesis import strategies as st

from exitdrill.clock import Lap
from exitdrill.report._critical import critical_laps
from exitdrill.testing.runs import T0
from reporting import NS


def _laps(*rows: tuple[str, int, int, int]) -> list[tuple[Lap, int]]:
    """Name, begin, end, depth; in seconds."""
    return [(Lap(name, T0, begin * NS, (end - begin) * NS), depth) for name, begin, end, depth in rows]


def _path(laps: list[tuple[Lap, int]], recovered: int | None) -> set[str]:
    found = critical_laps(laps, None if recovered is None else recovered * NS)
    return {laps[index][0].name for index in found}


def test_in_each_phase_the_asset_that_ended_last_is_on_it() -> None:
    """And the phase itself; not what ended earlier beside it, nor what came after the recovery."""
    laps = _laps(
        ("phase evacuate", 0, 20, 0), ("evacuate small", 0, 5, 2), ("evacuate large", 0, 20, 2),
        ("phase rebuild", 20, 40, 0), ("rebuild small", 20, 40, 2), ("rebuild large", 20, 30, 2),
        ("phase teardown", 40, 50, 0),
    )  # fmt: skip
    wanted = {"phase evacuate", "evacuate large", "phase rebuild", "rebuild small"}
    assert _path(laps, 40) == wanted


def test_assets_that_wait_for_one_another_are_a_chain() -> None:
    """What depends on another begins when that ends."""
    laps = _laps(
        ("rebuild registers", 0, 10, 2), ("rebuild cases", 10, 30, 2), ("rebuild other", 0, 25, 2)
    )  # fmt: skip
    assert _path(laps, 30) == {"rebuild registers", "rebuild cases"}


def test_the_lap_in_which_the_recovery_came_is_on_it_though_it_ended_later() -> None:
    """The last critical asset is proven before the step that proves all of them is over."""
    laps = _laps(("evacuate", 0, 10, 1), ("verify", 10, 30, 1))
    assert _path(laps, 20) == {"evacuate", "verify"}


def test_downtime_and_waiting_are_on_it() -> None:
    """The clock ran on."""
    laps = _laps(("evacuate", 0, 10, 1), ("downtime", 10, 60, 0), ("waiting for approval of sever", 60, 70, 1))
    assert _path(laps, 70) == {"evacuate", "downtime", "waiting for approval of sever"}


def test_without_a_recovery_there_is_none() -> None:
    """Nothing was waited for in the end."""
    assert _path(_laps(("evacuate", 0, 10, 1)), None) == set()


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2)), max_size=40),
    st.none() | st.integers(0, 200),
)
def test_whatever_the_laps_are_it_ends(rows: list[tuple[int, int, int]], recovered: int | None) -> None:
    """Also laps of no length, and laps that contradict one another; nothing after the recovery is on it."""
    laps = _laps(*((str(n), begin, begin + took, depth) for n, (begin, took, depth) in enumerate(rows)))
    for index in critical_laps(laps, None if recovered is None else recovered * NS):
        assert recovered is not None
        assert laps[index][0].start_elapsed_ns < recovered * NS
