"""Jobs on other machines: what they must see first, what they report, what preflight finds out there."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from exitdrill.clock import format_utc
from exitdrill.connector.provider import Endpoint
from exitdrill.errors import RunError, SeveredError
from exitdrill.plan.drill import Engine, EngineKind
from exitdrill.playbook.cluster import _versions
from exitdrill.testing.runs import T0, make_plan
from exitdrill.transfer.claims import LocalClaims, claim_table, claimed_elsewhere, open_claims
from exitdrill.transfer.cluster import _must_see, carry, collect_refused, order_for
from exitdrill.transfer.cut import load_cut, make_cut
from exitdrill.transfer.job import CUT_EARLY, Job
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.outlook import FILE, LOCK, FolderProbe, look_before, look_closely

_SPREAD = Engine(EngineKind.DASK, "tcp://127.0.0.1:1", "${env:CLAIMS}")


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path, "run")
    made.plan.write_text(json.dumps(replace(make_plan(), engine=_SPREAD).to_json()))
    return made


def test_other_machines_variables_are_taken_too(tmp_path: Path) -> None:
    """The cut takes by pattern, whatever the conductor itself had; what another place needs stays."""
    endpoints = [Endpoint("127.0.0.9", 1)]
    make_cut(tmp_path / "cut", endpoints, ["AZURE_A"], [], format_utc(T0), 1, ["AZURE_*"], ["AZURE_PG"])
    cut = load_cut(tmp_path / "cut")
    assert cut is not None
    environ = {"AZURE_A": "1", "AZURE_ONLY_THERE": "2", "AZURE_PG": "3", "HOME": "4"}
    assert cut.taken(environ) == ("AZURE_A", "AZURE_ONLY_THERE")
    assert cut.scrub(environ) == {"AZURE_PG": "3", "HOME": "4"}


def test_claims_at_the_source_are_cut_off(directory: RunDirectory) -> None:
    """Libpq's connections are unseen by the hook, so the address is asked of the cut before there is one."""
    plan = replace(make_plan(), engine=_SPREAD)
    environ = {"CLAIMS": "postgresql://u:p@127.0.0.9:5433/db"}
    claim_table(plan, directory, environ, directory.path).close()
    make_cut(directory.cut, [Endpoint("127.0.0.9", 5433)], [], [], format_utc(T0), 1)
    with pytest.raises(SeveredError, match=r"127\.0\.0\.9:5433"):
        claim_table(plan, directory, environ, directory.path)


def test_only_a_spread_run_is_claimed_elsewhere(directory: RunDirectory) -> None:
    """As the plan in the run's directory says; without one, a lock of this machine counts."""
    assert claimed_elsewhere(directory)
    directory.plan.write_text(json.dumps(make_plan().to_json()))
    assert not claimed_elsewhere(directory)
    directory.plan.unlink()
    assert not claimed_elsewhere(directory)
    made = open_claims(make_plan(), directory, {}, directory.path, lambda: (0, 0, 0))
    assert isinstance(made, LocalClaims)


def test_a_local_run_loads_no_postgres() -> None:
    """A worker's modules on one machine do not include psycopg, Dask or Prefect."""
    code = (
        "import sys, exitdrill.transfer.worker, exitdrill.transfer.tasks, exitdrill.playbook.actions.drill;"
        "print(sorted({'psycopg', 'distributed', 'dask', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_job_waits_for_the_cut_it_was_sent_under(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that sees no cut, or another one, or no run at all, does not work."""
    monkeypatch.setattr("exitdrill.transfer.cluster._SEE_SECONDS", 0.2)
    job, early = Job("probe", str(directory.path)), Job("probe", str(directory.path), options={CUT_EARLY: True})
    before = order_for(job, "t")
    _must_see(directory, before)
    with pytest.raises(RunError, match="does not see the run"):
        carry(replace(job, directory=str(directory.path / "elsewhere")), before)

    make_cut(directory.early_cut, [Endpoint("127.0.0.9", 1)], [], [], format_utc(T0), 1)
    under_early = order_for(early, "t")
    _must_see(directory, under_early)
    directory.early_cut.unlink()
    with pytest.raises(RunError, match="does not see the run"):
        carry(early, under_early)

    make_cut(directory.cut, [Endpoint("127.0.0.9", 2)], [], [], format_utc(T0), 1)
    under_cut = order_for(job, "t")
    for stricter_is_fine in (before, under_early, under_cut):
        _must_see(directory, stricter_is_fine)
    make_cut(directory.cut, [Endpoint("127.0.0.9", 3)], [], [], format_utc(T0), 1)
    with pytest.raises(RunError, match="does not see the run"):
        carry(job, under_cut)
    directory.cut.unlink()
    with pytest.raises(RunError, match="does not see the run"):
        carry(job, under_cut)


def test_what_was_refused_elsewhere_is_counted_once(directory: RunDirectory) -> None:
    """Each whole line, of errands that have ended or of all; a second look finds nothing."""
    folder = directory.scratch("refused")
    line = json.dumps({"task": "rebuild", "address": "azure:443", "early": True}) + "\n"
    (folder / "one.jsonl").write_text(line * 3)
    (folder / "two.jsonl").write_text(line + '{"task": "reb')
    told: list[tuple[str, str]] = []

    def tell(job: Job, address: str) -> None:
        assert job.cut_early
        told.append((job.task, address))

    collect_refused(directory, tell, ("one", "never"))
    assert told == [("rebuild", "azure:443")] * 3
    collect_refused(directory, tell)
    collect_refused(directory, tell)
    assert told == [("rebuild", "azure:443")] * 4


def test_a_folder_that_machines_share(tmp_path: Path) -> None:
    """Seen, read, locked against us, linked and answered; or what is wrong with it, in words."""
    probe = FolderProbe(tmp_path)
    assert probe.look_before() == ""
    assert "does not see" in FolderProbe(tmp_path / "elsewhere").look_before()
    assert "does not see what another machine just wrote" in probe.look_closely("word", "answer")
    (tmp_path / FILE).write_text("word")
    assert "before it is there" in probe.look_before()
    (tmp_path / LOCK).touch()
    assert "gets a lock that another machine holds" in probe.look_closely("word", "answer")
    assert "something else" in probe.look_closely("another", "answer")
    holding = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert probe.look_closely("word", "answer") == ""
        assert (tmp_path / "answer").read_text() == "word"
        other.kill()


def test_what_a_machine_lacks_is_told_in_words(directory: RunDirectory) -> None:
    """Without credentials, places and claims are named by variable; nothing is raised across machines."""
    plan = replace(make_plan(), engine=_SPREAD)
    assert look_before(str(directory.path))["runs folder"] == ""
    said = look_closely(str(directory.path), "w", "a", plan.to_json(), str(directory.path), str(directory.path))
    assert set(said) == {"host", "runs folder", "claims", "source", "vault", "target"}
    assert "environment variable CLAIMS is not set" in said["claims"]


def test_versions_must_be_the_same() -> None:
    """A worker with another exitdrill, or none, or another Python, is named; the scheduler needs Dask's alone."""
    ours = {"python": "3.11.7.final.0", "exitdrill": "1", "distributed": "2", "cloudpickle": "3", "prefect": "4"}
    ours |= {"prefect-dask": "5"}

    class Client:
        def __init__(self, worker: dict[str, str], scheduler: dict[str, str]) -> None:
            self.told = {
                "client": {"packages": ours},
                "scheduler": {"packages": scheduler},
                "workers": {"tcp://w": {"packages": worker}},
            }

        def get_versions(self, packages: list[str]) -> dict[str, Any]:
            assert "exitdrill" in packages
            return self.told

    bare = {"python": "3.11.2.final.0", "distributed": "2"}
    fine = _versions(cast("Any", Client(ours | {"python": "3.11.9.final.0"}, bare)), "a")
    assert fine.ready, fine
    for worker, named in (({"exitdrill": "2"}, "exitdrill 2"), ({"python": "3.12.1.final.0"}, "python 3.12")):
        wrong = _versions(cast("Any", Client(ours | worker, bare)), "a")
        assert not wrong.ready
        assert f"tcp://w: {named}" in wrong.found
        assert wrong.action
    without = {name: value for name, value in ours.items() if name != "exitdrill"}
    assert "exitdrill missing" in _versions(cast("Any", Client(without, bare)), "a").found
    assert not _versions(cast("Any", Client(ours, bare | {"distributed": "1"})), "a").ready
