"""The judgement of a record against a plan. Pure: no I/O, no clock; the same two values give the same verdict.

Rules, in the order in which they are applied:

1. *Failed.* Nothing is proven, and a critical finding says why, when the run did not complete; when the record
   was made with another plan; when a critical step of the drill or of a critical asset did not end as done; or
   when the drill says mode ``full`` and a place is an emulator. What was measured is shown all the same, every
   objective but teardown (which always runs) being judged failed.
2. *Missed* when any objective of the drill or of a critical asset is missed, or the accounting of any asset
   does not add up. Else *met*.
3. *A non-critical asset* is judged and shown the same way, but what it misses is a warning and weighs nothing
   in the drill's judgement. Its accounting does: it is about the program's bookkeeping, not about the asset.
4. *RTO.* An asset's own; the drill's is for the drill. Measured from the declaration, nothing subtracted. What was not
   recovered misses it, set or not. The drill's recovery is never earlier than that of any critical asset: a
   record that says so contradicts itself, and the worse of the two counts.
5. *RPO.* An asset's own, else the drill's. RPA is the cut minus the last look (what changed in between cannot
   be known), or minus the oldest lost change where that is longer. Not measured: missed where an RPO is set.
   The drill's RPA is the worst of its critical assets (of all, if none is critical).
6. *Completeness.* ``listed = copied + declared exceptions`` on both legs, every listed object copied on both,
   and verification has accounted for every one rebuilt with none missing and none different. A declared exception
   is a loss even where the counters say otherwise. Extra objects at the target are a warning.
7. *Integrity.* Verification was carried out at the level asked for or a stronger one and re-read as much as that
   level takes; none different; none unattested from level ``attested`` up.
8. *Severance.* The cut held when probed, and nothing but the probe tried to reach the source. Nothing probed
   although the source has endpoints is no proof. Not set, with a warning, when the playbook has no such step.
   A rebuild that began before the cut (``overlap``) is a warning of its own: it ran while the source could be
   reached. Its workers must be proven to have been cut off from their start, else severance is missed.
9. *Teardown.* Complete with nothing left, or kept.
10. *Placement.* Only where the drill names a policy: missed where a vault or a target breaches it and nobody waived
    that. A breach at the source is a finding and no more.
11. *Findings* are ordered by severity, then drill, places, assets in the plan's order; ids follow that order.
    Every objective that is missed has at least one. Those of the previous run of the same drill are compared with them
    (`_followup`).
"""

from dataclasses import replace

from exitdrill.assess import _causes, _circumstances, _exceptions, _followup, _placement
from exitdrill.assess._asset import judge_asset
from exitdrill.assess._common import DRILL, Judged, drill_rta_ns
from exitdrill.assess._drill import drill_rpa, judge_drill
from exitdrill.assess._placement import POLICY_CHECK
from exitdrill.model.record import AssetRecord, RunRecord
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity, Verdict
from exitdrill.plan.drill import DrillPlan

__all__ = ["POLICY_CHECK", "assess"]

_NS = 1_000_000_000


def assess(plan: DrillPlan, record: RunRecord) -> Verdict:
    """Judge what a run measured against what its plan asks for.

    Args:
        plan: The plan the run was made with.
        record: What it measured, finished or not.

    Returns:
        The verdict; equal for equal arguments.
    """
    assets = {asset.name: asset for asset in record.assets}
    causes = _causes.failures(plan, record)
    judged = [*judge_drill(plan, record)]
    for asset in plan.assets:
        judged += judge_asset(plan, record, asset, assets.get(asset.name, AssetRecord(asset.name, asset.kind)))
        judged += _placement.judge_placement(plan, record, asset)
    if causes:
        judged = [_unproven(item) for item in judged]
    findings = [*causes, *(finding for item in judged for finding in item.findings)]
    findings += _exceptions.findings(plan, record)
    findings += _circumstances.findings(plan, record)
    findings += _placement.findings(plan, record)
    comparison = _followup.compared(plan, record, findings, judged=not causes)
    findings += _followup.late(comparison, record.previous)
    rta_ns, (rpa_seconds, _) = drill_rta_ns(plan, record), drill_rpa(plan, record)
    return Verdict(
        run_id=record.run_id,
        drill=plan.name,
        judgement=Judgement.FAILED if causes else _overall(plan, judged),
        objectives=tuple(item.result for item in judged),
        findings=_numbered(plan, _followup.responsible(plan, record, findings)),
        rta_seconds=None if rta_ns is None else rta_ns / _NS,
        rpa_seconds=rpa_seconds,
        environment="emulator" if _causes.emulated(plan, record) else "real",
        comparison=comparison,
    )


def _unproven(item: Judged) -> Judged:
    """An objective of a drill that failed: what it lacks is no news, except for what teardown left behind."""
    result: ObjectiveResult = item.result
    if result.objective == "teardown":
        return item
    if result.judgement is Judgement.NOT_SET:
        return replace(item, findings=())
    return Judged(replace(result, judgement=Judgement.FAILED))


def _overall(plan: DrillPlan, judged: list[Judged]) -> Judgement:
    light = {asset.name for asset in plan.assets if not asset.critical} - {DRILL}
    for item in judged:
        weighs = item.result.subject not in light or item.breach
        if item.result.judgement is Judgement.MISSED and weighs:
            return Judgement.MISSED
    return Judgement.MET


def _numbered(plan: DrillPlan, findings: list[Finding]) -> tuple[Finding, ...]:
    severities = list(Severity)
    subjects = [DRILL, *sorted(plan.places), *(asset.name for asset in plan.assets)]
    rank = {name: index for index, name in reversed(list(enumerate(subjects)))}
    ordered = sorted(
        findings,
        key=lambda finding: (severities.index(finding.severity), rank.get(finding.subject, len(rank))),
    )
    return tuple(replace(finding, id=f"F{number:03}") for number, finding in enumerate(ordered, 1))
