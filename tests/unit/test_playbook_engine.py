"""The executor, the run's memory and its record: what is done, what is not, and what is written whatever happens."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from exitdrill.clock import Lap
from exitdrill.errors import (
    EvidenceError,
    ExitdrillError,
    NoSpaceError,
    NotReadyError,
    RunError,
    RunLockedError,
    StepFailedError,
    StoppedError,
    TransientError,
)
from exitdrill.evidence.checkpoints import stored_checkpoints
from exitdrill.evidence.journal import read_journal
from exitdrill.model import codec
from exitdrill.model.record import Check, RunRecord, RunStatus, StepRecord, StepStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import Asset, DrillPlan, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.playbook import action as actions
from exitdrill.playbook import engine
from exitdrill.playbook.action import Action, StepContext
from exitdrill.playbook.conductor import Answer, LocalConductor, Question
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.recording import run_record
from exitdrill.playbook.run import Run, RunOptions, Silent, declare, find, reopen
from exitdrill.playbook.state import AssetFacts, State
from exitdrill.transfer.layout import write_atomic


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.utc, self.ns = datetime(2026, 1, 1, tzinfo=UTC), 0

    def utc_now(self) -> datetime:
        return self.utc

    def monotonic_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.go(seconds)

    def go(self, seconds: float, wall: float | None = None) -> None:
        self.ns += int(seconds * 1e9)
        self.utc += timedelta(seconds=seconds if wall is None else wall)


Script = Callable[[StepContext], None]
_script: dict[str, Script] = {}
_done: list[str] = []


class Do(Action):
    """Does what the test wrote down for the step."""

    def run(self, ctx: StepContext) -> None:
        name = ctx.step.id if ctx.asset is None else f"{ctx.step.id} {ctx.asset.name}"
        _done.append(name)
        if (script := _script.get(name)) is not None:
            script(ctx)


class DoEach(Do):
    per_asset: ClassVar[bool] = True


class DoAlways(Do):
    always: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The actions of these tests, as somebody else's package would register them."""
    points = {n: EntryPoint(n, f"{__name__}:{c}", actions.GROUP) for n, c in
              (("do", "Do"), ("each", "DoEach"), ("always", "DoAlways"), ("wrong", "Clock"))}  # fmt: skip
    monkeypatch.setattr(actions, "_entry_points", lambda: points)
    _script.clear()
    _done.clear()


def _step(name: str, uses: str = "do", **more: object) -> Step:
    return Step(name, uses, f"why {name}", f"by hand {name}", **more)  # type: ignore[arg-type]


def _plan(*steps: Step, assets: tuple[Asset, ...] | None = None) -> DrillPlan:
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "b"})
    return DrillPlan(
        "d", Mode.REHEARSAL, Objectives(),
        {n: Place(n, "local", {"path": f"./{n}"}) for n in ("here", "vault", "there")},
        Route("here", "vault", "there"), assets or (asset,),
        Playbook("p", tuple(Phase(f"phase {s.id}", (s,)) for s in steps)),
    )  # fmt: skip


def _raise(error: Exception) -> Script:
    def script(_ctx: StepContext) -> None:
        raise error

    return script


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def conductor() -> Iterator[LocalConductor]:
    made = LocalConductor(lambda q: Answer("Ada", f"asked for {q.kind}"))
    yield made
    made.close()


def _events(run: Run) -> list[str]:
    return [str(e["event"]) for e in read_journal(run.directory.journal)]


def _status(run: Run, step: str, asset: str | None = None) -> StepStatus | None:
    record = run_record(run, RunStatus.RUNNING)
    return next((s.status for s in record.steps if (s.id, s.asset) == (step, asset)), None)


# steps


def test_steps_in_order_once(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Steps run in the playbook's order, and what is done is not done again after a resume; T0 stays."""
    plan = _plan(_step("a"), _step("b"), _step("c"))
    run = declare(plan, tmp_path, clock=clock)
    t0 = run.clock.t0_utc
    clock.go(10)
    execute(run, conductor, before="phase c")
    assert _done == ["a", "b"]
    finish(run)
    clock.go(100)
    run = reopen(run.directory.path, clock=clock)
    execute(run, conductor)
    assert _done == ["a", "b", "c"]
    assert (run.clock.t0_utc, run.clock.elapsed_ns, run.session) == (t0, 110_000_000_000, 2)
    record = run_record(run, RunStatus.COMPLETED)
    assert [(lap.name, lap.duration_ns) for lap in record.laps if lap.name == "downtime"] == [("downtime", 100 * 10**9)]
    verdict = finish(run)
    assert json.loads(run.directory.record.read_bytes())["status"] == "completed"
    assert verdict.run_id == run.id
    assert find(tmp_path, "last") == find(tmp_path, run.id[:15]) == run.directory.path
    assert find(tmp_path, "a/b") == Path("a/b")
    with pytest.raises(ExitdrillError, match="no run is called"):
        find(tmp_path, "zzz")


def test_a_failed_step_ends_the_drill_and_teardown_runs(
    tmp_path: Path, clock: Clock, conductor: LocalConductor
) -> None:
    """After a critical step failed those behind it are not attempted, teardown is; the journal has the whole error."""
    _script["a"] = _raise(RunError("first line " + "x" * 500 + "\nsecond line", hint="hint"))
    run = declare(_plan(_step("a"), _step("b"), _step("t", "always")), tmp_path, clock=clock)
    with pytest.raises(StepFailedError, match="step 'a' failed"):
        execute(run, conductor)
    assert _done == ["a", "t"]
    finish(run)
    record = json.loads(run.directory.record.read_bytes())
    assert record["status"] == "failed"
    assert "second line" not in record["error"]
    assert max(len(record["error"]), *(len(s["error"]) for s in record["steps"])) <= 300
    assert "second line" in next(str(e["error"]) for e in _journal(run) if e["event"] == "step ends")


def _journal(run: Run) -> list[dict[str, object]]:
    return [dict(e) for e in read_journal(run.directory.journal)]


def test_what_nobody_foresaw_is_no_success(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """A fault in the program leaves its step failed, not done: teardown runs, and a resume does the step again."""
    _script["a"] = _raise(KeyError("surprise"))
    run = declare(_plan(_step("a"), _step("t", "always")), tmp_path, clock=clock)
    with pytest.raises(KeyError):
        execute(run, conductor)
    assert _done == ["a", "t"]
    assert _status(run, "a") is StepStatus.FAILED
    assert finish(run).exit_code == 4
    assert "unexpected KeyError" in json.loads(run.directory.record.read_bytes())["error"]
    _script.clear()
    run = reopen(run.directory.path, clock=clock)
    execute(run, conductor)
    assert _done == ["a", "t", "a"]
    finish(run)


def test_a_step_that_is_not_critical(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """The drill goes on after it failed, and the record says so."""
    _script["a"] = _raise(RunError("no"))
    run = declare(_plan(_step("a", critical=False), _step("b")), tmp_path, clock=clock)
    execute(run, conductor)
    assert (_done, _status(run, "a"), _status(run, "b")) == (["a", "b"], StepStatus.FAILED, StepStatus.DONE)
    finish(run)


def test_retries_are_for_what_is_transient(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """A transient error is tried again as often as the step says, another one is not."""
    _script["a"] = _raise(TransientError("503"))
    _script["b"] = _raise(RunError("no"))
    run = declare(_plan(_step("a", retries=2, critical=False), _step("b", retries=2)), tmp_path, clock=clock)
    with pytest.raises(StepFailedError):
        execute(run, conductor)
    assert (_done.count("a"), _done.count("b")) == (3, 1)
    assert next(s.attempts for s in run_record(run, RunStatus.FAILED).steps if s.id == "a") == 3
    finish(run)


@pytest.mark.parametrize("heeds", [True, False])
def test_a_step_over_its_limit_fails(tmp_path: Path, conductor: LocalConductor, heeds: bool) -> None:
    """A step that takes too long fails, whether it stops when asked or ends late by itself; the next one is not hit."""

    def slow(ctx: StepContext) -> None:
        assert ctx.run.stop.wait(20)
        if heeds:
            raise StoppedError("stopped")

    _script["a"] = slow
    limit = timedelta(seconds=0.2)
    run = declare(_plan(_step("a", critical=False, timeout=limit), _step("b")), tmp_path)
    execute(run, conductor)
    assert _done == ["a", "b"]
    assert not run.stop.is_set()
    record = run_record(run, RunStatus.COMPLETED)
    assert "longer than its limit" in next(s.error for s in record.steps if s.id == "a")
    finish(run)


def test_stopped_runs_are_resumed(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Stopping is no failure: no teardown, the run is stopped, and a resume goes on at the same step."""

    def stop(ctx: StepContext) -> None:
        ctx.run.stop.set()
        raise StoppedError("stopped")

    _script["a"] = stop
    run = declare(_plan(_step("a"), _step("t", "always")), tmp_path, clock=clock)
    with pytest.raises(StoppedError):
        execute(run, conductor)
    assert _done == ["a"]
    finish(run)
    assert json.loads(run.directory.record.read_bytes())["status"] == "stopped"
    _script.clear()
    run = reopen(run.directory.path, clock=clock)
    run.stop.set()
    with pytest.raises(StoppedError, match="resume"):
        execute(run, conductor)
    run.stop.clear()
    run.error = None
    execute(run, conductor)
    assert _done == ["a", "a", "t"]
    finish(run)


def test_an_action_that_is_none(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """A name without an action, and an entry point that is no action, say so."""
    for name in ("nothing", "wrong"):
        run = declare(_plan(_step("a", name)), tmp_path, clock=clock)
        with pytest.raises(StepFailedError, match=r"[aA]ction"):
            execute(run, conductor)
        finish(run)


# people


def test_people_are_asked_and_waited_for(tmp_path: Path, clock: Clock) -> None:
    """A manual step and an approval wait in laps of their own; who answered is in the record, and asked once."""
    asked: list[Question] = []

    def ask(question: Question) -> Answer:
        asked.append(question)
        clock.go(30)
        return Answer("Ada", "by phone")

    conductor = LocalConductor(ask)
    run = declare(_plan(_step("m", "manual"), _step("a", approval=True)), tmp_path, clock=clock)
    execute(run, conductor)
    record = run_record(run, RunStatus.COMPLETED)
    assert [(q.step, q.kind) for q in asked] == [("m", "manual"), ("a", "approval")]
    assert {s.id: s.approved_by for s in record.steps} == {"m": "Ada", "a": "Ada"}
    waits = [lap for lap in record.laps if lap.name.startswith("waiting")]
    assert [(lap.duration_ns, lap.waiting_ns) for lap in waits] == [(30 * 10**9, 30 * 10**9)] * 2
    finish(run)
    conductor.close()


def test_answers_given_beforehand(tmp_path: Path, clock: Clock) -> None:
    """An answer given beforehand needs nobody; without one and without a person the drill is not ready."""
    conductor = LocalConductor()
    plan = _plan(_step("m", "manual"), _step("n", "manual"), _step("t", "always", approval=True))
    run = declare(plan, tmp_path, RunOptions({"m": "Ada"}), clock=clock)
    with pytest.raises(NotReadyError, match="--approve n=NAME"):
        execute(run, conductor)
    assert _status(run, "m") is StepStatus.DONE
    assert _done == []  # a teardown that needs an approval does not run without one either
    assert "failed" in _events(run)
    finish(run)
    conductor.close()


def test_a_person_who_declines_stops_the_run(tmp_path: Path, clock: Clock) -> None:
    """No is an answer: the run is stopped and can be resumed."""

    def decline(question: Question) -> Answer:
        raise StoppedError("Ada said no")

    conductor = LocalConductor(decline)
    run = declare(_plan(_step("a", approval=True)), tmp_path, clock=clock)
    with pytest.raises(StoppedError):
        execute(run, conductor)
    finish(run)
    conductor.close()


# assets


def _asset(name: str, *needs: str, critical: bool = True) -> Asset:
    return Asset(name, "objects", {"container": name}, {"bucket": name}, depends_on=needs, critical=critical)


def test_dependents_of_what_failed_are_not_attempted(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Assets side by side in the order of depends_on: what needs a failed one is not attempted, the others are."""
    _script["e b"] = _raise(RunError("no room"))
    assets = (_asset("a"), _asset("b", "a"), _asset("c", "b"), _asset("d"))
    run = declare(_plan(_step("e", "each"), assets=assets), tmp_path, clock=clock)
    with pytest.raises(StepFailedError, match="no room"):
        execute(run, conductor)
    assert set(_done) == {"e a", "e b", "e d"}
    assert _done.index("e a") < _done.index("e b")
    assert [_status(run, "e", n) for n in "abcd"] == [
        StepStatus.DONE, StepStatus.FAILED, StepStatus.NOT_ATTEMPTED, StepStatus.DONE,
    ]  # fmt: skip
    finish(run)
    _script.clear()
    run = reopen(run.directory.path, clock=clock)
    execute(run, conductor)
    assert _done.count("e a") == _done.count("e d") == 1
    assert {_status(run, "e", n) for n in "abcd"} == {StepStatus.DONE}
    assert not AssetFacts(run.state, "b").get("error")
    finish(run)


def test_an_asset_that_failed_once_is_not_gone_on_with(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Of an asset that is not critical and failed, no later step is attempted, and its error stays in the record."""
    _script["e a"] = _raise(RunError("gone"))
    assets = (_asset("a", critical=False), _asset("b"))
    run = declare(_plan(_step("e", "each"), _step("f", "each"), assets=assets), tmp_path, clock=clock)
    execute(run, conductor)
    assert set(_done) == {"e a", "e b", "f b"}
    assert _status(run, "f", "a") is StepStatus.NOT_ATTEMPTED
    assert "gone" in str(AssetFacts(run.state, "a").get("error"))
    record = run_record(run, RunStatus.COMPLETED)
    assert "gone" in record.assets[0].error
    finish(run)


def test_an_asset_that_is_stopped(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """When one asset was stopped, the run is; a failure beside it does not hide that."""
    _script["e a"] = _raise(StoppedError("stopped"))
    _script["e b"] = _raise(RunError("no"))
    run = declare(_plan(_step("e", "each"), assets=(_asset("a"), _asset("b"))), tmp_path, clock=clock)
    with pytest.raises(StoppedError):
        execute(run, conductor)
    assert _status(run, "e", "a") is StepStatus.STOPPED
    finish(run)


def test_recovery_counts_all_where_none_is_critical(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Without a critical asset the drill has recovered when the last of them has."""
    run = declare(_plan(assets=(_asset("a", critical=False), _asset("b", critical=False))), tmp_path, clock=clock)
    AssetFacts(run.state, "a").put("recovered_elapsed_ns", 5)
    assert run_record(run, RunStatus.RUNNING).recovered_elapsed_ns is None
    AssetFacts(run.state, "b").put("recovered_elapsed_ns", 7)
    assert run_record(run, RunStatus.RUNNING).recovered_elapsed_ns == 7
    finish(run)


# clocks


def test_clock_steps_are_seen_each_phase(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Each jump is kept once, with its sign; slewing is none; a clock set back between two processes is one too."""
    _script["a"] = lambda _ctx: clock.go(10, wall=-3590)
    _script["b"] = lambda _ctx: clock.go(7200, wall=7203)
    _script["c"] = lambda _ctx: clock.go(1, wall=61)
    run = declare(_plan(_step("a"), _step("b"), _step("c"), _step("d")), tmp_path, clock=clock)
    execute(run, conductor, before="phase d")
    finish(run)
    steps = json.loads(run.directory.record.read_bytes())["clock_steps_ns"]
    assert steps == [-3600 * 10**9, 60 * 10**9]
    elapsed = run.clock.elapsed_ns
    clock.utc -= timedelta(seconds=1000)
    run = reopen(run.directory.path, clock=clock)
    assert run.clock.elapsed_ns == elapsed
    record = run_record(run, RunStatus.RUNNING)
    assert record.clock_steps_ns == (*steps, -1000 * 10**9)
    finish(run)


def test_a_run_can_be_taken_up_after_a_year(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Drill time beyond what JSON numbers hold exactly is kept exactly: a kept run can be torn down next year."""
    run = declare(_plan(_step("a")), tmp_path, clock=clock)
    finish(run)
    clock.go(400 * 86400)
    run = reopen(run.directory.path, clock=clock)
    execute(run, conductor)
    finish(run)
    last = _journal(run)[-1]
    assert last["elapsed_ns"] == str(400 * 86400 * 10**9)
    run = reopen(run.directory.path, clock=clock)
    assert run.clock.elapsed_ns == 400 * 86400 * 10**9
    finish(run)


# the run and its state


def test_a_run_is_open_once(tmp_path: Path, clock: Clock) -> None:
    """A run that is open is locked, and free again when it is closed or could not be opened."""
    run = declare(_plan(_step("a")), tmp_path, clock=clock)
    with pytest.raises(RunLockedError):
        reopen(run.directory.path, clock=clock)
    finish(run)
    run.directory.journal.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(EvidenceError, match="altered"):
            reopen(run.directory.path, clock=clock)
    for file in run.directory.checkpoints.iterdir():
        file.unlink()
    with pytest.raises(RunError, match="never declared"):
        reopen(run.directory.path, clock=clock)


def test_seeds_are_committed_once(tmp_path: Path, clock: Clock) -> None:
    """A process killed right after the declaration: the seed in the journal is used, none drawn twice."""
    run = declare(_plan(_step("a"), assets=(_asset("a"), _asset("b"))), tmp_path, clock=clock)
    seed = AssetFacts(run.state, "a").get("seed")
    run.state._do("DELETE FROM facts")
    finish(run)
    lines = run.directory.journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"asset":"b"' not in line][:2]
    run.directory.journal.write_bytes(b"".join(kept))
    for path in run.directory.checkpoints.iterdir():  # there was none yet
        path.unlink()
    run = reopen(run.directory.path, clock=clock)
    assert AssetFacts(run.state, "a").get("seed") == seed
    assert len(str(AssetFacts(run.state, "b").get("seed"))) == 64
    seeds = [e["asset"] for e in _journal(run) if e["event"] == "sample seed"]
    assert seeds == ["a", "b"]
    finish(run)


def test_a_full_disk_at_the_end(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """A step that found the disk full ends the drill; record and verdict are written from the reserve."""
    _script["a"] = _raise(NoSpaceError("the disk is full"))
    run = declare(_plan(_step("a"), _step("t", "always")), tmp_path, clock=clock)
    with pytest.raises(NoSpaceError):
        execute(run, conductor)
    assert not (run.directory.path / "reserve").exists()
    (run.directory.path / "record.json.new").symlink_to("/dev/full")
    assert finish(run).exit_code == 4
    assert run.directory.verdict.exists()


def test_a_report_that_cannot_be_made(
    tmp_path: Path, clock: Clock, conductor: LocalConductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the page costs neither the seal nor the exit code; the journal and whoever follows are told."""

    def broken(*_arguments: object) -> bytes:
        raise ZeroDivisionError("a share of nothing")

    notes: list[str] = []
    monkeypatch.setattr(Silent, "note", lambda _self, text: notes.append(text))
    monkeypatch.setattr(engine, "encode", broken)
    run = declare(_plan(_step("a")), tmp_path, clock=clock)
    execute(run, conductor)
    verdict = finish(run)
    assert codec.load(Verdict, run.directory.verdict.read_bytes(), "verdict") == verdict
    assert not run.directory.report.exists()
    failed, closed = _journal(run)[-2:]
    assert (failed["event"], closed["event"]) == ("report failed", "closed")
    assert "a share of nothing" in str(failed["error"])
    assert f"exitdrill report {run.id}" in notes[-1]
    assert stored_checkpoints(run.directory.checkpoints)[-1].checkpoint.size == len(_journal(run))


def test_a_disk_that_is_full_for_the_report_alone(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """Record and verdict fit, the page does not, not even once the reserve is given back: the run is sealed without."""
    run = declare(_plan(_step("a")), tmp_path, clock=clock)
    execute(run, conductor)
    beside = run.directory.path / "report.html.new"

    def full(path: Path, data: bytes) -> None:
        if path == run.directory.report:
            raise NoSpaceError("the disk is full", resource=str(beside))
        write_atomic(path, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "write_atomic", full)
        finish(run)
    assert [e["event"] for e in _journal(run)[-2:]] == ["report failed", "closed"]


def test_an_error_that_is_no_unicode(tmp_path: Path, clock: Clock, conductor: LocalConductor) -> None:
    """A message with half of a surrogate pair, as JSON can have it: journal, state, record and report hold it."""
    _script["a"] = _raise(RunError("the place said \udcff\ud800"))
    run = declare(_plan(_step("a")), tmp_path, clock=clock)
    with pytest.raises(StepFailedError):
        execute(run, conductor)
    assert finish(run).exit_code == 4
    record = codec.load(RunRecord, run.directory.record.read_bytes(), "record")
    assert "the place said \\udcff\\ud800" in record.steps[0].error
    assert "the place said \\udcff\\ud800" in record.error
    assert _journal(run)[-1]["event"] == "closed"


def test_the_state_keeps_everything(tmp_path: Path) -> None:
    """Facts, steps in the order they began, laps, checks and refusals survive a process."""
    state = State(tmp_path / "state.db")
    when = datetime(2026, 1, 1, tzinfo=UTC)
    for step in ("a", "b", "a"):
        state.step(StepRecord(step, "p", StepStatus.DONE, None, 1, "", "Ada"))
    state.lap(Lap("x", when, 5, 6, 7, 8))
    state.check(Check("space", "files", ready=False, found="too little"))
    state.forget_check("space", "files")
    state.check(Check("space", "files", ready=True, found="enough", action="note"))
    state.refused("h:1", "rebuild")
    state.refused("h:1", "rebuild")
    state.put("s", "n", {"x": [1, None]})
    state.close()
    state = State(tmp_path / "state.db")
    assert [s.id for s in state.steps()] == ["a", "b"]
    assert state.laps() == (Lap("x", when, 5, 6, 7, 8),)
    assert state.checks() == (Check("space", "files", ready=True, found="enough", action="note"),)
    assert state.refusals() == (("h:1", "rebuild", 2),)
    assert (state.get("s", "n"), state.get("s", "m")) == ({"x": [1, None]}, None)
    state.forget_checks()
    assert state.checks() == ()
    state._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(NoSpaceError):
        state.put("s", "big", "x" * 1_000_000)
    state.close()


def test_a_state_that_is_no_database(tmp_path: Path) -> None:
    """A damaged state file is an error that names it."""
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(RunError, match=r"state\.db") as caught:
        State(tmp_path / "state.db")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
