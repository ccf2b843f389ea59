"""What holds of the data plane whatever the objects, the outcomes and the order they come in."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.model.digests import DigestKind, Hasher
from exitdrill.model.objects import Outcome
from exitdrill.plan.drill import Level
from exitdrill.testing.keys import keys
from exitdrill.testing.memory import MemoryProvider
from exitdrill.transfer.bodies import HashingBody
from exitdrill.transfer.join import merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path, write_part
from exitdrill.transfer.sorting import sort_rows
from exitdrill.transfer.tally import LegTally, leg_facts
from exitdrill.transfer.verify import verify

_OUTCOMES = st.sampled_from(list(Outcome))


@given(st.lists(keys(), max_size=60), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_sorting_is_sorting(names: list[str], run_rows: int) -> None:
    """Rows come out of the external sort as `sorted` would give them, none lost and none made."""
    rows = [InventoryRow(name, n, None, None, None, "{}", None) for n, name in enumerate(names)]
    with tempfile.TemporaryDirectory() as folder:
        found = list(sort_rows(iter(rows), InventoryRow, lambda row: row.key, Path(folder), run_rows))
    assert found == sorted(rows, key=lambda row: row.key)


@given(st.sets(keys()), st.sets(keys()))
@settings(deadline=None)
def test_the_join_is_the_outer_join(left: set[str], right: set[str]) -> None:
    """Every key of either side comes once, with its partner where there is one, in the order of UTF-8 bytes."""
    found = list(merge_join(sorted(left), sorted(right), str, str))
    assert [a or b for a, b in found] == sorted(left | right, key=str.encode)
    assert {a for a, b in found if a is not None and b is not None} == left & right
    assert all(a == b for a, b in found if a is not None and b is not None)


@given(st.lists(st.lists(st.tuples(_OUTCOMES, st.integers(0, 9)), max_size=12), max_size=5))
@settings(deadline=None, max_examples=40)
def test_listed_is_copied_and_every_other_outcome(parts: list[list[tuple[Outcome, int]]]) -> None:
    """Objects and bytes of a leg add up to what was listed, whatever became of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, part in enumerate(parts, 1):
            tally = LegTally("rebuild")
            rows = [
                LedgerRow(f"{number}/{n}", size, None, None, None, "copied", rebuilt=outcome)
                for n, (outcome, size) in enumerate(part)
            ]
            path = part_path(folder, "rebuild", number)
            tally.counted({name: [getattr(row, name) for row in rows] for name in LedgerRow.__slots__})
            write_part(path, rows, LedgerRow, tally.facts)
        leg, mishaps, total, _, _ = leg_facts(folder, "rebuild")
    every = [item for part in parts for item in part]
    assert sum(c.objects for c in leg.outcomes.values()) == len(every)
    assert sum(c.size_bytes for c in leg.outcomes.values()) == sum(size for _, size in every)
    bad = [o for o, _ in every if o not in (Outcome.COPIED, Outcome.NOT_EVACUATED)]
    assert total == len(bad) == len(mishaps)


@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 5)), max_size=8))
def test_a_body_gives_one_digest_whatever_was_read_before(data: bytes, reads: list[tuple[int, int]]) -> None:
    """After any number of broken reads at any offsets, a whole read gives the digest of the bytes."""

    def source(offset: int, length: int | None) -> "list[bytes]":
        end = len(data) if length is None else offset + length
        return [data[at : min(at + 7, end)] for at in range(offset, end, 7)]

    body = HashingBody(len(data), lambda o, n: iter(source(o, n)))
    for offset, count in reads:
        for _, _chunk in zip(range(count), body.open(min(offset, len(data))), strict=False):
            pass
    assert b"".join(body.open()) == data
    hasher = Hasher((DigestKind.SHA256, DigestKind.CRC64NVME))
    hasher.update(data)
    assert body.digests() == hasher.digests()


_FATES = st.sampled_from(["whole", "replaced", "resized", "gone", "not arrived"])


@given(st.dictionaries(keys(), _FATES, max_size=12), st.sets(keys(), max_size=4), st.sampled_from(list(Level)))
@settings(deadline=None, max_examples=60)
def test_every_object_ends_as_exactly_one_thing(fates: dict[str, str], foreign: set[str], level: Level) -> None:
    """At every level equal, different, missing and unattested add up to what arrived, and extra to what is foreign."""
    provider = MemoryProvider()
    provider.ensure_container("b")
    store = provider.objects("b")
    rows = []
    for key, fate in sorted(fates.items()):
        data = key.encode() * 3
        hasher = Hasher()
        hasher.update(data)
        entry = store.write(WriteRequest(key, BytesBody(data))).entry
        ours = hasher.digests()
        row = LedgerRow(key, len(data), "e", None, None, "copied", sha256=ours.sha256, crc64nvme=ours.crc64nvme)
        row = replace(row, target_key=key, target_etag=entry.etag, rebuilt="copied", attested="sha256")
        rows.append(row if fate != "not arrived" else replace(row, rebuilt="refused"))
        if fate in ("replaced", "resized"):
            store.write(WriteRequest(key, BytesBody(b"\0" * (len(data) + (fate == "resized")))))
        if fate in ("gone", "not arrived"):
            store.delete(key)
    foreign -= set(fates)
    for key in foreign:
        store.write(WriteRequest(key, BytesBody(b"theirs")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_part(part_path(folder, "rebuild", 1), rows, LedgerRow)
        found = verify(store, "", folder, folder, level, b"s", 3, False, 2, lambda: False, Meter())
    count = list(fates.values()).count
    arrived = len(fates) - count("not arrived")
    assert found.equal + found.different + found.missing + found.unattested == arrived
    assert (found.missing, found.extra, found.unattested) == (count("gone"), len(foreign), 0)
    assert found.different == count("resized") + (0 if level is Level.LISTED else count("replaced"))
    assert len(found.mishaps) == found.mishaps_total == found.different + found.missing + found.extra
