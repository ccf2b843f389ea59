"""Between S3's headers and exitdrill's values: envelope, digests, ETag.

Rules: a digest counts for the whole object or not at all; a value that ends in ``-N``, a composite one, or one
whose type an object in parts does not name, proves nothing. An ETag is an MD5 only for one request without
customer or KMS encryption. Storage classes are mapped by a table, never passed through.

Source: S3 user guide, "Checking object integrity in Amazon S3"; "Working with object metadata".
"""

import base64
import binascii
import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import quote, urlencode

from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry, pairs

__all__ = ["checksum_parameters", "entry_of", "envelope_parameters", "md5_of", "unquoted"]

_FIELDS = {
    "content_type": "ContentType",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "content_disposition": "ContentDisposition",
    "cache_control": "CacheControl",
}
_CHECKSUMS = (
    ("crc64nvme", "ChecksumCRC64NVME", 8),
    ("sha256", "ChecksumSHA256", 32),
    ("crc32c", "ChecksumCRC32C", 4),
)
"""Of each digest its name, S3's, and its length; the strongest that objects in parts can have first."""
_MD5_TAG = re.compile(r"[0-9a-fA-F]{32}").fullmatch


def unquoted(etag: str | None) -> str | None:
    """An ETag without its quotes."""
    return None if etag is None else etag.strip().strip('"')


def md5_of(etag: str | None) -> bytes | None:
    """The MD5 that an ETag can be, by its form alone."""
    return bytes.fromhex(etag) if etag is not None and _MD5_TAG(etag) else None


def entry_of(
    key: str,
    answer: Mapping[str, Any],
    *,
    size: int,
    version: str | None = None,
    tags: Mapping[str, str] | None = None,
    md5: bool = False,
    whole: bool = True,
) -> ObjectEntry:
    """The object that an answer to HEAD or GET describes.

    Args:
        key: The object's key.
        answer: The answer, as the SDK gives it.
        size: The whole object's, in bytes.
        version: The version asked for.
        tags: The object's tags.
        md5: Whether a plain ETag is the server's own MD5 here.
        whole: Whether the answer is about the whole object; a range's checksum can be that of a part.
    """
    user = {name.lower(): _decoded(value) for name, value in answer.get("Metadata", {}).items()}
    return ObjectEntry(
        key=key,
        size=size,
        etag=unquoted(answer.get("ETag")),
        version=version,
        modified=answer.get("LastModified"),
        digests=digests_of(answer, md5=md5, whole=whole),
        envelope=Envelope(
            **{name: answer.get(field) or None for name, field in _FIELDS.items()},
            user=pairs(user),
            tags=pairs(tags),
            tier=answer.get("StorageClass") or "STANDARD",
        ),
    )


def digests_of(answer: Mapping[str, Any], *, md5: bool, whole: bool = True) -> Digests:
    """The whole-object digests that an answer reports."""
    etag = unquoted(answer.get("ETag"))
    found: dict[str, bytes] = {}
    if whole:
        form, in_parts = answer.get("ChecksumType"), etag is None or "-" in etag
        for kind, field, size in _CHECKSUMS:
            text = answer.get(field)
            if text is None or not (form == "FULL_OBJECT" or (form is None and not in_parts)):
                continue
            value = _base64(text, size)
            if value is not None and not (in_parts and kind == "sha256"):
                found[kind] = value
    if md5 and (tag_md5 := md5_of(etag)) is not None and not _foreign(answer):
        found["md5"] = tag_md5
    return Digests(**found) if found else Digests.NONE


def _foreign(answer: Mapping[str, Any]) -> bool:
    """Whether it is encrypted with a key that is not S3's own, so that its ETag is no MD5."""
    how = answer.get("ServerSideEncryption")
    return (how is not None and how.startswith("aws:")) or "SSECustomerAlgorithm" in answer


def envelope_parameters(envelope: Envelope, storage_classes: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a write that carry an envelope; those that are None are to be left out."""
    out: dict[str, Any] = {field: getattr(envelope, name) for name, field in _FIELDS.items()}
    out["Metadata"] = dict(envelope.user) if envelope.user else None
    out["Tagging"] = urlencode(envelope.tags, quote_via=quote, safe="") if envelope.tags else None
    out["StorageClass"] = storage_classes.get(envelope.tier) if envelope.tier is not None else None
    return out


def checksum_parameters(digests: Digests) -> dict[str, str]:
    """The arguments of a write in one request that let the server refuse wrong bytes.

    S3 takes one ``x-amz-checksum-*`` header, and Content-MD5 beside it. Sent as they are, wrong ones too: that is
    how preflight finds out who checks.
    """
    out: dict[str, str] = {}
    for kind, field, _ in _CHECKSUMS:
        value: bytes | None = getattr(digests, kind)
        if value is not None:
            out[field] = base64.b64encode(value).decode("ascii")
            break
    if digests.md5 is not None:
        out["ContentMD5"] = base64.b64encode(digests.md5).decode("ascii")
    return out


def _base64(text: object, size: int) -> bytes | None:
    if not isinstance(text, str) or "-" in text:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return value if len(value) == size else None


def _decoded(value: str) -> str:
    """S3 gives values outside ASCII as RFC 2047 encoded words; a value that only looks like one stays."""
    if "=?" not in value:
        return value
    try:
        text = str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return value
    return value if text.isascii() else text
