"""Facts about the verdict that hold for every record, however strange."""

import math
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exitdrill.assess import assess
from exitdrill.model.objects import Outcome
from exitdrill.model.record import (
    AssetRecord,
    Attempt,
    Counts,
    LegRecord,
    Mishap,
    RunRecord,
    RunStatus,
    SeveranceRecord,
    StepRecord,
    StepStatus,
    TeardownRecord,
    VerificationRecord,
)
from exitdrill.model.verdict import Judgement, Severity
from exitdrill.plan.drill import Asset, DrillPlan, Level, Objectives
from exitdrill.testing.runs import SEVERED, make_asset, make_measured, make_plan, make_record

_NS = 1_000_000_000
_BADNESS = {Judgement.MET: 0, Judgement.NOT_SET: 0, Judgement.MISSED: 1, Judgement.FAILED: 2}
# The machine is shared: a slow moment is no failure.
_property = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_FEW = st.sampled_from([0, 0, 0, 0, 1, 2])
_MINUTES = st.one_of(st.none(), st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes)))
_PROBLEMS = st.sampled_from([*Outcome, "different", "missing", "extra", "unattested", "unheard of"])
_WHERE = st.sampled_from(["evacuate", "rebuild", "verify", "last look"])
_MISHAPS = st.builds(Mishap, st.text(max_size=5), _PROBLEMS, _WHERE)
_OBJECTIVES = st.builds(Objectives, _MINUTES, _MINUTES)


@st.composite
def _legs(draw: st.DrawFn, leg: str, listed: int) -> LegRecord:
    """Mostly everything copied; else some outcomes, that may or may not add up."""
    if draw(st.integers(0, 3)):
        return LegRecord(leg, {Outcome.COPIED: Counts(listed, listed * 10)})
    outcomes = draw(st.dictionaries(st.sampled_from(Outcome), st.integers(0, 3), max_size=3))
    return LegRecord(leg, {outcome: Counts(number, number * 10) for outcome, number in outcomes.items()})


@st.composite
def _measured(draw: st.DrawFn, name: str) -> AssetRecord:
    listed = draw(st.integers(0, 4))
    look = draw(_MINUTES)
    oldest = draw(_MINUTES)
    checked = st.builds(
        VerificationRecord,
        st.sampled_from([level.value for level in Level]),
        equal=st.just(listed),
        different=_FEW,
        missing=_FEW,
        extra=_FEW,
        unattested=_FEW,
        reread_objects=st.sampled_from([0, listed]),
    )
    exceptions = tuple(draw(st.lists(_MISHAPS, max_size=1)))
    return AssetRecord(
        name,
        "objects",
        listed=Counts(listed, listed * 10),
        evacuate=draw(_legs("evacuate", listed)),
        rebuild=draw(_legs("rebuild", listed)),
        verification=draw(st.one_of(checked, checked, checked, st.none())),
        exceptions=exceptions,
        exceptions_total=draw(st.integers(0, 6)),
        recovered_elapsed_ns=draw(st.one_of(st.integers(0, 36_000 * _NS), st.none())),
        last_look_utc=None if look is None else SEVERED - look,
        lost_changes=draw(_FEW),
        oldest_lost_change_utc=None if oldest is None else SEVERED - oldest,
    )


_ASSETS = st.builds(
    lambda level, critical, objectives: make_asset(
        "a", verify=level, critical=critical, objectives=objectives, sample=2
    ),
    st.sampled_from(Level),
    st.booleans(),
    _OBJECTIVES,
)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[DrillPlan, RunRecord]:
    """A plan of two assets, one of them always critical, and a record of a run of it."""
    plan = make_plan(draw(_ASSETS), make_asset("b"), objectives=draw(_OBJECTIVES), keep=draw(st.booleans()))
    measured = [draw(_measured("a")), draw(st.one_of(st.just(make_measured("b")), _measured("b")))]
    good = make_record(plan)
    attempts = st.lists(st.builds(Attempt, st.just("x:1"), st.integers(1, 2), st.sampled_from(["probe", "rebuild"])))
    cut = st.builds(
        SeveranceRecord, st.just(SEVERED), st.just(0), holds=st.sampled_from([True, True, False]), attempts=attempts,
        probed=st.sampled_from([("x:1",), ()]),
    )  # fmt: skip
    record = make_record(
        plan,
        *measured[: draw(st.sampled_from([2, 2, 2, 1]))],
        status=draw(st.sampled_from([RunStatus.COMPLETED] * 5 + list(RunStatus))),
        recovered_elapsed_ns=draw(st.one_of(st.integers(0, 36_000 * _NS), st.none())),
        severance=draw(st.one_of(st.just(good.severance), cut, st.none())),
        teardown=draw(st.sampled_from([good.teardown, TeardownRecord(kept=True), TeardownRecord(), None])),
        steps=draw(st.sampled_from([good.steps, (StepRecord("verify", "verify", StepStatus.FAILED, "a"),)])),
    )
    return plan, record


def _arrived(asset: Asset, measured: AssetRecord | None) -> bool:
    """The conditions for a critical asset, written down a second time and another way."""
    if measured is None or measured.verification is None or measured.recovered_elapsed_ns is None:
        return False
    number = measured.listed.objects
    for leg in (measured.evacuate, measured.rebuild):
        if {outcome: counts.objects for outcome, counts in leg.outcomes.items() if counts.objects} not in (
            {Outcome.COPIED: number},
            *([{}] if not number else []),
        ):
            return False
    checked = measured.verification
    rank = [level.value for level in Level].index
    return (
        checked.different == checked.missing == 0
        and checked.equal + checked.unattested >= number
        and rank(checked.level) >= rank(asset.verify)
        and (asset.verify is Level.LISTED or not checked.unattested)
        and (asset.verify is not Level.FULL or checked.reread_objects >= number)
        and (
            asset.objectives.rto is None or measured.recovered_elapsed_ns <= asset.objectives.rto.total_seconds() * _NS
        )
        and (measured.lost_changes == 0 or measured.oldest_lost_change_utc is not None or asset.objectives.rpo is None)
    )


def _limit_ns(limit: timedelta | None) -> float:
    return math.inf if limit is None else limit.total_seconds() * _NS


@_property
@given(_cases())
def test_met_only_if_every_condition_holds(case: tuple[DrillPlan, RunRecord]) -> None:
    """No combination of facts slips through to a verdict of met."""
    plan, record = case
    verdict = assess(plan, record)
    if verdict.judgement is not Judgement.MET:
        return
    assert record.status is RunStatus.COMPLETED
    assert record.recovered_elapsed_ns is not None
    if plan.objectives.rto is not None:
        assert record.recovered_elapsed_ns <= plan.objectives.rto.total_seconds() * _NS
    assert record.severance is not None
    assert record.severance.holds
    assert not [attempt for attempt in record.severance.attempts if attempt.during != "probe"]
    assert record.teardown is not None
    assert record.teardown.complete or record.teardown.kept
    known = {asset.name: asset for asset in record.assets}
    assert all(_arrived(asset, known.get(asset.name)) for asset in plan.assets if asset.critical)
    assert not [finding for finding in verdict.findings if finding.severity is Severity.CRITICAL]


@_property
@given(_cases())
def test_met_is_reached_by_the_good_record(case: tuple[DrillPlan, RunRecord]) -> None:
    """The conditions are not so strict that nothing meets them: the flawless record does, no times asked."""
    plan = replace(case[0], objectives=Objectives(), assets=tuple(_easy(asset) for asset in case[0].assets))
    assert assess(plan, make_record(plan)).judgement is Judgement.MET


def _easy(asset: Asset) -> Asset:
    return replace(asset, objectives=Objectives(), verify=Level.ATTESTED)


@_property
@given(_cases(), _MISHAPS, st.integers(0, 1))
def test_one_more_exception_never_improves_anything(
    case: tuple[DrillPlan, RunRecord], mishap: Mishap, index: int
) -> None:
    """Neither the verdict nor any single objective."""
    plan, record = case
    index = min(index, len(record.assets) - 1)
    asset = record.assets[index]
    more = replace(asset, exceptions=(*asset.exceptions, mishap), exceptions_total=asset.exceptions_total + 1)
    worse = replace(record, assets=(*record.assets[:index], more, *record.assets[index + 1 :]))
    _not_better(plan, record, worse, accounting=True)


@given(
    _cases(), st.sampled_from([o for o in Outcome if o is not Outcome.COPIED]), st.sampled_from(["evacuate", "rebuild"])
)
def test_one_object_less_never_improves_anything(case: tuple[DrillPlan, RunRecord], outcome: Outcome, leg: str) -> None:
    """One copied object becomes an exception, rightly accounted for."""
    plan, record = case
    asset = record.assets[0]
    before: LegRecord = getattr(asset, leg)
    copied = before.outcomes.get(Outcome.COPIED, Counts())
    if not copied.objects:
        return
    outcomes = {**before.outcomes, Outcome.COPIED: Counts(copied.objects - 1, copied.size_bytes - 10)}
    outcomes[outcome] = outcomes.get(outcome, Counts()) + Counts(1, 10)
    changed = replace(before, outcomes=outcomes)
    less = replace(asset, evacuate=changed) if leg == "evacuate" else replace(asset, rebuild=changed)
    _not_better(plan, record, replace(record, assets=(less, *record.assets[1:])), accounting=False)


@_property
@given(_cases(), st.integers(0, 100 * 3600 * _NS))
def test_later_is_never_better(case: tuple[DrillPlan, RunRecord], later_ns: int) -> None:
    """Everything recovered later: no objective improves."""
    plan, record = case
    assets = tuple(
        replace(asset, recovered_elapsed_ns=_plus(asset.recovered_elapsed_ns, later_ns)) for asset in record.assets
    )
    late = replace(record, assets=assets, recovered_elapsed_ns=_plus(record.recovered_elapsed_ns, later_ns))
    _not_better(plan, record, late, accounting=False)


@_property
@given(_cases(), st.integers(0, 10**6))
def test_a_later_cut_is_never_better(case: tuple[DrillPlan, RunRecord], later_seconds: int) -> None:
    """The longer after the last look the cut comes, the more may be lost."""
    plan, record = case
    cut = record.severance
    if cut is None:
        return
    late = replace(cut, severed_utc=cut.severed_utc + timedelta(seconds=later_seconds))
    _not_better(plan, record, replace(record, severance=late), accounting=False)


@_property
@given(_cases())
def test_every_missed_objective_has_a_finding_and_ids_are_in_order(case: tuple[DrillPlan, RunRecord]) -> None:
    """No judgement without an explanation about the same subject; numbered without gaps, gravest first."""
    verdict = assess(*case)
    explained = {finding.subject for finding in verdict.findings}
    assert {item.subject for item in verdict.objectives if item.judgement is Judgement.MISSED} <= explained
    assert [finding.id for finding in verdict.findings] == [f"F{n:03}" for n in range(1, len(verdict.findings) + 1)]
    severities = [list(Severity).index(finding.severity) for finding in verdict.findings]
    assert severities == sorted(severities)
    assert all(finding.text and finding.remedy and len(finding.keys) <= 10 for finding in verdict.findings)


def _plus(moment_ns: int | None, more_ns: int) -> int | None:
    return None if moment_ns is None else moment_ns + more_ns


def _not_better(plan: DrillPlan, record: RunRecord, worse: RunRecord, *, accounting: bool) -> None:
    """``accounting``: a higher declared total may put accounting right, which completeness alone may show."""
    before, after = assess(plan, record), assess(plan, worse)
    if accounting and any("does not add up" in finding.text for finding in before.findings):
        return
    assert _BADNESS[after.judgement] >= _BADNESS[before.judgement]
    for old, new in zip(before.objectives, after.objectives, strict=True):
        assert _BADNESS[new.judgement] >= _BADNESS[old.judgement], (old, new)
