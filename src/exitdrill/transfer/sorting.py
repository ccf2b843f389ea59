"""Putting rows in key order, in memory that does not grow.

Runs of a bounded number of rows are sorted and spilled to Parquet files, then merged; more than a bounded
number of runs are merged in rounds. The order is by code point, which is the order of the UTF-8 bytes.
Listings that come in order already do not need this: `ordered_listing` checks while it passes them on.
"""

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from exitdrill.connector.objects import ObjectStore
from exitdrill.transfer.rows import InventoryRow, Row, batches, read_rows, write_part

__all__ = ["ListingOutOfOrderError", "ordered_listing", "sort_rows"]

_RUN_ROWS = 50_000
_FAN_IN = 64
_MERGE_BATCH = 256
"""Rows read ahead of each run while merging: there are up to `_FAN_IN` of them at once."""


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
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        runs: list[Path] = []
        for number, batch in enumerate(batches(rows, run_rows)):
            batch.sort(key=key)
            runs.append(Path(folder) / f"run-{number:08d}")
            write_part(runs[-1], batch, cls)
        merges = 0
        while len(runs) > _FAN_IN:
            merged = Path(folder) / f"merge-{merges:08d}"
            merges += 1
            write_part(merged, heapq.merge(*(read_rows(r, cls, _MERGE_BATCH) for r in runs[:_FAN_IN]), key=key), cls)
            for run in runs[:_FAN_IN]:
                run.unlink()
            runs = [*runs[_FAN_IN:], merged]
        yield from heapq.merge(*(read_rows(run, cls, _MERGE_BATCH) for run in runs), key=key)


def _sort_key(row: InventoryRow) -> str:
    return row.key


def _checked(rows: Iterable[InventoryRow]) -> Iterator[InventoryRow]:
    last = ""
    for row in rows:
        if row.key < last:
            raise ListingOutOfOrderError
        last = row.key
        yield row


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
    entries = store.list(prefix, start_after=start_after if able else None)

    def listed() -> Iterator[InventoryRow]:
        for entry in entries:
            beat()
            if start_after is None or entry.key > start_after:
                yield InventoryRow.of(entry)

    rows = listed()
    if store.capabilities.sorted_listing:
        return _checked(rows)
    return sort_rows(rows, InventoryRow, _sort_key, scratch)
