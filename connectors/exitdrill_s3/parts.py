"""Parts under way: read in order by one thread, sent by a few, within the memory that all uploads share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Condition, Event, Lock
from typing import Generic, TypeVar

from exitdrill_s3.body import PiecesBody
from exitdrill_s3.settings import MEBIBYTE

__all__ = ["OpenUploads", "Part", "PartBudget", "side_by_side"]

T = TypeVar("T")

_UNDER_WAY = 4
_BUDGET_BYTES = 128 * MEBIBYTE


class PartBudget:
    """Bytes that parts may hold in memory at once. Whoever waits waits for requests, which have time limits."""

    def __init__(self, size_bytes: int = _BUDGET_BYTES) -> None:
        """All of it free."""
        self._size = self._free = size_bytes
        self._changed = Condition()

    def take(self, count: int) -> int:
        """Wait for that much room; a part larger than all of it gets all of it. Returns what is to be given back."""
        count = min(count, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        return count

    def give(self, count: int) -> None:
        """Give back what `take` returned."""
        with self._changed:
            self._free += count
            self._changed.notify_all()


class OpenUploads:
    """Uploads that this process began and has neither completed nor aborted, and the memory their parts share."""

    def __init__(self) -> None:
        """Empty."""
        self.budget = PartBudget()
        self._lock = Lock()
        self._open: dict[str, tuple[str, str]] = {}

    def add(self, upload_id: str, bucket: str, key: str) -> None:
        """One was begun, or taken up again."""
        with self._lock:
            self._open[upload_id] = (bucket, key)

    def discard(self, upload_id: str) -> None:
        """One is over."""
        with self._lock:
            self._open.pop(upload_id, None)

    def of(self, bucket: str) -> list[tuple[str, str]]:
        """Those of one bucket, as upload id and key."""
        with self._lock:
            return [(upload_id, key) for upload_id, (of, key) in self._open.items() if of == bucket]


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is to be sent."""

    number: int
    size: int
    """In bytes."""
    read: Callable[[], PiecesBody]
    """Its bytes. Called once, in the order of the parts."""


def side_by_side(
    parts: Iterable[Part],
    send: Callable[[int, PiecesBody, Event], T],
    budget: PartBudget,
    under_way: int = _UNDER_WAY,
) -> Generator[tuple[int, T], None, None]:
    """Send parts, several at once.

    Args:
        parts: In the order to read them.
        send: Sends one, in a thread of its own; told by the event that another failed and trying again is no use.
        budget: The memory for parts that are read and not yet sent.
        under_way: How many at once.

    Yields the number and what ``send`` returned of each part, in the order they are done. Raises what reading or
    sending one raised, after it has yielded all that were sent all the same.
    """
    return _Crew(send, budget, under_way).run(parts)


class _Crew(Generic[T]):
    def __init__(self, send: Callable[[int, PiecesBody, Event], T], budget: PartBudget, most: int) -> None:
        self._send, self._budget, self._most = send, budget, most
        self._numbers: dict[Future[T], int] = {}
        self._failed = Event()
        self._failure: BaseException | None = None

    def run(self, parts: Iterable[Part]) -> Generator[tuple[int, T], None, None]:
        with ThreadPoolExecutor(self._most, "part") as pool:
            try:
                for part in parts:
                    if len(self._numbers) >= self._most:
                        yield from self._done(block=True)
                    if self._failure is not None:
                        break
                    self._hand_over(pool, part)
                    yield from self._done(block=False)
            except BaseException as exc:
                if isinstance(exc, GeneratorExit):
                    self._failed.set()
                    raise
                self._fail(exc)
            while self._numbers:
                yield from self._done(block=True)
        if self._failure is not None:
            raise self._failure

    def _hand_over(self, pool: ThreadPoolExecutor, part: Part) -> None:
        taken = self._budget.take(part.size)
        try:
            future = pool.submit(self._send, part.number, part.read(), self._failed)
        except BaseException:
            self._budget.give(taken)
            raise
        self._numbers[future] = part.number
        future.add_done_callback(lambda _: self._budget.give(taken))

    def _done(self, *, block: bool) -> Iterator[tuple[int, T]]:
        done = wait(self._numbers, None if block else 0, FIRST_COMPLETED).done
        for future in done:
            number, error = self._numbers.pop(future), future.exception()
            if error is None:
                yield number, future.result()
            else:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._failed.set()
