"""Azure Blob Inventory: finding the newest report of a rule, and reading its rows.

Source: https://learn.microsoft.com/azure/storage/blobs/blob-inventory. Reports lie under
``YYYY/MM/DD/HH-MM-SS/RULE/``; one is complete when ``RULE-manifest.checksum``, the MD5 of its manifest, lies beside it
and its status is Succeeded. Rules: names in a report begin with the container's; only current blobs count; a blob may
come twice, as Microsoft says; a rule whose filters leave out part of what is asked for is no source for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

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
from exitdrill.errors import ConnectorError, DigestError, NotFoundError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import ObjectEntry

__all__ = ["AzureInventoryReport", "newest_report"]

_LOG = logging.getLogger(__name__)
_MANIFEST = re.compile(r"(?:.*/)?(\d{4}/\d\d/\d\d/\d\d-\d\d-\d\d)/([^/]+)/\2-manifest\.json", re.DOTALL)
_TRIED = 8
"""Reports looked at, newest first, until one is complete."""
_MD5_BYTES = 16


class _Foreign(BaseModel):
    """Part of a manifest; fields that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _File(_Foreign):
    blob: str = Field(min_length=1)
    size: int = Field(ge=0)


class _Filters(_Foreign):
    kinds: list[str] = Field(default=[], alias="blobTypes")
    match: list[str] = Field(default=[], alias="prefixMatch")
    exclude: list[str] = Field(default=[], alias="excludePrefix")
    created: object = Field(default=None, alias="creationTime")


class _Rule(_Foreign):
    filters: _Filters = _Filters()
    format: Literal["csv", "parquet"]
    about: str = Field(alias="objectType")


class _Manifest(_Foreign):
    files: list[_File]
    began: datetime = Field(alias="inventoryStartTime")
    completed: datetime | None = Field(None, alias="inventoryCompletionTime")
    rule: _Rule = Field(alias="ruleDefinition")
    name: str = Field(alias="ruleName")
    status: str


class AzureInventoryReport(InventoryReport):
    """One report, for one container."""

    def __init__(self, store: ObjectStore, key: str, manifest: _Manifest, container: str) -> None:
        """See the class. Raises ValueError for a manifest without the time of its run."""
        began, completed = moment_of(manifest.began), moment_of(manifest.completed)
        if began is None:
            msg = "no inventoryStartTime"
            raise ValueError(msg)
        files = [ReportFile(file.blob, file.size) for file in manifest.files]
        super().__init__(store, key, began, completed, files, parquet=manifest.rule.format == "parquet")
        self._container = container

    @property
    def _needed(self) -> frozenset[str]:
        return frozenset({"name", "contentlength", "etag", "lastmodified"})

    @property
    def _used(self) -> frozenset[str]:
        return self._needed | {"contentmd5", "snapshot", "iscurrentversion", "deleted"}

    def _entry(self, record: Mapping[str, Any]) -> ObjectEntry | None:
        container, slash, key = str(record["name"]).partition("/")
        if not slash or not container:
            msg = "a name without a container"
            raise ValueError(msg)
        if container != self._container:
            return None  # a rule may be about several
        if (
            record.get("snapshot")
            or truth_of(record.get("deleted"))
            or truth_of(record.get("iscurrentversion")) is False
        ):
            return None
        if not key:
            msg = "no name of a blob"
            raise ValueError(msg)
        etag = str(record["etag"] or "").removeprefix("W/").strip('"')
        if not etag:
            msg = "no ETag"
            raise ValueError(msg)
        digests = Digests(md5=_md5(record.get("contentmd5")))
        size = _size(record["contentlength"])
        return ObjectEntry(key, size, etag, None, moment_of(record["lastmodified"]), digests)


def _size(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit()):
        msg = f"no size: {value!r}"
        raise ValueError(msg)
    return int(text)


def _md5(value: object) -> bytes | None:
    """As in a listing: a client may have stored anything, and what is no MD5 is none."""
    if not isinstance(value, str):
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(decoded) == _MD5_BYTES else None


def newest_report(store: ObjectStore, container: str, prefix: str, source: ReportSource) -> AzureInventoryReport:
    """The newest complete report that has all of a container's blobs that begin with a prefix.

    Args:
        store: The container that holds reports.
        container: The container they are about.
        prefix: Which of its blobs are asked for.
        source: Which reports.

    Raises:
        NotFoundError: There is none.
        DigestError: A manifest is not the one its checksum is of.
        ConnectorError: It makes no sense, leaves something out, or it is not said which of several rules is meant.
    """
    for key, checksum in complete(store, _candidates(store, source)):
        manifest = _manifest(store, key, checksum)
        if manifest.status != "Succeeded" and source.manifest is None:
            _LOG.warning("%s: %s, so an older one is looked for", store.describe(key), manifest.status)
            continue
        if problem := _left_out(manifest, f"{container}/{prefix}"):
            hint = "change the rule, or take the inventory from a listing"
            raise ConnectorError(f"the inventory report: {problem}", resource=store.describe(key), hint=hint)
        return AzureInventoryReport(store, key, manifest, container)
    raise NotFoundError(
        "no complete inventory report",
        resource=store.describe(source.prefix),
        hint="see that a Blob Inventory rule writes there, or take the inventory from a listing",
    )


def _left_out(manifest: _Manifest, wanted: str) -> str:
    """What a report lacks of the blobs asked for, or nothing."""
    rule, filters = manifest.rule, manifest.rule.filters
    if manifest.status != "Succeeded":
        return f"its run is {manifest.status}"
    if rule.about != "blob":
        return f"it is about {rule.about}s"
    if filters.created is not None:
        return "its rule takes new blobs only (creationTime)"
    if filters.match and not any(wanted.startswith(part) for part in filters.match):
        return f"its rule (prefixMatch) does not take all of {wanted}"
    if cut := next((part for part in filters.exclude if part.startswith(wanted) or wanted.startswith(part)), None):
        return f"its rule leaves out {cut} (excludePrefix)"
    if missing := {"blockBlob", "appendBlob"} - set(filters.kinds or ("blockBlob", "appendBlob")):
        return f"its rule leaves out {', '.join(sorted(missing))} (blobTypes)"
    return ""


def _candidates(store: ObjectStore, source: ReportSource) -> Iterator[str]:
    """Keys of manifests, newest first."""
    if source.manifest is not None:
        return iter([source.manifest])
    rules: set[str] = set()

    def found() -> Iterator[tuple[str, str]]:
        for entry in store.list(source.prefix):
            match = _MANIFEST.fullmatch(entry.key)
            if match and source.rule in {None, match[2]}:
                rules.add(match[2])
                yield match[1], entry.key

    newest = heapq.nlargest(_TRIED, found())
    if len(rules) > 1:
        names = ", ".join(sorted(rules)[:20])
        raise ConnectorError(
            f"reports of several rules: {names}", resource=store.describe(source.prefix), expected="rule: one of them"
        )
    return (key for _, key in newest)


def _manifest(store: ObjectStore, key: str, checksum: bytes) -> _Manifest:
    data = read_whole(store, key)
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    # The documentation does not say how the sum is written.
    written = {digest.hex().encode(), base64.b64encode(digest), digest}
    if checksum not in written and checksum.strip() not in written and checksum.strip().lower() not in written:
        raise DigestError("the manifest is not the one its checksum is of", resource=store.describe(key))
    try:
        return _Manifest.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"no Blob Inventory manifest: {where}: {first['msg']}"
        raise ConnectorError(what, resource=store.describe(key)) from exc
