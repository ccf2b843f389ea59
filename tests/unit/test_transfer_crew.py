"""Threads that share one iterator: everything done once, errors out, nobody left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from exitdrill.errors import NoSpaceError, StoppedError
from exitdrill.transfer.crew import Crew


def test_every_item_is_done_once() -> None:
    """However many threads take from it, each item of the iterator is done by one of them."""
    done: list[int] = []
    lock = threading.Lock()

    def do(item: int) -> None:
        with lock:
            done.append(item)

    Crew(range(5000), do, 16, "t", threading.Event()).tend(lambda: None, 0.05)
    assert sorted(done) == list(range(5000))


def test_no_more_threads_than_items() -> None:
    """Three items start at most four threads: one finds the end."""
    seen: set[str] = set()

    def do(_item: int) -> None:
        seen.add(threading.current_thread().name)
        time.sleep(0.05)

    before = threading.active_count()
    crew = Crew(range(3), do, 64, "few", threading.Event())
    crew.tend(lambda: None, 0.01)
    assert len(crew._threads) <= 4
    assert seen <= {f"few-{n}" for n in range(4)}
    assert threading.active_count() == before


def test_an_error_of_one_ends_all() -> None:
    """The first error comes out; what was under way has ended by then, and nothing new was begun."""
    begun: list[int] = []
    ended: list[int] = []

    def do(item: int) -> None:
        begun.append(item)
        if item == 10:
            raise NoSpaceError("full")
        time.sleep(0.01)
        ended.append(item)

    with pytest.raises(NoSpaceError):
        Crew(range(1000), do, 8, "t", threading.Event()).tend(lambda: None, 0.05)
    assert len(begun) < 50
    assert sorted(ended) == sorted(set(begun) - {10})


def test_an_error_of_the_iterator_comes_out() -> None:
    """A source of items that breaks ends the crew with its own error."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise StoppedError("the part cannot be read")

    with pytest.raises(StoppedError, match="cannot be read"):
        Crew(items(), lambda _item: None, 4, "t", threading.Event()).tend(lambda: None, 0.05)


def test_an_error_of_who_looks_ends_all() -> None:
    """When keeping what was done fails, the threads stop, and that error comes out."""
    done: list[int] = []

    def look() -> None:
        raise NoSpaceError("work file")

    def do(item: int) -> None:
        done.append(item)
        time.sleep(0.005)

    with pytest.raises(NoSpaceError, match="work file"):
        Crew(range(10_000), do, 4, "t", threading.Event()).tend(look, 0.01)
    assert len(done) < 500


def test_looked_at_while_it_works() -> None:
    """Who tends is called at least that often, and at once when woken."""
    wake = threading.Event()
    looks: list[float] = []

    def do(item: int) -> None:
        time.sleep(0.02)
        if item == 3:
            wake.set()

    Crew(range(10), do, 1, "t", wake).tend(lambda: looks.append(time.monotonic()), 0.05)
    assert 3 <= len(looks) <= 20
