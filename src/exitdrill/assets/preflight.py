"""Preflight of objects: proved by doing it, not by asking for permission."""

import json
from collections.abc import Callable
from contextlib import ExitStack

from exitdrill.assets.interface import AssetContext
from exitdrill.assets.probing import probe_store
from exitdrill.assets.survey import Survey
from exitdrill.clock import format_utc
from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.errors import (
    ConflictError,
    ExitdrillError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TransientError,
)
from exitdrill.model import human
from exitdrill.model.record import Check
from exitdrill.plan.drill import Asset, Level
from exitdrill.transfer.cleanup import probe_base
from exitdrill.transfer.layout import write_atomic
from exitdrill.transfer.places import container_of, prefix_of, report_of, vault_container

__all__ = ["advice", "describe_survey", "object_checks", "probed_capabilities"]

_ROOM = 1.05


def object_checks(ctx: AssetContext) -> list[Check]:
    """Source readable, vault and target writable and what they really can, the level asked for reachable.

    What it finds the target and the vault able to do is kept for the legs. Containers it makes are noted
    before they are made, so that teardown finds them.
    """
    checks = [_tried("source", ctx, _source)]
    checks.append(_tried("vault", ctx, _vault))
    checks.append(_tried("target", ctx, _target))
    if all(check.ready for check in checks):
        checks.append(_level(ctx))
        checks += _notes(ctx)
    return checks


def _tried(name: str, ctx: AssetContext, attempt: Callable[[AssetContext], str]) -> Check:
    resource = f"{ctx.asset.name} ({name})"
    try:
        return Check(f"{name} objects", resource, ready=True, found=attempt(ctx))
    except ExitdrillError as error:
        return Check(f"{name} objects", resource, ready=False, found=error.problem, action=advice(name, error))


def advice(role: str, error: ExitdrillError) -> str:
    """What to do about a place or container that does not do what its role in the drill takes."""
    if error.hint:
        return error.hint
    if isinstance(error, ThrottledError):
        return "it asks for fewer requests: wait, or have its limits raised"
    if isinstance(error, TransientError):
        return "see that it is up and can be reached from here: its endpoint, the network, a proxy"
    if isinstance(error, NotFoundError) and role == "source":
        return "check the name in the drill; some places also say so of what these credentials may not see"
    if isinstance(error, PermissionDeniedError | ConflictError) and role == "target":
        return (
            "it may be somebody else's: choose another name, or have these credentials allowed to "
            "make, list, read, write and delete there"
        )
    if isinstance(error, PermissionDeniedError):
        rights = "list and read" if role == "source" else "make, list, read, write and delete"
        return f"have these credentials allowed to {rights} there"
    return "put it right"


def _source(ctx: AssetContext) -> str:
    with ExitStack() as stack:
        source = stack.enter_context(ctx.places.open("source"))
        store = stack.enter_context(source.objects(container_of(ctx.asset.source)))
        reported = _reported(ctx, source)
        first = next(store.list(prefix_of(ctx.asset.source)), None)
        if first is None:
            return f"listed: nothing there{reported}"
        if first.size:
            with store.read(first.key, etag=first.etag, length=1) as stream:
                stream.read_all()
        return f"listed and read{reported}"


def _reported(ctx: AssetContext, source: Provider) -> str:
    """The inventory report that would be taken now, where the drill asks for one."""
    asked = report_of(ctx.asset.source)
    if asked is None:
        return ""
    report = source.inventory_report(container_of(ctx.asset.source), prefix_of(ctx.asset.source), asked[0])
    return f"; has an inventory report of {format_utc(report.began_utc)}"


def _keep(ctx: AssetContext, role: str, store: ObjectStore, prefix: str) -> tuple[str, ...]:
    probed = probe_store(store, probe_base(prefix, ctx.directory.id))
    data = json.dumps(probed.capabilities.to_json()).encode()
    write_atomic(ctx.directory.capabilities(role, ctx.asset.name), data)
    ctx.facts.put(f"{role} notes", list(probed.notes))
    return probed.notes


def _vault(ctx: AssetContext) -> str:
    container = vault_container(ctx.directory.id, ctx.plan, ctx.asset)
    ctx.facts.put("vault container", container)
    with ExitStack() as stack:
        vault = stack.enter_context(ctx.places.open("vault"))
        vault.ensure_container(container)
        store = stack.enter_context(vault.objects(container))
        _keep(ctx, "vault", store, "")
        store.flush()
    return "written, read back, listed and deleted"


def _target(ctx: AssetContext) -> str:
    container, prefix = container_of(ctx.asset.target), prefix_of(ctx.asset.target)
    with ExitStack() as stack:
        target = stack.enter_context(ctx.places.open("target"))
        made = _ensure(ctx, target, container)
        store = stack.enter_context(target.objects(container))
        if not ctx.facts.get("target touched"):
            there = next(store.list(prefix), None)
            if there is not None:
                raise ConflictError(
                    f"not empty: it holds {human.key(there.key, limit=80)}",
                    resource=f"{store.resource}/{prefix}",
                    hint="a drill never overwrites: choose an empty bucket or another prefix",
                )
            ctx.facts.put("target touched", value=True)
        _keep(ctx, "target", store, prefix)
    return ("made; " if made else "") + "written, read back, listed and deleted"


def _ensure(ctx: AssetContext, target: Provider, container: str) -> bool:
    ctx.journal.record("container wanted", place=ctx.plan.target.name, container=container, asset=ctx.asset.name)
    known = ctx.facts.get("target made")
    if known is None:
        # Kept before it is made: a crash in between must not leave a bucket that nobody removes.
        ctx.facts.put("target made", value=_absent(target, container))
    if not target.ensure_container(container) and known is None:
        ctx.facts.put("target made", value=False)  # somebody else was faster
    return bool(ctx.facts.get("target made"))


def _absent(target: Provider, container: str) -> bool:
    with target.objects(container) as store:
        try:
            next(store.list(), None)
        except NotFoundError:
            return True
    return False


def probed_capabilities(ctx: AssetContext, role: str) -> Capabilities:
    """What preflight found the place in that role able to do, for this asset."""
    return Capabilities.from_json(json.loads(ctx.directory.capabilities(role, ctx.asset.name).read_bytes()))


def _level(ctx: AssetContext) -> Check:
    asset, target = ctx.asset, probed_capabilities(ctx, "target")
    needs = asset.verify in (Level.ATTESTED, Level.SAMPLED)
    attests = ", ".join(sorted(target.attests)) or "nothing"
    return Check(
        "level",
        asset.name,
        ready=bool(target.attests) or not needs,
        found=f"{asset.verify} asked for; the target attests {attests}",
        action=""
        if target.attests or not needs
        else "this target cannot attest; levels that can be reached: listed, full",
    )


def _notes(ctx: AssetContext) -> list[Check]:
    notes: list[Check] = []
    for role in ("vault", "target"):
        found = ctx.facts.get(f"{role} notes")
        if isinstance(found, list):
            notes += [
                Check(
                    "capabilities",
                    f"{ctx.asset.name} ({role})",
                    ready=True,
                    found=str(n),
                    action="known, and allowed for",
                )
                for n in found
            ]
    return notes


def describe_survey(asset: Asset, seen: Survey, free_bytes: int | None) -> list[Check]:
    """What the inventory means for the drill, as checks.

    Args:
        asset: Whose inventory it is.
        seen: What was seen in it.
        free_bytes: Room in the vault, or None if it does not say.
    """
    name = asset.name
    found = f"{seen.unholdable} of {seen.objects} keys"
    hint = (
        "rename: percent in the drill makes them fit"
        if asset.rename == "none"
        else "exclude or rename them at the source"
    )
    checks = [
        Check(
            "keys",
            name,
            ready=seen.unholdable == 0,
            found=found + " cannot be held by the target" + _listed(seen.examples),
            action=hint if seen.unholdable else "",
        ),
        Check(
            "tiers",
            name,
            ready=seen.offline == 0,
            found=f"{seen.offline} of {seen.objects} objects are offline",
            action="rehydrate them to an online tier; that can take hours" if seen.offline else "",
        ),
        Check(
            "sizes",
            name,
            ready=seen.too_large == 0,
            found=f"largest object: {seen.largest_bytes} bytes; {seen.too_large} too large for the target",
            action="split them, or choose another target" if seen.too_large else "",
        ),
        Check(
            "digests",
            name,
            ready=True,
            found=f"{seen.without_digest} of {seen.objects} objects are listed without a digest of the source's",
        ),
    ]
    if seen.stubs:
        found = f"{seen.stubs} zero-byte directory markers (hdi_isfolder), copied as the objects they are"
        checks.append(Check("directory markers", name, ready=True, found=found))
    if free_bytes is not None:
        need = int(seen.size_bytes * _ROOM)
        room = f"{seen.size_bytes} bytes to hold, {free_bytes} free in the vault"
        checks.append(
            Check("space", name, ready=free_bytes >= need, found=room, action="" if free_bytes >= need else "make room")
        )
    return checks


def _listed(examples: list[str]) -> str:
    return ": " + "; ".join(examples) if examples else ""
