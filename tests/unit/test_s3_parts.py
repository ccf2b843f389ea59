"""Parts of an object under way side by side: order, bounds, failures; without a server."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitdrill.connector.objects import BytesBody
from exitdrill.errors import StoppedError, TransientError
from exitdrill_s3.body import BodyReader, PiecesBody
from exitdrill_s3.parts import Part, PartBudget, side_by_side
from exitdrill_s3.upload import _runs

_SIZE = 10


class _Far:
    """A far end: takes parts, each as long as it is told."""

    def __init__(self, wrong: frozenset[int] = frozenset(), slow: frozenset[int] = frozenset()) -> None:
        self.wrong, self.slow = wrong, slow
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0

    def send(self, number: int, part: PiecesBody, failed: Event) -> int:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            if number in self.wrong:
                raise TransientError(f"part {number}")
            if number in self.slow:
                failed.wait(20)
            time.sleep(0.002)
            return number * part.size
        finally:
            with self.lock:
                self.under_way -= 1


def _parts(count: int, read: Callable[[int], None] = lambda _: None) -> Iterator[Part]:
    for number in range(1, count + 1):

        def pieces(number: int = number) -> PiecesBody:
            read(number)
            return PiecesBody([memoryview(bytes(_SIZE))])

        yield Part(number, _SIZE, pieces)


def test_read_in_order_and_sent_side_by_side() -> None:
    """The body is read in order, by the thread that asks; several parts are under way, never more than allowed."""
    far, read, here = _Far(), list[int](), threading.current_thread()

    def note(number: int) -> None:
        assert threading.current_thread() is here
        read.append(number)

    sent = dict(side_by_side(_parts(40, note), far.send, PartBudget(100), 3))
    assert read == list(range(1, 41))
    assert sent == {number: number * _SIZE for number in range(1, 41)}
    assert 2 <= far.most <= 3


def test_memory_is_shared() -> None:
    """Two uploads never hold more bytes than the budget, and one part larger than all of it still goes."""
    budget, held, most, lock = PartBudget(35), [0], [0], threading.Lock()

    def send(number: int, part: PiecesBody, failed: Event) -> int:
        with lock:
            held[0] += part.size
            most[0] = max(most[0], held[0])
        time.sleep(0.002)
        with lock:
            held[0] -= part.size
        return number

    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(len(list(side_by_side(_parts(20), send, budget)))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == [20, 20, 20]
    assert most[0] <= 30
    assert list(side_by_side([Part(1, 99, lambda: PiecesBody([memoryview(bytes(99))]))], send, budget)) == [(1, 1)]
    assert budget.take(35) == 35, "something was not given back"


def test_what_was_sent_all_the_same_is_known() -> None:
    """When a part fails no more are read; those under way end, are reported, and then the failure is raised."""
    far, read = _Far(wrong=frozenset({3}), slow=frozenset({1, 2})), list[int]()
    budget, sent = PartBudget(1000), list[int]()
    with pytest.raises(TransientError, match="part 3"):
        _note(side_by_side(_parts(50, read.append), far.send, budget, 4), sent)
    assert {1, 2} <= set(sent)
    assert 3 not in sent
    assert len(read) < 10
    assert far.under_way == 0
    assert budget.take(1000) == 1000


def _note(found: Iterator[tuple[int, int]], into: list[int]) -> None:
    for number, _ in found:
        into.append(number)


def test_a_body_that_fails() -> None:
    """What reading raises comes out as it went in, after what was under way has ended."""
    far, budget, sent = _Far(), PartBudget(1000), list[int]()

    def read(number: int) -> None:
        if number == 4:
            raise StoppedError("enough")

    with pytest.raises(StoppedError, match="enough"):
        _note(side_by_side(_parts(9, read), far.send, budget), sent)
    assert sorted(sent) == [1, 2, 3]
    assert budget.take(1000) == 1000


def test_who_goes_away_waits_for_what_is_under_way() -> None:
    """A writer that gives up in the middle leaves no thread behind that still sends."""
    far = _Far(slow=frozenset({2, 3, 4}))
    found = side_by_side(_parts(9), far.send, PartBudget(1000), 4)
    assert next(found)[0] == 1
    found.close()
    assert far.under_way == 0


@given(st.sets(st.integers(1, 60)))
def test_holes_as_runs(numbers: set[int]) -> None:
    """Missing parts become as few stretches as there are, with none left out."""
    runs = list(_runs(sorted(numbers)))
    assert [number for run in runs for number in run] == sorted(numbers)
    assert all(later[0] > run[-1] + 1 for run, later in itertools.pairwise(runs))


@settings(max_examples=60)
@given(
    data=st.binary(max_size=300),
    chunk=st.integers(1, 50),
    part=st.integers(1, 80),
    cut=st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_pieces_are_the_bytes(data: bytes, chunk: int, part: int, cut: tuple[int, int]) -> None:
    """However a body is cut into chunks and parts, the parts and any stretch of one are the bytes at that place."""

    class Chunked(BytesBody):
        def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            end = self.size if length is None else offset + length
            for start in range(offset, end, chunk):
                yield bytes(self.data[start : min(start + chunk, end)])

    reader = BodyReader(Chunked(data), 0, len(data))
    for begin in range(0, len(data), part):
        held, want = reader.pieces(part), data[begin : begin + part]
        assert held.size == len(want)
        assert b"".join(held.open()) == want
        offset = min(cut[0], held.size)
        length = min(cut[1], held.size - offset)
        assert b"".join(held.open(offset, length)) == want[offset : offset + length]
    sent = BodyReader(Chunked(data), 0, len(data)).content()
    assert isinstance(sent, bytes), "a little is sent at once"
    assert sent == data
