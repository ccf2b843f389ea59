"""What a worker can be asked to do, by name. Runs inside the worker process."""

import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from exitdrill import plan as plans
from exitdrill.clock import SystemClock, format_utc
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.connector.reports import ReportSource
from exitdrill.connector.retry import Tally
from exitdrill.connector.window import Slots
from exitdrill.errors import NotFoundError, RunError
from exitdrill.model.digests import DigestKind
from exitdrill.plan.drill import Asset, DrillPlan
from exitdrill.transfer.claims import Claims, Fence, for_each_part, open_claims
from exitdrill.transfer.cleanup import Cleanup, Ours, clean_container, clear_probe, probe_base
from exitdrill.transfer.copying import Evacuation, Rebuild
from exitdrill.transfer.cut import cut_for, probe
from exitdrill.transfer.inventory import STEM, PartSize, make_inventory
from exitdrill.transfer.job import Job
from exitdrill.transfer.lastlook import last_look
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.limits import Pace, limits_for, threads_for
from exitdrill.transfer.packing import MEMBER_BYTES, PACK_BYTES, Packing, PackShelf
from exitdrill.transfer.partrun import Meter, PartRun
from exitdrill.transfer.places import Places, container_of, narrowed, prefix_of, report_of, vault_container
from exitdrill.transfer.reported import Reported
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path
from exitdrill.transfer.takeover import forget_work, take_over, work_files
from exitdrill.transfer.vaultkeys import pack_key
from exitdrill.transfer.verify import read_part_back, verify

__all__ = ["load_connectors", "run_task"]

Facts = Mapping[str, Any]
_THREADS = 32


def _opened(directory: RunDirectory) -> tuple[DrillPlan, Places]:
    """A run's plan, and its places, none of them open."""
    plan = plans.from_json(json.loads(directory.plan.read_bytes()))
    return plan, Places(plan, Path(directory.facts().base))


class _Context:
    """One job's run, plan, asset and opened places."""

    def __init__(self, job: Job, directory: RunDirectory, meter: Meter, stopped: Callable[[], bool]) -> None:
        self.job, self.directory, self.meter = job, directory, meter
        self._stopped = stopped
        self._claims: Claims | None = None
        self.plan, self.places = _opened(directory)
        self.tally = Tally()
        self.clock = SystemClock()
        self._paces: dict[str, Pace] = {}
        self._open = ExitStack()

    @property
    def asset(self) -> Asset:
        return self.plan.asset(self.job.asset)

    @property
    def scratch(self) -> Path:
        return self.directory.scratch("sort")

    def threads(self, *roles: str) -> int:
        """How many objects are under way at most, at places in these roles."""
        asked = self.job.options.get("threads")
        places = [self.places.place(role) for role in roles]
        return threads_for(None if asked is None else int(asked), _THREADS, *places)

    def pace(self, role: str) -> Pace:
        """How fast to go at the place in that role."""
        if role not in self._paces:
            limits = limits_for(self.places.place(role), int(self.job.options.get("share", 1)))
            self._paces[role] = Pace(limits, self.threads(role), self.tally, self.clock, self._waiting)
        return self._paces[role]

    def slots(self, *roles: str) -> Slots:
        """A copy's slots at the places it is under way at."""
        return Slots(*(self.pace(role).window for role in roles))

    def moved(self, *roles: str) -> Callable[[int], None]:
        """Told of an object's bytes that pass, by these places: counts them, at the pace of each."""
        paces = [pace for role in roles if (pace := self.pace(role)).bandwidth is not None]
        if not paces:
            return self.meter.moved

        def moved(size_bytes: int) -> None:
            for pace in paces:
                pace.moved(size_bytes)
            self.meter.moved(size_bytes)

        return moved

    def pace_facts(self) -> Facts:
        """What the paces have come to, by the place's name."""
        return {"pace": {self.places.place(role).name: pace.facts() for role, pace in self._paces.items()}}

    def _waiting(self) -> bool:
        self.meter.beats += 1  # a wait that the drill or a place asked for is no stall
        return self.stopped()

    def provider(self, role: str) -> Provider:
        return self._open.enter_context(self.places.open(role, self.pace(role).retry))

    def container(self, role: str) -> str:
        if role == "vault":
            return vault_container(self.directory.id, self.plan, self.asset)
        return container_of(self.asset.source if role == "source" else self.asset.target)

    def store(self, role: str) -> ObjectStore:
        provider = self.provider(role)
        store = narrowed(provider, self.directory, role, self.asset.name, self.container(role))
        return self._open.enter_context(store)

    @property
    def claims(self) -> Claims:
        if self._claims is None:
            base = Path(self.directory.facts().base)
            self._claims = open_claims(self.plan, self.directory, os.environ, base, self.meter.counts)
            self._open.callback(self._claims.close)
        return self._claims

    def stopped(self) -> bool:
        return self._stopped() or (self._claims is not None and self._claims.stopped)

    def each_part(self, leg: str, one: Callable[[int, Path, Fence], None]) -> None:
        """Carry out the job's parts, those that are claimed: number, work file, claim."""
        folder = self.directory.scratch(self.asset.name)

        def do(n: int, fence: Fence) -> None:
            one(n, take_over(folder, leg, n, fence.token), fence)
            if fence.token:
                forget_work(folder, part_path(self.directory.ledger(self.asset.name), leg.replace(" ", ""), n), leg, n)

        for_each_part(self.claims, leg, self.asset.name, self.job.parts, do, self.stopped)

    def close(self) -> None:
        self._open.close()


def _inventory(ctx: _Context) -> Facts:
    options = ctx.job.options
    rows, size_bytes = options.get("part_rows"), options.get("part_bytes")
    size = PartSize(None if rows is None else int(rows), None if size_bytes is None else int(size_bytes))
    folder = ctx.directory.inventory(ctx.asset.name)
    prefix = prefix_of(ctx.asset.source)
    asked = report_of(ctx.asset.source)
    reported = None if asked is None else lambda manifest: _reported(ctx, asked, manifest)
    make_inventory(
        ctx.store("source"),
        prefix,
        folder,
        ctx.scratch,
        size,
        ctx.clock,
        ctx.stopped,
        ctx.meter,
        ctx.threads("source"),
        reported,
    )
    return {}


def _reported(ctx: _Context, asked: tuple[ReportSource, bool], manifest: str | None) -> Reported:
    source, delta = asked
    source = source if manifest is None else replace(source, manifest=manifest)
    report = ctx.provider("source").inventory_report(ctx.container("source"), prefix_of(ctx.asset.source), source)
    return Reported(report, delta)


def _evacuate(ctx: _Context) -> Facts:
    ctx.provider("vault").ensure_container(ctx.container("vault"))
    vault = ctx.store("vault")
    kinds = frozenset(DigestKind(kind) for kind in ctx.job.options.get("digests", ()))
    pack_bytes = int(ctx.job.options.get("pack_bytes", PACK_BYTES))
    packed_bytes = int(ctx.job.options.get("packed_object_bytes", MEMBER_BYTES)) if pack_bytes else -1
    roles = "source", "vault"
    moved, fetched = ctx.moved(*roles), ctx.moved("source")
    copy = Evacuation(ctx.store("source"), vault, kinds, ctx.stopped, moved, packed_bytes, fetched)
    inventory, ledger = ctx.directory.inventory(ctx.asset.name), ctx.directory.ledger(ctx.asset.name)

    def one(n: int, work: Path, fence: Fence) -> None:
        source, target = part_path(inventory, STEM, n), part_path(ledger, "evacuate", n)
        packing = _packing(vault, n, pack_bytes, ctx.pace("vault").moved)
        PartRun(
            source,
            InventoryRow,
            target,
            work,
            "evacuate",
            copy,
            vault.flush,
            ctx.threads(*roles),
            fence.stopping(ctx.stopped),
            ctx.meter,
            packing,
            ctx.slots(*roles),
            fence.guard,
        ).run()

    ctx.each_part("evacuate", one)
    return ctx.pace_facts()


def _packing(
    vault: ObjectStore, part: int, pack_bytes: int, moved: Callable[[int], None]
) -> Callable[[threading.Event], Packing]:
    """Packs of one part. Their names are never used twice: a worker that was killed may have left one behind."""
    return lambda wake: Packing(vault, lambda: pack_key(part, secrets.token_hex(8)), wake, pack_bytes, moved)


def _rebuild(ctx: _Context) -> Facts:
    # Here and not in the process that conducts: after the cut only severed processes speak to any place.
    ctx.provider("target").ensure_container(ctx.container("target"))
    asset, target_store = ctx.asset, ctx.store("target")
    prefixes, roles = (prefix_of(asset.source), prefix_of(asset.target)), ("vault", "target")
    vault = ctx.store("vault")
    shelf, delivered = PackShelf(vault, ctx.pace("vault").moved), ctx.moved("target")
    copy = Rebuild(vault, target_store, *prefixes, asset.rename, ctx.stopped, ctx.moved(*roles), shelf, delivered)
    ledger = ctx.directory.ledger(asset.name)

    def one(n: int, work: Path, fence: Fence) -> None:
        source, target = part_path(ledger, "evacuate", n), part_path(ledger, "rebuild", n)
        PartRun(
            source,
            LedgerRow,
            target,
            work,
            "rebuild",
            copy,
            target_store.flush,
            ctx.threads(*roles),
            fence.stopping(ctx.stopped),
            ctx.meter,
            slots=ctx.slots(*roles),
            guard=fence.guard,
        ).run()

    ctx.each_part("rebuild", one)
    return ctx.pace_facts()


def _last_look(ctx: _Context) -> Facts:
    folder = ctx.directory.ledger(ctx.asset.name)
    prefix = prefix_of(ctx.asset.source)
    found = last_look(ctx.store("source"), prefix, folder, ctx.scratch, ctx.clock, ctx.stopped, ctx.meter)
    oldest = None if found.oldest_lost_utc is None else format_utc(found.oldest_lost_utc)
    mishaps = [asdict(mishap) for mishap in found.mishaps]
    looked = format_utc(found.looked_utc)
    return {
        "looked_utc": looked,
        "lost": found.lost,
        "oldest_lost_utc": oldest,
        "deleted": found.deleted,
        "mishaps": mishaps,
    }


def _read_back(ctx: _Context) -> Facts:
    store, ledger, threads = ctx.store("target"), ctx.directory.ledger(ctx.asset.name), ctx.threads("target")

    def one(n: int, _work: Path, fence: Fence) -> None:
        stopped, slots, moved = fence.stopping(ctx.stopped), ctx.slots("target"), ctx.moved("target")
        read_part_back(store, ledger, n, threads, stopped, ctx.meter, slots, moved, fence.guard)

    ctx.each_part("read back", one)
    return ctx.pace_facts()


def _verify(ctx: _Context) -> Facts:
    asset = ctx.asset
    found = verify(
        ctx.store("target"),
        prefix_of(asset.target),
        ctx.directory.ledger(asset.name),
        ctx.scratch,
        asset.verify,
        bytes.fromhex(str(ctx.job.options["seed"])),
        asset.sample,
        asset.rename != "none",
        ctx.threads("target"),
        ctx.stopped,
        ctx.meter,
        ctx.slots("target"),
        ctx.moved("target"),
    )
    mishaps = [asdict(mishap) for mishap in found.mishaps]
    return {"verification": asdict(found.record()), "mishaps": mishaps, "mishaps_total": found.mishaps_total}


def _probe(ctx: _Context) -> Facts:
    cut = cut_for(ctx.directory, ctx.job)
    if cut is None:
        raise RunError("the source is not cut off", resource=str(ctx.directory.path))
    return {"probed": list(probe(cut))}


def _clean(ctx: _Context, role: str) -> Facts:
    asset = ctx.asset
    ours, prefix, made = None, "", True
    if role == "target":
        source_prefix, prefix = prefix_of(asset.source), prefix_of(asset.target)
        ledger, work = ctx.directory.ledger(asset.name), ctx.directory.scratch(asset.name)
        ours = Ours(ledger, lambda n: bool(work_files(work, "rebuild", n)), source_prefix, prefix, asset.rename)
        made = bool(ctx.job.options["made"])
    container = ctx.container(role)
    provider, store = ctx.provider(role), ctx.store(role)
    with suppress(NotFoundError):  # no container, nothing to clear
        clear_probe(store, probe_base(prefix, ctx.directory.id))
    done: Cleanup = clean_container(
        provider, store, container, prefix, ours, made, ctx.scratch, ctx.threads(role), ctx.stopped, ctx.meter
    )
    facts = asdict(done)
    return {**facts, "container": store.resource}


_TASKS: Mapping[str, Callable[[_Context], Facts]] = {
    "inventory": _inventory,
    "evacuate": _evacuate,
    "last look": _last_look,
    "rebuild": _rebuild,
    "read back": _read_back,
    "verify": _verify,
    "probe": _probe,
    "clean target": lambda ctx: _clean(ctx, "target"),
    "clean vault": lambda ctx: _clean(ctx, "vault"),
}


def load_connectors(directory: RunDirectory) -> None:
    """Load what speaks to a run's places, without opening any of them.

    Raises:
        ExitdrillError: There is no such connector, or it cannot be loaded.
    """
    _, places = _opened(directory)
    for role in ("source", "vault", "target"):
        places.connector(role)


def run_task(job: Job, directory: RunDirectory, meter: Meter, stopped: Callable[[], bool]) -> tuple[Facts, Tally]:
    """Carry out a job.

    Returns:
        Its facts, and what trying again cost.

    Raises:
        ExitdrillError: Whatever ended it.
    """
    context = _Context(job, directory, meter, stopped)
    try:
        facts = _TASKS[job.task](context)
    finally:
        context.close()
    return facts, context.tally
