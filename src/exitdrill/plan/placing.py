"""Judges where assets are, in a drill, against its policy. Pure: the drill, the day, and nothing else.

Rules:

1. A rule applies to an asset of one of its classifications at a place in one of its roles. Every rule that applies must
   hold; each of its requirements is one line. What no rule applies to is allowed.
2. A fact that the drill does not state is unknown, which the policy may treat as a breach (``unknown: refuse``).
3. ``EU`` and ``EEA`` in a rule stand for their member states too.
4. A waiver is for one asset, place and rule. It counts until its last day, by the day on which the drill is declared
   (UTC); a run that goes on for longer is judged by that day.
5. The source is judged like the others. What is made of a breach there is for others: it is what the drill is for.
"""

from collections.abc import Iterator
from datetime import date

from exitdrill.model.placement import PlacementRecord, Placing, WaiverRecord
from exitdrill.plan.drill import Asset, DrillPlan, Place
from exitdrill.plan.sovereignty import PolicyRule, Unknown, Waiver

__all__ = ["ROLES", "placements", "superfluous"]

ROLES = ("source", "vault", "target")

_EU = frozenset(
    (
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU"),
        *("LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "EU"),
    )
)
"""Member states as of 1 February 2020, by ISO 3166-1; and the Union itself."""
_GROUPS = {"EU": _EU, "EEA": _EU | {"IS", "LI", "NO", "EEA"}}


def placements(plan: DrillPlan, on: date) -> tuple[PlacementRecord, ...]:
    """Every line, in the order of assets, roles and rules; none without a policy.

    Args:
        plan: The drill.
        on: The day it was declared, in UTC.
    """
    if plan.policy is None:
        return ()
    return tuple(
        line
        for asset in plan.assets
        for role in ROLES
        for rule in plan.policy.rules
        if asset.classification in rule.classifications and role in rule.roles
        for line in _lines(plan, asset, role, rule, on)
    )


def superfluous(plan: DrillPlan, lines: tuple[PlacementRecord, ...]) -> tuple[Waiver, ...]:
    """The waivers for which there is nothing to waive."""
    needed = {(x.asset, x.place, x.rule) for x in lines if x.result in (Placing.BREACHED, Placing.WAIVED)}
    return tuple(waiver for waiver in plan.waivers if (waiver.asset, waiver.place, waiver.rule) not in needed)


def _lines(plan: DrillPlan, asset: Asset, role: str, rule: PolicyRule, on: date) -> Iterator[PlacementRecord]:
    place = plan.places[getattr(plan.route, role)]
    strict = plan.policy is not None and plan.policy.unknown is Unknown.REFUSE
    waiver = _waiver(plan, asset, place, rule, on)
    for fact, asked, found, holds in _requirements(rule, place):
        if holds is None and not strict:
            result = Placing.UNKNOWN
        elif holds:
            result = Placing.HOLDS
        else:
            result = Placing.BREACHED if waiver is None or waiver.expired else Placing.WAIVED
        spoken_of = waiver if result in (Placing.BREACHED, Placing.WAIVED) else None
        yield PlacementRecord(
            asset.name, asset.classification.value, place.name, role, rule.id, fact, asked, found, result, spoken_of
        )


def _waiver(plan: DrillPlan, asset: Asset, place: Place, rule: PolicyRule, on: date) -> WaiverRecord | None:
    for waiver in plan.waivers:
        if (waiver.asset, waiver.place, waiver.rule) == (asset.name, place.name, rule.id):
            return WaiverRecord(waiver.by, waiver.reason, waiver.until, expired=waiver.until < on)
    return None


_Requirement = tuple[str, str, str, bool | None]
"""Fact, what is asked, what is found, and whether it holds; None: not known."""

_NOT_STATED = "not stated"


def _requirements(rule: PolicyRule, place: Place) -> Iterator[_Requirement]:
    if rule.jurisdictions:
        found = place.jurisdiction
        holds = None if found is None else _within(found, rule.jurisdictions)
        yield "jurisdiction", _one_of(rule.jurisdictions), found or _NOT_STATED, holds
    if rule.ownership:
        yield _owned(rule, place)
    if rule.seal is not None:
        yield _sealed(rule, place)
    if rule.certifications:
        has = {one.casefold() for one in place.certifications}
        missing = [one for one in rule.certifications if one.casefold() not in has]
        found = ", ".join(place.certifications) or _NOT_STATED
        lacking = f"; without {', '.join(missing)}" if missing and place.certifications else ""
        holds = not missing if place.certifications else None
        yield "certifications", ", ".join(rule.certifications), found + lacking, holds


def _owned(rule: PolicyRule, place: Place) -> _Requirement:
    asked, owned = _one_of(rule.ownership), place.ownership
    if owned is None:
        return "ownership", asked, _NOT_STATED, None
    return "ownership", asked, str(owned), all(_within(one, rule.ownership) for one in owned.jurisdictions)


def _sealed(rule: PolicyRule, place: Place) -> _Requirement:
    assert rule.seal is not None  # noqa: S101 - its caller looked
    asked = f"{rule.seal} or higher" + (", assessed" if rule.assessed else "")
    seal = place.seal
    if seal is None:
        return "SEAL", asked, _NOT_STATED, None
    high = seal.level.rank >= rule.seal.rank
    return "SEAL", asked, str(seal), high and not (rule.assessed and seal.assessed_by is None)


def _within(jurisdiction: str, allowed: tuple[str, ...]) -> bool:
    return any(jurisdiction in _GROUPS.get(one, (one,)) for one in allowed)


def _one_of(words: tuple[str, ...]) -> str:
    return " or ".join(words)
