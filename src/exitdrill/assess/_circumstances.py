"""Findings about how the run went, that change no judgement: steps, clocks, metadata, retries, what was rehearsed."""

from collections.abc import Iterator

from exitdrill.assess._causes import emulated, fatal, final_steps
from exitdrill.assess._common import DRILL, drill_rta_ns, finding, gravity
from exitdrill.assess._placement import POLICY_CHECK
from exitdrill.model.human import count, duration
from exitdrill.model.record import Check, RunRecord, RunStatus, StepStatus
from exitdrill.model.verdict import Finding, Severity
from exitdrill.plan.drill import DrillPlan, Mode

__all__ = ["findings"]

_NS = 1_000_000_000
_CLOCK_OFFSET_SECONDS = 5.0
"""HTTP dates have whole seconds; up to this much is no news."""
_RETRIES = 10
_RETRIES_SHARE = 0.01
"""Retries are worth a note from ten on, and from one in a hundred objects on."""


def findings(plan: DrillPlan, record: RunRecord) -> list[Finding]:
    """All of them, in a fixed order."""
    return [
        *_steps(plan, record),
        *_assets(plan, record),
        *_clocks(plan, record),
        *_checks(record),
        *_scope(plan, record),
        *_losses(record),
        *_effort(record),
    ]


def _steps(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    known = {step.id: step for step in plan.playbook.steps}
    skipped = []
    for step in final_steps(record):
        subject = step.asset or DRILL
        if step.status is StepStatus.NOT_ATTEMPTED:
            skipped.append(step.id if step.asset is None else f"{step.id} ({step.asset})")
        elif step.status is not StepStatus.DONE:
            severity = Severity.CRITICAL if fatal(plan, step) else Severity.WARNING
            by_hand = known[step.id].by_hand if step.id in known else ""
            text = f"step {step.id!r} ended as {step.status} after {count(step.attempts, 'attempt')}: "
            remedy = f"by hand: {by_hand}" if by_hand else "put the cause right and run the drill again"
            yield finding(
                "step-failed", severity, subject, text + (step.error or "no reason recorded"), remedy, about=step.id
            )
        elif step.id in known and known[step.id].approval and not step.approved_by:
            text = f"step {step.id!r} needs an approval, and the record names nobody who gave it"
            yield finding(
                "approval-missing",
                Severity.WARNING,
                subject,
                text,
                "find out who approved it, and add it to the file",
                about=step.id,
            )
    if skipped:
        text = (
            f"{count(len(skipped), 'step')} not attempted, because something before failed: {', '.join(skipped[:10])}"
        )
        yield finding(
            "steps-not-attempted", Severity.WARNING, DRILL, text, "put right what failed before and run the drill again"
        )


def _assets(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    known = {asset.name: asset for asset in plan.assets}
    for asset in record.assets:
        if asset.name not in known:
            text = "in the record, but not in the plan; it was not judged"
            yield finding(
                "asset-not-in-plan",
                Severity.WARNING,
                asset.name,
                text,
                "judge the record against the plan it was made with",
            )
            continue
        if asset.overlap_ended:
            text = f"rebuilding beside the evacuation was given up, the rest came after the cut: {asset.overlap_ended}"
            yield finding(
                "overlap-given-up",
                Severity.NOTE,
                asset.name,
                text,
                "put the cause right before the next drill with overlap",
            )
        if asset.roots is not None and (why := asset.roots.source.why_not):
            text = f"no manifest roots, so that nothing can be proven of single objects: {why}"
            remedy = "give the step that seals a longer timeout, or report the fault; the ledger has every object"
            yield finding("no-roots", Severity.WARNING, asset.name, text, remedy)
        if asset.error:
            remedy = "put the cause right and run the drill again"
            yield finding(
                "asset-error", gravity(known[asset.name]), asset.name, f"ended by an error: {asset.error}", remedy
            )


def _clocks(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    back = [step for step in record.clock_steps_ns if step < 0]
    if back:
        text = f"the system clock stepped backwards {count(len(back), 'time')}, by {duration(-sum(back) / _NS)} in all"
        remedy = "durations are unaffected (monotonic clock), times of day are not; check this machine's time service"
        yield finding("clock-stepped", Severity.WARNING, DRILL, text, remedy)
    for place in record.places:
        offset = place.clock_offset_seconds
        if offset is not None and abs(offset) > _CLOCK_OFFSET_SECONDS:
            text = f"its clock is {duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} ours"
            remedy = "times of changes at this place are off by as much, and so is a recovery point; set the clocks"
            yield finding("clock-offset", Severity.WARNING, place.name, text, remedy)
    rta, said = drill_rta_ns(plan, record), record.recovered_elapsed_ns
    if record.status is RunStatus.COMPLETED and said is not None and rta != said:
        worst = "never" if rta is None else f"after {duration(rta / _NS)}"
        text = f"the record contradicts itself: recovered after {duration(said / _NS)}, its last critical asset {worst}"
        yield finding(
            "record-contradiction",
            Severity.WARNING,
            DRILL,
            text,
            "the worse was counted; report it as a fault of exitdrill",
        )
    if record.sessions > 1:
        lost = sum(lap.duration_ns for lap in record.laps if lap.name == "downtime")
        text = (
            f"resumed {count(record.sessions - 1, 'time')}; {duration(lost / _NS)} of downtime counted into the drill"
        )
        yield finding("resumed", Severity.NOTE, DRILL, text, "see the timeline for when")


def _checks(record: RunRecord) -> Iterator[Finding]:
    notes: dict[tuple[str, str], list[Check]] = {}
    for check in record.checks:
        if check.name == POLICY_CHECK:
            continue  # `_placement` says it
        if not check.ready:
            text = f"preflight: {check.name} not ready at {check.resource}: {check.found}"
            remedy = check.action or "put it right before the next drill"
            yield finding(
                "check-not-ready", Severity.WARNING, DRILL, text, remedy, about=f"{check.name} {check.resource}"
            )
        elif check.action:
            notes.setdefault((check.name, check.resource), []).append(check)
    for (name, resource), checks in notes.items():
        text = f"preflight: {name} at {resource}: " + "; ".join(check.found for check in checks)
        yield finding("check-note", Severity.NOTE, DRILL, text, checks[0].action, about=f"{name} {resource}")


def _scope(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    if emulated(plan, record):
        text = "rehearsal on emulators: proves the method, not the provider"
        yield finding("rehearsal", Severity.NOTE, DRILL, text, "run it against the real places for a proof that counts")
    elif plan.mode is Mode.REHEARSAL:
        text = "rehearsal: proves the method, not that all data can leave"
        yield finding("rehearsal", Severity.NOTE, DRILL, text, "run the drill in mode full for a proof that counts")
    if plan.mode is Mode.SAMPLE:
        text = "a sample of the data was moved: times and volumes say nothing about the whole"
        yield finding("sample", Severity.NOTE, DRILL, text, "run the drill in mode full for a proof that counts")


def _losses(record: RunRecord) -> Iterator[Finding]:
    for asset in record.assets:
        for loss in asset.losses:
            text = f"metadata not kept: {loss.field} of {count(loss.objects, 'object')} ({loss.reason})"
            remedy = "it stands in the ledger; keep it elsewhere if anything needs it, or choose a target that holds it"
            # no object store lets a client set it: worth knowing, and nothing to act on
            severity = Severity.NOTE if loss.field == "created" else Severity.WARNING
            yield finding("metadata-lost", severity, asset.name, text, remedy, (loss.example_key,), about=loss.field)


def _effort(record: RunRecord) -> Iterator[Finding]:
    for asset in record.assets:
        for leg in (asset.evacuate, asset.rebuild):
            notable = max(_RETRIES, _RETRIES_SHARE * asset.listed.objects)
            if leg.throttled or leg.retries >= notable:
                text = f"{leg.leg}: {count(leg.throttled, 'answer')} asked us to slow down, {leg.retries:,} tries again"
                text += f", {duration(leg.waited_ns / _NS)} waited over all threads"
                yield finding(
                    "throttled",
                    Severity.NOTE,
                    asset.name,
                    text,
                    "ask the provider for a higher limit before an exit",
                    about=leg.leg,
                )
            if leg.limited_ns:
                text = f"{leg.leg}: {duration(leg.limited_ns / _NS)} waited over all threads for the drill's own limits"
                yield finding(
                    "own-limits",
                    Severity.NOTE,
                    asset.name,
                    text,
                    "in a real exit, take the limits of the places away",
                    about=leg.leg,
                )
