"""The objectives of one asset: RTO, RPO, completeness, integrity.

What single objects did wrong, `exitdrill.assess._exceptions` names; here are the findings about the whole.
"""

from exitdrill.assess._common import Judged, finding, gravity
from exitdrill.assess._drill import asset_rpa, judge_rpo, judge_rto
from exitdrill.assess._exceptions import losses
from exitdrill.assess._roots import contradictions
from exitdrill.model.digests import Comparison
from exitdrill.model.human import bytes_, count
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, LegRecord, RunRecord, VerificationRecord
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity
from exitdrill.plan.drill import Asset, DrillPlan, Level

__all__ = ["judge_asset"]


def judge_asset(plan: DrillPlan, record: RunRecord, asset: Asset, measured: AssetRecord) -> list[Judged]:
    """RTO, RPO, completeness and integrity of one asset."""
    rpa, how = asset_rpa(record.severance, measured)
    rpo = plan.objectives.rpo if asset.objectives.rpo is None else asset.objectives.rpo
    return [
        judge_rto(asset.name, asset.objectives.rto, measured.recovered_elapsed_ns, gravity(asset)),
        judge_rpo(asset.name, rpo, rpa, how, gravity(asset)),
        _completeness(asset, measured),
        _integrity(asset, measured),
    ]


def _copied(leg: LegRecord) -> int:
    return leg.outcomes[Outcome.COPIED].objects if Outcome.COPIED in leg.outcomes else 0


def _stayed(leg: LegRecord) -> int:
    """How many objects this leg itself did not bring."""
    own = (Outcome.COPIED, Outcome.NOT_EVACUATED)
    return sum(counts.objects for outcome, counts in leg.outcomes.items() if outcome not in own)


def _breaches(measured: AssetRecord) -> list[str]:
    """Where ``listed = copied + declared exceptions`` does not hold."""
    found = []
    listed = measured.listed
    for leg in (measured.evacuate, measured.rebuild):
        total = sum(counts.objects for counts in leg.outcomes.values())
        if total != listed.objects:
            found.append(f"{leg.leg}: {count(listed.objects, 'object')} listed, {total:,} accounted for")
        elif _copied(leg) == listed.objects and (moved := sum(c.size_bytes for c in leg.outcomes.values())) != (
            listed.size_bytes
        ):
            found.append(f"{leg.leg}: {listed.size_bytes:,} bytes listed, {moved:,} copied")
    skipped = sum(c.objects for o, c in measured.rebuild.outcomes.items() if o is Outcome.NOT_EVACUATED)
    if skipped > listed.objects - _copied(measured.evacuate):
        found.append(f"rebuild: {count(skipped, 'object')} said not to be evacuated that were")
    declared = _stayed(measured.evacuate) + _stayed(measured.rebuild)
    declared += measured.source_digests.get(Comparison.DIFFERENT, 0)
    if measured.exceptions_total < max(declared, len(measured.exceptions)):
        most = max(declared, len(measured.exceptions))
        found.append(f"{count(most, 'exception')} happened, {measured.exceptions_total:,} declared")
    return found + contradictions(measured)


def _completeness(asset: Asset, measured: AssetRecord) -> Judged:
    listed, checked = measured.listed.objects, measured.verification
    evacuated, rebuilt = _copied(measured.evacuate), _copied(measured.rebuild)
    breaches = _breaches(measured)
    found: list[Finding] = []
    for breach in breaches:
        text = f"the accounting does not add up: {breach}"
        remedy = "do not rely on this run; keep its directory, report it as a fault of exitdrill, and run again"
        found.append(finding("accounting", Severity.CRITICAL, asset.name, text, remedy))
    if checked is None:
        text = "not verified at the target: nothing shows that it arrived"
        found.append(
            finding("not-verified", gravity(asset), asset.name, text, "look at the verify step and run the drill again")
        )
    elif (seen := checked.equal + checked.different + checked.missing + checked.unattested) < rebuilt:
        text = f"verification accounted for {seen:,} of {count(rebuilt, 'rebuilt object')}"
        found.append(
            finding(
                "verification-incomplete",
                gravity(asset),
                asset.name,
                text,
                "look at the verify step and run the drill again",
            )
        )
    lost = (checked.missing + checked.different) if checked else 0
    whole = not found and evacuated == rebuilt == listed and not lost and not losses(measured)
    actual = f"{evacuated:,} evacuated, {rebuilt:,} rebuilt"
    if checked is not None:
        actual += f", {checked.missing:,} missing, {checked.different:,} different, {checked.extra:,} extra"
    asked = f"all {count(listed, 'object')}, {bytes_(measured.listed.size_bytes)}"
    judgement = Judgement.MET if whole else Judgement.MISSED
    return Judged(
        ObjectiveResult("completeness", asset.name, asked, actual, judgement), tuple(found), breach=bool(breaches)
    )


def _integrity(asset: Asset, measured: AssetRecord) -> Judged:
    checked = measured.verification
    if checked is None:  # completeness has the finding
        return Judged(ObjectiveResult("integrity", asset.name, asset.verify, "not verified", Judgement.MISSED))
    found = _shortfalls(asset, measured, checked)
    attest = asset.verify.rank >= Level.ATTESTED.rank
    sound = not found and not checked.different and not (attest and checked.unattested)
    actual = f"{checked.level}: {checked.equal:,} equal, {checked.different:,} different"
    actual += f", {checked.unattested:,} unattested"
    if checked.reread_objects:
        actual += f", {checked.reread_objects:,} re-read"
    judgement = Judgement.MET if sound else Judgement.MISSED
    return Judged(ObjectiveResult("integrity", asset.name, asset.verify, actual, judgement), found)


def _shortfalls(asset: Asset, measured: AssetRecord, checked: VerificationRecord) -> tuple[Finding, ...]:
    """What verification did less than the plan asks for."""
    known = {level.value: level.rank for level in Level}
    texts = []
    if known.get(checked.level, -1) < asset.verify.rank:
        texts.append(("level-too-weak", f"verified at level {checked.level}, the plan asks for {asset.verify}"))
    listed = measured.listed.objects
    needed = {Level.SAMPLED: min(asset.sample, listed), Level.FULL: listed}.get(asset.verify, 0)
    if checked.reread_objects < needed:
        text = f"{checked.reread_objects:,} of {count(needed, 'object')} re-read that {asset.verify} takes"
        texts.append(("reread-too-few", text))
    remedy = "let preflight say which level the target can reach; ask for that one, or choose another target"
    return tuple(finding(code, gravity(asset), asset.name, text, remedy) for code, text in texts)
