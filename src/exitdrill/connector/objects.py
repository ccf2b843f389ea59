"""Objects at a place: list, read, write, stat, delete.

`ObjectStore` is one container. Its public methods are concrete: they check arguments, try again what is
transient, continue a broken read at the byte where it broke (pinned to the same ETag), and let nothing out
but `exitdrill.errors.ConnectorError`. A connector writes the five private hooks, one request each where
the service allows, without retrying.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Protocol, Self, runtime_checkable

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.levels import Level, Piece, divide
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import (
    ChangedError,
    ConflictError,
    ConnectorError,
    InvalidKeyError,
    TransientError,
    UnsupportedError,
)
from exitdrill.model.digests import Comparison, Digests
from exitdrill.model.objects import Envelope, Loss, ObjectEntry

__all__ = [
    "Body",
    "BytesBody",
    "DigestingBody",
    "ObjectStore",
    "RawRead",
    "ReadStream",
    "UploadMemory",
    "WriteReceipt",
    "WriteRequest",
]

CHUNK_BYTES = 1024 * 1024
_SHOWN = 200


class Body(Protocol):
    """Bytes to write: of known length, readable more than once."""

    @property
    def size(self) -> int:
        """In bytes."""

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from ``offset``, ``length`` of them or all that are left, in chunks of any size.

        A writer reads in order; it may begin again at 0 or at any offset where it began before.
        """


@runtime_checkable
class DigestingBody(Protocol):
    """A `Body` that computes digests as its bytes pass; a writer on the same machine need not compute them again."""

    def digests(self) -> Digests:
        """Of all bytes, once they have passed. Raises DigestError before."""


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Bytes in memory."""

    data: bytes | bytearray | memoryview

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `Body.open`."""
        end = self.size if length is None else offset + length
        for start in range(offset, end, CHUNK_BYTES):
            yield bytes(memoryview(self.data)[start : min(start + CHUNK_BYTES, end)])


class UploadMemory(Protocol):
    """Where a writer keeps what it needs to go on with an upload in parts after a crash."""

    def load(self) -> dict[str, str]:
        """What was saved last for this object; empty if nothing."""

    def save(self, state: dict[str, str]) -> None:
        """Keep this, durably; an empty map forgets."""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One object to write."""

    key: str
    body: Body
    envelope: Envelope = field(default_factory=Envelope)
    digests: Digests = Digests.NONE
    """What the body's digests are, as far as known beforehand; sent along where the server checks them."""
    only_if_absent: bool = False
    """Fail with `ConflictError` if the key exists."""
    memory: UploadMemory | None = None
    """Where to keep the state of an upload in parts."""


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """What the place said of an object it took."""

    entry: ObjectEntry
    """Key, size, ETag, version. Its digests are those the server reports, as far as it does."""
    losses: tuple[Loss, ...] = ()
    """What of the envelope it did not take."""


@dataclass(slots=True)
class RawRead:
    """An open answer, as a hook gives it."""

    entry: ObjectEntry
    """The whole object as the answer's headers describe it: total size, ETag, envelope."""
    offset: int
    """Where the bytes begin (``Content-Range``)."""
    length: int
    """How many bytes the answer promises."""
    chunks: Iterator[bytes]
    """The bytes, as stored: never decompressed. A generator: closing it releases the connection."""
    release: Callable[[], object] | None = None
    """Releases the connection in any case; Python does not run a generator's ``finally`` if it never began."""
    whole: Callable[[], bytes] | None = None
    """Gives all the bytes at once, in place of ``chunks``, where that is cheaper."""

    def close(self) -> None:
        """Release the connection, read or unread."""
        close = getattr(self.chunks, "close", None)
        if close is not None:
            close()
        if self.release is not None:
            self.release()


class ReadStream:
    """One object's bytes, pinned to one version; a context manager, read once."""

    def __init__(self, store: ObjectStore, raw: RawRead, end: int) -> None:
        """Made by `ObjectStore.read`."""
        self.entry = raw.entry
        self._store, self._raw = store, raw
        self._position, self._end = raw.offset, end

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Release the connection."""
        self.close()

    def close(self) -> None:
        """Release the connection."""
        self._raw.close()

    def chunks(self) -> Iterator[bytes]:
        """The bytes. Raises TransientError if they end early and no try is left, ChangedError, ConnectorError."""
        attempt = 1
        while self._position < self._end:
            began = self._position
            try:
                yield from self._drain()
            except TransientError as error:
                # Tries are counted between two bytes: a long read may break more often than a short one.
                attempt = 1 if self._position > began else attempt
                if not self._store.retry.wait(error, attempt):
                    raise
                attempt += 1
                self._reopen()

    def read_all(self) -> bytes:
        """All bytes at once; for small objects."""
        return b"".join(self.chunks())

    def _drain(self) -> Iterator[bytes]:
        for chunk in self._raw.chunks:
            if self._position + len(chunk) > self._end:
                msg = f"{self._position + len(chunk) - self._end} bytes more than promised"
                raise ChangedError(msg, resource=self._store.describe(self.entry.key))
            self._position += len(chunk)
            if chunk:
                yield chunk
        if self._position < self._end:
            msg = f"the answer ended {self._end - self._position} bytes early"
            raise TransientError(msg, resource=self._store.describe(self.entry.key))

    def _reopen(self) -> None:
        self.close()
        entry = self.entry
        raw = self._store.retry.call(
            lambda: self._store._open(entry.key, entry.etag, entry.version, self._position, self._end - self._position)  # noqa: SLF001 - its other half
        )
        if raw.entry.size != entry.size or raw.entry.etag != entry.etag:
            msg = "another version answered the continued read"
            raise ChangedError(msg, resource=self._store.describe(entry.key))
        self._raw = raw


class ObjectStore(ABC):
    """One container (bucket, share, folder) at one place.

    Args:
        resource: How messages name it: ``azure:case-files``.
        capabilities: What it can do, as claimed or as narrowed by preflight.
        retry: How to try again.
    """

    remote: ClassVar[bool] = True
    """Whether a read crosses a network, so that several ranges side by side come sooner than one after the other."""

    def __init__(self, resource: str, capabilities: Capabilities, retry: RetryPolicy | None = None) -> None:
        """See the class."""
        self.resource = resource
        self.capabilities = capabilities
        self.retry = retry or RetryPolicy()

    def describe(self, key: str) -> str:
        """How messages name one object; control characters made visible, a long key cut."""
        if len(key) <= _SHOWN and key.isascii() and key.isprintable() and "\\" not in key:
            return f"{self.resource}/{key}"
        shown = key.encode("unicode_escape", "backslashreplace").decode("ascii")
        return f"{self.resource}/{shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectEntry]:
        """Every current object whose key begins with ``prefix``, in the listing's own order.

        With ``start_after``, where the place can do that, only keys after it. A page that fails is asked
        for again; nothing is given twice. Raises ConnectorError.
        """
        for page in self.pages(prefix, start_after=start_after):
            yield from page

    def pages(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[Iterable[ObjectEntry]]:
        """As `list`, a page at a time: each must be read before the next is asked for."""
        if start_after is not None and not self.capabilities.start_after:
            msg = "a listing here cannot begin in the middle"
            raise UnsupportedError(msg, resource=self.resource)
        token: str | None = None
        while True:
            page, following = self.retry.call(lambda token=token: self._list(prefix, start_after, token))  # type: ignore[misc]
            yield page
            if following is None:
                return
            if following == token:
                msg = "the listing does not move on: two pages end with the same token"
                raise ConnectorError(msg, resource=self.resource)
            token = following

    def pieces(self, prefix: str = "", *, most: int = 64) -> tuple[Piece, ...]:
        """The keys that begin with ``prefix``, divided so that they can be listed side by side.

        At most so many prefixes, each to be listed by itself, and entries known already: in key order, every key
        in exactly one of them. One piece, the prefix, where this place cannot divide. Raises ConnectorError.
        """
        if not self.capabilities.delimited_listing:
            return (prefix,)
        try:
            return divide(lambda at, token: self.retry.call(lambda: self._level(at, token)), prefix, most)
        except UnsupportedError:
            return (prefix,)

    def level(self, prefix: str = "") -> Iterator[Level]:
        """The keys that begin with ``prefix`` and have no further slash, and the prefixes of the others; in pages.

        Raises UnsupportedError where the place cannot do that, ConnectorError.
        """
        if not self.capabilities.delimited_listing:
            msg = "a listing here cannot stop at a slash"
            raise UnsupportedError(msg, resource=self.resource)
        token: str | None = None
        while True:
            page = self.retry.call(lambda token=token: self._level(prefix, token))  # type: ignore[misc]
            yield page
            token = page.token
            if token is None:
                return

    def read(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        offset: int = 0,
        length: int | None = None,
    ) -> ReadStream:
        """Open an object's bytes; from ``offset``, ``length`` of them.

        With ``etag`` only that version is read. Raises ChangedError, NotFoundError, ArchivedError, ConnectorError;
        ValueError for a range outside the object.
        """
        if offset < 0 or (length is not None and length < 0):
            msg = "a range begins at 0 or later and is not negative"
            raise ValueError(msg)
        self._check_version(version)
        raw = self.retry.call(lambda: self._open(key, etag, version, offset, length))
        size = raw.entry.size
        end = size if length is None else min(size, offset + length)
        return ReadStream(self, raw, max(end, offset))

    def read_small(
        self, key: str, *, size: int, etag: str | None = None, version: str | None = None
    ) -> tuple[ObjectEntry, bytes]:
        """A whole object that fits in memory, in one go; a read that breaks is made again from the start.

        Args:
            key: Which.
            size: Its size in bytes, as listed; no more is ever held.
            etag: Only this version.
            version: Which version or snapshot.

        Raises ChangedError for another size or ETag, NotFoundError, ArchivedError, ConnectorError.
        """
        self._check_version(version)
        return self.retry.call(lambda: self._read_small(key, size, etag, version))

    def write(self, request: WriteRequest) -> WriteReceipt:
        """Write one object, whole or not at all.

        What of the envelope this place cannot hold is left out and comes back as losses. Raises
        InvalidKeyError, ConflictError, DigestError, NoSpaceError, ReadOnlyError, ConnectorError.
        """
        problems = self.capabilities.keys.violations(request.key)
        if problems:
            raise InvalidKeyError("; ".join(problems), resource=self.describe(request.key))
        if request.only_if_absent and not self.capabilities.conditional_writes:
            msg = "writes here cannot be made conditional"
            raise UnsupportedError(msg, resource=self.resource)
        if request.body.size > self.capabilities.max_object_bytes:
            msg = (
                f"{request.body.size} bytes, more than the {self.capabilities.max_object_bytes} an object may have here"
            )
            raise UnsupportedError(msg, resource=self.describe(request.key))
        envelope, losses = self.capabilities.envelope.split(request.envelope)
        tries = itertools.count()
        entry = self.retry.call(lambda: self._try_write(request, envelope, again=next(tries) > 0))
        return WriteReceipt(entry, losses)

    def _try_write(self, request: WriteRequest, envelope: Envelope, *, again: bool) -> ObjectEntry:
        try:
            return self._write(request, envelope)
        except ConflictError:
            # The answer to an earlier try may have been lost after the object was taken: then it is ours.
            if not (again and request.only_if_absent):
                raise
            found = self._stat(request.key, None)
            same = found.digests.compare(request.digests) is Comparison.EQUAL
            if not same or found.size != request.body.size:
                raise
            return found

    def stat(self, key: str, *, version: str | None = None) -> ObjectEntry:
        """One object's facts, envelope and digests included. Raises NotFoundError, ConnectorError."""
        self._check_version(version)
        return self.retry.call(lambda: self._stat(key, version))

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Delete one object; it is no error if there is none. Raises ConnectorError."""
        self._check_version(version)
        self.retry.call(lambda: self._delete(key, version))

    def flush(self) -> None:
        """Return when every write that has returned is durable. Places that are durable at once do nothing."""

    def close(self) -> None:
        """Let go of connections."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _check_version(self, version: str | None) -> None:
        if version is not None and not (self.capabilities.versions or self.capabilities.snapshots):
            msg = "there are no versions of an object here"
            raise UnsupportedError(msg, resource=self.resource)

    def _open(self, key: str, etag: str | None, version: str | None, offset: int, length: int | None) -> RawRead:
        if length == 0:
            raw = RawRead(self._stat(key, version), offset, 0, iter(()))
        else:
            raw = self._read(key, etag, version, offset, length)
        # The version comes first: another version of another size is a change, not a range gone wrong.
        if etag is not None and raw.entry.etag != etag:
            raw.close()
            msg = f"is version {raw.entry.etag}, not {etag}"
            raise ChangedError(msg, resource=self.describe(key))
        rest = raw.entry.size - offset
        if rest < 0:
            raw.close()
            msg = f"{self.describe(key)}: a range that begins at {offset}, of {raw.entry.size} bytes"
            raise ValueError(msg)
        promised = rest if length is None else min(length, rest)
        if (raw.offset, raw.length) != (offset, promised):
            raw.close()
            msg = f"asked for {promised} bytes at {offset}, offered {raw.length} at {raw.offset}"
            raise TransientError(msg, resource=self.describe(key))
        return raw

    def _read_small(self, key: str, size: int, etag: str | None, version: str | None) -> tuple[ObjectEntry, bytes]:
        raw = self._open(key, etag, version, 0, None)
        try:
            entry, found = raw.entry, 0
            if entry.size != size:
                msg = f"{entry.size} bytes, not {size}"
                raise ChangedError(msg, resource=self.describe(key))
            chunks: list[bytes] = []
            for chunk in raw.chunks if raw.whole is None else (raw.whole(),):
                if not chunk:  # a connector may give one for an empty object
                    continue
                chunks.append(chunk)
                found += len(chunk)
                if found > size:
                    msg = f"{found - size} bytes more than promised"
                    raise ChangedError(msg, resource=self.describe(key))
            if found < size:
                msg = f"the answer ended {size - found} bytes early"
                raise TransientError(msg, resource=self.describe(key))
        finally:
            raw.close()
        return entry, b"".join(chunks)

    @abstractmethod
    def _list(
        self, prefix: str, start_after: str | None, token: str | None
    ) -> tuple[Iterable[ObjectEntry], str | None]:
        """One page and the token of the next, None after the last. ``token`` wins over ``start_after``.

        A page that needs no request any more may be an iterator; it then raises no `TransientError`.
        """

    def _level(self, prefix: str, token: str | None) -> Level:  # noqa: ARG002 - a hook
        """One page of a listing that stops at the first slash behind ``prefix``."""
        msg = "this connector cannot list a level"
        raise UnsupportedError(msg, resource=self.resource)

    @abstractmethod
    def _read(self, key: str, etag: str | None, version: str | None, offset: int, length: int | None) -> RawRead:
        """One ranged read pinned to ``etag`` (If-Match), ``Accept-Encoding: identity``.

        A length of None is to the end, and must work on an empty object. ChangedError on a mismatch.
        """

    @abstractmethod
    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        """Write, whole or not at all, with the envelope given (already cut to what can be held).

        Returns what the place answered, with the digests it computed. DigestError when it refuses a digest.
        Where `Capabilities.multipart_attests` is empty, prefer one request up to ``max_single_put_bytes``.
        """

    @abstractmethod
    def _stat(self, key: str, version: str | None) -> ObjectEntry:
        """The object's facts with envelope and digests."""

    @abstractmethod
    def _delete(self, key: str, version: str | None) -> None:
        """Delete; silently if there is nothing."""


def copy_chunks(stream: ReadStream) -> Iterator[bytes]:
    """All chunks of a stream, closing it at the end or when abandoned."""
    with closing(stream):
        yield from stream.chunks()
