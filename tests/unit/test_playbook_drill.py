"""A whole drill on three directories: every action, every worker, and the record of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exitdrill.assets.interface import asset_kind, kind_names
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.registry import connector
from exitdrill.errors import DefinitionError, ExitdrillError
from exitdrill.evidence.journal import read_journal
from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.model.record import ManifestRoots
from exitdrill.model.verdict import Judgement
from exitdrill.plan.drill import Asset, DrillPlan, Level, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.playbook import roots
from exitdrill.playbook.actions import drill
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import Run, declare, reopen
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill.transfer.job import Job, Result

_STEPS = (
    ("declare", "drill.declare"), ("preflight", "preflight.check"), ("inventory", "assets.inventory"),
    ("evacuate", "assets.evacuate"), ("last-look", "source.last_look"), ("sever", "source.sever"),
    ("rebuild", "assets.rebuild"), ("verify", "assets.verify"), ("seal", "run.seal"), ("teardown", "run.teardown"),
)  # fmt: skip
_KEYS = HOSTILE_KEYS


def _plan(folder: Path, **more: Any) -> DrillPlan:
    phases = tuple(Phase(name, (Step(name, uses, "why", "by hand"),)) for name, uses in _STEPS)
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "b"}, verify=more.pop("level", Level.FULL))
    for name in ("here", "vault", "there"):
        (folder / name).mkdir(exist_ok=True)
    places = {n: Place(n, "local", {"path": str(folder / n)}) for n in ("here", "vault", "there")}
    route = Route("here", "vault", "there")
    return DrillPlan("d", Mode.REHEARSAL, Objectives(), places, route, (asset,), Playbook("p", phases), **more)


def _place(folder: Path, name: str) -> Provider:
    local = connector("local")
    return local.open(name, local.settings.model_validate({"path": str(folder / name)}))


def _fill(folder: Path, place: str, container: str, objects: Mapping[str, bytes]) -> None:
    with _place(folder, place) as provider:
        provider.ensure_container(container)
        with provider.objects(container) as store:
            for key, data in objects.items():
                store.write(WriteRequest(key, BytesBody(data)))


def _execute(run: Run, before: str | None = None) -> ExitdrillError | None:
    conductor = LocalConductor()
    try:
        execute(run, conductor, before=before)
    except ExitdrillError as error:
        return error
    finally:
        conductor.close()
    return None


def _record(run: Run) -> dict[str, Any]:
    return dict(json.loads(run.directory.record.read_bytes()))


def test_a_whole_drill(tmp_path: Path) -> None:
    """Hostile keys go out, the source is cut, they come up and are proven; teardown leaves nothing; the sums hold."""
    plan = _plan(tmp_path)
    _fill(tmp_path, "here", "c", {key: key.encode() for key in _KEYS})
    run = declare(plan, tmp_path / "runs")
    assert _execute(run, before="rebuild") is None
    finish(run)
    run = reopen(run.directory.path)
    assert _execute(run, before="teardown") is None
    with _place(tmp_path, "there") as there, there.objects("b") as store:
        assert {entry.key for entry in store.list()} == set(_KEYS)
    assert _execute(run) is None
    context = run.asset_context(plan.assets[0], None)
    forecast = asset_kind("objects").forecast(context)
    assert (forecast.objects, forecast.evacuate_seconds > 0) == (len(_KEYS), True)
    verdict = finish(run)
    record = _record(run)
    (asset,) = record["assets"]
    assert asset["evacuate"]["outcomes"]["copied"]["objects"] == asset["listed"]["objects"] == len(_KEYS)
    assert asset["verification"]["equal"] == asset["verification"]["reread_objects"] == len(_KEYS)
    assert (record["severance"]["holds"], record["teardown"]["complete"]) == (True, True)
    assert record["recovered_elapsed_ns"] > 0
    assert any("no network address" in check["found"] for check in record["checks"])
    assert verdict.exit_code == 0, verdict.findings
    assert [p.name for p in (tmp_path / "there").iterdir() if p.name == "b"] == []


def test_limits_are_shared_kept_and_told(tmp_path: Path) -> None:
    """A drill with a limit at its source: record and journal tell what was waited for it, and at which place."""
    plan = _plan(tmp_path)
    limits = Limits(4, bandwidth=(BandwidthLine(1_000_000),))
    plan = replace(plan, places={**plan.places, "here": replace(plan.places["here"], limits=limits)})
    _fill(tmp_path, "here", "c", {f"{number}": bytes(10_000) for number in range(50)})
    run = declare(plan, tmp_path / "runs")
    assert _execute(run) is None
    finish(run)
    (asset,) = _record(run)["assets"]
    assert asset["evacuate"]["limited_ns"] > 0
    assert asset["evacuate"]["duration_ns"] > 400_000_000  # half a megabyte, at a megabyte a second
    assert asset["rebuild"]["limited_ns"] == 0
    paces = [event for event in read_journal(run.directory.journal) if event["event"] == "pace"]
    assert [(event["place"], event["leg"], event["smallest_window"]) for event in paces] == [("here", "evacuate", 4)]
    assert paces[0]["waited_for_bandwidth_ns"] == asset["evacuate"]["limited_ns"]


@pytest.mark.parametrize(("assets", "jobs", "share"), [(1, 1, 1), (1, 3, 3), (1, 9, 4), (2, 1, 4), (2, 9, 4)])
def test_workers_share_limits_among_those_that_can_run(tmp_path: Path, assets: int, jobs: int, share: int) -> None:
    """No more than run side by side; other assets' workers may be among them, where there are other assets."""
    plan = _plan(tmp_path)
    more = tuple(replace(plan.assets[0], name=f"files-{number}") for number in range(assets))
    run = declare(replace(plan, assets=more), tmp_path / "runs")
    seen: list[Job] = []

    def submit(_name: str, job: Job) -> Callable[[], Result]:
        seen.append(job)
        return lambda: Result({})

    context = run.asset_context(run.plan.assets[0], None, submit, 4)
    context.run_jobs([(f"{number}", context.job("evacuate", (number,), threads=3)) for number in range(jobs)])
    assert [job.options for job in seen] == [{"share": share, "threads": 3}] * jobs
    run.close()


def test_a_target_that_is_not_empty(tmp_path: Path) -> None:
    """A drill never overwrites: preflight says no, and teardown leaves what was there."""
    plan = _plan(tmp_path)
    _fill(tmp_path, "here", "c", {"a": b"a"})
    _fill(tmp_path, "there", "b", {"theirs": b"x"})
    run = declare(plan, tmp_path / "runs")
    error = _execute(run)
    assert error is not None
    assert "not empty" in str(error)
    finish(run)
    with _place(tmp_path, "there") as there, there.objects("b") as store:
        assert [entry.key for entry in store.list()] == ["theirs"]


@pytest.mark.parametrize(("level", "ready"), [(Level.LISTED, True), (Level.ATTESTED, False), (Level.SAMPLED, False)])
def test_the_level_that_can_be_reached(tmp_path: Path, level: Level, ready: bool) -> None:
    """A directory attests nothing: a level that needs it is not ready, and those that can be reached are named."""
    plan = _plan(tmp_path, level=level)
    _fill(tmp_path, "here", "c", {"a": b"a"})
    run = declare(plan, tmp_path / "runs")
    error = _execute(run, before="inventory")
    assert (error is None) is ready
    assert ready or "listed, full" in str(error)
    finish(run)


def test_what_the_drill_keeps(tmp_path: Path) -> None:
    """With keep: true what was made stays, and the record says that it was kept."""
    plan = _plan(tmp_path, keep=True)
    _fill(tmp_path, "here", "c", {"a": b"a"})
    run = declare(plan, tmp_path / "runs")
    assert _execute(run) is None
    finish(run)
    assert _record(run)["teardown"]["kept"] is True
    with _place(tmp_path, "there") as there, there.objects("b") as store:
        assert [entry.key for entry in store.list()] == ["a"]


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """A container that does not exist is found before anything is copied, and nothing stays behind."""
    run = declare(_plan(tmp_path), tmp_path / "runs")
    error = _execute(run)
    assert error is not None
    assert "c" in str(error)
    finish(run)
    assert _record(run)["assets"][0]["listed"]["objects"] == 0
    assert _record(run)["recovered_elapsed_ns"] is None


def test_kinds_are_found_by_name() -> None:
    """A kind nobody installed is an error that names those there are."""
    assert "objects" in kind_names()
    with pytest.raises(DefinitionError, match="objects"):
        asset_kind("floppy")


@pytest.mark.parametrize(("patch", "why"), [("late", "within the step's timeout"), ("fault", "ZeroDivisionError")])
def test_roots_that_are_not_computed_cost_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patch: str, why: str
) -> None:
    """The clock has stopped by then: the drill is judged as it was measured, and a finding says what is missing."""
    plan = _plan(tmp_path)
    _fill(tmp_path, "here", "c", {"a": b"a"})

    def fault(*_arguments: object) -> ManifestRoots:
        raise ZeroDivisionError

    if patch == "late":
        monkeypatch.setattr(drill, "_ROOTS_SHARE", -1.0)
    else:
        monkeypatch.setattr(roots, "manifest_roots", fault)
    run = declare(plan, tmp_path / "runs")
    assert _execute(run) is None
    verdict = finish(run)
    assert verdict.judgement is Judgement.MET
    (found,) = [f for f in verdict.findings if "no manifest roots" in f.text]
    assert why in found.text
    assert _record(run)["assets"][0]["roots"]["target"]["root"] == ""
