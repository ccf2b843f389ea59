"""The inventory: what the source held, as durable sorted parts, made once.

Parts are slices of the listing in key order. A part that is there is never made again: a listing that was
interrupted goes on behind the last key of the last part. When the listing has ended, ``complete.json`` names
every part with its digest.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exitdrill.clock import Clock, format_utc
from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import RunError, StoppedError
from exitdrill.model import human
from exitdrill.model.record import Counts
from exitdrill.transfer.layout import write_atomic
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, file_sha256, part_numbers, part_path, read_rows, summary, write_part
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing

__all__ = ["STEM", "PartSize", "inventory_counts", "inventory_rows", "is_complete", "make_inventory"]

STEM = "part"


@dataclass(frozen=True, slots=True)
class PartSize:
    """How large a part may get: whichever comes first."""

    rows: int = 50_000
    size_bytes: int = 64 * 1024**3


def make_inventory(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    size: PartSize,
    clock: Clock,
    stopped: Callable[[], bool],
    meter: Meter,
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

    Raises:
        StoppedError, NoSpaceError, ConnectorError, RunError: The listing gives a key twice.
    """
    if is_complete(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    started = format_utc(clock.utc_now())
    try:
        _make_parts(store, prefix, folder, scratch, size, started, stopped, meter)
    except ListingOutOfOrderError:
        for number in part_numbers(folder, STEM):
            part_path(folder, STEM, number).unlink()
        store.capabilities = store.capabilities.narrowed(sorted_listing=False)
        _make_parts(store, prefix, folder, scratch, size, started, stopped, meter)
    _complete(folder, started)


def _make_parts(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    size: PartSize,
    started: str,
    stopped: Callable[[], bool],
    meter: Meter,
) -> None:
    numbers = part_numbers(folder, STEM)
    last = summary(part_path(folder, STEM, numbers[-1]))["last"] if numbers else None

    def beat() -> None:
        meter.beats += 1
        if stopped():
            raise StoppedError("stopped while listing")

    rows = _counted(ordered_listing(store, prefix, scratch, last, beat), stopped, meter, store.resource)
    number = numbers[-1] if numbers else 0
    part = _Part(rows, size, started)
    while part.more():
        number += 1
        write_part(part_path(folder, STEM, number), part, InventoryRow, part.facts)


def _counted(
    rows: Iterator[InventoryRow], stopped: Callable[[], bool], meter: Meter, resource: str
) -> Iterator[InventoryRow]:
    last: tuple[str, str] | None = None
    for row in rows:
        if stopped():
            raise StoppedError("stopped while listing")
        current = (row.key, row.version or "")
        if current == last:
            raise RunError(f"the listing gives {human.key(row.key, limit=100)} twice", resource=resource)
        last = current
        meter.objects += 1
        meter.size_bytes += row.size
        yield row


class _Part:
    """Takes rows from a stream until a part is full; again for the next part."""

    def __init__(self, rows: Iterator[InventoryRow], size: PartSize, listed_utc: str) -> None:
        self._rows, self._size, self._listed_utc = rows, size, listed_utc
        self._ahead: InventoryRow | None = None
        self._count = self._bytes = 0
        self._first = self._last = ""

    def more(self) -> bool:
        """Whether there is another part; makes ready for it."""
        self._count = self._bytes = 0
        if self._ahead is None:
            self._ahead = next(self._rows, None)
        return self._ahead is not None

    def __iter__(self) -> Iterator[InventoryRow]:
        while self._ahead is not None:
            row = self._ahead
            full = self._count >= self._size.rows or self._bytes + row.size > self._size.size_bytes
            if self._count and full and row.key != self._last:
                return
            self._first = row.key if self._count == 0 else self._first
            self._count += 1
            self._bytes += row.size
            self._last = row.key
            yield row
            self._ahead = next(self._rows, None)

    def facts(self) -> dict[str, object]:
        return {
            "rows": self._count,
            "bytes": self._bytes,
            "first": self._first,
            "last": self._last,
            "listed_utc": self._listed_utc,
        }


def _complete(folder: Path, started: str) -> None:
    parts = []
    for number in part_numbers(folder, STEM):
        path = part_path(folder, STEM, number)
        parts.append({"name": path.name, "sha256": file_sha256(path), **summary(path)})
    # A listing that was interrupted began when its first part did.
    began = min([started, *(str(part["listed_utc"]) for part in parts)])
    data = {"listed_utc": began, "parts": parts}
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


def inventory_rows(folder: Path) -> Iterator[InventoryRow]:
    """Every row, in key order."""
    for number in part_numbers(folder, STEM):
        yield from read_rows(part_path(folder, STEM, number), InventoryRow)
