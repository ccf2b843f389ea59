"""Small objects through packs: nothing counts before its pack is in the vault, nothing bad comes out of one."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import DigestError, NoSpaceError, NotFoundError, StoppedError, TransientError
from exitdrill.model.digests import Comparison
from exitdrill.model.objects import Outcome
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer import packing, partrun
from exitdrill.transfer.copying import Evacuation, Rebuild
from exitdrill.transfer.packing import Packing, PackShelf
from exitdrill.transfer.partrun import Meter, PartRun
from exitdrill.transfer.rows import InventoryRow, LedgerRow, read_rows, write_part
from exitdrill.transfer.work import PartWork


def _open(name: str, behaviour: Behaviour | None = None, calls: list[tuple[str, str]] | None = None) -> MemoryStore:
    def before(hook: str, key: str) -> None:
        if calls is not None:
            calls.append((hook, key))

    provider = MemoryProvider(name, HONEST, behaviour, RetryPolicy(attempts=2, base_seconds=0.0001), before)
    provider.ensure_container("c")
    store = provider.objects("c")
    assert isinstance(store, MemoryStore)
    return store


@dataclass
class Legs:
    """Both legs of one part, between three places in memory."""

    folder: Path
    objects: int = 300
    member_bytes: int = 1000
    pack_bytes: int = 8 * 1024
    vault_behaviour: Behaviour | None = None
    stop: Callable[[], bool] = lambda: False
    vault_calls: list[tuple[str, str]] = field(default_factory=list)
    packs: int = 0

    def __post_init__(self) -> None:
        self.source, self.target = _open("source"), _open("target")
        self.vault = _open("vault", self.vault_behaviour, self.vault_calls)
        self.meter = Meter()
        rng = random.Random(1)
        for n in range(self.objects):
            # every tenth is too large for a pack
            data = rng.randbytes(1500 if n % 10 == 0 else rng.randrange(900))
            self.source.write(WriteRequest(f"k/{n:05d}", BytesBody(data)))
        rows = [InventoryRow.of(entry) for entry in self.source.list()]
        write_part(self.folder / "part-000001.parquet", rows, InventoryRow)

    def _name(self) -> str:
        self.packs += 1
        return f"packs/{self.packs:06d}"

    def evacuate(self, threads: int = 8) -> list[LedgerRow]:
        ledger = self.folder / "evacuate-000001.parquet"
        copy = Evacuation(self.source, self.vault, frozenset(), self.stop, self.meter.moved, self.member_bytes)
        PartRun(
            self.folder / "part-000001.parquet", InventoryRow, ledger, self.folder / "w1", "evacuate", copy,
            self.vault.flush, threads, self.stop, self.meter,
            lambda wake: Packing(self.vault, self._name, wake, self.pack_bytes),
        ).run()  # fmt: skip
        return list(read_rows(ledger, LedgerRow))

    def rebuild(self) -> list[LedgerRow]:
        ledger = self.folder / "rebuild-000001.parquet"
        copy = Rebuild(self.vault, self.target, "", "", "none", self.stop, self.meter.moved)
        PartRun(
            self.folder / "evacuate-000001.parquet", LedgerRow, ledger, self.folder / "w2", "rebuild", copy,
            self.target.flush, 8, self.stop, self.meter,
        ).run()  # fmt: skip
        return list(read_rows(ledger, LedgerRow))


def test_small_objects_travel_in_packs(tmp_path: Path) -> None:
    """Every object arrives byte for byte; the vault holds packs and large ones; a pack is read a few times at most."""
    legs = Legs(tmp_path)
    rows = legs.evacuate()
    assert [row.key for row in rows] == [f"k/{n:05d}" for n in range(300)]
    assert all(row.outcome == Outcome.COPIED for row in rows)
    packed = [row for row in rows if row.vault_offset is not None]
    assert len(packed) == 270
    kept = {entry.key for entry in legs.vault.list()}
    packs = {key for key in kept if key.startswith("packs/")}
    assert len(kept) == 30 + len(packs)
    assert len(packs) >= 10
    legs.vault_calls.clear()
    assert all(row.arrived for row in legs.rebuild())
    for entry in legs.source.list():
        assert legs.target.read(entry.key).read_all() == legs.source.read(entry.key).read_all()
    reads = [key for hook, key in legs.vault_calls if hook == "read" and key in packs]
    assert len(reads) <= 3 * len(packs)  # thrice where a thread falls behind on a busy machine
    assert legs.meter.objects == 600


def test_an_offset_leads_to_the_objects_bytes(tmp_path: Path) -> None:
    """The ledger alone finds an object in its pack: pack, offset, size, SHA-256."""
    legs = Legs(tmp_path, objects=50)
    for row in legs.evacuate():
        if row.vault_offset is None:
            continue
        with legs.vault.read(row.vault_key, offset=row.vault_offset, length=row.size) as stream:
            assert stream.read_all() == legs.source.read(row.key).read_all()


def test_bytes_that_went_bad_in_a_pack_stop_one_object(tmp_path: Path) -> None:
    """A flipped bit in a pack: that object is corrupt and never written; its neighbours arrive."""
    legs = Legs(tmp_path, objects=60)
    rows = legs.evacuate()
    hurt = next(row for row in rows if row.vault_offset is not None and row.size > 10)
    stored = legs.vault._shared.containers["c"]
    pack = stored[hurt.vault_key]
    data = bytearray(pack.data)
    data[(hurt.vault_offset or 0) + 5] ^= 1
    stored[hurt.vault_key] = replace(pack, data=bytes(data))
    rebuilt = {row.key: row for row in legs.rebuild()}
    assert rebuilt[hurt.key].rebuilt == Outcome.CORRUPT
    assert sum(row.arrived for row in rebuilt.values()) == 59
    with pytest.raises(NotFoundError):
        legs.target.stat(hurt.key)


def test_a_pack_that_is_gone_or_short(tmp_path: Path) -> None:
    """Objects of a pack that is not there are lost, those beyond its end corrupt; others arrive."""
    legs = Legs(tmp_path, objects=200)
    rows = legs.evacuate()
    packs = sorted({row.vault_key for row in rows if row.vault_offset is not None})
    stored = legs.vault._shared.containers["c"]
    del stored[packs[0]]
    cut = stored[packs[1]]
    stored[packs[1]] = replace(cut, data=cut.data[:1000], entry=replace(cut.entry, size=1000))
    outcomes = {row.key: row.rebuilt for row in legs.rebuild()}
    lost = [row.key for row in rows if row.vault_key == packs[0] and row.vault_offset is not None]
    assert {outcomes[key] for key in lost} == {Outcome.LOST}
    beyond = [r.key for r in rows if r.vault_key == packs[1] and (r.vault_offset or 0) + r.size > 1000]
    assert {outcomes[key] for key in beyond} == {Outcome.CORRUPT}
    assert sum(o == Outcome.COPIED for o in outcomes.values()) == 200 - len(lost) - len(beyond)


def test_nothing_counts_before_its_pack_is_written(tmp_path: Path) -> None:
    """A vault that fills up in the middle: rows of packs that were written are kept, no others, and nobody hangs."""
    legs = Legs(tmp_path, vault_behaviour=Behaviour(capacity_bytes=60_000))
    with pytest.raises(NoSpaceError):
        legs.evacuate()
    work = PartWork(tmp_path / "w1")
    kept = list(work.rows())
    work.close()
    assert 0 < len(kept) < 300
    for row in kept:
        if row.vault_offset is not None:
            with legs.vault.read(row.vault_key, offset=row.vault_offset, length=row.size) as stream:
                assert stream.read_all() == legs.source.read(row.key).read_all()
    object.__setattr__(legs.vault._shared.behaviour, "capacity_bytes", None)
    rows = legs.evacuate()
    assert [row.outcome for row in rows] == ["copied"] * 300
    assert {row.key: row.vault_key for row in kept}.items() <= {row.key: row.vault_key for row in rows}.items()


def test_a_stop_keeps_what_is_in_an_unfinished_pack(tmp_path: Path) -> None:
    """Stopped in the middle of a pack: it is written as far as it is, and its objects are not read again."""
    legs = Legs(tmp_path, pack_bytes=10_000_000)
    legs.stop = lambda: legs.meter.objects >= 100
    with pytest.raises(StoppedError):
        legs.evacuate()
    work = PartWork(tmp_path / "w1")
    done = work.done()
    work.close()
    assert len(done) >= 100
    legs.stop = lambda: False
    legs.meter = Meter()
    assert len(legs.evacuate()) == 300


def test_an_old_pack_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slow source a pack is written after a while though it is not full, so that its rows are committed."""
    monkeypatch.setattr(packing, "_OLD_SECONDS", 0.0)
    monkeypatch.setattr(partrun, "_COMMIT_SECONDS", 0.01)
    legs = Legs(tmp_path, objects=100, pack_bytes=10_000_000)
    slow = legs.source.read_small

    def read_small(*args: object, **kwargs: object) -> object:
        threading.Event().wait(0.002)
        return slow(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(legs.source, "read_small", read_small)
    legs.evacuate(threads=1)
    assert legs.packs > 3


def test_a_vault_that_loses_bytes_of_a_pack_is_found_at_once(tmp_path: Path) -> None:
    """A receipt for fewer bytes than were sent ends the leg; nothing of that pack counts."""
    legs = Legs(tmp_path, objects=30, vault_behaviour=Behaviour(loses_bytes=1))
    with pytest.raises(TransientError, match="other bytes"):
        legs.evacuate()


def test_digests_of_an_object_in_a_pack(tmp_path: Path) -> None:
    """SHA-256 and CRC-64 are of the object's own bytes, and the source's own digest is compared."""
    legs = Legs(tmp_path, objects=12)
    for row in legs.evacuate():
        data = legs.source.read(row.key).read_all()
        assert row.digests.compare(legs.source.stat(row.key).digests) is not Comparison.DIFFERENT
        assert row.sha256 is not None
        assert row.crc64nvme is not None
        assert len(data) == row.size


def test_the_shelf_reads_a_pack_once_for_many_threads() -> None:
    """Sixteen threads that want objects of the same pack cause one read of it."""
    calls: list[tuple[str, str]] = []
    vault = _open("vault", calls=calls)
    entry = vault.write(WriteRequest("packs/1", BytesBody(bytes(range(200))))).entry
    shelf = PackShelf(vault)
    row = LedgerRow("k", 10, None, None, None, "copied", vault_key="packs/1", vault_etag=entry.etag, vault_offset=50)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(shelf.get(row))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bytes(range(50, 60))] * 16
    assert [hook for hook, _ in calls].count("read") == 1
    with pytest.raises(DigestError, match="too short"):
        shelf.get(replace(row, vault_offset=195))
