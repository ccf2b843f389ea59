"""The inventory: what the source held, as durable sorted parts, made once.

Parts are slices of the listing in key order. A part that is there is never made again: a listing that was
interrupted goes on behind the last key of the last part. When the listing has ended, ``complete.json`` names
every part with its digest.
"""

import json
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exitdrill.clock import Clock, format_utc
from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import StoppedError, UnsupportedError
from exitdrill.model.record import Counts
from exitdrill.transfer.cutting import Cutter, once
from exitdrill.transfer.layout import fsync_directory, write_atomic
from exitdrill.transfer.listing import listed_batches
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.reported import Reported, compare, report_facts, reported_batches
from exitdrill.transfer.rows import (
    InventoryRow,
    file_sha256,
    part_numbers,
    part_path,
    read_batches,
    read_rows,
    schema,
    summary,
    write_batches,
)
from exitdrill.transfer.sorting import InOrder, sort_batches

__all__ = [
    "STEM",
    "PartSize",
    "inventory_counts",
    "inventory_report",
    "inventory_rows",
    "is_complete",
    "make_inventory",
]

STEM = "part"
_REPORT = "report.json"
"""Which report was chosen, kept before it is read."""
_ROWS, _BYTES = 50_000, 64 * 1024**3
_FIRST_ROWS, _FIRST_BYTES = 1_000, 256 * 1024**2
_SAME_SIZE = 4
"""So many parts in a row are of one size, before it doubles."""
_DOUBLINGS = 16
"""By then both limits are reached."""
_LISTED, _SORTED = "as listed", "sorted"
"""How a part's rows came to be in order: sorted ones are the beginning of the whole listing's order; those
listed so are that only as long as the rest of the listing is in order too."""


@dataclass(frozen=True, slots=True)
class PartSize:
    """How large a part may get: whichever comes first.

    Where nothing is set, the first parts are small, so that a small inventory too is work for several workers,
    and later ones grow to 50,000 rows or 64 GiB. Where a part ends depends on its number alone, not on who lists.
    """

    rows: int | None = None
    size_bytes: int | None = None

    def limits(self, number: int) -> tuple[int, int]:
        """Rows and bytes of one part, by its number; the first is 1."""
        rows, size = self.rows, self.size_bytes
        if rows is None and size is None:
            growth = min((number - 1) // _SAME_SIZE, _DOUBLINGS)
            return min(_ROWS, _FIRST_ROWS << growth), min(_BYTES, _FIRST_BYTES << growth)
        return rows or _ROWS, size or _BYTES


def make_inventory(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    size: PartSize,
    clock: Clock,
    stopped: Callable[[], bool],
    meter: Meter,
    threads: int = 1,
    reported: Callable[[str | None], Reported] | None = None,
) -> None:
    """List a container into parts; nothing if that was done before.

    Args:
        store: The container.
        prefix: Only keys that begin so.
        folder: Where the parts go.
        scratch: For sorting, where the listing is not in order.
        size: How large a part may get.
        clock: For the time of the listing.
        stopped: Whether to stop.
        meter: Counts.
        threads: How many pieces of the container are listed at once.
        reported: Finds the report to take it from, given the key of the manifest that was taken before an
            interruption; None for a listing.

    Raises:
        StoppedError, NoSpaceError, ConnectorError, RunError: The listing gives a key twice.
    """
    if is_complete(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    now = clock.utc_now()
    listing = _Listing(store, prefix, folder, scratch, size, format_utc(now), stopped, meter, threads)
    if reported is None:
        listing.run()
        _complete(folder, format_utc(now), {})
        return
    source = _chosen(folder, reported)
    facts = report_facts(source, now)
    if source.delta:
        listing.run()
        with closing(listing.reported(source)) as objects:
            facts |= compare(objects, _part_batches(folder))
    elif store.capabilities.versions or store.capabilities.snapshots:
        what = "an inventory report stands for current objects only, and versions or snapshots are asked for"
        raise UnsupportedError(what, resource=store.resource, hint="delta: listing, or no inventory report")
    else:
        listing.run_reported(source)
    _complete(folder, format_utc(now), {"report": facts})


def _chosen(folder: Path, reported: Callable[[str | None], Reported]) -> Reported:
    """The report, the same one again after an interruption."""
    kept = folder / _REPORT
    before = json.loads(kept.read_bytes())["manifest"] if kept.exists() else None
    source = reported(before)
    if before is None:
        write_atomic(kept, json.dumps({"manifest": source.report.manifest}).encode())
    return source


class _Listing:
    """One pass over a container."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        folder: Path,
        scratch: Path,
        size: PartSize,
        started: str,
        stopped: Callable[[], bool],
        meter: Meter,
        threads: int,
    ) -> None:
        self._store, self._prefix, self._threads = store, prefix, threads
        self._folder, self._scratch = folder, scratch
        self._size, self._started, self._stopped, self._meter = size, started, stopped, meter

    def run(self) -> None:
        """List it."""
        last, order = self._before()
        if order == _SORTED:
            self._sort(last)
            return
        with closing(self._listed(last)) as listed:
            found = InOrder(listed, "key")
            # What lies before ``last`` is in the parts already, but must be seen in order to trust them.
            self._write(_behind(found, last), _LISTED)
            if found.left is None:
                return
            self._store.capabilities = self._store.capabilities.narrowed(sorted_listing=False)
            if last is None:
                self._sort_again(found.left)
                return
        # Two listings are mixed here; which of them broke the order, nobody can say.
        self._forget()
        self._sort(None)

    def run_reported(self, source: Reported) -> None:
        """Take the objects of a report for those of the container."""
        last = self._before()[0]
        with closing(self.reported(source)) as objects:
            self._write(_behind(objects, last), _SORTED)

    def reported(self, source: Reported) -> Generator[pa.RecordBatch]:
        """The objects of a report."""
        return reported_batches(source.report, self._prefix, self._scratch, self._beat)

    def _before(self) -> tuple[str | None, str]:
        """The last key written before an interruption, and how it came to be in order."""
        numbers = part_numbers(self._folder, STEM)
        if not numbers:
            return None, _LISTED
        before = summary(part_path(self._folder, STEM, numbers[-1]))
        return str(before["last"]), str(before["order"])

    def _sort(self, last: str | None) -> None:
        with closing(self._listed(last)) as listed, closing(self._sorted(listed, None)) as ordered:
            self._write(_behind(ordered, last), _SORTED)

    def _sort_again(self, left: Iterator[pa.RecordBatch]) -> None:
        """Put what was written so far, which is in order, together with the rest of the listing."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            aside = Path(scratch) / "listed"
            self._folder.rename(aside)
            self._folder.mkdir()
            if (aside / _REPORT).exists():
                (aside / _REPORT).rename(self._folder / _REPORT)
            fsync_directory(self._folder.parent)
            self._meter.objects = self._meter.size_bytes = 0
            with closing(self._sorted(left, _part_batches(aside))) as ordered:
                self._write(ordered, _SORTED)

    def _forget(self) -> None:
        # From the last, so that what stays after a crash is still the beginning of one listing.
        for number in reversed(part_numbers(self._folder, STEM)):
            part_path(self._folder, STEM, number).unlink()
        self._meter.objects = self._meter.size_bytes = 0

    def _listed(self, last: str | None) -> Generator[pa.RecordBatch]:
        return listed_batches(self._store, self._prefix, last, self._threads, self._beat)

    def _sorted(
        self, source: Iterable[pa.RecordBatch], written: Iterable[pa.RecordBatch] | None
    ) -> Generator[pa.RecordBatch]:
        return sort_batches(source, schema(InventoryRow), "key", self._scratch, also=written)

    def _beat(self) -> None:
        self._meter.beats += 1
        if self._stopped():
            raise StoppedError("stopped while listing")

    def _write(self, source: Iterable[pa.RecordBatch], order: str) -> None:
        numbers = part_numbers(self._folder, STEM)
        number = numbers[-1] if numbers else 0
        cutter = Cutter(self._counted(source), {"listed_utc": self._started, "order": order})
        while cutter.more(*self._size.limits(number + 1)):
            number += 1
            if self._stopped():
                raise StoppedError("stopped while listing")
            write_batches(part_path(self._folder, STEM, number), cutter, schema(InventoryRow), cutter.facts)

    def _counted(self, source: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in once(source, self._store.resource):
            self._meter.objects += batch.num_rows
            self._meter.size_bytes += pc.sum(batch.column("size")).as_py()
            if self._stopped():
                raise StoppedError("stopped while listing")
            yield batch


def _behind(source: Iterable[pa.RecordBatch], last: str | None) -> Iterator[pa.RecordBatch]:
    """What comes after a key, of batches in order."""
    for batch in source:
        keys = batch.column("key")
        if last is None or keys[0].as_py() > last:
            yield batch
        elif keys[-1].as_py() > last:
            yield batch.filter(pc.greater(keys, pa.scalar(last)))


def _part_batches(folder: Path) -> Iterator[pa.RecordBatch]:
    paths = [part_path(folder, STEM, number) for number in part_numbers(folder, STEM)]
    return chain.from_iterable(read_batches(path, schema(InventoryRow)) for path in paths)


def _complete(folder: Path, started: str, more: Mapping[str, object]) -> None:
    parts = []
    for number in part_numbers(folder, STEM):
        path = part_path(folder, STEM, number)
        parts.append({"name": path.name, "sha256": file_sha256(path), **summary(path)})
    # A listing that was interrupted began when its first part did.
    began = min([started, *(str(part["listed_utc"]) for part in parts)])
    data = {"listed_utc": began, **more, "parts": parts}
    write_atomic(folder / "complete.json", json.dumps(data, indent=1).encode() + b"\n")


def is_complete(folder: Path) -> bool:
    """Whether the listing has ended."""
    return (folder / "complete.json").exists()


def inventory_counts(folder: Path) -> Counts:
    """How many objects and bytes were listed. Zero before the listing has ended."""
    path = folder / "complete.json"
    if not path.exists():
        return Counts()
    parts = json.loads(path.read_bytes())["parts"]
    return Counts(sum(p["rows"] for p in parts), sum(p["bytes"] for p in parts))


def inventory_report(folder: Path) -> dict[str, Any] | None:
    """What is known of the report the inventory is from; None where it is from a listing, or not complete."""
    path = folder / "complete.json"
    found = json.loads(path.read_bytes()).get("report") if path.exists() else None
    return None if found is None else dict(found)


def inventory_rows(folder: Path) -> Iterator[InventoryRow]:
    """Every row, in key order."""
    for number in part_numbers(folder, STEM):
        yield from read_rows(part_path(folder, STEM, number), InventoryRow)
