"""Parts, sorting, joining and the inventory: durable, in order, in bounded memory."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitdrill.clock import SystemClock
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.errors import NoSpaceError, RunError, StoppedError, TransientError
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer import sorting
from exitdrill.transfer.inventory import STEM, PartSize, inventory_counts, inventory_rows, is_complete, make_inventory
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_numbers, part_path, read_rows, summary, write_part

_WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def _row(key: str, size: int = 1) -> InventoryRow:
    return InventoryRow(key, size, "e", None, _WHEN, "{}", None)


def _store(keys: list[str], behaviour: Behaviour | None = None, **claims: object) -> tuple[MemoryProvider, MemoryStore]:
    provider = MemoryProvider("source", HONEST.narrowed(**claims), behaviour)
    provider.ensure_container("c")
    store = provider.objects("c")
    assert isinstance(store, MemoryStore)
    for key in keys:
        store.write(WriteRequest(key, BytesBody(key.encode()[:50])))
    return provider, store


def _inventory(
    store: MemoryStore,
    folder: Path,
    size: PartSize | None = None,
    stopped: Callable[[], bool] = lambda: False,
    meter: Meter | None = None,
) -> None:
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    make_inventory(store, "", folder, scratch, size or PartSize(), SystemClock(), stopped, meter or Meter())


def test_rows_survive_a_part(tmp_path: Path) -> None:
    """Every field of a row comes back from its part, and the summary from its footer."""
    entry = ObjectEntry("k/\u00e9\n", 7, "etag", "v1", _WHEN, envelope=Envelope(content_type="a/b", user=(("X", "1"),)))
    row = InventoryRow.of(entry)
    assert row.entry() == entry
    ledger = LedgerRow("k", 7, None, None, _WHEN, "copied", sha256=b"s" * 32, attested="md5")
    path = part_path(tmp_path, "part", 1)
    write_part(path, [row], InventoryRow, lambda: {"rows": 1})
    assert list(read_rows(path, InventoryRow)) == [row]
    assert summary(path) == {"rows": 1}
    write_part(part_path(tmp_path, "part", 2), [ledger], LedgerRow)
    assert list(read_rows(part_path(tmp_path, "part", 2), LedgerRow)) == [ledger]
    assert part_numbers(tmp_path, "part") == [1, 2]


def test_a_part_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """When the rows end in an error, neither the part nor its beginning stays."""

    def rows() -> Iterator[InventoryRow]:
        yield _row("a")
        raise TransientError("the listing broke")

    with pytest.raises(TransientError):
        write_part(part_path(tmp_path, "part", 1), rows(), InventoryRow)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [0.3, 0.5, 0.99])
def test_a_damaged_part_is_refused(tmp_path: Path, where: float) -> None:
    """A part with a flipped byte, in its data or in its footer, is an error and never other rows."""
    path = part_path(tmp_path, "part", 1)
    rows = [_row(f"key-{n:05d}-{hash(n) % 7919}") for n in range(3000)]
    write_part(path, rows, InventoryRow, lambda: {"rows": 3000})
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 0xFF
    path.write_bytes(data)
    try:
        found = list(read_rows(path, InventoryRow))
    except RunError as error:
        assert "cannot be read" in str(error)  # noqa: PT017 - either outcome is allowed, other rows are not
    else:
        assert found == rows


def test_a_part_that_is_no_part(tmp_path: Path) -> None:
    """A file of another kind, and one that is not there, are errors that name the part."""
    path = part_path(tmp_path, "part", 1)
    path.write_bytes(b"not parquet")
    with pytest.raises(RunError, match="part-000001"):
        summary(path)
    with pytest.raises(RunError, match="part-000002"):
        list(read_rows(part_path(tmp_path, "part", 2), InventoryRow))


def test_sorting_merges_more_runs_than_it_opens_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fan-in of three and runs of ten rows, a thousand rows come out in order, and nothing is left over."""
    monkeypatch.setattr(sorting, "_FAN_IN", 3)
    keys = [f"{(n * 7919) % 1000:04d}" for n in range(1000)]
    found = [r.key for r in sorting.sort_rows((_row(k) for k in keys), InventoryRow, lambda r: r.key, tmp_path, 10)]
    assert found == sorted(keys)
    assert list(tmp_path.iterdir()) == []


def test_sorting_memory_does_not_grow(tmp_path: Path) -> None:
    """Ten times as many rows do not take twice the memory to sort, join and count."""

    def peak(count: int) -> int:
        tracemalloc.start()
        rows = (_row(f"{(n * 7919) % count:08d}") for n in range(count))
        ordered = sorting.sort_rows(rows, InventoryRow, lambda r: r.key, tmp_path, 1000)
        right = (f"{n:08d}" for n in range(count))
        assert (
            sum(a is not None and b is not None for a, b in merge_join(ordered, right, lambda r: r.key, str)) == count
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    small, large = peak(2_000), peak(20_000)
    assert large < 2 * small + 4_000_000, (small, large)


def test_in_order_says_what_is_wrong() -> None:
    """A key twice and a key too late are told apart, and a long key is not printed in full."""
    with pytest.raises(RunError, match="twice the same key: a after a"):
        list(in_order(["a", "a"], str, "x"))
    with pytest.raises(RunError, match="out of order") as caught:
        list(in_order(["b" * 1000, "a" * 1000], str, "x"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("behaviour", [Behaviour(page_objects=7), Behaviour(shuffles_listings=True, page_objects=7)])
@pytest.mark.parametrize("claims", [True, False])
def test_inventory_of_hostile_keys(tmp_path: Path, behaviour: Behaviour, claims: bool) -> None:
    """Every hostile key is listed once, in order, also where the listing is not in the order it claims."""
    _, store = _store(list(HOSTILE_KEYS), behaviour, sorted_listing=claims)
    meter = Meter()
    _inventory(store, tmp_path / "inv", PartSize(rows=10), meter=meter)
    keys = [row.key for row in inventory_rows(tmp_path / "inv")]
    assert keys == sorted(HOSTILE_KEYS)
    assert inventory_counts(tmp_path / "inv").objects == len(HOSTILE_KEYS)
    assert meter.beats >= len(HOSTILE_KEYS)
    complete = json.loads((tmp_path / "inv" / "complete.json").read_bytes())
    assert [p["rows"] for p in complete["parts"]] == [10] * (len(keys) // 10) + [len(keys) % 10] * bool(len(keys) % 10)


def test_parts_end_by_rows_or_by_bytes(tmp_path: Path) -> None:
    """A part is full at its number of rows or of bytes; one object larger than a part has a part of its own."""
    _, store = _store([])
    for key, size in (("a", 40), ("b", 40), ("c", 40), ("d", 500), ("e", 1), ("f", 1), ("g", 1), ("h", 1)):
        store.write(WriteRequest(key, BytesBody(b"x" * size)))
    folder = tmp_path / "inv"
    _inventory(store, folder, PartSize(rows=3, size_bytes=100))
    parts = [[r.key for r in read_rows(part_path(folder, STEM, n), InventoryRow)] for n in part_numbers(folder, STEM)]
    assert parts == [["a", "b"], ["c"], ["d"], ["e", "f", "g"], ["h"]]


def test_an_empty_container_has_an_inventory(tmp_path: Path) -> None:
    """No object is an inventory too: complete, and without parts."""
    _, store = _store([])
    assert not is_complete(tmp_path / "inv")
    assert inventory_counts(tmp_path / "inv").objects == 0
    _inventory(store, tmp_path / "inv")
    assert is_complete(tmp_path / "inv")
    assert list(inventory_rows(tmp_path / "inv")) == []


@pytest.mark.parametrize("after", [True, False])
def test_inventory_goes_on_in_the_middle(tmp_path: Path, after: bool) -> None:
    """An interrupted listing goes on behind its last part: parts already there are never written again."""
    provider, store = _store([f"{n:03d}" for n in range(50)], Behaviour(page_objects=5), start_after=after)
    folder, calls = tmp_path / "inv", 0

    def before(hook: str, _key: str) -> None:
        nonlocal calls
        calls += hook == "list"
        if calls > 6:
            raise RunError("killed")

    provider._shared.before = before
    with pytest.raises(RunError):
        _inventory(store, folder, PartSize(rows=10))
    first = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("*.parquet")}
    assert first
    assert not is_complete(folder)
    calls = -1000
    store.delete("001")  # behind us: what was listed stays listed
    _inventory(store, folder, PartSize(rows=10))
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("*.parquet")}.items() >= first.items()
    assert [r.key for r in inventory_rows(folder)] == [f"{n:03d}" for n in range(50)]
    complete = json.loads((folder / "complete.json").read_bytes())
    assert complete["listed_utc"] == complete["parts"][0]["listed_utc"] < complete["parts"][-1]["listed_utc"]
    store.write(WriteRequest("zzz", BytesBody(b"")))
    _inventory(store, folder)
    assert inventory_counts(folder).objects == 50


def test_inventory_stops_also_while_it_sorts(tmp_path: Path) -> None:
    """A wish to stop is heard while an unsorted listing is still being read."""
    _, store = _store([str(n) for n in range(50)], sorted_listing=False)
    meter = Meter()
    with pytest.raises(StoppedError):
        _inventory(store, tmp_path / "inv", stopped=lambda: meter.beats > 5, meter=meter)
    assert meter.objects == 0
    _, ordered = _store([str(n) for n in range(50)])
    with pytest.raises(StoppedError):
        _inventory(ordered, tmp_path / "inv", stopped=lambda: meter.objects > 5, meter=meter)


class _Twice(MemoryStore):
    """Gives the last object of each page twice."""

    def _list(self, prefix: str, start_after: str | None, token: str | None) -> tuple[list[ObjectEntry], str | None]:
        page, following = super()._list(prefix, start_after, token)
        return [*page, replace(page[-1])], following


def test_a_key_listed_twice_is_an_error(tmp_path: Path) -> None:
    """Two rows for one key would be one object counted twice: the inventory refuses, and names the key in short."""
    provider, _ = _store(["k" * 1000])
    store = _Twice("m:c", "c", provider._shared, HONEST, provider.retry)
    with pytest.raises(RunError, match="twice") as caught:
        _inventory(store, tmp_path / "inv")
    assert len(str(caught.value)) < 300


def test_a_full_disk_ends_the_inventory(tmp_path: Path) -> None:
    """ENOSPC while a part is written: NoSpaceError, no half part, and the listing goes on when there is room."""
    _, store = _store([f"{n:03d}" for n in range(20)])
    folder = tmp_path / "inv"
    folder.mkdir()
    (folder / "part-000002.parquet.new").symlink_to("/dev/full")
    with pytest.raises(NoSpaceError, match="make room"):
        _inventory(store, folder, PartSize(rows=10))
    assert [p.name for p in folder.iterdir()] == ["part-000001.parquet"]
    _inventory(store, folder, PartSize(rows=10))
    assert inventory_counts(folder).objects == 20
