"""What the verdict makes of a policy: an objective an asset, and a finding for all that does not simply hold."""

from dataclasses import replace
from datetime import date

import pytest

from exitdrill.assess import assess
from exitdrill.model.findings import Finding, Severity
from exitdrill.model.record import Check, RunRecord
from exitdrill.model.verdict import Judgement, Verdict
from exitdrill.plan.drill import Classification, DrillPlan, Place
from exitdrill.plan.placing import placements
from exitdrill.plan.sovereignty import Policy, PolicyRule, Waiver
from exitdrill.testing.runs import T0, make_asset, make_plan, make_record

_RULE = PolicyRule("law", "why so", (Classification.ESSENTIAL,), ("source", "vault", "target"), ("NL",))


def _plan(target: str | None = "NL", source: str = "NL", **more: object) -> DrillPlan:
    plan = make_plan(make_asset(classification=Classification.ESSENTIAL), policy=Policy("own", (_RULE,)), **more)
    places = {
        **plan.places,
        "azure": replace(plan.places["azure"], jurisdiction=source),
        "aws": Place("aws", "s3", {}, jurisdiction=target),
    }
    return replace(plan, places=places)


def _record(plan: DrillPlan, **more: object) -> RunRecord:
    return make_record(plan, placements=placements(plan, T0.date()), **more)


def _about(verdict: Verdict, code: str) -> Finding:
    (found,) = [one for one in verdict.findings if one.code == code]
    return found


def _placement(verdict: Verdict) -> tuple[Judgement, str]:
    (found,) = [one for one in verdict.objectives if one.objective == "placement"]
    return found.judgement, found.actual


def test_where_all_holds_nothing_is_found() -> None:
    """The objective is met; the source's own line does not count in it."""
    plan = _plan()
    verdict = assess(plan, _record(plan))
    assert (verdict.judgement, verdict.findings) == (Judgement.MET, ())
    assert _placement(verdict) == (Judgement.MET, "2 of 2 requirements hold")


def test_a_breach_at_the_target_misses_the_objective() -> None:
    """It is critical, names fact, rule and reason, and a playbook without preflight does not hide it."""
    plan = _plan("US")
    verdict = assess(plan, _record(plan))
    assert verdict.judgement is Judgement.MISSED
    assert _placement(verdict) == (Judgement.MISSED, "1 of 2 requirements hold, 1 breached")
    found = _about(verdict, "placement-breached")
    assert (found.severity, found.subject) == (Severity.CRITICAL, "case-files")
    assert found.text == (
        "this essential asset may not be at aws (target): jurisdiction US, rule law asks for NL (why so)"
    )


def test_a_breach_at_the_source_is_why_it_leaves() -> None:
    """A warning that weighs nothing."""
    plan = _plan(source="US")
    verdict = assess(plan, _record(plan))
    assert verdict.judgement is Judgement.MET
    assert _about(verdict, "placement-source").severity is Severity.WARNING


def test_what_is_waived_or_not_known_is_a_warning() -> None:
    """Who waived it, why and until when is in the finding; neither misses the objective."""
    waiver = Waiver("case-files", "aws", "law", "A. Jansen", "for now", date(2026, 6, 1))
    plan = _plan("US", waivers=(waiver,))
    verdict = assess(plan, _record(plan))
    assert verdict.judgement is Judgement.MET
    found = _about(verdict, "placement-waived")
    assert found.severity is Severity.WARNING
    assert "waived until 2026-06-01 by A. Jansen: for now" in found.text
    unknown = _plan(None)
    verdict = assess(unknown, _record(unknown))
    assert verdict.judgement is Judgement.MET
    assert "jurisdiction not stated" in _about(verdict, "placement-unknown").text


def test_a_waiver_that_has_ended_or_waives_nothing_is_told() -> None:
    """The one with the breach it no longer covers, the other as a warning."""
    ended = Waiver("case-files", "aws", "law", "A. Jansen", "for now", date(2026, 1, 4))
    plan = _plan("US", waivers=(ended,))
    assert (
        "the waiver of A. Jansen ended on 2026-01-04" in _about(assess(plan, _record(plan)), "placement-breached").text
    )
    idle = _plan("NL", waivers=(ended,))
    found = _about(assess(idle, _record(idle)), "waiver-superfluous")
    assert (found.severity, "waives nothing" in found.text) == (Severity.WARNING, True)


@pytest.mark.parametrize("altered", [(), "swapped"])
def test_a_record_that_says_otherwise_than_its_plan_is_found_out(altered: object) -> None:
    """Lines taken out, or made to hold, contradict what follows from plan and day."""
    plan = _plan("US")
    record = _record(plan)
    lines = () if altered == () else placements(_plan("NL"), T0.date())
    verdict = assess(plan, replace(record, placements=lines))
    assert _about(verdict, "placement-contradiction").severity is Severity.CRITICAL


def test_preflight_lines_about_the_policy_are_not_said_twice() -> None:
    """The record's own lines carry them into the verdict."""
    plan = _plan("US")
    check = Check("policy", "case-files at aws (target)", ready=False, found="x", action="y")
    verdict = assess(plan, _record(plan, checks=(check,)))
    assert [one.code for one in verdict.findings] == ["placement-breached"]
