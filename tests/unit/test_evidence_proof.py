"""Proofs about one key: those that hold, those that do not, and files that are none."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.cli import main
from exitdrill.errors import EvidenceError
from exitdrill.evidence.manifest import Part, Place, encode, leaves, manifest_roots
from exitdrill.evidence.merkle import EMPTY_ROOT, leaf_hash
from exitdrill.evidence.proof import MAX_BYTES, Proof, check, dump, load, prove, read
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, VerificationRecord
from exitdrill.transfer.rows import LedgerRow, batch_of

_MEASURED = AssetRecord("case-files", "objects", verification=VerificationRecord("full"))


class _Kept:
    """One part with these keys, all copied."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._rows = [
            LedgerRow(key, 7, None, None, None, Outcome.COPIED, sha256=b"\7" * 32).at_target(key, Outcome.COPIED)
            for key in sorted(keys, key=str.encode)
        ]

    def complete(self, asset: str) -> bool:
        return asset == "case-files"

    def parts(self, asset: str, part: Part) -> Sequence[int]:
        assert (asset, part) in [("case-files", one) for one in Part]
        return [1] if self._rows else []

    def batches(self, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        assert (asset, part, number) in [("case-files", one, 1) for one in Part]
        yield batch_of(self._rows, LedgerRow).select(list(columns))


def _prove(keys: Sequence[str], key: str, place: Place = Place.TARGET) -> Proof:
    return prove("20260105-060000-abcd", _Kept(keys), _MEASURED, place, key)


def _plain(keys: Sequence[str], key: str) -> Any:
    return json.loads(dump(_prove(keys, key)))


def _load(data: object) -> Proof:
    return load(json.dumps(data).encode(), "x.proof")


_KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(st.lists(_KEY, max_size=40, unique=True), _KEY, st.sampled_from(Place))
def test_every_key_can_be_proven_there_or_absent(keys: list[str], key: str, place: Place) -> None:
    """For any keys: what is there is proven present, what is not absent, under the root of the manifest, as a file."""
    root = bytes.fromhex(getattr(manifest_roots(_Kept(keys), _MEASURED), place.value).root)
    for wanted in (key, *keys[:3]):
        proof = load(dump(_prove(keys, wanted, place)), "x.proof")
        check(proof, root)
        assert (proof.present, proof.objects, proof.place) == (wanted in keys, len(keys), place)


def test_a_proof_is_about_a_kilobyte() -> None:
    """One object of a thousand."""
    assert len(dump(_prove([f"case/{n:05}.pdf" for n in range(1000)], "case/00500.pdf"))) < 1500


def test_absent_in_an_empty_tree() -> None:
    """Nothing is in it: no leaves are shown."""
    proof = _prove([], "a")
    assert (proof.root, proof.leaves, proof.present) == (EMPTY_ROOT, (), False)
    check(proof)


@pytest.mark.parametrize(("key", "beside"), [("A", ["b"]), ("c", ["b", "d"]), ("z", ["f"])])
def test_absent_before_between_and_behind(key: str, beside: list[str]) -> None:
    """The neighbours are shown; at an end there is one."""
    proof = _prove(["b", "d", "f"], key)
    assert [leaf.key for leaf in proof.leaves] == beside
    check(proof)


def _forged() -> Iterator[Proof]:
    """Proofs that claim what they do not show."""
    keys = [f"{n:02}" for n in range(20)]
    there, absent = _prove(keys, "07"), _prove(keys, "07x")
    leaf, (left, right) = there.leaves[0], absent.leaves
    yield replace(there, key="07x", leaves=())  # absent, with nothing to show for it
    yield replace(there, key="07x")  # absent, with one leaf that is at no end
    yield replace(absent, key="09")  # absent, though outside the gap shown
    yield replace(absent, leaves=(right, left))
    yield replace(absent, leaves=(left, left))
    yield replace(absent, leaves=(left, _prove(keys, "09").leaves[0]), key="08")  # with a gap that hides it
    yield replace(absent, leaves=(replace(left, key="07x"), right))
    yield replace(absent, key="07")  # present, with a neighbour
    for changed in (
        replace(leaf, index=8),
        replace(leaf, size=8),
        replace(leaf, key="07x"),
        replace(leaf, sha256=b"\6" * 32),
        replace(leaf, metadata=b"\6" * 32),
        replace(leaf, sha256=None, metadata=None),
        replace(leaf, path=leaf.path[1:]),
        replace(leaf, path=(*leaf.path, b"\0" * 32)),
    ):
        yield replace(there, leaves=(changed,), key=changed.key)
    yield replace(there, objects=2**40)
    yield replace(there, root=b"\0" * 32)
    yield replace(_prove([], "a"), objects=5)
    yield replace(_prove([], "a"), root=b"\0" * 32)


@pytest.mark.parametrize("proof", list(_forged()))
def test_a_proof_that_shows_something_else_is_refused(proof: Proof) -> None:
    """Also after it went through a file."""
    with pytest.raises(EvidenceError):
        check(load(dump(proof), "x.proof"))


@pytest.mark.parametrize("size", [4, 5, 8, 11])
def test_no_false_size_or_number_hides_a_key(size: int) -> None:
    """A root does not cover the tree's size; even so no claim about size and numbers makes a key that is there absent.

    Every leaf as the only neighbour, and every two leaves with another between them, under every claim up to size 20.
    """
    keys = [f"{n:02}" for n in range(size)]
    each = [_prove(keys, key).leaves[0] for key in keys]
    some = _prove(keys, "00")
    held = 0
    for claimed in range(1, 21):
        for at in range(claimed):
            for n, leaf in enumerate(each):
                one = replace(some, objects=claimed, leaves=(replace(leaf, index=at),))
                hidden = [replace(one, key="00")] * (n > 0) + [replace(one, key=keys[-1])] * (n < size - 1)
                for other in each[n + 2 :]:
                    both = (one.leaves[0], replace(other, index=at + 1))
                    hidden.append(replace(some, objects=claimed, leaves=both, key=keys[n + 1]))
                held += sum(_holds(proof) for proof in hidden)
    assert held == 0


def _holds(proof: Proof) -> bool:
    try:
        check(proof)
    except EvidenceError:
        return False
    return True


def test_a_proof_under_another_root_is_refused() -> None:
    """A proof that holds by itself is of another run, asset or place."""
    proof = _prove(["a", "b"], "a")
    check(proof, proof.root)
    with pytest.raises(EvidenceError, match="another root"):
        check(proof, _prove(["a", "c"], "a").root)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_a_proof_can_be_changed_unseen(at: int, by: int) -> None:
    """A flipped byte is refused, or says the same of the same key, size and digests under the same root."""
    before = _prove([f"{n:02}" for n in range(20)], "07")
    data = bytearray(dump(before))
    data[at % len(data)] ^= by
    try:
        proof = load(bytes(data), "x.proof")
        check(proof, before.root)
    except EvidenceError:
        return
    # What the root does not cover, it does not protect: run, asset, place, numbers; and white space says nothing.
    (leaf,) = proof.leaves
    uncovered = {"run": before.run, "asset": before.asset, "place": before.place, "objects": before.objects}
    same = replace(leaf, index=before.leaves[0].index)
    assert replace(proof, **uncovered, leaves=(same,)) == before  # type: ignore[arg-type]  # names in a mapping


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_proof_is_an_evidence_error(data: bytes) -> None:
    """Bytes or JSON of any kind: refused, and with no other error."""
    with pytest.raises(EvidenceError):
        check(load(data, "x.proof"))


@given(st.sampled_from(["format", "run", "asset", "place", "key", "objects", "root", "leaves"]), _JSON)
def test_any_value_in_any_member(name: str, value: object) -> None:
    """It loads and then holds or does not; nothing but an EvidenceError comes out."""
    data = _plain(["a", "b", "c"], "b")
    data[name] = value
    try:
        check(_load(data), _prove(["a", "b", "c"], "b").root)
    except EvidenceError:
        return
    assert name in ("run", "asset", "objects")


@given(st.sampled_from(["key", "size", "sha256", "metadata", "path"]), _JSON)
def test_any_value_in_any_member_of_a_leaf(name: str, value: object) -> None:
    """As above: a leaf is covered by the root in every member but its number."""
    data = _plain(["a", "b", "c"], "b")
    if data["leaves"][0][name] == value and type(data["leaves"][0][name]) is type(value):
        return
    data["leaves"][0][name] = value
    with pytest.raises(EvidenceError):
        check(_load(data))


def _hostile() -> Iterator[bytes]:
    good = dump(_prove(["a", "b", "c"], "b")).decode()
    yield good.replace('"objects": 3', '"objects": ' + "9" * 100_000).encode()
    yield good.replace('"objects": 3', '"objects": 1e400').encode()
    yield good.replace('"objects": 3', '"objects": NaN').encode()
    yield good.replace('"objects": 3', '"objects": -3').encode()
    yield good.replace('"objects": 3', '"objects": true').encode()
    yield good.replace('"objects": 3', '"objects": 3, "objects": 3').encode()
    yield good.replace('"objects": 3', '"objects": 3, "more": 1').encode()
    yield good.replace('"index": 1', '"index": 1, "index": 1').encode()
    yield good.replace('"key": "b"', '"key": "\\ud800"').encode()
    yield good.replace('"key": "b"', '"key": "\udcff"').encode("utf-8", "surrogatepass")
    yield good.replace("exitdrill manifest proof 1", "exitdrill manifest proof 2").encode()
    yield (good + good).encode()
    yield b"[" * 100_000
    yield b'{"a":' * 50_000
    yield b"\xff\xfe" + good.encode("utf-16-le")
    yield b" " * (MAX_BYTES + 1)
    yield b""


@pytest.mark.parametrize("data", list(_hostile()), ids=range(len(list(_hostile()))))
def test_hostile_files(data: bytes) -> None:
    """Huge numbers, deep nesting, members twice or too many, other encodings, other formats."""
    with pytest.raises(EvidenceError):
        load(data, "x.proof")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """100 MB, sparse: refused by its size, with not more read than a proof can have."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(EvidenceError, match="too large"):
        read(path)


def test_a_key_of_the_ledger_that_is_no_text() -> None:
    """Bytes of a hostile ledger are no reason to crash."""

    class Hostile(_Kept):
        def batches(self, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(asset, part, number, columns):
                offsets, data = pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")
                key = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
                yield batch.set_column(0, "key", key)

    kept = Hostile(["a"])
    (only,) = leaves(kept, _MEASURED, Place.VAULT)
    assert only[0] == b"\xff"
    with pytest.raises(EvidenceError, match="no UTF-8"):
        prove("r", kept, _MEASURED, Place.VAULT, "a")


# exitdrill verify


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    path = tmp_path / "x.proof"
    path.write_bytes(dump(_prove(["a", "b", "c"], "b")))
    return path


def _root(keys: Sequence[str]) -> str:
    return _prove(keys, "b").root.hex()


def test_verify_says_that_the_root_was_not_compared(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A proof without a root to compare with is checked, and what that leaves open is said."""
    assert main.run(["verify", str(proof)]) == 0
    said = capsys.readouterr().out
    assert "present, in a tree of 3 objects" in said
    assert "compared  NO: compare the root with one from a verified bundle" in said
    assert main.run(["verify", str(proof), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["present"], facts["root_compared"], facts["sha256"]) == (True, False, "07" * 32)


def test_verify_with_the_root(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The right root is confirmed; another one is exit code 5, one that is none 2."""
    assert main.run(["verify", str(proof), "--root", _root(["a", "b", "c"])]) == 0
    assert "compared  yes" in capsys.readouterr().out
    assert main.run(["verify", str(proof), "--root", _root(["b"])]) == 5
    assert "another root" in capsys.readouterr().err
    assert main.run(["verify", str(proof), "--root", "abc"]) == 2
    assert main.run(["verify", str(proof), "--root", "abcd"]) == 2


@pytest.mark.parametrize("edit", [lambda data: data[:-40], lambda data: data.replace(b'"size": 7', b'"size": 8')])
def test_verify_of_what_does_not_hold_is_exit_code_5(
    proof: Path, edit: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Torn or changed."""
    proof.write_bytes(edit(proof.read_bytes()))
    assert main.run(["verify", str(proof)]) == 5
    assert "error" in capsys.readouterr().err


def test_verify_shows_hostile_text_harmlessly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key, run or asset with escapes for a terminal is shown as text."""
    path, key = tmp_path / "x.proof", "\x1b[31mred\n\u202eevil"
    path.write_bytes(dump(replace(_prove([key, "b"], key), run="\x1b[2J", asset="\u202e")))
    assert main.run(["verify", str(path)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_a_leaf_is_hashed_as_documented() -> None:
    """A proof in a tree of one leaf is the leaf's hash."""
    proof = _prove(["a"], "a")
    assert proof.root == leaf_hash(encode(proof.leaves[0].fields))
