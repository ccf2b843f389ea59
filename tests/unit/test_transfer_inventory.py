"""The inventory: parts that grow, and listings that turn out not to be in order."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exitdrill.clock import SystemClock
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.errors import RunError, StoppedError
from exitdrill.model.digests import ALL_KINDS, Digests, Hasher
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer.inventory import STEM, PartSize, inventory_rows, make_inventory
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, batch_of, entries_batch, part_numbers, part_path, rows_of, summary


class _Scripted(MemoryStore):
    """Lists what it is told, ten keys a page, in that order; counts the pages asked for."""

    keys: tuple[str, ...] = ()
    asked = 0

    def _list(self, prefix: str, start_after: str | None, token: str | None) -> tuple[list[ObjectEntry], str | None]:
        self._enter("list", prefix)
        self.asked += 1
        begin = 0 if token is None else int(token)
        if token is None and start_after is not None:
            begin = sum(key <= start_after for key in self.keys)
        page = [ObjectEntry(key, 1, "e") for key in self.keys[begin : begin + 10]]
        return page, str(begin + 10) if begin + 10 < len(self.keys) else None


def _scripted(keys: list[str], before: Callable[[str, str], None] | None = None, **claims: object) -> _Scripted:
    provider = MemoryProvider("source", HONEST.narrowed(**claims), Behaviour(), before=before)
    provider.ensure_container("c")
    store = _Scripted("source:c", "c", provider._shared, HONEST.narrowed(**claims), provider.retry)
    store.keys = tuple(keys)
    return store


def _make(store: MemoryStore, folder: Path, size: PartSize, meter: Meter | None = None) -> None:
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    make_inventory(store, "", folder, scratch, size, SystemClock(), lambda: False, meter or Meter())
    assert list(scratch.iterdir()) == []


def _orders(folder: Path) -> list[object]:
    return [summary(part_path(folder, STEM, n))["order"] for n in part_numbers(folder, STEM)]


def test_parts_grow_by_their_number() -> None:
    """The first parts are small, each size comes four times, and the limits are those of a large inventory."""
    size = PartSize()
    assert [size.limits(n)[0] for n in range(1, 14)] == [1000] * 4 + [2000] * 4 + [4000] * 4 + [8000]
    assert size.limits(1)[1] == 256 * 1024**2
    assert size.limits(25)[0] == size.limits(10**6)[0] == 50_000
    assert size.limits(33)[1] == size.limits(10**6)[1] == 64 * 1024**3
    assert sum(size.limits(n)[0] for n in range(1, 25)) == 4 * 63_000
    assert PartSize(rows=7).limits(1) == PartSize(rows=7).limits(9) == (7, 64 * 1024**3)
    assert PartSize(size_bytes=7).limits(9) == (50_000, 7)


@pytest.mark.parametrize("claims", [True, False])
def test_a_listing_in_order_is_never_sorted(tmp_path: Path, claims: bool) -> None:
    """Claimed or not, a listing that comes in order is written as it comes: no page is asked for twice."""
    store = _scripted([f"{n:04d}" for n in range(100)], sorted_listing=claims)
    _make(store, tmp_path / "inv", PartSize(rows=20))
    assert store.asked == 10
    assert _orders(tmp_path / "inv") == ["as listed"] * 5
    assert store.capabilities.sorted_listing is claims


@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("at", [1, 10, 55, 99])
def test_an_order_that_breaks_late_costs_no_second_listing(tmp_path: Path, claims: bool, at: int) -> None:
    """What was written before the break is merged with the rest: one listing, each key once, parts cut afresh."""
    ordered = [f"{n:04d}" for n in range(100)]
    store = _scripted([*ordered[1 : at + 1], ordered[0], *ordered[at + 1 :]], sorted_listing=claims)
    meter = Meter()
    _make(store, tmp_path / "inv", PartSize(rows=20), meter)
    assert store.asked == 10
    assert [row.key for row in inventory_rows(tmp_path / "inv")] == ordered
    assert _orders(tmp_path / "inv") == ["sorted"] * 5
    assert meter.objects == meter.size_bytes == 100
    assert not store.capabilities.sorted_listing


@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("broken", [25, 65])
def test_an_order_that_breaks_after_an_interruption(tmp_path: Path, claims: bool, broken: int) -> None:
    """Parts written in good faith by a listing that was interrupted are not trusted once the order breaks."""
    folder = tmp_path / "inv"
    pages = 0

    def before(_hook: str, _key: str) -> None:
        nonlocal pages
        pages += 1
        if pages == 6:
            raise RunError("killed")

    keys = [f"{n:04d}" for n in range(1, 100)]
    store = _scripted(keys, before, sorted_listing=claims)
    with pytest.raises(RunError, match="killed"):
        _make(store, folder, PartSize(rows=20))
    assert _orders(folder) == ["as listed"] * 2
    store.keys = (*keys[:broken], "0000", *keys[broken:])
    _make(store, folder, PartSize(rows=20))
    # A place that claims to list in order is asked for what lies behind the last part only.
    found = [row.key for row in inventory_rows(folder)]
    assert found == (keys if claims and broken == 25 else ["0000", *keys])


def test_a_sorted_inventory_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """Interrupted while sorted parts are written, those that are there stay, byte for byte."""
    folder = tmp_path / "inv"
    keys = [f"{n:04d}" for n in range(100)]
    store = _scripted(keys[::-1], sorted_listing=False)
    meter = Meter()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(StoppedError):
        make_inventory(
            store, "", folder, scratch, PartSize(rows=20), SystemClock(),
            lambda: meter.beats >= 100 and part_numbers(folder, STEM) == [1, 2], meter,
        )  # fmt: skip
    first = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert len(first) == 2
    _make(store, folder, PartSize(rows=20))
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")}.items() >= first.items()
    assert [row.key for row in inventory_rows(folder)] == keys
    parts = json.loads((folder / "complete.json").read_bytes())["parts"]
    assert [part["rows"] for part in parts] == [20] * 5


def test_versions_of_a_key_stay_together(tmp_path: Path) -> None:
    """A part may grow over its limit for the sake of one key's versions; the same version twice is refused."""

    class Versions(_Scripted):
        def _list(
            self, prefix: str, start_after: str | None, token: str | None
        ) -> tuple[list[ObjectEntry], str | None]:
            page, following = super()._list(prefix, start_after, token)
            return [replace(e, version=f"{n}") for e in page for n in range(self.times)], following

        times = 3

    provider = MemoryProvider()
    provider.ensure_container("c")
    store = Versions("source:c", "c", provider._shared, HONEST, provider.retry)
    store.keys = tuple(f"{n:04d}" for n in range(40))
    _make(store, tmp_path / "inv", PartSize(rows=10))
    parts = json.loads((tmp_path / "inv" / "complete.json").read_bytes())["parts"]
    assert [part["rows"] for part in parts] == [12] * 10
    twice = _scripted(["a", "b", "b", "c"])
    with pytest.raises(RunError, match="gives b twice"):
        _make(twice, tmp_path / "twice", PartSize())
    across = _scripted([f"{n:04d}" for n in range(10)] + ["0009"])
    with pytest.raises(RunError, match="gives 0009 twice"):
        _make(across, tmp_path / "across", PartSize())


def test_columns_say_what_rows_say() -> None:
    """A page written column by column holds the same as its rows made one by one."""
    hasher = Hasher(ALL_KINDS)
    hasher.update(b"x")
    provider = MemoryProvider("source")
    provider.ensure_container("c")
    store = provider.objects("c")
    store.write(WriteRequest("k", BytesBody(b"x"), Envelope(content_type="a/b")))
    envelope = Envelope(content_type='a/"b"', user=(("A", "é"), ("b", "\\")), tier="Hot")
    entries = [
        *store.list(),
        ObjectEntry("a", 0),
        ObjectEntry("b/\U0001f680", 2**40, '"e"', "v", None, hasher.digests(), envelope),
        ObjectEntry("c", 1, digests=Digests(md5=b"m" * 16), envelope=envelope),
    ]
    rows = [InventoryRow.of(entry) for entry in entries]
    assert list(rows_of(entries_batch(entries), InventoryRow)) == rows
    assert entries_batch(entries).equals(batch_of(rows, InventoryRow))
    assert [row.entry() for row in rows] == entries
    assert json.loads(rows[2].claims) == hasher.digests().to_json()
