"""The objectives of the drill as a whole: RTO, RPO, severance, teardown; and the two clocks they share with assets."""

from datetime import datetime, timedelta

from exitdrill.assess import _overlap
from exitdrill.assess._common import DRILL, Judged, drill_rta_ns, finding, has_step, weighty
from exitdrill.model.human import count, duration
from exitdrill.model.record import AssetRecord, RunRecord, SeveranceRecord
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity
from exitdrill.plan.drill import DrillPlan

__all__ = ["asset_rpa", "drill_rpa", "judge_drill", "judge_rpo", "judge_rto"]

_NS = 1_000_000_000


def judge_drill(plan: DrillPlan, record: RunRecord) -> list[Judged]:
    """RTO, RPO, severance and teardown of the drill."""
    rpa, how = drill_rpa(plan, record)
    rto = judge_rto(DRILL, plan.objectives.rto, drill_rta_ns(plan, record), Severity.CRITICAL)
    return [
        rto,
        judge_rpo(DRILL, plan.objectives.rpo, rpa, how, Severity.CRITICAL),
        _severance(plan, record),
        _teardown(plan, record),
    ]


def judge_rto(subject: str, rto: timedelta | None, actual_ns: int | None, severity: Severity) -> Judged:
    """The time to recover ``subject``, against its objective if it has one."""
    asked = "not set" if rto is None else duration(rto.total_seconds())
    target_seconds = None if rto is None else rto.total_seconds()
    if actual_ns is None:
        result = ObjectiveResult("RTO", subject, asked, "not recovered", Judgement.MISSED, target_seconds)
        why = finding(
            "not-recovered",
            severity,
            subject,
            "not recovered: it was not proven healthy at the target",
            "look at the steps and exceptions below, put them right and run the drill again",
        )
        return Judged(result, (why,))
    took = timedelta(microseconds=-(-actual_ns // 1000))
    shown, seconds = duration(actual_ns / _NS), actual_ns / _NS
    if rto is None:
        return Judged(ObjectiveResult("RTO", subject, asked, shown, Judgement.NOT_SET, None, seconds))
    if took <= rto:
        return Judged(ObjectiveResult("RTO", subject, asked, shown, Judgement.MET, target_seconds, seconds))
    why = finding(
        "rto-missed",
        severity,
        subject,
        f"RTO missed by {duration((took - rto).total_seconds())}: recovered after {shown}, asked {asked}",
        "see where the time went; more bandwidth, more workers, less data or fewer waits, or a longer objective",
    )
    return Judged(ObjectiveResult("RTO", subject, asked, shown, Judgement.MISSED, target_seconds, seconds), (why,))


def judge_rpo(subject: str, rpo: timedelta | None, rpa: float | None, how: str, severity: Severity) -> Judged:
    """The data lost, as time before the cut, against the objective if there is one."""
    asked = "not set" if rpo is None else duration(rpo.total_seconds())
    shown = "not measured" if rpa is None else f"{duration(rpa)} ({how})"
    if rpo is None:
        return Judged(ObjectiveResult("RPO", subject, asked, shown, Judgement.NOT_SET, None, rpa))
    target = rpo.total_seconds()
    if rpa is not None and rpa <= target:
        return Judged(ObjectiveResult("RPO", subject, asked, shown, Judgement.MET, target, rpa))
    if rpa is None:
        code, text = "rpo-not-measured", f"RPO of {asked} not proven: the recovery point was not measured"
        remedy = "give the playbook a last look at the source and a sever step"
    else:
        code, text = (
            "rpo-missed",
            f"RPO missed by {duration(rpa - target)}: up to {shown} of changes lost, asked {asked}",
        )
        remedy = "cut sooner after the last look, evacuate changes again before the cut, or stop writes earlier"
    missed = ObjectiveResult("RPO", subject, asked, shown, Judgement.MISSED, target, rpa)
    return Judged(missed, (finding(code, severity, subject, text, remedy),))


def asset_rpa(severance: SeveranceRecord | None, asset: AssetRecord) -> tuple[float | None, str]:
    """Recovery point actual in seconds before the cut, None if not measured; and what it rests on."""
    if severance is None or (asset.lost_changes and asset.oldest_lost_change_utc is None):
        return None, ""
    bounds: list[tuple[datetime, str]] = []
    if asset.lost_changes and asset.oldest_lost_change_utc is not None:
        bounds.append((asset.oldest_lost_change_utc, f"{count(asset.lost_changes, 'change')} lost"))
    if asset.last_look_utc is not None:
        bounds.append((asset.last_look_utc, "from the last look to the cut"))
    if not bounds:
        return None, ""
    moment, how = min(bounds)
    return max(0.0, (severance.severed_utc - moment).total_seconds()), how


def drill_rpa(plan: DrillPlan, record: RunRecord) -> tuple[float | None, str]:
    """The worst of the assets that decide about the drill; None if one of them was not measured."""
    known = {asset.name: asset for asset in record.assets}
    worst: float | None = None
    what = ""
    for asset in weighty(plan):
        rpa, how = asset_rpa(record.severance, known.get(asset.name, AssetRecord(asset.name, asset.kind)))
        if rpa is None:
            return None, ""
        if worst is None or rpa > worst:
            worst, what = rpa, f"{asset.name}: {how}"
    return worst, what


def _severance(plan: DrillPlan, record: RunRecord) -> Judged:
    cut = record.severance
    if cut is None and not has_step(plan, "sever"):
        text = "the playbook has no sever step: nothing shows that the target can live without the source"
        why = finding("no-sever-step", Severity.WARNING, DRILL, text, "add a sever step before the rebuild")
        return Judged(ObjectiveResult("severance", DRILL, "not set", "not severed", Judgement.NOT_SET), (why,))
    asked = "source unreachable, and nothing tries to reach it"
    if cut is None:
        text = "the source was not severed although the playbook asks for it"
        why = finding("not-severed", Severity.CRITICAL, DRILL, text, "look at the sever step and run the drill again")
        return Judged(ObjectiveResult("severance", DRILL, asked, "not severed", Judgement.MISSED), (why,))
    problems = (*_cut_problems(record, cut), *_overlap.problems(record, cut))
    tried = sum(attempt.count for attempt in cut.attempts if attempt.during != "probe")
    tried += sum(attempt.count for attempt in record.early_cut.attempts) if record.early_cut else 0
    actual = f"{'held' if not problems or (cut.holds and tried) else 'not proven'}, {count(tried, 'other attempt')}"
    if lead := _overlap.lead_ns(record, cut):
        actual += f"; the rebuild began {duration(lead / _NS)} before the cut"
    judgement = Judgement.MISSED if problems else Judgement.MET
    found = (*problems, *_overlap.note(plan, record, cut))
    return Judged(ObjectiveResult("severance", DRILL, asked, actual, judgement), found)


def _cut_problems(record: RunRecord, cut: SeveranceRecord) -> tuple[Finding, ...]:
    found = []
    endpoints = [address for place in record.places if place.role == "source" for address in place.endpoints]
    if not cut.holds:
        text = "the cut did not hold: the probe could still reach the source, or could not be carried out"
        remedy = "see which addresses were probed; refuse every endpoint of the source, identity and registry included"
        found.append(finding("cut-not-held", Severity.CRITICAL, DRILL, text, remedy))
    elif endpoints and not cut.probed:
        text = "the cut is not proven: the source has endpoints and none was probed"
        found.append(
            finding("cut-not-probed", Severity.CRITICAL, DRILL, text, "let the sever step probe the source's endpoints")
        )
    others = [attempt for attempt in cut.attempts if attempt.during != "probe" and attempt.count > 0]
    if others:
        tried = ", ".join(f"{attempt.address} ({attempt.during}, {attempt.count} times)" for attempt in others[:10])
        more = "" if len(others) <= 10 else f" and {len(others) - 10} more"  # noqa: PLR2004 - as many as keys
        text = f"a hidden dependency on the source: after the cut something tried to reach {tried}{more}"
        remedy = "find what still needs that address and move it to the target before the next drill"
        found.append(finding("hidden-dependency", Severity.CRITICAL, DRILL, text, remedy))
    return tuple(found)


def _teardown(plan: DrillPlan, record: RunRecord) -> Judged:
    done = record.teardown
    asked = "kept, as the drill says" if plan.keep else "nothing left behind"
    if done is None:
        if not has_step(plan, "teardown"):
            text = "the playbook has no teardown: what the run made is still there"
            why = finding("no-teardown-step", Severity.WARNING, DRILL, text, f"exitdrill teardown {record.run_id}")
            return Judged(ObjectiveResult("teardown", DRILL, "not set", "not done", Judgement.NOT_SET), (why,))
        text = "teardown was not carried out: what the run made is still there"
        why = finding("teardown-not-done", Severity.CRITICAL, DRILL, text, f"exitdrill teardown {record.run_id}")
        return Judged(ObjectiveResult("teardown", DRILL, asked, "not done", Judgement.MISSED), (why,))
    if done.kept:
        severity = Severity.NOTE if plan.keep else Severity.WARNING
        text = "what the run made was kept" + ("" if plan.keep else ", although the drill does not ask for it")
        why = finding(
            "kept", severity, DRILL, text, f"exitdrill teardown {record.run_id}, when it is not needed any more"
        )
        return Judged(ObjectiveResult("teardown", DRILL, asked, "kept", Judgement.MET), (why,))
    if done.complete and not done.left:
        actual = f"{count(done.deleted_objects, 'object')} deleted, nothing left"
        return Judged(ObjectiveResult("teardown", DRILL, asked, actual, Judgement.MET))
    left = "; ".join(done.left[:10]) or "not said what"
    more = "" if len(done.left) <= 10 else f"; and {len(done.left) - 10} more"  # noqa: PLR2004 - as many as keys
    why = finding("left-behind", Severity.CRITICAL, DRILL, f"teardown left something behind: {left}{more}",
                  f"exitdrill teardown {record.run_id}, or remove it by hand")  # fmt: skip
    actual = f"{count(done.deleted_objects, 'object')} deleted, {count(len(done.left), 'thing')} left"
    return Judged(ObjectiveResult("teardown", DRILL, asked, actual, Judgement.MISSED), (why,))
