"""Findings from run to run: what is open again, closed, new, overdue, and whose it is."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.assess import assess
from exitdrill.model.codec import dump, load
from exitdrill.model.findings import BY_PERSON, EarlierFinding, PreviousRun, Severity, Standing, fingerprint
from exitdrill.model.record import LossCount, RunRecord, RunStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.testing.runs import T0, make_measured, make_plan, make_record

_DUE = {"critical": timedelta(days=30), "warning": timedelta(days=90)}
_LOSS = LossCount("tags", "the target has none", 3, "k")
_LATER = T0.date() + timedelta(days=90)


def _drill(*losses: LossCount, **more: object) -> tuple[DrillPlan, RunRecord]:
    plan = make_plan(due=_DUE)
    return plan, make_record(plan, make_measured(losses=losses), **more)


def _earlier(code: str = "metadata-lost", about: str = "tags", **more: object) -> EarlierFinding:
    mark = fingerprint(code, "case-files", about)
    known = EarlierFinding(mark, code, Severity.WARNING, "case-files", "then", "do it", "20250101-000000-aa")
    return replace(known, **more)  # type: ignore[arg-type]  # its fields


def _after(record: RunRecord, *earlier: EarlierFinding, refused: tuple[str, ...] = ()) -> RunRecord:
    return replace(record, previous=PreviousRun("20250401-000000-bb", "ab" * 32, earlier, refused))


def _standings(verdict: Verdict) -> list[Standing]:
    assert verdict.comparison is not None
    return [item.standing for item in verdict.comparison.items]


def test_a_first_run_compares_with_nothing_and_sets_owner_and_date() -> None:
    """The asset's owner, the drill's terms from the day of the declaration, and this run as the first."""
    verdict = assess(*_drill(_LOSS))
    (found,) = verdict.findings
    assert verdict.comparison is None
    assert (found.code, found.owner, found.due) == ("metadata-lost", "records office", _LATER)
    assert (found.since, found.set_by) == (verdict.run_id, "")


def test_numbers_and_texts_are_no_part_of_an_identity() -> None:
    """Three lost tags, or five for another reason: the same finding. Another field: another."""
    one, same, other = (
        assess(*_drill(loss)).findings[0].fingerprint
        for loss in (_LOSS, LossCount("tags", "no room", 5, "z"), LossCount("user", "no room", 5, "z"))
    )
    assert one == same != other


def test_open_again_closed_and_new() -> None:
    """What both runs have keeps its first run and date; what only the earlier had is closed; the rest is new."""
    plan, record = _drill(_LOSS, LossCount("user", "no", 1, "k"))
    kept = date(2026, 2, 1)
    verdict = assess(plan, _after(record, _earlier(due=kept), _earlier("clock-offset", "")))
    assert _standings(verdict) == [Standing.OPEN_AGAIN, Standing.CLOSED]
    again, new = sorted(verdict.findings, key=lambda one: one.since)
    assert (again.since, again.due) == ("20250101-000000-aa", kept)
    assert (new.since, new.due) == (verdict.run_id, _LATER)
    assert load(Verdict, dump(verdict), "verdict.json") == verdict


def test_a_run_that_failed_closes_nothing() -> None:
    """That a finding is not there says nothing where nothing is proven."""
    plan, record = _drill(status=RunStatus.FAILED, error="x")
    verdict = assess(plan, _after(record, _earlier("clock-offset", "")))
    assert _standings(verdict) == [Standing.NOT_JUDGED]


@pytest.mark.parametrize(
    ("one", "standing"),
    [
        (_earlier("clock-offset", "", subject="gone-asset"), Standing.NOT_JUDGED),
        (_earlier("placement-breached", ""), Standing.NOT_JUDGED),
        (_earlier("clock-offset", ""), Standing.CLOSED),
    ],
)
def test_a_drill_that_does_not_look_closes_nothing(one: EarlierFinding, standing: Standing) -> None:
    """An asset or a policy that was taken out of the drill takes no finding with it."""
    plan, record = _drill()
    verdict = assess(plan, _after(record, one))
    assert _standings(verdict) == [standing]
    assert verdict.comparison is not None
    assert not verdict.comparison.same_plan


def test_a_persons_finding_stays_open_until_a_person_closes_it() -> None:
    """No run can tell whether it is done."""
    plan, record = _drill()
    mine = _earlier(BY_PERSON, "1")
    done = replace(_earlier(BY_PERSON, "2"), closed_by="B", closed_reason="done")
    assert _standings(assess(plan, _after(record, mine, done))) == [Standing.STILL_OPEN, Standing.CLOSED]


def test_what_was_closed_by_hand_and_is_found_again_is_open_again() -> None:
    """A reason does not make it go away."""
    plan, record = _drill(_LOSS)
    verdict = assess(plan, _after(record, _earlier(closed_by="B", closed_reason="fixed")))
    assert _standings(verdict) == [Standing.OPEN_AGAIN]


def test_the_owner_a_person_gave_stays_and_another_follows_the_drill() -> None:
    """Who set it is kept, too."""
    plan, record = _drill(_LOSS)
    (given_,) = assess(plan, _after(record, _earlier(owner="C. de Vries", set_by="B"))).findings
    assert (given_.owner, given_.set_by) == ("C. de Vries", "B")
    (followed,) = assess(plan, _after(record, _earlier(owner="old office"))).findings
    assert followed.owner == "records office"


@pytest.mark.parametrize(("due", "late"), [(T0.date(), False), (T0.date() - timedelta(days=1), True)])
def test_what_is_open_past_its_date_is_a_warning(due: date, late: bool) -> None:
    """From the day after; and not for what is closed."""
    plan, record = _drill(_LOSS)
    verdict = assess(plan, _after(record, _earlier(due=due, owner="X", set_by="X"), _earlier("gone", "", due=due)))
    found = [one for one in verdict.findings if one.code == "overdue"]
    assert len(found) == int(late)
    assert all(one.text.startswith(f"overdue since {due}, X: then") for one in found)
    assert all(one.severity is Severity.WARNING and one.due is None for one in found)


def test_what_is_not_believed_of_the_run_before_is_a_warning() -> None:
    """An addition whose signature fails must not vanish."""
    plan, record = _drill()
    (found,) = assess(plan, _after(record, refused=("0002.json: changed",))).findings
    assert (found.severity, "0002.json: changed" in found.text) == (Severity.WARNING, True)


_marks = st.sampled_from(["a", "b", "c", "d"])
_earliers = st.lists(
    st.builds(
        lambda code, closed, due: _earlier(code, "", closed_by=closed, due=due),
        _marks | st.just(BY_PERSON),
        st.sampled_from(["", "B"]),
        st.none() | st.dates(date(2025, 1, 1), date(2027, 1, 1)),
    ),
    max_size=5,
    unique_by=lambda one: one.fingerprint,
)


@given(_earliers, st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]))
def test_every_earlier_finding_has_one_standing(earlier: list[EarlierFinding], status: RunStatus) -> None:
    """None is dropped or doubled, none is both closed and overdue, and the verdict reads back as it was."""
    plan, record = _drill(_LOSS, status=status, error="" if status is RunStatus.COMPLETED else "x")
    verdict = assess(plan, _after(record, *earlier))
    assert verdict.comparison is not None
    assert [item.earlier for item in verdict.comparison.items] == earlier
    assert not any(item.overdue and item.standing is Standing.CLOSED for item in verdict.comparison.items)
    assert load(Verdict, dump(verdict), "verdict.json") == verdict
