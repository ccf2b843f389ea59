"""Blobs as exitdrill's entries, from a listing's XML and from an answer's headers.

Rules: names come out exactly as stored (a listing percent-encodes those that XML cannot hold and says so:
https://learn.microsoft.com/rest/api/storageservices/list-blobs). ETags lose their quotes. The MD5 of a blob
is a *claim*: Azure computes one for Put Blob, but keeps whatever a client writes with Put Block List or Set
Blob Properties, and does not say which it was; so `Capabilities.attests` never names it. A version is
``snapshot=TIME`` or ``versionid=TIME``, the query parameter that reads it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError
from xml.etree.ElementTree import fromstring as parse_xml

from exitdrill.connector.http import Headers
from exitdrill.connector.levels import Level
from exitdrill.errors import TransientError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry, Pairs, pairs

__all__ = [
    "etag_of",
    "from_headers",
    "level_of",
    "md5_of",
    "moment_of",
    "page_of",
    "reported_digests",
    "tags_of",
    "total_size",
    "unquoted",
    "version_query",
]

_META = "x-ms-meta-"
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * n : 3 * n + 3]: n + 1 for n in range(12)}
_RFC1123 = len("Sun, 06 Nov 1994 08:49:37 GMT")


def page_of(content: bytes, resource: str) -> tuple[list[ObjectEntry], str | None]:
    """One page of List Blobs: its entries, and the marker of the next page.

    Raises TransientError for an answer that is not whole.
    """
    root = _parsed(content, resource)
    marker = root.findtext("NextMarker") or None
    return [_entry(blob) for blob in root.iterfind("Blobs/Blob")], marker


def level_of(content: bytes, resource: str) -> tuple[Level, bool]:
    """One page of List Blobs with a delimiter, and whether its prefixes are directories of their own.

    They are in accounts with a hierarchical namespace, which say so by giving them properties.

    Raises TransientError for an answer that is not whole.
    """
    root = _parsed(content, resource)
    prefixes = list(root.iterfind("Blobs/BlobPrefix"))
    entries = [_entry(blob) for blob in root.iterfind("Blobs/Blob")]
    level = Level(entries, [_name(item.find("Name")) for item in prefixes], root.findtext("NextMarker") or None)
    return level, any(item.find("Properties") is not None for item in prefixes)


def tags_of(content: bytes, resource: str) -> tuple[tuple[str, str], ...]:
    """The answer of Get Blob Tags. Raises TransientError for one that is not whole."""
    return pairs(dict(_tags(_parsed(content, resource))))


def from_headers(key: str, headers: Headers, version: str | None) -> ObjectEntry:
    """A blob as the headers of Get Blob or Get Blob Properties describe it, tags left out."""
    get = headers.lower.get
    envelope = _envelope(
        get("content-type"),
        get("content-encoding"),
        get("content-language"),
        get("content-disposition"),
        get("cache-control"),
        get("x-ms-access-tier"),
        get("x-ms-creation-time"),
        get("x-ms-blob-type"),
    )
    if user := _user(headers):
        envelope = replace(envelope, user=user)
    # In an answer to a range, Content-MD5 would be the range's.
    digests = _md5_digests(get("x-ms-blob-content-md5" if "content-range" in headers.lower else "content-md5"))
    return ObjectEntry(
        key, total_size(headers), etag_of(headers), version, moment_of(get("last-modified")), digests, envelope
    )


def total_size(headers: Headers) -> int:
    """The whole blob's size, in bytes; behind the slash of Content-Range, if there is one."""
    ranged = headers.lower.get("content-range")
    return int(ranged.rpartition("/")[2]) if ranged else int(headers.lower.get("content-length", "0"))


def etag_of(headers: Headers) -> str | None:
    """The ETag without quotes."""
    return unquoted(headers.lower.get("etag"))


def reported_digests(headers: Headers) -> Digests:
    """What the service computed over the body it took; its CRC-64 is little-endian."""
    crc64 = _decoded(headers.lower.get("x-ms-content-crc64"), 8)
    return Digests(md5=md5_of(headers.lower.get("content-md5")), crc64nvme=None if crc64 is None else crc64[::-1])


def _user(headers: Headers) -> Pairs:
    if _META not in "\n".join(headers.lower):
        return ()
    return pairs({name[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)})


def version_query(version: str | None) -> dict[str, str | None]:
    """The query parameter that asks for one version or snapshot."""
    if version is None:
        return {}
    name, _, moment = version.partition("=")
    return {name: moment}


def _entry(blob: Element) -> ObjectEntry:
    parts = {part.tag: part for part in blob}
    properties = {item.tag: item.text for item in parts.get("Properties", ())}
    envelope = _envelope(
        properties.get("Content-Type"),
        properties.get("Content-Encoding"),
        properties.get("Content-Language"),
        properties.get("Content-Disposition"),
        properties.get("Cache-Control"),
        properties.get("AccessTier"),
        properties.get("Creation-Time"),
        properties.get("BlobType"),
    )
    if "Metadata" in parts or "Tags" in parts:
        user, tags = pairs(dict(_metadata(blob))), pairs(dict(_tags(parts.get("Tags"))))
        envelope = replace(envelope, user=user, tags=tags) if user or tags else envelope
    return ObjectEntry(
        _name(parts.get("Name")),
        int(properties.get("Content-Length") or 0),
        unquoted(properties.get("Etag") or None),
        _version(blob) if "Snapshot" in parts or "VersionId" in parts else None,
        moment_of(properties.get("Last-Modified")),
        _md5_digests(properties.get("Content-MD5")),
        envelope,
    )


@lru_cache(maxsize=4096)
def _envelope(
    content_type: str | None,
    encoding: str | None,
    language: str | None,
    disposition: str | None,
    cache_control: str | None,
    tier: str | None,
    created: str | None,
    kind: str | None,
) -> Envelope:
    """Kept: most blobs of a container share theirs with others written in the same second."""
    return Envelope(
        content_type=content_type or None,
        content_encoding=encoding or None,
        content_language=language or None,
        content_disposition=disposition or None,
        cache_control=cache_control or None,
        tier=tier or None,
        created=moment_of(created),
        kind=kind or None,
    )


def _version(blob: Element) -> str | None:
    if snapshot := blob.findtext("Snapshot"):
        return f"snapshot={snapshot}"
    version = blob.findtext("VersionId")
    return f"versionid={version}" if version and blob.findtext("IsCurrentVersion") != "true" else None


def _name(element: Element | None) -> str:
    if element is None or not element.text:
        return ""
    return unquote(element.text, errors="strict") if element.get("Encoded") == "true" else element.text


def _metadata(blob: Element) -> Iterator[tuple[str, str]]:
    for item in blob.iterfind("Metadata/*"):
        value = item.text or ""
        yield item.tag, unquote(value, errors="strict") if item.get("Encoded") == "true" else value


def _tags(parent: Element | None) -> Iterator[tuple[str, str]]:
    for tag in () if parent is None else parent.iterfind("TagSet/Tag"):
        yield tag.findtext("Key", ""), tag.findtext("Value", "")


def _parsed(content: bytes, resource: str) -> Element:
    try:
        return parse_xml(content)  # noqa: S314 - expat bounds entity expansion
    except ParseError as exc:
        raise TransientError(f"the answer is no whole XML: {exc}", resource=resource) from exc


def unquoted(etag: str | None) -> str | None:
    """An ETag without quotes."""
    return None if etag is None else etag.removeprefix("W/").strip('"')


@lru_cache(maxsize=4096)  # many blobs were written in the same second, and each moment comes twice
def moment_of(text: str | None) -> datetime | None:
    """A time in the form of RFC 1123, which is the one the service writes, or in any that e-mail knows."""
    if not text:
        return None
    month = _MONTHS.get(text[8:11], 0)
    if len(text) == _RFC1123 and month and text[25:] == " GMT":
        with suppress(ValueError):
            day, year, hour = int(text[5:7]), int(text[12:16]), int(text[17:19])
            return datetime(year, month, day, hour, int(text[20:22]), int(text[23:25]), tzinfo=UTC)
    return parsedate_to_datetime(text).astimezone(UTC)


def _md5_digests(text: str | None) -> Digests:
    value = md5_of(text)
    return Digests.NONE if value is None else Digests(md5=value)


def md5_of(text: str | None) -> bytes | None:
    """An MD5 from base64; what is no MD5 is none."""
    return _decoded(text, 16)


def _decoded(text: str | None, size: int) -> bytes | None:
    """A digest from base64; a client may have stored anything, and what is no digest is none."""
    if not text:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == size else None
