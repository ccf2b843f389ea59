"""Writing an object in parts.

Where the far end attests a whole-object CRC-64/NVME for objects in parts, every part carries its own and the
completion carries the whole object's, so that the server itself finds a wrong byte. The thread that writes reads the
body, in order and once; a few others hash and send the parts, as far as the memory that all uploads share allows.
Parts too large for memory go one after another and are read twice. With an `UploadMemory` an upload goes on after a
crash: only parts that the server lists as we recorded them count. Whatever cannot go on is aborted, so that no
paid-for parts stay behind.

Source: S3 API reference, CreateMultipartUpload, UploadPart, CompleteMultipartUpload; S3 user guide,
"Checking object integrity for multipart uploads" (full-object checksums).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

from awscrt import checksums

from exitdrill.connector.objects import DigestingBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ConflictError, ConnectorError, DigestError, NotFoundError, StoppedError
from exitdrill.model.digests import DigestKind, Digests, Hasher
from exitdrill_s3.body import BodyReader, PiecesBody
from exitdrill_s3.client import S3Api
from exitdrill_s3.headers import md5_of, unquoted
from exitdrill_s3.parts import OpenUploads, Part, side_by_side
from exitdrill_s3.settings import MEBIBYTE
from exitdrill_s3.signing import UNSIGNED_PAYLOAD

__all__ = ["UploadPlan", "part_size_for", "upload"]

_LOG = logging.getLogger(__name__)
_MAX_PARTS = 10_000
_IN_MEMORY_BYTES = 64 * MEBIBYTE
_SAVE_SHARE = 64


def part_size_for(size: int, wanted: int) -> int:
    """Bytes a part: ``wanted``, or what makes 10,000 parts enough for ``size`` bytes, in whole mebibytes."""
    least = -(-size // _MAX_PARTS)
    return max(wanted, -(-least // MEBIBYTE) * MEBIBYTE)


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload is to do, beside the request."""

    bucket: str
    resource: str
    parameters: Mapping[str, Any]
    """The envelope, as arguments of CreateMultipartUpload."""
    part_bytes: int
    attested: bool
    """Whether the far end takes CRC-64/NVME for the whole object."""


@dataclass(slots=True)
class _Part:
    etag: str
    crc64: int


@dataclass(slots=True)
class _State:
    upload_id: str
    parts: dict[int, _Part] = field(default_factory=dict)
    saved: int = 0
    completing: bool = False


def upload(api: S3Api, request: WriteRequest, plan: UploadPlan, retry: RetryPolicy, registry: OpenUploads) -> None:
    """Write the request's body in parts.

    Raises what the last try of a request raised; the upload is then aborted unless it can be resumed.
    """
    run = _Upload(api, request, plan, retry, registry)
    try:
        run.run()
    except BaseException as error:
        if not run.resumable(error):
            run.abort(error)
        raise


class _Upload:
    def __init__(
        self, api: S3Api, request: WriteRequest, plan: UploadPlan, retry: RetryPolicy, registry: OpenUploads
    ) -> None:
        self._api, self._request, self._plan = api, request, plan
        self._retry, self._registry = retry, registry
        self._where: dict[str, Any] = {"Bucket": plan.bucket, "Key": request.key}
        self._size = request.body.size
        self._count = -(-self._size // plan.part_bytes)
        self._state: _State | None = None

    def run(self) -> None:
        state = self._resumed() or self._begun()
        self._state = state
        self._registry.add(state.upload_id, self._plan.bucket, self._request.key)
        if not state.completing:
            self._send_missing(state)
        self._pass_last()
        if not state.completing:
            state.completing = True
            self._save(state)
        self._complete(state)
        self._registry.discard(state.upload_id)
        self._forget()

    def resumable(self, error: BaseException) -> bool:
        """Whether the upload may stay open for another try: its state is kept, and the error allows one."""
        if self._request.memory is None:
            return False
        return not isinstance(error, Exception) or isinstance(error, StoppedError) or getattr(error, "transient", False)

    def abort(self, error: BaseException) -> None:
        """Give up; a failure to abort is noted on the error that led here, and left to `remove_container`."""
        if self._state is None:
            return
        try:
            self._call("abort_multipart_upload", UploadId=self._state.upload_id)
        except NotFoundError:
            _LOG.debug("%s: the upload was gone already", self._plan.resource)
        except ConnectorError as exc:
            error.add_note(f"and the upload {self._state.upload_id} could not be aborted: {exc}")
            _LOG.warning("%s: an unfinished upload could not be aborted: %s", self._plan.resource, exc)
            return
        self._registry.discard(self._state.upload_id)
        self._forget()

    def _begun(self) -> _State:
        checksum = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if self._plan.attested else {}
        answer = self._call("create_multipart_upload", **self._plan.parameters, **checksum)
        state = _State(str(answer["UploadId"]))
        self._save(state, force=True)
        return state

    def _send_missing(self, state: _State) -> None:
        runs = list(_runs(number for number in range(1, self._count + 1) if number not in state.parts))
        if self._plan.part_bytes > _IN_MEMORY_BYTES:
            for number in itertools.chain.from_iterable(runs):
                self._keep(state, number, self._send_large(state, number))
            return
        with (
            closing(self._read(runs)) as parts,
            closing(side_by_side(parts, partial(self._send, state), self._registry.budget)) as sent,
        ):
            for number, part in sent:
                self._keep(state, number, part)

    def _keep(self, state: _State, number: int, part: _Part) -> None:
        state.parts[number] = part
        self._save(state)

    def _read(self, runs: Iterable[range]) -> Generator[Part, None, None]:
        """Parts to be read; neighbours from one reading of the body."""
        for run in runs:
            begin, end = (run[0] - 1) * self._plan.part_bytes, min(run[-1] * self._plan.part_bytes, self._size)
            with closing(BodyReader(self._request.body, begin, end - begin)) as reader:
                for number in run:
                    size = self._length(number)
                    yield Part(number, size, partial(reader.pieces, size))

    def _pass_last(self) -> None:
        """Bodies that hash what passes are to see their end, though the last part was sent before a crash."""
        body, last = self._request.body, self._length(self._count)
        if not isinstance(body, DigestingBody):
            return
        try:
            body.digests()
        except DigestError:
            with closing(BodyReader(body, self._size - last, last)) as reader:
                while reader.read(MEBIBYTE):
                    pass

    def _send(self, state: _State, number: int, held: PiecesBody, failed: Event) -> _Part:
        """Send a part that is in memory; in one of several threads."""
        digests = self._digests(held.pieces)
        payload = UNSIGNED_PAYLOAD if digests.sha256 is None else digests.sha256.hex()

        def once() -> _Part:
            if failed.is_set():
                raise StoppedError("another part of the object failed")
            return self._send_once(state, number, BodyReader(held, 0, held.size, payload), digests)

        return self._retry.call(once)

    def _send_large(self, state: _State, number: int) -> _Part:
        """Send a part that does not fit in memory: read to be hashed, and again to be sent."""
        offset, length = (number - 1) * self._plan.part_bytes, self._length(number)

        def once() -> _Part:
            with closing(BodyReader(self._request.body, offset, length)) as reader:
                digests = self._digests(iter(lambda: reader.read(MEBIBYTE), b""))
            payload = UNSIGNED_PAYLOAD if digests.sha256 is None else digests.sha256.hex()
            return self._send_once(state, number, BodyReader(self._request.body, offset, length, payload), digests)

        return self._retry.call(once)

    def _send_once(self, state: _State, number: int, body: BodyReader, digests: Digests) -> _Part:
        checksum = {"ChecksumCRC64NVME": digests.base64(DigestKind.CRC64NVME)} if self._plan.attested else {}
        answer = self._api.call(
            "upload_part",
            self._plan.resource,
            body=body,
            **self._where,
            UploadId=state.upload_id,
            PartNumber=number,
            ContentMD5=digests.base64(DigestKind.MD5),
            **checksum,
        )
        return _Part(unquoted(answer.get("ETag")) or "", int.from_bytes(digests.crc64nvme or b"", "big"))

    def _digests(self, pieces: Iterable[bytes | memoryview]) -> Digests:
        """What is to be known of a part before its first byte is sent."""
        kinds = {DigestKind.CRC64NVME}
        if not self._plan.attested:
            kinds.add(DigestKind.MD5)
        if not self._api.encrypted:
            kinds.add(DigestKind.SHA256)
        hasher = Hasher(kinds)
        for piece in pieces:
            hasher.update(piece)  # type: ignore[arg-type] # any buffer will do
        return hasher.digests()

    def _complete(self, state: _State) -> None:
        parts = [self._named(number, part) for number, part in sorted(state.parts.items())]
        whole = (
            {"ChecksumType": "FULL_OBJECT", "ChecksumCRC64NVME": self._promised(state)} if self._plan.attested else {}
        )
        try:
            self._call(
                "complete_multipart_upload",
                UploadId=state.upload_id,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*" if self._request.only_if_absent else None,
                **whole,
            )
        except (NotFoundError, ConflictError):
            # The answer to a completion that worked can be lost; the next try then finds the upload gone.
            if self._is_open(state) or not self._is_there(state):
                raise

    def _is_open(self, state: _State) -> bool:
        try:
            self._call("list_parts", UploadId=state.upload_id, MaxParts=1)
        except NotFoundError:
            return False
        return True

    def _named(self, number: int, part: _Part) -> dict[str, Any]:
        named: dict[str, Any] = {"PartNumber": number, "ETag": f'"{part.etag}"'}
        if self._plan.attested:
            named["ChecksumCRC64NVME"] = _base64(part.crc64)
        return named

    def _promised(self, state: _State) -> str:
        """The whole object's CRC: the one promised, sent as it is, else the parts' joined."""
        return self._request.digests.base64(DigestKind.CRC64NVME) or _base64(self._joined(state))

    def _joined(self, state: _State) -> int:
        total = 0
        for number, part in sorted(state.parts.items()):
            total = checksums.combine_crc64nvme(total, part.crc64, self._length(number))
        return total

    def _is_there(self, state: _State) -> bool:
        try:
            answer = self._call("head_object", ChecksumMode="ENABLED")
        except NotFoundError:
            return False
        tags = [md5_of(part.etag) for _, part in sorted(state.parts.items())]
        known = [tag for tag in tags if tag is not None]
        digest = hashlib.md5(b"".join(known), usedforsecurity=False).hexdigest()
        return (
            len(known) == len(tags)
            and answer.get("ContentLength") == self._request.body.size
            and unquoted(answer.get("ETag")) == f"{digest}-{len(tags)}"
        )

    def _resumed(self) -> _State | None:
        memory = self._request.memory
        kept = memory.load() if memory is not None else {}
        same = {"size": str(self._request.body.size), "part_bytes": str(self._plan.part_bytes)}
        if not kept.get("upload_id"):
            return None
        if any(kept.get(name) != value for name, value in same.items()):
            self._drop(kept["upload_id"])
            return None
        recorded = {int(n): _Part(etag, int(crc, 16)) for n, (etag, crc) in json.loads(kept.get("parts", "{}")).items()}
        state = _State(kept["upload_id"], recorded, len(recorded), completing=kept.get("completing") == "yes")
        try:
            listed = self._listed(state.upload_id)
        except NotFoundError:
            # Completed before the crash, or cleaned away by somebody: completing tells which.
            return state if state.completing else None
        state.parts = {n: part for n, part in recorded.items() if listed.get(n) == (part.etag, self._length(n))}
        state.completing = state.completing and len(state.parts) == len(recorded)
        return state

    def _drop(self, upload_id: str) -> None:
        """Abort an upload of other bytes that the memory still names."""
        try:
            self._call("abort_multipart_upload", UploadId=upload_id)
        except NotFoundError:
            _LOG.debug("%s: the upload of other bytes was gone already", self._plan.resource)
        self._forget()

    def _length(self, number: int) -> int:
        return min(self._plan.part_bytes, self._size - (number - 1) * self._plan.part_bytes)

    def _listed(self, upload_id: str) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        marker: int | None = None
        while True:
            page = self._call("list_parts", UploadId=upload_id, PartNumberMarker=marker)
            for part in page.get("Parts", []):
                found[int(part["PartNumber"])] = (unquoted(part["ETag"]) or "", int(part["Size"]))
            following = page.get("NextPartNumberMarker")
            if not page.get("IsTruncated") or following == marker:
                return found
            marker = following

    def _save(self, state: _State, *, force: bool = False) -> None:
        """Keep the state; for many parts not after each, or the writes would grow with their square."""
        memory, done = self._request.memory, len(state.parts)
        if memory is None or not (force or state.completing or done - state.saved > done // _SAVE_SHARE):
            return
        state.saved = done
        memory.save(
            {
                "upload_id": state.upload_id,
                "size": str(self._request.body.size),
                "part_bytes": str(self._plan.part_bytes),
                "completing": "yes" if state.completing else "no",
                "parts": json.dumps({n: (part.etag, f"{part.crc64:016x}") for n, part in state.parts.items()}),
            }
        )

    def _forget(self) -> None:
        if self._request.memory is not None:
            self._request.memory.save({})

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._retry.call(lambda: self._api.call(operation, self._plan.resource, **self._where, **parameters))


def _runs(numbers: Iterable[int]) -> Iterator[range]:
    """Rising numbers as ranges without gaps."""
    run = range(0)
    for number in numbers:
        if run and number == run.stop:
            run = range(run.start, number + 1)
            continue
        if run:
            yield run
        run = range(number, number + 1)
    if run:
        yield run


def _base64(crc64: int) -> str:
    return base64.b64encode(crc64.to_bytes(8, "big")).decode("ascii")
