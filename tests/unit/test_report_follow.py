"""Places, policy and earlier findings in reports, with strings that mean harm."""

from dataclasses import replace
from datetime import date

import pytest

from exitdrill.assess import assess
from exitdrill.model.findings import BY_PERSON, EarlierFinding, PreviousRun, Severity
from exitdrill.model.record import PlaceRecord
from exitdrill.plan.drill import Classification
from exitdrill.plan.placing import placements
from exitdrill.plan.sovereignty import Ownership, Policy, PolicyRule, Waiver
from exitdrill.report import render
from exitdrill.testing.runs import T0, make_asset, make_plan, make_record

_EVIL = "\x1b[31m\u202e<script>alert(1)</script>|\n# x [y](http://z) =1+1"


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_nothing_hostile_gets_through(form: str) -> None:
    """Owners, reasons, legal entities, texts of people: visible, on one line, without meaning to any format."""
    rule = PolicyRule("law", _EVIL, (Classification.SENSITIVE,), ("source", "vault", "target"), ("NL",), ("NL",))
    waiver = Waiver("case-files", "aws", "law", _EVIL, _EVIL, date(2027, 1, 1))
    plan = make_plan(
        make_asset(classification=Classification.SENSITIVE, owner=_EVIL),
        policy=Policy("own", (rule,)),
        waivers=(waiver,),
    )
    owned = replace(plan.places["aws"], ownership=Ownership(_EVIL, "US"), legal_entity=_EVIL)
    plan = replace(plan, places={**plan.places, "aws": owned})
    earlier = EarlierFinding("ab" * 8, BY_PERSON, Severity.WARNING, "drill", _EVIL, _EVIL, "r", _EVIL, date(2020, 1, 1))
    closed = replace(earlier, fingerprint="cd" * 8, closed_by=_EVIL, closed_reason=_EVIL)
    place = PlaceRecord("aws", "target", "s3", "cloud", legal_entity=_EVIL, ownership=_EVIL, certifications=(_EVIL,))
    record = make_record(
        plan,
        places=(place,),
        placements=placements(plan, T0.date()),
        previous=PreviousRun("r", "ef" * 32, (earlier, closed), (_EVIL,)),
    )
    shown = render(form, plan, record, assess(plan, record))
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "\n# x" not in shown
    if form != "text":
        assert "<script" not in shown
    if form == "markdown":
        assert "](http" not in shown.replace("\\](", "")
    if form != "json":
        assert "still open, overdue" in " ".join(shown.split())
        assert "waived until 2027-01-01" in " ".join(shown.split())


def test_a_drill_without_policy_facts_or_run_before_has_no_such_sections() -> None:
    """Nothing is said where there is nothing to say."""
    plan = make_plan()
    record = make_record(plan)
    shown = render("text", plan, record, assess(plan, record))
    assert "Places and policy" not in shown
    assert "Since the previous run" not in shown
