"""Copying one part on one leg: threads, group commits, a second try, and the part in the ledger.

Rules: a row counts as done only after the place written to has been flushed and the row committed. Rows done
before a crash are not done again. An object whose place did not answer gets a second try at the end of the
part; when many in a row fail like that, or nothing of a part ever arrived, the leg ends, because it is the
place that is down.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from exitdrill.connector.objects import UploadMemory
from exitdrill.errors import StoppedError, TransientError
from exitdrill.model.objects import Outcome
from exitdrill.transfer.rows import InventoryRow, LedgerRow, Row, read_rows, write_part
from exitdrill.transfer.tally import LegTally
from exitdrill.transfer.work import PartWork, RowMemory

__all__ = ["Meter", "PartRun"]

T = TypeVar("T")

_COMMIT_ROWS = 200
_COMMIT_SECONDS = 1.0
_DOWN_AFTER = 50


@dataclass(slots=True)
class Meter:
    """What has been done so far by this process; read by the reporter of progress."""

    objects: int = 0
    size_bytes: int = 0
    errors: int = 0
    beats: int = 0
    """Signs of life where nothing is counted yet: rows that are being sorted."""

    def moved(self, count: int) -> None:
        """Count bytes; called from many threads, good enough for progress."""
        self.size_bytes += count

    def alive(self, rows: Iterable[T]) -> Iterator[T]:
        """The same rows, each a sign of life."""
        for row in rows:
            self.beats += 1
            yield row


class PartRun(Generic[Row]):
    """One part on one leg.

    Args:
        source: The part to read: of the inventory, or of the first leg's ledger.
        cls: The class of its rows.
        target: The ledger part to make.
        work: The work file.
        leg: ``evacuate`` or ``rebuild``.
        copy: Copies one object.
        flush: Makes what was written durable.
        threads: How many objects are under way at once.
        stopped: Whether to stop.
        meter: Counts.
    """

    def __init__(
        self,
        source: Path,
        cls: type[Row],
        target: Path,
        work: Path,
        leg: str,
        copy: Callable[[Row, UploadMemory], LedgerRow],
        flush: Callable[[], None],
        threads: int,
        stopped: Callable[[], bool],
        meter: Meter,
    ) -> None:
        """See the class."""
        self._source, self._target, self._work_path = source, target, work
        self._cls: type[Row] = cls
        self._copy: Callable[[Row, UploadMemory], LedgerRow] = copy
        self._leg, self._flush = leg, flush
        self._threads, self._stopped, self._meter = threads, stopped, meter
        self._again: list[tuple[int, Row]] = []
        self._down = 0
        self._answered = False

    def run(self) -> None:
        """Copy what is not done yet, and write the ledger part; nothing if it is there already.

        Raises StoppedError, and what is wrong with a whole place. What was done till then is kept.
        """
        if self._target.exists():
            return
        self._target.parent.mkdir(parents=True, exist_ok=True)
        work = PartWork(self._work_path)
        try:
            self._copy_rows(work, self._left(work))
            again, self._again = self._again, []
            self._copy_rows(work, iter(again), last=True)
            tally = LegTally(self._leg)
            write_part(self._target, (tally.seen(row) for row in work.rows()), LedgerRow, tally.facts)
        except BaseException:
            work.close()
            raise
        work.remove()

    def _left(self, work: PartWork) -> Iterator[tuple[int, Row]]:
        done = work.done()
        self._answered = bool(done)
        self._meter.objects += len(done)
        return ((n, row) for n, row in enumerate(read_rows(self._source, self._cls)) if n not in done)

    def _copy_rows(self, work: PartWork, rows: Iterator[tuple[int, Row]], *, last: bool = False) -> None:
        under_way: dict[Future[LedgerRow], tuple[int, Row]] = {}
        finished: list[tuple[int, LedgerRow]] = []
        committed = time.monotonic()
        with ThreadPoolExecutor(self._threads, "copy") as pool:
            try:
                more = True
                while more or under_way:
                    more = more and self._fill(pool, work, rows, under_way)
                    done, _ = wait(under_way, timeout=_COMMIT_SECONDS, return_when=FIRST_COMPLETED)
                    for future in done:
                        if kept := self._kept(future, *under_way.pop(future), last=last):
                            finished.append(kept)  # noqa: PERF401 - what came before one that raises must be kept
                    late = time.monotonic() - committed > _COMMIT_SECONDS
                    if len(finished) >= _COMMIT_ROWS or (late and finished):
                        self._commit(work, finished)
                        committed = time.monotonic()
                    if self._stopped():
                        raise StoppedError("stopped")
            finally:
                self._drain(under_way, finished)
                self._commit(work, finished)

    def _fill(
        self,
        pool: ThreadPoolExecutor,
        work: PartWork,
        rows: Iterator[tuple[int, Row]],
        under_way: dict[Future[LedgerRow], tuple[int, Row]],
    ) -> bool:
        while len(under_way) < 2 * self._threads:
            n, row = next(rows, (-1, None))
            if row is None:
                return False
            under_way[pool.submit(self._copy, row, RowMemory(work, n))] = (n, row)
        return True

    def _drain(
        self, under_way: dict[Future[LedgerRow], tuple[int, Row]], finished: list[tuple[int, LedgerRow]]
    ) -> None:
        """Keep what still ends well of what is under way, when the loop is left early."""
        for future in under_way:
            future.cancel()
        wait(under_way)
        for future, (n, _) in under_way.items():
            if not future.cancelled() and future.exception() is None:
                finished.append((n, future.result()))

    def _kept(self, future: Future[LedgerRow], n: int, row: Row, *, last: bool) -> tuple[int, LedgerRow] | None:
        try:
            result = future.result()
        except TransientError as error:
            self._down += 1
            if self._down >= _DOWN_AFTER:
                raise
            if not last:
                self._again.append((n, row))
                return None
            if not self._answered:
                raise
            result = _refused(row, str(error))
        else:
            self._down = 0
            self._answered = True
        self._meter.objects += 1
        arrived = result.arrived if self._leg == "rebuild" else result.evacuated
        self._meter.errors += not arrived
        return n, result

    def _commit(self, work: PartWork, finished: list[tuple[int, LedgerRow]]) -> None:
        if finished:
            self._flush()
            work.commit(finished)
            finished.clear()


def _refused(row: InventoryRow | LedgerRow, detail: str) -> LedgerRow:
    if isinstance(row, LedgerRow):
        return replace(row, rebuilt=Outcome.REFUSED, rebuilt_detail=detail)
    listed = LedgerRow(row.key, row.size, row.etag, row.version, row.modified, Outcome.REFUSED, detail)
    return replace(listed, envelope=row.envelope or "{}")
