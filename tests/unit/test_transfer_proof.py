"""What is proven at the target, at the source before the cut, and what teardown takes away."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitdrill.clock import SystemClock
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.errors import ConnectorError, NotFoundError, RunError, StoppedError, TransientError
from exitdrill.model.digests import DigestKind, Digests, Hasher
from exitdrill.model.objects import Outcome
from exitdrill.plan.drill import Level
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider, MemoryStore
from exitdrill.transfer.cleanup import Cleanup, Ours, clean_container
from exitdrill.transfer.lastlook import LastLook, last_look
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rename import target_key
from exitdrill.transfer.rows import LedgerRow, part_path, read_rows, write_part
from exitdrill.transfer.tally import LegTally, leg_facts
from exitdrill.transfer.verify import Verification, read_part_back, sample, verify

_SEED = b"s" * 32
_ATTESTED = ",".join(sorted(k.value for k in DigestKind if k is not DigestKind.CRC32C))


def _digests(data: bytes) -> Digests:
    hasher = Hasher((DigestKind.SHA256, DigestKind.CRC64NVME, DigestKind.MD5))
    hasher.update(data)
    return hasher.digests()


class Bucket:
    """A target in memory, and the ledger of what came to it."""

    def __init__(self, folder: Path, behaviour: Behaviour | None = None, **claims: object) -> None:
        self.folder, self.rows = folder, list[LedgerRow]()
        self.calls: list[tuple[str, str]] = []
        self.error: dict[tuple[str, str], ConnectorError] = {}
        self.provider = MemoryProvider("aws", HONEST.narrowed(**claims), behaviour, before=self._before)
        self.provider.ensure_container("b")
        store = self.provider.objects("b")
        assert isinstance(store, MemoryStore)
        self.store = store

    def _before(self, hook: str, key: str) -> None:
        self.calls.append((hook, key))
        if (error := self.error.get((hook, key))) is not None:
            raise error

    def put(self, key: str, data: bytes, mapping: str = "none") -> None:
        """As the rebuild would: the object and its row."""
        name = target_key(mapping, "", key)
        entry = self.store.write(WriteRequest(name, BytesBody(data))).entry
        d = _digests(data)
        self.rows.append(
            LedgerRow(
                key,
                len(data),
                "src",
                None,
                None,
                "copied",
                vault_key=key,
                sha256=d.sha256,
                crc64nvme=d.crc64nvme,
                md5=d.md5,
                target_key=name,
                target_etag=entry.etag,
                rebuilt="copied",
                attested=",".join(sorted(entry.digests.only(self.store.capabilities.attests).kinds & d.kinds)),
            )
        )

    def ledger(self, leg: str = "rebuild") -> None:
        rows = sorted(self.rows, key=lambda row: row.key)
        write_part(part_path(self.folder, leg, 1), rows, LedgerRow)

    def verify(
        self, level: Level, sample_size: int = 2, renamed: bool = False, stopped: Callable[[], bool] = lambda: False
    ) -> Verification:
        self.ledger()
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.calls.clear()
        return verify(self.store, "", self.folder, scratch, level, _SEED, sample_size, renamed, 4, stopped, Meter())


def _sums(found: Verification) -> tuple[int, int, int, int, int]:
    return found.equal, found.different, found.missing, found.extra, found.unattested


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("mapping", ["none", "percent"])
def test_everything_is_there(tmp_path: Path, level: Level, mapping: str) -> None:
    """At each level, also with keys renamed, what arrived whole is equal, and only what must be is read back."""
    bucket = Bucket(tmp_path)
    for key in ("a", "a//b", "a/b", "%", "a.", "a-"):
        bucket.put(key, key.encode() * 100, mapping)
    found = bucket.verify(level, renamed=mapping != "none")
    assert _sums(found) == (6, 0, 0, 0, 0)
    assert found.mishaps_total == 0
    assert found.reread_objects == {Level.SAMPLED: 2, Level.FULL: 6}.get(level, 0)
    assert found.record().attested_by == ({} if level is Level.LISTED else {"md5": 6})
    assert {hook for hook, _ in bucket.calls} == {"list"} | ({"read"} if found.reread_objects else set())


@pytest.mark.parametrize("level", list(Level))
def test_what_is_wrong_is_named_once(tmp_path: Path, level: Level) -> None:
    """Replaced with the same size, replaced with another, gone, and nobody's: each counted once, at every level."""
    bucket = Bucket(tmp_path)
    for key in "abcd":
        bucket.put(key, key.encode() * 100)
    bucket.store.write(WriteRequest("b", BytesBody(b"X" * 100)))
    bucket.store.write(WriteRequest("c", BytesBody(b"X" * 99)))
    bucket.store.delete("d")
    bucket.store.write(WriteRequest("e", BytesBody(b"new")))
    found = bucket.verify(level, sample_size=4)
    blind = level is Level.LISTED
    assert _sums(found) == ((2, 1, 1, 1, 0) if blind else (1, 2, 1, 1, 0))
    assert found.mishaps_total == len(found.mishaps) == (3 if blind else 4)
    named = {m.key: m.problem for m in found.mishaps}
    assert {k: named.get(k) for k in "cde"} == {"c": "different", "d": "missing", "e": "extra"}
    assert named.get("b") == (None if blind else "different")


def test_written_anew_with_the_same_bytes(tmp_path: Path) -> None:
    """Another ETag over the same bytes is not a difference; the place is asked, and its digest agrees."""
    bucket = Bucket(tmp_path, listing_digests=frozenset())
    bucket.put("a", b"data")
    assert _sums(bucket.verify(Level.ATTESTED)) == (1, 0, 0, 0, 0)
    assert ("stat", "a") not in bucket.calls  # the ETag of our own write vouches for it
    bucket.store.write(WriteRequest("a", BytesBody(b"data")))
    assert _sums(bucket.verify(Level.ATTESTED)) == (1, 0, 0, 0, 0)
    assert ("stat", "a") in bucket.calls
    bucket.error["stat", "a"] = NotFoundError("gone")
    assert _sums(bucket.verify(Level.ATTESTED)) == (0, 0, 1, 0, 0)


def test_constant_etags_vouch_for_nothing(tmp_path: Path) -> None:
    """Where other bytes give the same ETag, the answer to our write proves nothing later on."""
    behaviour = Behaviour(constant_etags=True)
    bucket = Bucket(tmp_path, behaviour, listing_digests=frozenset(), changing_etags=False)
    bucket.put("a", b"data")
    bucket.store.write(WriteRequest("a", BytesBody(b"atad")))
    assert _sums(bucket.verify(Level.ATTESTED)) == (0, 1, 0, 0, 0)


@pytest.mark.parametrize(("level", "equal", "unattested"), [("attested", 0, 3), ("sampled", 2, 1), ("full", 3, 0)])
def test_a_target_that_attests_nothing(tmp_path: Path, level: str, equal: int, unattested: int) -> None:
    """Without a digest of the target's own an object is unattested, unless every byte of it was read back."""
    bucket = Bucket(tmp_path, Behaviour(attests=frozenset()), attests=frozenset(), listing_digests=frozenset())
    for key in "abc":
        bucket.put(key, key.encode() * 10)
    found = bucket.verify(Level(level))
    assert (found.equal, found.unattested, found.different) == (equal, unattested, 0)


def test_only_reading_back_finds_what_an_echo_hides(tmp_path: Path) -> None:
    """A place that repeats our digests and stores other bytes is found out by reading back, and by nothing less."""
    bucket = Bucket(tmp_path, Behaviour(echoes_digests=True))
    bucket.put("a", b"data")
    stored = bucket.provider._shared.containers["b"]
    stored["a"] = replace(stored["a"], data=b"dat\x00")
    assert _sums(bucket.verify(Level.ATTESTED)) == (1, 0, 0, 0, 0)
    found = bucket.verify(Level.FULL)
    assert _sums(found) == (0, 1, 0, 0, 0)
    assert "SHA-256" in found.mishaps[0].detail
    bucket.error["read", "a"] = NotFoundError("gone")
    assert "cannot be read back" in bucket.verify(Level.FULL).mishaps[0].detail
    bucket.error["read", "a"] = TransientError("reset")
    with pytest.raises(TransientError):
        bucket.verify(Level.FULL)


def test_a_listing_in_another_order_than_claimed(tmp_path: Path) -> None:
    """A target that lists out of order is sorted instead; nothing is counted twice."""
    bucket = Bucket(tmp_path, Behaviour(shuffles_listings=True, page_objects=3))
    for n in range(20):
        bucket.put(f"{n:02d}", str(n).encode())
    assert _sums(bucket.verify(Level.ATTESTED)) == (20, 0, 0, 0, 0)


def test_a_listing_that_hides_objects(tmp_path: Path) -> None:
    """What the target does not list is missing, whatever it would answer when asked."""
    bucket = Bucket(tmp_path, Behaviour(hides_every=4))
    for n in range(20):
        bucket.put(f"{n:02d}", str(n).encode())
    assert _sums(bucket.verify(Level.FULL)) == (15, 0, 5, 0, 0)


def test_verification_stops(tmp_path: Path) -> None:
    """A wish to stop is heard while listing, and while a large object is read back."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"x" * 3_000_000)
    with pytest.raises(StoppedError):
        bucket.verify(Level.ATTESTED, stopped=lambda: True)
    with pytest.raises(StoppedError):
        bucket.verify(Level.FULL, stopped=lambda: ("read", "a") in bucket.calls)


def _read_back(bucket: Bucket, stopped: Callable[[], bool] = lambda: False) -> Meter:
    bucket.ledger()
    meter = Meter()
    read_part_back(bucket.store, bucket.folder, 1, 4, stopped, meter)
    return meter


def test_what_was_read_back_is_not_read_again(tmp_path: Path) -> None:
    """A part whose objects other processes read back: verification takes what they found, and reads none itself."""
    bucket = Bucket(tmp_path)
    for key in "abcde":
        bucket.put(key, key.encode() * 100)
    bucket.put("large", bytes(5 * 1024 * 1024))
    bucket.rows[1] = replace(bucket.rows[1], sha256=b"w" * 32)  # its bytes are not those
    bucket.store.delete("c")
    meter = _read_back(bucket)
    assert (meter.objects, meter.errors) == (6, 2)
    rows = {row.key: row.read_back for row in read_rows(part_path(bucket.folder, "readback", 1), LedgerRow)}
    assert (rows["a"], rows["large"]) == ("equal", "equal")
    assert "SHA-256" in rows["b"]
    assert "cannot be read back" in rows["c"]
    found = bucket.verify(Level.FULL)
    assert _sums(found) == (4, 1, 1, 0, 0)
    assert found.reread_objects == 5
    assert {hook for hook, _ in bucket.calls} == {"list"}
    assert _read_back(bucket).objects == 0


def test_reading_back_stops(tmp_path: Path) -> None:
    """Stopped in the middle: no part is written, and the next time begins it again."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"a")
    with pytest.raises(StoppedError):
        _read_back(bucket, lambda: True)
    assert not part_path(bucket.folder, "readback", 1).exists()
    assert _read_back(bucket).objects == 1


def test_the_sample_is_the_seed_s(tmp_path: Path) -> None:
    """The same seed chooses the same objects in whatever order they come; another seed others."""
    rows = [LedgerRow(f"{n}", 1, None, None, None, "copied") for n in range(1000)]
    chosen = {r.key for r in sample(rows, _SEED, 10)}
    assert len(chosen) == 10
    assert {r.key for r in sample(reversed(rows), _SEED, 10)} == chosen
    assert {r.key for r in sample(rows, b"t" * 32, 10)} != chosen
    assert len(sample(rows[:3], _SEED, 10)) == 3


# the last look


def _look(bucket: Bucket, stopped: Callable[[], bool] = lambda: False) -> LastLook:
    bucket.ledger("evacuate")
    scratch = bucket.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return last_look(bucket.store, "", bucket.folder, scratch, SystemClock(), stopped, Meter())


@pytest.mark.parametrize("shuffled", [True, False])
def test_last_look(tmp_path: Path, shuffled: bool) -> None:
    """New, changed and never evacuated objects are lost changes, the oldest bounds the loss; deleted ones are not."""
    source = Bucket(tmp_path, Behaviour(shuffles_listings=shuffled, page_objects=2))
    for key in ("same", "changed", "deleted", "archived"):
        source.put(key, key.encode())
    source.rows = [replace(r, etag=r.target_etag) for r in source.rows]
    source.rows[3] = replace(source.rows[3], outcome=Outcome.ARCHIVED)
    assert _look(source).lost == 1
    source.store.write(WriteRequest("changed", BytesBody(b"changed")))
    source.store.write(WriteRequest("new", BytesBody(b"new")))
    source.store.delete("deleted")
    stored, now = source.provider._shared.containers["b"], datetime.now(UTC)
    for key, minutes in (("changed", 5), ("new", 7), ("archived", 3)):
        entry = replace(stored[key].entry, modified=now - timedelta(minutes=minutes))
        stored[key] = replace(stored[key], entry=entry)
    found = _look(source)
    assert (found.lost, found.deleted) == (3, 1)
    assert found.oldest_lost_utc == now - timedelta(minutes=7)
    assert {m.key: m.detail for m in found.mishaps} == {
        "new": "appeared after the inventory",
        "changed": "changed after it was copied",
        "archived": "not in the vault: archived",
    }


def test_last_look_without_times_is_on_the_safe_side(tmp_path: Path) -> None:
    """A lost change of unknown time counts from the beginning of the look; a stop is heard."""
    source = Bucket(tmp_path)
    source.store.write(WriteRequest("new", BytesBody(b"new")))
    stored = source.provider._shared.containers["b"]
    stored["new"] = replace(stored["new"], entry=replace(stored["new"].entry, modified=None))
    found = _look(source)
    assert found.oldest_lost_utc == found.looked_utc
    with pytest.raises(StoppedError):
        _look(source, lambda: True)


# teardown


def _clean(bucket: Bucket, *, made: bool = True, own: bool = False, mapping: str = "none") -> Cleanup:
    scratch = bucket.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    ours = None if own else Ours(bucket.folder, lambda n: (bucket.folder / f"work-{n}").exists(), "", "", mapping)
    return clean_container(bucket.provider, bucket.store, "b", "", ours, made, scratch, 4, lambda: False, Meter())


def _keys(bucket: Bucket) -> set[str]:
    return set(bucket.provider._shared.containers.get("b", {}))


@pytest.mark.parametrize("mapping", ["none", "percent"])
@pytest.mark.parametrize("shuffled", [True, False])
def test_teardown_takes_what_the_run_made(tmp_path: Path, mapping: str, shuffled: bool) -> None:
    """Everything the rebuild wrote goes, and the container it made with it; a second time there is nothing to do."""
    bucket = Bucket(tmp_path, Behaviour(shuffles_listings=shuffled, page_objects=3))
    for key in ("a", "a//b", "a-", "%", "b."):
        bucket.put(key, b"x", mapping)
    bucket.ledger("evacuate")
    bucket.ledger()
    done = _clean(bucket, mapping=mapping)
    assert (done.deleted, done.left, done.removed_container) == (5, [], True)
    assert "b" not in bucket.provider._shared.containers
    assert _clean(bucket, mapping=mapping).deleted == 0


def test_teardown_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """A foreign object and one replaced by somebody else stay, are named, and keep the container."""
    bucket = Bucket(tmp_path)
    for key in "abc":
        bucket.put(key, b"x")
    bucket.ledger("evacuate")
    bucket.ledger()
    bucket.store.write(WriteRequest("b", BytesBody(b"theirs")))
    bucket.store.write(WriteRequest("z", BytesBody(b"theirs")))
    done = _clean(bucket)
    assert (done.deleted, done.left_total, done.removed_container) == (2, 3, False)
    assert _keys(bucket) == {"b", "z"}
    text = "\n".join(done.left)
    assert "replaced by somebody else" in text
    assert "not this run's" in text
    assert "not empty" in text


def test_teardown_keeps_a_container_of_somebody_else(tmp_path: Path) -> None:
    """A container that was there before stays, empty or not."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"x")
    bucket.ledger("evacuate")
    bucket.ledger()
    done = _clean(bucket, made=False)
    assert (done.deleted, done.removed_container, done.left) == (1, False, [])
    assert "b" in bucket.provider._shared.containers


def test_teardown_of_a_rebuild_that_never_began(tmp_path: Path) -> None:
    """An object under a key of the inventory is not ours before the rebuild began; once begun, it may be."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"theirs")
    bucket.rows[0] = replace(bucket.rows[0], rebuilt="", target_key="", target_etag=None)
    bucket.ledger("evacuate")
    assert _clean(bucket).deleted == 0
    assert _keys(bucket) == {"a"}
    (tmp_path / "work-1").touch()
    assert _clean(bucket).deleted == 1


@pytest.mark.parametrize(("outcome", "deleted"), [(Outcome.REFUSED, 1), (Outcome.LOST, 0), (Outcome.NOT_EVACUATED, 0)])
def test_teardown_of_what_did_not_arrive(tmp_path: Path, outcome: Outcome, deleted: int) -> None:
    """What the target may have taken although it refused goes; what was never sent is somebody else's."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"x")
    bucket.rows[0] = replace(bucket.rows[0], rebuilt=outcome, target_etag=None)
    bucket.ledger("evacuate")
    bucket.ledger()
    assert _clean(bucket).deleted == deleted


def test_teardown_says_what_it_could_not_delete(tmp_path: Path) -> None:
    """An object that cannot be deleted, and a container that cannot be removed, are named with the reason."""
    bucket = Bucket(tmp_path)
    bucket.put("a", b"x")
    bucket.ledger("evacuate")
    bucket.ledger()
    bucket.error["delete", "a"] = ConnectorError("a retention policy holds it")
    done = _clean(bucket)
    assert (done.deleted, done.left_total) == (0, 2)
    assert "a retention policy holds it" in done.left[0]
    bucket.error.clear()
    assert _clean(bucket, own=True).removed_container


def test_the_list_of_what_is_left_is_bounded() -> None:
    """A million things left behind are counted, and a hundred named."""
    done = Cleanup()
    for n in range(1000):
        done.leave(str(n))
    assert (done.left_total, len(done.left)) == (1000, 100)


# adding up


def test_a_leg_adds_up(tmp_path: Path) -> None:
    """Counts, exceptions and losses of all parts of a leg add up; names of user metadata count as one family."""
    losses = json.dumps([["user.A", "1", "no"], ["user.B", "2", "no"], ["tier", "Hot", "mapped"]])
    for number, outcome in ((1, "copied"), (2, "refused")):
        tally = LegTally("rebuild")
        rows = [
            LedgerRow(f"{number}-{n}", 10, None, None, None, "copied", rebuilt=outcome, losses=losses) for n in range(3)
        ]
        path = part_path(tmp_path, "rebuild", number)
        tally.counted({name: [getattr(row, name) for row in rows] for name in LedgerRow.__slots__})
        write_part(path, rows, LedgerRow, tally.facts)
    leg, mishaps, total, lost, _ = leg_facts(tmp_path, "rebuild")
    assert {o: (c.objects, c.size_bytes) for o, c in leg.outcomes.items()} == {
        Outcome.COPIED: (3, 30),
        Outcome.REFUSED: (3, 30),
    }
    assert (len(mishaps), total) == (3, 3)
    assert {(c.field, c.objects) for c in lost} == {("user", 12), ("tier", 6)}


def test_a_damaged_ledger_is_an_error(tmp_path: Path) -> None:
    """A ledger part that cannot be read is never taken for an empty one."""
    path = part_path(tmp_path, "rebuild", 1)
    path.write_bytes(b"PAR1")
    with pytest.raises(RunError, match="rebuild-000001"):
        leg_facts(tmp_path, "rebuild")
