"""Rows of the inventory and the ledger, and the immutable Parquet files they live in.

A part is written whole (beside, fsynced, renamed) and never changed; its summary travels in the file's own
metadata, so that adding up a run reads footers only. Rows go in and out one at a time: memory does not
depend on how many there are.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from exitdrill.errors import RunError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry, Outcome
from exitdrill.transfer.layout import disk_errors, fsync_directory

__all__ = [
    "InventoryRow",
    "LedgerRow",
    "add_column",
    "batch_of",
    "columns_batch",
    "entries_batch",
    "file_sha256",
    "part_numbers",
    "part_path",
    "read_batches",
    "read_rows",
    "rows_of",
    "schema",
    "summary",
    "write_batches",
    "write_part",
]

_BATCH = 1024
_BATCH_BYTES = 8 * 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMMARY = "exitdrill"


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One object as the source listed it."""

    key: str
    size: int
    etag: str | None
    version: str | None
    modified: datetime | None
    claims: str
    """Digests the listing carried, as JSON: the source's word, or only a client's."""
    envelope: str | None
    """As JSON; None where the listing did not carry it."""

    @classmethod
    def of(cls, entry: ObjectEntry) -> "InventoryRow":
        """From what a listing gave."""
        envelope = None if entry.envelope is None else _envelope_json(entry.envelope)
        claims = _claims_json(entry.digests)
        return cls(entry.key, entry.size, entry.etag, entry.version, entry.modified, claims, envelope)

    @property
    def digests(self) -> Digests:
        """What the listing claimed."""
        return Digests.NONE if self.claims == "{}" else Digests.from_json(json.loads(self.claims))

    def entry(self) -> ObjectEntry:
        """As the listing gave it."""
        envelope = None if self.envelope is None else Envelope.from_json(json.loads(self.envelope))
        return ObjectEntry(self.key, self.size, self.etag, self.version, self.modified, self.digests, envelope)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One object: at the source, in the vault, at the target, and who attested what."""

    key: str
    size: int
    etag: str | None
    version: str | None
    modified: datetime | None
    outcome: str
    """Of the first leg, an `Outcome`."""
    detail: str = ""
    vault_key: str = ""
    vault_etag: str | None = None
    vault_offset: int | None = None
    """Where its bytes begin in the pack ``vault_key``; None where that object is its own."""
    sha256: bytes | None = None
    """Computed by us, as the bytes passed on the first leg."""
    crc64nvme: bytes | None = None
    """As ``sha256``."""
    md5: bytes | None = None
    """As ``sha256``; only where a side's own MD5 is to be compared."""
    source_digest: str = "absent"
    """How the source's own digest compares with ours: equal, different, absent."""
    envelope: str = "{}"
    """As JSON."""
    target_key: str = ""
    target_etag: str | None = None
    target_version: str | None = None
    rebuilt: str = ""
    """Of the second leg, an `Outcome`; empty before it."""
    rebuilt_detail: str = ""
    attested: str = ""
    """Kinds of whole-object digest that the target computed itself and that equal ours, by commas."""
    losses: str = "[]"
    """What of the envelope the target could not hold, as JSON: [field, value, reason] each."""
    read_back: str = ""
    """What reading every byte at the target again found: ``equal``, or what is wrong; empty where it was not done."""

    @property
    def digests(self) -> Digests:
        """Ours."""
        return Digests(sha256=self.sha256, crc64nvme=self.crc64nvme, md5=self.md5)

    def at_target(
        self,
        key: str,
        rebuilt: str,
        detail: str = "",
        *,
        etag: str | None = None,
        version: str | None = None,
        attested: str = "",
        losses: str = "[]",
    ) -> "LedgerRow":
        """The row with what the second leg made of it; `dataclasses.replace` costs four times as much."""
        make: Callable[..., LedgerRow] = LedgerRow
        return make(*_FIRST_LEG(self), key, etag, version, rebuilt, detail, attested, losses)

    @property
    def evacuated(self) -> bool:
        """Whether the first leg brought it to the vault."""
        return Outcome(self.outcome).arrived

    @property
    def arrived(self) -> bool:
        """Whether the second leg brought it to the target."""
        return self.rebuilt == Outcome.COPIED


_FIRST_LEG = attrgetter(*LedgerRow.__slots__[: LedgerRow.__slots__.index("target_key")])

Row = TypeVar("Row", InventoryRow, LedgerRow)


@lru_cache(maxsize=4096)
def _envelope_json(envelope: Envelope) -> str:
    """Kept: many objects share an envelope, or differ in none of it from one just written."""
    return json.dumps(envelope.to_json())


def _claims_json(digests: Digests) -> str:
    # Hexadecimal needs no escapes; a listing of a million objects has a million of these.
    return "{" + ", ".join([f'"{kind}": "{text}"' for kind, text in digests.to_json().items()]) + "}"


_TYPES: Mapping[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    int | None: pa.int64(),
    str | None: pa.string(),
    bytes | None: pa.binary(),
    datetime | None: pa.timestamp("us", tz="UTC"),
}


def schema(cls: type[Row]) -> pa.Schema:
    """The Arrow schema of a kind of row."""
    return pa.schema([pa.field(f.name, _TYPES[f.type], nullable=f.type not in (str, int)) for f in fields(cls)])


def batch_of(rows: Sequence[Row], cls: type[Row]) -> pa.RecordBatch:
    """Rows as an Arrow batch."""
    arrow = schema(cls)
    columns: list[Any] = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in arrow]
    return pa.RecordBatch.from_arrays(columns, schema=arrow)


def columns_batch(columns: Mapping[str, Sequence[Any]], cls: type[Row]) -> pa.RecordBatch:
    """Columns as an Arrow batch; times may be given as microseconds since 1970."""
    arrow = schema(cls)
    arrays: list[Any] = [pa.array(columns[field.name], field.type) for field in arrow]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow)


def entries_batch(entries: Sequence[ObjectEntry]) -> pa.RecordBatch:
    """What a listing gave as the Arrow batch of its `InventoryRow`s, without making those."""
    columns: list[list[Any]] = [
        [entry.key for entry in entries],
        [entry.size for entry in entries],
        [entry.etag for entry in entries],
        [entry.version for entry in entries],
        [entry.modified for entry in entries],
        [_claims_json(entry.digests) for entry in entries],
        [None if entry.envelope is None else _envelope_json(entry.envelope) for entry in entries],
    ]
    arrow = schema(InventoryRow)
    arrays: list[Any] = [pa.array(values, field.type) for values, field in zip(columns, arrow, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow)


def rows_of(batch: pa.RecordBatch, cls: type[Row]) -> Iterator[Row]:
    """The rows of an Arrow batch that has their columns, in that order."""
    columns = [_values(batch.column(n)) for n in range(len(fields(cls)))]
    yield from map(cls, *columns)


def _values(column: Any) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    # By the number: pyarrow's own way to a datetime with a zone takes five times as long.
    micros = column.cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in micros]


def batches(rows: Iterable[Row], size: int = _BATCH) -> Iterator[list[Row]]:
    """Rows in lists of at most ``size``."""
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch


def part_path(folder: Path, stem: str, number: int) -> Path:
    """Where a part is: numbers begin at 1."""
    return folder / f"{stem}-{number:06d}.parquet"


def part_numbers(folder: Path, stem: str) -> list[int]:
    """The numbers of the parts that are there, in order."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{stem}-??????.parquet"))


def write_part(
    path: Path,
    rows: Iterable[Row],
    cls: type[Row],
    facts: Callable[[], Mapping[str, object]] = dict,
    guard: Callable[[], None] | None = None,
) -> None:
    """Write a part, whole or not at all.

    Args:
        path: Where it will be.
        rows: Its rows, in key order.
        cls: Their class.
        facts: Called after the last row; JSON values kept in the file's metadata.
        guard: Where another machine could write the same part: called before it gets its name, raises if it
            may not. A part that is there already is then never replaced: the first that is whole counts.

    Raises:
        NoSpaceError: The disk is full.
    """
    write_batches(path, (batch_of(batch, cls) for batch in batches(rows)), schema(cls), facts, guard)


def add_column(
    source: Path,
    path: Path,
    cls: type[Row],
    name: str,
    value: Callable[[int], str],
    guard: Callable[[], None] | None = None,
) -> None:
    """Write a part once more with one column filled in.

    Args:
        source: The part.
        path: Where the new one will be, whole or not at all.
        cls: The class of their rows.
        name: The column.
        value: By the row's number in the part.
        guard: As `write_part`.

    Raises:
        NoSpaceError: The disk is full.
        RunError: The part is damaged.
    """
    position = schema(cls).get_field_index(name)

    def batches_of(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in file.iter_batches(_BATCH):
            column = pa.array([value(n) for n in range(first, first + batch.num_rows)], pa.string())
            yield batch.set_column(position, name, column).cast(schema(cls))
            first += batch.num_rows

    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            write_batches(path, batches_of(file), schema(cls), guard=guard)
    except pa.ArrowException as exc:
        raise RunError(f"a part cannot be read: {exc}", resource=source.name) from exc


def write_batches(
    path: Path,
    source: Iterable[pa.RecordBatch],
    arrow: pa.Schema,
    facts: Callable[[], Mapping[str, object]] = dict,
    guard: Callable[[], None] | None = None,
) -> None:
    """As `write_part`, from Arrow batches of that schema; small ones are written together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # With a guard, somebody who was paused may be at the same part still: never two at one file.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new" if guard else path.name + ".new")
    with disk_errors(str(path)):
        try:
            with beside.open("wb") as file:
                with pq.ParquetWriter(file, arrow, compression="zstd", write_page_checksum=True) as writer:
                    for batch in gathered(source, _BATCH, _BATCH_BYTES):
                        writer.write_table(batch)
                    writer.add_key_value_metadata({_SUMMARY: json.dumps(facts())})
                file.flush()
                os.fsync(file.fileno())
            if guard is None:
                beside.replace(path)
            else:
                guard()
                _name_once(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


def _name_once(beside: Path, path: Path) -> None:
    """Give a file its name unless something has it: atomic, on NFS too, where the check in `guard` is not enough."""
    with suppress(FileExistsError):
        os.link(beside, path)
    beside.unlink()


def gathered(source: Iterable[pa.RecordBatch], rows: int, size_bytes: int) -> Iterator[pa.Table]:
    """Batches put together to tables of about so many rows or bytes, whichever comes first; none is empty."""
    held: list[pa.RecordBatch] = []
    count = held_bytes = 0
    for batch in source:
        if not batch.num_rows:
            continue
        held.append(batch)
        count += batch.num_rows
        held_bytes += batch.nbytes
        if count >= rows or held_bytes >= size_bytes:
            yield pa.Table.from_batches(held)
            held, count, held_bytes = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def read_batches(path: Path, arrow: pa.Schema, batch_rows: int = _BATCH) -> Iterator[pa.RecordBatch]:
    """A part's columns of that schema, ``batch_rows`` rows in memory. Raises RunError if the file is damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_rows, columns=arrow.names):
                # In the schema's order, whatever the file's is.
                yield batch.select(arrow.names)
    except (OSError, pa.ArrowException) as exc:
        raise RunError(f"a part cannot be read: {exc}", resource=path.name) from exc


def read_rows(path: Path, cls: type[Row], batch_rows: int = _BATCH) -> Iterator[Row]:
    """The rows of a part, one at a time, ``batch_rows`` in memory. Raises RunError if the file is damaged."""
    for batch in read_batches(path, schema(cls), batch_rows):
        yield from rows_of(batch, cls)


def summary(path: Path) -> dict[str, Any]:
    """What `write_part` kept in the file's metadata. Raises RunError if the file is damaged."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
        facts = json.loads(metadata[_SUMMARY.encode()])
    except (OSError, pa.ArrowException, KeyError, ValueError) as exc:
        raise RunError(f"a part cannot be read: {exc}", resource=path.name) from exc
    return dict(facts)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
