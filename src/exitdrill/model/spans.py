"""Arithmetic on spans of drill time: pairs of begin and end, in nanoseconds since the declaration."""

from collections.abc import Iterable

__all__ = ["Span", "common_ns", "covered_ns"]

Span = tuple[int, int]


def covered_ns(spans: Iterable[Span]) -> int:
    """How much time the spans cover together; they may overlap and come in any order."""
    total, reached = 0, None
    for begin, end in sorted(spans):
        start = begin if reached is None else max(begin, reached)
        total += max(0, end - start)
        reached = end if reached is None else max(reached, end)
    return total


def common_ns(spans: Iterable[Span], others: Iterable[Span]) -> int:
    """How much time is covered by both."""
    first, second = list(spans), list(others)
    return covered_ns(first) + covered_ns(second) - covered_ns([*first, *second])
