"""Reports of what a container holds, written by the place itself every day or week, as a source of inventories.

A place that bills by the million requests can list a billion objects once for everybody; the price is that the
list is old. `InventoryReport` is one such list. Rules: its files are read in streams and in bounded memory; sizes
and MD5s that its manifest gives are checked before the last row comes out, so nobody may trust rows before the end;
a row that makes no sense is an error, never another row. How a place names its reports, and what its columns are
called, is its connector's.
"""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import io
import logging
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from exitdrill.connector.objects import ObjectStore, ReadStream
from exitdrill.errors import ConnectorError, DigestError, NoSpaceError, NotFoundError
from exitdrill.model.objects import ObjectEntry

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["InventoryReport", "ReportFile", "ReportSource", "complete", "moment_of", "read_whole", "truth_of"]

_LOG = logging.getLogger(__name__)
_BATCH_ROWS = 4096
_LINE_MOST = 256 * 1024
"""Characters a line of CSV may have: keys and metadata are far smaller."""
_WHOLE_MOST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReportSource:
    """Where a drill says reports are."""

    container: str
    """The container they are in, at the source itself."""
    prefix: str = ""
    """What the keys of reports begin with."""
    rule: str | None = None
    """The rule or configuration that writes them, where one container holds those of several."""
    manifest: str | None = None
    """The key of one report's manifest; None for the newest report that is complete."""


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One file of a report, as its manifest names it."""

    key: str
    size: int
    md5: bytes | None = None


class InventoryReport(ABC):
    """One report.

    Args:
        store: The container it is in.
        manifest: The key of its manifest.
        began_utc: When the place began to look: what changed later may not be in it.
        completed_utc: When it was complete, if the place says.
        files: Its files.
        parquet: Whether they are Parquet, and not CSV.
        columns: The names of a CSV file's columns; None where its first line has them.
    """

    def __init__(
        self,
        store: ObjectStore,
        manifest: str,
        began_utc: datetime,
        completed_utc: datetime | None,
        files: Sequence[ReportFile],
        *,
        parquet: bool,
        columns: Sequence[str] | None = None,
    ) -> None:
        """See the class."""
        self.manifest, self.began_utc, self.completed_utc = manifest, began_utc, completed_utc
        self._store, self._files = store, tuple(files)
        self._parquet, self._columns = parquet, columns

    @property
    def resource(self) -> str:
        """How messages name it."""
        return self._store.describe(self.manifest)

    def entries(self, scratch: Path) -> Iterator[ObjectEntry]:
        """Every object in it, in any order; one may come twice. To be trusted only when all have come.

        Args:
            scratch: A folder for one of its files at a time, where that cannot be read in a stream.

        Raises:
            DigestError: A file is not the one the manifest names.
            ConnectorError: It cannot be read, or a row makes no sense.
            NoSpaceError: The scratch folder is full.
        """
        for file in self._files:
            records = self._parquet_records(file, scratch) if self._parquet else self._csv_records(file)
            for number, record in enumerate(records, 1):
                try:
                    entry = self._entry(record)
                except (ValueError, TypeError) as exc:
                    raise self._wrong(file, f"row {number} makes no sense: {exc}") from exc
                if entry is not None:
                    yield entry

    @abstractmethod
    def _entry(self, record: Mapping[str, Any]) -> ObjectEntry | None:
        """One row, by `canonical` column names: an object, or None for what is none of this asset's current ones.

        Values are text from CSV, and numbers, truth values and times too from Parquet. Raises ValueError, TypeError.
        """

    @property
    @abstractmethod
    def _needed(self) -> frozenset[str]:
        """The canonical names of the columns without which it is no use."""

    @property
    @abstractmethod
    def _used(self) -> frozenset[str]:
        """Those of all columns that `_entry` looks at."""

    def _wrong(self, file: ReportFile, what: str) -> ConnectorError:
        return ConnectorError(f"the inventory report: {what}", resource=self._store.describe(file.key))

    def _check_columns(self, file: ReportFile, names: Sequence[str]) -> list[str]:
        found = [canonical(name) for name in names]
        if missing := self._needed - set(found):
            what = f"it has no column {', '.join(sorted(missing))}; has {', '.join(names)[:500]}"
            hint = "have the report's rule include them, or take the inventory from a listing"
            raise ConnectorError(f"the inventory report: {what}", resource=self._store.describe(file.key), hint=hint)
        if len(set(found)) != len(found):
            raise self._wrong(file, "two columns have one name")
        return found

    def _csv_records(self, file: ReportFile) -> Iterator[Mapping[str, Any]]:
        with self._store.read(file.key) as stream, _Checked(stream, file, self.resource) as raw:
            plain: IO[bytes] = io.BufferedReader(raw, _LINE_MOST)
            source = gzip.GzipFile(fileobj=plain) if file.key.endswith(".gz") else plain
            text = io.TextIOWrapper(source, encoding="utf-8", errors="strict", newline="")
            try:
                rows = csv.reader(self._lines(file, text), strict=True)
                names = list(next(rows, []) if self._columns is None else self._columns)
                names[:1] = [name.removeprefix("\ufeff") for name in names[:1]]
                columns = self._check_columns(file, names)
                for row in rows:
                    if len(row) != len(columns):
                        raise self._wrong(file, f"a line has {len(row)} fields, not {len(columns)}")
                    yield dict(zip(columns, row, strict=True))
            except (csv.Error, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as exc:
                raise self._wrong(file, str(exc)) from exc
            raw.finish()

    def _lines(self, file: ReportFile, text: io.TextIOWrapper) -> Iterator[str]:
        while line := text.readline(_LINE_MOST):
            if len(line) == _LINE_MOST and not line.endswith("\n"):
                raise self._wrong(file, f"a line has more than {_LINE_MOST} characters")
            yield line

    def _parquet_records(self, file: ReportFile, scratch: Path) -> Iterator[Mapping[str, Any]]:
        import pyarrow as pa  # loads slowly, and CSV does without
        import pyarrow.parquet as pq

        with tempfile.NamedTemporaryFile(dir=scratch, prefix="report-") as kept:
            with self._store.read(file.key) as stream, _Checked(stream, file, self.resource) as raw:
                _copy(raw, kept, str(scratch))
                raw.finish()
            try:
                with pq.ParquetFile(kept.name) as opened:
                    names = opened.schema_arrow.names
                    columns = self._check_columns(file, names)
                    pairs = [(n, c) for n, c in zip(names, columns, strict=True) if c in self._used]
                    for batch in opened.iter_batches(_BATCH_ROWS, columns=[name for name, _ in pairs]):
                        values = [batch.column(name).to_pylist() for name, _ in pairs]
                        for row in zip(*values, strict=True):
                            yield {column: value for (_, column), value in zip(pairs, row, strict=True)}
            except (pa.ArrowException, OSError) as exc:
                raise self._wrong(file, str(exc)) from exc


class _Checked(io.RawIOBase):
    """An object's bytes as a file, their size and MD5 compared with the manifest's at the end."""

    def __init__(self, stream: ReadStream, file: ReportFile, resource: str) -> None:
        super().__init__()
        self._stream, self._chunks = stream, stream.chunks()
        self._file, self._resource = file, resource
        self._left = b""
        self._size, self._md5 = 0, hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        if not self._left:
            self._left = next(self._chunks, b"")
            self._size += len(self._left)
            self._md5.update(self._left)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def finish(self) -> None:
        """Read what is left, and compare. Raises DigestError."""
        while self.read(_LINE_MOST):
            pass
        found = self._md5.digest()
        # What the place keeps beside the file may be a client's word; one that differs is no less a sign.
        wanted = {md5 for md5 in (self._file.md5, self._stream.entry.digests.md5) if md5 is not None}
        if self._size != self._file.size:
            what = f"a file of the inventory report has {self._size} bytes, not the {self._file.size} of its manifest"
        elif wanted - {found}:
            what = "a file of the inventory report is not the one of its manifest: another MD5"
        else:
            return
        raise DigestError(f"{what} ({self._file.key[-80:]})", resource=self._resource)


def _copy(raw: io.RawIOBase, kept: Any, folder: str) -> None:
    try:
        while chunk := raw.read(1024 * 1024):
            kept.write(chunk)
        kept.flush()
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError("no room for a file of the inventory report", resource=folder) from exc
        raise


def canonical(column: str) -> str:
    """A column's name without case and marks: ``Last-Modified``, ``last_modified`` and ``LastModified`` are one."""
    return "".join(letter for letter in column.casefold() if letter.isalnum())


def moment_of(value: object) -> datetime | None:
    """A time as reports write it: ISO 8601, RFC 1123, or a column's own type; UTC where none is said.

    Raises ValueError, TypeError.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        moment = parsedate_to_datetime(value) if value[:1].isalpha() else datetime.fromisoformat(value)
    else:
        msg = f"no time: {value!r}"
        raise TypeError(msg)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def truth_of(value: object) -> bool | None:
    """A truth value, or None where the field is empty. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    text = str(value).lower()
    if text not in words:
        msg = f"neither true nor false: {value!r}"
        raise ValueError(msg)
    return words[text]


def complete(store: ObjectStore, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Those manifests (``….json``) whose checksum lies beside them, with it: it is written last.

    Raises ConnectorError.
    """
    for key in keys:
        try:
            checksum = read_whole(store, key.removesuffix("json") + "checksum")
        except NotFoundError:
            _LOG.info("%s is not complete yet", store.describe(key))
            continue
        yield key, checksum


def read_whole(store: ObjectStore, key: str) -> bytes:
    """A small object's bytes. Raises ConnectorError also for one that is not small."""
    with store.read(key) as stream:
        if stream.entry.size > _WHOLE_MOST:
            raise ConnectorError(f"{stream.entry.size} bytes are too many for a manifest", resource=store.describe(key))
        return stream.read_all()
