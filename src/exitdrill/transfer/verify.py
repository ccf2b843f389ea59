"""Verification: the ledger against the target's own listing, by merge join, at one of four levels.

``listed``: name and size agree. ``attested``: besides, the target itself reports a digest that equals ours;
it may come with the listing (an MD5 ETag, where preflight found that the server computes it), from the
answer to our write if the listing still shows the ETag of that answer, or from one more request for the
object. ``sampled``: besides, a random sample is read back; its seed was in the journal before the first byte
moved. ``full``: every byte is read back, which needs no attestation. An object that agrees but for which no
digest was to be had, and that was not read back, is *unattested*: not equal and not different. Every object
that arrived ends as exactly one of equal, different, missing and unattested.
"""

import hashlib
import heapq
import hmac
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.window import Slots
from exitdrill.errors import ArchivedError, ChangedError, DigestError, NotFoundError, StoppedError
from exitdrill.model.digests import Comparison, DigestKind, Digests
from exitdrill.model.record import Mishap, VerificationRecord
from exitdrill.plan.drill import Level
from exitdrill.transfer.crew import Crew
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, LedgerRow, add_column, part_numbers, part_path, read_rows
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing, sort_rows
from exitdrill.transfer.tally import MISHAPS_KEPT

__all__ = ["Verification", "ledger_rows", "read_part_back", "sample", "verify"]

_BEAT_SECONDS = 0.5
_AT_ONCE_BYTES = 4 * 1024 * 1024


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


def _rebuilt(folder: Path) -> Iterator[LedgerRow]:
    """The second leg's ledger, with what reading back found where that was done."""
    for number in part_numbers(folder, "rebuild"):
        checked = part_path(folder, "readback", number)
        yield from read_rows(checked if checked.exists() else part_path(folder, "rebuild", number), LedgerRow)


def _by_target(row: LedgerRow) -> str:
    return row.target_key


def at_target(folder: Path, scratch: Path, meter: Meter, *, renamed: bool) -> Iterator[LedgerRow]:
    """The rows that arrived, in the order of their keys at the target."""
    rows = meter.alive(row for row in _rebuilt(folder) if row.arrived)
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
    slots: Slots | None = None,
    moved: Callable[[int], None] | None = None,
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
        slots: Where an object waits for its slot, if there may be fewer slots than threads.
        moved: Told how many bytes were read back; ``meter`` if left out.

    Raises:
        ConnectorError, StoppedError.
    """
    chosen: frozenset[str] | None = frozenset()
    if level is Level.FULL:
        chosen = None
    elif level is Level.SAMPLED:
        arrived = at_target(folder, scratch, meter, renamed=False)
        chosen = frozenset(row.key for row in sample(arrived, seed, sample_size))
    check = _Check(store, level, chosen, stopped, meter, slots or Slots(), moved or meter.moved)
    try:
        return _compare(check, prefix, folder, scratch, renamed, threads)
    except ListingOutOfOrderError:
        store.capabilities = store.capabilities.narrowed(sorted_listing=False)
        return _compare(check, prefix, folder, scratch, renamed, threads)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of one object: a problem (or ``equal``), the detail (or the kinds attested), and the bytes read."""

    problem: str
    detail: str = ""
    reread: bool = False


def _compare(check: "_Check", prefix: str, folder: Path, scratch: Path, renamed: bool, threads: int) -> Verification:
    store, meter = check.store, check.meter
    found, lock = Verification(check.level), threading.Lock()
    listed_rows = ordered_listing(store, prefix, scratch, beat=check.beat)
    listing = in_order(listed_rows, lambda row: row.key, store.resource)
    ledger = in_order(at_target(folder, scratch, meter, renamed=renamed), _by_target, "ledger")

    def one(pair: tuple[LedgerRow | None, InventoryRow | None]) -> None:
        row, listed = pair
        answer = None if row is None or listed is None else check(row, listed)
        with lock:
            meter.objects += 1
            if row is not None and answer is not None:
                _count(found, row, answer)
                meter.errors += answer.problem != "equal"
            elif row is not None:
                found.missing += 1
                found.mishap(row.key, "missing", "not in the target's listing")
            elif listed is not None:
                found.extra += 1
                found.mishap(listed.key, "extra", "at the target, but not in the ledger")

    pairs = merge_join(ledger, listing, _by_target, lambda row: row.key)
    Crew(pairs, one, threads, "verify", threading.Event()).tend(check.beat, _BEAT_SECONDS)
    found.mishaps.sort(key=lambda mishap: mishap.key)
    return found


def _count(found: Verification, row: LedgerRow, answer: _Answer) -> None:
    if answer.reread:
        found.reread_objects += 1
        found.reread_bytes += row.size
    if answer.problem == "equal":
        found.equal += 1
        if answer.detail:
            found.attested_by.update(answer.detail.split(","))
        return
    if answer.problem == "unattested":
        found.unattested += 1
    elif answer.problem == "missing":
        found.missing += 1
    else:
        found.different += 1
    found.mishap(row.key, answer.problem, answer.detail)


@dataclass(frozen=True, slots=True)
class _Check:
    """Looks at one object that the target lists. Usable from several threads."""

    store: ObjectStore
    level: Level
    chosen: frozenset[str] | None
    """Keys to read back; None for all."""
    stopped: Callable[[], bool]
    meter: Meter
    slots: Slots
    moved: Callable[[int], None]

    def beat(self) -> None:
        """A sign of life, and the place to stop."""
        self.meter.beats += 1
        if self.stopped():
            raise StoppedError("stopped while verifying")

    def __call__(self, row: LedgerRow, listed: InventoryRow) -> _Answer:
        """What became of it. Raises StoppedError, ConnectorError."""
        with self.slots.held(self.stopped):
            return self._judged(row, listed)

    def _judged(self, row: LedgerRow, listed: InventoryRow) -> _Answer:
        if listed.size != row.size:
            return _Answer("different", f"{listed.size} bytes, should be {row.size}")
        if self.level is Level.LISTED:
            return _Answer("equal")
        to_read = self.chosen is None or row.key in self.chosen
        answer = self._attested(row, listed)
        if answer is None and self.level is not Level.FULL:
            answer = self._asked(row)
        if not to_read or (answer is not None and answer.problem in ("different", "missing")):
            return answer or _Answer("unattested", "the target reports no digest of its own for it")
        problem = row.read_back or read_back(self.store, row, self.stopped, self.moved)
        if problem != "equal":
            return _Answer("different", problem, reread=True)
        return _Answer("equal", "" if answer is None or answer.problem != "equal" else answer.detail, reread=True)

    def _attested(self, row: LedgerRow, listed: InventoryRow) -> _Answer | None:
        """What the listing says, and the answer to our write if the listing still shows its ETag."""
        able = self.store.capabilities
        from_listing = listed.entry().digests.only(able.attests & able.listing_digests)
        unchanged = row.target_etag is not None and listed.etag == row.target_etag and able.changing_etags
        said = (_judge(digests, row) for digests in (from_listing, _of_receipt(row) if unchanged else Digests.NONE))
        return next((answer for answer in said if answer is not None), None)

    def _asked(self, row: LedgerRow) -> _Answer | None:
        try:
            stat = self.store.stat(row.target_key)
        except NotFoundError:
            return _Answer("missing", "listed, but not to be had")
        return _judge(stat.digests.only(self.store.capabilities.attests), row)


def read_back(store: ObjectStore, row: LedgerRow, stopped: Callable[[], bool], moved: Callable[[int], None]) -> str:
    """Read an object at the target and compare every byte with the ledger: ``equal``, or what is wrong.

    Raises StoppedError, and ConnectorError for what says nothing about the object.
    """
    try:
        if row.size <= _AT_ONCE_BYTES:
            entry, data = store.read_small(row.target_key, size=row.size)
            size, found = entry.size, hashlib.sha256(data).digest()
            moved(len(data))
        else:
            size, found = _hashed(store, row, stopped, moved)
    except (NotFoundError, ChangedError, ArchivedError, DigestError) as error:
        return f"cannot be read back: {error}"
    if size != row.size or found != row.sha256:
        return f"read back: {size} bytes with SHA-256 {found.hex()[:16]}…, should be {row.size}"
    return "equal"


def _hashed(
    store: ObjectStore, row: LedgerRow, stopped: Callable[[], bool], moved: Callable[[int], None]
) -> tuple[int, bytes]:
    hasher, size = hashlib.sha256(), 0
    with store.read(row.target_key) as stream:
        for chunk in stream.chunks():
            if stopped():
                raise StoppedError("stopped while reading back")
            hasher.update(chunk)
            size += len(chunk)
            moved(len(chunk))
    return size, hasher.digest()


def read_part_back(
    store: ObjectStore,
    folder: Path,
    number: int,
    threads: int,
    stopped: Callable[[], bool],
    meter: Meter,
    slots: Slots | None = None,
    moved: Callable[[int], None] | None = None,
    guard: Callable[[], None] | None = None,
) -> None:
    """Read every object of a rebuilt part back, and write the part once more with what was found.

    So that the reading spreads over processes; `verify` takes it from there. Nothing if it was done before.
    ``slots`` and ``moved`` are as for `verify`.

    Raises StoppedError, ConnectorError, NoSpaceError.
    """
    target = part_path(folder, "readback", number)
    if target.exists():
        return
    source = part_path(folder, "rebuild", number)
    found: dict[int, str] = {}
    held, passed = slots or Slots(), moved or meter.moved

    def one(item: tuple[int, LedgerRow]) -> None:
        n, row = item
        if stopped():
            raise StoppedError("stopped while reading back")
        with held.held(stopped):
            problem = read_back(store, row, stopped, passed)
        found[n] = problem
        meter.objects += 1
        meter.errors += problem != "equal"

    def beat() -> None:
        meter.beats += 1

    arrived = ((n, row) for n, row in enumerate(read_rows(source, LedgerRow)) if row.arrived)
    Crew(arrived, one, threads, "read back", threading.Event()).tend(beat, _BEAT_SECONDS)
    add_column(source, target, LedgerRow, "read_back", lambda n: found.get(n, ""), guard)


def _of_receipt(row: LedgerRow) -> Digests:
    return row.digests.only(DigestKind(kind) for kind in row.attested.split(",") if kind)


def _judge(digests: Digests, row: LedgerRow) -> _Answer | None:
    comparison = digests.compare(row.digests)
    if comparison is Comparison.DIFFERENT:
        detail = "the target's own digest is not ours: replaced or altered after it was written"
        return _Answer("different", detail)
    if comparison is Comparison.EQUAL:
        return _Answer("equal", ",".join(sorted(digests.kinds & row.digests.kinds)))
    return None
