"""Where assets are, against the policy: an objective an asset, and findings. Only of a drill that names a policy.

A breach at the vault or the target is critical: preflight refuses it, so it is met with in a run that failed for that,
or whose playbook has no preflight. A breach at the source is a warning that weighs nothing: it is what the exit is for.
What somebody waived, and what the drill does not state, are warnings.
"""

from collections.abc import Iterator

from exitdrill.assess._common import DRILL, Judged, finding
from exitdrill.model.human import count
from exitdrill.model.placement import PlacementRecord, Placing
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity
from exitdrill.plan.drill import Asset, DrillPlan
from exitdrill.plan.placing import placements, superfluous

__all__ = ["POLICY_CHECK", "POLICY_CODES", "findings", "judge_placement"]

POLICY_CHECK = "policy"
"""The name of preflight's lines about it."""

POLICY_CODES = frozenset(
    ("placement-breached", "placement-source", "placement-unknown", "placement-waived", "waiver-superfluous")
)
"""Kinds of findings that only a drill with a policy has."""


def judge_placement(plan: DrillPlan, record: RunRecord, asset: Asset) -> list[Judged]:
    """Whether the asset may be in its vault and at its target; nothing without a policy."""
    if plan.policy is None:
        return []
    lines = [x for x in record.placements if x.asset == asset.name and x.role != "source"]
    breached = [x for x in lines if x.result is Placing.BREACHED]
    others = {
        "waived": sum(x.result is Placing.WAIVED for x in lines),
        "not known": sum(x.result is Placing.UNKNOWN for x in lines),
    }
    held = sum(x.result is Placing.HOLDS for x in lines)
    actual = f"{held:,} of {count(len(lines), 'requirement')} hold"
    actual += "".join(
        f", {number:,} {what}" for what, number in {"breached": len(breached), **others}.items() if number
    )
    judgement = Judgement.MISSED if breached else Judgement.MET if lines else Judgement.NOT_SET
    asked = f"policy {plan.policy.name} ({asset.classification})"
    return [Judged(ObjectiveResult("placement", asset.name, asked, actual, judgement))]


def findings(plan: DrillPlan, record: RunRecord) -> list[Finding]:
    """All of them, in the order of the record's lines."""
    return [*_contradiction(plan, record), *_lines(plan, record), *_waivers(plan, record)]


def _contradiction(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    if record.plan_digest == plan.digest and record.placements != placements(plan, record.t0_utc.date()):
        text = "the record's lines about the policy are not those that follow from the plan and the day it was declared"
        remedy = "do not rely on this run: the record was altered, or made by another version of exitdrill"
        yield finding("placement-contradiction", Severity.CRITICAL, DRILL, text, remedy)


def _lines(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    why = {} if plan.policy is None else {rule.id: rule.why for rule in plan.policy.rules}
    for line in record.placements:
        if line.result is not Placing.HOLDS:
            yield _finding(line, why.get(line.rule, ""))


def _finding(line: PlacementRecord, why: str) -> Finding:
    where = f"{line.place} ({line.role}): {line.fact} {line.found}, rule {line.rule} asks for {line.asked}"
    about = f"{line.role} {line.place} {line.rule} {line.fact}"
    waiver, severity = line.waiver, Severity.WARNING
    reason = f" ({why})" if why else ""
    if line.result is Placing.UNKNOWN:
        text = f"not known whether this {line.classification} asset may be at {where}{reason}"
        return finding(
            "placement-unknown", severity, line.asset, text, f"state the {line.fact} of the place", (), about
        )
    if line.result is Placing.WAIVED and waiver is not None:
        text = f"this {line.classification} asset may not be at {where}{reason}; waived until {waiver.until} by "
        text += f"{waiver.by}: {waiver.reason}"
        remedy = "choose another place before the waiver ends"
        return finding("placement-waived", severity, line.asset, text, remedy, (), about)
    text = f"this {line.classification} asset may not be at {where}{reason}"
    if waiver is not None:
        text += f"; the waiver of {waiver.by} ended on {waiver.until}"
    if line.role == "source":
        remedy = "leave it: this is what the exit is for; assign the date by which you will have left"
        return finding("placement-source", severity, line.asset, text, remedy, (), about)
    remedy = "choose another place, or have somebody waive it with a name, a reason and a last day"
    return finding("placement-breached", Severity.CRITICAL, line.asset, text, remedy, (), about)


def _waivers(plan: DrillPlan, record: RunRecord) -> Iterator[Finding]:
    for waiver in superfluous(plan, record.placements):
        text = f"the waiver of {waiver.by} for {waiver.place}, rule {waiver.rule}, waives nothing: there is no breach"
        about = f"{waiver.place} {waiver.rule}"
        yield finding("waiver-superfluous", Severity.WARNING, waiver.asset, text, "take it out of the drill", (), about)
