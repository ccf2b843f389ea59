"""A crew: threads that take items from one iterator, one at a time, and do something with each.

No future, queue or object is made for an item: on small objects those would cost more than the copying. An item's
own failure is the function's business; what it raises ends the crew: nobody takes another item, what is under way
ends, and the first error is raised. Threads start as there are items for them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Crew"]

T = TypeVar("T")


class Crew(Generic[T]):
    """Threads at work.

    Args:
        items: What to do; taken by one thread at a time.
        do: Does one item.
        threads: How many at the most.
        name: Of the threads.
        wake: Set when the thread that waits in `tend` is to look: at the end, and whenever ``do`` wants that.
    """

    def __init__(
        self, items: Iterable[T], do: Callable[[T], None], threads: int, name: str, wake: threading.Event
    ) -> None:
        """See the class."""
        self._items: Iterator[T] = iter(items)
        self._do, self._most, self._name, self._wake = do, threads, name, wake
        self._taking = threading.Lock()
        self._counting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._ended = False
        self._errors: list[BaseException] = []

    def tend(self, look: Callable[[], None], every_seconds: float) -> None:
        """Start, and until all items are done call ``look`` when woken, at least that often.

        Raises what ``do``, the iterator or ``look`` raised first, after everything under way has ended.
        """
        self._start()
        try:
            while self._active:
                self._wake.wait(every_seconds)
                self._wake.clear()
                look()
        except BaseException:
            self._ended = True
            raise
        finally:
            for thread in self._threads:
                thread.join()
        for error in self._errors:
            raise error

    def _start(self) -> None:
        with self._counting:
            if self._ended or len(self._threads) >= self._most:
                return
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            self._active += 1
        thread.start()

    def _work(self) -> None:
        first = True
        try:
            while True:
                with self._taking:
                    if self._ended:
                        return
                    try:
                        item = next(self._items)
                    except StopIteration:
                        self._ended = True
                        return
                if first:
                    first = False
                    self._start()  # there was something for me: perhaps there is for another
                self._do(item)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that tends
            with self._counting:
                self._errors.append(exc)
                self._ended = True
        finally:
            with self._counting:
                self._active -= 1
                last = not self._active
            if last:
                self._wake.set()
