"""What ``exitdrill show`` prints of one run: from its record if it has ended, from its journal while it runs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from exitdrill.cli.console import harmless, out, table
from exitdrill.cli.progress import left
from exitdrill.cli.stored import Stored, bundle_of, events, load_plan_of, load_record, load_verdict
from exitdrill.clock import format_utc, parse_utc
from exitdrill.errors import ExitdrillError
from exitdrill.evidence.sealed import seal_state
from exitdrill.model.findings import Comparison
from exitdrill.model.human import bytes_, duration
from exitdrill.model.record import Counts, RunRecord
from exitdrill.transfer.inventory import inventory_counts
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.tally import leg_facts

__all__ = ["show_run", "to_json"]

_NS = 1_000_000_000
_LAST = 8


def show_run(run: Stored) -> None:
    """Everything, to stdout."""
    out(harmless(f"run {run.id}  {run.drill}  {run.mode}"))
    judged = f", judged {run.judgement}" if run.judgement else ""
    out(f"  status    {run.status}{judged}")
    out(f"  declared  {run.declared_utc}")
    out(harmless(f"  folder    {run.path}"))
    for line in _sealed(run):
        out(harmless(f"  sealed    {line}"))
    bundle = bundle_of(run.path)
    if bundle is not None:
        out(harmless(f"  bundle    {bundle[0]}; check it with: {bundle[1]}"))
    if run.judgement:
        _ended(run, load_record(run.path))
    else:
        _going_on(run)


def _sealed(run: Stored) -> list[str]:
    """Who signed, how far, and whose clock vouches; for whoever holds the directory, not as proof."""
    try:
        state = seal_state(run.path)
    except ExitdrillError as error:
        return [f"NOT: {error}"]
    if not state.checkpoints:
        return ["not: no key has signed anything"]
    keys = ", ".join(f"{key[:16]}…" for key in state.keys)
    last = "" if state.covered == state.lines else f", the last {state.lines - state.covered} not yet"
    signed = f"{state.checkpoints} checkpoints over {state.covered} of {state.lines} lines{last}; signed by key {keys}"
    if state.first_token is None or state.last_token is None:
        return [signed, "not timestamped"]
    between = f"{format_utc(state.first_token)} to {format_utc(state.last_token)}"
    return [signed, f"timestamped {state.tokens} times, {between} (the authority's signatures are not checked here)"]


def _ended(run: Stored, record: RunRecord) -> None:
    rta = "not recovered" if run.rta_seconds is None else duration(run.rta_seconds)
    rto = "" if run.rto_seconds is None else f" of {duration(run.rto_seconds)}"
    out(f"  RTA       {rta}{rto}")
    out(
        harmless(
            f"  conducted by {record.orchestrator}, in {record.sessions} process{'es' if record.sessions > 1 else ''}"
        )
    )
    if record.error:
        out(harmless(f"  error     {record.error}"))
    out("")
    steps = [
        (s.phase, s.id, s.asset or "", s.status.value, str(s.attempts), s.approved_by or "", s.error)
        for s in record.steps
    ]
    table(("phase", "step", "asset", "status", "tries", "approved by", "error"), steps, right=(4,))
    out("")
    laps = [
        (
            lap.name,
            duration(lap.start_elapsed_ns / _NS),
            duration(lap.duration_ns / _NS),
            duration(lap.waiting_ns / _NS) if lap.waiting_ns else "",
        )
        for lap in record.laps
    ]
    table(("lap", "at", "took", "waiting"), laps, right=(1, 2, 3), wide=0)
    _followed(run)


def _followed(run: Stored) -> None:
    """What became of the previous run's findings, and how this one's stand now."""
    verdict = load_verdict(run.path)
    if (comparison := verdict.comparison) is not None:
        out("")
        out(harmless(f"findings of the run before, {comparison.previous_run}"))
        rows = [
            (
                item.standing.value + (", overdue" if item.overdue else ""),
                item.earlier.severity.value,
                item.earlier.subject,
                item.earlier.owner or "-",
                "-" if item.earlier.due is None else item.earlier.due.isoformat(),
                item.earlier.text,
            )
            for item in comparison.items
        ]
        if rows:
            table(("state", "severity", "subject", "owner", "due", "finding"), rows)
        else:
            out("  it left nothing open")
        new = sum(one.since == verdict.run_id for one in verdict.findings)
        out(f"new in this run: {new:,}. How they stand now: exitdrill finding list {run.id}")


def _going_on(run: Stored) -> None:
    journal = events(run.path)
    elapsed = _elapsed(run, journal)
    plan = load_plan_of(run.path)
    out(f"  elapsed   {duration(elapsed)}, {left(plan.objectives.rto, elapsed)}")
    phases = [str(e["phase"]) for e in journal if e["event"] == "phase begins"]
    out(harmless(f"  phase     {phases[-1] if phases else 'not begun'}"))
    if run.status == "interrupted":
        out(f"  go on     exitdrill resume {run.id}")
    out("")
    rows = [
        (name, leg, f"{counts.objects:,}", f"{listed.objects:,}", bytes_(counts.size_bytes), bytes_(listed.size_bytes))
        for name, leg, counts, listed in _volumes(run)
    ]
    if rows:
        table(("asset", "leg", "objects", "of", "bytes", "of"), rows, right=(2, 3, 4, 5), wide=0)
        out("Finished parts; what is under way is not in it.")
        out("")
    for event in journal[-_LAST:]:
        facts = ", ".join(str(event[name]) for name in ("phase", "step", "asset", "status", "name") if event.get(name))
        out(harmless(f"  {duration(event['elapsed_ns'] / _NS):>9}  {event['event']}  {facts}".rstrip()))


def _elapsed(run: Stored, journal: list[Mapping[str, Any]]) -> float:
    """Drill time now. From the wall clock, since the process that has the monotonic one is another."""
    last = int(journal[-1]["elapsed_ns"]) / _NS if journal else 0.0
    return max(last, (datetime.now(UTC) - parse_utc(run.declared_utc)).total_seconds())


def _volumes(run: Stored) -> list[tuple[str, str, Counts, Counts]]:
    directory = RunDirectory(run.path)
    found = []
    for asset in load_plan_of(run.path).assets:
        if not directory.inventory(asset.name).exists():
            continue
        listed = inventory_counts(directory.inventory(asset.name))
        for leg in ("evacuate", "rebuild"):
            moved = sum(leg_facts(directory.ledger(asset.name), leg)[0].outcomes.values(), Counts())
            if moved.objects:
                found.append((asset.name, leg, moved, listed))
    return found


def to_json(run: Stored) -> dict[str, object]:
    """The same as JSON values."""
    try:
        sealed: dict[str, object] = asdict(seal_state(run.path))
    except ExitdrillError as error:
        sealed = {"problem": str(error)}
    bundle = bundle_of(run.path)
    known: dict[str, object] = {
        "run": run.id,
        "drill": run.drill,
        "mode": run.mode,
        "status": run.status,
        "judgement": run.judgement or None,
        "declared_utc": run.declared_utc,
        "path": str(run.path),
        "sealed": sealed,
        "bundle": None if bundle is None else str(bundle[0]),
    }
    if run.judgement:
        comparison = TypeAdapter(Comparison | None).dump_python(load_verdict(run.path).comparison, mode="json")
        record = TypeAdapter(RunRecord).dump_python(load_record(run.path), mode="json")
        return known | {"record": record, "comparison": comparison}
    journal = events(run.path)
    volumes = [
        {"asset": name, "leg": leg, "objects": c.objects, "size_bytes": c.size_bytes, "listed_objects": t.objects}
        for name, leg, c, t in _volumes(run)
    ]
    return known | {"elapsed_seconds": _elapsed(run, journal), "volumes": volumes, "events": journal[-_LAST:]}
