"""One container of an Azure storage account: list, read, stat, delete. `write` has the writing.

Rules: names travel byte for byte (see `rest`); a read is one streamed answer, pinned by If-Match, never
decompressed. A listing carries metadata and index tags. Tags need a right of their own and are unknown to
accounts with a hierarchical namespace (azure-sdk-for-net #39388): where a listing with them is refused and one
without them is not, `capabilities.envelope.tags_max` becomes 0 and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.levels import Level
from exitdrill.connector.objects import ObjectStore, RawRead, WriteReceipt, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import (
    AuthenticationError,
    ChangedError,
    ConnectorError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
    UnsupportedError,
)
from exitdrill.model.digests import DigestKind
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill_azure.client import Answer, Client
from exitdrill_azure.entries import from_headers, level_of, page_of, tags_of, version_query
from exitdrill_azure.envelope import APPEND, PAGE, fit
from exitdrill_azure.settings import AzureSettings
from exitdrill_azure.write import MAX_OBJECT_BYTES, Writer

__all__ = ["AzureObjectStore", "claims"]

_LOG = logging.getLogger(__name__)
_ARROW = "application/vnd.apache.arrow.stream"
_ARROW_REFUSED = frozenset({400, 406})
"""How a service that does not know the version or the form may say so."""
_RANGE_NOT_SATISFIABLE = 416
_RANGE_ACCEPTED = frozenset({_RANGE_NOT_SATISFIABLE})


def claims(settings: AzureSettings) -> Capabilities:
    r"""What a container of an account with a flat namespace can do.

    Keys: Azure turns ``\\`` into ``/``, its documentation forbids control characters, and its front end may
    fold ``.`` and ``..`` away, which could lead out of the container; none of these is ever written. Whatever
    names a listing gives are read as they are.

    Digests: none is attested. The MD5 a blob carries may be a client's word (see `entries`), and of its CRC-64
    Azure speaks only while it takes bytes in. Both are checked then: sent wrong, they are refused.

    A listing is in Azure's own order, which neither is promised to be that of UTF-8 bytes nor is it on
    accounts with a hierarchical namespace; it cannot begin after a key (its marker is opaque).
    """
    return Capabilities(
        keys=KeyRule(
            max_bytes=1024,
            dot_segments=False,
            backslash=False,
            control_characters=False,
            non_characters=False,
        ),
        envelope=EnvelopeRule(
            user_max_bytes=8192,
            user_identifiers_only=True,
            tags_max=10,
            kinds=frozenset({APPEND, PAGE}),
        ),
        refuses_wrong=frozenset({DigestKind.CRC64NVME, DigestKind.MD5}),
        max_object_bytes=MAX_OBJECT_BYTES,
        max_single_put_bytes=settings.single_put_bytes,
        sorted_listing=False,
        start_after=False,
        # Snapshots and versions cannot be listed level by level.
        delimited_listing=not (settings.include.versions or settings.include.snapshots),
        conditional_writes=True,
        versions=settings.include.versions,
        snapshots=settings.include.snapshots,
    )


class AzureObjectStore(ObjectStore):
    """One container.

    Args:
        client: The account's client; whoever made it closes it.
        container: The container's name.
        capabilities: As narrowed by preflight; None for what Azure claims.
        retry: How to try again.
    """

    def __init__(
        self, client: Client, container: str, capabilities: Capabilities | None, retry: RetryPolicy | None
    ) -> None:
        """See the class. Makes no request."""
        super().__init__(f"{client.place}:{container}", capabilities or claims(client.settings), retry)
        self._client = client
        self._container = container
        self._writer = Writer(client, container, self.describe)
        self._flat = False
        self._arrow = client.settings.arrow_version
        """The version to ask for listings in Arrow by; empty where they are in XML."""

    def write(self, request: WriteRequest) -> WriteReceipt:
        """As the base, with what only a blob's rules leave out among the losses."""
        envelope, losses = fit(request.envelope, request.body.size, self.capabilities.envelope.tags_max)
        receipt = super().write(replace(request, envelope=envelope))
        return replace(receipt, losses=(*losses, *receipt.losses))

    def _list(
        self, prefix: str, start_after: str | None, token: str | None
    ) -> tuple[Sequence[ObjectEntry], str | None]:
        del start_after  # refused by the base: not among the capabilities
        answer = self._page(prefix, token)
        if self._arrow and _is_arrow(answer):
            from exitdrill_azure.arrow_listing import arrow_page_of  # loads pyarrow

            return arrow_page_of(answer.content, self.resource)
        return page_of(answer.content, self.resource)

    def _level(self, prefix: str, token: str | None) -> Level:
        level, directories = level_of(self._page(prefix, token, delimiter="/").content, self.resource)
        if directories or not self._is_flat(level):
            raise UnsupportedError("a hierarchical namespace is listed as a whole", resource=self.resource)
        return level

    def _is_flat(self, level: Level) -> bool:
        """Whether directories are only names here, tried on one of them.

        In a hierarchical namespace each is a blob too, which a listing by levels does not give beside its prefix.
        """
        name = next((found[:-1] for found in level.prefixes if found.strip("/")), None)
        if self._flat or name is None:
            return True
        try:
            self._stat(name, None)
        except NotFoundError:
            self._flat = True
            return True
        return any(entry.key == name for entry in level.entries)

    def _page(self, prefix: str, token: str | None, delimiter: str | None = None) -> Answer:
        if self.capabilities.envelope.tags_max == 0:
            return self._ask(prefix, token, delimiter, tags=False)
        try:
            return self._ask(prefix, token, delimiter, tags=True)
        except (TransientError, NotFoundError, AuthenticationError):
            raise
        except ConnectorError as refused:
            page = self._ask(prefix, token, delimiter, tags=False)
            self._give_up_tags(refused)
            return page

    def _ask(self, prefix: str, token: str | None, delimiter: str | None, *, tags: bool) -> Answer:
        include = ["metadata"]
        include += ["tags"] if tags else []
        include += ["snapshots"] if self.capabilities.snapshots else []
        include += ["versions"] if self.capabilities.versions else []
        query = {
            "restype": "container",
            "comp": "list",
            "prefix": prefix or None,
            "delimiter": delimiter,
            "marker": token,
            "maxresults": str(self._client.settings.page_size),
            "include": ",".join(include),
        }
        if self._arrow and delimiter is None:
            answer = self._send_list(
                query, {"Accept": f"{_ARROW},application/xml", "x-ms-version": self._arrow}, _ARROW_REFUSED
            )
            if answer.status not in _ARROW_REFUSED:
                return answer
            _LOG.info("%s: no listing in Arrow here, so XML (HTTP status %d)", self.resource, answer.status)
            self._arrow = ""
        return self._send_list(query, {}, frozenset())

    def _send_list(self, query: Mapping[str, str | None], headers: Mapping[str, str], accept: frozenset[int]) -> Answer:
        return self._client.send(
            "GET",
            self._container,
            action="list the container",
            resource=self.resource,
            query=query,
            headers=headers,
            accept=accept,
        )

    def _give_up_tags(self, refused: ConnectorError) -> None:
        _LOG.warning("%s: index tags cannot be read and are left out: %s", self.resource, refused)
        rule = replace(self.capabilities.envelope, tags_max=0)
        self.capabilities = self.capabilities.narrowed(envelope=rule)

    def _read(self, key: str, etag: str | None, version: str | None, offset: int, length: int | None) -> RawRead:
        asked = None
        if offset or length is not None:  # without a range, because an empty blob has none
            asked = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        resource = self.describe(key)
        answer = self._client.open(
            self._container,
            key,
            action="read the blob",
            resource=resource,
            query=version_query(version),
            # x-ms-range and not Range: the SDK's signature leaves the latter out.
            headers={"x-ms-range": asked, "If-Match": None if etag is None else f'"{etag}"'},
            accept=_RANGE_ACCEPTED,
        )
        if answer.status == _RANGE_NOT_SATISFIABLE:
            answer.close()
            return self._nothing(key, etag, version, offset)
        headers = answer.headers.lower
        entry = from_headers(key, answer.headers, version)
        if headers.get("x-ms-tag-count", "0") != "0":
            entry = replace(entry, envelope=None)  # this answer does not carry all of it
        begin = _begin(headers.get("content-range"))
        return RawRead(
            entry, begin, int(headers.get("content-length", "0")), answer.chunks(), answer.close, answer.read
        )

    def _nothing(self, key: str, etag: str | None, version: str | None, offset: int) -> RawRead:
        """The answer to a range that begins at the end, which Azure refuses."""
        entry = self._stat(key, version)
        if etag is not None and entry.etag != etag:
            raise ChangedError(f"is version {entry.etag}, not {etag}", resource=self.describe(key))
        return RawRead(entry, offset, 0, iter(()))

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        return self._writer.write(request, envelope)

    def _stat(self, key: str, version: str | None) -> ObjectEntry:
        response = self._client.send(
            "HEAD",
            self._container,
            key,
            action="read the blob's properties",
            resource=self.describe(key),
            query=version_query(version),
        )
        entry = from_headers(key, response.headers, version)
        if entry.envelope is None or response.headers.lower.get("x-ms-tag-count", "0") == "0":
            return entry
        return replace(entry, envelope=replace(entry.envelope, tags=self._tags(key, version)))

    def _tags(self, key: str, version: str | None) -> tuple[tuple[str, str], ...]:
        if self.capabilities.envelope.tags_max == 0:
            return ()
        try:
            response = self._client.send(
                "GET",
                self._container,
                key,
                action="read the blob's tags",
                resource=self.describe(key),
                query={"comp": "tags", **version_query(version)},
            )
        except (PermissionDeniedError, UnsupportedError) as refused:
            self._give_up_tags(refused)
            return ()
        return tags_of(response.content, self.describe(key))

    def _delete(self, key: str, version: str | None) -> None:
        if any(part in {".", ".."} for part in key.split("/")):
            raise InvalidKeyError(
                "a segment that is . or .. might be folded away, and another blob deleted", resource=self.describe(key)
            )
        try:
            self._client.send(
                "DELETE",
                self._container,
                key,
                action="delete the blob",
                resource=self.describe(key),
                query=version_query(version),
                headers={"x-ms-delete-snapshots": "include" if version is None else None},
            )
        except NotFoundError:
            return


def _begin(content_range: str | None) -> int:
    """Where the answer's bytes begin: ``bytes 5-9/10``."""
    return 0 if content_range is None else int(content_range.removeprefix("bytes ").partition("-")[0])


def _is_arrow(answer: Answer) -> bool:
    return (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower() == _ARROW
