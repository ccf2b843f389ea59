"""Inventories from the place's own report (`exitdrill.connector.reports`), and what became of it since.

The report's rows are sorted, because reports are in any order, and each key comes once. With a delta pass the inventory
is a listing made now, and the report only says what changed since; without one it is the report itself, and objects
that changed since are found when they are copied, because reads are pinned to the ETags it gives.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exitdrill.clock import format_utc
from exitdrill.connector.reports import InventoryReport
from exitdrill.transfer.join import merge_join
from exitdrill.transfer.rows import InventoryRow, schema
from exitdrill.transfer.sorting import entry_batches, sort_batches

__all__ = ["Reported", "compare", "report_facts", "reported_batches"]

Known = tuple[str, str | None, int]
"""Of an object: key, ETag and size."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A report as the source of an inventory."""

    report: InventoryReport
    delta: bool
    """Whether a listing made now brings it up to date."""


def reported_batches(
    report: InventoryReport, prefix: str, scratch: Path, beat: Callable[[], None]
) -> Generator[pa.RecordBatch]:
    """A report's objects whose keys begin with a prefix, in key order, each once; none before all were checked.

    Of a key that comes twice the row modified last is taken: both were true while the report was made.
    """
    entries = (entry for entry in report.entries(scratch) if entry.key.startswith(prefix))
    ordered = sort_batches(entry_batches([entries], None, beat), schema(InventoryRow), "key", scratch)
    with closing(ordered):
        yield from _once(ordered)


def _once(source: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of rows with one key only the one modified last; batches end where keys do."""
    held: pa.RecordBatch | None = None
    for batch in source:
        whole = batch if held is None else pa.Table.from_batches([held, batch]).combine_chunks().to_batches()[0]
        keys = whole.column("key")
        last = keys[-1].as_py()
        start = whole.num_rows - 1
        while start > 0 and keys[start - 1].as_py() == last:
            start -= 1
        if start:
            yield _unique(whole.slice(0, start))
        held = _unique(whole.slice(start))
    if held is not None:
        yield held


def _unique(batch: pa.RecordBatch) -> pa.RecordBatch:
    keys = batch.column("key")
    same = pc.equal(keys[1:], keys[:-1])
    if not pc.any(same).as_py():
        return batch
    times: Any = batch.column("modified")
    known = pc.fill_null(times, pa.scalar(0, times.type))  # a row without a time counts as older than any with one
    table = pa.table({"key": keys, "modified": known})
    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("modified", "ascending")])
    ordered = batch.take(order)
    twins = [*same.to_pylist(), False]
    return ordered.filter(pa.array([not twin for twin in twins]))


def _known(batches: Iterator[pa.RecordBatch]) -> Iterator[Known]:
    batches = (batch.filter(pc.is_null(batch.column("version"))) for batch in batches)  # current ones only
    columns = ((batch.column(name).to_pylist() for name in ("key", "etag", "size")) for batch in batches)
    return chain.from_iterable(zip(*three, strict=True) for three in columns)


def compare(reported: Iterator[pa.RecordBatch], listed: Iterator[pa.RecordBatch]) -> dict[str, int]:
    """What changed between a report and a listing, both in key order: added, changed and deleted objects."""
    found = {"reported": 0, "added": 0, "changed": 0, "deleted": 0}
    for old, new in merge_join(_known(reported), _known(listed), _key, _key):
        found["reported"] += old is not None
        if old is None:
            found["added"] += 1
        elif new is None:
            found["deleted"] += 1
        else:
            found["changed"] += old != new
    return found


def _key(known: Known) -> str:
    return known[0]


def report_facts(reported: Reported, now: datetime) -> dict[str, object]:
    """What is kept of a report beside the inventory, as JSON."""
    report = reported.report
    completed = report.completed_utc
    return {
        "manifest": report.manifest,
        "began_utc": format_utc(report.began_utc),
        "completed_utc": None if completed is None else format_utc(completed),
        "age_seconds": round((now - report.began_utc).total_seconds()),
        "delta": "listing" if reported.delta else "none",
    }
