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
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError
from xml.etree.ElementTree import fromstring as parse_xml

from exitdrill.connector.http import Headers
from exitdrill.errors import TransientError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry, Pairs, pairs

__all__ = ["etag_of", "from_headers", "page_of", "reported_digests", "tags_of", "total_size", "version_query"]

_META = "x-ms-meta-"


def page_of(content: bytes, resource: str) -> tuple[list[ObjectEntry], str | None]:
    """One page of List Blobs: its entries, and the marker of the next page.

    Raises TransientError for an answer that is not whole.
    """
    root = _parsed(content, resource)
    marker = root.findtext("NextMarker") or None
    return [_entry(blob) for blob in root.iterfind("Blobs/Blob")], marker


def tags_of(content: bytes, resource: str) -> tuple[tuple[str, str], ...]:
    """The answer of Get Blob Tags. Raises TransientError for one that is not whole."""
    return pairs(dict(_tags(_parsed(content, resource))))


def from_headers(key: str, headers: Headers, version: str | None) -> ObjectEntry:
    """A blob as the headers of Get Blob or Get Blob Properties describe it, tags left out."""
    get = headers.lower.get
    envelope = Envelope(
        get("content-type"),
        get("content-encoding"),
        get("content-language"),
        get("content-disposition"),
        get("cache-control"),
        _user(headers),
        (),
        get("x-ms-access-tier"),
        _moment(get("x-ms-creation-time")),
        get("x-ms-blob-type"),
    )
    # In an answer to a range, Content-MD5 would be the range's.
    md5 = _md5(get("x-ms-blob-content-md5" if "content-range" in headers.lower else "content-md5"))
    digests = Digests.NONE if md5 is None else Digests(md5=md5)
    return ObjectEntry(
        key, total_size(headers), etag_of(headers), version, _moment(get("last-modified")), digests, envelope
    )


def total_size(headers: Headers) -> int:
    """The whole blob's size, in bytes; behind the slash of Content-Range, if there is one."""
    ranged = headers.lower.get("content-range")
    return int(ranged.rpartition("/")[2]) if ranged else int(headers.lower.get("content-length", "0"))


def etag_of(headers: Headers) -> str | None:
    """The ETag without quotes."""
    return _unquoted(headers.lower.get("etag"))


def reported_digests(headers: Headers) -> Digests:
    """What the service computed over the body it took; its CRC-64 is little-endian."""
    crc64 = _decoded(headers.lower.get("x-ms-content-crc64"), 8)
    return Digests(md5=_md5(headers.lower.get("content-md5")), crc64nvme=None if crc64 is None else crc64[::-1])


def _user(headers: Headers) -> Pairs:
    if not any(low.startswith(_META) for low in headers.lower):
        return ()
    return pairs({name[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)})


def version_query(version: str | None) -> dict[str, str | None]:
    """The query parameter that asks for one version or snapshot."""
    if version is None:
        return {}
    name, _, moment = version.partition("=")
    return {name: moment}


def _entry(blob: Element) -> ObjectEntry:
    found = blob.find("Properties")
    properties = Element("Properties") if found is None else found

    def text(name: str) -> str | None:
        return properties.findtext(name) or None

    envelope = Envelope(
        content_type=text("Content-Type"),
        content_encoding=text("Content-Encoding"),
        content_language=text("Content-Language"),
        content_disposition=text("Content-Disposition"),
        cache_control=text("Cache-Control"),
        user=pairs(dict(_metadata(blob))),
        tags=pairs(dict(_tags(blob.find("Tags")))),
        tier=text("AccessTier"),
        created=_moment(text("Creation-Time")),
        kind=text("BlobType"),
    )
    entry = ObjectEntry(
        key=_name(blob),
        size=int(text("Content-Length") or 0),
        etag=_unquoted(text("Etag")),
        modified=_moment(text("Last-Modified")),
        digests=Digests(md5=_md5(text("Content-MD5"))),
        envelope=envelope,
    )
    return replace(entry, version=_version(blob))


def _version(blob: Element) -> str | None:
    if snapshot := blob.findtext("Snapshot"):
        return f"snapshot={snapshot}"
    version = blob.findtext("VersionId")
    return f"versionid={version}" if version and blob.findtext("IsCurrentVersion") != "true" else None


def _name(blob: Element) -> str:
    element = blob.find("Name")
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


def _unquoted(etag: str | None) -> str | None:
    return None if etag is None else etag.removeprefix("W/").strip('"')


@lru_cache(maxsize=4096)  # many blobs were written in the same second, and each moment comes twice
def _moment(text: str | None) -> datetime | None:
    return None if not text else parsedate_to_datetime(text).astimezone(UTC)


def _md5(text: str | None) -> bytes | None:
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
