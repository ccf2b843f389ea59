"""What a report says, in which order: verdict first, then the proof, then what to do. Formats draw it."""

from collections.abc import Iterator

from exitdrill.clock import format_utc
from exitdrill.model.human import count, duration
from exitdrill.model.record import PlaceRecord, RunRecord, RunStatus, StepStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan, Mode
from exitdrill.report import _follow, _movement
from exitdrill.report._document import Block, Document, Facts, Item, Items, Key, Note, Section, Table

__all__ = ["content"]

_EXCEPTIONS = 20
"""How many exceptions an asset shows; the record and the ledger have the rest."""


def content(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> Document:
    """The report on one run."""
    sections = [
        Section("The drill", tuple(_drill(plan, record, verdict))),
        Section("Objectives", (_objectives(verdict),)),
        Section("Timeline", _movement.timeline(plan, record)),
        Section("Where the time went", _movement.spent(plan, record)),
        Section("Both legs", _movement.legs(record)),
        Section("Volumes", _movement.volumes(record)),
        Section("Integrity", _movement.funnel(plan, record)),
        Section("Exceptions", _exceptions(record)),
        Section("Metadata that was not kept", _losses(record)),
        Section("Severance", _severance(record)),
        Section("Teardown", _teardown(record)),
        *_follow.placing(record),
        Section("Findings", _findings(verdict)),
        *_follow.followed(verdict),
        Section("How to look further", (_further(record),)),
    ]
    return Document(
        f"Cloud exit drill {plan.name}", verdict.judgement.upper(), _lead(plan, record, verdict), tuple(sections)
    )


def _lead(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> str:
    parts = [plan.name]
    for name, actual, asked in (
        ("RTA", verdict.rta_seconds, plan.objectives.rto),
        ("RPA", verdict.rpa_seconds, plan.objectives.rpo),
    ):
        shown = {"RTA": "not recovered", "RPA": "not measured"}[name] if actual is None else duration(actual)
        parts.append(f"{name} {shown}" + ("" if asked is None else f" of {duration(asked.total_seconds())}"))
    if record.status is not RunStatus.COMPLETED:
        parts.append(f"run {record.status}")
    parts.append(_scope(plan, verdict))
    return "  ".join(parts)


def _scope(plan: DrillPlan, verdict: Verdict) -> str:
    if verdict.environment == "emulator":
        return "REHEARSAL ON EMULATORS"
    return {Mode.REHEARSAL: "REHEARSAL", Mode.SAMPLE: "SAMPLE", Mode.FULL: "full drill"}[plan.mode]


def _drill(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> Iterator[Block]:
    rehearsed = verdict.environment == "emulator" or plan.mode is Mode.REHEARSAL
    if rehearsed:
        yield Note("This was a rehearsal: it proves the method, not the provider.")
    ended = "-" if record.ended_utc is None else format_utc(record.ended_utc)
    ended += f", after {duration(record.ended_elapsed_ns / _movement.NS)}"
    rows = [
        ("run", record.run_id),
        ("mode", f"{plan.mode}, environment {verdict.environment}"),
        ("status", str(record.status) + (f": {record.error}" if record.error else "")),
        ("declared", f"{format_utc(record.t0_utc)} (the clock's start)"),
        ("ended", ended),
        ("playbook", plan.playbook.name),
        ("plan digest", plan.digest),
        ("exitdrill", record.tool_version + (f", {record.orchestrator}" if record.orchestrator else "")),
    ]
    if plan.description:
        rows.insert(0, ("about", plan.description))
    if record.sessions > 1:
        rows.append(("sessions", f"{record.sessions}, resumed {count(record.sessions - 1, 'time')}"))
    approved = [f"{step.id} by {step.approved_by}" for step in record.steps if step.approved_by]
    if approved:
        rows.append(("approved", ", ".join(approved)))
    ready = sum(check.ready for check in record.checks)
    rows.append(("preflight", f"{ready} of {count(len(record.checks), 'check')} ready"))
    rows += [("inventory", f"{check.resource}: {check.found}") for check in record.checks if check.name == "inventory"]
    done = sum(step.status is StepStatus.DONE for step in record.steps)
    rows.append(("steps", f"{done} of {len(record.steps)} done"))
    yield Facts(tuple(rows))
    if record.places:
        headers = ("role", "place", "connector", "environment", "law", "clock offset")
        yield Table(headers, tuple(_place(place) for place in record.places), frozenset({5}))


def _place(place: PlaceRecord) -> tuple[str, ...]:
    environment = place.environment + (f" ({place.emulator})" if place.emulator else "")
    offset = "-" if place.clock_offset_seconds is None else f"{place.clock_offset_seconds:+.1f} s"
    return (place.role, place.name, place.connector, environment, place.jurisdiction or "-", offset)


def _objectives(verdict: Verdict) -> Block:
    rows = tuple(
        (item.subject, item.objective, item.target, item.actual, str(item.judgement).upper())
        for item in verdict.objectives
    )
    return Table(("subject", "objective", "asked", "measured", "judgement"), rows)


def _exceptions(record: RunRecord) -> tuple[Block, ...]:
    items = []
    for asset in record.assets:
        if not asset.exceptions_total and not asset.exceptions:
            continue
        shown = asset.exceptions[:_EXCEPTIONS]
        keys = tuple(
            (Key(mishap.key), f"{mishap.problem} ({mishap.where})" + (f": {mishap.detail}" if mishap.detail else ""))
            for mishap in shown
        )
        total = max(asset.exceptions_total, len(asset.exceptions))
        more = (f"{total - len(shown):,} more are in the run's directory",) if total > len(shown) else ()
        items.append(Item(f"{asset.name}: {count(total, 'exception')}", more, keys))
    return (Items(tuple(items)),) if items else (Note("None: every object went the plain way."),)


def _losses(record: RunRecord) -> tuple[Block, ...]:
    rows = tuple(
        (asset.name, loss.field, count(loss.objects), loss.reason, Key(loss.example_key))
        for asset in record.assets
        for loss in asset.losses
    )
    if not rows:
        return (Note("Nothing reported lost."),)
    return (Table(("asset", "field", "objects", "reason", "example"), rows, frozenset({2})),)


def _severance(record: RunRecord) -> tuple[Block, ...]:
    cut = record.severance
    if cut is None:
        return (Note("The source was not severed."),)
    rows = [
        ("cut", f"{format_utc(cut.severed_utc)}, {duration(cut.severed_elapsed_ns / _movement.NS)} into the drill"),
        ("holds", "yes, the probe was refused" if cut.holds else "NOT PROVEN"),
        ("probed", ", ".join(cut.probed) or "nothing"),
        ("refused from then on", ", ".join(cut.refused) or "nothing"),
        ("taken away", ", ".join(cut.removed_variables) or "no environment variables"),
    ]
    others = [attempt for attempt in cut.attempts if attempt.during != "probe"]
    rows += [
        ("attempt to reach it", f"{item.address}, {count(item.count, 'time')}, during {item.during}") for item in others
    ]
    if not others:
        rows.append(("other attempts", "none"))
    return (Facts(tuple(rows)), *_early_cut(record))


def _early_cut(record: RunRecord) -> tuple[Block, ...]:
    cut = record.early_cut
    if cut is None:
        return ()
    rows = [
        ("early cut", f"{format_utc(cut.cut_utc)}, {duration(cut.cut_elapsed_ns / _movement.NS)} into the drill"),
        ("holds", "yes, the probe was refused while others reached the source" if cut.holds else "NOT PROVEN"),
        ("probed", ", ".join(cut.probed) or "nothing"),
        ("refused from then on", ", ".join(cut.refused) or "nothing"),
        ("taken away", ", ".join(cut.removed_variables) or "no environment variables"),
        ("attempts", ", ".join(f"{a.address}, {count(a.count, 'time')}" for a in cut.attempts) or "none"),
    ]
    return (Note("The workers that rebuilt before the cut were cut off by themselves:"), Facts(tuple(rows)))


def _teardown(record: RunRecord) -> tuple[Block, ...]:
    done = record.teardown
    if done is None:
        return (Note("Not carried out: what the run made is still there."),)
    rows = [
        ("outcome", "kept, as asked" if done.kept else "complete" if done.complete else "NOT COMPLETE"),
        ("deleted", count(done.deleted_objects, "object")),
        ("removed", ", ".join(done.removed_containers) or "no containers"),
    ]
    rows += [("left", left) for left in done.left] or [("left", "nothing" if done.complete else "-")]
    return (Facts(tuple(rows)),)


def _findings(verdict: Verdict) -> tuple[Block, ...]:
    if not verdict.findings:
        return (Note("None."),)
    items = tuple(
        Item(
            f"{finding.id} {finding.severity.upper()} {finding.subject}: {finding.text}",
            (*((f"What to do: {finding.remedy}",) if finding.remedy else ()), *_follow.terms(finding)),
            tuple((Key(key), "") for key in finding.keys),
        )
        for finding in verdict.findings
    )
    return (Items(items),)


def _further(record: RunRecord) -> Block:
    rows = [
        ("this run again", f"exitdrill show {record.run_id}"),
        ("for programs", f"exitdrill report {record.run_id} --format json"),
        ("facts, judgement", "record.json and verdict.json in the run's directory"),
        ("every decision", "journal.jsonl in the run's directory"),
        ("every object", "the Parquet files under ledger/ in the run's directory"),
    ]
    if record.status is not RunStatus.COMPLETED:
        rows.insert(0, ("go on with it", f"exitdrill resume {record.run_id}"))
    if record.teardown is None or record.teardown.kept or record.teardown.left:
        rows.append(("clean up", f"exitdrill teardown {record.run_id}"))
    return Facts(tuple(rows))
