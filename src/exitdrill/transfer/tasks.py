"""What a worker can be asked to do, by name. Runs inside the worker process."""

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exitdrill import plan as plans
from exitdrill.clock import SystemClock, format_utc
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy, Tally
from exitdrill.errors import NotFoundError, RunError
from exitdrill.model.digests import DigestKind
from exitdrill.plan.drill import Asset
from exitdrill.transfer.cleanup import Cleanup, Ours, clean_container, clear_probe, probe_base
from exitdrill.transfer.copying import Evacuation, Rebuild
from exitdrill.transfer.cut import load_cut, probe
from exitdrill.transfer.inventory import STEM, PartSize, make_inventory
from exitdrill.transfer.job import Job
from exitdrill.transfer.lastlook import last_look
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.packing import MEMBER_BYTES, PACK_BYTES, Packing
from exitdrill.transfer.partrun import Meter, PartRun
from exitdrill.transfer.places import Places, container_of, narrowed, prefix_of, vault_container
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path
from exitdrill.transfer.vaultkeys import pack_key
from exitdrill.transfer.verify import read_part_back, verify

__all__ = ["run_task"]

Facts = Mapping[str, Any]
_THREADS = 32


class _Context:
    """One job's run, plan, asset and opened places."""

    def __init__(self, job: Job, directory: RunDirectory, meter: Meter, stopped: Callable[[], bool]) -> None:
        self.job, self.directory, self.meter, self.stopped = job, directory, meter, stopped
        self.plan = plans.from_json(json.loads(directory.plan.read_bytes()))
        self.places = Places(self.plan, Path(directory.facts().base))
        self.retry = RetryPolicy()
        self.clock = SystemClock()
        self.threads = int(job.options.get("threads", _THREADS))
        self._open = ExitStack()

    @property
    def asset(self) -> Asset:
        return self.plan.asset(self.job.asset)

    @property
    def scratch(self) -> Path:
        return self.directory.scratch("sort")

    def provider(self, role: str) -> Provider:
        return self._open.enter_context(self.places.open(role, self.retry))

    def container(self, role: str) -> str:
        if role == "vault":
            return vault_container(self.directory.id, self.plan, self.asset)
        return container_of(self.asset.source if role == "source" else self.asset.target)

    def store(self, role: str) -> ObjectStore:
        provider = self.provider(role)
        store = narrowed(provider, self.directory, role, self.asset.name, self.container(role))
        return self._open.enter_context(store)

    def close(self) -> None:
        self._open.close()


def _inventory(ctx: _Context) -> Facts:
    options = ctx.job.options
    rows, size_bytes = options.get("part_rows"), options.get("part_bytes")
    size = PartSize(None if rows is None else int(rows), None if size_bytes is None else int(size_bytes))
    folder = ctx.directory.inventory(ctx.asset.name)
    prefix = prefix_of(ctx.asset.source)
    make_inventory(ctx.store("source"), prefix, folder, ctx.scratch, size, ctx.clock, ctx.stopped, ctx.meter)
    return {}


def _work(ctx: _Context, leg: str, number: int) -> Path:
    return ctx.directory.scratch(ctx.asset.name) / f"{leg}-{number:06d}.sqlite"


def _evacuate(ctx: _Context) -> Facts:
    ctx.provider("vault").ensure_container(ctx.container("vault"))
    vault = ctx.store("vault")
    kinds = frozenset(DigestKind(kind) for kind in ctx.job.options.get("digests", ()))
    pack_bytes = int(ctx.job.options.get("pack_bytes", PACK_BYTES))
    packed_bytes = int(ctx.job.options.get("packed_object_bytes", MEMBER_BYTES)) if pack_bytes else -1
    copy = Evacuation(ctx.store("source"), vault, kinds, ctx.stopped, ctx.meter.moved, packed_bytes)
    inventory, ledger = ctx.directory.inventory(ctx.asset.name), ctx.directory.ledger(ctx.asset.name)
    for n in ctx.job.parts:
        source, target = part_path(inventory, STEM, n), part_path(ledger, "evacuate", n)
        work = _work(ctx, ctx.job.task, n)
        packing = _packing(vault, n, pack_bytes)
        PartRun(
            source,
            InventoryRow,
            target,
            work,
            "evacuate",
            copy,
            vault.flush,
            ctx.threads,
            ctx.stopped,
            ctx.meter,
            packing,
        ).run()
    return {}


def _packing(vault: ObjectStore, part: int, pack_bytes: int) -> Callable[[threading.Event], Packing]:
    """Packs of one part. Their names are never used twice: a worker that was killed may have left one behind."""
    return lambda wake: Packing(vault, lambda: pack_key(part, secrets.token_hex(8)), wake, pack_bytes)


def _rebuild(ctx: _Context) -> Facts:
    # Here and not in the process that conducts: after the cut only severed processes speak to any place.
    ctx.provider("target").ensure_container(ctx.container("target"))
    asset, target_store = ctx.asset, ctx.store("target")
    prefixes = prefix_of(asset.source), prefix_of(asset.target)
    copy = Rebuild(ctx.store("vault"), target_store, *prefixes, asset.rename, ctx.stopped, ctx.meter.moved)
    ledger = ctx.directory.ledger(asset.name)
    for n in ctx.job.parts:
        source, target = part_path(ledger, "evacuate", n), part_path(ledger, "rebuild", n)
        work = _work(ctx, ctx.job.task, n)
        PartRun(
            source, LedgerRow, target, work, "rebuild", copy, target_store.flush, ctx.threads, ctx.stopped, ctx.meter
        ).run()
    return {}


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
    store, ledger = ctx.store("target"), ctx.directory.ledger(ctx.asset.name)
    for n in ctx.job.parts:
        read_part_back(store, ledger, n, ctx.threads, ctx.stopped, ctx.meter)
    return {}


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
        ctx.threads,
        ctx.stopped,
        ctx.meter,
    )
    mishaps = [asdict(mishap) for mishap in found.mishaps]
    return {"verification": asdict(found.record()), "mishaps": mishaps, "mishaps_total": found.mishaps_total}


def _probe(ctx: _Context) -> Facts:
    cut = load_cut(ctx.directory.cut)
    if cut is None:
        raise RunError("the source is not cut off", resource=str(ctx.directory.path))
    return {"probed": list(probe(cut))}


def _clean(ctx: _Context, role: str) -> Facts:
    asset = ctx.asset
    ours, prefix, made = None, "", True
    if role == "target":
        source_prefix, prefix = prefix_of(asset.source), prefix_of(asset.target)
        ledger = ctx.directory.ledger(asset.name)
        ours = Ours(ledger, lambda n: _work(ctx, "rebuild", n), source_prefix, prefix, asset.rename)
        made = bool(ctx.job.options["made"])
    container = ctx.container(role)
    provider, store = ctx.provider(role), ctx.store(role)
    with suppress(NotFoundError):  # no container, nothing to clear
        clear_probe(store, probe_base(prefix, ctx.directory.id))
    done: Cleanup = clean_container(
        provider, store, container, prefix, ours, made, ctx.scratch, ctx.threads, ctx.stopped, ctx.meter
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
    return facts, context.retry.tally
