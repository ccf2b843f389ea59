"""Copying one part on one leg: threads, group commits, a second try, and the part in the ledger.

Rules: a row counts as done only after the place written to has been flushed and the row committed. Rows done
before a crash are not done again. An object whose place did not answer gets a second try at the end of the
part; when many in a row fail like that, or nothing of a part ever arrived, the leg ends, because it is the
place that is down. The threads copy; the thread that called writes packs, flushes and commits, so that a write
to the vault never stalls the reads.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

from exitdrill.connector.objects import UploadMemory
from exitdrill.connector.window import Slots
from exitdrill.errors import RunError, StoppedError, TransientError
from exitdrill.model.objects import Outcome
from exitdrill.transfer.crew import Crew
from exitdrill.transfer.packing import Packing, Parcel
from exitdrill.transfer.rows import InventoryRow, LedgerRow, Row, columns_batch, read_rows, schema, write_batches
from exitdrill.transfer.tally import LegTally
from exitdrill.transfer.work import PartWork, RowMemory

__all__ = ["Meter", "PartRun"]

T = TypeVar("T")
Copy = Callable[[Row, UploadMemory], LedgerRow | Parcel]

_COMMIT_ROWS = 1000
_COMMIT_SECONDS = 1.0
_DOWN_AFTER = 50
_BATCH = 1024


@dataclass(slots=True)
class Meter:
    """What has been done so far by this process; read by the reporter of progress."""

    objects: int = 0
    size_bytes: int = 0
    errors: int = 0
    beats: int = 0
    """Signs of life where nothing is counted yet: rows that are being sorted."""

    def counts(self) -> tuple[int, int, int]:
        """Objects, bytes, errors."""
        return self.objects, self.size_bytes, self.errors

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
        copy: Copies one object, or brings it for a pack.
        flush: Makes what was written durable.
        threads: How many objects are under way at once.
        stopped: Whether to stop.
        meter: Counts.
        packing: Makes the packs of this part, given the event that asks for their writing; None where there are none.
        slots: Where a copy waits for its slot before it begins, if there may be fewer slots than threads.
        guard: Where other machines could be at work on the part: called in front of the part's name in the ledger,
            raises ClaimLostError if another has taken it over.
    """

    def __init__(
        self,
        source: Path,
        cls: type[Row],
        target: Path,
        work: Path,
        leg: str,
        copy: Copy[Row],
        flush: Callable[[], None],
        threads: int,
        stopped: Callable[[], bool],
        meter: Meter,
        packing: Callable[[threading.Event], Packing] | None = None,
        slots: Slots | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """See the class."""
        self._guard = guard
        self._source, self._target, self._work_path = source, target, work
        self._cls: type[Row] = cls
        self._copy: Copy[Row] = copy
        self._slots = slots or Slots()
        self._leg, self._flush = leg, flush
        self._threads, self._stopped, self._meter = threads, stopped, meter
        self._wake = threading.Event()
        self._packing = None if packing is None else packing(self._wake)
        self._lock = threading.Lock()
        self._finished: list[tuple[int, LedgerRow]] = []
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
        work = PartWork(self._work_path, shared=self._guard is not None)
        try:
            self._copy_rows(work, self._left(work))
            again, self._again = self._again, []
            self._copy_rows(work, iter(again), last=True)
            tally = LegTally(self._leg)
            kept = (columns_batch(tally.counted(columns), LedgerRow) for columns in work.columns(_BATCH))
            write_batches(self._target, kept, schema(LedgerRow), tally.facts, self._guard)
        except BaseException:
            work.close()
            raise
        work.remove()

    def _left(self, work: PartWork) -> Iterator[tuple[int, Row]]:
        done = work.done()
        self._answered = bool(done)
        self._meter.objects += len(done)
        rows = ((n, row) for n, row in enumerate(read_rows(self._source, self._cls)) if n not in done)
        return _by_pack(rows)

    def _copy_rows(self, work: PartWork, rows: Iterator[tuple[int, Row]], *, last: bool = False) -> None:
        committed = time.monotonic()
        kept = True

        def look() -> None:
            nonlocal committed, kept
            kept = False
            try:
                late = time.monotonic() - committed > _COMMIT_SECONDS
                settled = self._packed(last=False)
                if settled or late or len(self._finished) >= _COMMIT_ROWS:
                    self._commit(work, settled + self._taken())
                    committed = time.monotonic()
            except BaseException:
                self._abandon()  # before anybody waits for threads that wait for room in a pack
                raise
            kept = True

        crew = Crew(rows, lambda item: self._one(work, *item, last=last), self._threads, "copy", self._wake)
        try:
            crew.tend(look, _COMMIT_SECONDS)
        finally:
            # Also when it ended early: what was finished is kept, unless keeping it is what failed.
            self._commit(work, (self._packed(last=True) if kept else []) + self._taken())

    def _packed(self, *, last: bool) -> list[tuple[int, LedgerRow]]:
        return [] if self._packing is None else self._packing.written(last=last)

    def _abandon(self) -> None:
        if self._packing is not None:
            self._packing.abandon()

    def _one(self, work: PartWork, n: int, row: Row, *, last: bool) -> None:
        """Copy one object, in one of many threads."""
        if self._stopped():
            raise StoppedError("stopped")
        try:
            with self._slots.held(self._stopped):
                result = self._copy(row, RowMemory(work, n))
        except TransientError as error:
            if (refused := self._failed(n, row, error, last=last)) is None:
                return
            result = refused
        else:
            self._down = 0
            self._answered = True
        if isinstance(result, Parcel):
            if self._packing is None:
                raise RunError("an object was brought for a pack, and there are none", resource=str(self._target))
            arrived = True
            self._packing.put(n, result)
        else:
            arrived = result.arrived if self._leg == "rebuild" else result.evacuated
            with self._lock:
                self._finished.append((n, result))
                many = len(self._finished) == _COMMIT_ROWS
            if many:
                self._wake.set()
        with self._lock:
            self._meter.objects += 1
            self._meter.errors += not arrived

    def _failed(self, n: int, row: Row, error: TransientError, *, last: bool) -> LedgerRow | None:
        """What becomes of an object whose place did not answer: another try, or the end of it, or of the leg."""
        with self._lock:
            self._down += 1
            if self._down >= _DOWN_AFTER:
                raise error
            if not last:
                self._again.append((n, row))
                return None
            if not self._answered:
                raise error
        return _refused(row, str(error))

    def _taken(self) -> list[tuple[int, LedgerRow]]:
        with self._lock:
            finished, self._finished = self._finished, []
            return finished

    def _commit(self, work: PartWork, finished: list[tuple[int, LedgerRow]]) -> None:
        if finished:
            self._flush()
            work.commit(finished)


def _by_pack(rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """The same rows, those of one pack side by side as far as a batch reaches."""
    while batch := list(islice(rows, _BATCH)):
        if isinstance(batch[0][1], LedgerRow):
            batch.sort(key=lambda item: _shelf_mark(item[1]))
        yield from batch


def _shelf_mark(row: InventoryRow | LedgerRow) -> tuple[str, int]:
    packed = isinstance(row, LedgerRow) and row.vault_offset is not None
    return (row.vault_key, row.vault_offset or 0) if packed and isinstance(row, LedgerRow) else ("", 0)


def _refused(row: InventoryRow | LedgerRow, detail: str) -> LedgerRow:
    if isinstance(row, LedgerRow):
        return replace(row, rebuilt=Outcome.REFUSED, rebuilt_detail=detail)
    listed = LedgerRow(row.key, row.size, row.etag, row.version, row.modified, Outcome.REFUSED, detail)
    return replace(listed, envelope=row.envelope or "{}")
