"""The critical path: which laps, one after the other, the recovery had to wait for.

From the moment of recovery backwards: the lap under way then, before it the one that ended last before that one began,
and so on. Only laps without others inside of them are looked at; what contains one on the path is on it too.
"""

from collections.abc import Sequence

from exitdrill.clock import Lap

__all__ = ["critical_laps"]

_SLACK_NS = 50_000_000
"""One lap begins this little before another's end is written down."""


def critical_laps(laps: Sequence[tuple[Lap, int]], recovered_ns: int | None) -> frozenset[int]:
    """The indices of the laps on the path.

    Args:
        laps: Each with its depth: 0 for a phase, more for what is inside.
        recovered_ns: Drill time of the recovery; None if there was none: then there is no path.
    """
    if recovered_ns is None:
        return frozenset()
    leaves = [n for n, (lap, depth) in enumerate(laps) if not _has_inside(laps, n, lap, depth)]
    path: list[int] = []
    at = recovered_ns
    while at > 0:
        before = [n for n in leaves if n not in path and laps[n][0].start_elapsed_ns < at]
        if path:  # the first may be under way at that moment; what comes before has ended
            before = [n for n in before if laps[n][0].end_elapsed_ns <= at + _SLACK_NS]
        if not before:
            break
        last = max(before, key=lambda n: (min(at, laps[n][0].end_elapsed_ns), laps[n][0].start_elapsed_ns))
        path.append(last)
        at = laps[last][0].start_elapsed_ns
    around = [n for n, (lap, depth) in enumerate(laps) for leaf in path if _contains(lap, depth, *laps[leaf])]
    return frozenset([*path, *around])


def _has_inside(laps: Sequence[tuple[Lap, int]], index: int, lap: Lap, depth: int) -> bool:
    return any(n != index and _contains(lap, depth, *other) for n, other in enumerate(laps))


def _contains(lap: Lap, depth: int, inner: Lap, inner_depth: int) -> bool:
    if inner_depth <= depth:
        return False
    begins, ends = lap.start_elapsed_ns <= inner.start_elapsed_ns, inner.end_elapsed_ns <= lap.end_elapsed_ns
    return begins and ends
