"""Operations of S3 as requests: from boto3's names to method, query, headers and document.

Rules: what is None is left out; what this connector does not use is not here; a header that could not arrive as it
was given is refused before anything is sent.

Source: Amazon S3 API reference, one page an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from exitdrill.errors import UnsupportedError

__all__ = ["Request", "request_of"]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_OPERATIONS = {
    "get_object": ("GET", ""),
    "head_object": ("HEAD", ""),
    "put_object": ("PUT", ""),
    "delete_object": ("DELETE", ""),
    "get_object_tagging": ("GET", "tagging"),
    "upload_part": ("PUT", ""),
    "create_multipart_upload": ("POST", "uploads"),
    "complete_multipart_upload": ("POST", ""),
    "abort_multipart_upload": ("DELETE", ""),
    "list_parts": ("GET", ""),
    "list_multipart_uploads": ("GET", "uploads"),
    "list_objects_v2": ("GET", ""),
    "list_object_versions": ("GET", "versions"),
    "list_buckets": ("GET", ""),
    "head_bucket": ("HEAD", ""),
    "create_bucket": ("PUT", ""),
    "delete_bucket": ("DELETE", ""),
}
"""The method and the subresource of each."""
_HEADERS = {
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentDisposition": "content-disposition",
    "CacheControl": "cache-control",
    "ContentMD5": "content-md5",
    "Range": "range",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "Tagging": "x-amz-tagging",
    "StorageClass": "x-amz-storage-class",
    "ChecksumMode": "x-amz-checksum-mode",
    "ChecksumAlgorithm": "x-amz-checksum-algorithm",
    "ChecksumType": "x-amz-checksum-type",
    "ChecksumCRC64NVME": "x-amz-checksum-crc64nvme",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ChecksumCRC32C": "x-amz-checksum-crc32c",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
}
_QUERY = {
    "VersionId": "versionId",
    "UploadId": "uploadId",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "Delimiter": "delimiter",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
    "EncodingType": "encoding-type",
    "MaxKeys": "max-keys",
    "MaxParts": "max-parts",
    "PartNumberMarker": "part-number-marker",
}


@dataclass(slots=True)
class Request:
    """One request, but for where it goes and who signs it."""

    method: str
    subresource: str
    """A parameter without a value; empty for none."""
    bucket: str | None
    key: str | None
    query: list[tuple[str, str]]
    """The other parameters, not encoded."""
    headers: dict[str, str]
    """By lower-case name."""
    document: bytes | None
    """What is sent, where it is not an object's bytes."""


def request_of(operation: str, resource: str, parameters: Mapping[str, Any]) -> Request:
    """The request that boto3's method of that name would make of these arguments.

    Raises UnsupportedError for a header that cannot be sent, KeyError for an operation or argument that is not used
    here.
    """
    method, subresource = _OPERATIONS[operation]
    headers: dict[str, str] = {}
    made = Request(method, subresource, None, None, [], headers, None)
    for name, value in parameters.items():
        if value is None:
            continue
        header = _HEADERS.get(name)
        if header is not None:
            headers[header] = value if value.isascii() else _refuse(name, resource)
        elif name == "Bucket":
            made.bucket = value
        elif name == "Key":
            made.key = value
        elif name in _QUERY:
            made.query.append((_QUERY[name], str(value)))
        elif name == "Metadata":
            for title, text in value.items():
                headers[f"x-amz-meta-{title.lower()}"] = text if text.isascii() else _refuse(title, resource)
        else:
            made.document = _DOCUMENTS[name](value).encode()
    if operation == "get_object":
        headers["x-amz-checksum-mode"] = "ENABLED"
    elif operation == "list_objects_v2":
        made.query.append(("list-type", "2"))
    return made


def _refuse(name: str, resource: str) -> str:
    msg = f"a value of {name} that is not ASCII cannot be sent in a header"
    raise UnsupportedError(msg, resource=resource)


def _completion(value: Mapping[str, Any]) -> str:
    parts = "".join(f"<Part>{_elements(part)}</Part>" for part in value["Parts"])
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{parts}</CompleteMultipartUpload>'


def _bucket_configuration(value: Mapping[str, Any]) -> str:
    return f'<CreateBucketConfiguration xmlns="{_NAMESPACE}">{_elements(value)}</CreateBucketConfiguration>'


def _elements(value: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{escape(str(text))}</{name}>" for name, text in value.items())


_DOCUMENTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "MultipartUpload": _completion,
    "CreateBucketConfiguration": _bucket_configuration,
}
