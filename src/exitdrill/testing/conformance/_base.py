"""What every part of the suite needs: the store under test, bodies to write, containers to write to."""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar

import pytest

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import BytesBody, ObjectStore, WriteReceipt, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.errors import ConnectorError, NotFoundError
from exitdrill.model.digests import ALL_KINDS, Digests, Hasher
from exitdrill.model.objects import Envelope

__all__ = [
    "MIB",
    "PatternBody",
    "Suite",
    "digests_of",
    "empty_container",
    "fresh_container",
    "new_key",
    "put",
    "put_many",
    "temporary_container",
]

MIB = 1024 * 1024
_BLOCK = 64 * 1024


class Suite:
    """Base of the suite's classes: what a subclass may set, and the store its tests work on.

    A subclass supplies the fixtures ``provider`` (an opened `Provider`) and ``container`` (the name of a
    container that exists; `fresh_container` makes one).
    """

    capabilities: ClassVar[Capabilities | None] = None
    """What preflight narrowed the place's claims to; None for the connector's own claims."""
    large_bytes: ClassVar[int] = 24 * MIB
    """Size of an object that this connector, as the fixture opened it, writes in parts."""
    listing_objects: ClassVar[int] = 1100
    """More objects than one page of a listing holds."""
    threads: ClassVar[int] = 8
    """How many threads work on one store at a time."""

    @pytest.fixture
    def claims(self) -> Capabilities | None:
        """The narrowed capabilities; to be overridden where only a probe at run time can know them."""
        return self.capabilities

    @pytest.fixture
    def store(self, provider: Provider, container: str, claims: Capabilities | None) -> Iterator[ObjectStore]:
        """The container under test."""
        with provider.objects(container, claims) as store:
            yield store


@dataclass(frozen=True, slots=True)
class PatternBody:
    """Bytes that differ at every offset, made as they are read: a large object that needs no memory."""

    size: int
    """In bytes."""
    seed: bytes = b"exitdrill"
    """Another seed, other bytes."""

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `Body.open`."""
        end = self.size if length is None else offset + length
        while offset < end:
            number, within = divmod(offset, _BLOCK)
            stop = min(_BLOCK, within + end - offset)
            yield self._block(number)[within:stop]
            offset += stop - within

    def _block(self, number: int) -> bytes:
        return hashlib.shake_128(self.seed + number.to_bytes(8, "big")).digest(_BLOCK)

    def digests(self) -> Digests:
        """Every digest of the whole."""
        hasher = Hasher(ALL_KINDS)
        for chunk in self.open():
            hasher.update(chunk)
        return hasher.digests()


def digests_of(data: bytes) -> Digests:
    """Every digest of some bytes."""
    hasher = Hasher(ALL_KINDS)
    hasher.update(data)
    return hasher.digests()


def new_key(name: str = "object") -> str:
    """A harmless key nobody used before, so that tests can share a container."""
    return f"{name}-{secrets.token_hex(6)}"


def put(store: ObjectStore, key: str, data: bytes, envelope: Envelope | None = None) -> WriteReceipt:
    """Write some bytes the way the engine does: with their digests."""
    return store.write(WriteRequest(key, BytesBody(data), envelope or Envelope(), digests_of(data)))


def put_many(store: ObjectStore, keys: Sequence[str], threads: int) -> None:
    """Write many small objects, each holding its own key."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda key: put(store, key, key.encode()), keys):
            pass


def empty_container(store: ObjectStore, threads: int = 8) -> None:
    """Delete every object; for the end of a test."""
    with suppress(NotFoundError):
        keys = [entry.key for entry in store.list()]
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(store.delete, keys):
                pass


@contextmanager
def temporary_container(provider: Provider, name: str) -> Iterator[str]:
    """A container of that name, made by this call, emptied and removed at the end."""
    assert provider.ensure_container(name), f"{name} exists already"
    try:
        yield name
    finally:
        with suppress(ConnectorError), provider.objects(name) as store:
            empty_container(store)
            provider.remove_container(name)


@contextmanager
def fresh_container(provider: Provider, prefix: str = "conformance") -> Iterator[str]:
    """A new container under a name nobody used before: lower-case letters, digits and hyphens."""
    with temporary_container(provider, f"{prefix}-{secrets.token_hex(5)}") as name:
        yield name
