"""A place in memory, on the real interfaces; honest, or lying in a way one chooses.

What a place *says* it can do (`Capabilities`) and what it *does* (`Behaviour`) are two values here, so that a
test can show what happens when they differ. Thread-safe. Nothing is kept after the process.
"""

import itertools
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import RLock

from exitdrill.connector.capabilities import Capabilities, EnvelopeRule
from exitdrill.connector.levels import Level
from exitdrill.connector.objects import CHUNK_BYTES, ObjectStore, RawRead, WriteRequest
from exitdrill.connector.provider import Connector, Endpoint, Environment, Provider, Settings
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ChangedError, ConflictError, DigestError, NoSpaceError, NotFoundError
from exitdrill.model.digests import ALL_KINDS, DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope, ObjectEntry

__all__ = ["HONEST", "Behaviour", "MemoryConnector", "MemoryProvider", "MemorySettings", "MemoryStore"]

HONEST = Capabilities(
    envelope=EnvelopeRule(user_max_bytes=8192, user_ascii_only=False, tags_max=10, created=True),
    attests=ALL_KINDS,
    refuses_wrong=ALL_KINDS,
    listing_digests=frozenset({DigestKind.MD5}),
    multipart_attests=ALL_KINDS,
    delimited_listing=True,
    conditional_writes=True,
)
"""What the default `Behaviour` really does."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the place does; the defaults are those of a place that does everything right."""

    collapses_slashes: bool = False
    """Stores ``a//b`` as ``a/b``, without an error."""
    folds_case: bool = False
    """Takes ``a`` and ``A`` for one object."""
    folds_unicode: bool = False
    """Stores every key in Unicode form NFC."""
    accepts_wrong_digests: bool = False
    """Takes bytes that are not those of the digest sent along."""
    echoes_digests: bool = False
    """Reports the digests a client sent as if it had computed them."""
    attests: frozenset[DigestKind] = ALL_KINDS
    """Which digests it reports."""
    drops_user_metadata: bool = False
    """Forgets user metadata, without an error."""
    lower_cases_user_metadata: bool = False
    """Stores names of user metadata in lower case."""
    constant_etags: bool = False
    """Gives an object the same ETag whatever its bytes."""
    ignores_pins: bool = False
    """Serves a read pinned to another version."""
    ignores_conditions: bool = False
    """Overwrites although asked not to."""
    loses_bytes: int = 0
    """Stores that many bytes fewer than it was sent."""
    hides_every: int = 0
    """Leaves every so-manieth object out of listings; 0 for none."""
    forgets_prefixes: bool = False
    """Leaves the last prefix out when a listing stops at a slash."""
    shuffles_listings: bool = False
    """Lists in another order than that of the keys."""
    page_objects: int = 1000
    """How many objects a page of a listing has."""
    capacity_bytes: int | None = None
    """How much it holds before it is full."""

    def name(self, key: str) -> str:
        """The name under which it stores a key."""
        while self.collapses_slashes and "//" in key:
            key = key.replace("//", "/")
        if self.collapses_slashes:
            key = key.lstrip("/") or key
        if self.folds_unicode:
            key = unicodedata.normalize("NFC", key)
        return key.casefold() if self.folds_case else key


@dataclass(frozen=True, slots=True)
class _Stored:
    data: bytes
    entry: ObjectEntry


class MemorySettings(Settings):
    """A place in memory has nothing to set."""


@dataclass(slots=True)
class _Shared:
    """What all stores of one provider work on."""

    behaviour: Behaviour
    containers: dict[str, dict[str, _Stored]] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    before: Callable[[str, str], None] | None = None

    def objects(self, container: str) -> dict[str, _Stored]:
        """A container's objects. Raises NotFoundError."""
        try:
            return self.containers[container]
        except KeyError as exc:
            raise NotFoundError("there is no such container", resource=container) from exc


class MemoryProvider(Provider):
    """A place in memory.

    Args:
        place: Its name in the drill.
        claims: What it says it can do.
        behaviour: What it does.
        retry: How its stores try again.
        before: Called with the hook's name and the key before every request; may raise, to inject an error.
    """

    def __init__(
        self,
        place: str = "memory",
        claims: Capabilities = HONEST,
        behaviour: Behaviour | None = None,
        retry: RetryPolicy | None = None,
        before: Callable[[str, str], None] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(place, retry or RetryPolicy(base_seconds=0.001, cap_seconds=0.01))
        self._claims = claims
        self._shared = _Shared(behaviour or Behaviour(), before=before)

    @property
    def environment(self) -> Environment:
        """Never anything real."""
        return Environment.EMULATOR

    def _objects(self, container: str, capabilities: Capabilities | None) -> "MemoryStore":
        return MemoryStore(
            f"{self.place}:{container}", container, self._shared, capabilities or self._claims, self.retry
        )

    def _ensure_container(self, container: str) -> bool:
        with self._shared.lock:
            new = container not in self._shared.containers
            self._shared.containers.setdefault(container, {})
            return new

    def _remove_container(self, container: str) -> None:
        with self._shared.lock:
            if self._shared.containers.get(container):
                raise ConflictError("the container is not empty", resource=f"{self.place}:{container}")
            self._shared.containers.pop(container, None)

    def _server_time(self) -> datetime:
        return datetime.now(UTC)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return ()


class MemoryStore(ObjectStore):
    """One container of a `MemoryProvider`."""

    def __init__(
        self, resource: str, container: str, shared: _Shared, capabilities: Capabilities, retry: RetryPolicy
    ) -> None:
        """Made by `MemoryProvider.objects`."""
        super().__init__(resource, capabilities, retry)
        self._container, self._shared = container, shared

    def _list(self, prefix: str, start_after: str | None, token: str | None) -> tuple[list[ObjectEntry], str | None]:
        self._enter("list", prefix)
        does, size = self._shared.behaviour, self._shared.behaviour.page_objects
        with self._shared.lock:
            stored = self._shared.objects(self._container)
            names = sorted(stored)
            if does.shuffles_listings:
                names.sort(key=lambda name: name[::-1])
                begin = names.index(token) + 1 if token in stored else 0
            else:
                after = token if token is not None else start_after
                begin = 0 if after is None else bisect_right(names, after)
            chosen = [name for name in names[begin:] if name.startswith(prefix)]
            page = [
                self._listed(stored[name])
                for number, name in enumerate(chosen[:size])
                if not (does.hides_every and number % does.hides_every == 0)
            ]
        return page, chosen[size - 1] if len(chosen) > size else None

    def _level(self, prefix: str, token: str | None) -> Level:
        self._enter("level", prefix)
        does, size, begin = self._shared.behaviour, self._shared.behaviour.page_objects, len(prefix)
        with self._shared.lock:
            stored = self._shared.objects(self._container)
            names: dict[str, None] = {}
            for key in sorted(key for key in stored if key.startswith(prefix)):
                slash = key.find("/", begin)
                names[key if slash < 0 else key[: slash + 1]] = None
            chosen = [name for name in names if token is None or name > token]
            page, more = chosen[:size], len(chosen) > size
            below = [name for name in page if name.find("/", begin) >= 0]
            here = [self._listed(stored[name]) for name in page if name.find("/", begin) < 0]
        return Level(here, below[:-1] if does.forgets_prefixes else below, page[-1] if more else None)

    def _read(
        self,
        key: str,
        etag: str | None,
        version: str | None,  # noqa: ARG002 - the hook's signature
        offset: int,
        length: int | None,
    ) -> RawRead:
        self._enter("read", key)
        found = self._find(key)
        if etag is not None and etag != found.entry.etag and not self._shared.behaviour.ignores_pins:
            raise ChangedError("is another version", resource=self.describe(key))
        size = len(found.data)
        end = size if length is None else min(size, offset + length)
        chunks = (found.data[at : min(at + CHUNK_BYTES, end)] for at in range(offset, end, CHUNK_BYTES))
        entry = found.entry
        if self._shared.behaviour.ignores_pins:
            entry = replace(entry, etag=etag or entry.etag)
        return RawRead(entry, offset, max(0, end - offset), chunks)

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        self._enter("write", request.key)
        does, key = self._shared.behaviour, self._shared.behaviour.name(request.key)
        with self._shared.lock:
            self._shared.objects(self._container)
        data = b"".join(request.body.open())
        digests = self._digests(request, data)
        if does.loses_bytes:
            data = data[: -does.loses_bytes]
        with self._shared.lock:
            stored = self._shared.objects(self._container)
            if request.only_if_absent and key in stored and not does.ignores_conditions:
                raise ConflictError("exists already", resource=self.describe(request.key))
            used = sum(len(other.data) for other in stored.values()) if does.capacity_bytes is not None else 0
            if does.capacity_bytes is not None and used + len(data) > does.capacity_bytes:
                raise NoSpaceError(f"{does.capacity_bytes} bytes are used up", resource=self.resource)
            etag = "constant" if does.constant_etags else f"{next(self._shared.numbers):016x}"
            entry = ObjectEntry(key, len(data), etag, None, datetime.now(UTC), digests, self._kept(envelope))
            stored[key] = _Stored(data, entry)
        return replace(entry, key=request.key)

    def _stat(self, key: str, version: str | None) -> ObjectEntry:  # noqa: ARG002 - the hook's signature
        self._enter("stat", key)
        return replace(self._find(key).entry, key=key)

    def _delete(self, key: str, version: str | None) -> None:  # noqa: ARG002 - the hook's signature
        self._enter("delete", key)
        with self._shared.lock:
            self._shared.objects(self._container).pop(self._shared.behaviour.name(key), None)

    def _enter(self, hook: str, key: str) -> None:
        if self._shared.before is not None:
            self._shared.before(hook, key)

    def _find(self, key: str) -> _Stored:
        with self._shared.lock:
            found = self._shared.objects(self._container).get(self._shared.behaviour.name(key))
        if found is None:
            raise NotFoundError("there is no such object", resource=self.describe(key))
        return found

    def _listed(self, stored: _Stored) -> ObjectEntry:
        digests = stored.entry.digests.only(self.capabilities.listing_digests)
        return replace(stored.entry, digests=digests, envelope=None)

    def _digests(self, request: WriteRequest, data: bytes) -> Digests:
        does = self._shared.behaviour
        hasher = Hasher(ALL_KINDS)
        hasher.update(data)
        real = hasher.digests()
        if (
            not does.accepts_wrong_digests
            and real.merged(request.digests).only(request.digests.kinds) != request.digests
        ):
            raise DigestError("the bytes do not have the digest sent along", resource=self.describe(request.key))
        return (request.digests.merged(real) if does.echoes_digests else real).only(does.attests)

    def _kept(self, envelope: Envelope) -> Envelope:
        does = self._shared.behaviour
        if does.drops_user_metadata:
            return replace(envelope, user=())
        if does.lower_cases_user_metadata:
            return replace(envelope, user=tuple((name.lower(), value) for name, value in envelope.user))
        return envelope


class MemoryConnector(Connector):
    """Opens an empty place in memory at every call."""

    name = "memory"
    title = "Memory of this process, for tests"
    roles = frozenset({"source", "vault", "target"})
    settings = MemorySettings

    def open(
        self,
        place: str,
        settings: Settings,  # noqa: ARG002 - it has none
        retry: RetryPolicy | None = None,
    ) -> MemoryProvider:
        """An honest place. Makes no request."""
        return MemoryProvider(place, retry=retry)
