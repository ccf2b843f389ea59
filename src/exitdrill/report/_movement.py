"""The parts of a report that show movement: timeline, where time went, volumes, the integrity funnel."""

from exitdrill.model.human import bytes_, count, duration, rate
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, LegRecord, ManifestRoots, RunRecord
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._document import Bar, Block, Facts, Note, Table, Timeline
from exitdrill.report._timing import legs_timing

__all__ = ["NS", "funnel", "legs", "spent", "timeline", "volumes"]

NS = 1_000_000_000
_BARS = 60
"""A timeline longer than this shows its phases and its longest laps."""
_DOWNTIME = "downtime"
_PHASE = "phase "


def timeline(plan: DrillPlan, record: RunRecord) -> tuple[Block, ...]:
    """Phases, and within them what happened, against the drill's clock."""
    bars = [
        Bar(lap.name, lap.start_elapsed_ns, lap.duration_ns, lap.waiting_ns, lap.attempts, _depth(plan, lap.name))
        for lap in record.laps
    ]
    if not bars:
        return (Note("No laps were recorded."),)
    total = max([record.ended_elapsed_ns, *(bar.start_ns + bar.duration_ns for bar in bars)])
    shown = sorted(bars, key=lambda bar: (bar.depth, -bar.duration_ns))[:_BARS]
    shown.sort(key=lambda bar: (bar.start_ns, bar.depth, -bar.duration_ns))
    blocks: list[Block] = [Timeline(tuple(shown), total)]
    if len(shown) < len(bars):
        blocks.append(Note(f"{count(len(bars) - len(shown), 'shorter lap')} not shown."))
    return tuple(blocks)


def _depth(plan: DrillPlan, name: str) -> int:
    """0 for a phase and downtime, 2 for what a step did for one asset, else 1."""
    phases = {phase.name for phase in plan.playbook.phases}
    if name == _DOWNTIME or name.removeprefix(_PHASE) in phases:
        return 0
    return 2 if any(name.startswith(f"{step.id} ") for step in plan.playbook.steps) else 1


def spent(plan: DrillPlan, record: RunRecord) -> tuple[Block, ...]:
    """Each phase, then what is inside of them: transfer, waiting, downtime."""
    total = max(1, record.ended_elapsed_ns)
    rows = []
    for phase in plan.playbook.phases:
        laps = [lap for lap in record.laps if lap.name.removeprefix(_PHASE) == phase.name]
        if laps:
            took, waited = sum(lap.duration_ns for lap in laps), sum(lap.waiting_ns for lap in laps)
            rows.append((f"phase {phase.name}", duration(took / NS), duration(waited / NS), f"{took / total:.0%}"))
    down = sum(lap.duration_ns for lap in record.laps if lap.name == _DOWNTIME)
    if down:
        rows.append(("downtime (no process was at work)", duration(down / NS), "-", f"{down / total:.0%}"))
    asked = [lap for lap in record.laps if lap.name.startswith("waiting")]
    waiting = sum(lap.duration_ns for lap in asked)
    facts = [
        ("transfer, evacuate", _transfer([asset.evacuate for asset in record.assets])),
        ("transfer, rebuild", _transfer([asset.rebuild for asset in record.assets])),
    ]
    facts.append(("waiting for people", f"{duration(waiting / NS)} in {count(len(asked), 'lap')}"))
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(("part", "time", "of it waiting", "share"), tuple(rows), frozenset({1, 2, 3})))
    blocks += [Facts(tuple(facts)), Note("Assets run side by side: parts can add up to more than the drill took.")]
    return tuple(blocks)


def _transfer(legs: list[LegRecord]) -> str:
    took = duration(sum(leg.duration_ns for leg in legs) / NS)
    waited, limited = sum(leg.waited_ns for leg in legs), sum(leg.limited_ns for leg in legs)
    text = f"{took} summed over assets, {duration(waited / NS)} waited over all threads before trying again"
    return f"{text}, {duration(limited / NS)} for the drill's own limits" if limited else text


def legs(record: RunRecord) -> tuple[Block, ...]:
    """Both legs against the drill's clock, and how long they would have taken the other way."""
    timing = legs_timing(record)
    if timing is None:
        return (Note("No asset went through both legs."),)
    rows = []
    for asset in record.assets:
        for leg in (asset.evacuate, asset.rebuild):
            began, ended = (_at(moment) for moment in (leg.began_elapsed_ns, leg.ended_elapsed_ns))
            both = duration(asset.both_legs_ns / NS) if asset.both_legs_ns else "-"
            took, busy = duration(leg.duration_ns / NS), duration(leg.busy_ns / NS)
            rows.append((asset.name, leg.leg, began, ended, took, busy, both))
    headers = ("asset", "leg", "began", "ended", "time", "worker time", "both legs at once")
    way = "overlapping" if timing.overlapped else "one after the other"
    facts = (
        (f"{way}, measured", f"{duration(timing.measured_seconds)} with a job of either leg under way"),
        (f"{timing.other_way}, computed", f"not measured: {timing.how}"),
    )
    return (Table(headers, tuple(rows), frozenset({2, 3, 4, 5, 6})), Facts(facts))


def _at(elapsed_ns: int | None) -> str:
    return "-" if elapsed_ns is None else duration(elapsed_ns / NS)


def volumes(record: RunRecord) -> tuple[Block, ...]:
    """What each leg of each asset moved, how fast, and with how much trouble."""
    rows = []
    for asset in record.assets:
        for leg in (asset.evacuate, asset.rebuild):
            copied = leg.outcomes.get(Outcome.COPIED)
            objects, size = (copied.objects, copied.size_bytes) if copied else (0, 0)
            seconds = leg.duration_ns / NS
            per_second = f"{objects / seconds:,.0f}/s" if seconds > 0 else "-"
            rows.append((asset.name, leg.leg, count(objects), bytes_(size), duration(seconds), rate(size, seconds),
                         per_second, count(leg.retries), count(leg.throttled)))  # fmt: skip
    if not rows:
        return (Note("No asset was moved."),)
    headers = ("asset", "leg", "objects", "size", "time", "rate", "objects", "retries", "throttled")
    return (Table(headers, tuple(rows), frozenset(range(2, 9))),)


def funnel(plan: DrillPlan, record: RunRecord) -> tuple[Block, ...]:
    """Listed, evacuated, rebuilt, verified: how many objects are left at each stage."""
    if not record.assets:
        return (Note("No asset was recorded."),)
    levels = {asset.name: str(asset.verify) for asset in plan.assets}
    rows = tuple(_stages(asset) for asset in record.assets)
    blocks: list[Block] = [
        Table(("asset", "listed", "evacuated", "rebuilt", "verified"), rows, frozenset({1, 2, 3, 4})),
    ]
    facts = []
    for asset in record.assets:
        checked = asset.verification
        if checked is None:
            facts.append((asset.name, f"level asked for {levels.get(asset.name, '-')}, not verified"))
            continue
        by = ", ".join(f"{kind} {number:,}" for kind, number in sorted(checked.attested_by.items())) or "nothing"
        text = f"level asked for {levels.get(asset.name, '-')}, carried out {checked.level}; attested by {by}; "
        text += f"re-read {count(checked.reread_objects, 'object')}, {bytes_(checked.reread_bytes)}; "
        text += f"{checked.different:,} different, {checked.missing:,} missing, {checked.extra:,} extra, "
        facts.append((asset.name, f"{text}{checked.unattested:,} unattested"))
    blocks.append(Facts(tuple(facts)))
    roots = tuple((asset.name, _roots(asset.roots)) for asset in record.assets if asset.roots is not None)
    if roots:
        blocks += [Note("Manifest roots, over key, size, SHA-256 and metadata of every object:"), Facts(roots)]
    return tuple(blocks)


def _roots(roots: ManifestRoots) -> str:
    """Whether anything was lost or altered, in one line."""
    if roots.same:
        return f"source, vault and target: the same root {roots.source.root} ({count(roots.source.objects, 'object')})"
    places = (("source", roots.source), ("vault", roots.vault), ("target", roots.target))
    texts = [
        f"{name} {root.root} ({count(root.objects, 'object')})" if root.root else f"{name} none, {root.why_not}"
        for name, root in places
    ]
    known = {root.root for _, root in places if root.root}
    return ("DIFFERENT: " if len(known) > 1 else "") + "; ".join(texts)


def _stages(asset: AssetRecord) -> tuple[str, ...]:
    listed = f"{count(asset.listed.objects)} ({bytes_(asset.listed.size_bytes)})"
    verified = "-" if asset.verification is None else count(asset.verification.equal)
    return (asset.name, listed, _brought(asset.evacuate), _brought(asset.rebuild), verified)


def _brought(leg: LegRecord) -> str:
    copied = leg.outcomes.get(Outcome.COPIED)
    return "0" if copied is None else f"{count(copied.objects)} ({bytes_(copied.size_bytes)})"
