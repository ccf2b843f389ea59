"""S3's answers, read: headers and small XML documents into what boto3 would give, as far as anybody looks at it.

Rules: what an answer does not say is left out; a document that is not what was asked for is a `RefusedError` (S3 can
answer 200 and fail after that) or broken; documents with a DTD are refused.

Source: Amazon S3 API reference, one page an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element, ParseError
from xml.etree.ElementTree import fromstring as parse_xml

from exitdrill.errors import TransientError
from exitdrill_s3.errors import RefusedError

__all__ = ["fields_of", "parsed", "refusal_of"]

_META = "x-amz-meta-"
_TEXTS = {
    "etag": "ETag",
    "content-type": "ContentType",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-disposition": "ContentDisposition",
    "cache-control": "CacheControl",
    "content-range": "ContentRange",
    "content-length": "ContentLength",
    "x-amz-version-id": "VersionId",
    "x-amz-storage-class": "StorageClass",
    "x-amz-tagging-count": "TagCount",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-checksum-crc64nvme": "ChecksumCRC64NVME",
    "x-amz-checksum-sha256": "ChecksumSHA256",
    "x-amz-checksum-crc32c": "ChecksumCRC32C",
    "x-amz-checksum-type": "ChecksumType",
}
_NUMBERS = frozenset({"ContentLength", "TagCount", "PartNumber", "Size", "NextPartNumberMarker"})
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * n : 3 * n + 3]: n + 1 for n in range(12)}
_SERVER_FAULT = 500


def fields_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """What an answer's headers, by lower-case name, say.

    Raises ValueError for a number or time that is none.
    """
    out: dict[str, Any] = {"ResponseMetadata": {"HTTPHeaders": headers}}
    user: dict[str, str] = {}
    for name, value in headers.items():
        field = _TEXTS.get(name)
        if field is not None:
            out[field] = int(value) if field in _NUMBERS else value
        elif name == "last-modified":
            out["LastModified"] = _http_date(value)
        elif name.startswith(_META):
            user[name[len(_META) :]] = value
    out["Metadata"] = user
    return out


def refusal_of(status: int, headers: Mapping[str, str], content: bytes) -> RefusedError:
    """What an answer that is no success says; where it has no document, the status is its code."""
    code, message = str(status), ""
    if content:
        try:
            root = _document(content)
        except (ParseError, ValueError):
            root = None
        if root is not None:
            told = _flat(root)
            code, message = told.get("Code") or code, told.get("Message") or ""
    return RefusedError(code, message, status, headers)


def parsed(operation: str, headers: Mapping[str, str], content: bytes, resource: str) -> dict[str, Any]:
    """What a successful answer's document says.

    Raises RefusedError for a document that says it failed after all, TransientError for one that cannot be read.
    """
    read = _READERS.get(operation)
    if read is None:
        return {}
    try:
        root = _document(content)
        if _local(root) == "Error":
            told = _flat(root)
            raise RefusedError(told.get("Code") or "", told.get("Message") or "", _SERVER_FAULT, headers)
        return read(root)
    except (ParseError, ValueError, KeyError) as exc:
        msg = f"the answer to {operation} cannot be read: {type(exc).__name__}"
        raise TransientError(msg, resource=resource) from exc


def _document(content: bytes) -> Element:
    if b"<!DOCTYPE" in content:
        msg = "a document with a DTD"
        raise ValueError(msg)
    return parse_xml(content)  # noqa: S314 - entities need a DTD, which is refused


def _local(element: Element) -> str:
    """A tag without its namespace, which servers set, leave out or get wrong."""
    return element.tag.rpartition("}")[2]


def _flat(element: Element) -> dict[str, str]:
    return {_local(child): child.text or "" for child in element}


def _item(element: Element) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for child in element:
        name, text = _local(child), child.text or ""
        if name == "LastModified":
            out[name] = _iso(text)
        else:
            out[name] = int(text) if name in _NUMBERS else text
    return out


def _listing(*lists: str) -> Callable[[Element], dict[str, Any]]:
    """A reader of a document of fields and of repeated elements, which boto3 names in the plural."""
    plural = dict(zip(lists[::2], lists[1::2], strict=True))

    def read(root: Element) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for child in root:
            name = _local(child)
            if name in plural:
                out.setdefault(plural[name], []).append(_item(child))
            elif name == "IsTruncated":
                out[name] = (child.text or "").strip() == "true"
            elif name in _NUMBERS:
                out[name] = int(child.text or "0")
            else:
                out[name] = child.text or ""
        if not out.get("NextContinuationToken", "?"):
            del out["NextContinuationToken"]
        return out

    return read


def _tags(root: Element) -> dict[str, Any]:
    return {"TagSet": [_flat(tag) for group in root if _local(group) == "TagSet" for tag in group]}


_READERS: dict[str, Callable[[Element], dict[str, Any]]] = {
    "list_objects_v2": _listing("Contents", "Contents", "CommonPrefixes", "CommonPrefixes"),
    "list_object_versions": _listing("Version", "Versions", "DeleteMarker", "DeleteMarkers"),
    "list_multipart_uploads": _listing("Upload", "Uploads"),
    "list_parts": _listing("Part", "Parts"),
    "create_multipart_upload": _flat,
    "complete_multipart_upload": _flat,
    "get_object_tagging": _tags,
}


@lru_cache(maxsize=4096)
def _http_date(text: str) -> datetime:
    """RFC 9110, section 5.6.7; the preferred form fast, the old ones as the library does."""
    # Sun, 06 Nov 1994 08:49:37 GMT
    if len(text) == 29 and text.endswith(" GMT") and text[8:11] in _MONTHS:  # noqa: PLR2004 - as the line above
        day, year, month = int(text[5:7]), int(text[12:16]), _MONTHS[text[8:11]]
        return datetime(year, month, day, int(text[17:19]), int(text[20:22]), int(text[23:25]), tzinfo=UTC)
    return parsedate_to_datetime(text)


def _iso(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
