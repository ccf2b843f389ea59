"""One object: written, read whole and in ranges, pinned, replaced, deleted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.errors import (
    ChangedError,
    ConflictError,
    ConnectorError,
    NotFoundError,
    TransientError,
    UnsupportedError,
)
from exitdrill.model.digests import Hasher
from exitdrill.testing.conformance._base import MIB, PatternBody, Suite, fresh_container, new_key, put

__all__ = ["ContainerTests", "ObjectTests"]

_ALPHABET = bytes(range(256)) * 4


@dataclass
class _FailingBody:
    """A source that breaks off: raises after ``after`` bytes, the first ``times`` times it gets there."""

    data: bytes
    after: int
    error: ConnectorError
    times: int = 1_000_000

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        end = self.size if length is None else offset + length
        while offset < end:
            if self.times and offset >= self.after:
                self.times -= 1
                raise self.error
            stop = min(offset + 64 * 1024, end)
            yield self.data[offset:stop]
            offset = stop


@dataclass(frozen=True)
class _UnreadableBody:
    """Claims a size; must never be opened."""

    size: int

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        msg = f"a body that should have been refused was opened at {offset} for {length}"
        raise AssertionError(msg)


class ObjectTests(Suite):
    """One object at a time."""

    @pytest.mark.parametrize("size", [0, 1, 4096, 65_537, MIB + 1])
    def test_what_is_written_is_read(self, store: ObjectStore, size: int) -> None:
        """Bytes come back exactly, and receipt, stat and read agree about them."""
        key, body = new_key(), PatternBody(size)
        receipt = store.write(WriteRequest(key, body, digests=body.digests()))
        assert (receipt.entry.key, receipt.entry.size) == (key, size)
        facts = store.stat(key)
        assert (facts.key, facts.size, facts.etag) == (key, size, receipt.entry.etag)
        with store.read(key) as stream:
            assert stream.entry.size == size
            assert stream.entry.etag == facts.etag
            assert stream.read_all() == b"".join(body.open())

    @pytest.mark.parametrize("size", [0, 1, 10_240, MIB + 1])
    def test_a_small_object_is_read_in_one_go(self, store: ObjectStore, size: int) -> None:
        """The same entry and bytes as an opened read; another size, another ETag and no object are told apart."""
        key, body = new_key(), PatternBody(size)
        etag = store.write(WriteRequest(key, body)).entry.etag
        with store.read(key, etag=etag) as stream:
            assert store.read_small(key, size=size, etag=etag) == (stream.entry, b"".join(body.open()))
        for wrong in (size + 1, max(0, size - 1)):
            if wrong != size:
                with pytest.raises(ChangedError):
                    store.read_small(key, size=wrong, etag=etag)
        put(store, key, b"?" * size)
        if size and store.capabilities.changing_etags:  # no bytes written again may well have the same ETag
            with pytest.raises(ChangedError):
                store.read_small(key, size=size, etag=etag)
        with pytest.raises(NotFoundError):
            store.read_small(new_key(), size=size)

    def test_a_write_needs_no_digests(self, store: ObjectStore) -> None:
        """An object whose digests nobody knows yet can be written."""
        key = new_key()
        store.write(WriteRequest(key, BytesBody(b"streamed")))
        assert store.read(key).read_all() == b"streamed"

    def test_a_large_object_is_whole(self, store: ObjectStore) -> None:
        """An object written in parts comes back byte for byte, with one size and one ETag."""
        key, body = new_key("large"), PatternBody(self.large_bytes)
        ours = body.digests()
        receipt = store.write(WriteRequest(key, body, digests=ours))
        facts = store.stat(key)
        assert facts.size == receipt.entry.size == self.large_bytes
        assert facts.etag == receipt.entry.etag
        hasher = Hasher()
        with store.read(key, etag=facts.etag) as stream:
            for chunk in stream.chunks():
                assert len(chunk) <= 16 * MIB, "a chunk must fit a bounded buffer"
                hasher.update(chunk)
        assert hasher.length_bytes == self.large_bytes
        assert hasher.digests().sha256 == ours.sha256

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 1), (0, None), (1, 7), (1023, 1), (1020, 100), (1000, None), (5, 0), (0, 1024)]
    )
    def test_ranges(self, store: ObjectStore, offset: int, length: int | None) -> None:
        """A range gives those bytes and no others; past the end it stops at the end."""
        key = new_key()
        etag = put(store, key, _ALPHABET).entry.etag
        end = len(_ALPHABET) if length is None else offset + length
        with store.read(key, etag=etag, offset=offset, length=length) as stream:
            assert stream.entry.size == len(_ALPHABET), "the entry describes the whole object"
            assert stream.read_all() == _ALPHABET[offset:end]

    def test_a_range_outside_the_object_is_an_error(self, store: ObjectStore) -> None:
        """No bytes are not taken for some bytes."""
        key = new_key()
        put(store, key, b"0123456789")
        for offset, length in ((11, 1), (100, None), (100, 5)):
            with pytest.raises((ValueError, ConnectorError)):
                store.read(key, offset=offset, length=length).read_all()

    def test_a_range_that_cannot_be_is_an_error(self, store: ObjectStore) -> None:
        """Negative offsets and lengths are refused before any request."""
        with pytest.raises(ValueError, match="range"):
            store.read(new_key(), offset=-1)
        with pytest.raises(ValueError, match="range"):
            store.read(new_key(), length=-1)

    def test_pinned_reads(self, store: ObjectStore) -> None:
        """A read pinned to an ETag gives that version or says that it changed, whatever the range."""
        key = new_key()
        first = put(store, key, b"first").entry.etag
        assert (first is not None) or not store.capabilities.pinned_reads
        assert store.read(key, etag=first).read_all() == b"first"
        second = put(store, key, b"other").entry.etag
        if store.capabilities.changing_etags:
            assert second != first
            for offset, length in ((0, None), (2, 2), (0, 0)):
                with pytest.raises(ChangedError):
                    store.read(key, etag=first, offset=offset, length=length).read_all()
        assert store.read(key, etag=second).read_all() == b"other"

    def test_an_overwrite_replaces(self, store: ObjectStore) -> None:
        """The last write is what is read, listed and described."""
        key = new_key()
        put(store, key, b"a longer first version")
        receipt = put(store, key, b"short")
        assert store.read(key).read_all() == b"short"
        assert store.stat(key).etag == receipt.entry.etag
        assert [(e.size, e.etag) for e in store.list(key)] == [(5, receipt.entry.etag)]

    def test_delete(self, store: ObjectStore) -> None:
        """A deleted object is gone from reads, stats and listings; deleting it again is no error."""
        key = new_key()
        put(store, key, b"x")
        store.delete(key)
        with pytest.raises(NotFoundError):
            store.stat(key)
        with pytest.raises(NotFoundError):
            store.read(key).read_all()
        assert list(store.list(key)) == []
        store.delete(key)

    def test_conditional_writes(self, store: ObjectStore) -> None:
        """Claimed: the second write is refused and changes nothing. Not claimed: it is not attempted at all."""
        key = new_key()
        request = WriteRequest(key, BytesBody(b"mine"), only_if_absent=True)
        if not store.capabilities.conditional_writes:
            with pytest.raises(UnsupportedError):
                store.write(request)
            with pytest.raises(NotFoundError):
                store.stat(key)
            return
        store.write(request)
        with pytest.raises(ConflictError):
            store.write(WriteRequest(key, BytesBody(b"yours"), only_if_absent=True))
        assert store.read(key).read_all() == b"mine"

    def test_versions_that_are_not_there_are_refused(self, store: ObjectStore) -> None:
        """Asked for a version where there are none, nobody serves or deletes the current one instead."""
        key = new_key()
        put(store, key, b"current")
        if not (store.capabilities.versions or store.capabilities.snapshots):
            for action in (store.stat, store.read, store.delete):
                with pytest.raises(UnsupportedError):
                    action(key, version="2019-01-01T00:00:00.0000000Z")
        assert store.read(key).read_all() == b"current"

    def test_an_object_too_large_is_refused_unread(self, store: ObjectStore) -> None:
        """The limit on sizes holds before a byte is read."""
        with pytest.raises(UnsupportedError):
            store.write(WriteRequest(new_key(), _UnreadableBody(store.capabilities.max_object_bytes + 1)))

    @pytest.mark.parametrize("large", [False, True], ids=["one request", "in parts"])
    def test_a_source_that_breaks_off_leaves_nothing(self, store: ObjectStore, large: bool) -> None:
        """What the body raises comes out as it is, and no part of the object is taken for the whole."""
        size = self.large_bytes if large else MIB
        key, body = new_key(), _FailingBody(bytes(size), size // 2, ChangedError("the source changed"))
        with pytest.raises(ChangedError, match="the source changed"):
            store.write(WriteRequest(key, body))
        with pytest.raises(NotFoundError):
            store.stat(key)
        assert list(store.list(key)) == []

    def test_a_source_that_breaks_off_once_is_read_again(self, store: ObjectStore) -> None:
        """A transient fault of the body is tried again, from the start, and nothing is stored twice."""
        data = b"".join(PatternBody(MIB).open())
        key, body = new_key(), _FailingBody(data, MIB // 2, TransientError("a reset"), times=1)
        store.write(WriteRequest(key, body))
        assert store.read(key).read_all() == data

    def test_abandoned_reads_let_go(self, store: ObjectStore) -> None:
        """Reads that are opened and closed, unread or half read, leave the store able to work."""
        key = new_key()
        put(store, key, bytes(2 * MIB))
        for turn in range(40):
            with store.read(key) as stream:
                if turn % 2:
                    next(stream.chunks())
        assert store.read(key).read_all() == bytes(2 * MIB)

    def test_many_threads_share_a_store(self, store: ObjectStore) -> None:
        """Sixteen threads write, read, stat and delete side by side."""
        names = [new_key("thread") for _ in range(64)]

        def work(key: str) -> bool:
            put(store, key, key.encode() * 100)
            same = store.read(key).read_all() == key.encode() * 100
            store.stat(key)
            store.delete(key)
            return same

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, names))

    def test_overwrites_side_by_side_stay_whole(self, store: ObjectStore) -> None:
        """When several write one key at once, a reader finds one of the versions whole, never a mixture."""
        key = new_key()
        put(store, key, b"0" * 100_000)

        def write(number: int) -> None:
            put(store, key, str(number).encode() * 100_000)

        with ThreadPoolExecutor(4) as pool:
            writes = [pool.submit(write, number) for number in range(1, 9)]
            while not all(each.done() for each in writes):
                try:
                    with store.read(key) as stream:
                        data = stream.read_all()
                except ChangedError:
                    continue
                assert len(data) == 100_000
                assert len(set(data)) == 1
            for each in writes:
                each.result()
        assert len(set(store.read(key).read_all())) == 1
        store.flush()


class ContainerTests(Suite):
    """Containers, and the place as a whole."""

    def test_a_container_is_made_once(self, provider: Provider) -> None:
        """Making it says whether it was there; removing it is silent if it is not; a full one is not removed."""
        with fresh_container(provider) as name:
            assert not provider.ensure_container(name)
            with provider.objects(name, self.capabilities) as store:
                put(store, "kept", b"x")
                with pytest.raises(ConflictError):
                    provider.remove_container(name)
                assert store.read("kept").read_all() == b"x"
                store.delete("kept")
            provider.remove_container(name)
            provider.remove_container(name)

    def test_a_missing_container_is_not_found(self, provider: Provider) -> None:
        """Every operation on a container that is not there says so."""
        with provider.objects(new_key("missing"), self.capabilities) as store:
            with pytest.raises(NotFoundError):
                list(store.list())
            with pytest.raises(NotFoundError):
                store.stat("x")
            with pytest.raises(NotFoundError):
                store.read("x").read_all()
            with pytest.raises(NotFoundError):
                put(store, "x", b"x")

    def test_the_places_clock(self, provider: Provider) -> None:
        """The place's clock, where it has one, is a time with a zone and near ours."""
        theirs = provider.server_time()
        if theirs is not None:
            assert abs(datetime.now(UTC) - theirs) < timedelta(days=1)

    def test_endpoints_name_hosts(self, provider: Provider) -> None:
        """What is to be cut is named by host, without scheme or path."""
        for endpoint in provider.endpoints():
            assert endpoint.host
            assert "/" not in endpoint.host

    def test_room(self, provider: Provider) -> None:
        """Room, where the place says, is not negative and not more than there is."""
        space = provider.space()
        if space.free_bytes is not None:
            assert 0 <= space.free_bytes <= (space.total_bytes or space.free_bytes)
