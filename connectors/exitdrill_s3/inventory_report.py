"""Amazon S3 Inventory: finding the newest report of a bucket, and reading its rows.

Source: S3 user guide, "Locating your inventory list" and "Amazon S3 Inventory list". Reports lie under
``PREFIX/SOURCE-BUCKET/CONFIGURATION/YYYY-MM-DDTHH-MMZ/``; a manifest is complete when ``manifest.checksum``, its MD5,
lies beside it. Rules: CSV names no columns, the manifest does, and its keys are percent-encoded, those in Parquet are
not; only the current version of an object counts; ORC is not read.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.reports import (
    InventoryReport,
    ReportFile,
    ReportSource,
    complete,
    moment_of,
    read_whole,
    truth_of,
)
from exitdrill.errors import ConnectorError, DigestError, NotFoundError, UnsupportedError
from exitdrill.model.objects import ObjectEntry

__all__ = ["S3InventoryReport", "newest_report"]

_MANIFEST = re.compile(r"(?:.*/)?([^/]+)/(\d{4}-\d\d-\d\dT\d\d-\d\dZ)/manifest\.json", re.DOTALL)
_TRIED = 8
"""Reports looked at, newest first, until one is complete."""


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    key: str = Field(min_length=1)
    size: int = Field(ge=0)
    md5: str | None = Field(None, alias="MD5checksum", pattern=r"^[0-9a-fA-F]{32}$")


class _Manifest(BaseModel):
    """``manifest.json``; fields that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bucket: str = Field(alias="sourceBucket")
    created: int = Field(alias="creationTimestamp", ge=0, lt=10**14)
    """When the scan began, in milliseconds since 1970."""
    format: Literal["CSV", "Parquet", "ORC"] = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: list[_File]


class S3InventoryReport(InventoryReport):
    """One report of a bucket."""

    def __init__(self, store: ObjectStore, key: str, manifest: _Manifest) -> None:
        """See the class."""
        began = datetime.fromtimestamp(manifest.created / 1000, UTC)
        files = [ReportFile(f.key, f.size, None if f.md5 is None else bytes.fromhex(f.md5)) for f in manifest.files]
        parquet = manifest.format == "Parquet"
        columns = None if parquet else [name.strip() for name in manifest.columns.split(",")]
        super().__init__(store, key, began, None, files, parquet=parquet, columns=columns)
        self._bucket = manifest.bucket

    @property
    def _needed(self) -> frozenset[str]:
        return frozenset({"key", "size", "etag"})

    @property
    def _used(self) -> frozenset[str]:
        return frozenset({"bucket", "key", "size", "etag", "lastmodifieddate", "islatest", "isdeletemarker"})

    def _entry(self, record: Mapping[str, Any]) -> ObjectEntry | None:
        bucket = record.get("bucket", self._bucket)
        if bucket != self._bucket:
            msg = f"a row of bucket {bucket!r}"
            raise ValueError(msg)
        if truth_of(record.get("isdeletemarker")) or truth_of(record.get("islatest")) is False:
            return None
        key = record["key"] if self._parquet else unquote_plus(record["key"], errors="strict")
        if not isinstance(key, str) or not key:
            msg = "no key"
            raise ValueError(msg)
        etag = str(record["etag"] or "").removeprefix("W/").strip('"')
        if not etag:
            msg = "no ETag"
            raise ValueError(msg)
        return ObjectEntry(key, _size(record["size"]), etag, None, moment_of(record.get("lastmodifieddate")))


def _size(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit()):
        msg = f"no size: {value!r}"
        raise ValueError(msg)
    return int(text)


def newest_report(store: ObjectStore, bucket: str, source: ReportSource) -> S3InventoryReport:
    """The newest complete report of a bucket.

    Args:
        store: The bucket that holds reports.
        bucket: The bucket they are about.
        source: Which of them; `ReportSource.rule` is the configuration's id.

    Raises:
        NotFoundError: There is none.
        DigestError: A manifest is not the one its checksum is of.
        UnsupportedError: It is in ORC.
        ConnectorError: It makes no sense, or is about another bucket.
    """
    for key, checksum in complete(store, _candidates(store, source)):
        manifest = _manifest(store, key, checksum)
        if manifest.bucket == bucket:
            return S3InventoryReport(store, key, manifest)
        if source.manifest is not None:
            raise ConnectorError(f"a report about bucket {manifest.bucket}, not {bucket}", resource=store.describe(key))
    raise NotFoundError(
        f"no complete inventory report of bucket {bucket}",
        resource=store.describe(source.prefix),
        hint="see that S3 Inventory writes there, or take the inventory from a listing",
    )


def _candidates(store: ObjectStore, source: ReportSource) -> Iterator[str]:
    """Keys of manifests, newest first."""
    if source.manifest is not None:
        return iter([source.manifest])

    def found() -> Iterator[tuple[str, str]]:
        for entry in store.list(source.prefix):
            match = _MANIFEST.fullmatch(entry.key)
            if match and source.rule in {None, match[1]}:
                yield match[2], entry.key

    return (key for _, key in heapq.nlargest(_TRIED, found()))


def _manifest(store: ObjectStore, key: str, checksum: bytes) -> _Manifest:
    data = read_whole(store, key)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if digest.encode() != checksum.strip().lower():
        raise DigestError("the manifest is not the one its checksum is of", resource=store.describe(key))
    try:
        manifest = _Manifest.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConnectorError(
            f"no S3 Inventory manifest: {where}: {first['msg']}", resource=store.describe(key)
        ) from exc
    if manifest.format == "ORC":
        hint = "set the inventory's format to Parquet or CSV"
        raise UnsupportedError("reports in ORC are not read", resource=store.describe(key), hint=hint)
    return manifest
