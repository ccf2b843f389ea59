# ruff: noqa: ARG002 - hooks have the arguments that the base class gives them
"""What `ObjectStore` does around its hooks: retries, continued reads, pins, conditions, listings."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import BytesBody, ObjectStore, RawRead, ReadStream, WriteRequest, copy_chunks
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import (
    ChangedError,
    ConflictError,
    ConnectorError,
    InvalidKeyError,
    PermissionDeniedError,
    TransientError,
    UnsupportedError,
)
from exitdrill.model.digests import Hasher
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.testing.memory import HONEST, MemoryProvider

DATA = bytes(range(256)) * 100


class _Flaky(ObjectStore):
    """One object; each read breaks as the next item of the script says."""

    def __init__(self, script: list[Callable[[RawRead], RawRead]], attempts: int = 4) -> None:
        super().__init__("flaky:c", Capabilities(), RetryPolicy(attempts, base_seconds=0, jitter=lambda: 0.0))
        self.script, self.released, self.ranges = script, 0, list[tuple[int, int | None, str | None]]()

    def _read(self, key: str, etag: str | None, version: str | None, offset: int, length: int | None) -> RawRead:
        self.ranges.append((offset, length, etag))
        end = len(DATA) if length is None else min(len(DATA), offset + length)
        entry = ObjectEntry(key, len(DATA), "v1")
        chunks = (DATA[at : min(at + 1000, end)] for at in range(offset, end, 1000))
        raw = RawRead(entry, offset, max(0, end - offset), chunks, self._release)
        return self.script.pop(0)(raw) if self.script else raw

    def _release(self) -> None:
        self.released += 1

    def _list(self, prefix: str, start_after: str | None, token: str | None) -> tuple[list[ObjectEntry], str | None]:
        return [ObjectEntry("x", 0)], "always the same"

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        raise NotImplementedError

    def _stat(self, key: str, version: str | None) -> ObjectEntry:
        return ObjectEntry(key, len(DATA), "v1")

    def _delete(self, key: str, version: str | None) -> None:
        raise NotImplementedError


def _breaks_after(count: int, *, silently: bool = False) -> Callable[[RawRead], RawRead]:
    def breaking(raw: RawRead) -> RawRead:
        def chunks() -> Iterator[bytes]:
            left = count
            for chunk in raw.chunks:
                yield chunk[:left]
                left -= len(chunk[:left])
                if left == 0:
                    break
            if not silently:
                raise TransientError("reset")

        return replace(raw, chunks=chunks())

    return breaking


@pytest.mark.parametrize("silently", [False, True])
def test_a_broken_read_continues_where_it_broke(silently: bool) -> None:
    """The rest is asked for from the first missing byte, pinned to the version that was begun."""
    store = _Flaky([_breaks_after(2500, silently=silently), _breaks_after(700, silently=silently)])
    with store.read("k", offset=100, length=20_000) as stream:
        assert stream.read_all() == DATA[100:20_100]
    assert store.ranges == [(100, 20_000, None), (2600, 17_500, "v1"), (3300, 16_800, "v1")]
    assert store.released == 3
    assert store.retry.tally.retries == 2


def test_tries_are_counted_between_two_bytes() -> None:
    """A long read may break more often than one request may, as long as it gets on; then the limit holds."""
    store = _Flaky([_breaks_after(1000) for _ in range(20)])
    assert store.read("k").read_all() == DATA
    stuck = _Flaky([_breaks_after(1000), *[_breaks_after(0, silently=True) for _ in range(20)]])
    with pytest.raises(TransientError, match="ended 24600 bytes early"):
        stuck.read("k").read_all()
    assert len(stuck.ranges) == stuck.retry.attempts


def test_another_version_does_not_continue_a_read() -> None:
    """If the continued read is answered by another version, the halves are not joined."""

    def other(raw: RawRead) -> RawRead:
        return replace(raw, entry=replace(raw.entry, etag="v2"))

    store = _Flaky([_breaks_after(2500), other])
    with pytest.raises(ChangedError):
        store.read("k").read_all()


def test_more_bytes_than_promised_are_not_taken() -> None:
    """A far end that sends too much is not believed."""
    store = _Flaky([lambda raw: replace(raw, chunks=iter([DATA, b"!"]))])
    with pytest.raises(ChangedError, match="more than promised"):
        store.read("k").read_all()


def test_another_range_than_asked_for_is_tried_again() -> None:
    """A far end that ignores the range (``200`` for ``206``) is not believed, and its answer is released."""
    store = _Flaky([lambda raw: replace(raw, offset=0)])
    assert store.read("k", offset=10, length=5).read_all() == DATA[10:15]
    assert store.released == 1


def test_a_pin_holds_for_empty_ranges_and_wins_over_ranges() -> None:
    """Another version is a change, also when no byte or a byte beyond its end is asked for; all is released."""
    store = _Flaky([])
    for offset, length in ((0, 0), (0, None), (10**6, 5)):
        with pytest.raises(ChangedError):
            store.read("k", etag="v0", offset=offset, length=length)
    assert store.released == 2
    with pytest.raises(ValueError, match="a range that begins at 1000000"):
        store.read("k", etag="v1", offset=10**6)
    assert store.read("k", offset=len(DATA)).read_all() == b""


def test_an_unread_answer_is_released() -> None:
    """Closing a stream that nobody began to read lets go of the connection."""
    store = _Flaky([])
    with store.read("k"):
        pass
    assert store.released == 1
    chunks = copy_chunks(store.read("k"))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined] # a generator
    assert store.released == 2


def test_a_listing_that_goes_round_in_circles_ends() -> None:
    """The same token twice is an error, not an endless listing."""
    with pytest.raises(ConnectorError, match="does not move on"):
        list(_Flaky([]).list())


def _script(*errors: Exception | None) -> Callable[[str, str], None]:
    left = list(errors)

    def before(hook: str, key: str) -> None:
        if left and (error := left.pop(0)) is not None:
            raise error

    return before


def _store(before: Callable[[str, str], None]) -> ObjectStore:
    provider = MemoryProvider(before=before)
    provider.ensure_container("c")
    return provider.objects("c")


def test_only_what_is_transient_is_tried_again() -> None:
    """A reset is; a refusal is not."""
    store = _store(_script(TransientError("reset"), None, PermissionDeniedError("no")))
    store.write(WriteRequest("k", BytesBody(b"x")))
    with pytest.raises(PermissionDeniedError):
        store.stat("k")
    assert store.retry.tally.retries == 1


def test_a_lost_answer_to_a_conditional_write() -> None:
    """The second try finds the object of the first: ours if the bytes are, somebody else's if not."""
    provider = MemoryProvider()
    provider.ensure_container("c")
    store = provider.objects("c")
    lost, real = [True, True], store._write

    def loses_its_answer(request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        entry = real(request, envelope)
        if lost and lost.pop():
            raise TransientError("the connection was reset")
        return entry

    store._write = loses_its_answer  # type: ignore[method-assign]
    hasher = Hasher()
    hasher.update(b"ours")
    request = WriteRequest("k", BytesBody(b"ours"), digests=hasher.digests(), only_if_absent=True)
    assert store.write(request).entry.size == 4
    with pytest.raises(ConflictError):
        store.write(replace(request, body=BytesBody(b"ours")))
    with pytest.raises(ConflictError):
        store.write(WriteRequest("other", BytesBody(b"no digests to tell by"), only_if_absent=True))


def test_guards_stand_before_the_hooks() -> None:
    """What a place cannot do is refused without a request."""

    def never(hook: str, key: str) -> None:
        msg = f"{hook} was called"
        raise AssertionError(msg)

    provider = MemoryProvider(
        claims=replace(HONEST, start_after=False, conditional_writes=False, max_object_bytes=3), before=never
    )
    provider.ensure_container("c")
    store = provider.objects("c")
    with pytest.raises(UnsupportedError):
        next(store.list(start_after="a"))
    with pytest.raises(UnsupportedError):
        store.write(WriteRequest("k", BytesBody(b"x"), only_if_absent=True))
    with pytest.raises(UnsupportedError, match="4 bytes"):
        store.write(WriteRequest("k", BytesBody(b"long")))
    with pytest.raises(InvalidKeyError):
        store.write(WriteRequest("", BytesBody(b"")))
    with pytest.raises(UnsupportedError, match="versions"):
        store.read("k", version="v")


def test_messages_show_control_characters() -> None:
    """A key cannot write to the terminal or break a line of a log."""
    text = _Flaky([]).describe("a\x1b[31m\n\u202e\ud800")
    assert text == "flaky:c/a\\x1b[31m\\n\\u202e\\ud800"


def test_bytes_body() -> None:
    """Any part of it, from anywhere, more than once."""
    body = BytesBody(DATA)
    assert b"".join(body.open()) == DATA
    assert b"".join(body.open(5, 7)) == DATA[5:12]
    assert b"".join(body.open(len(DATA))) == b""


def test_a_stream_knows_its_object() -> None:
    """The entry is the whole object's."""
    stream = _Flaky([]).read("k", offset=5, length=1)
    assert isinstance(stream, ReadStream)
    assert stream.entry.size == len(DATA)
