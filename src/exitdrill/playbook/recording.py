"""Putting together what a run measured, from its state and the footers of its parts."""

from dataclasses import replace

from exitdrill import __version__
from exitdrill.assets.interface import asset_kind
from exitdrill.clock import parse_utc
from exitdrill.errors import ExitdrillError
from exitdrill.model.journal import Json
from exitdrill.model.record import (
    EARLY_REBUILD,
    AssetRecord,
    Attempt,
    EarlyCutRecord,
    PlaceRecord,
    RunRecord,
    RunStatus,
    SeveranceRecord,
    TeardownRecord,
)
from exitdrill.plan.drill import Asset
from exitdrill.plan.placing import ROLES, placements
from exitdrill.playbook.previous import known_previous
from exitdrill.playbook.roots import roots_of
from exitdrill.playbook.run import CLOCK_STEPS, Run, keep_clock_step
from exitdrill.playbook.throughput import kept_throughput
from exitdrill.transfer.cut import Cut, load_cut

__all__ = ["ROLES", "note_clock_step", "run_record"]

_STEP_NS = 1_000_000_000
_SLEW = 0.0005
"""A time service may make a clock run this much faster or slower without stepping it (ntpd's limit)."""
_TEXT = 300


def run_record(run: Run, status: RunStatus) -> RunRecord:
    """What was measured so far. Reads the run's directory; never fails for what is missing there."""
    assets = tuple(_asset(run, asset) for asset in run.plan.assets)
    pairs = tuple(zip(run.plan.assets, assets, strict=True))
    # Without any critical asset all of them count: the clock stops when the last is proven.
    decisive = [r.recovered_elapsed_ns for a, r in pairs if a.critical] or [r.recovered_elapsed_ns for r in assets]
    known = [n for n in decisive if n is not None]
    recovered = max(known) if known and len(known) == len(decisive) else None
    return RunRecord(
        run_id=run.id,
        drill=run.plan.name,
        mode=run.plan.mode.value,
        plan_digest=run.plan.digest,
        tool_version=__version__,
        status=status,
        t0_utc=run.clock.t0_utc,
        ended_utc=run.clock.clock.utc_now(),
        ended_elapsed_ns=run.clock.elapsed_ns,
        recovered_elapsed_ns=recovered,
        places=tuple(_place(run, role) for role in ROLES),
        checks=run.state.checks(),
        steps=run.state.steps(),
        laps=run.state.laps(),
        assets=assets,
        severance=_severance(run),
        early_cut=_early_cut(run),
        teardown=_teardown(run),
        clock_steps_ns=_clock_steps(run),
        sessions=run.session,
        orchestrator=run.orchestrator,
        width=int(str(run.state.get("run", "width") or 0)),
        error="" if run.error is None else _first_line(run.error),
        placements=placements(run.plan, run.clock.t0_utc.date()),
        previous=known_previous(run.state),
    )


def _first_line(error: Exception) -> str:
    """What ended the run, in short: its steps, assets and checks say it in full."""
    text = str(error) if isinstance(error, ExitdrillError) else f"unexpected {type(error).__name__}: {error}"
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _TEXT else line[: _TEXT - 1] + "…"


def _asset(run: Run, asset: Asset) -> AssetRecord:
    ctx = run.asset_context(asset, None)
    try:
        measured = asset_kind(asset.kind).record(ctx)
        evacuate, rebuild = (
            replace(leg, throughput=kept_throughput(ctx.facts, leg.leg))
            for leg in (measured.evacuate, measured.rebuild)
        )
        return replace(measured, evacuate=evacuate, rebuild=rebuild, roots=roots_of(run, asset.name))
    except ExitdrillError as error:
        return AssetRecord(asset.name, asset.kind, error=str(error))


def _place(run: Run, role: str) -> PlaceRecord:
    place = run.places.place(role)
    facts = run.state.get("places", role)
    known = facts if isinstance(facts, dict) else {}
    offset, endpoints = known.get("clock_offset_seconds"), known.get("endpoints")
    return PlaceRecord(
        place.name,
        role,
        place.connector,
        "emulator" if place.emulator else str(known.get("environment", "unknown")),
        place.emulator,
        place.jurisdiction,
        tuple(str(e) for e in endpoints) if isinstance(endpoints, list) else (),
        offset if isinstance(offset, float) else None,
        place.legal_entity,
        None if place.ownership is None else str(place.ownership),
        place.certifications,
        None if place.seal is None else str(place.seal),
    )


def _severance(run: Run) -> SeveranceRecord | None:
    cut = load_cut(run.directory.cut)
    if cut is None:
        return None
    probed, again = run.state.get("cut", "probed"), run.state.get("cut", "probed again")
    attempts = tuple(attempt for attempt in _attempts(run) if attempt.during != EARLY_REBUILD)
    return SeveranceRecord(
        parse_utc(cut.severed_utc),
        cut.severed_elapsed_ns,
        _refused(cut),
        cut.removed_variables,
        tuple(str(p) for p in probed) if isinstance(probed, list) else (),
        attempts,
        holds=_holds(cut, probed, again),
    )


def _early_cut(run: Run) -> EarlyCutRecord | None:
    cut = load_cut(run.directory.early_cut)
    if cut is None:
        return None
    probed, again = run.state.get("cut", "early probed"), run.state.get("cut", "early probed again")
    return EarlyCutRecord(
        parse_utc(cut.severed_utc),
        cut.severed_elapsed_ns,
        _refused(cut),
        cut.removed_variables,
        tuple(str(p) for p in probed) if isinstance(probed, list) else (),
        tuple(attempt for attempt in _attempts(run) if attempt.during == EARLY_REBUILD),
        holds=_holds(cut, probed, again),
    )


def _attempts(run: Run) -> tuple[Attempt, ...]:
    return tuple(Attempt(address, count, during) for address, during, count in run.state.refusals())


def _refused(cut: Cut) -> tuple[str, ...]:
    return tuple(f"{host}:{port}" if port else host for host, port in cut.hosts)


def _holds(cut: Cut, probed: Json, again: Json) -> bool:
    # A source without a network address (a directory) has nothing to probe: then its absent credentials are
    # all that the probe showed, and a check of preflight says so. One with addresses must have been probed.
    return bool(cut.probes or not cut.hosts) and probed is not None and probed == again


def _teardown(run: Run) -> TeardownRecord | None:
    facts = run.state.get("run", "teardown")
    if not isinstance(facts, dict):
        return None
    containers, left = facts.get("containers"), facts.get("left")
    return TeardownRecord(
        bool(facts.get("kept")),
        int(str(facts.get("deleted", 0))),
        tuple(str(c) for c in containers) if isinstance(containers, list) else (),
        tuple(str(item) for item in left) if isinstance(left, list) else (),
        bool(facts.get("complete")),
    )


def note_clock_step(run: Run) -> None:
    """Keep how far the wall clock has jumped since the last look, if it was more than slewing can do."""
    stepped, elapsed = run.clock.stepped_ns, run.clock.elapsed_ns
    seen_stepped, seen_elapsed = run.clock_seen
    jump = stepped - seen_stepped
    if abs(jump) > _STEP_NS + _SLEW * (elapsed - seen_elapsed):
        keep_clock_step(run.state, jump)
        run.journal.record("clock stepped", by_ns=jump)
    run.clock_seen = (stepped, elapsed)


def _clock_steps(run: Run) -> tuple[int, ...]:
    kept = run.state.get("run", CLOCK_STEPS)
    return tuple(int(str(n)) for n in kept) if isinstance(kept, list) else ()
