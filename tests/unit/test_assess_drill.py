"""The drill as a whole: what makes it fail, its clocks, the cut, teardown, and what surrounds the judgement."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exitdrill.assess import assess
from exitdrill.clock import Lap
from exitdrill.model.codec import dump, load
from exitdrill.model.record import (
    Attempt,
    Check,
    PlaceRecord,
    RunRecord,
    RunStatus,
    StepRecord,
    StepStatus,
    TeardownRecord,
)
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity, Verdict
from exitdrill.plan.drill import DrillPlan, Mode, Objectives, Phase, Playbook
from exitdrill.testing.runs import SEVERED, T0, make_asset, make_measured, make_plan, make_record

_NS = 1_000_000_000
_HOUR_NS = 3600 * _NS


def _result(verdict: Verdict, objective: str, subject: str = "drill") -> ObjectiveResult:
    (found,) = [item for item in verdict.objectives if (item.objective, item.subject) == (objective, subject)]
    return found


def _finding(verdict: Verdict, part: str) -> Finding:
    (found,) = [finding for finding in verdict.findings if part in finding.text]
    return found


def _without(plan: DrillPlan, *names: str) -> DrillPlan:
    phases = tuple(phase for phase in plan.playbook.phases if phase.name not in names)
    return replace(plan, playbook=Playbook(plan.playbook.name, phases))


def test_a_run_in_which_all_went_well_is_met_without_findings() -> None:
    """Nothing is found where nothing is to be found."""
    plan = make_plan()
    verdict = assess(plan, make_record(plan))
    assert verdict.judgement is Judgement.MET
    assert verdict.exit_code == 0
    assert verdict.findings == ()
    assert verdict.rta_seconds == 7200
    assert verdict.rpa_seconds == 300
    assert verdict.environment == "real"
    assert [item.subject for item in verdict.objectives] == ["drill"] * 4 + ["case-files"] * 4


def test_the_verdict_of_a_record_read_back_is_the_same() -> None:
    """An auditor who recomputes the verdict from record.json gets the same one."""
    plan = make_plan()
    record = make_record(plan, make_measured(lost_changes=2, oldest_lost_change_utc=T0))
    again = load(RunRecord, dump(record), "record.json")
    assert dump(assess(plan, again)) == dump(assess(plan, record))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(RunStatus.STOPPED, "resume"), (RunStatus.FAILED, "resume"), (RunStatus.RUNNING, "wait")],
)
def test_a_run_that_did_not_complete_failed_and_one_finding_says_why(status: RunStatus, remedy: str) -> None:
    """Nothing is proven by it; only teardown, which always runs, keeps its own judgement."""
    plan = make_plan()
    verdict = assess(plan, make_record(plan, make_measured(recovered_elapsed_ns=None), status=status, error="no space"))
    assert verdict.judgement is Judgement.FAILED
    assert verdict.exit_code == 4
    (why,) = verdict.findings
    assert "no space" in why.text
    assert remedy in why.remedy
    assert why.severity is Severity.CRITICAL
    judged = {item.objective: item.judgement for item in verdict.objectives if item.subject == "drill"}
    assert judged == {
        "RTO": Judgement.FAILED,
        "RPO": Judgement.FAILED,
        "severance": Judgement.FAILED,
        "teardown": Judgement.MET,
    }


def test_what_is_not_set_stays_not_set_in_a_drill_that_failed() -> None:
    """Failure does not invent objectives."""
    plan = make_plan(objectives=Objectives())
    verdict = assess(plan, make_record(plan, status=RunStatus.FAILED))
    assert _result(verdict, "RTO").judgement is Judgement.NOT_SET


def test_a_record_of_another_plan_proves_nothing() -> None:
    """A good record cannot be lent to a stricter plan."""
    verdict = assess(make_plan(objectives=Objectives(timedelta(hours=1))), make_record(make_plan()))
    assert verdict.judgement is Judgement.FAILED
    assert _finding(verdict, "another plan").severity is Severity.CRITICAL


def test_mode_full_on_an_emulator_fails_and_a_rehearsal_there_is_noted() -> None:
    """A rehearsal never passes for a real drill."""
    full = make_plan()
    emulated = PlaceRecord("azure", "source", "azure", "emulator", "azurite")
    verdict = assess(full, make_record(full, places=(emulated,)))
    assert verdict.judgement is Judgement.FAILED
    assert verdict.environment == "emulator"
    places = {**full.places, "azure": replace(full.places["azure"], emulator="azurite")}
    rehearsal = make_plan(mode=Mode.REHEARSAL, places=places)
    verdict = assess(rehearsal, make_record(rehearsal))
    assert verdict.judgement is Judgement.MET
    assert verdict.environment == "emulator"
    assert _finding(verdict, "proves the method, not the provider").severity is Severity.NOTE


@pytest.mark.parametrize(("mode", "text"), [(Mode.REHEARSAL, "rehearsal"), (Mode.SAMPLE, "a sample")])
def test_less_than_a_full_drill_is_noted(mode: Mode, text: str) -> None:
    """The reader is told what a drill of a lesser mode does not show."""
    plan = make_plan(mode=mode)
    assert _finding(assess(plan, make_record(plan)), text).severity is Severity.NOTE


def test_completed_with_a_failed_critical_step_is_a_contradiction_and_failed() -> None:
    """The status alone is not believed."""
    plan = make_plan()
    steps = (StepRecord("rebuild", "rebuild", StepStatus.FAILED, error="500"),)
    verdict = assess(plan, make_record(plan, steps=steps))
    assert verdict.judgement is Judgement.FAILED
    assert _finding(verdict, "500").remedy == "by hand: do rebuild by hand"
    assert _finding(verdict, "says it completed").severity is Severity.CRITICAL


def test_after_a_resume_the_last_record_of_a_step_counts() -> None:
    """A step that was stopped and then done is done."""
    plan = make_plan()
    steps = tuple(StepRecord("rebuild", "rebuild", status) for status in (StepStatus.STOPPED, StepStatus.DONE))
    assert assess(plan, make_record(plan, steps=steps)).findings == ()


def test_a_failed_step_of_a_non_critical_asset_is_a_warning() -> None:
    """The drill can do without it."""
    plan = make_plan(make_asset(), make_asset("logs", critical=False))
    steps = (
        StepRecord("rebuild", "rebuild", StepStatus.FAILED, "logs"),
        StepRecord("verify", "verify", StepStatus.NOT_ATTEMPTED, "logs"),
        StepRecord("own", "verify", StepStatus.FAILED),
    )
    verdict = assess(plan, make_record(plan, steps=steps))
    assert verdict.judgement is Judgement.MET
    assert {finding.severity for finding in verdict.findings} == {Severity.WARNING}
    assert "verify (logs)" in _finding(verdict, "not attempted").text


def test_a_step_not_attempted_is_named_without_an_asset_too() -> None:
    """Steps of the drill itself."""
    plan = make_plan()
    steps = (StepRecord("own", "verify", StepStatus.NOT_ATTEMPTED),)
    assert _finding(assess(plan, make_record(plan, steps=steps)), "not attempted").text.endswith("failed: own")


def test_an_approval_without_a_name_is_a_warning() -> None:
    """Approval means somebody, not something."""
    plan = make_plan()
    first = plan.playbook.phases[0]
    phases = (Phase("declare", (replace(first.steps[0], approval=True),)), *plan.playbook.phases[1:])
    plan = replace(plan, playbook=Playbook("plan-b", phases))
    unnamed = make_record(plan)
    assert _finding(assess(plan, unnamed), "needs an approval").severity is Severity.WARNING
    named = replace(unnamed, steps=(replace(unnamed.steps[0], approved_by="J. Jansen"), *unnamed.steps[1:]))
    assert assess(plan, named).findings == ()


@pytest.mark.parametrize(
    ("elapsed_ns", "judgement"),
    [(24 * _HOUR_NS, Judgement.MET), (24 * _HOUR_NS + 1, Judgement.MISSED), (None, Judgement.MISSED)],
)
def test_the_drill_s_rto_is_met_to_the_nanosecond(elapsed_ns: int | None, judgement: Judgement) -> None:
    """On the second is in time; not recovered is never in time."""
    plan = make_plan()
    verdict = assess(plan, make_record(plan, recovered_elapsed_ns=elapsed_ns))
    assert _result(verdict, "RTO").judgement is judgement
    assert verdict.judgement is judgement
    assert verdict.exit_code == (0 if judgement is Judgement.MET else 1)


def test_without_objectives_times_are_shown_and_the_drill_can_be_met() -> None:
    """A first drill may only measure."""
    plan = make_plan(objectives=Objectives())
    verdict = assess(plan, make_record(plan))
    assert verdict.judgement is Judgement.MET
    assert (_result(verdict, "RTO").actual, _result(verdict, "RTO").judgement) == ("2:00:00", Judgement.NOT_SET)
    assert _result(verdict, "RPO").judgement is Judgement.NOT_SET


def test_the_drill_is_not_recovered_before_its_last_critical_asset() -> None:
    """A record that claims so is not believed; the worse counts, and a finding says it."""
    plan = make_plan(objectives=Objectives(rto=timedelta(hours=3)))
    late = make_measured(recovered_elapsed_ns=4 * _HOUR_NS)
    verdict = assess(plan, make_record(plan, late))
    assert verdict.rta_seconds == 4 * 3600
    assert verdict.judgement is Judgement.MISSED
    assert _finding(verdict, "contradicts itself").severity is Severity.WARNING
    never = assess(plan, make_record(plan, replace(late, recovered_elapsed_ns=None)))
    assert never.rta_seconds is None
    assert "never" in _finding(never, "contradicts itself").text


def test_the_drill_s_rpa_is_the_worst_of_its_critical_assets() -> None:
    """A non-critical asset does not count, unless there are no others."""
    plan = make_plan(make_asset("a"), make_asset("b"), make_asset("c", critical=False))
    assets = [
        make_measured(name, last_look_utc=SEVERED - timedelta(minutes=m))
        for name, m in zip("abc", (1, 2, 600), strict=True)
    ]
    verdict = assess(plan, make_record(plan, *assets))
    assert verdict.rpa_seconds == 120
    assert "b: " in _result(verdict, "RPO").actual
    light = make_plan(make_asset("c", critical=False))
    verdict = assess(light, make_record(light, assets[2]))
    assert verdict.rpa_seconds == 36_000
    assert verdict.judgement is Judgement.MISSED


def test_an_rpo_without_a_measurement_is_missed() -> None:
    """One critical asset that was not measured leaves the drill's RPA open."""
    plan = make_plan(make_asset("a"), make_asset("b"))
    verdict = assess(plan, make_record(plan, make_measured("a"), make_measured("b", last_look_utc=None)))
    assert verdict.rpa_seconds is None
    assert _result(verdict, "RPO").judgement is Judgement.MISSED


def _severed(record: RunRecord, **changes: object) -> RunRecord:
    assert record.severance is not None
    return replace(record, severance=replace(record.severance, **changes))  # type: ignore[arg-type]  # replace checks


@pytest.mark.parametrize(
    ("changes", "text", "shown"),
    [
        ({"holds": False}, "did not hold", "not proven"),
        ({"probed": ()}, "none was probed", "not proven"),
        (
            {"attempts": (Attempt("login.example:443", 3, "rebuild"),)},
            "login.example:443 (rebuild, 3 times)",
            "held, 3",
        ),
        ({"attempts": tuple(Attempt(f"h{n}:1", 1, "verify") for n in range(12))}, "and 2 more", "held, 12"),
    ],
)
def test_a_cut_that_is_not_proven_is_missed(changes: dict[str, object], text: str, shown: str) -> None:
    """Each way in which the source may still have been there."""
    plan = make_plan()
    verdict = assess(plan, _severed(make_record(plan), **changes))
    assert verdict.judgement is Judgement.MISSED
    assert _finding(verdict, text).severity is Severity.CRITICAL
    assert _result(verdict, "severance").actual.startswith(shown)


def test_a_source_without_endpoints_has_nothing_to_probe() -> None:
    """A folder as the source, in a rehearsal."""
    plan = make_plan()
    record = _severed(make_record(plan, places=()), probed=())
    assert assess(plan, record).judgement is Judgement.MET


def test_without_a_sever_step_severance_is_not_set_and_warned_about() -> None:
    """With the step but without the cut it is missed."""
    bare = _without(make_plan(objectives=Objectives()), "sever")
    verdict = assess(bare, make_record(bare, severance=None))
    assert _result(verdict, "severance").judgement is Judgement.NOT_SET
    assert _finding(verdict, "no sever step").severity is Severity.WARNING
    assert verdict.judgement is Judgement.MET
    plan = make_plan()
    verdict = assess(plan, make_record(plan, severance=None))
    assert _result(verdict, "severance").judgement is Judgement.MISSED
    assert _result(verdict, "RPO").judgement is Judgement.MISSED


@pytest.mark.parametrize(
    ("teardown", "keep", "judgement", "severity"),
    [
        (TeardownRecord(complete=True), False, Judgement.MET, None),
        (TeardownRecord(kept=True), True, Judgement.MET, Severity.NOTE),
        (TeardownRecord(kept=True), False, Judgement.MET, Severity.WARNING),
        (TeardownRecord(complete=True, left=("bucket x: denied",)), False, Judgement.MISSED, Severity.CRITICAL),
        (TeardownRecord(left=tuple(f"o{n}" for n in range(12))), False, Judgement.MISSED, Severity.CRITICAL),
        (TeardownRecord(), False, Judgement.MISSED, Severity.CRITICAL),
        (None, False, Judgement.MISSED, Severity.CRITICAL),
    ],
)
def test_teardown_leaves_nothing_or_is_missed(
    teardown: TeardownRecord | None, keep: bool, judgement: Judgement, severity: Severity | None
) -> None:
    """Complete or kept, and what is left is named."""
    plan = make_plan(keep=keep)
    verdict = assess(plan, make_record(plan, teardown=teardown))
    assert _result(verdict, "teardown").judgement is judgement
    assert [finding.severity for finding in verdict.findings] == ([] if severity is None else [severity])


def test_a_playbook_without_teardown_is_warned_about() -> None:
    """It is not an objective there, but somebody must clean up."""
    plan = _without(make_plan(), "teardown")
    verdict = assess(plan, make_record(plan, teardown=None))
    assert _result(verdict, "teardown").judgement is Judgement.NOT_SET
    assert _finding(verdict, "still there").severity is Severity.WARNING


def test_clocks_that_cannot_be_trusted_are_warned_about() -> None:
    """Backwards steps of ours, offsets of theirs; forward steps and small offsets are no news."""
    plan = make_plan()
    places = (
        PlaceRecord("azure", "source", "azure", "cloud", clock_offset_seconds=-60.0),
        PlaceRecord("aws", "target", "s3", "cloud", clock_offset_seconds=30.0),
    )
    verdict = assess(plan, make_record(plan, clock_steps_ns=(5 * _NS, -2 * _NS, -_NS), places=places))
    assert verdict.judgement is Judgement.MET
    assert "2 times, by 0:00:03.0" in _finding(verdict, "backwards").text
    assert _finding(verdict, "behind").subject == "azure"
    assert _finding(verdict, "ahead").severity is Severity.WARNING


def test_a_resume_and_its_downtime_are_noted() -> None:
    """Downtime is never subtracted, and said."""
    plan = make_plan()
    verdict = assess(plan, make_record(plan, sessions=2, laps=(Lap("downtime", T0, 0, 61 * _NS),)))
    assert _finding(verdict, "resumed 1 time;").text.endswith("0:01:01 of downtime counted into the drill")


def test_preflight_s_warnings_are_kept() -> None:
    """Not ready is a warning, ready with something to do a note, ready alone nothing."""
    plan = make_plan()
    checks = (
        Check("space", "vault", ready=False, found="1 GB free"),
        Check("keys", "aws", ready=True, found="one long key", action="rename: percent"),
        Check("clock", "aws", ready=True, found="in step"),
    )
    verdict = assess(plan, make_record(plan, checks=checks))
    assert [(finding.severity, finding.remedy) for finding in verdict.findings] == [
        (Severity.WARNING, "put it right before the next drill"),
        (Severity.NOTE, "rename: percent"),
    ]


def test_findings_are_numbered_by_severity_then_drill_places_assets_in_order() -> None:
    """The same record always gives the same ids."""
    plan = make_plan(make_asset("z"), make_asset("a"), objectives=Objectives(timedelta(hours=1)))
    record = make_record(
        plan,
        make_measured("z", error="z broke"),
        make_measured("a", error="a broke"),
        make_measured("stranger"),
        clock_steps_ns=(-1,),
        places=(PlaceRecord("aws", "target", "s3", "cloud", clock_offset_seconds=99.0),),
        sessions=2,
    )
    found = assess(plan, record).findings
    assert [(finding.id, finding.severity.value, finding.subject) for finding in found] == [
        ("F001", "critical", "drill"),
        ("F002", "critical", "z"),
        ("F003", "critical", "a"),
        ("F004", "warning", "drill"),
        ("F005", "warning", "aws"),
        ("F006", "warning", "stranger"),
        ("F007", "note", "drill"),
    ]
    assert assess(plan, record).findings == found
