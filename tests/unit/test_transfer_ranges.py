"""Large objects in parallel ranges: in order, pinned, bounded, and over when somebody stops."""

import random
import threading
import time
from pathlib import Path

import pytest

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ChangedError, StoppedError, TransientError
from exitdrill.model.objects import Outcome
from exitdrill.testing.memory import HONEST, MemoryProvider, MemoryStore
from exitdrill.transfer import copying, ranges
from exitdrill.transfer.copying import Evacuation
from exitdrill.transfer.packing import Parcel
from exitdrill.transfer.ranges import ByteBudget, RangeReader
from exitdrill.transfer.rows import InventoryRow
from exitdrill.transfer.work import PartWork, RowMemory


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (copying, ranges):
        monkeypatch.setattr(module, "RANGE_BYTES", 1000)
    monkeypatch.setattr(copying, "PARALLEL_BYTES", 5000)


def _store(slow: bool = False) -> tuple[MemoryStore, list[tuple[str, str]]]:
    calls: list[tuple[str, str]] = []

    def before(hook: str, key: str) -> None:
        calls.append((hook, key))
        if slow and hook == "read":
            time.sleep(random.random() * 0.01)

    provider = MemoryProvider("m", HONEST, None, RetryPolicy(attempts=2, base_seconds=0.001), before)
    provider.ensure_container("c")
    store = provider.objects("c")
    assert isinstance(store, MemoryStore)
    return store, calls


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 12_345])
def test_ranges_come_in_order(size: int) -> None:
    """Ranges that answer in any order are given out in the object's order, none missing, none twice."""
    store, calls = _store(slow=True)
    data = random.Random(size).randbytes(size)
    entry = store.write(WriteRequest("k", BytesBody(data))).entry
    reader = RangeReader(store, lambda: False)
    assert b"".join(reader.chunks("k", entry.etag, None, 0, size)) == data
    assert b"".join(reader.chunks("k", entry.etag, None, size // 2, size)) == data[size // 2 :]
    assert len([c for c in calls if c[0] == "read"]) == -(-size // 1000) + -(-(size - size // 2) // 1000)
    reader.close()


def test_many_large_objects_share_a_small_budget() -> None:
    """With room for two ranges and eight objects at once, all arrive: none waits for ever for another's memory."""
    store, _ = _store(slow=True)
    budget = ByteBudget(2000)
    datas = {f"k{n}": random.Random(n).randbytes(9_500) for n in range(8)}
    for key, data in datas.items():
        store.write(WriteRequest(key, BytesBody(data)))
    reader = RangeReader(store, lambda: False, budget)
    found: dict[str, bytes] = {}

    def read(key: str) -> None:
        found[key] = b"".join(reader.chunks(key, None, None, 0, 9_500))

    threads = [threading.Thread(target=read, args=(key,)) for key in datas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == datas
    assert budget.try_take(2000)


def test_a_reader_that_is_left_gives_its_memory_back() -> None:
    """Whoever stops reading in the middle leaves no bytes taken once the ranges under way have ended."""
    store, _ = _store(slow=True)
    store.write(WriteRequest("k", BytesBody(bytes(20_000))))
    budget = ByteBudget(8000)
    chunks = RangeReader(store, lambda: False, budget).chunks("k", None, None, 0, 20_000)
    next(chunks)
    chunks.close()
    deadline = time.monotonic() + 5
    while not budget.try_take(8000):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_waiting_for_memory_can_be_stopped() -> None:
    """A stop ends the wait for memory that somebody else holds."""
    budget = ByteBudget(10)
    budget.take(10, lambda: False)
    with pytest.raises(StoppedError):
        budget.take(1, lambda: True)


def test_a_version_that_changes_between_two_ranges_is_found() -> None:
    """Each range is pinned: bytes of two versions never come out as one object."""
    store, _ = _store()
    entry = store.write(WriteRequest("k", BytesBody(bytes(9000)))).entry
    chunks = RangeReader(store, lambda: False, ahead=1).chunks("k", entry.etag, None, 0, 9000)
    next(chunks)
    store.write(WriteRequest("k", BytesBody(b"x" * 9000)))
    with pytest.raises(ChangedError):
        list(chunks)


def test_evacuation_reads_a_large_object_in_ranges(tmp_path: Path) -> None:
    """An object above the limit arrives whole, with the digests of its bytes, by several ranged reads."""
    source, calls = _store(slow=True)
    vault, _ = _store()
    data = random.Random(7).randbytes(20_500)
    source.write(WriteRequest("large", BytesBody(data)))
    row = InventoryRow.of(next(iter(source.list())))
    work = PartWork(tmp_path / "w")
    moved: list[int] = []
    result = Evacuation(source, vault, frozenset(), lambda: False, moved.append)(row, RowMemory(work, 0))
    work.close()
    assert not isinstance(result, Parcel)
    assert result.outcome == Outcome.COPIED
    assert vault.read(result.vault_key).read_all() == data
    assert len([c for c in calls if c[0] == "read"]) == 21
    assert sum(moved) == len(data)


def test_a_range_that_never_answers_is_an_error(tmp_path: Path) -> None:
    """What a range's read raises comes out of the copy: here, a place that does not answer."""
    failing = {"on": False}

    def before(hook: str, _key: str) -> None:
        if failing["on"] and hook == "read":
            raise TransientError("no answer")

    provider = MemoryProvider("m", HONEST, None, RetryPolicy(attempts=1), before)
    provider.ensure_container("c")
    source = provider.objects("c")
    source.write(WriteRequest("k", BytesBody(bytes(9000))))
    row = InventoryRow.of(next(iter(source.list())))
    vault, _ = _store()
    copy = Evacuation(source, vault, frozenset(), lambda: False, lambda _count: None)
    failing["on"] = True
    work = PartWork(tmp_path / "w")
    with pytest.raises(TransientError):
        copy(row, RowMemory(work, 0))
    work.close()
