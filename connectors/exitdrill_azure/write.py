"""Writing a blob: in one request, in blocks, by appending, or page by page.

Rules: a block blob appears whole or not at all. Every request carries a CRC-64 or MD5 that the service checks;
whatever other digests the caller knows are checked here before the last byte leaves. A block's id holds its
index, size and CRC-64, so that after a crash only blocks the service does not have are sent again; uncommitted
blocks live for a week there (https://learn.microsoft.com/rest/api/storageservices/put-block). One block is held
in memory. Append and page blobs cannot be written at one stroke: a write that fails takes back what it began,
a crash leaves a blob of the wrong size or without content, which verification finds.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring
from xml.etree.ElementTree import fromstring as parse_xml

from awscrt import checksums

from exitdrill.connector.objects import WriteRequest
from exitdrill.errors import ConnectorError, DigestError, NotFoundError, TransientError
from exitdrill.model.digests import DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill_azure.client import Answer, Client
from exitdrill_azure.entries import etag_of, from_headers, reported_digests
from exitdrill_azure.envelope import APPEND, BLOCK, PAGE, headers_of

__all__ = ["MAX_OBJECT_BYTES", "Writer"]

_LOG = logging.getLogger(__name__)
_MAX_BLOCKS = 50_000
_MAX_BLOCK_BYTES = 128 * 1024 * 1024
MAX_OBJECT_BYTES = _MAX_BLOCKS * _MAX_BLOCK_BYTES
"""6.7 TB; Azure takes more, in blocks that would not be held in memory."""
_STEP_BYTES = 4 * 1024 * 1024
"""What one Append Block (before version 2022-11-02) and one Put Page take."""


class Writer:
    """Writes blobs into one container.

    Args:
        client: The account's client.
        container: The container's name.
        describe: How messages name a blob.
    """

    def __init__(self, client: Client, container: str, describe: Callable[[str], str]) -> None:
        """See the class."""
        self._client = client
        self._container = container
        self._describe = describe

    def write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        """Write one blob; returns what the service said of it. Raises ConnectorError."""
        if envelope.kind == APPEND:
            return self._append(request, envelope)
        if envelope.kind == PAGE:
            return self._pages(request, envelope)
        if request.body.size <= self._client.settings.single_put_bytes:
            return self._single(request, envelope)
        return self._blocks(request, envelope)

    def _put(
        self,
        request: WriteRequest,
        action: str,
        query: Mapping[str, str | None],
        headers: Mapping[str, str | None],
        content: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        return self._client.send(
            "PUT",
            self._container,
            request.key,
            action=action,
            resource=self._describe(request.key),
            query=query,
            headers=headers,
            content=content,
        )

    def _single(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        """Put Blob. The service checks the digest sent; a further one known is checked here as the bytes leave."""
        known = request.digests
        sent: dict[str, str | None] = {}
        if known.crc64nvme is not None:
            sent["x-ms-content-crc64"] = _crc64_text(known.crc64nvme)
        elif known.md5 is not None:  # with both, Azure answers 400
            sent["Content-MD5"] = known.base64(DigestKind.MD5)
        body = _Checked(request, known.only(known.kinds - _SENT[next(iter(sent), "")]), self._describe)
        headers = {
            "x-ms-blob-type": BLOCK,
            "Content-Length": str(len(body)),
            **headers_of(envelope),
            **_condition(request),
            **sent,
        }
        response = self._put(request, "write the blob", {}, headers, body if len(body) else b"")
        theirs = reported_digests(response.headers)
        body.agree(theirs)
        return self._answer(request, envelope, response, theirs)

    def _blocks(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        """Put Block as often as it takes, then Put Block List."""
        step = max(self._client.settings.block_bytes, -(-request.body.size // _MAX_BLOCKS))
        there = self._uncommitted(request) if request.memory and request.memory.load() else {}
        if request.memory:
            request.memory.save({"blocks": "begun"})
        root = Element("BlockList")
        for index, block in enumerate(_regrouped(iter(_Checked(request, request.digests, self._describe)), step)):
            crc64 = _crc64(block)
            name = base64.b64encode(f"{index:05}-{len(block):010}-{crc64.hex()}".encode()).decode("ascii")
            if there.get(name) != len(block):
                query = {"comp": "block", "blockid": name}
                self._put(request, "write a block", query, {"x-ms-content-crc64": _crc64_text(crc64)}, block)
            SubElement(root, "Latest").text = name
        content = tostring(root, encoding="utf-8", xml_declaration=True)
        headers = {
            **headers_of(envelope),
            **_condition(request),
            "x-ms-blob-content-md5": request.digests.base64(DigestKind.MD5),
            "x-ms-content-crc64": _crc64_text(_crc64(content)),
        }
        response = self._put(request, "commit the blocks", {"comp": "blocklist"}, headers, content)
        if request.memory:
            request.memory.save({})
        return self._answer(request, envelope, response, Digests.NONE)

    def _uncommitted(self, request: WriteRequest) -> dict[str, int]:
        """The blocks the service still has of an earlier try, with their sizes."""
        try:
            response = self._client.send(
                "GET",
                self._container,
                request.key,
                action="list the blocks",
                resource=self._describe(request.key),
                query={"comp": "blocklist", "blocklisttype": "uncommitted"},
            )
            blocks = parse_xml(response.content).iterfind("UncommittedBlocks/Block")  # noqa: S314 - expat bounds entities
            return {block.findtext("Name", ""): int(block.findtext("Size", "0")) for block in blocks}
        except NotFoundError:
            return {}
        except ParseError as exc:
            raise TransientError("the answer is no whole XML", resource=self._describe(request.key)) from exc

    def _append(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        headers = {"x-ms-blob-type": APPEND, **headers_of(envelope), **_condition(request)}
        created = self._put(request, "create the append blob", {}, headers)
        step = max(_STEP_BYTES, -(-request.body.size // _MAX_BLOCKS))

        def fill() -> Answer:
            answer, position = created, 0
            for block in _regrouped(iter(_Checked(request, request.digests, self._describe)), step):
                sent = {
                    "x-ms-blob-condition-appendpos": str(position),
                    "x-ms-content-crc64": _crc64_text(_crc64(block)),
                }
                answer = self._put(request, "append to the blob", {"comp": "appendblock"}, sent, block)
                position += len(block)
            return answer

        return self._answer(request, envelope, self._filled(request, created, fill), Digests.NONE)

    def _pages(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        """Only what is not zero is sent: pages never written read as zeros."""
        size = {"x-ms-blob-content-length": str(request.body.size)}
        headers = {"x-ms-blob-type": PAGE, **size, **headers_of(envelope), **_condition(request)}
        created = self._put(request, "create the page blob", {}, headers)

        def fill() -> Answer:
            answer, position = created, 0
            for block in _regrouped(iter(_Checked(request, request.digests, self._describe)), _STEP_BYTES):
                if block.count(0) != len(block):
                    sent = {
                        "x-ms-page-write": "update",
                        "x-ms-range": f"bytes={position}-{position + len(block) - 1}",
                        "x-ms-content-crc64": _crc64_text(_crc64(block)),
                    }
                    answer = self._put(request, "write pages", {"comp": "page"}, sent, block)
                position += len(block)
            return answer

        return self._answer(request, envelope, self._filled(request, created, fill), Digests.NONE)

    def _filled(self, request: WriteRequest, created: Answer, fill: Callable[[], Answer]) -> Answer:
        """Fill a blob just created; if that fails half-way, delete it. Returns the last answer."""
        try:
            return fill()
        except BaseException:
            self._take_back(request, created)
            raise

    def _take_back(self, request: WriteRequest, created: Answer) -> None:
        resource = self._describe(request.key)
        try:
            now = self._client.send("HEAD", self._container, request.key, action="look again", resource=resource)
            if now.headers.get("x-ms-creation-time") != created.headers.get("Last-Modified"):
                return  # somebody else's by now
            self._client.send(
                "DELETE",
                self._container,
                request.key,
                action="delete the unfinished blob",
                resource=resource,
                headers={"If-Match": now.headers.get("ETag")},
            )
        except ConnectorError as exc:
            _LOG.warning("an unfinished blob is left behind: %s", exc)

    def _answer(self, request: WriteRequest, envelope: Envelope, response: Answer, digests: Digests) -> ObjectEntry:
        said = from_headers(request.key, response.headers, None)
        return ObjectEntry(
            request.key, request.body.size, etag_of(response.headers), None, said.modified, digests, envelope
        )


_SENT = {
    "": frozenset[DigestKind](),
    "x-ms-content-crc64": frozenset({DigestKind.CRC64NVME}),
    "Content-MD5": frozenset({DigestKind.MD5}),
}


class _Checked:
    """A body on its way out: of the length promised, its last bytes held back until its digests agree."""

    def __init__(self, request: WriteRequest, expected: Digests, describe: Callable[[str], str]) -> None:
        self._body = request.body
        self._expected = expected
        self._resource = describe(request.key)
        self._hasher = self._fresh()

    def __len__(self) -> int:
        return self._body.size

    def __iter__(self) -> Iterator[bytes]:
        """From the start, each time: a token that expired makes the SDK send a request again."""
        self._hasher = self._fresh()
        held = b""
        for chunk in self._body.open():
            if not chunk:
                continue
            if held:
                yield held
            self._hasher.update(chunk)
            held = chunk
        if self._hasher.length_bytes != len(self):
            what = f"the body has {self._hasher.length_bytes} bytes"
            raise DigestError(what, resource=self._resource, expected=f"{len(self)} bytes")
        self.agree(self._expected)
        if held:
            yield held

    def agree(self, others: Digests) -> None:
        """Raises DigestError if a digest of the bytes that left is another than in ``others``."""
        ours = self._hasher.digests()
        for kind in sorted(ours.kinds & others.kinds):
            if ours.get(kind) != others.get(kind):
                found, wanted = ours.to_json()[kind], others.to_json()[kind]
                raise DigestError(f"the body's {kind} is {found}", resource=self._resource, expected=wanted)

    def _fresh(self) -> Hasher:
        return Hasher((self._expected.kinds | {DigestKind.CRC64NVME}) - {DigestKind.SHA256})


def _regrouped(chunks: Iterator[bytes], step: int) -> Iterator[bytes]:
    """The same bytes in pieces of ``step``, the last one shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= step:
            yield bytes(held[:step])
            del held[:step]
    if held:
        yield bytes(held)


def _crc64(data: bytes) -> bytes:
    """CRC-64/NVME, big-endian."""
    return int(checksums.crc64nvme(data)).to_bytes(8, "big")


def _crc64_text(crc64: bytes) -> str:
    """As Azure's header carries it: little-endian, base64."""
    return base64.b64encode(crc64[::-1]).decode("ascii")


def _condition(request: WriteRequest) -> dict[str, str]:
    return {"If-None-Match": "*"} if request.only_if_absent else {}
