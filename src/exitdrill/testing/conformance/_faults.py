"""A faulty network and denied access, for places reached over HTTP.

The counts of the proxy prove that a fault took place; a test that passed because nothing went wrong would
prove nothing.
"""

import time

import pytest

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.errors import (
    AuthenticationError,
    ConflictError,
    ConnectorError,
    DigestError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from exitdrill.model.digests import Comparison
from exitdrill.testing.conformance._base import MIB, PatternBody, Suite, digests_of, new_key, put, put_many
from exitdrill.testing.faults import Fault, FaultKind, FaultProxy

__all__ = ["DeniedTests", "FaultTests"]

Proxied = tuple[Provider, FaultProxy]


class FaultTests(Suite):
    """What happens when the network, or the far end, misbehaves.

    A subclass supplies a third fixture, ``proxied``: a provider opened through a `FaultProxy` in front of the
    same place as ``provider``, and that proxy. Give it a retry policy of four attempts or more with short waits.
    """

    read_method: str = "GET"
    """The method, as a regular expression, that reads an object's bytes."""
    write_method: str = "PUT"
    """The method that writes a small object."""

    @pytest.fixture
    def through(self, proxied: Proxied, container: str) -> ObjectStore:
        """The container, through the proxy."""
        return proxied[0].objects(container, self.capabilities)

    def _on_object(self, kind: FaultKind, method: str, key: str, **more: float | None) -> Fault:
        return Fault(kind, method=method, path=f".*{key}.*", **more)  # type: ignore[arg-type]

    def test_without_faults(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """The proxy itself changes nothing: signatures stay valid, bytes and listings are the same."""
        key, body = new_key(), PatternBody(self.large_bytes)
        through.write(WriteRequest(key, body, digests=body.digests()))
        assert through.stat(key) == store.stat(key)
        assert digests_of(through.read(key).read_all()) == body.digests()
        assert [e.key for e in through.list(key)] == [key]
        through.delete(key)
        assert proxied[1].requests > 0
        assert sum(proxied[1].done.values()) == 0

    def test_delay(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """A slow answer is waited for."""
        key = new_key()
        put(store, key, b"slow")
        proxied[1].program(self._on_object(FaultKind.DELAY, self.read_method, key, seconds=0.5))
        began = time.monotonic()
        assert through.read(key).read_all() == b"slow"
        assert time.monotonic() - began >= 0.5
        assert proxied[1].done[FaultKind.DELAY] == 1

    @pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.TRUNCATE])
    def test_a_broken_read_is_continued(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied, kind: FaultKind
    ) -> None:
        """A connection that breaks in the middle of a body costs a try, no byte, and no byte twice."""
        key, body = new_key(), PatternBody(3 * MIB)
        etag = store.write(WriteRequest(key, body)).entry.etag
        proxied[1].program(self._on_object(kind, self.read_method, key, at_byte=MIB + 17, count=2))
        with through.read(key, etag=etag) as stream:
            assert digests_of(stream.read_all()) == body.digests()
        assert proxied[1].done[kind] == 2
        assert proxied[0].retry.tally.retries >= 2

    @pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.TRUNCATE])
    def test_a_short_body_is_never_whole(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied, kind: FaultKind
    ) -> None:
        """When every try breaks off, the read fails; bytes that are missing are not taken for the end."""
        key = new_key()
        store.write(WriteRequest(key, PatternBody(MIB)))
        proxied[1].program(self._on_object(kind, self.read_method, key, at_byte=0, count=None))
        with pytest.raises(TransientError):
            through.read(key).read_all()

    @pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.TRUNCATE])
    def test_a_broken_small_read_is_made_again(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied, kind: FaultKind
    ) -> None:
        """A small object whose answer breaks off is read again whole; if every answer does, the read fails."""
        key, body = new_key(), PatternBody(100_000)
        etag = store.write(WriteRequest(key, body)).entry.etag
        proxied[1].program(self._on_object(kind, self.read_method, key, at_byte=50_000, count=2))
        entry, data = through.read_small(key, size=body.size, etag=etag)
        assert (entry.etag, data) == (etag, b"".join(body.open()))
        assert proxied[1].done[kind] == 2
        assert proxied[0].retry.tally.retries >= 2
        proxied[1].program(self._on_object(kind, self.read_method, key, at_byte=50_000, count=None))
        with pytest.raises(TransientError):
            through.read_small(key, size=body.size, etag=etag)

    def test_a_read_broken_off_by_a_change_is_no_mixture(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied
    ) -> None:
        """If the object changes while a read is broken, the continued read says so."""
        key = new_key()
        store.write(WriteRequest(key, PatternBody(2 * MIB)))
        proxied[1].program(self._on_object(FaultKind.TRUNCATE, self.read_method, key, at_byte=MIB))
        with through.read(key) as stream:
            chunks = stream.chunks()
            next(chunks)
            store.write(WriteRequest(key, PatternBody(2 * MIB, b"another")))
            with pytest.raises(ConnectorError) as caught:
                for _ in chunks:
                    pass
        assert type(caught.value).__name__ == "ChangedError"

    def test_a_corrupt_byte_is_noticed(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """One bit flipped on the way in: the connector notices, or the digest of what was read is another one."""
        key, body = new_key(), PatternBody(MIB)
        store.write(WriteRequest(key, body))
        proxied[1].program(self._on_object(FaultKind.CORRUPT, self.read_method, key, at_byte=500_000))
        try:
            got = digests_of(through.read(key).read_all())
        except DigestError:
            got = digests_of(b"")
        assert proxied[1].done[FaultKind.CORRUPT] == 1
        tried_again = proxied[0].retry.tally.retries > 0
        assert tried_again or got.compare(body.digests()) is Comparison.DIFFERENT

    def test_a_byte_corrupted_on_the_way_out(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """One bit flipped on the way out: refused if digests are checked there; never reported as what was sent."""
        key, data = new_key(), bytes(100_000)
        proxied[1].program(self._on_object(FaultKind.CORRUPT_REQUEST, self.write_method, key, at_byte=50_000))
        try:
            put(through, key, data)
        except ConnectorError:
            assert proxied[1].done[FaultKind.CORRUPT_REQUEST] == 1
            with pytest.raises(NotFoundError):
                store.stat(key)
            return
        assert proxied[1].done[FaultKind.CORRUPT_REQUEST] == 1
        right = store.read(key).read_all() == data
        assert right or not store.capabilities.refuses_wrong, "wrong digests are claimed to be refused"
        facts = store.stat(key)
        attested = facts.digests.only(store.capabilities.attests)
        assert right or attested.compare(digests_of(data)) is not Comparison.EQUAL

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_honoured(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied, status: int
    ) -> None:
        """A throttled request is made again, not before the time the far end named, and counted as throttled."""
        key = new_key()
        provider, proxy = proxied
        fault = Fault(FaultKind.STATUS, path=f".*{key}.*", count=1, status=status, retry_after_seconds=1)
        put(store, key, b"x")
        for action in (
            lambda: put(through, key, b"x"),
            lambda: through.read(key).read_all(),
            lambda: through.stat(key),
            lambda: through.delete(key),
        ):
            proxy.program(fault)
            before, began = provider.retry.tally.throttled, time.monotonic()
            action()
            assert proxy.done[FaultKind.STATUS] == 1
            assert provider.retry.tally.throttled == before + 1
            assert time.monotonic() - began >= 0.95

    def test_attempts_are_counted(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """A place that stays down costs exactly the attempts the policy allows: no library retries beneath it."""
        key = new_key()
        put(store, key, b"x")
        provider, proxy = proxied
        proxy.program(Fault(FaultKind.STATUS, path=f".*{key}.*", count=None, status=503))
        with pytest.raises(TransientError):
            through.stat(key)
        assert proxy.done[FaultKind.STATUS] == provider.retry.attempts

    @pytest.mark.parametrize("status", [500, 502, 504])
    def test_server_errors_are_transient(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied, status: int
    ) -> None:
        """A 5xx once is not the end, for writes and listings as for reads."""
        key = new_key()
        proxied[1].program(Fault(FaultKind.STATUS, count=1, status=status))
        put(through, key, b"x")
        proxied[1].program(Fault(FaultKind.STATUS, count=1, status=status))
        assert [e.key for e in through.list(key)] == [key]
        proxied[1].program(Fault(FaultKind.STATUS, count=1, status=status))
        assert through.read(key).read_all() == b"x"
        assert proxied[1].done[FaultKind.STATUS] == 1
        assert store.stat(key).size == 1

    def test_a_connection_closed_without_an_answer(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied
    ) -> None:
        """A write whose connection is closed, before or after it reached the place, is made again and is whole."""
        for kind in (FaultKind.CLOSE, FaultKind.LOSE_ANSWER):
            key, data = new_key(), bytes(200_000)
            proxied[1].program(self._on_object(kind, self.write_method, key))
            put(through, key, data)
            assert proxied[1].done[kind] == 1
            assert store.read(key).read_all() == data

    def test_a_conditional_write_whose_answer_is_lost(
        self, store: ObjectStore, through: ObjectStore, proxied: Proxied
    ) -> None:
        """The object a lost answer was about is ours: the second try does not call it somebody else's."""
        if not store.capabilities.conditional_writes:
            return
        key = new_key()
        proxied[1].program(self._on_object(FaultKind.LOSE_ANSWER, self.write_method, key))
        request = WriteRequest(key, BytesBody(b"ours"), digests=digests_of(b"ours"), only_if_absent=True)
        try:
            assert through.write(request).entry.size == 4
        except ConflictError:
            assert not store.capabilities.attests, "the place could have said whose bytes these are"
        assert proxied[1].done[FaultKind.LOSE_ANSWER] == 1
        assert store.read(key).read_all() == b"ours"

    def test_a_large_write_survives_resets(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """Connections that break during a write in parts do not lose or double a part."""
        key, body = new_key("resets"), PatternBody(self.large_bytes)
        fault = self._on_object(FaultKind.CLOSE, ".*", key, skip=1, count=2)
        proxied[1].program(fault)
        through.write(WriteRequest(key, body, digests=body.digests()))
        assert proxied[1].done[FaultKind.CLOSE] >= 1
        assert digests_of(store.read(key).read_all()) == body.digests()

    def test_a_listing_survives_faults(self, store: ObjectStore, through: ObjectStore, proxied: Proxied) -> None:
        """Pages that fail are asked for again; nothing is missing and nothing is given twice."""
        base = new_key("faulty-list")
        written = [f"{base}/{number:04d}" for number in range(60)]
        put_many(store, written, self.threads)
        for kind, at_byte in ((FaultKind.TRUNCATE, 200), (FaultKind.RESET, 100), (FaultKind.CLOSE, 0)):
            proxied[1].program(Fault(kind, method="GET", at_byte=at_byte, count=1))
            assert sorted(e.key for e in through.list(f"{base}/")) == written
            assert proxied[1].done[kind] == 1

    def test_a_place_that_is_gone(self, through: ObjectStore, proxied: Proxied) -> None:
        """A refused connection is transient, and in the end an error of ours."""
        proxied[1].close()
        with pytest.raises(TransientError):
            through.stat("x")
        with pytest.raises(TransientError):
            list(through.list())


class DeniedTests(Suite):
    """Access that is refused.

    A subclass supplies a third fixture, ``denied``: a provider of the same place whose credentials are wrong, or
    allow nothing.
    """

    def test_every_operation_says_so(self, store: ObjectStore, denied: Provider, container: str) -> None:
        """Each refused operation is an authentication or permission error, and names the place."""
        put(store, "kept", b"x")
        with denied.objects(container, self.capabilities) as refused:
            for action in (
                lambda: list(refused.list()),
                lambda: refused.stat("kept"),
                lambda: refused.read("kept").read_all(),
                lambda: put(refused, "new", b"x"),
                lambda: refused.delete("kept"),
            ):
                with pytest.raises((AuthenticationError, PermissionDeniedError)) as caught:
                    action()
                assert caught.value.resource
        assert store.read("kept").read_all() == b"x"
        with pytest.raises(NotFoundError):
            store.stat("new")
