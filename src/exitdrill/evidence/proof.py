"""Proofs about one key: that an object was at a place, or that none was, from one file of about a kilobyte.

A proof shows a key's leaf and the path from it to the manifest's root; that a key is absent, the leaves on both sides
of where it would be, with numbers that follow each other (at an end of the tree there is one, in an empty tree none).
That suffices because leaves are in order, which whoever recomputes the root from the ledger checks.

A proof leads to a root and says nothing about it: that the root is the one that was sealed must be checked by other
means. An RFC 6962 root does not cover the tree's size, so numbers of objects and of leaves are the proof's claim; that
neighbours are neighbours does not depend on them, but on the shape of their paths.

Reading a file is safe whatever is in it: it is an `EvidenceError` or a proof.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict
from exitdrill.evidence.manifest import Fields, Ledgers, Place, encode, leaves
from exitdrill.evidence.merkle import EMPTY_ROOT, HASH_BYTES, hash_ranges, inclusion_ranges, inclusion_root, leaf_hash
from exitdrill.model.record import AssetRecord

__all__ = ["FORMAT", "MAX_BYTES", "Leaf", "Proof", "check", "dump", "load", "prove", "read"]

FORMAT = "exitdrill manifest proof 1"
MAX_BYTES = 256 * 1024
"""No proof is larger: three keys of the longest kind there is and two paths of 64 hashes are not."""
_MAX_PATH = 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf, and the way from it to the root."""

    index: int
    """From 0, in the order of keys."""
    key: str
    size: int
    sha256: bytes | None
    """None for an object that was listed but never read."""
    metadata: bytes | None
    """The metadata digest; None as ``sha256``."""
    path: tuple[bytes, ...]
    """Hashes beside the way, the nearest first."""

    @property
    def fields(self) -> Fields:
        """As `encode` takes them."""
        return self.key.encode(), self.size, self.sha256, self.metadata


@dataclass(frozen=True, slots=True)
class Proof:
    """What is claimed about one key at one place."""

    run: str
    """The run's id; not covered by the root."""
    asset: str
    """As ``run``."""
    place: Place
    """As ``run``."""
    key: str
    objects: int
    """The size of the tree; not covered by the root."""
    root: bytes
    leaves: tuple[Leaf, ...]
    """The key's, or its neighbours'."""

    @property
    def present(self) -> bool:
        """Whether it is claimed that there is such an object."""
        return any(leaf.key == self.key for leaf in self.leaves)


def prove(run: str, ledgers: Ledgers, measured: AssetRecord, place: Place, key: str) -> Proof:
    """A proof about one key, in two passes over the ledger: one to find it, one to hash.

    Args:
        run: The run's id.
        ledgers: Inventory and ledger.
        measured: What was measured of the asset.
        place: Where.
        key: The object's key at the source.

    Raises:
        EvidenceError: There is no manifest (see `exitdrill.evidence.manifest.why_not`), inventory and ledger
            contradict each other, or the key is no Unicode.
        RunError: A part is damaged.
    """
    wanted, size = _utf8(key), 0
    before: Fields | None = None
    after: tuple[int, Fields] | None = None
    for number, fields in enumerate(leaves(ledgers, measured, place)):
        size = number + 1
        if fields[0] < wanted:
            before = fields
        elif after is None:
            after = number, fields
    at = size if after is None else after[0]
    shown = [] if after is None else [after]
    if before is not None and (after is None or after[1][0] != wanted):
        shown.insert(0, (at - 1, before))
    ranges = [inclusion_ranges(number, size) for number, _ in shown]
    every = (leaf_hash(encode(fields)) for fields in leaves(ledgers, measured, place))
    hashes = iter(hash_ranges(every, [one for each in ranges for one in each]))
    found = [
        Leaf(number, _key(name), length, digest, metadata, tuple(islice(hashes, len(each))))
        for (number, (name, length, digest, metadata)), each in zip(shown, ranges, strict=True)
    ]
    roots = {_root_of(leaf, size) for leaf in found} or {EMPTY_ROOT}
    return Proof(run, measured.name, place, key, size, roots.pop(), tuple(found))


def _key(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as exc:
        raise EvidenceError(f"the ledger has a key that is no UTF-8: {name[:100]!a}") from exc


def _root_of(leaf: Leaf, size: int) -> bytes:
    return inclusion_root(leaf.index, size, leaf_hash(encode(leaf.fields)), leaf.path)


def check(proof: Proof, root: bytes | None = None) -> None:
    """Check a proof by itself, and against a root got by other means if there is one.

    Raises:
        EvidenceError: It does not prove what it claims, or not under that root.
    """
    roots = {_root_of(leaf, proof.objects) for leaf in proof.leaves}
    if not proof.leaves and proof.objects == 0:
        roots = {EMPTY_ROOT}
    if roots != {proof.root}:
        raise EvidenceError("the proof does not lead to its root", resource=proof.asset, expected=proof.root.hex())
    if proof.present:
        if len(proof.leaves) != 1:
            raise EvidenceError("a key and its neighbours are no proof", resource=proof.asset)
    else:
        _check_absent(proof)
    if root is not None and root != proof.root:
        what = f"the proof is of another root, {proof.root.hex()}"
        raise EvidenceError(what, resource=proof.asset, expected=root.hex(), hint="is it of this run, asset and place?")


def _check_absent(proof: Proof) -> None:
    key, keys = _utf8(proof.key), [_utf8(leaf.key) for leaf in proof.leaves]
    numbers = [leaf.index for leaf in proof.leaves]
    if len(keys) == 2:  # noqa: PLR2004 - both neighbours
        gap = numbers[1] == numbers[0] + 1 and keys[0] < key < keys[1]
    elif keys:
        gap = (numbers[0] == 0 and key < keys[0]) or (numbers[0] == proof.objects - 1 and keys[0] < key)
    else:
        gap = True
    if not gap:
        raise EvidenceError("the leaves shown do not rule the key out", resource=proof.asset)


def dump(proof: Proof) -> bytes:
    """A proof as a file: JSON in ASCII, hashes of the path in base64."""
    found = [
        {
            "index": leaf.index,
            "key": leaf.key,
            "size": leaf.size,
            "sha256": None if leaf.sha256 is None else leaf.sha256.hex(),
            "metadata": None if leaf.metadata is None else leaf.metadata.hex(),
            "path": [base64.b64encode(step).decode() for step in leaf.path],
        }
        for leaf in proof.leaves
    ]
    data = {
        "format": FORMAT,
        "run": proof.run,
        "asset": proof.asset,
        "place": proof.place.value,
        "key": proof.key,
        "objects": proof.objects,
        "root": proof.root.hex(),
        "leaves": found,
    }
    return json.dumps(data, indent=1).encode() + b"\n"


def read(path: Path) -> Proof:
    """The proof in a file. Raises EvidenceError if there is none in it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise EvidenceError(f"cannot be read: {exc.strerror}", resource=str(path)) from exc
    return load(data, str(path))


def load(data: bytes, resource: str) -> Proof:
    """The inverse of `dump`; takes exactly what that writes, in any layout.

    Args:
        data: The file's bytes.
        resource: Which file, for the message.

    Raises:
        EvidenceError: It is none.
    """
    if len(data) > MAX_BYTES:
        raise EvidenceError("too large for a proof", resource=resource, expected=f"at most {MAX_BYTES:,} bytes")
    try:
        return _proof(strict.load(data, resource, max_bytes=MAX_BYTES, floats=False))
    except EvidenceError as exc:
        raise EvidenceError(f"not a proof: {exc.what}", resource=resource) from exc
    except ValueError as exc:
        raise EvidenceError(f"not a proof: {exc}", resource=resource) from exc


def _proof(data: object) -> Proof:
    found = _exactly(data, "format", "run", "asset", "place", "key", "objects", "root", "leaves")
    if found["format"] != FORMAT:
        msg = f"its format is not {FORMAT!r}"
        raise ValueError(msg)
    each = found["leaves"]
    if not isinstance(each, list) or len(each) > 2:  # noqa: PLR2004 - a key, or its neighbours
        msg = "leaves are at most two"
        raise ValueError(msg)
    return Proof(
        _text(found["run"]),
        _text(found["asset"]),
        Place(_text(found["place"])),
        _text(found["key"]),
        _whole(found["objects"]),
        _hex(found["root"]),
        tuple(_leaf(one) for one in each),
    )


def _leaf(data: object) -> Leaf:
    found = _exactly(data, "index", "key", "size", "sha256", "metadata", "path")
    steps, digests = found["path"], (found["sha256"], found["metadata"])
    if not isinstance(steps, list) or len(steps) > _MAX_PATH:
        msg = f"a path has at most {_MAX_PATH} steps"
        raise ValueError(msg)
    if (digests[0] is None) != (digests[1] is None):
        msg = "a leaf has both digests or none"
        raise ValueError(msg)
    sha256, metadata = (None if text is None else _hex(text) for text in digests)
    index, size = _whole(found["index"]), _whole(found["size"])
    return Leaf(index, _text(found["key"]), size, sha256, metadata, tuple(_base64(step) for step in steps))


def _exactly(data: object, *names: str) -> Mapping[str, object]:
    if not isinstance(data, dict) or set(data) != set(names):
        msg = f"expected the members {', '.join(names)}, and no others"
        raise ValueError(msg)
    return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = "a text is something else"
        raise ValueError(msg)  # noqa: TRY004 - bad data, not a bad call
    value.encode()
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        msg = "a number is something else"
        raise ValueError(msg)
    return value


def _hex(value: object) -> bytes:
    text = _text(value)
    found = bytes.fromhex(text)
    if len(found) != HASH_BYTES or found.hex() != text:
        msg = "not 64 hexadecimal digits in lower case"
        raise ValueError(msg)
    return found


def _base64(value: object) -> bytes:
    try:
        found = base64.b64decode(_text(value), validate=True)
    except binascii.Error as exc:
        msg = "not base64"
        raise ValueError(msg) from exc
    if len(found) != HASH_BYTES or base64.b64encode(found).decode() != value:
        msg = "not a hash in base64"
        raise ValueError(msg)
    return found


def _utf8(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as exc:
        raise EvidenceError(f"no key: {key!a}", expected="Unicode") from exc
