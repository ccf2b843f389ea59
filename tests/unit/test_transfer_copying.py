"""One object on one leg, and a part of them: every outcome, every interruption, and what counts as done."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exitdrill.connector.objects import BytesBody, UploadMemory, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConnectorError,
    DigestError,
    InvalidKeyError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    RunError,
    StoppedError,
    TransientError,
)
from exitdrill.model.digests import DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope, Outcome
from exitdrill.model.record import DISAGREES
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer import partrun
from exitdrill.transfer.bodies import HashingBody
from exitdrill.transfer.copying import Evacuation, Rebuild
from exitdrill.transfer.packing import Parcel
from exitdrill.transfer.partrun import Meter, PartRun
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path, read_rows, summary, write_part
from exitdrill.transfer.tally import LegTally, leg_facts
from exitdrill.transfer.work import PartWork, RowMemory

_DATA = bytes(range(256)) * 40


def _digests(data: bytes) -> Digests:
    hasher = Hasher()
    hasher.update(data)
    return hasher.digests()


def _chunked(data: bytes, step: int = 100) -> Callable[[int, int | None], Iterator[bytes]]:
    def source(offset: int, length: int | None) -> Iterator[bytes]:
        end = len(data) if length is None else offset + length
        for at in range(offset, end, step):
            yield data[at : min(at + step, end)]

    return source


def _row(result: LedgerRow | Parcel) -> LedgerRow:
    assert isinstance(result, LedgerRow)
    return result


class _Memory:
    def load(self) -> dict[str, str]:
        return {}

    def save(self, state: dict[str, str]) -> None:
        raise AssertionError(state)


@dataclass
class Places:
    """Three places in memory, and what is to go wrong at each."""

    errors: dict[tuple[str, str, str], ConnectorError] = field(default_factory=dict)
    stopped: bool = False
    moved: int = 0
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    behaviour: Behaviour | None = None
    target_behaviour: Behaviour | None = None

    def __post_init__(self) -> None:
        self.source = self._open("source")
        self.vault = self._open("vault")
        self.target = self._open("target")

    def _open(self, name: str) -> MemoryStore:
        def before(hook: str, key: str) -> None:
            self.calls.append((name, hook, key))
            error = self.errors.get((name, hook, key)) or self.errors.get((name, hook, "*"))
            if error is not None:
                raise error

        behaviour = self.target_behaviour if name == "target" else self.behaviour if name == "vault" else None
        retry = RetryPolicy(attempts=2, base_seconds=0.0001, cap_seconds=0.001)
        provider = MemoryProvider(name, HONEST, behaviour, retry, before)
        provider.ensure_container("c")
        store = provider.objects("c")
        assert isinstance(store, MemoryStore)
        return store

    def put(self, key: str, data: bytes = _DATA, **envelope: str) -> InventoryRow:
        self.source.write(WriteRequest(key, BytesBody(data), Envelope(**envelope)))  # type: ignore[arg-type]
        return InventoryRow.of(next(e for e in self.source.list(key) if e.key == key))

    def evacuate(self, row: InventoryRow, memory: UploadMemory | None = None) -> LedgerRow:
        copy = Evacuation(self.source, self.vault, frozenset(), lambda: self.stopped, self._count)
        return _row(copy(row, memory or _Memory()))

    def rebuild(self, row: LedgerRow, prefix: str = "", mapping: str = "none") -> LedgerRow:
        copy = Rebuild(self.vault, self.target, "", prefix, mapping, lambda: self.stopped, self._count)
        return copy(row, _Memory())

    def _count(self, count: int) -> None:
        self.moved += count


# bodies


def test_a_body_is_hashed_once_however_often_it_is_opened() -> None:
    """Beginning again at 0, at an earlier part, or behind a gap gives the digest of the bytes and of nothing else."""
    body = HashingBody(len(_DATA), _chunked(_DATA))
    assert len(b"".join(body.open(0, 1000))) == 1000
    part = body.open(1000, 1000)
    next(part)  # a part that broke …
    assert b"".join(body.open(1000, 1000)) == _DATA[1000:2000]  # … and is sent again
    assert b"".join(body.open(5000)) == _DATA[5000:]  # parts before it were sent by a process that is gone
    assert body.digests() == _digests(_DATA)
    assert b"".join(body.open()) == _DATA
    assert body.digests() == _digests(_DATA)


def test_a_body_that_was_not_read_has_no_digests() -> None:
    """The digests of half the bytes are not given out for those of all."""
    body = HashingBody(len(_DATA), _chunked(_DATA), resource="r")
    next(body.open())
    with pytest.raises(DigestError, match="100 of 10240 bytes"):
        body.digests()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 10240])
@pytest.mark.parametrize("wrong", [True, False])
def test_the_last_bytes_are_held_back(size: int, wrong: bool) -> None:
    """Bytes that are not those expected never come out whole; the true cause is remembered."""
    data = _DATA[:size]
    expected = _digests(b"others" if wrong else data).only({DigestKind.SHA256})
    body = HashingBody(size, _chunked(data), (DigestKind.SHA256,), expected, "vault/x")
    came: list[bytes] = []
    if not wrong:
        assert b"".join(body.open()) == data
        assert body.failure is None
        return
    with pytest.raises(DigestError, match="not those that were put there"):
        came.extend(body.open())
    assert sum(len(chunk) for chunk in came) < max(size, 1)
    assert isinstance(body.failure, DigestError)


# evacuation


def test_evacuated_with_digests_and_envelope() -> None:
    """An object arrives with its bytes, its envelope in the ledger, our digests, and the source's compared."""
    there = Places()
    row = there.evacuate(there.put("a//b", content_type="text/plain"))
    assert (row.outcome, row.source_digest, row.sha256) == ("copied", "equal", _digests(_DATA).sha256)
    assert json.loads(row.envelope)["content_type"] == "text/plain"
    assert row.md5 is not None
    with there.vault.read(row.vault_key, etag=row.vault_etag) as stream:
        assert stream.read_all() == _DATA
    assert there.moved == len(_DATA)


def test_a_wrong_digest_at_the_source_costs_a_second_read_and_is_declared(tmp_path: Path) -> None:
    """The object is fetched again, kept as it is, and counted and named where the leg is added up."""
    there = Places()
    row = there.put("a")
    claims = json.dumps({"md5": "00" * 16})
    copied = there.evacuate(replace(row, claims=claims))
    assert (copied.outcome, copied.source_digest, copied.sha256) == ("copied", "different", _digests(_DATA).sha256)
    assert "the same bytes" in copied.detail
    assert there.moved == 2 * len(_DATA)
    with there.vault.read(copied.vault_key, etag=copied.vault_etag) as stream:
        assert stream.read_all() == _DATA
    tally = LegTally("evacuate")
    rows = [copied, there.evacuate(there.put("b"))]
    tally.counted({name: [getattr(r, name) for r in rows] for name in LedgerRow.__slots__})
    write_part(part_path(tmp_path, "evacuate", 0), rows, LedgerRow, tally.facts)
    leg, mishaps, total, _, digests = leg_facts(tmp_path, "evacuate")
    assert leg.outcomes[Outcome.COPIED].objects == 2
    assert [(m.key, m.problem, m.where) for m in mishaps] == [("a", DISAGREES, "evacuate")]
    assert (total, dict(digests)) == (1, {"different": 1, "equal": 1})


def test_an_object_gone_before_the_second_read_is_not_a_copy() -> None:
    """Bytes that disagree are not passed off as the object when the source has it no more."""
    there = Places()
    row = there.put("a")
    later = iter([None, NotFoundError("gone")])

    def before(name: str, key: str) -> None:
        if name == "read" and (error := next(later)) is not None:
            raise error

    source = MemoryProvider("source", HONEST, None, RetryPolicy(attempts=1), before)
    source.ensure_container("c")
    store = source.objects("c")
    store.write(WriteRequest("a", BytesBody(_DATA)))
    copy = Evacuation(store, there.vault, frozenset(), lambda: False, lambda _count: None)
    etag = store.stat("a").etag
    ended = _row(copy(replace(row, etag=etag, claims=json.dumps({"md5": "00" * 16})), _Memory()))
    assert (ended.outcome, ended.vault_key) == ("missing at source", "")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ChangedError("x"), Outcome.CHANGED),
        (NotFoundError("x"), Outcome.MISSING),
        (ArchivedError("x"), Outcome.ARCHIVED),
        (PermissionDeniedError("x"), Outcome.REFUSED),
    ],
)
def test_what_a_failed_read_makes_of_an_object(error: ConnectorError, outcome: Outcome) -> None:
    """Each way in which one object cannot be read is an outcome with its reason, and no error of the leg."""
    there = Places()
    listed = there.put("k")
    there.errors["source", "read", "k"] = error
    row = there.evacuate(listed)
    assert (row.outcome, "x" in row.detail, row.evacuated) == (outcome, True, False)


def test_changed_and_deleted_at_the_source() -> None:
    """A blob overwritten after the listing is changed, one that is gone is missing; nothing of them is copied."""
    there = Places()
    changed, gone, grown = there.put("a"), there.put("b"), there.put("c")
    there.put("a", b"other")
    there.source.delete("b")
    assert there.evacuate(changed).outcome == Outcome.CHANGED
    assert there.evacuate(gone).outcome == Outcome.MISSING
    assert there.evacuate(replace(grown, size=3)).outcome == Outcome.CHANGED
    assert list(there.vault.list()) == []


@pytest.mark.parametrize(
    ("place", "hook", "error"),
    [
        ("vault", "write", NoSpaceError("full")),
        ("source", "read", AuthenticationError("who?")),
        ("source", "read", TransientError("reset")),
        ("vault", "write", TransientError("reset")),
    ],
)
def test_what_is_wrong_with_a_whole_place_is_raised(place: str, hook: str, error: ConnectorError) -> None:
    """A full vault or refused credentials are no fault of the object: they end the leg."""
    there = Places()
    listed = there.put("k")
    there.errors[place, hook, "k"] = error
    with pytest.raises(type(error)):
        there.evacuate(listed)


def test_a_vault_that_stores_other_bytes_is_tried_again() -> None:
    """A vault that lost bytes answers with another size: never copied."""
    there = Places(behaviour=Behaviour(loses_bytes=1))
    with pytest.raises(TransientError, match="other bytes"):
        there.evacuate(there.put("k"))


def test_a_vault_that_refuses_one_object() -> None:
    """An error of the vault about one object is that object's outcome."""
    there = Places()
    listed = there.put("k")
    there.errors["vault", "write", "k"] = ConnectorError("no")
    assert there.evacuate(listed).outcome == Outcome.REFUSED
    there.errors["vault", "write", "k"] = InvalidKeyError("no")
    assert there.evacuate(listed).outcome == Outcome.UNREPRESENTABLE


def test_a_vault_with_key_rules_gets_hashed_names() -> None:
    """A key that the vault cannot hold stands there under the hash of it."""
    there = Places()
    there.vault.capabilities = there.vault.capabilities.narrowed(
        keys=replace(there.vault.capabilities.keys, empty_segments=False)
    )
    row = there.evacuate(there.put("a//b"))
    assert row.vault_key.startswith("by-sha256/")
    assert there.rebuild(row).rebuilt == Outcome.COPIED


def test_stopped_in_the_middle_of_an_object() -> None:
    """A wish to stop is heard between two chunks; the object is neither copied nor counted as anything."""
    there = Places()
    listed = there.put("k", b"x" * 3_000_000)
    copied = there.evacuate(listed)
    there.stopped = True
    with pytest.raises(StoppedError):
        there.evacuate(listed)
    with pytest.raises(StoppedError):
        there.rebuild(copied)
    assert list(there.target.list()) == []


# rebuild


def test_rebuilt_with_attestation_and_losses() -> None:
    """What arrived names the kinds of digest that the target computed itself, and what of the envelope it lost."""
    there = Places()
    rule = replace(there.target.capabilities.envelope, headers=frozenset({"content_type"}))
    there.target.capabilities = there.target.capabilities.narrowed(envelope=rule)
    listed = there.put("k", content_type="a/b", content_language="nl")
    row = there.rebuild(there.evacuate(listed), prefix="in/")
    assert (row.rebuilt, row.target_key, row.arrived) == ("copied", "in/k", True)
    assert set(row.attested.split(",")) >= {"sha256", "crc64nvme"}
    assert [loss[0] for loss in json.loads(row.losses)] == ["content_language"]


def test_a_flipped_bit_in_the_vault_never_becomes_an_object() -> None:
    """Corrupt and lost vault files are named, and no object with wrong bytes is written."""
    there = Places()
    rows = [there.evacuate(there.put(k)) for k in ("flipped", "replaced", "lost")]
    stored = there.vault._shared.containers["c"]
    bad = bytearray(_DATA)
    bad[5000] ^= 1
    stored["flipped"] = replace(stored["flipped"], data=bytes(bad))
    there.vault.write(WriteRequest("replaced", BytesBody(b"other")))
    there.vault.delete("lost")
    found = [there.rebuild(row) for row in rows]
    assert [r.rebuilt for r in found] == [Outcome.CORRUPT, Outcome.CORRUPT, Outcome.LOST]
    assert list(there.target.list()) == []
    assert there.rebuild(replace(rows[0], outcome="missing at source")).rebuilt == Outcome.NOT_EVACUATED


def test_what_the_target_says_of_one_object() -> None:
    """A target that refuses one object, loses bytes of it or cannot hold its key: each is an outcome."""
    there = Places()
    row = there.evacuate(there.put("k"))
    there.errors["target", "write", "k"] = ConnectorError("no")
    assert there.rebuild(row).rebuilt == Outcome.REFUSED
    there.errors["target", "write", "k"] = NoSpaceError("full")
    with pytest.raises(NoSpaceError):
        there.rebuild(row)
    there.errors.clear()
    there.errors["vault", "read", "k"] = AuthenticationError("who?")
    with pytest.raises(AuthenticationError):
        there.rebuild(row)
    rules = replace(there.target.capabilities.keys, max_bytes=2)
    there.target.capabilities = there.target.capabilities.narrowed(keys=rules)
    assert there.rebuild(row, prefix="longer/").rebuilt == Outcome.UNREPRESENTABLE
    assert there.rebuild(replace(row, key="\ud800"), mapping="percent").rebuilt == Outcome.UNREPRESENTABLE
    lossy = Places(target_behaviour=Behaviour(loses_bytes=3))
    assert lossy.rebuild(lossy.evacuate(lossy.put("k"))).rebuilt == Outcome.REFUSED


def test_bytes_altered_on_the_way_to_the_target_are_sent_again() -> None:
    """The vault's bytes were right and the target refuses their digest: a fault of the way, not of the object."""
    there = Places()
    row = there.evacuate(there.put("k"))
    there.errors["target", "write", "k"] = DigestError("wrong checksum")
    with pytest.raises(TransientError):
        there.rebuild(row)


# parts


@dataclass
class Part:
    """A part of the inventory, copied by a function of the test's."""

    folder: Path
    copy: Callable[[InventoryRow, UploadMemory], LedgerRow]
    rows: int = 30
    threads: int = 4
    stop: bool = False
    meter: Meter = field(default_factory=Meter)
    flushed: int = 0

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger" / "evacuate-000001.parquet"

    @property
    def work(self) -> Path:
        return self.folder / "work.sqlite"

    def run(self) -> list[LedgerRow]:
        source = self.folder / "part-000001.parquet"
        if not source.exists():
            rows = [InventoryRow(f"{n:04d}", n, None, None, None, "{}", None) for n in range(self.rows)]
            write_part(source, rows, InventoryRow)
        PartRun(
            source, InventoryRow, self.ledger, self.work, "evacuate", self.copy, self._flush, self.threads,
            lambda: self.stop, self.meter,
        ).run()  # fmt: skip
        return list(read_rows(self.ledger, LedgerRow))

    def _flush(self) -> None:
        self.flushed += 1


def _copied(row: InventoryRow) -> LedgerRow:
    return LedgerRow(row.key, row.size, row.etag, None, row.modified, Outcome.COPIED)


def test_a_part_is_copied_once(tmp_path: Path) -> None:
    """Every row is copied once, stands in the ledger in order, and the part is not touched again."""
    copied: list[str] = []

    def copy(row: InventoryRow, _memory: UploadMemory) -> LedgerRow:
        copied.append(row.key)
        return _copied(row)

    part = Part(tmp_path, copy)
    assert [r.key for r in part.run()] == [f"{n:04d}" for n in range(30)]
    assert sorted(copied) == [f"{n:04d}" for n in range(30)]
    assert summary(part.ledger)["objects"] == {"copied": 30}
    assert (part.meter.objects, part.meter.errors, part.flushed) == (30, 0, 1)
    assert not part.work.exists()
    part.run()
    assert len(copied) == 30


def test_what_was_committed_is_not_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop, the rows committed stay done; the others are copied; the ledger is the same in the end."""
    monkeypatch.setattr(partrun, "_COMMIT_ROWS", 1)
    copied: list[str] = []

    def copy(row: InventoryRow, _memory: UploadMemory) -> LedgerRow:
        if len(copied) == 10:
            part.stop = True
        copied.append(row.key)
        return _copied(row)

    part = Part(tmp_path, copy, threads=1)
    with pytest.raises(StoppedError):
        part.run()
    assert not part.ledger.exists()
    work = PartWork(part.work)
    done = work.done()
    work.close()
    assert 10 <= len(done) < 30
    part.stop = False
    part.meter = Meter()
    copied[:] = ["-"] * 11
    assert [r.key for r in part.run()] == [f"{n:04d}" for n in range(30)]
    assert {int(k) for k in copied[11:]} == set(range(30)) - done
    assert part.meter.objects == 30


def test_nothing_counts_before_it_is_flushed(tmp_path: Path) -> None:
    """Killed between writing and flushing: no row is committed, each is copied again."""

    def killed() -> None:
        raise RunError("killed before the flush")

    part = Part(tmp_path, lambda row, _m: _copied(row))
    part._flush = killed  # type: ignore[method-assign]
    with pytest.raises(RunError, match="killed"):
        part.run()
    work = PartWork(part.work)
    assert work.done() == set()
    work.close()


def test_an_error_does_not_lose_what_was_finished(tmp_path: Path) -> None:
    """A full vault ends the part; what other threads had finished by then is committed."""

    def copy(row: InventoryRow, _memory: UploadMemory) -> LedgerRow:
        if row.key == "0020":
            raise NoSpaceError("full")
        return _copied(row)

    part = Part(tmp_path, copy, threads=8)
    with pytest.raises(NoSpaceError):
        part.run()
    work = PartWork(part.work)
    done = work.done()
    work.close()
    assert done >= set(range(20))
    assert 20 not in done


def test_a_second_try_at_the_end(tmp_path: Path) -> None:
    """An object whose place did not answer is tried once more; one that fails again is refused, with the reason."""
    tries: dict[str, int] = {}

    def copy(row: InventoryRow, _memory: UploadMemory) -> LedgerRow:
        tries[row.key] = tries.get(row.key, 0) + 1
        if row.key == "0007" or (row.key == "0003" and tries[row.key] == 1):
            raise TransientError("503")
        return _copied(row)

    part = Part(tmp_path, copy)
    rows = {r.key: r for r in part.run()}
    assert (tries["0003"], tries["0007"], tries["0001"]) == (2, 2, 1)
    assert rows["0003"].outcome == Outcome.COPIED
    assert (rows["0007"].outcome, rows["0007"].detail) == (Outcome.REFUSED, "503")
    assert part.meter.errors == 1


@pytest.mark.parametrize("rows", [1, 30, 400])
def test_a_place_that_is_down_ends_the_leg(tmp_path: Path, rows: int) -> None:
    """When nothing answers any more, the leg ends instead of writing off every object, also in a small part."""

    def copy(_row: InventoryRow, _memory: UploadMemory) -> LedgerRow:
        raise TransientError("connection refused")

    part = Part(tmp_path, copy, rows=rows)
    with pytest.raises(TransientError):
        part.run()
    assert not part.ledger.exists()
    part.copy = lambda row, _m: _copied(row)
    assert {r.outcome for r in part.run()} == {Outcome.COPIED}


def test_rebuild_counts_what_arrived(tmp_path: Path) -> None:
    """On the second leg too, a row that fails twice is refused, and the evacuated row is kept."""
    source, ledger = tmp_path / "evacuate-000001.parquet", tmp_path / "rebuild-000001.parquet"
    rows = [LedgerRow(k, 5, None, None, None, "copied", sha256=b"x" * 32) for k in "ab"]
    write_part(source, rows, LedgerRow)

    def copy(row: LedgerRow, _memory: UploadMemory) -> LedgerRow:
        if row.key == "b":
            raise TransientError("503")
        return replace(row, rebuilt=Outcome.COPIED)

    meter = Meter()
    PartRun(source, LedgerRow, ledger, tmp_path / "w", "rebuild", copy, lambda: None, 2, lambda: False, meter).run()
    found = list(read_rows(ledger, LedgerRow))
    assert [(r.rebuilt, r.outcome) for r in found] == [("copied", "copied"), ("refused", "copied")]
    assert (meter.objects, meter.errors) == (2, 1)


# the work file


def test_work_keeps_uploads_until_the_row_is_done(tmp_path: Path) -> None:
    """The state of an upload in parts survives a process, and goes when its row is committed."""
    work = PartWork(tmp_path / "w.sqlite")
    memory = RowMemory(work, 3)
    assert memory.load() == {}
    memory.save({"upload": "u1"})
    work.close()
    work = PartWork(tmp_path / "w.sqlite")
    memory = RowMemory(work, 3)
    assert memory.load() == {"upload": "u1"}
    memory.save({})
    assert memory.load() == {}
    memory.save({"upload": "u2"})
    work.commit([(3, LedgerRow("k", 1, None, None, None, "copied"))])
    assert memory.load() == {}
    work.remove()
    assert list(tmp_path.iterdir()) == []


def test_work_on_a_full_disk(tmp_path: Path) -> None:
    """SQLite out of room: NoSpaceError, none of the group is kept, and it works again when there is room."""
    work = PartWork(tmp_path / "w.sqlite")
    work._db.execute("PRAGMA max_page_count = 4")
    rows = [(n, LedgerRow("k" * 500, n, None, None, None, "copied")) for n in range(200)]
    with pytest.raises(NoSpaceError):
        work.commit(rows)
    assert work.done() == set()
    work._db.execute("PRAGMA max_page_count = 100000")
    work.commit(rows)
    assert len(list(work.rows())) == 200
    work.close()


def test_work_that_is_no_database(tmp_path: Path) -> None:
    """A damaged work file is an error that names it, not a traceback."""
    (tmp_path / "w.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(RunError, match="cannot be used") as caught:
        PartWork(tmp_path / "w.sqlite")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
