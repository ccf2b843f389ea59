"""Pieces of a container listed side by side: at once, ahead only so far, and ended together."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice

import pytest

from exitdrill.connector.levels import Level, divide
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.errors import PermissionDeniedError, StoppedError, TransientError
from exitdrill.model.objects import ObjectEntry
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer.listing import listed_batches


def _store(before: Callable[[str, str], None] | None = None, page: int = 100, **claims: object) -> MemoryStore:
    provider = MemoryProvider(claims=HONEST.narrowed(**claims), behaviour=Behaviour(page_objects=page))
    provider.ensure_container("c")
    store = provider.objects("c")
    assert isinstance(store, MemoryStore)
    for folder in range(10):
        for n in range(30):
            store.write(WriteRequest(f"{folder}/{n:03d}", BytesBody(b"")))
    provider._shared.before = before
    return store


def _take(store: MemoryStore, threads: int, into: list[str], last: str | None = None) -> None:
    for batch in listed_batches(store, "", last, threads, lambda: None):
        into += [str(key) for key in batch.column("key").to_pylist()]


def _keys(store: MemoryStore, threads: int, last: str | None = None) -> list[str]:
    found: list[str] = []
    _take(store, threads, found, last)
    return found


def _no_threads_left() -> bool:
    end = time.monotonic() + 5
    while any(thread.name.startswith("list") for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(thread.name.startswith("list") for thread in threading.enumerate())


def test_pieces_are_listed_at_once() -> None:
    """Four threads ask for four pages at the same time, and what comes out is in order."""
    barrier = threading.Barrier(4, timeout=10)

    def before(hook: str, prefix: str) -> None:
        if hook == "list" and prefix in {"0/", "1/", "2/", "3/"}:
            barrier.wait()

    store = _store(before)
    assert _keys(store, 4) == [f"{f}/{n:03d}" for f in range(10) for n in range(30)]
    assert not barrier.broken


@pytest.mark.parametrize("error", [PermissionDeniedError, TransientError])
def test_an_error_in_one_piece_ends_all(error: type[Exception]) -> None:
    """What a piece raises comes out where its rows would have, after those before it; no thread goes on."""

    def before(hook: str, prefix: str) -> None:
        if hook == "list" and prefix == "4/":
            raise error("no")

    store = _store(before)
    found: list[str] = []
    with pytest.raises(error):
        _take(store, 3, found)
    assert found == [f"{f}/{n:03d}" for f in range(4) for n in range(30)]
    assert _no_threads_left()


def test_who_stops_reading_stops_the_threads() -> None:
    """A listing left in the middle asks for no more pages, however much is left."""
    asked = 0

    def before(_hook: str, _prefix: str) -> None:
        nonlocal asked
        asked += 1

    store = _store(before, page=1)
    with closing(listed_batches(store, "", None, 2, lambda: None)) as found:
        assert len(list(islice(found, 3))) == 3
    assert _no_threads_left()
    assert asked < 100
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats > 50:
            raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        list(listed_batches(store, "", None, 2, beat))
    assert _no_threads_left()


def test_what_is_listed_already_is_not_asked_for() -> None:
    """Where a listing can begin after a key, pieces before it are left out; elsewhere everything comes again."""
    asked: list[str] = []
    store = _store(lambda hook, prefix: asked.append(prefix) if hook == "list" else None)
    everything = [f"{f}/{n:03d}" for f in range(10) for n in range(30)]
    assert _keys(store, 4, "7/010") == [key for key in everything if key > "7/010"]
    assert sorted(asked) == ["7/", "8/", "9/"]
    store = _store(start_after=False)
    assert _keys(store, 4, "7/010") == everything


def test_nothing_is_divided_that_makes_no_sense() -> None:
    """A level with a key below one of its own prefixes, or elsewhere, or too large, is listed as a whole."""

    def look(entries: list[str], prefixes: list[str], token: str | None = None) -> Callable[[str, str | None], Level]:
        return lambda _prefix, _token: Level([ObjectEntry(key, 0) for key in entries], prefixes, token)

    assert divide(look(["a"], ["b/", "c/"]), "", 9)[1:] == ("b/", "c/")
    assert divide(look(["b/x"], ["b/", "c/"]), "", 9) == ("",)
    assert divide(look([], ["b/", "c/d/"]), "", 9) == ("",)
    assert divide(look(["zz"], ["a/b/", "a/c/"]), "a/", 9) == ("a/",)
    assert divide(look([], ["a/", "b/"], "more"), "", 9) == ("",)
    assert divide(look(["a"], [], "more"), "", 9) == ("",)
    assert divide(look([], []), "x", 9) == ("x",)
    many = [f"{n:03d}/" for n in range(100)]
    assert divide(look([], many), "", 20) == tuple(f"{n:02d}" for n in range(10))
    assert divide(look(["00", "010", "99x"], many), "", 20)[1:4] == ("01", "02", "03")
