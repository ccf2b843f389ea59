"""Where assets may be: rules, facts, waivers, and what is made of the source."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.model.placement import Placing
from exitdrill.plan.drill import Classification, DrillPlan, Place
from exitdrill.plan.placing import placements, superfluous
from exitdrill.plan.sovereignty import Ownership, Policy, PolicyRule, Seal, SealLevel, Unknown, Waiver
from exitdrill.testing.runs import make_asset, make_plan

TODAY = date(2026, 1, 5)
ALL = ("source", "vault", "target")
SENSITIVE = (Classification.SENSITIVE,)


def rule(**asks: object) -> PolicyRule:
    return PolicyRule("r", "why", SENSITIVE, ALL, **asks)  # type: ignore[arg-type]  # its other fields


def judged(place: Place, asked: PolicyRule, **more: Any) -> list[Placing]:
    """How the target answers one rule."""
    return [line.result for line in placements(drill(place, asked, **more), TODAY) if line.role == "target"]


def drill(target: Place, asked: PolicyRule, unknown: Unknown = Unknown.WARN, **more: Any) -> DrillPlan:
    plan = make_plan(make_asset(classification=Classification.SENSITIVE))
    places = {**plan.places, "aws": target}
    return replace(plan, places=places, policy=Policy("p", (asked,), unknown=unknown), **more)


@pytest.mark.parametrize(
    ("facts", "asks", "result"),
    [
        ({"jurisdiction": "NL"}, {"jurisdictions": ("NL",)}, "holds"),
        ({"jurisdiction": "NL"}, {"jurisdictions": ("EU",)}, "holds"),
        ({"jurisdiction": "NO"}, {"jurisdictions": ("EU",)}, "breached"),
        ({"jurisdiction": "NO"}, {"jurisdictions": ("EEA",)}, "holds"),
        ({"jurisdiction": "US"}, {"jurisdictions": ("EU", "EEA")}, "breached"),
        ({}, {"jurisdictions": ("EU",)}, "unknown"),
        ({"ownership": Ownership("X", "NL")}, {"ownership": ("NL",)}, "holds"),
        ({"ownership": Ownership("X", "NL", "Y", "US")}, {"ownership": ("NL",)}, "breached"),
        ({"ownership": Ownership("X", "US", "Y", "NL")}, {"ownership": ("NL",)}, "breached"),
        ({}, {"ownership": ("NL",)}, "unknown"),
        ({"seal": Seal(SealLevel.SEAL_3)}, {"seal": SealLevel.SEAL_2}, "holds"),
        ({"seal": Seal(SealLevel.SEAL_1)}, {"seal": SealLevel.SEAL_2}, "breached"),
        ({"seal": Seal(SealLevel.SEAL_4)}, {"seal": SealLevel.SEAL_2, "assessed": True}, "breached"),
        ({"seal": Seal(SealLevel.SEAL_2, "TNO")}, {"seal": SealLevel.SEAL_2, "assessed": True}, "holds"),
        ({}, {"seal": SealLevel.SEAL_0}, "unknown"),
        ({"certifications": ("iso 27001", "SOC 2")}, {"certifications": ("ISO 27001",)}, "holds"),
        ({"certifications": ("SOC 2",)}, {"certifications": ("ISO 27001",)}, "breached"),
        ({}, {"certifications": ("ISO 27001",)}, "unknown"),
    ],
)
def test_a_fact_answers_a_requirement(facts: dict[str, object], asks: dict[str, object], result: str) -> None:
    """Held, breached, or not known; and where the policy is strict, what is not known is breached."""
    place = Place("aws", "s3", {}, **facts)  # type: ignore[arg-type]  # its fields
    assert judged(place, rule(**asks)) == [Placing(result)]
    strict = judged(place, rule(**asks), unknown=Unknown.REFUSE)
    assert strict == [Placing.BREACHED if result == "unknown" else Placing(result)]


def test_only_rules_of_the_asset_and_the_role_apply() -> None:
    """What no rule speaks of is allowed, and says nothing."""
    place = Place("aws", "s3", {}, jurisdiction="US")
    asked = replace(rule(jurisdictions=("NL",)), roles=("vault",))
    assert judged(place, asked) == []
    plan = make_plan(
        make_asset(classification=Classification.ORDINARY), policy=Policy("p", (rule(jurisdictions=("NL",)),))
    )
    assert placements(plan, TODAY) == ()
    assert placements(replace(plan, policy=None), TODAY) == ()


@pytest.mark.parametrize(
    ("until", "result", "expired"),
    [(date(2026, 1, 5), Placing.WAIVED, False), (date(2026, 1, 4), Placing.BREACHED, True)],
)
def test_a_waiver_counts_until_its_last_day(until: date, result: Placing, expired: bool) -> None:
    """On that day it still does; the day after, the breach is one again, and says whose waiver ended."""
    waiver = Waiver("case-files", "aws", "r", "A. Jansen", "for now", until)
    plan = drill(Place("aws", "s3", {}, jurisdiction="US"), rule(jurisdictions=("NL",)), waivers=(waiver,))
    [line] = [line for line in placements(plan, TODAY) if line.role == "target"]
    assert line.result is result
    assert line.waiver is not None
    assert (line.waiver.by, line.waiver.expired) == ("A. Jansen", expired)


def test_a_waiver_for_another_place_waives_nothing_and_is_told() -> None:
    """Here the source is breached and waived; the vault's waiver has nothing to waive."""
    one = Waiver("case-files", "azure", "r", "A", "x", TODAY)
    other = Waiver("case-files", "vault", "r", "B", "x", TODAY)
    plan = drill(Place("aws", "s3", {}, jurisdiction="US"), rule(jurisdictions=("NL",)), waivers=(one, other))
    lines = placements(plan, TODAY)
    assert [line.result for line in lines] == [Placing.WAIVED, Placing.HOLDS, Placing.BREACHED]
    assert superfluous(plan, lines) == (other,)


@given(
    st.lists(st.sampled_from(["NL", "DE", "US", "NO", "EU", "EEA"]), min_size=1, max_size=4),
    st.sampled_from(["NL", "US", "NO"]),
)
def test_a_wider_rule_never_breaches_more(codes: list[str], where: str) -> None:
    """Adding a jurisdiction to a rule keeps what held."""
    place = Place("aws", "s3", {}, jurisdiction=where)
    narrow = judged(place, rule(jurisdictions=tuple(codes[:1])))
    wide = judged(place, rule(jurisdictions=tuple(codes)))
    assert not (narrow == [Placing.HOLDS] and wide != [Placing.HOLDS])
