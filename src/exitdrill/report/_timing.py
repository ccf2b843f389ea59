"""Both ways' timing: how long the legs took as they ran, measured, and what the other way would have taken, computed.

With ``overlap`` the other way is one leg after the other; without, both at once. What is computed rests on the
time of the workers: at the same width, jobs of ``W`` workers that take ``T`` together end after ``T / W`` at the
earliest, and not before the longest of them has (R. L. Graham, 1969, doi:10.1137/0117039). It takes for granted
that a job lasts as long beside the other leg as alone, which no record can show; so it is never given as measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from exitdrill.model.human import duration
from exitdrill.model.record import LegRecord, RunRecord
from exitdrill.model.spans import covered_ns

__all__ = ["LegsTiming", "legs_timing"]

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LegsTiming:
    """How long the legs of a run took, both ways."""

    overlapped: bool
    """Whether jobs of both legs of an asset were ever under way at once."""
    measured_seconds: float
    """As it ran: the time during which a job of any leg of any asset was under way."""
    evacuate_busy_seconds: float
    """Time of the workers, added up."""
    rebuild_busy_seconds: float
    other_way: str
    """``one after the other``, or ``overlapping``."""
    other_way_seconds: float | None
    """Computed; None where the width is not known."""
    how: str
    """How it was computed, for people."""


def legs_timing(record: RunRecord) -> LegsTiming | None:
    """Both ways' timing of a run; None if a leg has no job that ended well."""
    first, second = ([getattr(asset, leg) for asset in record.assets] for leg in ("evacuate", "rebuild"))
    busy = _busy(first), _busy(second)
    if not all(busy):
        return None
    overlapped = any(asset.both_legs_ns for asset in record.assets)
    other, other_ns = _other_way(record.width, first, second, overlapped=overlapped)
    return LegsTiming(
        overlapped,
        covered_ns(span for leg in (*first, *second) for span in leg.spans) / _NS,
        busy[0] / _NS,
        busy[1] / _NS,
        other,
        None if other_ns is None else other_ns / _NS,
        _how(record.width, busy, other, other_ns),
    )


def _other_way(
    width: int, first: list[LegRecord], second: list[LegRecord], *, overlapped: bool
) -> tuple[str, int | None]:
    name = "one after the other" if overlapped else "overlapping"
    if not width:
        return name, None
    longest = _longest(first), _longest(second)
    if overlapped:
        return name, max(_busy(first) // width, longest[0]) + max(_busy(second) // width, longest[1])
    return name, max((_busy(first) + _busy(second)) // width, sum(longest))


def _how(width: int, busy: tuple[int, int], other: str, other_ns: int | None) -> str:
    text = f"evacuate took {duration(busy[0] / _NS)} and rebuild {duration(busy[1] / _NS)} of worker time; {other} "
    if other_ns is None:
        return f"{text}cannot be computed: how many jobs ran side by side is not known"
    text += f"at the same width ({width} side by side): about {duration(other_ns / _NS)}, if a job takes as long "
    return f"{text}beside the other leg as alone. Jobs that failed or were killed are not in it."


def _busy(legs: Iterable[LegRecord]) -> int:
    return sum(leg.busy_ns for leg in legs)


def _longest(legs: Iterable[LegRecord]) -> int:
    return max((leg.longest_ns for leg in legs), default=0)
