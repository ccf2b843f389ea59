"""The actions that work on the drill as a whole."""

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

from exitdrill.assets.interface import asset_kind
from exitdrill.assets.preflight import advice
from exitdrill.clock import Stopwatch
from exitdrill.connector.provider import Provider
from exitdrill.errors import ExitdrillError, RunError, StoppedError
from exitdrill.model import codec
from exitdrill.model.journal import Json
from exitdrill.model.record import Check, RunStatus
from exitdrill.playbook.action import Action, StepContext
from exitdrill.playbook.actions.cutting import cut_off, probe_cut
from exitdrill.playbook.actions.legs import must_be_ready
from exitdrill.playbook.actions.placing import policy_checks
from exitdrill.playbook.actions.signing import signing_checks
from exitdrill.playbook.cluster import cluster_checks, vault_check
from exitdrill.playbook.recording import ROLES, run_record
from exitdrill.playbook.roots import keep_roots
from exitdrill.playbook.run import Run
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.cut import load_cut
from exitdrill.transfer.layout import write_atomic

__all__ = ["Declare", "Preflight", "Seal", "Sever", "Teardown"]

_CLOCK_TOLERANCE_SECONDS = 60.0
_ROOTS_SHARE = 0.9
"""Of the seal step's timeout; after that the manifests' roots are given up, and not the step."""


class Declare(Action):
    """``drill.declare``: say in the journal what is at stake. The clock runs already."""

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        plan = ctx.run.plan
        route = {role: getattr(plan.route, role) for role in ROLES}
        ctx.run.journal.record("scope", assets=[asset.name for asset in plan.assets], route=dict(route))


class Preflight(Action):
    """``preflight.check``: policy, credentials, clocks, room, names and capabilities, each by trying."""

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        run = ctx.run
        run.state.forget_checks()
        checks = []
        for check in _checks(ctx):
            run.state.check(check)
            run.journal.record("checked", name=check.name, resource=check.resource, ready=check.ready)
            checks.append(check)
        must_be_ready(checks)


def _checks(ctx: StepContext) -> Iterator[Check]:
    yield from policy_checks(ctx.run)
    reached = True
    for role in ROLES:
        check = _place(ctx.run, role)
        reached = reached and check.ready
        yield check
    yield from signing_checks(ctx.run)
    if not reached:
        return
    if ctx.run.plan.engine.spread:
        cluster = list(cluster_checks(ctx.run))
        yield from cluster
        if not all(check.ready for check in cluster):
            return
    yield from _clocks(ctx.run)
    yield _apart(ctx.run)
    for asset in ctx.run.plan.assets:
        yield from asset_kind(asset.kind).preflight(ctx.of_asset(asset))
    if ctx.run.plan.engine.spread:
        yield from vault_check(ctx.run)


def _place(run: Run, role: str) -> Check:
    name = run.places.place(role).name
    try:
        with run.places.open(role) as provider:
            facts, found = _reach(run, provider)
    except ExitdrillError as error:
        return Check("credentials", f"{name} ({role})", ready=False, found=error.problem, action=advice(role, error))
    run.state.put("places", role, facts)
    return Check("credentials", f"{name} ({role})", ready=True, found=found)


def _reach(run: Run, provider: Provider) -> tuple[dict[str, Json], str]:
    clock = run.clock.clock
    watch = Stopwatch(clock)
    theirs = provider.server_time()
    half = watch.elapsed_seconds / 2
    offset = None if theirs is None else _offset(theirs, clock.utc_now(), half)
    endpoints: list[Json] = [f"{e.host}:{e.port}" if e.port else e.host for e in provider.endpoints()]
    facts: dict[str, Json] = {
        "environment": provider.environment.value,
        "lane": provider.lane,
        "clock_offset_seconds": offset,
        "endpoints": endpoints,
    }
    lane = f"{provider.lane} lane, " if provider.lane else ""
    return facts, f"{provider.environment.value}, {lane}answers in {2 * half:.2f} s"


def _offset(theirs: datetime, ours: datetime, half_seconds: float) -> float:
    """Their clock minus ours; a ``Date`` header has whole seconds, so half a second is added."""
    return round((theirs - ours).total_seconds() + half_seconds + 0.5, 1)


def _clocks(run: Run) -> Iterator[Check]:
    for role in ROLES:
        facts = run.state.get("places", role)
        offset = facts.get("clock_offset_seconds") if isinstance(facts, dict) else None
        if not isinstance(offset, float):
            continue
        ready = abs(offset) <= _CLOCK_TOLERANCE_SECONDS
        action = "" if ready else "set this machine's clock (NTP); signed requests fail at 15 minutes"
        yield Check("clock", run.places.place(role).name, ready, f"{offset:+.1f} s against ours", action)


def _apart(run: Run) -> Check:
    """Whether the cut can leave vault and target reachable."""
    found: dict[str, set[tuple[str, int | None]]] = {}
    for role in ROLES:
        with run.places.open(role) as provider:
            found[role] = {(e.host, e.port) for e in provider.endpoints() if e.why == "data"}
    shared = found["source"] & (found["vault"] | found["target"])
    text = ", ".join(sorted(f"{host}:{port or '*'}" for host, port in shared))
    if not found["source"]:
        said = "the source has no network address: the cut can only take its credentials away"
        advice = "take it away by hand before the rebuild, if the drill is to prove more than that"
        return Check("cut", "source", ready=True, found=said, action=advice)
    return Check(
        "cut",
        "source",
        ready=not shared,
        found=f"shares {text} with vault or target" if shared else "can be cut off from vault and target",
        action="the places of a drill must be apart" if shared else "",
    )


class Sever(Action):
    """``source.sever``: from here on the source does not exist, and a probe shows it."""

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        run = ctx.run
        if load_cut(run.directory.cut) is None:
            cut_off(run, ctx.conductor)
            run.start_workers(ctx.conductor.width)
        run.state.put("cut", "probed", probe_cut(run, ctx.conductor))


class Seal(Action):
    """``run.seal``: prove the cut once more, compute the manifests' roots, and write down what was measured."""

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        run = ctx.run
        limit_ns = int(ctx.step.timeout.total_seconds() * _ROOTS_SHARE * 1_000_000_000)
        until_ns = run.clock.clock.monotonic_ns() + limit_ns
        if load_cut(run.directory.cut) is not None:
            run.state.put("cut", "probed again", probe_cut(run, ctx.conductor))
        for asset in run.plan.assets:
            keep_roots(run, asset, until_ns)
        data = codec.dump(run_record(run, RunStatus.RUNNING))
        write_atomic(run.directory.record, data)


def _forget_claims(run: Run) -> list[Json]:
    """Remove the run's claims; what is left of them, in words."""
    try:
        with claim_table(run.plan, run.directory, run.environ(), run.base) as table:
            table.forget(run.id)
    except ExitdrillError as error:
        return [f"claims of {run.id}: {error}"]
    return []


class Teardown(Action):
    """``run.teardown``: remove what this run made, and list what is left."""

    always: ClassVar[bool] = True

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        run = ctx.run
        if run.plan.keep:
            run.journal.record("kept", reason="the drill says keep: true")
            run.state.put("run", "teardown", {"kept": True, "complete": False})
            return
        deleted, containers, left = 0, list[Json](), list[Json]()
        for asset in run.plan.assets:
            run.journal.record("tearing down", asset=asset.name)
            try:
                done = asset_kind(asset.kind).teardown(ctx.of_asset(asset))
            except StoppedError:
                raise
            except ExitdrillError as error:
                left.append(f"{asset.name}: {error}")
                continue
            deleted += done.objects
            containers += done.containers
            left += done.left
        if run.state.get("cluster", "claims"):
            left += _forget_claims(run)
        before = run.state.get("run", "teardown")
        if isinstance(before, dict):  # a teardown that left something is gone on with, and counts with this one
            deleted += int(str(before.get("deleted", 0)))
            earlier = before.get("containers")
            containers = [*earlier, *containers] if isinstance(earlier, list) else containers
            containers = list(dict.fromkeys(str(c) for c in containers))
        facts: dict[str, Json] = {"deleted": deleted, "containers": containers, "left": left, "complete": not left}
        run.journal.record("torn down", **facts)
        run.state.put("run", "teardown", facts)
        if left:
            text = "; ".join(str(item) for item in left[:5])
            raise RunError(f"{len(left)} things are left behind: {text}", hint=f"exitdrill teardown {run.id}")
