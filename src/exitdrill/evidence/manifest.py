"""Manifests: one Merkle root for what a place holds of an asset, computed from inventory and ledger.

The tree is RFC 6962's, its leaves in the order of the keys' UTF-8 bytes, strictly: no key is there twice. A leaf is

    0x01  length of the key (4 bytes)  key  size (8 bytes)  0x01  SHA-256 of the bytes  metadata digest
    0x01  length of the key (4 bytes)  key  size (8 bytes)  0x00                          listed, but never read

with numbers big-endian. The first byte is the version of this encoding. The key is the source's, at the target too,
whatever it is called there. The metadata digest is the SHA-256 of the canonical JSON (RFC 8785) of those parts of the
envelope that are meant to survive: representation headers, user metadata, tags; never the place's own facts (ETag,
version, times, tier, kind of object). So nothing lost and nothing altered is the same 32 bytes at all three places.

Who says so differs by place:

- *source*: every object of the inventory; size by the source's listing, SHA-256 ours over the bytes as they came.
  What was not brought has a leaf without digests, so the root differs from the vault's.
- *vault*: every object the ledger says was stored, less what the rebuild found lost or corrupt there.
- *target*: every object that was rebuilt and that verification found equal, by the target's own digest or by reading
  it back; its SHA-256 is ours of those bytes, its metadata what the target took at the write, less the losses. A level
  that compares names and sizes only proves no bytes: then the target has no root.

Memory does not depend on the number of objects.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa
import rfc8785
from pydantic_core import from_json

from exitdrill.errors import EvidenceError, StoppedError
from exitdrill.evidence.merkle import HASH_BYTES, Frontier
from exitdrill.model import human
from exitdrill.model.objects import Envelope, Outcome
from exitdrill.model.record import AssetRecord, ManifestRoot, ManifestRoots
from exitdrill.plan.drill import Level
from exitdrill.transfer.inventory import STEM, is_complete
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_numbers, part_path, read_batches, schema

__all__ = [
    "Fields",
    "Ledgers",
    "Part",
    "Place",
    "RunLedgers",
    "encode",
    "leaves",
    "manifest_roots",
    "metadata_digest",
    "why_not",
]

_BATCH = 4096
_ENVELOPES = 8 * _BATCH
_SHORT_CHARACTERS = 512
"""Of an envelope that is worth remembering: memory does not depend on how much metadata objects have."""
_MAPS = frozenset({"user", "tags"})
_SURVIVING = tuple(sorted((*Envelope.HEADERS, *_MAPS)))
_quoted = json.encoder.encode_basestring
"""As RFC 8785 writes a string; raises TypeError for what is none."""
_UNPROVEN = frozenset({"different", "missing", "unattested"})
_NOTHING = "[]"
"""No losses."""
_FIRST_LEG = ("key", "size", "outcome", "sha256", "envelope")
_GONE = frozenset({Outcome.CORRUPT.value, Outcome.LOST.value})

Fields = tuple[bytes, int, bytes | None, bytes | None]
"""A leaf's: key, size, SHA-256, metadata digest; the last two None for an object that was never read."""


class Place(StrEnum):
    """Where an asset is."""

    SOURCE = "source"
    VAULT = "vault"
    TARGET = "target"


class Part(StrEnum):
    """Kinds of part that a manifest is computed from. Parts of one number have the same rows in the same order."""

    INVENTORY = "inventory"
    EVACUATE = "evacuate"
    REBUILD = "rebuild"


class Ledgers(Protocol):
    """The inventory and ledger of a run, wherever they are kept."""

    def complete(self, asset: str) -> bool:
        """Whether the asset's inventory was listed to its end."""

    def parts(self, asset: str, part: Part) -> Sequence[int]:
        """The numbers of the parts there are, in order."""

    def batches(self, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of a part, in this order. Raises RunError or EvidenceError if it is damaged."""


class RunLedgers:
    """The inventory and ledger in a run's directory.

    Args:
        directory: The run's.
    """

    def __init__(self, directory: RunDirectory) -> None:
        """See the class."""
        self._directory = directory

    def complete(self, asset: str) -> bool:
        """As `Ledgers.complete`."""
        return is_complete(self._directory.inventory(asset))

    def parts(self, asset: str, part: Part) -> Sequence[int]:
        """As `Ledgers.parts`."""
        if part is Part.INVENTORY:
            return part_numbers(self._directory.inventory(asset), STEM)
        return part_numbers(self._directory.ledger(asset), part.value)

    def batches(self, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As `Ledgers.batches`. Raises RunError."""
        if part is Part.INVENTORY:
            path, arrow = part_path(self._directory.inventory(asset), STEM, number), schema(InventoryRow)
        else:
            path, arrow = part_path(self._directory.ledger(asset), part.value, number), schema(LedgerRow)
        return read_batches(path, pa.schema([arrow.field(name) for name in columns]), _BATCH)


def encode(fields: Fields) -> bytes:
    """A leaf. Raises EvidenceError for what is no object: a negative size, a digest of another length."""
    key, size, digest, metadata = fields
    try:
        head = b"\1" + len(key).to_bytes(4) + key + size.to_bytes(8)
    except OverflowError as exc:
        raise EvidenceError("not the size of an object or key", resource=_shown(key)) from exc
    if digest is None or metadata is None:
        return head + b"\0"
    if len(digest) != HASH_BYTES or len(metadata) != HASH_BYTES:
        raise EvidenceError("not a SHA-256 digest", resource=_shown(key), expected=f"{HASH_BYTES} bytes")
    return head + b"\1" + digest + metadata


def metadata_digest(envelope: str, losses: str) -> bytes:
    """The SHA-256 of what of an envelope is meant to survive, as canonical JSON (RFC 8785).

    Args:
        envelope: As the ledger has it.
        losses: What of it a place did not take, as the ledger has it. A name that came back otherwise is lost.

    Raises:
        EvidenceError: Not an envelope, or not losses.
    """
    remembered = len(envelope) + len(losses) <= _SHORT_CHARACTERS
    return _remembered(envelope, losses) if remembered else _digest(envelope, losses)


@lru_cache(maxsize=_ENVELOPES)
def _remembered(envelope: str, losses: str) -> bytes:
    return _digest(envelope, losses)


def _digest(envelope: str, losses: str) -> bytes:
    try:
        given = from_json(envelope, allow_inf_nan=False)
        if losses != _NOTHING:
            _lose(given, from_json(losses, allow_inf_nan=False))
        text = _canonical(given)
        if not text.isascii():  # there Python and RFC 8785 order names differently: by code point, by UTF-16 unit
            return sha256(rfc8785.dumps(from_json(text))).digest()
    except (ValueError, TypeError, RecursionError) as exc:
        raise EvidenceError(f"not the metadata of an object: {exc}") from exc
    return sha256(text.encode()).digest()


def _canonical(given: object) -> str:
    """What survives, as canonical JSON as far as names are ASCII; written out, for speed."""
    if not isinstance(given, dict):
        raise _no_envelope()
    parts = []
    for name in _SURVIVING:
        value = given.get(name)
        if value is None:
            continue
        if name not in _MAPS:
            parts.append(f'"{name}":{_quoted(value)}')
        elif not isinstance(value, dict):
            raise _no_envelope()
        elif value:
            texts = [f"{_quoted(field)}:{_quoted(value[field])}" for field in sorted(value)]
            parts.append(f'"{name}":{{{",".join(texts)}}}')
    return "{" + ",".join(parts) + "}"


def _no_envelope() -> TypeError:
    return TypeError("an envelope is a map of strings, and of maps of strings")


def _lose(given: object, losses: object) -> None:
    if not isinstance(given, dict) or not isinstance(losses, list):
        raise _no_envelope()
    for field, _, _ in losses:
        family, _, name = str(field).partition(".")
        held = given.get(family)
        if isinstance(held, dict):
            held.pop(name, None)
        else:
            given.pop(family, None)


def why_not(ledgers: Ledgers, measured: AssetRecord, place: Place) -> str:
    """Why a place has no manifest of an asset; empty if it has."""
    if not ledgers.complete(measured.name):
        return "the inventory is not complete"
    if place is not Place.TARGET:
        return ""
    checked = measured.verification
    if checked is None:
        return "not verified"
    if checked.level == Level.LISTED.value:
        return "verified at level listed, by name and size only: nothing shows the target's bytes"
    count = checked.different + checked.missing + checked.unattested
    named = sum(1 for _ in _unproven(measured))
    if count != named:
        return f"{human.count(count, 'object')} not proven at the target, of which the record names {named:,}"
    return ""


def _unproven(measured: AssetRecord) -> Iterator[bytes]:
    for mishap in measured.exceptions:
        if mishap.where == "verify" and mishap.problem in _UNPROVEN:
            yield mishap.key.encode()


def leaves(ledgers: Ledgers, measured: AssetRecord, place: Place) -> Iterator[Fields]:
    """The leaves of a manifest, in order.

    Args:
        ledgers: Inventory and ledger.
        measured: What was measured of the asset: which one it is, and what verification found.
        place: Where.

    Raises:
        EvidenceError: There is none (see `why_not`), or inventory and ledger contradict each other.
        RunError: A part is damaged.
    """
    reason = why_not(ledgers, measured, place)
    if reason:
        raise EvidenceError(f"no manifest of the {place}: {reason}", resource=measured.name)
    if place is Place.SOURCE:
        found = _source(ledgers, measured.name)
    elif place is Place.VAULT:
        found = _vault(ledgers, measured.name)
    else:
        found = _target(ledgers, measured.name, frozenset(_unproven(measured)))
    last: bytes | None = None
    for fields in found:
        if last is not None and fields[0] <= last:
            raise EvidenceError(f"keys out of order: {_shown(fields[0])}", resource=measured.name)
        last = fields[0]
        yield fields


def manifest_roots(
    ledgers: Ledgers, measured: AssetRecord, stopped: Callable[[], bool] = lambda: False
) -> ManifestRoots:
    """The roots of an asset at its three places, in one pass.

    Args:
        ledgers: Inventory and ledger.
        measured: What was measured of the asset.
        stopped: Whether to stop.

    Raises:
        EvidenceError: Inventory and ledger contradict each other.
        RunError: A part is damaged.
        StoppedError: Somebody stopped it.
    """
    reasons = {place: why_not(ledgers, measured, place) for place in Place}
    trees = {place: Frontier() for place in Place if not reasons[place]}
    growing = {place: leaves(ledgers, measured, place) for place in trees}
    while growing:  # by turns, so that what the places have in common is still in the cache
        for place, source in list(growing.items()):
            if stopped():
                raise StoppedError("stopped while computing manifest roots", resource=measured.name)
            some = [sha256(b"\0" + encode(fields)).digest() for fields in islice(source, _BATCH)]
            if some:
                trees[place].extend(some)
            else:
                del growing[place]
    return ManifestRoots(*(_root_of(trees.get(place), reasons[place]) for place in Place))


def _root_of(tree: Frontier | None, reason: str) -> ManifestRoot:
    return ManifestRoot(why_not=reason) if tree is None else ManifestRoot(tree.root().hex(), tree.size)


def _source(ledgers: Ledgers, asset: str) -> Iterator[Fields]:
    done = frozenset(ledgers.parts(asset, Part.EVACUATE))
    for number in ledgers.parts(asset, Part.INVENTORY):
        listed = _rows(ledgers, asset, Part.INVENTORY, number, ("key", "size"))
        if number not in done:
            for key, size in listed:
                yield key, size, None, None
            continue
        brought = _rows(ledgers, asset, Part.EVACUATE, number, _FIRST_LEG)
        for (key, size), (same, size_too, outcome, digest, envelope) in _aligned(listed, brought, asset, number):
            if key != same or size != size_too:
                raise EvidenceError(f"the ledger has not what was listed: {_shown(key)}", resource=asset)
            if outcome == Outcome.COPIED:
                yield key, size, _known(digest, key), metadata_digest(envelope, _NOTHING)
            else:
                yield key, size, None, None


def _vault(ledgers: Ledgers, asset: str) -> Iterator[Fields]:
    later = frozenset(ledgers.parts(asset, Part.REBUILD))
    for number in ledgers.parts(asset, Part.EVACUATE):
        stored = _rows(ledgers, asset, Part.EVACUATE, number, _FIRST_LEG)
        if number not in later:
            for key, size, outcome, digest, envelope in stored:
                if outcome == Outcome.COPIED:
                    yield key, size, _known(digest, key), metadata_digest(envelope, _NOTHING)
            continue
        rebuilt = _rows(ledgers, asset, Part.REBUILD, number, ("key", "rebuilt"))
        for (key, size, outcome, digest, envelope), (same, became) in _aligned(stored, rebuilt, asset, number):
            if key != same:
                raise EvidenceError(f"the two legs' ledgers have other objects: {_shown(key)}", resource=asset)
            if outcome == Outcome.COPIED and became not in _GONE:
                yield key, size, _known(digest, key), metadata_digest(envelope, _NOTHING)


def _target(ledgers: Ledgers, asset: str, unproven: Collection[bytes]) -> Iterator[Fields]:
    columns = ("key", "size", "rebuilt", "sha256", "envelope", "losses")
    for number in ledgers.parts(asset, Part.REBUILD):
        for key, size, became, digest, envelope, losses in _rows(ledgers, asset, Part.REBUILD, number, columns):
            if became == Outcome.COPIED and key not in unproven:
                yield key, size, _known(digest, key), metadata_digest(envelope, losses)


def _known(digest: bytes | None, key: bytes) -> bytes:
    if digest is None:
        raise EvidenceError("copied, but without a SHA-256", resource=_shown(key))
    return digest


def _rows(ledgers: Ledgers, asset: str, part: Part, number: int, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """A part's rows, the first column as bytes."""
    for batch in ledgers.batches(asset, part, number, columns):
        keys: Any = batch.column(0)
        try:
            values = [keys.cast(pa.binary()).to_pylist()]
            values += [batch.column(n).to_pylist() for n in range(1, len(columns))]
        except (pa.ArrowException, ValueError) as exc:
            raise EvidenceError(f"not readable: {exc}", resource=f"{asset}, {part} {number}") from exc
        yield from zip(*values, strict=True)


def _aligned(
    left: Iterator[tuple[Any, ...]], right: Iterator[tuple[Any, ...]], asset: str, number: int
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    for one in left:
        other = next(right, None)
        if other is None:
            raise EvidenceError("a part has fewer rows than the one before it", resource=f"{asset}, part {number}")
        yield one, other
    if next(right, None) is not None:
        raise EvidenceError("a part has more rows than the one before it", resource=f"{asset}, part {number}")


def _shown(key: bytes) -> str:
    return human.key(key.decode(errors="replace"), limit=100)
