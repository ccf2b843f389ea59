"""A page of List Blobs as an Apache Arrow stream, which costs the service and us less than XML.

Documented by Microsoft's SDKs of service version 2026-10-06 (azure-sdk-for-python, "Added arrow support for List Blobs
Response", and Hadoop's ABFS driver, HADOOP-19941), not yet by the REST reference: asked for by ``Accept``, the answer
says by ``Content-Type`` which it is; columns have the names of the XML's elements, times and sizes types of their own,
metadata and tags are maps, and the marker of the next page is in the schema's metadata. Rules: a column that is missing
where an object needs it, or of a type nobody described, is an error, never a guess. No server that can be had without
an account speaks this; the tests build the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from exitdrill.errors import ConnectorError, TransientError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry, pairs
from exitdrill_azure.entries import md5_of, moment_of, unquoted

__all__ = ["arrow_page_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEEDED = ("Name", "Content-Length", "Etag", "Last-Modified")
_MD5_BYTES = 16


def arrow_page_of(content: bytes, resource: str) -> tuple[list[ObjectEntry], str | None]:
    """One page: its entries, and the marker of the next.

    Raises TransientError for a stream that is not whole, ConnectorError for one that is not as described.
    """
    try:
        with ipc.open_stream(content) as reader:
            schema, batches = reader.schema, list(reader)
    except (pa.ArrowException, OSError) as exc:
        raise TransientError(f"the answer is no whole Arrow stream: {exc}", resource=resource) from exc
    entries: list[ObjectEntry] = []
    try:
        missing = [name for name in _NEEDED if name not in schema.names]
        # An empty page need not have columns.
        if missing and any(batch.num_rows for batch in batches):
            raise ConnectorError(f"the listing in Arrow has no column {', '.join(missing)}", resource=resource)
        metadata: Mapping[bytes, bytes] = schema.metadata or {}
        marker = (metadata.get(b"NextMarker") or metadata.get(b"nextMarker") or b"").decode()
        for batch in batches:
            if batch.num_rows:
                entries += _entries(batch)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as exc:
        raise ConnectorError(f"the listing in Arrow makes no sense: {exc}", resource=resource) from exc
    return entries, marker or None


def _entries(batch: pa.RecordBatch) -> list[ObjectEntry]:
    batch.validate(full=True)
    columns = {name: batch.column(n) for n, name in enumerate(batch.schema.names)}
    empty: Sequence[Any] = [None] * batch.num_rows

    def texts(name: str) -> Sequence[Any]:
        return empty if name not in columns else _texts(name, columns[name])

    def moments(name: str) -> Sequence[datetime | None]:
        return empty if name not in columns else _moments(columns[name])

    def maps(name: str) -> Sequence[Any]:
        return empty if name not in columns else columns[name].to_pylist()

    if any(kind and kind.lower() == "blobprefix" for kind in texts("ResourceType")):
        msg = "a prefix in a listing without a delimiter"
        raise ValueError(msg)
    envelopes = _envelopes(batch.num_rows, texts, moments("Creation-Time"), maps)
    md5s = empty if "Content-MD5" not in columns else columns["Content-MD5"].to_pylist()
    rows = zip(
        texts("Name"),
        columns["Content-Length"].to_pylist(),
        texts("Etag"),
        moments("Last-Modified"),
        md5s,
        texts("Snapshot"),
        texts("VersionId"),
        maps("IsCurrentVersion"),
        envelopes,
        strict=True,
    )
    return [_entry(*row) for row in rows]


def _entry(
    name: str | None,
    size: Any,
    etag: str | None,
    modified: datetime | None,
    md5: Any,
    snapshot: str | None,
    version: str | None,
    current: Any,
    envelope: Envelope,
) -> ObjectEntry:
    if not name:
        msg = "an entry without a name"
        raise ValueError(msg)
    number = int(size)
    if number < 0:
        msg = f"a size of {number}"
        raise ValueError(msg)
    reads = f"snapshot={snapshot}" if snapshot else None
    if reads is None and version and current not in {True, "true"}:
        reads = f"versionid={version}"
    digest = md5 if isinstance(md5, bytes) and len(md5) == _MD5_BYTES else md5_of(_text(md5))
    digests = Digests.NONE if digest is None else Digests(md5=digest)
    return ObjectEntry(name, number, unquoted(etag or None), reads, modified, digests, envelope)


def _envelopes(rows: int, texts: Any, created: Sequence[datetime | None], maps: Any) -> list[Envelope]:
    names = ("Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control")
    columns = [*(texts(name) for name in names), maps("Metadata"), maps("Tags"), maps("BlobTags")]
    columns += [texts("AccessTier"), created, texts("BlobType")]
    found: list[Envelope] = []
    known: dict[tuple[Any, ...], Envelope] = {}
    for n in range(rows):
        kind, encoding, language, disposition, control, user, tags, other, tier, moment, blob = (c[n] for c in columns)
        key = (kind, encoding, language, disposition, control, tier, moment, blob)
        envelope = known.get(key) if not (user or tags or other) else None
        if envelope is None:
            envelope = Envelope(
                content_type=kind or None,
                content_encoding=encoding or None,
                content_language=language or None,
                content_disposition=disposition or None,
                cache_control=control or None,
                user=pairs(dict(user or ())),
                tags=pairs(dict(tags or other or ())),
                tier=tier or None,
                created=moment,
                kind=blob or None,
            )
        if not (user or tags or other):
            known[key] = envelope
        found.append(envelope)
    return found


def _texts(name: str, column: Any) -> Sequence[str | None]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)):
        msg = f"column {name} is of type {column.type}"
        raise TypeError(msg)
    values: Sequence[str | None] = column.to_pylist()
    return values


def _moments(column: Any) -> Sequence[datetime | None]:
    if not pa.types.is_timestamp(column.type):
        return [moment_of(value) for value in _texts("of a time", column)]
    # Times are UTC, whether the type says so or not.
    micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in micros]


def _text(value: Any) -> str | None:
    return value.decode("ascii", "replace") if isinstance(value, bytes | bytearray) else value
