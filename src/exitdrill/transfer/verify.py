"""Verification: the ledger against the target's own listing, by merge join, at one of four levels.

``listed``: name and size agree. ``attested``: besides, the target itself reports a digest that equals ours;
it may come with the listing (an MD5 ETag, where preflight found that the server computes it), from the
answer to our write if the listing still shows the ETag of that answer, or from one more request for the
object. ``sampled``: besides, a random sample is read back; its seed was in the journal before the first byte
moved. ``full``: every byte is read back. An object that agrees but for which no digest was to be had is
*unattested*: not equal and not different.
"""

import hashlib
import heapq
import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import ChangedError, NotFoundError, StoppedError
from exitdrill.model.digests import Comparison, DigestKind, Digests
from exitdrill.model.record import Mishap, VerificationRecord
from exitdrill.plan.drill import Level
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_numbers, part_path, read_rows
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing, sort_rows
from exitdrill.transfer.tally import MISHAPS_KEPT

__all__ = ["Verification", "ledger_rows", "sample", "verify"]

_WINDOW = 512


@dataclass(slots=True)
class Verification:
    """What was found so far."""

    level: Level
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    unattested: int = 0
    reread_objects: int = 0
    reread_bytes: int = 0
    attested_by: Counter[str] = field(default_factory=Counter)
    mishaps: list[Mishap] = field(default_factory=list)
    mishaps_total: int = 0

    def mishap(self, key: str, problem: str, detail: str) -> None:
        """Count an exception, and keep it while there is room."""
        self.mishaps_total += 1
        if len(self.mishaps) < MISHAPS_KEPT:
            self.mishaps.append(Mishap(key, problem, "verify", detail))

    def record(self) -> VerificationRecord:
        """As the record has it."""
        return VerificationRecord(
            self.level,
            self.equal,
            self.different,
            self.missing,
            self.extra,
            self.unattested,
            self.reread_objects,
            self.reread_bytes,
            dict(self.attested_by),
        )


def ledger_rows(folder: Path, leg: str) -> Iterator[LedgerRow]:
    """Every row of a leg's ledger, in key order."""
    for number in part_numbers(folder, leg):
        yield from read_rows(part_path(folder, leg, number), LedgerRow)


def _by_target(row: LedgerRow) -> str:
    return row.target_key


def at_target(folder: Path, scratch: Path, *, renamed: bool) -> Iterator[LedgerRow]:
    """The rows that arrived, in the order of their keys at the target."""
    rows = (row for row in ledger_rows(folder, "rebuild") if row.arrived)
    return sort_rows(rows, LedgerRow, _by_target, scratch) if renamed else rows


def sample(rows: Iterable[LedgerRow], seed: bytes, size: int) -> list[LedgerRow]:
    """``size`` rows chosen by ``seed``: those with the lowest HMAC-SHA256(seed, key). Memory: the sample's."""
    draws = ((hmac.digest(seed, row.key.encode(), "sha256"), row.key, row) for row in rows)
    return [row for _, _, row in heapq.nsmallest(size, draws, key=lambda draw: draw[:2])]


def verify(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    level: Level,
    seed: bytes,
    sample_size: int,
    renamed: bool,
    threads: int,
    stopped: Callable[[], bool],
    meter: Meter,
) -> Verification:
    """Compare a ledger with what the target lists, and read back what the level asks for.

    Args:
        store: The target's container.
        prefix: Where the asset is in it.
        folder: The ledger's folder.
        scratch: For sorting.
        level: How thoroughly.
        seed: For the sample.
        sample_size: How many objects ``sampled`` reads back.
        renamed: Whether keys were mapped, so that the ledger is in another order.
        threads: How many requests at once.
        stopped: Whether to stop.
        meter: Counts.

    Raises:
        ConnectorError, StoppedError.
    """
    found = Verification(level)
    with ThreadPoolExecutor(threads, "verify") as pool:
        try:
            _compare(store, prefix, folder, scratch, found, renamed, pool, stopped, meter)
        except ListingOutOfOrderError:
            store.capabilities = store.capabilities.narrowed(sorted_listing=False)
            found = Verification(level)
            _compare(store, prefix, folder, scratch, found, renamed, pool, stopped, meter)
        arrived = at_target(folder, scratch, renamed=False)
        if level is Level.SAMPLED:
            _reread(store, sample(arrived, seed, sample_size), found, pool, stopped, meter)
        elif level is Level.FULL:
            _reread(store, arrived, found, pool, stopped, meter)
    return found


def _compare(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    found: Verification,
    renamed: bool,
    pool: ThreadPoolExecutor,
    stopped: Callable[[], bool],
    meter: Meter,
) -> None:
    listing = in_order(ordered_listing(store, prefix, scratch), lambda row: row.key, store.resource)
    ledger = in_order(at_target(folder, scratch, renamed=renamed), _by_target, "ledger")
    pairs = merge_join(ledger, listing, _by_target, lambda row: row.key)
    for batch in iter(lambda: list(islice(pairs, _WINDOW)), []):
        if stopped():
            raise StoppedError("stopped while verifying")
        checks: list[tuple[LedgerRow, InventoryRow]] = []
        for row, listed in batch:
            meter.objects += 1
            if row is None and listed is not None:
                found.extra += 1
                found.mishap(listed.key, "extra", "at the target, but not in the ledger")
            elif row is not None and listed is None:
                found.missing += 1
                found.mishap(row.key, "missing", "not in the target's listing")
            elif row is not None and listed is not None:
                checks.append((row, listed))
        for (row, _), (problem, detail) in zip(checks, pool.map(partial(_check, store, found), checks), strict=True):
            _count(found, row, problem, detail)
            meter.errors += problem != "equal"


def _count(found: Verification, row: LedgerRow, problem: str, detail: str) -> None:
    if problem == "equal":
        found.equal += 1
        if detail:
            found.attested_by.update(detail.split(","))
        return
    if problem == "unattested":
        found.unattested += 1
    elif problem == "missing":
        found.missing += 1
    else:
        found.different += 1
    found.mishap(row.key, problem, detail)


def _check(store: ObjectStore, found: Verification, pair: tuple[LedgerRow, InventoryRow]) -> tuple[str, str]:
    """What a row and its listing say: the problem (or ``equal``) and the detail (or the kinds attested)."""
    row, listed = pair
    if listed.size != row.size:
        return "different", f"{listed.size} bytes, should be {row.size}"
    if found.level is Level.LISTED:
        return "equal", ""
    attests = store.capabilities.attests
    from_listing = listed.entry().digests.only(attests & store.capabilities.listing_digests)
    unchanged = row.target_etag is not None and listed.etag == row.target_etag and store.capabilities.changing_etags
    for digests in (from_listing, _of_receipt(row) if unchanged else Digests.NONE):
        if (answer := _judge(digests, row)) is not None:
            return answer
    try:
        stat = store.stat(row.target_key)
    except NotFoundError:
        return "missing", "listed, but not to be had"
    answer = _judge(stat.digests.only(attests), row)
    return answer or ("unattested", "the target reports no digest of its own for it")


def _of_receipt(row: LedgerRow) -> Digests:
    return row.digests.only(DigestKind(kind) for kind in row.attested.split(",") if kind)


def _judge(digests: Digests, row: LedgerRow) -> tuple[str, str] | None:
    comparison = digests.compare(row.digests)
    if comparison is Comparison.DIFFERENT:
        return "different", "the target's own digest is not ours: replaced or altered after it was written"
    if comparison is Comparison.EQUAL:
        return "equal", ",".join(sorted(digests.kinds & row.digests.kinds))
    return None


def _reread(
    store: ObjectStore,
    rows: Iterable[LedgerRow],
    found: Verification,
    pool: ThreadPoolExecutor,
    stopped: Callable[[], bool],
    meter: Meter,
) -> None:
    source = iter(rows)
    while batch := list(islice(source, _WINDOW)):
        for row, detail in zip(batch, pool.map(partial(_read_back, store, stopped, meter), batch), strict=True):
            found.reread_objects += 1
            found.reread_bytes += row.size
            if detail:
                found.different += 1
                found.equal -= 1
                found.mishap(row.key, "different", detail)


def _read_back(store: ObjectStore, stopped: Callable[[], bool], meter: Meter, row: LedgerRow) -> str:
    hasher = hashlib.sha256()
    size = 0
    try:
        with store.read(row.target_key) as stream:
            for chunk in stream.chunks():
                if stopped():
                    raise StoppedError("stopped while reading back")
                hasher.update(chunk)
                size += len(chunk)
                meter.moved(len(chunk))
    except (NotFoundError, ChangedError) as error:
        return f"cannot be read back: {error}"
    if size != row.size or hasher.digest() != row.sha256:
        return f"read back: {size} bytes with SHA-256 {hasher.hexdigest()[:16]}…, should be {row.size}"
    return ""
