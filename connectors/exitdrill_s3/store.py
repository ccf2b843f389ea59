"""One bucket as an `ObjectStore`.

Rules: one request a hook, where S3 allows; reads ask for the stored bytes and are pinned by If-Match; writes say
their length and digests in headers; a large object goes in parts only where its whole-object digest is attested
that way, or where one request cannot hold it.

Source: S3 API reference, ListObjectsV2, GetObject, PutObject, HeadObject, DeleteObject, GetObjectTagging.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.levels import Level
from exitdrill.connector.objects import BytesBody, ObjectStore, RawRead, WriteRequest
from exitdrill.connector.provider import Environment
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ChangedError, ConnectorError, PermissionDeniedError, TransientError, UnsupportedError
from exitdrill.model.digests import DigestKind, Digests
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill_s3.body import BodyReader
from exitdrill_s3.client import S3Api
from exitdrill_s3.errors import code_of
from exitdrill_s3.headers import (
    checksum_parameters,
    digests_of,
    entry_of,
    envelope_parameters,
    md5_of,
    unquoted,
)
from exitdrill_s3.parts import OpenUploads
from exitdrill_s3.settings import LEAST_PART_BYTES, S3Settings
from exitdrill_s3.signing import UNSIGNED_PAYLOAD
from exitdrill_s3.upload import UploadPlan, part_size_for, upload

__all__ = ["S3Store"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MANGLED = "\ufffd"


class S3Store(ObjectStore):
    """A bucket.

    Args:
        api: The place's client.
        bucket: Its name.
        resource: How messages name it.
        capabilities: What it can do.
        settings: The place's.
        retry: How to try again.
        uploads: Where unfinished uploads are noted.
        proven: Whether the capabilities were probed, and are not only claimed.
    """

    def __init__(
        self,
        api: S3Api,
        bucket: str,
        resource: str,
        capabilities: Capabilities,
        settings: S3Settings,
        retry: RetryPolicy,
        uploads: OpenUploads,
        *,
        proven: bool,
    ) -> None:
        """See the class."""
        super().__init__(resource, capabilities, retry)
        self._api, self._bucket, self._settings, self._uploads = api, bucket, settings, uploads
        self._seen, self._proven = False, proven

    @property
    def _md5(self) -> bool:
        return DigestKind.MD5 in self.capabilities.attests

    def _list(
        self, prefix: str, start_after: str | None, token: str | None
    ) -> tuple[Sequence[ObjectEntry], str | None]:
        """One page. The token is ``c`` and the service's own, or ``k`` and a key to begin after."""
        after = start_after if token is None else token[1:] if token.startswith("k") else None
        answer = self._api.call(
            "list_objects_v2",
            self.resource,
            Bucket=self._bucket,
            EncodingType="url",
            Prefix=prefix or None,
            StartAfter=after,
            ContinuationToken=token[1:] if token is not None and token.startswith("c") else None,
        )
        encoded = answer.get("EncodingType") == "url"
        page = [self._listed(item, encoded=encoded) for item in answer.get("Contents", [])]
        if not answer.get("IsTruncated"):
            return page, None
        following = answer.get("NextContinuationToken")
        if following is not None and _MANGLED not in following:
            return page, f"c{following}"
        if not page:
            msg = "the listing says there is more, but does not go on"
            raise ConnectorError(msg, resource=self.resource)
        # Some servers make the token of the last key, and XML cannot carry it when it holds control characters.
        return page, f"k{page[-1].key}"

    def _level(self, prefix: str, token: str | None) -> Level:
        answer = self._api.call(
            "list_objects_v2",
            self.resource,
            Bucket=self._bucket,
            EncodingType="url",
            Prefix=prefix or None,
            Delimiter="/",
            ContinuationToken=token,
        )
        encoded = answer.get("EncodingType") == "url"
        entries = [self._listed(item, encoded=encoded) for item in answer.get("Contents", [])]
        prefixes = [self._key(item["Prefix"], encoded=encoded) for item in answer.get("CommonPrefixes", [])]
        following = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
        if answer.get("IsTruncated") and (following is None or _MANGLED in following):
            msg = "a level is listed in pages, and does not say how it goes on"
            raise UnsupportedError(msg, resource=self.resource)
        return Level(entries, prefixes, following)

    def _key(self, text: str, *, encoded: bool) -> str:
        try:
            # Amazon writes a space as "+" and a plus sign as "%2B".
            return unquote_plus(text, errors="strict") if encoded else text
        except UnicodeDecodeError as exc:
            msg = f"the listing has a key that is not UTF-8: {text}"
            raise ConnectorError(msg, resource=self.resource) from exc

    def _listed(self, item: Mapping[str, Any], *, encoded: bool) -> ObjectEntry:
        key = self._key(item["Key"], encoded=encoded)
        etag = unquoted(item.get("ETag"))
        # A listing does not say which objects are encrypted with a key of KMS, whose ETags look like MD5s.
        attested = self._proven and self._md5 and DigestKind.MD5 in self.capabilities.listing_digests
        return ObjectEntry(
            key=key,
            size=int(item["Size"]),
            etag=etag,
            modified=_utc(item.get("LastModified")),
            digests=Digests(md5=md5_of(etag)) if attested else Digests.NONE,
        )

    def _read(self, key: str, etag: str | None, version: str | None, offset: int, length: int | None) -> RawRead:
        wanted = None
        if length is not None:
            wanted = f"bytes={offset}-{offset + length - 1}"
        elif offset:
            wanted = f"bytes={offset}-"
        try:
            answer = self._api.call(
                "get_object",
                self.describe(key),
                **self._names(key, version),
                Range=wanted,
                IfMatch=None if etag is None else f'"{etag}"',
            )
        except ConnectorError as error:
            if code_of(error) != "InvalidRange":
                raise
            return self._nothing(key, etag, version, offset)
        body = answer["Body"]
        try:
            start, count, size = self._extent(key, answer)
            entry = self._entry(key, version, answer, size=size, whole=count == size)
        except BaseException:
            body.close()
            raise
        return RawRead(entry, start, count, body.chunks(), body.close)

    def _nothing(self, key: str, etag: str | None, version: str | None, offset: int) -> RawRead:
        """A range that begins at or after the end, as of every empty object."""
        entry = self._stat(key, version)
        if etag is not None and entry.etag != etag:
            msg = f"is version {entry.etag}, not {etag}"
            raise ChangedError(msg, resource=self.describe(key))
        return RawRead(entry, offset, 0, iter(()))

    def _extent(self, key: str, answer: Mapping[str, Any]) -> tuple[int, int, int]:
        """Where the answer's bytes begin, how many they are, and how large the object is."""
        count = self._length(key, answer)
        if "ContentRange" not in answer:
            return 0, count, count
        found = _CONTENT_RANGE.fullmatch(answer["ContentRange"])
        if found is None or int(found[2]) - int(found[1]) + 1 != count:
            msg = f"the answer's range {answer['ContentRange']!r} is not of its {count} bytes"
            raise TransientError(msg, resource=self.describe(key))
        return int(found[1]), count, int(found[3])

    def _length(self, key: str, answer: Mapping[str, Any]) -> int:
        if "ContentLength" not in answer:
            raise TransientError("the answer does not say how long it is", resource=self.describe(key))
        return int(answer["ContentLength"])

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        self._see_bucket()
        capabilities, size = self.capabilities, request.body.size
        settings = self._settings
        parameters = envelope_parameters(envelope, settings.storage_classes)
        if size <= LEAST_PART_BYTES <= capabilities.max_single_put_bytes:
            return self._put(request, parameters)
        # Without a digest of the whole, small parts let the server check what one request could not.
        threshold = settings.multipart_threshold if request.digests.kinds else settings.part_size
        in_parts = size > threshold and bool(capabilities.multipart_attests)
        if not in_parts and size <= capabilities.max_single_put_bytes:
            return self._put(request, parameters)
        plan = UploadPlan(
            bucket=self._bucket,
            resource=self.describe(request.key),
            parameters=parameters,
            part_bytes=part_size_for(size, self._settings.part_size),
            attested=DigestKind.CRC64NVME in capabilities.multipart_attests,
        )
        upload(self._api, request, plan, self.retry, self._uploads)
        # The completion's answer leaves out size and, at some servers, digests: ask once, pays for an object in parts.
        return self.retry.call(lambda: self._head(request.key, None, made=True))

    def _see_bucket(self) -> None:
        """Before the first write: SeaweedFS makes a bucket that is missing out of a write to it."""
        if self._seen or self._settings.environment is Environment.CLOUD:
            return
        with suppress(PermissionDeniedError):  # it is there, and keys that may only write are enough
            self._api.call("head_bucket", self.resource, Bucket=self._bucket)
        self._seen = True

    def _put(self, request: WriteRequest, parameters: Mapping[str, Any]) -> ObjectEntry:
        checksums = checksum_parameters(request.digests)
        answer = self._api.call(
            "put_object",
            self.describe(request.key),
            body=self._payload(request),
            **self._names(request.key, None),
            **parameters,
            **checksums,
            IfNoneMatch="*" if request.only_if_absent else None,
        )
        return ObjectEntry(
            key=request.key,
            size=request.body.size,
            etag=unquoted(answer.get("ETag")),
            version=_made_version(answer),
            digests=digests_of(answer, md5=self._md5),
        )

    def _payload(self, request: WriteRequest) -> BodyReader:
        """The body with what is to be signed of it: its hash, but over TLS only if it is known.

        A small body of unknown hash is read into memory, because it would else be read twice.
        """
        body, sha256 = request.body, request.digests.sha256
        if sha256 is not None:
            return BodyReader(body, 0, body.size, sha256.hex())
        if self._api.encrypted:
            return BodyReader(body, 0, body.size, UNSIGNED_PAYLOAD)
        if body.size > self._settings.part_size:
            return BodyReader(body, 0, body.size)
        with closing(BodyReader(body, 0, body.size)) as reader:
            data = reader.read()
        return BodyReader(BytesBody(data), 0, body.size, hashlib.sha256(data).hexdigest())

    def _stat(self, key: str, version: str | None) -> ObjectEntry:
        return self._head(key, version)

    def _head(self, key: str, version: str | None, *, made: bool = False) -> ObjectEntry:
        answer = self._api.call("head_object", self.describe(key), **self._names(key, version), ChecksumMode="ENABLED")
        told = _made_version(answer) if made else version
        return self._entry(key, told, answer, size=self._length(key, answer))

    def _delete(self, key: str, version: str | None) -> None:
        self._api.call("delete_object", self.describe(key), **self._names(key, version))

    def _entry(
        self, key: str, version: str | None, answer: Mapping[str, Any], *, size: int, whole: bool = True
    ) -> ObjectEntry:
        answer = {**answer, "LastModified": _utc(answer.get("LastModified"))}
        tags = self._tags(key, version) if answer.get("TagCount") and self.capabilities.envelope.tags_max else {}
        return entry_of(key, answer, size=size, version=version, tags=tags, md5=self._md5, whole=whole)

    def _tags(self, key: str, version: str | None) -> dict[str, str]:
        answer = self._api.call("get_object_tagging", self.describe(key), **self._names(key, version))
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", [])}

    def _names(self, key: str, version: str | None) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": key, "VersionId": version}


def _made_version(answer: Mapping[str, Any]) -> str | None:
    """The version a write made, in a bucket that keeps versions."""
    version = answer.get("VersionId")
    return None if version in {None, "null"} else str(version)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
