"""One large object over several connections: ranges fetched side by side, given out in order.

One connection to a cloud's object store is far slower than the network. SHA-256 has to see the bytes in order, so
ranges that came early wait in a bounded window. Memory: every range under way or waiting has its bytes taken out of
the process's `ByteBudget` first. An object may always have the range it needs next, and reads ahead only while there is
room, so that objects never wait for one another in a circle.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import StoppedError

__all__ = ["PARALLEL_BYTES", "RANGE_BYTES", "ByteBudget", "RangeReader"]

PARALLEL_BYTES = 64 * 1024 * 1024
"""Objects above this size are read in parallel ranges."""
RANGE_BYTES = 8 * 1024 * 1024
_AHEAD = 4
"""Ranges of one object under way at once."""
_BUDGET_BYTES = 128 * 1024 * 1024
_THREADS = 16
_BEAT_SECONDS = 0.5


class ByteBudget:
    """So many bytes in flight in this process, and no more.

    Args:
        total_bytes: How many.
    """

    def __init__(self, total_bytes: int = _BUDGET_BYTES) -> None:
        """See the class."""
        self._left = total_bytes
        self._room = threading.Condition()

    def try_take(self, count: int) -> bool:
        """Take bytes if there are so many left."""
        with self._room:
            if self._left < count:
                return False
            self._left -= count
            return True

    def take(self, count: int, stopped: Callable[[], bool]) -> None:
        """Take bytes, waiting for them. Raises StoppedError."""
        while not self.try_take(count):
            if stopped():
                raise StoppedError("stopped while waiting for memory")
            with self._room:
                if self._left < count:
                    self._room.wait(_BEAT_SECONDS)

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._room:
            self._left += count
            self._room.notify_all()


class RangeReader:
    """Reads large objects of one place.

    Args:
        store: The place.
        stopped: Whether to stop.
        budget: What the ranges of all objects share.
        ahead: How many ranges of one object are under way at once.
    """

    def __init__(
        self, store: ObjectStore, stopped: Callable[[], bool], budget: ByteBudget | None = None, ahead: int = _AHEAD
    ) -> None:
        """See the class. Threads start with the first large object."""
        self._store, self._stopped, self._ahead = store, stopped, ahead
        self._budget = budget or ByteBudget()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def chunks(
        self, key: str, etag: str | None, version: str | None, begin: int, end: int
    ) -> Generator[bytes, None, None]:
        """The bytes from ``begin`` to ``end`` in order, each range pinned to the ETag. Raises as `ObjectStore.read`."""
        waiting = deque((at, min(RANGE_BYTES, end - at)) for at in range(begin, end, RANGE_BYTES))
        under_way: deque[tuple[Future[list[bytes]], int]] = deque()
        fetch = partial(self._fetch, key, etag, version)
        try:
            while waiting or under_way:
                if not under_way:
                    self._budget.take(waiting[0][1], self._stopped)
                    under_way.append(self._begin(fetch, *waiting.popleft()))
                while waiting and len(under_way) < self._ahead and self._budget.try_take(waiting[0][1]):
                    under_way.append(self._begin(fetch, *waiting.popleft()))
                yield from under_way[0][0].result()
                self._budget.give(under_way.popleft()[1])
        finally:
            for future, count in under_way:
                future.cancel()
                future.add_done_callback(lambda _, count=count: self._budget.give(count))  # type: ignore[misc]

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self, fetch: Callable[[int, int], list[bytes]], offset: int, count: int
    ) -> tuple[Future[list[bytes]], int]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "range")
        return self._pool.submit(fetch, offset, count), count

    def _fetch(self, key: str, etag: str | None, version: str | None, offset: int, count: int) -> list[bytes]:
        with self._store.read(key, etag=etag, version=version, offset=offset, length=count) as stream:
            return list(stream.chunks())  # as they came: joining them would cost as much as receiving them
