"""Two sorted streams side by side, in memory that does not grow."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from exitdrill.errors import RunError
from exitdrill.model import human

__all__ = ["in_order", "merge_join"]

L = TypeVar("L")
R = TypeVar("R")


def in_order(rows: Iterable[L], key: Callable[[L], str], resource: str) -> Iterator[L]:
    """The same rows. Raises RunError when a key is not greater than the one before it."""
    last: str | None = None
    for row in rows:
        current = key(row)
        if last is not None and current <= last:
            problem = "twice the same key" if current == last else "keys out of order"
            keys = f"{human.key(current, limit=100)} after {human.key(last, limit=100)}"
            raise RunError(f"{problem}: {keys}", resource=resource)
        last = current
        yield row


def merge_join(
    left: Iterable[L], right: Iterable[R], left_key: Callable[[L], str], right_key: Callable[[R], str]
) -> Iterator[tuple[L | None, R | None]]:
    """The full outer join of two streams in strictly increasing key order.

    Keys compare by code point, which is the order of their UTF-8 bytes. Each row comes once: with its
    partner, or with None where the other side has no such key.
    """
    lefts, rights = iter(left), iter(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None or b is not None:
        if b is None or (a is not None and left_key(a) < right_key(b)):
            yield a, None
            a = next(lefts, None)
        elif a is None or left_key(a) > right_key(b):
            yield None, b
            b = next(rights, None)
        else:
            yield a, b
            a, b = next(lefts, None), next(rights, None)
