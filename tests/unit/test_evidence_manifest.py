"""Manifest roots: what they cover, what each place claims, and when there is none."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from exitdrill.errors import EvidenceError, RunError, StoppedError
from exitdrill.evidence.manifest import (
    Part,
    Place,
    RunLedgers,
    encode,
    leaves,
    manifest_roots,
    metadata_digest,
)
from exitdrill.evidence.merkle import EMPTY_ROOT, leaf_hash, node_hash
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, ManifestRoot, ManifestRoots, Mishap, VerificationRecord
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.rows import InventoryRow, LedgerRow, batch_of, part_path, write_part

_ASSET = "case-files"
_CHECKED = AssetRecord(_ASSET, "objects", verification=VerificationRecord("attested"))
_MISSING = replace(_CHECKED, exceptions=(Mishap("a", "missing", "verify"),))
_ENVELOPE: dict[str, Any] = {"content_type": "text/plain", "user": {"case": "7"}, "tags": {"owner": "registry"}}


def _row(key: str, **changes: object) -> LedgerRow:
    digest = hashlib.sha256(key.encode()).digest()
    row = LedgerRow(key, len(key), '"e"', None, None, Outcome.COPIED, sha256=digest, envelope=json.dumps(_ENVELOPE))
    return replace(row, **changes)  # type: ignore[arg-type]  # mypy cannot follow names in a mapping


def _rebuilt(row: LedgerRow) -> LedgerRow:
    return row.at_target(row.key, Outcome.COPIED if row.evacuated else Outcome.NOT_EVACUATED)


@dataclass
class _Kept:
    """A ledger in memory, cut into parts."""

    inventory: list[list[LedgerRow]]
    evacuate: list[list[LedgerRow]] = field(default_factory=list)
    rebuild: list[list[LedgerRow]] = field(default_factory=list)
    whole: bool = True

    @classmethod
    def of(cls, *parts: Sequence[LedgerRow]) -> "_Kept":
        each = [list(part) for part in parts]
        return cls(each, [list(part) for part in each], [[_rebuilt(row) for row in part] for part in each])

    def complete(self, asset: str) -> bool:
        return self.whole and asset == _ASSET

    def parts(self, asset: str, part: Part) -> Sequence[int]:
        assert asset == _ASSET
        return range(1, len(getattr(self, part.value)) + 1)

    def batches(self, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        assert asset == _ASSET
        rows = getattr(self, part.value)[number - 1]
        yield batch_of(rows, LedgerRow).select(list(columns))


def _roots(kept: _Kept, measured: AssetRecord = _CHECKED) -> ManifestRoots:
    return manifest_roots(kept, measured)


def test_the_encoding_of_a_leaf_is_the_documented_one() -> None:
    """Byte for byte, with a digest of canonical JSON, so that anybody can write it again."""
    envelope = json.dumps({**_ENVELOPE, "tier": "Cool", "kind": "BlockBlob", "created": "2026-01-01T00:00:00Z"})
    metadata = hashlib.sha256(rfc8785.dumps(_ENVELOPE)).digest()
    assert metadata_digest(envelope, "[]") == metadata
    digest = b"\xab" * 32
    leaf = bytes.fromhex("01 00000003") + "é1".encode() + bytes.fromhex("00000000000001f4 01") + digest + metadata
    assert encode(("é1".encode(), 500, digest, metadata)) == leaf
    unread = bytes.fromhex("01 00000001 61 0000000000000007 00")
    assert encode((b"a", 7, None, None)) == unread


def test_the_root_is_that_of_the_sorted_leaves() -> None:
    """Two objects in two parts: one node over both leaves, the same at all three places."""
    one, two = _row("a"), _row("b")
    roots = _roots(_Kept.of([one], [two]))
    metadata = metadata_digest(one.envelope, "[]")
    hashes = [leaf_hash(encode((r.key.encode(), r.size, r.sha256, metadata))) for r in (one, two)]
    assert roots.source.root == node_hash(*hashes).hex()
    assert roots.same
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [2, 2, 2]


def test_an_empty_asset_has_the_empty_root() -> None:
    """No objects, no parts: RFC 6962's root of nothing, three times."""
    roots = _roots(_Kept([], [], []))
    assert (roots.source.root, roots.same) == (EMPTY_ROOT.hex(), True)


_KEYS = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20, unique=True).map(
    lambda keys: sorted(keys, key=str.encode)
)


def _cut(rows: Sequence[LedgerRow], at: Sequence[int]) -> list[list[LedgerRow]]:
    edges = [0, *sorted(n % (len(rows) + 1) for n in at), len(rows)]
    return [list(rows[a:b]) for a, b in pairwise(edges) if a < b]


@given(_KEYS.filter(lambda keys: all(_encodes(key) for key in keys)), st.lists(st.integers(0, 50), max_size=4))
def test_how_it_is_cut_into_parts_changes_nothing(keys: list[str], at: list[int]) -> None:
    """The same objects in other parts have the same root."""
    rows = [_row(key) for key in keys]
    assert _roots(_Kept.of(*_cut(rows, at))) == _roots(_Kept.of(rows))


def _encodes(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flip(value: bytes, bit: int) -> bytes:
    number = int.from_bytes(value) ^ (1 << bit % (8 * len(value)))
    return number.to_bytes(len(value))


def _text(value: str, bit: int) -> str:
    """Another text: one bit of one character, of the lowest five."""
    at = bit % len(value)
    return value[:at] + chr(ord(value[at]) ^ (1 << bit % 5)) + value[at + 1 :]


def _envelope(name: str, bit: int) -> str:
    changed: dict[str, Any] = json.loads(json.dumps(_ENVELOPE))
    if name == "content_type":
        changed[name] = _text(changed[name], bit)
    else:
        ((field_, value),) = changed[name].items()
        changed[name] = {_text(field_, bit): value} if bit & 1 else {field_: _text(value, bit >> 1)}
    return json.dumps(changed)


_CHANGES: Mapping[str, Callable[[LedgerRow, int], LedgerRow]] = {
    "size": lambda row, bit: replace(row, size=row.size ^ (1 << bit % 62)),
    "sha256": lambda row, bit: replace(row, sha256=_flip(row.sha256 or b"", bit)),
    "content_type": lambda row, bit: replace(row, envelope=_envelope("content_type", bit)),
    "user": lambda row, bit: replace(row, envelope=_envelope("user", bit)),
    "tags": lambda row, bit: replace(row, envelope=_envelope("tags", bit)),
}


@given(st.integers(0, 9), st.sampled_from(sorted(_CHANGES)), st.integers(0, 10_000))
def test_any_flipped_bit_of_any_row_changes_the_root(number: int, what: str, bit: int) -> None:
    """One bit of size, SHA-256 or metadata of one object of ten: another root, wherever it is."""
    kept, before = _ten(), _roots(_ten())
    rows = kept.rebuild[0] if bit & 2 else kept.evacuate[0]
    rows[number] = _CHANGES[what](rows[number], bit)
    if what == "size" and not bit & 2:
        kept.inventory[0][number] = rows[number]
    after = _roots(kept)
    if bit & 2:
        assert after.source == before.source
        assert after.target.root != before.target.root
    else:
        assert after.source.root == after.vault.root != before.source.root
        assert after.target == before.target
    assert not after.same


@given(st.integers(0, 9), st.integers(0, 10_000))
def test_any_flipped_bit_of_any_key_changes_the_root(number: int, bit: int) -> None:
    """As above; keys that were renamed so are in their own order."""
    keys = [f"key {n}" for n in range(10)]
    changed = sorted({*keys[:number], *keys[number + 1 :], _text(keys[number], bit)})
    assume(len(changed) == len(keys))
    rows = [_row(key, sha256=b"\7" * 32) for key in keys]
    others = [_row(key, sha256=b"\7" * 32) for key in changed]
    assume(changed != keys)
    assert _roots(_Kept.of(others)).source.root != _roots(_Kept.of(rows)).source.root


def _ten() -> _Kept:
    return _Kept.of([_row(f"key {n}") for n in range(10)])


@given(st.binary(max_size=40), st.integers(0, 2**40), st.data())
def test_no_two_leaves_have_one_encoding(key: bytes, size: int, data: st.DataObject) -> None:
    """Different fields, different bytes: nothing can move from one field into another."""
    one = (key, size, b"\0" * 32, b"\1" * 32)
    digests = data.draw(st.sampled_from([(None, None), (b"\0" * 32, b"\1" * 32), (b"\1" * 32, b"\0" * 32)]))
    other = (data.draw(st.binary(max_size=40)), data.draw(st.integers(0, 2**40)), *digests)
    assume(one != other)
    assert encode(one) != encode(other)


@pytest.mark.parametrize("change", ['"tier": "Hot"', '"kind": "AppendBlob"', '"created": "2020-01-01T00:00:00Z"'])
def test_what_is_the_places_own_is_not_in_it(change: str) -> None:
    """ETag, version, times, tier and kind of object may differ; the root does not."""
    row = _row("a")
    other = replace(row, etag='"other"', version="7", envelope=row.envelope[:-1] + f", {change}}}")
    assert _roots(_Kept.of([row])) == _roots(_Kept.of([other]))


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(st.dictionaries(_TEXTS, _TEXTS, max_size=5), st.dictionaries(_TEXTS, _TEXTS, max_size=5), st.none() | _TEXTS)
def test_metadata_is_canonical(user: dict[str, str], tags: dict[str, str], language: str | None) -> None:
    """The digest is that of RFC 8785's form, also where its order is not Python's, whatever order the ledger has."""
    given_ = {"user": user, "tags": tags, "content_language": language}
    kept = {name: value for name, value in given_.items() if value or value == ""}
    turned = {name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in kept.items()}
    expected = hashlib.sha256(rfc8785.dumps(kept)).digest()
    assert metadata_digest(json.dumps(kept), "[]") == metadata_digest(json.dumps(turned), "[]") == expected


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        ([["tags.owner", "registry", "no tags"]], {"content_type": "text/plain", "user": {"case": "7"}}),
        (
            [["user.case", "case", "comes back otherwise"]],
            {"content_type": "text/plain", "tags": {"owner": "registry"}},
        ),
        ([["content_type", "text/plain", "-"]], {"user": {"case": "7"}, "tags": {"owner": "registry"}}),
        ([["created", "2026-01-01T00:00:00Z", "cannot be set"], ["kind", "PageBlob", "-"]], _ENVELOPE),
    ],
)
def test_what_the_target_did_not_take_is_not_in_its_digest(losses: list[list[str]], left: dict[str, Any]) -> None:
    """Losses make another digest at the target; those of facts that are the place's own do not."""
    assert metadata_digest(json.dumps(_ENVELOPE), json.dumps(losses)) == hashlib.sha256(rfc8785.dumps(left)).digest()
    kept = _Kept.of([_row("a")])
    kept.rebuild[0][0] = replace(kept.rebuild[0][0], losses=json.dumps(losses))
    roots = _roots(kept)
    assert roots.source.root == roots.vault.root
    assert (roots.target.root == roots.vault.root) == (left == _ENVELOPE)


@pytest.mark.parametrize(
    "envelope",
    ["", "[]", "nonsense", '{"user": "x"}', '{"user": {"a": 1}}', '{"content_type": 7}', '{"tags": []}',
     '{"user": {"a": "\\ud800"}}', '{"user": ' + "[" * 5000 + "]" * 5000 + "}", '{"content_type": NaN}'],
)  # fmt: skip
def test_metadata_that_is_none_is_refused(envelope: str) -> None:
    """A ledger is read from a bundle that anybody may have made."""
    with pytest.raises(EvidenceError, match="not the metadata of an object"):
        metadata_digest(envelope, "[]")


@pytest.mark.parametrize("losses", ["{}", "7", "[1]", '[["a"]]', "nonsense"])
def test_losses_that_are_none_are_refused(losses: str) -> None:
    """As for metadata."""
    with pytest.raises(EvidenceError, match="not the metadata of an object"):
        metadata_digest("{}", losses)


def test_what_was_listed_and_did_not_arrive_is_at_the_source_only() -> None:
    """An object that could not be read is a leaf without digests: source and vault differ."""
    kept = _Kept.of([_row("a"), _row("b", outcome=Outcome.CHANGED, sha256=None), _row("c")])
    roots = _roots(kept)
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [3, 2, 2]
    assert roots.source.root != roots.vault.root == roots.target.root
    (_, unread, _) = leaves(kept, _CHECKED, Place.SOURCE)
    assert unread == (b"b", 1, None, None)


def test_a_part_that_was_not_evacuated_is_at_the_source_only() -> None:
    """A leg that did not get that far."""
    kept = _Kept.of([_row("a")], [_row("b")])
    del kept.evacuate[1], kept.rebuild[1]
    roots = _roots(kept)
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [2, 1, 1]


@pytest.mark.parametrize("outcome", [Outcome.CORRUPT, Outcome.LOST])
def test_what_the_vault_lost_is_not_there(outcome: Outcome) -> None:
    """The rebuild found it gone or damaged: neither vault nor target has it."""
    kept = _Kept.of([_row("a"), _row("b")])
    kept.rebuild[0][1] = kept.evacuate[0][1].at_target("b", outcome)
    roots = _roots(kept)
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [2, 1, 1]


def test_what_the_target_refused_is_not_there() -> None:
    """It is still in the vault."""
    kept = _Kept.of([_row("a"), _row("b")])
    kept.rebuild[0][0] = kept.evacuate[0][0].at_target("a", Outcome.REFUSED)
    roots = _roots(kept)
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [2, 2, 1]


@pytest.mark.parametrize("problem", ["different", "missing", "unattested"])
def test_what_was_not_proven_is_not_at_the_target(problem: str) -> None:
    """Verification's exceptions are left out, by the source's key."""
    found = replace(VerificationRecord("attested", equal=1), **{problem: 1})  # type: ignore[arg-type]  # as above
    measured = replace(_CHECKED, verification=found, exceptions=(Mishap("b", problem, "verify"),))
    roots = _roots(_Kept.of([_row("a"), _row("b")]), measured)
    assert [roots.source.objects, roots.vault.objects, roots.target.objects] == [2, 2, 1]


def test_an_object_renamed_at_the_target_has_its_sources_key() -> None:
    """A mapping of names loses nothing."""
    kept = _Kept.of([_row("a\\b")])
    kept.rebuild[0][0] = replace(kept.rebuild[0][0], target_key="a%5Cb")
    assert _roots(kept).same


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        (replace(_CHECKED, verification=None), "not verified"),
        (replace(_CHECKED, verification=VerificationRecord("listed", equal=1)), "level listed"),
        (
            replace(_MISSING, verification=VerificationRecord("full", missing=2)),
            "2 objects not proven at the target, of which the record names 1",
        ),
    ],
)  # fmt: skip
def test_when_the_target_has_no_root(measured: AssetRecord, why: str) -> None:
    """Names and sizes prove no bytes; what is not known object by object has no tree."""
    kept = _Kept.of([_row("a")])
    roots = _roots(kept, measured)
    assert (roots.target.root, roots.same) == ("", False)
    assert why in roots.target.why_not
    assert roots.source.root == roots.vault.root != ""
    with pytest.raises(EvidenceError, match="no manifest of the target"):
        next(leaves(kept, measured, Place.TARGET))


def test_without_the_whole_inventory_there_is_none() -> None:
    """What was listed so far is not what the source held."""
    kept = _Kept.of([_row("a")])
    kept.whole = False
    assert {root.why_not for root in _each(_roots(kept))} == {"the inventory is not complete"}


def _each(roots: ManifestRoots) -> tuple[ManifestRoot, ...]:
    return (roots.source, roots.vault, roots.target)


def _contradicting() -> Iterator[tuple[str, _Kept]]:
    a, b = _row("a"), _row("b")
    yield "keys out of order", _Kept.of([b, a])
    yield "keys out of order", _Kept.of([b], [a])
    yield "keys out of order", _Kept.of([a], [a])
    yield "has not what was listed", _Kept([[a]], [[b]], [[_rebuilt(b)]])
    yield "has not what was listed", _Kept([[a]], [[replace(a, size=99)]], [[_rebuilt(a)]])
    yield "fewer rows", _Kept([[a, b]], [[a]], [[_rebuilt(a)]])
    yield "more rows", _Kept([[a]], [[a, b]], [[_rebuilt(a)]])
    yield "other objects", _Kept([[a]], [[a]], [[_rebuilt(b)]])
    yield "fewer rows", _Kept([[a, b]], [[a, b]], [[_rebuilt(a)]])
    yield "without a SHA-256", _Kept.of([replace(a, sha256=None)])
    yield "not a SHA-256 digest", _Kept.of([replace(a, sha256=b"short")])
    yield "not the size", _Kept.of([replace(a, size=-1)])
    yield "not the metadata", _Kept.of([replace(a, envelope="[]")])


@pytest.mark.parametrize(("problem", "kept"), list(_contradicting()))
def test_parts_that_contradict_each_other_are_refused(problem: str, kept: _Kept) -> None:
    """Inventory and both ledgers must have the same objects in strict order."""
    with pytest.raises(EvidenceError, match=problem):
        _roots(kept)


def test_it_can_be_stopped() -> None:
    """Between batches."""
    with pytest.raises(StoppedError):
        manifest_roots(_Kept.of([_row("a")]), _CHECKED, lambda: True)


def test_from_a_runs_directory(tmp_path: Path) -> None:
    """The parts of a run give the same roots as the same rows in memory; a damaged part is an error."""
    directory, rows = RunDirectory(tmp_path), [_row(f"{n:04}") for n in range(5000)]
    listed = [InventoryRow(r.key, r.size, r.etag, None, None, "{}", None) for r in rows]
    write_part(part_path(directory.inventory(_ASSET), "part", 1), listed, InventoryRow)
    (directory.inventory(_ASSET) / "complete.json").write_text("{}")
    write_part(part_path(directory.ledger(_ASSET), "evacuate", 1), rows, LedgerRow)
    write_part(part_path(directory.ledger(_ASSET), "rebuild", 1), map(_rebuilt, rows), LedgerRow)
    assert manifest_roots(RunLedgers(directory), _CHECKED) == _roots(_Kept.of(rows))
    path = part_path(directory.ledger(_ASSET), "evacuate", 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises((RunError, EvidenceError)):
        manifest_roots(RunLedgers(directory), _CHECKED)


def test_large_metadata_is_not_remembered() -> None:
    """Ten thousand envelopes of 8 kB, Azure's most, leave next to nothing in memory."""
    tracemalloc.start()
    try:
        for number in range(10_000):
            metadata_digest(json.dumps({"user": {"a": f"{number:08}" * 1000}}), "[]")
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 8_000_000
