"""Merkle trees: the published vectors, and everything else against RFC 6962's own recursive definitions."""

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.errors import EvidenceError
from exitdrill.evidence.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_ranges,
    hash_ranges,
    inclusion_ranges,
    inclusion_root,
    leaf_hash,
    node_hash,
    range_hash,
    verify_consistency,
    verify_inclusion,
)

# The inputs and roots of https://github.com/transparency-dev/merkle, testonly/constants.go.
_INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
_INPUTS.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
_LINES = (Path(__file__).parent / "data" / "rfc6962-proofs.jsonl").read_text().splitlines()
_VECTORS: list[Mapping[str, Any]] = [json.loads(line) for line in _LINES[1:]]
_NOT_HASHES = "consistency/additional/sizes-are-equal-one-and-proof-is-empty"
"""Accepted there because twelve bytes of text equal themselves; we ask for a hash first."""
_LARGEST = 70
_HASHES = [leaf_hash(str(n).encode()) for n in range(_LARGEST)]


def _naive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = max(2**n for n in range(len(hashes)) if 2**n < len(hashes))
    return node_hash(_naive_root(hashes[:split]), _naive_root(hashes[split:]))


def _naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(hashes) == 1:
        return []
    split = max(2**n for n in range(len(hashes)) if 2**n < len(hashes))
    if index < split:
        return [*_naive_path(index, hashes[:split]), _naive_root(hashes[split:])]
    return [*_naive_path(index - split, hashes[split:]), _naive_root(hashes[:split])]


def _naive_proof(first: int, hashes: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if first == len(hashes):
        return [] if whole else [_naive_root(hashes)]
    split = max(2**n for n in range(len(hashes)) if 2**n < len(hashes))
    if first <= split:
        return [*_naive_proof(first, hashes[:split], whole=whole), _naive_root(hashes[split:])]
    return [*_naive_proof(first - split, hashes[split:], whole=False), _naive_root(hashes[:split])]


def _frontier(hashes: Sequence[bytes]) -> Frontier:
    frontier = Frontier()
    frontier.extend(hashes)
    return frontier


def _bytes(value: str | None) -> bytes:
    return base64.b64decode(value or "")


@pytest.mark.parametrize("size", range(len(_ROOTS)))
def test_published_roots(size: int) -> None:
    """The root over the first n published inputs is the published one."""
    frontier = Frontier()
    for leaf in _INPUTS[:size]:
        frontier.append(leaf)
    assert (frontier.root().hex(), frontier.size) == (_ROOTS[size], size)


def _check(vector: Mapping[str, Any]) -> None:
    path = [_bytes(step) for step in vector["proof"] or []]
    if "leafIdx" in vector:
        found, root = _bytes(vector["leafHash"]), _bytes(vector["root"])
        verify_inclusion(vector["leafIdx"], vector["treeSize"], found, path, root)
    else:
        roots = _bytes(vector["root1"]), _bytes(vector["root2"])
        verify_consistency(vector["size1"], vector["size2"], *roots, path)


@pytest.mark.parametrize("vector", _VECTORS, ids=[vector["name"] for vector in _VECTORS])
def test_published_proofs(vector: Mapping[str, Any]) -> None:
    """Published proofs that hold are accepted, and those that do not are refused."""
    if vector["wantErr"] or vector["name"] == _NOT_HASHES:
        with pytest.raises(EvidenceError):
            _check(vector)
    else:
        _check(vector)


@pytest.mark.parametrize("size", range(_LARGEST + 1))
def test_roots_and_proofs_are_those_of_the_definition(size: int) -> None:
    """For every small size, root, inclusion and consistency proofs equal the recursive definitions."""
    hashes = _HASHES[:size]
    root = _frontier(hashes).root()
    assert root == _naive_root(hashes)
    for index in range(size):
        path = hash_ranges(hashes, inclusion_ranges(index, size))
        assert path == _naive_path(index, hashes)
        verify_inclusion(index, size, hashes[index], path, root)
    for first in range(1, size + 1):
        path = [range_hash(hashes, one) for one in consistency_ranges(first, size)]
        assert path == _naive_proof(first, hashes)
        verify_consistency(first, size, _naive_root(hashes[:first]), root, path)


@given(st.integers(1, 3000), st.data())
def test_several_proofs_from_one_pass(size: int, data: st.DataObject) -> None:
    """Two proofs come from one pass over leaves that are never all in memory."""
    first, second = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    wanted = [inclusion_ranges(first, size), inclusion_ranges(second, size)]
    found = hash_ranges((leaf_hash(str(n).encode()) for n in range(size)), [*wanted[0], *wanted[1]])
    roots = {
        inclusion_root(index, size, leaf_hash(str(index).encode()), path)
        for index, path in ((first, found[: len(wanted[0])]), (second, found[len(wanted[0]) :]))
    }
    assert roots == {_frontier([leaf_hash(str(n).encode()) for n in range(size)]).root()}


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_frontier_goes_on_from_its_bytes(first: int, more: int) -> None:
    """Kept as bytes, read again and appended to, it is the same tree; its copy is a tree of its own."""
    hashes = [leaf_hash(str(n).encode()) for n in range(first + more)]
    frontier = Frontier.from_bytes(_frontier(hashes[:first]).to_bytes())
    twin = frontier.copy()
    frontier.extend(hashes[first:])
    assert (frontier.size, frontier.root()) == (first + more, _naive_root(hashes))
    assert (twin.size, twin.root()) == (first, _naive_root(hashes[:first]))


def test_a_frontier_is_small() -> None:
    """It holds a hash for each set bit of the size: 17 leaves, two hashes."""
    assert len(_frontier(_HASHES[:17]).to_bytes()) == 8 + 2 * 32


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 7 + b"\3" + b"x" * 32, b"\0" * 8 + b"x"])
def test_bytes_that_are_no_frontier(data: bytes) -> None:
    """Bytes of another length than the size asks for are refused."""
    with pytest.raises(EvidenceError, match="frontier"):
        Frontier.from_bytes(data)


@given(st.integers(2, _LARGEST), st.data())
def test_one_bit_makes_any_proof_fail(size: int, data: st.DataObject) -> None:
    """A flipped bit in leaf, path or root, another number, another size or a step more or less: refused."""
    hashes = _HASHES[:size]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    root, path = _naive_root(hashes), _naive_path(index, hashes)
    steps = [hashes[index], *path, root]
    where = data.draw(st.integers(0, len(steps) - 1))
    steps[where] = _flip(steps[where], data.draw(st.integers(0, 255)))
    with pytest.raises(EvidenceError):
        verify_inclusion(index, size, steps[0], steps[1:-1], steps[-1])
    for wrong in (path[:-1], [*path, root], path[1:]):
        with pytest.raises(EvidenceError):
            verify_inclusion(index, size, hashes[index], wrong, root)
    proof, first_root = _naive_proof(first, hashes), _naive_root(hashes[:first])
    steps = [first_root, *proof, root]
    where = data.draw(st.integers(0, len(steps) - 1))
    steps[where] = _flip(steps[where], data.draw(st.integers(0, 255)))
    with pytest.raises(EvidenceError):
        verify_consistency(first, size, steps[0], steps[-1], steps[1:-1])
    for wrong in (proof[:-1], [*proof, root]):
        with pytest.raises(EvidenceError):
            verify_consistency(first, size, first_root, root, wrong)


def _flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    "call",
    [
        lambda: inclusion_ranges(0, 0),
        lambda: inclusion_ranges(-1, 3),
        lambda: inclusion_ranges(3, 3),
        lambda: consistency_ranges(4, 3),
        lambda: consistency_ranges(-1, 3),
        lambda: hash_ranges(_HASHES[:3], inclusion_ranges(0, 5)),
        lambda: inclusion_root(0, 2**64, _HASHES[0], []),
        lambda: inclusion_root(0, 1, b"short", []),
        lambda: verify_consistency(3, 3, EMPTY_ROOT, _HASHES[0], []),
        lambda: verify_consistency(0, 3, _HASHES[0], _HASHES[0], []),
        lambda: verify_consistency(2, 3, _HASHES[0], _HASHES[0], []),
    ],
)
def test_what_no_tree_has_is_refused(call: Callable[[], object]) -> None:
    """Numbers out of range, leaves that are missing, hashes of another length."""
    with pytest.raises(EvidenceError):
        call()


def test_leaves_are_read_no_further_than_needed() -> None:
    """The pass ends with the last subtree that is asked for."""
    source = itertools.count()
    hashes = (leaf_hash(str(n).encode()) for n in source)
    hash_ranges(hashes, [range(4, 6)])
    assert next(source) == 6
