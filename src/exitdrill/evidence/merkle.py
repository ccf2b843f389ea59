"""RFC 6962 Merkle trees over SHA-256: roots, proofs and their verification, each in one pass over the leaves.

A leaf's hash is SHA-256 of 0x00 and the leaf, a node's that of 0x01 and both children; the empty tree's root is
the hash of nothing. A tree of n leaves is split at the largest power of two below n. A `Frontier` holds the roots
of the complete subtrees so far, one a set bit of the size: no more than 64 hashes however many leaves.

A proof is a list of subtrees, each a range of leaves, nearest to the leaves first: `inclusion_ranges` and
`consistency_ranges` name them, and their hashes come from `hash_ranges` in one pass over the leaf hashes, or from
`range_hash` where all are in memory. Verification follows RFC 9162, 2.1.3.2 and 2.1.4.2 (the same trees as RFC 6962,
with the algorithm spelt out): it returns a value or raises EvidenceError.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Self

from exitdrill.errors import EvidenceError

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Frontier",
    "consistency_ranges",
    "hash_ranges",
    "inclusion_ranges",
    "inclusion_root",
    "leaf_hash",
    "node_hash",
    "range_hash",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
_SIZE_BYTES = 8
_MAX_SIZE = 2 ** (8 * _SIZE_BYTES) - 1


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf (RFC 6962, 2.1)."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with these two children (RFC 6962, 2.1)."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """A tree that leaves are appended to, of which only the right edge is kept."""

    def __init__(self) -> None:
        """An empty tree."""
        self._size = 0
        self._complete: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Append a leaf."""
        self.extend((sha256(b"\0" + leaf).digest(),))

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaves by their hashes."""
        complete, size = self._complete, self._size
        for found in leaf_hashes:
            node, rest = found, size
            while rest & 1:
                node = sha256(b"\1" + complete.pop() + node).digest()
                rest >>= 1
            complete.append(node)
            size += 1
        self._size = size

    def root(self) -> bytes:
        """The root over the leaves so far."""
        if not self._complete:
            return EMPTY_ROOT
        *lefts, root = self._complete
        for left in reversed(lefts):
            root = node_hash(left, root)
        return root

    def copy(self) -> "Frontier":
        """A second tree with the same leaves."""
        twin = Frontier()
        twin._size, twin._complete = self._size, self._complete.copy()
        return twin

    def to_bytes(self) -> bytes:
        """The size (eight bytes, big-endian) and the roots of the complete subtrees, the largest first."""
        return self._size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._complete)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`. Raises EvidenceError if it is none."""
        size = int.from_bytes(data[:_SIZE_BYTES], "big")
        if len(data) != _SIZE_BYTES + size.bit_count() * HASH_BYTES:
            raise EvidenceError("not the frontier of a tree", expected="a hash for each set bit of the size")
        frontier = cls()
        frontier._size = size
        frontier._complete = [data[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, len(data), HASH_BYTES)]
        return frontier


def _split(size: int) -> int:
    """The largest power of two below ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[range]:
    """The subtrees whose hashes prove that a leaf is in a tree (RFC 6962, 2.1.1).

    Args:
        index: The leaf's, from 0.
        size: The tree's.

    Returns:
        Ranges of leaf numbers, the nearest to the leaf first.

    Raises:
        EvidenceError: The tree has no such leaf.
    """
    if not 0 <= index < size:
        raise EvidenceError(f"a tree of {size} leaves has no leaf {index}")
    found: list[range] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            found.append(range(middle, stop))
            stop = middle
        else:
            found.append(range(start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[range]:
    """The subtrees whose hashes prove that one tree begins with another (RFC 6962, 2.1.2).

    Args:
        first: The size of the earlier tree.
        second: The size of the later one.

    Returns:
        Ranges of leaf numbers, in the order of the proof; none if either tree is empty or both are the same.

    Raises:
        EvidenceError: The earlier one is the larger.
    """
    if not 0 <= first <= second:
        raise EvidenceError(f"a tree of {second} leaves does not begin with {first}")
    if first in (0, second):
        return []
    found: list[range] = []
    start, stop, whole = 0, second, True
    while first != stop:
        middle = start + _split(stop - start)
        if first <= middle:
            found.append(range(middle, stop))
            stop = middle
        else:
            found.append(range(start, middle))
            start, whole = middle, False
    if not whole:
        found.append(range(start, stop))
    return found[::-1]


def range_hash(leaf_hashes: Sequence[bytes], wanted: range) -> bytes:
    """The hash of a subtree whose leaves are in memory."""
    frontier = Frontier()
    frontier.extend(leaf_hashes[wanted.start : wanted.stop])
    return frontier.root()


def hash_ranges(leaf_hashes: Iterable[bytes], wanted: Sequence[range]) -> list[bytes]:
    """The hashes of subtrees, in one pass over a tree's leaves and in memory that does not depend on their number.

    Args:
        leaf_hashes: Of all leaves, in order; read no further than needed.
        wanted: Ranges of leaf numbers, of one proof or several.

    Raises:
        EvidenceError: There are too few leaves.
    """
    trees = [Frontier() for _ in wanted]
    source, at = iter(leaf_hashes), 0
    for stop in sorted({edge for one in wanted for edge in (one.start, one.stop)}):
        piece = islice(source, stop - at)
        within = [tree for one, tree in zip(wanted, trees, strict=True) if one.start <= at < one.stop]
        _feed(piece, within)
        at = stop
    if [tree.size for tree in trees] != [len(one) for one in wanted]:
        raise EvidenceError("there are fewer leaves than the tree is said to have")
    return [tree.root() for tree in trees]


_CHUNK = 1024


def _feed(leaf_hashes: Iterator[bytes], trees: Sequence[Frontier]) -> None:
    while some := list(islice(leaf_hashes, _CHUNK)):
        for tree in trees:
            tree.extend(some)


def inclusion_root(index: int, size: int, found: bytes, path: Sequence[bytes]) -> bytes:
    """The root that a proof of inclusion leads to (RFC 9162, 2.1.3.2).

    Args:
        index: The leaf's number, from 0.
        size: The tree's.
        found: The leaf's hash.
        path: The proof.

    Raises:
        EvidenceError: No proof for that leaf of a tree of that size has such a shape.
    """
    _check_shape((found, *path), size)
    if not 0 <= index < size:
        raise EvidenceError(f"a tree of {size} leaves has no leaf {index}")
    at, last = index, size - 1
    for step in path:
        if last == 0:
            raise EvidenceError("the proof of inclusion is too long")
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last:
        raise EvidenceError("the proof of inclusion is too short")
    return found


def verify_inclusion(index: int, size: int, found: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is in the tree with that root; arguments as `inclusion_root`.

    Raises:
        EvidenceError: The proof does not lead to the root.
    """
    if inclusion_root(index, size, found, path) != root:
        raise EvidenceError("the proof of inclusion leads to another root", expected=root.hex())


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    """Check that a tree begins with an earlier one (RFC 9162, 2.1.4.2).

    Args:
        first: The size of the earlier tree.
        second: The size of the later one.
        first_root: The root of the earlier tree.
        second_root: The root of the later one.
        path: The proof; empty where one tree is empty or both have the same size.

    Raises:
        EvidenceError: It does not, or the proof has not the shape such a proof has.
    """
    _check_shape((first_root, second_root, *path), second)
    if not 0 <= first <= second:
        raise EvidenceError(f"a tree of {second} leaves does not begin with {first}")
    if first in (0, second):
        _check_plain(first, first_root, second, second_root, path)
        return
    steps = list(path) if first & (first - 1) else [first_root, *path]
    if not steps:
        raise EvidenceError("the proof of consistency is too short")
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise EvidenceError("the proof of consistency is too long")
        if at & 1 or at == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, step)
        at, last = at >> 1, last >> 1
    if last:
        raise EvidenceError("the proof of consistency is too short")
    if old != first_root or new != second_root:
        raise EvidenceError(
            f"the tree of {second} leaves does not begin with that of {first}", expected=first_root.hex()
        )


def _check_plain(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> None:
    """The cases without a proof: an empty tree, and twice the same one."""
    if path:
        raise EvidenceError("the proof of consistency is too long", expected="none between such trees")
    if first == second and first_root != second_root:
        raise EvidenceError(f"two trees of {first} leaves have different roots", expected=first_root.hex())
    if first == 0 and first_root != EMPTY_ROOT:
        raise EvidenceError("not the root of an empty tree", expected=EMPTY_ROOT.hex())


def _check_shape(hashes: Sequence[bytes], size: int) -> None:
    if any(len(found) != HASH_BYTES for found in hashes):
        raise EvidenceError("not a SHA-256 hash", expected=f"{HASH_BYTES} bytes")
    if size > _MAX_SIZE:
        raise EvidenceError("no tree is that large", expected=f"at most {_MAX_SIZE} leaves")
