"""Listing a container as Arrow batches of inventory rows, several pieces of it side by side.

The pieces (`ObjectStore.pieces`) are read by a bounded number of threads and given out one after the other, in key
order. Each may be ahead by a bounded number of rows, so memory depends neither on their number nor on their size.
Whether the rows of one piece are in order is for the reader to check: a piece may be in any.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pyarrow as pa

from exitdrill.connector.levels import Piece
from exitdrill.connector.objects import ObjectStore
from exitdrill.transfer.sorting import entry_batches

__all__ = ["listed_batches"]

_MOST_THREADS = 4
_PIECES = 64
_AHEAD = 2
"""Batches of up to a thousand rows that each piece may be ahead."""
_SUBMITTED = 4
"""Pieces waiting or read ahead, for each thread."""
_WAIT_SECONDS = 0.2


def listed_batches(
    store: ObjectStore, prefix: str, last: str | None, threads: int, beat: Callable[[], None]
) -> Generator[pa.RecordBatch]:
    """A listing, none of its batches empty.

    Where the place lists in key order and can begin after a key, only what comes after ``last``.

    Args:
        store: The container.
        prefix: Only keys that begin so.
        last: What is known already; None for nothing.
        threads: How many pieces are listed at once, within limits.
        beat: Called for each object listed, from any thread; may raise.

    Raises:
        ConnectorError, and what ``beat`` raises.
    """
    able = store.capabilities.start_after and store.capabilities.sorted_listing
    after = last if able else None
    threads = min(threads, _MOST_THREADS)
    pieces = store.pieces(prefix, most=_PIECES) if threads > 1 else (prefix,)
    if after is not None:
        pieces = tuple(piece for piece in pieces if not _before(piece, after))
    if len(pieces) == 1:
        yield from _read(store, pieces[0], after, beat)
    elif pieces:
        with closing(_side_by_side(store, pieces, after, threads, beat)) as found:
            yield from found


def _before(piece: Piece, after: str) -> bool:
    """Whether nothing in the piece comes after a key."""
    if isinstance(piece, str):
        return piece < after and not after.startswith(piece)
    return piece[-1].key <= after


def _read(store: ObjectStore, piece: Piece, after: str | None, beat: Callable[[], None]) -> Iterator[pa.RecordBatch]:
    if isinstance(piece, str):
        inside = after if after is not None and after >= piece else None
        return entry_batches(store.pages(piece, start_after=inside), None, beat)
    return entry_batches([piece], after, beat)


class _Reader:
    """Reads one piece in a thread of its own, a little ahead."""

    def __init__(self, source: Iterable[pa.RecordBatch], stop: threading.Event) -> None:
        self._source, self._stop = source, stop
        self._queue: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(_AHEAD)

    def run(self) -> None:
        """Read; what ends it goes to whoever takes the rows."""
        try:
            for batch in self._source:
                if not self._put(batch):
                    return
        except BaseException as exc:  # noqa: BLE001 - raised again where the rows are taken
            self._put(exc)
        else:
            self._put(None)

    def _put(self, item: pa.RecordBatch | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows. Raises what reading raised."""
        # The thread ends with an item of its own, whatever happens, and every request it makes has a timeout.
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


def _side_by_side(
    store: ObjectStore, pieces: tuple[Piece, ...], after: str | None, threads: int, beat: Callable[[], None]
) -> Generator[pa.RecordBatch]:
    stop = threading.Event()
    left = deque(pieces)
    under_way: deque[_Reader] = deque()
    with ThreadPoolExecutor(threads, "list") as pool:
        try:
            while left or under_way:
                while left and len(under_way) < threads * _SUBMITTED:
                    under_way.append(_Reader(_read(store, left.popleft(), after, beat), stop))
                    pool.submit(under_way[-1].run)
                yield from under_way.popleft().batches()
        finally:
            stop.set()
