"""Both legs at once: whose turn it is, what fails and what goes on, the early cut, and what it proves."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.assess import assess
from exitdrill.assets.grouping import Weight
from exitdrill.assets.interface import AssetContext
from exitdrill.assets.objects import ObjectsKind
from exitdrill.assets.overlap import (
    EARLY,
    ENDED,
    EVACUATE,
    REBUILD,
    BothLegs,
    Group,
    Turns,
    turns_of,
    went_through,
)
from exitdrill.clock import SystemClock, format_utc
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.registry import connector
from exitdrill.errors import DigestError, ExitdrillError, RunError, StoppedError, TransientError
from exitdrill.evidence.journal import read_journal
from exitdrill.model.journal import Json
from exitdrill.model.record import (
    EARLY_REBUILD,
    Attempt,
    Counts,
    EarlyCutRecord,
    LegRecord,
    RunRecord,
)
from exitdrill.model.spans import Span, common_ns, covered_ns
from exitdrill.model.verdict import Finding, Judgement, Severity
from exitdrill.plan.drill import Asset, DrillPlan, Level, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import Run, declare
from exitdrill.report import render
from exitdrill.report._timing import legs_timing
from exitdrill.testing.runs import T0, make_measured, make_plan, make_record
from exitdrill.transfer.client import Watch, run_job, watch
from exitdrill.transfer.inventory import STEM
from exitdrill.transfer.job import CUT_EARLY, Job, Result
from exitdrill.transfer.layout import RunDirectory, write_atomic
from exitdrill.transfer.places import Places
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path, write_part
from exitdrill.transfer.tally import LegTally

_NS = 1_000_000_000
_STEPS: tuple[tuple[str, str, dict[str, Json]], ...] = (
    ("declare", "drill.declare", {}), ("preflight", "preflight.check", {}),
    ("inventory", "assets.inventory", {"part_rows": 3}), ("evacuate", "assets.evacuate", {"threads": 2}),
    ("last-look", "source.last_look", {}), ("sever", "source.sever", {}), ("rebuild", "assets.rebuild", {"threads": 3}),
    ("verify", "assets.verify", {}), ("seal", "run.seal", {}), ("teardown", "run.teardown", {}),
)  # fmt: skip


# whose turn it is


def _play(turns: Turns, width: int, order: Callable[[int], int]) -> list[tuple[str, Group]]:
    """Begin what can be begun, end one of those, until nothing is left; in which order groups were begun."""
    begun: list[tuple[str, Group]] = []
    under_way: list[tuple[str, Group]] = []
    while True:
        while len(under_way) < width and (turn := turns.next()):
            begun.append(turn)
            under_way.append(turn)
        if not under_way:
            return begun
        turns.ended(*under_way.pop(order(len(under_way))))


def test_the_legs_take_turns() -> None:
    """With two side by side each leg has one; alone they alternate; what was there before is rebuilt too."""
    groups: list[Group] = [(1,), (2,), (3,)]
    begun = _play(Turns(groups, ()), 2, lambda _: 0)
    assert [leg[0] for leg, _ in begun] == ["e", "e", "r", "e", "r", "r"]
    assert [leg[0] for leg, _ in _play(Turns(groups, ()), 1, lambda _: 0)] == ["e", "r", "e", "r", "e", "r"]
    assert _play(Turns([(4,)], [(1,)]), 1, lambda _: 0) == [(EVACUATE, (4,)), (REBUILD, (1,)), (REBUILD, (4,))]
    assert [leg for leg, _ in _play(Turns(groups, (), rebuilding=False), 2, lambda _: 0)] == [EVACUATE] * 3


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 6), st.randoms(use_true_random=False))
def test_neither_leg_starves(waiting: int, ready: int, width: int, dice: Random) -> None:
    """Whatever ends first: each group goes once through each leg, after its evacuation, and both legs have turns."""
    first: list[Group] = [(number,) for number in range(100, 100 + waiting)]
    second: list[Group] = [(number,) for number in range(ready)]
    turns = Turns(first, second)
    begun = _play(turns, width, dice.randrange)
    assert [group for leg, group in begun if leg == EVACUATE] == first
    assert sorted(group for leg, group in begun if leg == REBUILD) == sorted([*second, *first])
    assert (turns.evacuating, turns.under_way) == (False, 0)
    for group in first:
        assert begun.index((EVACUATE, group)) < begun.index((REBUILD, group))
    if ready >= width and waiting >= width > 1:
        assert {leg for leg, _ in begun[:width]} == {EVACUATE, REBUILD}


def test_what_failed_comes_again_until_it_is_given_up() -> None:
    """A group that failed to be rebuilt comes after the others; once given up, none is begun any more."""
    turns = Turns([(3,)], [(1,), (2,)])
    assert turns.next() == (EVACUATE, (3,))
    assert turns.next() == (REBUILD, (1,))
    turns.failed(REBUILD, (1,))
    assert turns.next() == (REBUILD, (2,))
    assert turns.next() == (REBUILD, (1,))
    turns.give_up(REBUILD)
    turns.failed(REBUILD, (1,))
    turns.ended(EVACUATE, (3,))
    assert turns.next() is None


@given(st.lists(st.integers(1, 10**7), max_size=300), st.integers(1, 8))
def test_groups_come_one_after_the_other(objects: list[int], width: int) -> None:
    """Every part once, in order; at most a hundred groups, and enough for the legs to overlap where there are parts."""
    weights = {number: Weight(each, 0) for number, each in enumerate(objects, 1)}
    groups = turns_of(weights, width)
    assert [part for group in groups for part in group] == list(weights)
    assert all(groups)
    assert len(groups) <= min(100, len(objects))
    if objects and max(objects) == min(objects):
        assert len(groups) >= min(len(objects), 4 * width)


# carrying both legs out


class _Facts(dict[str, Json]):
    def put(self, name: str, value: Json) -> None:
        self[name] = json.loads(json.dumps(value))


class _Journal:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Json]]] = []

    def record(self, event: str, **facts: Json) -> None:
        self.events.append((event, facts))


class _Legs:
    """An asset of five parts whose jobs are functions of this process."""

    def __init__(self, folder: Path, fail: Callable[[str, Group, int], Exception | None], **more: Any) -> None:
        self.directory = RunDirectory.create(folder / "runs", "20260101-000000-abcdef")
        self.facts, self.journal, self.done = _Facts(), _Journal(), list[tuple[str, Group]]()
        self.most, self._at_once, self._lock = 0, 0, threading.Lock()
        self._fail, self._tries = fail, dict[tuple[str, Group], int]()
        self.now_ns = 0
        plan = _plan(folder)
        places = Places(plan, folder, {})
        self.context = AssetContext(
            plan, plan.assets[0], self.directory, places, self.journal, SystemClock(), self.facts,
            self._run_jobs, {}, self._elapsed_ns, **{"width": 2, **more},
        )  # fmt: skip

    def _elapsed_ns(self) -> int:
        self.now_ns += 10
        return self.now_ns

    def keep(self, leg: str, part: int) -> None:
        """The part goes into the ledger."""
        path = part_path(self.directory.ledger("files"), leg, part)
        write_part(path, (), LedgerRow, LegTally(leg).facts)

    def _run_jobs(self, jobs: Sequence[tuple[str, Job]]) -> list[Result]:
        ((_, job),) = jobs
        turn = (job.task, job.parts)
        with self._lock:
            self._at_once += 1
            self.most = max(self.most, self._at_once)
            self._tries[turn] = self._tries.get(turn, 0) + 1
        try:
            if (error := self._fail(*turn, self._tries[turn])) is not None:
                raise error
            for part in job.parts:
                self.keep(job.task, part)
            self.done.append(turn)
            return [Result({}, retries=1, busy_ns=7)]
        finally:
            with self._lock:
                self._at_once -= 1

    def run(self, *, all_evacuated: bool = False, rebuilding: bool = True) -> None:
        def job(leg: str, group: Group) -> tuple[str, Job]:
            return leg, self.context.job(leg, group)

        legs = BothLegs({EVACUATE: self.context, REBUILD: self.context}, job, lambda: all_evacuated)
        legs.run([(1,), (2,), (3, 4), (5,)], rebuilding=rebuilding)

    def through(self, leg: str) -> list[int]:
        return sorted(part for done, group in self.done if done == leg for part in group)


def _well(_leg: str, _group: Group, _attempt: int) -> None:
    return None


def test_every_group_goes_through_both_legs(tmp_path: Path) -> None:
    """At most two at once; time, retries and the workers' time are counted for each leg; begun again, all is there."""
    legs = _Legs(tmp_path, _well)
    legs.run()
    assert legs.through(EVACUATE) == legs.through(REBUILD) == [1, 2, 3, 4, 5]
    assert legs.most == 2
    cost: Any = legs.facts[f"{REBUILD} cost"]
    assert (cost["retries"], cost["busy_ns"], cost["longest_ns"]) == (4, 28, 7)
    assert sum(end - begin for begin, end in cost["spans"]) == cost["duration_ns"] <= legs.now_ns
    other: Any = legs.facts[f"{EVACUATE} cost"]
    assert 0 < common_ns(map(tuple, cost["spans"]), map(tuple, other["spans"])) <= cost["duration_ns"]
    assert (legs.facts[ENDED], legs.facts[EARLY]) == (None, {**asdict(Counts()), "parts": [1, 2, 3, 4, 5]})
    legs.done.clear()
    legs.run()
    assert legs.done == []
    assert legs.facts[f"{REBUILD} cost"] == cost


def test_what_is_in_the_ledger_is_not_begun_again(tmp_path: Path) -> None:
    """A group of which a part is missing is begun again as a whole, since the worker before may still hold it so."""
    legs = _Legs(tmp_path, _well)
    for leg, part in ((EVACUATE, 1), (REBUILD, 1), (EVACUATE, 2), (EVACUATE, 3)):
        legs.keep(leg, part)
    legs.run()
    assert legs.through(EVACUATE) == [3, 4, 5]
    assert legs.through(REBUILD) == [2, 3, 4, 5]


def test_once_all_is_evacuated_nothing_is_rebuilt_before_the_cut(tmp_path: Path) -> None:
    """The cut must not wait for the rebuild: what is under way ends, the rest is left to the rebuild's own step."""
    legs = _Legs(tmp_path, _well, width=1)
    legs.run(all_evacuated=True)
    assert legs.through(EVACUATE) == [1, 2, 3, 4, 5]
    assert legs.through(REBUILD) == [1, 2, 3, 4]
    assert legs.facts[ENDED] is None
    early: Any = legs.facts[EARLY]
    assert early["parts"] == [1, 2, 3, 4]
    legs.done.clear()
    legs.run(all_evacuated=True)
    assert legs.done == []


@pytest.mark.parametrize(
    ("error", "tries"), [(TransientError("it does not answer"), 3), (DigestError("it alters bytes"), 1)]
)
def test_a_target_that_fails_does_not_end_the_evacuation(tmp_path: Path, error: ExitdrillError, tries: int) -> None:
    """Rebuilding is given up, at once where trying again changes nothing; all is evacuated, and the reason is kept."""

    def fail(leg: str, _group: Group, _attempt: int) -> Exception | None:
        return error if leg == REBUILD else None

    legs = _Legs(tmp_path, fail, width=1)
    legs.run()
    assert legs.through(EVACUATE) == [1, 2, 3, 4, 5]
    assert legs.through(REBUILD) == []
    assert str(error) in str(legs.facts[ENDED])
    failed = [facts["given_up"] for event, facts in legs.journal.events if event == "early rebuild failed"]
    assert failed == [False] * (tries - 1) + [True]


def test_a_target_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    """A group that failed for a moment is rebuilt later, and nothing is said to have ended."""

    def fail(leg: str, _group: Group, attempt: int) -> Exception | None:
        return TransientError("a moment") if leg == REBUILD and attempt == 1 else None

    legs = _Legs(tmp_path, fail, width=1)
    legs.run()
    assert legs.through(REBUILD) == [1, 2, 3, 4, 5]
    assert legs.facts[ENDED] is None


@pytest.mark.parametrize(
    ("leg", "error"),
    [(EVACUATE, TransientError("down")), (EVACUATE, StoppedError("stop")), (REBUILD, StoppedError("stop"))],
)
def test_what_ends_the_evacuation_ends_both(tmp_path: Path, leg: str, error: ExitdrillError) -> None:
    """A source that fails, or somebody who stops it: raised as it is, nothing more is begun, and a resume ends well."""
    failing = True

    def fail(task: str, group: Group, _attempt: int) -> Exception | None:
        return error if failing and task == leg and 2 in group else None

    legs = _Legs(tmp_path, fail)
    with pytest.raises(type(error), match=str(error)):
        legs.run()
    assert len(legs.through(EVACUATE)) < 5
    failing = False
    legs.run()
    assert legs.through(EVACUATE) == legs.through(REBUILD) == [1, 2, 3, 4, 5]


def test_a_fault_of_the_program_is_not_hidden(tmp_path: Path) -> None:
    """What nobody foresaw comes out, also from the rebuild."""

    def fail(leg: str, _group: Group, _attempt: int) -> Exception | None:
        return ZeroDivisionError("a fault") if leg == REBUILD else None

    with pytest.raises(ZeroDivisionError):
        _Legs(tmp_path, fail).run()


def test_an_asset_is_not_rebuilt_before_what_it_depends_on(tmp_path: Path) -> None:
    """Beside the evacuation the order of `depends_on` holds: the second is only evacuated until the first is up."""
    legs = _Legs(tmp_path, _well)
    inventory = legs.directory.inventory
    needs = replace(legs.context.asset, depends_on=("people",))
    plan = replace(legs.context.plan, assets=(replace(needs, name="people", depends_on=()), needs))
    for name in ("files", "people"):
        for part in (1, 2):
            write_part(part_path(inventory(name), STEM, part), (), InventoryRow, lambda: {"rows": 1, "bytes": 1})
        write_atomic(inventory(name) / "complete.json", b"{}")
    write_atomic(legs.directory.capabilities("target", "files"), json.dumps(_capabilities(tmp_path)).encode())
    context = replace(legs.context, plan=plan, asset=needs)
    assert not went_through(legs.directory, "nobody", REBUILD)
    ObjectsKind().overlap(context, context)
    assert (legs.through(EVACUATE), legs.through(REBUILD)) == ([1, 2], [])
    for part in (1, 2):
        write_part(part_path(legs.directory.ledger("people"), REBUILD, part), (), LedgerRow, LegTally(REBUILD).facts)
    assert went_through(legs.directory, "people", REBUILD)
    ObjectsKind().overlap(context, context)
    assert legs.through(REBUILD) == [1, 2]


# the early cut


def _plan(folder: Path, **more: Any) -> DrillPlan:
    phases = tuple(
        Phase(name, (Step(name, uses, "why", "by hand", arguments=arguments),)) for name, uses, arguments in _STEPS
    )
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "b"}, verify=Level.FULL)
    places = {n: Place(n, "local", {"path": str(folder / n)}) for n in ("here", "vault", "there")}
    route = Route("here", "vault", "there")
    return DrillPlan("d", Mode.REHEARSAL, Objectives(), places, route, (asset,), Playbook("p", phases), **more)


def _fill(folder: Path, objects: int) -> None:
    local = connector("local")
    with local.open("here", local.settings.model_validate({"path": str(folder / "here")})) as provider:
        provider.ensure_container("c")
        with provider.objects("c") as store:
            for number in range(objects):
                store.write(WriteRequest(f"{number:03d}", BytesBody(f"content {number}".encode())))


def _capabilities(folder: Path) -> dict[str, Any]:
    local = connector("local")
    with (
        local.open("there", local.settings.model_validate({"path": str(folder / "there")})) as provider,
        provider.objects("b") as store,
    ):
        return dict(store.capabilities.to_json())


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_job_that_must_be_cut_off_early_is(tmp_path: Path, listener: int) -> None:
    """Without a cut it does not begin; with one its variables are gone, its connections refused and told."""
    legs = _Legs(tmp_path, _well)
    directory = legs.directory
    run = declare(_plan(tmp_path), tmp_path / "other")
    finish(run)
    write_atomic(directory.plan, run.directory.plan.read_bytes())
    directory.write_facts(run.facts)
    probe = Job("probe", str(directory.path), options={CUT_EARLY: True})
    with pytest.raises(RunError, match="must be cut off"):
        run_job(probe)
    address = ["127.0.0.1", listener]
    cut = {"severed_utc": format_utc(T0), "severed_elapsed_ns": 1, "hosts": [address], "probes": [address]}
    write_atomic(directory.early_cut, json.dumps({**cut, "removed_variables": ["SOURCE_KEY"]}).encode())
    told: list[tuple[bool, str]] = []

    def refused(job: Job, where: str) -> None:
        told.append((job.cut_early, where))

    full = {**os.environ, "SOURCE_KEY": "secret"}
    lesser = {**full, "EXITDRILL_EMULATED": "{}"}
    with watch(directory, Watch(lambda _: None, lambda: False, refused, lambda: full, lambda: lesser)):
        assert run_job(probe).facts == {"probed": [f"127.0.0.1:{listener}"]}
        with pytest.raises(RunError, match="not cut off"):
            run_job(Job("probe", str(directory.path)))
    assert told == [(True, f"127.0.0.1:{listener}")]


def test_an_emulated_source_is_unknown_to_workers_that_are_cut_off_early(tmp_path: Path) -> None:
    """What the emulator supplies, its key with it, is in the environment of the other workers only."""

    class Running:
        settings: dict[str, str] = {"key": "k"}  # noqa: RUF012 - a stand-in for one test

        def stop(self) -> None:
            """Nothing runs."""

    run = declare(_plan(tmp_path), tmp_path / "runs")
    running: Any = Running()
    run.emulators |= {"here": running, "there": running}
    assert set(json.loads(run.environ()["EXITDRILL_EMULATED"])) == {"here", "there"}
    assert set(json.loads(run.environ(cut_early=True)["EXITDRILL_EMULATED"])) == {"there"}
    finish(run)


# a whole drill


def _carry_out(run: Run) -> None:
    conductor = LocalConductor()
    try:
        execute(run, conductor)
    finally:
        conductor.close()


def test_a_drill_whose_legs_overlap(tmp_path: Path) -> None:
    """The rebuild begins before the evacuation ends, cut off by itself; the verdict and every report say so."""
    plan = _plan(tmp_path, overlap=True)
    _fill(tmp_path, 11)
    run = declare(plan, tmp_path / "runs")
    _carry_out(run)
    events = list(read_journal(run.directory.journal))
    verdict = finish(run)
    record = json.loads(run.directory.record.read_bytes())
    (asset,) = record["assets"]
    first, second = asset["evacuate"], asset["rebuild"]
    cut_ns = record["severance"]["severed_elapsed_ns"]
    early_ns = record["early_cut"]["cut_elapsed_ns"]
    assert early_ns < second["spans"][0][0] < first["spans"][-1][1] < cut_ns < second["spans"][-1][0]
    assert all(sum(end - begin for begin, end in leg["spans"]) == leg["duration_ns"] for leg in (first, second))
    assert 0 < _read(run).assets[0].both_legs_ns <= min(first["duration_ns"], second["duration_ns"])
    assert 0 < asset["rebuilt_early"]["objects"] < 11
    assert second["outcomes"]["copied"]["objects"] == asset["verification"]["equal"] == 11
    assert (record["early_cut"]["holds"], record["early_cut"]["attempts"]) == (True, [])
    names = [str(event["event"]) for event in events]
    assert names.index("rebuild cut off") < names.index("severed")
    assert verdict.judgement is Judgement.MET, verdict.findings
    (found,) = [f for f in verdict.findings if "overlapped the evacuation" in f.text]
    assert found.severity is Severity.WARNING
    assert f"brought {asset['rebuilt_early']['objects']} objects" in found.text
    for format_ in ("text", "markdown"):
        shown = render(format_, plan, _read(run), verdict).replace("\n", " ")
        assert "overlapping, measured" in shown
        assert "one after the other, computed" in shown
    legs = json.loads(render("json", plan, _read(run), verdict))["legs"]
    assert (legs["overlapped"], legs["other_way"]) == (True, "one after the other")
    assert legs["other_way_seconds"] > 0


def _read(run: Run) -> RunRecord:
    from exitdrill.model.codec import load

    return load(RunRecord, run.directory.record.read_bytes(), "record")


# what it proves


def _overlapped(early: EarlyCutRecord | None, **more: Any) -> tuple[DrillPlan, RunRecord]:
    plan = make_plan(overlap=True)
    listed = Counts(1000, 4_096_000)
    good = make_measured()
    rebuild = replace(good.rebuild, spans=((3000 * _NS, 4000 * _NS),))
    measured = replace(good, rebuild=rebuild, rebuilt_early=replace(listed, objects=600), **more)
    return plan, make_record(plan, measured, early_cut=early)


_EARLY = EarlyCutRecord(T0, 1, ("r:443",), ("KEY",), ("r:443",), holds=True)


def _about(findings: Sequence[Finding], text: str) -> Finding:
    (found,) = [finding for finding in findings if text in finding.text]
    return found


def test_an_early_rebuild_that_was_cut_off_is_a_warning() -> None:
    """Severance is met and says when the rebuild began; the finding says plainly what that does not prove."""
    plan, record = _overlapped(_EARLY)
    verdict = assess(plan, record)
    assert verdict.judgement is Judgement.MET
    found = _about(verdict.findings, "overlapped the evacuation")
    assert found.severity is Severity.WARNING
    assert "brought 600 objects while the source could be reached" in found.text
    assert "cut off from the source from its start: r:443 probed, 0 attempts refused" in found.text
    (severance,) = [o for o in verdict.objectives if o.objective == "severance"]
    assert severance.actual == "held, 0 other attempts; the rebuild began 0:10:00 before the cut"


@pytest.mark.parametrize(
    ("early", "text"),
    [
        (None, "nothing shows that it did without the source"),
        (replace(_EARLY, holds=False), "not proven to have been cut off"),
        (replace(_EARLY, probed=()), "not proven to have been cut off"),
        (replace(_EARLY, attempts=(Attempt("r:443", 3, EARLY_REBUILD),)), "tried to reach r:443 (3 times)"),
    ],
)
def test_an_early_rebuild_that_may_have_used_the_source_misses_severance(
    early: EarlyCutRecord | None, text: str
) -> None:
    """No cut, one without proof, or an attempt: a critical finding, and the drill's cut after it mends nothing."""
    plan, record = _overlapped(early)
    verdict = assess(plan, record)
    assert verdict.judgement is Judgement.MISSED
    assert _about(verdict.findings, text).severity is Severity.CRITICAL
    assert _about(verdict.findings, "overlapped the evacuation")


def test_overlap_that_did_not_happen_is_a_note() -> None:
    """A drill of one part, or whose early rebuild was given up: said, with the reason, and nothing weighs less."""
    plan = make_plan(overlap=True)
    record = make_record(plan, make_measured(overlap_ended="the target is down"), early_cut=_EARLY)
    verdict = assess(plan, record)
    assert verdict.judgement is Judgement.MET
    assert _about(verdict.findings, "nothing was rebuilt before the cut").severity is Severity.NOTE
    assert _about(verdict.findings, "the target is down").severity is Severity.NOTE


# both ways' timing


_SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p))), max_size=8)


@given(_SPANS, _SPANS)
def test_spans_are_added_up_as_a_clock_would(first: list[Span], second: list[Span]) -> None:
    """Against every tick looked at on its own."""

    def ticks(spans: list[Span]) -> set[int]:
        return {tick for begin, end in spans for tick in range(begin, end)}

    assert covered_ns(first) == len(ticks(first))
    assert common_ns(first, second) == len(ticks(first) & ticks(second))


def _timed(overlap: bool, width: int = 2) -> RunRecord:
    first = LegRecord("evacuate", {}, spans=((10 * _NS, 70 * _NS),), busy_ns=120 * _NS, longest_ns=30 * _NS)
    second = LegRecord("rebuild", {}, spans=((100 * _NS, 140 * _NS),), busy_ns=80 * _NS, longest_ns=20 * _NS)
    if overlap:
        second = replace(second, spans=((40 * _NS, 80 * _NS), (100 * _NS, 110 * _NS)))
    measured = make_measured(evacuate=first, rebuild=second)
    return make_record(make_plan(), measured, width=width)


def test_both_ways_timing_is_measured_the_one_way_and_computed_the_other() -> None:
    """Spans with jobs under way, against the workers' time at the same width; labelled for what each is."""
    ran = legs_timing(_timed(overlap=False))
    assert ran is not None
    assert (ran.overlapped, ran.measured_seconds, ran.other_way) == (False, 100, "overlapping")
    assert ran.other_way_seconds == 100  # 120 s and 80 s of work on two
    beside = legs_timing(_timed(overlap=True))
    assert beside is not None
    assert (beside.overlapped, beside.measured_seconds, beside.other_way) == (True, 80, "one after the other")
    assert beside.other_way_seconds == 60 + 40
    assert "evacuate took 0:02:00 and rebuild 0:01:20 of worker time" in beside.how
    unknown = legs_timing(_timed(overlap=True, width=0))
    assert unknown is not None
    assert (unknown.other_way_seconds, "cannot be computed" in unknown.how) == (None, True)
    assert legs_timing(make_record(make_plan())) is None
    wide = legs_timing(_timed(overlap=True, width=100))
    assert wide is not None
    assert wide.other_way_seconds == 30 + 20  # no sooner than the longest job of each
