"""Putting rows in key order, in memory that does not grow.

Rows travel as Arrow batches. As long as they come in order they are only spilled, one run on disk; where the
order breaks a new run begins, of a bounded number of rows that are sorted first. Runs are merged a batch at a
time; more than a bounded number of them in rounds. The order is that of the UTF-8 bytes, which is by code point.
Listings that come in order already do not need this: `ordered_listing` checks while it passes them on.
"""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import RunError
from exitdrill.model.objects import ObjectEntry
from exitdrill.transfer.layout import disk_errors
from exitdrill.transfer.rows import (
    InventoryRow,
    Row,
    batch_of,
    batches,
    entries_batch,
    gathered,
    rows_of,
    schema,
)

__all__ = [
    "InOrder",
    "ListingOutOfOrderError",
    "entry_batches",
    "ordered_listing",
    "sort_batches",
    "sort_rows",
]

_RUN_ROWS = 10_000
_RUN_BYTES = 32 * 1024 * 1024
_FAN_IN = 64
_GROUP_BYTES = 256 * 1024
"""Read ahead of each run while merging: there are up to `_FAN_IN` of them at once."""
_BATCH = 1000
_BY = "sort by"
"""The column, beside a row's own, that `sort_rows` orders by."""


class ListingOutOfOrderError(Exception):
    """A listing that claims to be in key order is not."""


def sort_rows(
    rows: Iterable[Row], cls: type[Row], key: Callable[[Row], str], scratch: Path, run_rows: int = _RUN_ROWS
) -> Iterator[Row]:
    """The rows in key order.

    Args:
        rows: In any order.
        cls: Their class.
        key: What to order by.
        scratch: A folder for spilled runs; emptied again of them.
        run_rows: How many rows are held in memory at most.
    """
    arrow = schema(cls).append(pa.field(_BY, pa.string()))

    def keyed() -> Iterator[pa.RecordBatch]:
        some: list[Row]
        for some in batches(rows, min(run_rows, _BATCH)):
            keys: Any = pa.array([key(row) for row in some], pa.string())
            columns = [*batch_of(some, cls).columns, keys]
            yield pa.RecordBatch.from_arrays(columns, schema=arrow)

    for found in sort_batches(keyed(), arrow, _BY, scratch, run_rows):
        yield from rows_of(found, cls)


def sort_batches(
    source: Iterable[pa.RecordBatch],
    arrow: pa.Schema,
    by: str,
    scratch: Path,
    run_rows: int = _RUN_ROWS,
    also: Iterable[pa.RecordBatch] | None = None,
) -> Generator[pa.RecordBatch]:
    """Arrow batches in the order of one column of text.

    Args:
        source: In any order.
        arrow: Their schema.
        by: The column's name.
        scratch: A folder for spilled runs; emptied again of them.
        run_rows: How many rows are held in memory at most.
        also: Batches in order already, to be merged in without being spilled.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        spill = _Spill(Path(folder), arrow, by)
        try:
            for table in gathered(source, run_rows, _RUN_BYTES):
                spill.add(table)
        finally:
            spill.end_run()
        while len(spill.runs) > _FAN_IN:
            spill.merge_some()
        streams = [spill.read(run) for run in spill.runs]
        if also is not None:
            streams.append(iter(also))
        yield from _merged(streams, by)


class _Spill:
    """Runs on disk, each in order."""

    def __init__(self, folder: Path, arrow: pa.Schema, by: str) -> None:
        self.runs: list[Path] = []
        self._folder, self._schema, self._by = folder, arrow, by
        self._made = 0
        self._writer: pq.ParquetWriter | None = None
        self._last = ""

    def add(self, table: pa.Table) -> None:
        """Take in rows: behind the run that is open where they go on in order, else as a new one, sorted."""
        keys = table.column(self._by)
        if not _ascends(keys):
            table = table.take(pc.sort_indices(keys))
            keys = table.column(self._by)
        if self._writer is None or keys[0].as_py() < self._last:
            self._begin_run()
        self._write(table)
        self._last = keys[-1].as_py()

    def end_run(self) -> None:
        """Close the run that is open."""
        if self._writer is not None:
            with disk_errors(str(self._folder)):
                self._writer.close()
            self._writer = None

    def read(self, run: Path) -> Iterator[pa.RecordBatch]:
        """A run's rows, a group at a time."""
        try:
            with pq.ParquetFile(run, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    yield from file.read_row_group(group).to_batches()
        except (OSError, pa.ArrowException) as exc:
            raise RunError(f"a sorted run cannot be read back: {exc}", resource=run.name) from exc

    def merge_some(self) -> None:
        """Put the first of the runs together to one."""
        some, self.runs = self.runs[:_FAN_IN], self.runs[_FAN_IN:]
        self._begin_run()
        try:
            for batch in _merged([self.read(run) for run in some], self._by):
                self._write(pa.Table.from_batches([batch]))
        finally:
            self.end_run()
        for run in some:
            run.unlink()

    def _begin_run(self) -> None:
        self.end_run()
        self._made += 1
        path = self._folder / f"run-{self._made:08d}"
        self.runs.append(path)
        with disk_errors(str(path)):
            self._writer = pq.ParquetWriter(
                path,
                self._schema,
                compression="lz4",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            )

    def _write(self, table: pa.Table) -> None:
        if self._writer is not None:
            rows = max(1, table.num_rows * _GROUP_BYTES // max(table.nbytes, 1))
            with disk_errors(str(self._folder)):
                self._writer.write_table(table, row_group_size=rows)


def _ascends(keys: Any) -> bool:
    return len(keys) < 2 or not pc.any(pc.less(keys[1:], keys[:-1])).as_py()  # noqa: PLR2004 - one is in order


class _Head:
    """The next rows of one stream."""

    def __init__(self, stream: Iterator[pa.RecordBatch], by: str) -> None:
        self._stream, self._by = stream, by
        self.batch: pa.RecordBatch | None = None
        self.last = ""
        self.more()

    def more(self) -> None:
        """Take the next batch; ``batch`` is None after the last."""
        self.batch = next((batch for batch in self._stream if batch.num_rows), None)
        if self.batch is not None:
            self.last = self.batch.column(self._by)[-1].as_py()

    def up_to(self, bound: str) -> pa.RecordBatch | None:
        """Take what is not behind ``bound`` out of the batch; None if that is nothing."""
        batch = self.batch
        if batch is None:
            return None
        if self.last <= bound:
            self.more()
            return batch
        keys = batch.column(self._by)
        low, high = 0, batch.num_rows
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if keys[middle].as_py() <= bound else (low, middle)
        self.batch = batch.slice(low)
        return batch.slice(0, low) if low else None


def _merged(streams: list[Iterator[pa.RecordBatch]], by: str) -> Iterator[pa.RecordBatch]:
    """Ordered streams as one: each round takes what is not behind the end of any stream's next batch."""
    heads = [head for head in (_Head(stream, by) for stream in streams) if head.batch is not None]
    while len(heads) > 1:
        bound = min(head.last for head in heads)
        taken = [batch for head in heads if (batch := head.up_to(bound)) is not None]
        table = pa.Table.from_batches(taken)
        if len(taken) > 1:
            table = table.take(pc.sort_indices(table.column(by)))
        yield from table.to_batches(max_chunksize=_BATCH)
        heads = [head for head in heads if head.batch is not None]
    for head in heads:
        while head.batch is not None:
            yield head.batch
            head.more()


def entry_batches(
    pages: Iterable[Iterable[ObjectEntry]],
    start_after: str | None,
    beat: Callable[[], None],
) -> Iterator[pa.RecordBatch]:
    """A listing's pages as Arrow batches of `InventoryRow`s, what is not behind ``start_after`` left out."""
    for page in pages:
        entries = iter(page)
        while some := list(islice(entries, _BATCH)):
            for _ in some:
                beat()
            if start_after is not None:
                some = [entry for entry in some if entry.key > start_after]
            if some:
                yield entries_batch(some)


class InOrder(Iterator[pa.RecordBatch]):
    """Passes Arrow batches on while one column of text is in order, and ends before the first that is not.

    Args:
        source: The batches.
        by: The column's name.
    """

    def __init__(self, source: Iterable[pa.RecordBatch], by: str) -> None:
        """See the class."""
        self._source, self._by = iter(source), by
        self._last = ""
        self.left: Iterator[pa.RecordBatch] | None = None
        """Where the order broke: what is left, the batch that broke it first. None as long as it holds."""

    def __next__(self) -> pa.RecordBatch:
        """The next batch."""
        if self.left is not None:
            raise StopIteration
        batch = next(self._source)
        keys = batch.column(self._by)
        if keys[0].as_py() < self._last or not _ascends(keys):
            self.left = chain([batch], self._source)
            raise StopIteration
        self._last = keys[-1].as_py()
        return batch


def ordered_listing(
    store: ObjectStore,
    prefix: str,
    scratch: Path,
    start_after: str | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[InventoryRow]:
    """A store's listing as rows in key order, after ``start_after`` only.

    ``beat`` is called for each object listed, also while they are still being sorted; it may raise.

    A store that claims an ordered listing is believed until it breaks the order; then
    ListingOutOfOrderError comes out, and the caller begins again with `Capabilities.sorted_listing` off.
    Raises ConnectorError.
    """
    able = store.capabilities.start_after and store.capabilities.sorted_listing
    pages = store.pages(prefix, start_after=start_after if able else None)
    if store.capabilities.sorted_listing:
        return _checked(pages, start_after, beat)
    arrow = schema(InventoryRow)
    found = sort_batches(entry_batches(pages, start_after, beat), arrow, "key", scratch)
    return chain.from_iterable(rows_of(batch, InventoryRow) for batch in found)


def _checked(
    pages: Iterable[Iterable[ObjectEntry]], start_after: str | None, beat: Callable[[], None]
) -> Iterator[InventoryRow]:
    last = ""
    for entry in chain.from_iterable(pages):
        beat()
        if entry.key < last:
            raise ListingOutOfOrderError
        last = entry.key
        if start_after is None or last > start_after:
            yield InventoryRow.of(entry)
