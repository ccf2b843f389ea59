"""Reading a sample at the target again, long after the drill, and what that says about all objects.

The sample is the one that the journal committed to before the first byte moved: the objects with the lowest
HMAC-SHA256(seed, key). Whoever holds the target has known it since, so a second one can be drawn from a seed that
nobody knew. Objects are read in the order of their draws, so that those read when the time is up are a sample, too
(short of one large object that the time did not suffice for).

Of a finite population of N, with n drawn without replacement and k of them found different, `most_different` gives the
largest number D of different objects for which finding k or fewer still has a probability of 1 - confidence: the
one-sided interval of Clopper and Pearson (Biometrika 26, 1934, 404-413) for the hypergeometric distribution.
"""

import hmac
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import EvidenceError, StoppedError
from exitdrill.evidence.manifest import Part
from exitdrill.evidence.opened import BundleLedgers
from exitdrill.transfer.rows import LedgerRow, rows_of
from exitdrill.transfer.verify import read_back, sample

__all__ = ["Reread", "arrived", "fresh_seed", "most_different", "reread", "says"]

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading a sample found."""

    population: int
    """How many objects arrived, by the ledger."""
    wanted: int
    """How many were drawn."""
    read: int
    """How many were read to their end, or could not be."""
    different: tuple[tuple[str, str], ...]
    """Key and what is wrong."""


def fresh_seed(seed: bytes, secret: bytes) -> bytes:
    """A seed that nobody could know before ``secret`` was drawn, and that still depends on the committed one."""
    return hmac.digest(seed, secret, "sha256")


def arrived(ledgers: BundleLedgers, asset: str) -> Iterator[LedgerRow]:
    """What the ledger says is at the target. Raises EvidenceError."""
    for number in ledgers.parts(asset, Part.REBUILD):
        for batch in ledgers.batches(asset, Part.REBUILD, number, list(LedgerRow.__slots__)):
            yield from (row for row in rows_of(batch, LedgerRow) if row.arrived)


def reread(
    store: ObjectStore, ledgers: BundleLedgers, asset: str, seed: bytes, size: int, stopped: Callable[[], bool]
) -> Reread:
    """Read a sample and compare every byte with the ledger.

    Args:
        store: The target's container.
        ledgers: Of the bundle.
        asset: Which one.
        seed: For the draws.
        size: How many objects.
        stopped: Whether the time is up.

    Raises:
        ConnectorError: The target says nothing about an object.
        EvidenceError: The ledger is damaged.
    """
    population = sum(1 for _ in arrived(ledgers, asset))
    drawn = sample(arrived(ledgers, asset), seed, size)
    read, different = 0, []
    for row in drawn:
        if stopped():
            break
        try:
            found = read_back(store, row, stopped, lambda _size: None)
        except StoppedError:
            break
        read += 1
        if found != "equal":
            different.append((row.key, found))
    return Reread(population, len(drawn), read, tuple(different))


def most_different(population: int, drawn: int, different: int, confidence: float = _CONFIDENCE) -> int:
    """How many objects may differ at most; see the module. Raises EvidenceError for numbers that cannot be."""
    if not 0 <= different <= drawn <= population:
        raise EvidenceError(f"{different} of {drawn} of {population} objects cannot be")
    low, high = different, population - (drawn - different)
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(different, population, middle, drawn) >= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def _at_most(most: int, population: int, marked: int, drawn: int) -> float:
    """The probability that of ``drawn`` objects at most ``most`` are among the ``marked`` ones."""
    total = 0.0
    for hits in range(max(0, drawn - (population - marked)), min(most, drawn, marked) + 1):
        total += math.exp(
            _falling(marked, hits)
            + _falling(population - marked, drawn - hits)
            - _falling(population, drawn)
            + math.lgamma(drawn + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(drawn - hits + 1)
        )
    return total


def _falling(start: int, factors: int) -> float:
    """The logarithm of start · (start - 1) · …; summed, because the difference of two large lgammas is inexact."""
    return math.fsum(math.log(start - n) for n in range(factors))


def says(found: Reread) -> str:
    """What a sample says, in a sentence."""
    cut = "" if found.read == found.wanted else f" ({found.wanted} were drawn, the time was up)"
    head = f"{len(found.different)} of {found.read} objects differ{cut}"
    if not found.read:
        return f"{head}: nothing is shown"
    most = most_different(found.population, found.read, len(found.different))
    if found.read == found.population:
        return f"{head}: all there are"
    share = math.ceil(most / found.population * 10_000) / 100
    return f"{head}: at 95 % confidence at most {most:,} of {found.population:,} do ({share:.2f} %)"
