"""Which worker process gets which parts of a leg.

Rules: no more than a hundred groups, or some more for a cluster, so that a billion objects are hundreds of tasks; a
group is worth the start of a process; where there is work for it, every core has a group from the beginning; groups
cost about the same.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Weight", "groups_of"]

_GROUPS_AT_MOST = 100
_OBJECT_SECONDS, _BYTE_SECONDS = 250e-6, 1 / 250e6
"""About what an object and a byte of it cost a core; only their ratio and order of magnitude matter."""
_WORTH_SECONDS = 0.5
"""A second process is not worth its start below this."""
_GROUP_SECONDS = 60.0
"""What a group is to take where there are many: short enough to show progress and to be done again."""


@dataclass(frozen=True, slots=True)
class Weight:
    """How much a part holds."""

    objects: int
    size_bytes: int

    @property
    def seconds(self) -> float:
        """What it is expected to cost a core."""
        return self.objects * _OBJECT_SECONDS + self.size_bytes * _BYTE_SECONDS


def groups_of(parts: Mapping[int, Weight], width: int, at_least: int = 1) -> list[tuple[int, ...]]:
    """Parts in groups of about equal cost, each in order, the groups by their first part.

    Args:
        parts: Number to weight.
        width: How many worker processes run side by side.
        at_least: How many groups to make where there are so many parts, however little there is to do.
    """
    if not parts:
        return []
    total = sum(weight.seconds for weight in parts.values())
    wanted = 1 if total < _WORTH_SECONDS else max(width, round(total / _GROUP_SECONDS))
    number_of = max(at_least, min(wanted, _GROUPS_AT_MOST))
    loads = [(0.0, number, list[int]()) for number in range(min(number_of, len(parts)))]
    for part in sorted(parts, key=lambda number: (-parts[number].seconds, number)):
        load, number, group = heapq.heappop(loads)
        group.append(part)
        heapq.heappush(loads, (load + parts[part].seconds, number, group))
    return sorted(tuple(sorted(group)) for _, _, group in loads)
