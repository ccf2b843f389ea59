"""What ``exitdrill plan`` shows: method, order, volumes, and the time it would take against the RTO.

The forecast has two bounds. At best, assets side by side do not slow one another: the longest chain of
``depends_on`` counts. At worst they share one line: their sum counts, and that is held against the RTO.
Waiting for people is in neither, and is said. The limits of places hold in both; what they make the drill take is
said, and whether they put the RTO out of reach.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from exitdrill.assets.interface import Forecast
from exitdrill.cli.console import harmless, out, table
from exitdrill.cli.limited import Floor, floor, says
from exitdrill.cli.readiness import Readiness
from exitdrill.clock import SystemClock
from exitdrill.model.human import bytes_, duration
from exitdrill.plan.drill import Asset, DrillPlan, Place
from exitdrill.plan.placing import placements
from exitdrill.playbook.action import MANUAL

__all__ = ["Bounds", "bounds", "chain", "show_plan", "to_json"]

_LEGS = ("evacuate", "rebuild", "verify")
_FAR_SECONDS = 1e9
"""Later than that no timetable is looked at: thirty years."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long one phase takes, at best and at worst."""

    phase: str
    best_seconds: float
    worst_seconds: float
    chain: tuple[str, ...] = ()
    """The assets that decide the best case, in order."""
    floors: tuple[Floor, ...] = ()
    """What the limits of places make its legs take at least."""


def chain(assets: tuple[Asset, ...], seconds: Mapping[str, float]) -> tuple[tuple[str, ...], float]:
    """The longest chain of ``depends_on`` and how long it takes; assets in an order that respects it."""
    best: dict[str, tuple[tuple[str, ...], float]] = {}
    for asset in assets:
        before = max((best[name] for name in asset.depends_on if name in best), key=lambda b: b[1], default=((), 0.0))
        best[asset.name] = ((*before[0], asset.name), before[1] + seconds.get(asset.name, 0.0))
    return max(best.values(), key=lambda b: b[1], default=((), 0.0))


def bounds(plan: DrillPlan, found: Readiness, start: datetime | None = None) -> list[Bounds]:
    """Every phase whose time can be told beforehand, in the playbook's order. Empty if nothing was forecast.

    Args:
        plan: The drill.
        found: What looking found.
        start: When it would begin, for limits by the time of day; now if left out.
    """
    if not found.forecasts:
        return []
    moment = start or SystemClock().utc_now()
    rows = []
    for phase in plan.playbook.phases:
        uses = {step.uses for step in phase.steps}
        looked = [found.seconds[n] for n, u in _LOOKED.items() if u in uses and n in found.seconds]
        best = worst = sum(looked)
        names: tuple[str, ...] = ()
        floors: list[Floor] = []
        for leg in _LEGS:
            if f"assets.{leg}" in uses:
                each = {name: _seconds(forecast, leg) for name, forecast in found.forecasts.items()}
                names, longest = chain(plan.assets, each)
                begins = moment + timedelta(seconds=min(best, _FAR_SECONDS))
                floors.append(least := floor(plan, leg, found.listed, begins))
                best, worst = best + max(longest, least.seconds), worst + max(sum(each.values()), least.seconds)
        if looked or names:
            rows.append(Bounds(phase.name, best, worst, names, tuple(floors)))
        moment += timedelta(seconds=min(best, _FAR_SECONDS))
    return rows


_LOOKED = {"preflight": "preflight.check", "inventory": "assets.inventory"}


def _seconds(forecast: Forecast, leg: str) -> float:
    return {
        "evacuate": forecast.evacuate_seconds,
        "rebuild": forecast.rebuild_seconds,
        "verify": forecast.verify_seconds,
    }[leg]


def show_plan(plan: DrillPlan, found: Readiness) -> None:
    """Everything, to stdout."""
    rto, rpo = plan.objectives.rto, plan.objectives.rpo
    goals = ", ".join(f"{n} {duration(v.total_seconds())}" for n, v in (("RTO", rto), ("RPO", rpo)) if v is not None)
    out(harmless(f"{plan.name}: {plan.mode.value}, playbook {plan.playbook.name}, {goals or 'no objectives set'}"))
    for role in ("source", "vault", "target"):
        place = plan.places[getattr(plan.route, role)]
        out(harmless(f"  {role:<7} {_place(place)}"))
        for line in _facts(place):
            out(harmless(f"          {line}"))
    if plan.engine.spread:
        out(harmless(f"  engine  {plan.engine.kind.value} at {plan.engine.address}, claims at {plan.engine.claims}"))
    out("")
    _steps(plan)
    out("")
    _assets(plan, found)
    out("")
    _placing(plan)
    _forecast(plan, found)


def _place(place: Place) -> str:
    notes = [place.connector, *([f"emulator {place.emulator}"] if place.emulator else []), place.jurisdiction or ""]
    return f"{place.name} ({', '.join(note for note in notes if note)})"


def _facts(place: Place) -> list[str]:
    """In whose hands it is, as the drill states it."""
    facts = [
        ("contract with", place.legal_entity),
        ("owner", None if place.ownership is None else str(place.ownership)),
        ("", None if place.seal is None else str(place.seal)),
        ("certified for", ", ".join(place.certifications) or None),
    ]
    return [f"{name} {value}".strip() for name, value in facts if value is not None]


def _placing(plan: DrillPlan) -> None:
    """How the assets' places stand against the policy today."""
    if plan.policy is None:
        return
    rows = [
        (x.asset, f"{x.place} ({x.role})", x.rule, x.fact, x.found, x.result.value)
        for x in placements(plan, SystemClock().utc_now().date())
    ]
    out(harmless(f"Policy {plan.policy.name}" + (":" if rows else ": no rule applies to these assets.")))
    if rows:
        table(("asset", "place", "rule", "fact", "found", "result"), rows)
    out("")


def _steps(plan: DrillPlan) -> None:
    rows = []
    for phase in plan.playbook.phases:
        for index, step in enumerate(phase.steps):
            who = "a person" if step.uses == MANUAL else "after approval" if step.approval else ""
            marks = ", ".join(mark for mark in (who, "" if step.critical else "not critical") if mark)
            limit = duration(step.timeout.total_seconds())
            rows.append(("" if index else phase.name, step.id, step.uses, limit, marks))
    table(("phase", "step", "uses", "limit", ""), rows, right=(3,))


def _assets(plan: DrillPlan, found: Readiness) -> None:
    rows = []
    for asset in plan.assets:
        listed = found.listed.get(asset.name)
        objects, size = ("-", "-") if listed is None else (f"{listed.objects:,}", bytes_(listed.size_bytes))
        goal = asset.objectives.rto
        rows.append(
            (
                asset.name,
                asset.kind,
                asset.classification.value,
                asset.verify.value,
                objects,
                size,
                "-" if goal is None else duration(goal.total_seconds()),
                ", ".join(asset.depends_on) or "-",
            )
        )
    table(("asset, in order", "kind", "at stake", "verify", "objects", "bytes", "RTO", "after"), rows, right=(4, 5, 6))


def _forecast(plan: DrillPlan, found: Readiness) -> None:
    rows = bounds(plan, found)
    if not rows:
        out("No forecast: the drill is not ready.")
        return
    cells = [(r.phase, duration(r.best_seconds), duration(r.worst_seconds), " > ".join(r.chain)) for r in rows]
    best, worst = sum(r.best_seconds for r in rows), sum(r.worst_seconds for r in rows)
    cells.append(("together", duration(best), duration(worst), ""))
    table(("phase", "at best", "at worst", "critical path"), cells, right=(1, 2))
    out("")
    out(_against(plan, worst))
    for line in says(plan, [least for row in rows for least in row.floors]):
        out(harmless(line))
    if plan.overlap:
        out("The legs overlap: together they take less than their sum where they do not share one line.")
    asked = [s.id for s in plan.playbook.steps if s.approval or s.uses == MANUAL]
    if asked:
        out(harmless(f"Waiting for people is not in it: {', '.join(asked)}."))


def _against(plan: DrillPlan, worst_seconds: float) -> str:
    rto = plan.objectives.rto
    if rto is None:
        return f"At worst {duration(worst_seconds)}; the drill sets no RTO."
    share = worst_seconds / rto.total_seconds() if rto.total_seconds() else float("inf")
    goal = duration(rto.total_seconds())
    if share > 1:
        return f"At worst {duration(worst_seconds)}, {share:.1f} times the RTO of {goal}: it would be missed."
    return f"At worst {duration(worst_seconds)}, {share:.0%} of the RTO of {goal}."


def to_json(plan: DrillPlan, found: Readiness) -> dict[str, object]:
    """The same as JSON values."""
    rto = plan.objectives.rto
    rows = bounds(plan, found)
    return {
        "drill": plan.name,
        "mode": plan.mode.value,
        "plan_digest": plan.digest,
        "engine": {"kind": plan.engine.kind.value, "address": plan.engine.address, "claims": plan.engine.claims},
        "ready": found.ready,
        "checks": [asdict(check) for check in found.checks],
        "phases": [
            {"phase": phase.name, "steps": [{"id": s.id, "uses": s.uses, "why": s.why} for s in phase.steps]}
            for phase in plan.playbook.phases
        ],
        "assets": [
            {"name": a.name, "kind": a.kind, "verify": a.verify.value, "depends_on": list(a.depends_on)}
            | {"classification": a.classification.value, "owner": a.owner}
            | ({} if a.name not in found.listed else asdict(found.listed[a.name]))
            for a in plan.assets
        ],
        "policy": None if plan.policy is None else plan.policy.name,
        "placements": [asdict(line) for line in placements(plan, SystemClock().utc_now().date())],
        "forecast": [asdict(row) for row in rows],
        "forecast_worst_seconds": sum(r.worst_seconds for r in rows) if rows else None,
        "forecast_limited_seconds": sum(f.seconds for r in rows for f in r.floors) if rows else None,
        "rto_seconds": None if rto is None else rto.total_seconds(),
    }
