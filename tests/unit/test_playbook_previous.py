"""The run before: which it is, what is taken from it, and that the journal pins it."""

import json
from pathlib import Path
from typing import Any

import pytest

from exitdrill.errors import EvidenceError, UsageError
from exitdrill.evidence.findings import PREVIOUS, pinned
from exitdrill.evidence.journal import read_journal
from exitdrill.model.findings import EarlierFinding
from exitdrill.plan.drill import DrillPlan
from exitdrill.playbook.engine import finish
from exitdrill.playbook.previous import keep_previous, known_previous
from exitdrill.playbook.run import Run, RunOptions, declare, reopen
from exitdrill.playbook.standing import findings_of
from exitdrill.testing.runs import make_plan


@pytest.fixture
def plan(tmp_path: Path) -> DrillPlan:
    return make_plan(path=str(tmp_path / "drill.yaml"))


@pytest.fixture(autouse=True)
def ids_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one second are in the order in which they were declared."""
    numbers = iter(range(100))
    monkeypatch.setattr("exitdrill.playbook.run._run_id", lambda now: f"{now:%Y%m%d}-{next(numbers):06}-aaaaaa")


def _ended(plan: DrillPlan, runs: Path) -> Run:
    """A run in which nothing was done: its verdict says so."""
    run = declare(plan, runs)
    finish(run)
    return run


def _events(run: Run) -> list[Any]:
    return [event for event in read_journal(run.directory.journal) if event["event"] == PREVIOUS]


def test_the_newest_run_of_the_same_drill_with_a_verdict_is_the_one_before(tmp_path: Path, plan: DrillPlan) -> None:
    """Not another drill's, not one without a verdict; and none for the first."""
    runs = tmp_path / "runs"
    first = _ended(plan, runs)
    assert known_from(first) is None
    assert _events(first) == []
    _ended(make_plan(path=plan.path, name="another"), runs)
    declare(plan, runs).close()  # lost before its end
    (runs / "junk").mkdir()
    (runs / "junk" / "run.json").write_text("{")
    (runs / "junk" / "verdict.json").write_text("{")
    last = _ended(plan, runs)
    (event,) = _events(last)
    assert event["run"] == first.id
    record = json.loads(last.directory.record.read_text())
    assert [one["code"] for one in record["previous"]["findings"]][:1] == ["run-incomplete"]


def known_from(run: Run) -> Any:
    return json.loads(run.directory.record.read_text())["previous"]


def test_what_is_only_looked_at_has_no_run_before(tmp_path: Path, plan: DrillPlan) -> None:
    """``exitdrill check`` compares nothing."""
    _ended(plan, tmp_path / "runs")
    run = declare(plan, tmp_path / "runs", RunOptions(looking=True))
    assert known_previous(run.state) is None
    run.close()


def test_a_run_taken_up_again_keeps_to_it_and_pins_what_a_crash_left_unpinned(tmp_path: Path, plan: DrillPlan) -> None:
    """A newer run in between changes nothing; the line is there once."""
    runs = tmp_path / "runs"
    first = _ended(plan, runs)
    second = declare(plan, runs)
    kept = known_previous(second.state)
    assert kept is not None
    assert kept.run_id == first.id
    second.close()
    _ended(plan, runs)
    again = reopen(second.directory.path)
    assert known_previous(again.state) == kept
    assert len(_events(again)) == 1
    again.close()
    third = declare(make_plan(path=plan.path, name="crashed"), runs)

    class Gone:
        """A journal that the process did not get to."""

        def record(self, event: str, **_facts: object) -> None:
            """Nothing."""

    keep_previous(kept, third.state, Gone())  # type: ignore[arg-type]  # that is what it is for
    third.close()
    taken_up = reopen(third.directory.path)
    (event,) = _events(taken_up)
    assert event["findings_sha256"] == pinned(kept)
    taken_up.close()


def test_a_verdict_that_was_changed_is_not_believed_and_stops_no_drill(tmp_path: Path, plan: DrillPlan) -> None:
    """The next run says so in a warning, and takes nothing from it."""
    runs = tmp_path / "runs"
    first = _ended(plan, runs)
    text = first.directory.verdict.read_text()
    first.directory.verdict.write_text(text.replace('"failed"', '"met"'))
    with pytest.raises(EvidenceError, match="not the one with which the run closed its journal"):
        findings_of(first.directory.path)
    second = _ended(plan, runs)
    known = known_from(second)
    assert (known["findings"], len(known["refused"])) == ([], 1)
    verdict = json.loads(second.directory.verdict.read_text())
    assert any(one["code"] == "addition-refused" for one in verdict["findings"])


def test_a_run_without_a_verdict_has_no_findings_yet(tmp_path: Path, plan: DrillPlan) -> None:
    """And says where to look."""
    run = declare(plan, tmp_path / "runs")
    run.close()
    with pytest.raises(UsageError, match="no verdict yet"):
        findings_of(run.directory.path)


def test_what_is_pinned_is_every_field(tmp_path: Path, plan: DrillPlan) -> None:
    """A snapshot with another text, or one finding less, has another digest."""
    runs = tmp_path / "runs"
    _ended(plan, runs)
    run = _ended(plan, runs)
    known = known_from(run)
    assert set(known["findings"][0]) == set(EarlierFinding.__dataclass_fields__)
    (event,) = _events(run)
    state = reopen(run.directory.path)
    kept = known_previous(state.state)
    state.close()
    assert kept is not None
    assert event["findings_sha256"] == pinned(kept)
    assert pinned(type(kept)(kept.run_id, kept.verdict_sha256, kept.findings[1:])) != pinned(kept)
