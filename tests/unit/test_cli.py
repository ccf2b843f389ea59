"""The command line as an operator meets it: real processes, on drills from one directory to another."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exitdrill.emulator.seed import fill, parse_seeds
from exitdrill.plan import schema
from exitdrill_local import LocalProvider

_LIMIT = 240
_COMMANDS = ("check", "plan", "run", "schedule", "resume", "teardown", "runs", "show", "report", "connectors", "schema")
_PHASES = (
    ("declare", ("drill.declare",)),
    ("preflight", ("preflight.check",)),
    ("inventory", ("assets.inventory",)),
    ("evacuate", ("assets.evacuate",)),
    ("sever", ("source.last_look", "source.sever")),
    ("rebuild", ("assets.rebuild",)),
    ("verify", ("assets.verify",)),
    ("seal", ("run.seal",)),
    ("teardown", ("run.teardown",)),
)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Desk:
    """A folder with a drill, and the command to work on it."""

    folder: Path

    def environ(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "AZURE_", "PREFECT_", "EXITDRILL_"))}
        return kept | {"EXITDRILL_PREFECT": "false", "TERM": "dumb", "EXITDRILL_RUNS": str(self.folder / "runs")}

    def begin(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "exitdrill.cli.main", *arguments],
            cwd=self.folder,
            env=self.environ() | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environ: str) -> Ran:
        process = self.begin(*arguments, **environ)
        out, err = process.communicate(timeout=_LIMIT)
        assert "Traceback" not in out + err
        return Ran(process.returncode, out, err)

    def drill(self, name: str = "drill.yaml", *, phases: Any = _PHASES, asking: str = "", **fields: Any) -> str:
        """A drill file from ``source`` over ``vault`` to ``target``, directories all three."""
        steps = {
            phase: [
                {"id": uses.partition(".")[2], "uses": uses, "why": "because", "by_hand": "by hand"}
                | ({"approval": True} if uses == asking else {})
                for uses in uses_
            ]
            for phase, uses_ in phases
        }
        playbook = {"exitdrill": 1, "name": "plan-b", "phases": [{"name": p, "steps": s} for p, s in steps.items()]}
        (self.folder / f"playbook-{name}").write_text(json.dumps(playbook))
        drill = {
            "exitdrill": 1,
            "name": "desk",
            "playbook": f"playbook-{name}",
            "mode": "rehearsal",
            "objectives": {"rto": "1h", "rpo": "1h"},
            "places": {place: {"connector": "local", "path": f"./{place}"} for place in ("source", "vault", "target")},
            "route": {"source": "source", "vault": "vault", "target": "target"},
            "assets": [
                {"name": "files", "kind": "objects", "source": {"container": "files"}, "target": {"bucket": "files"}}
                | {"verify": "full"}
            ],
            **fields,
        }
        (self.folder / name).write_text(json.dumps(drill))
        return name

    def files(self, place: str) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in (self.folder / place).rglob("*") if p.is_file()}


def _sidecars(desk: Desk) -> set[str]:
    return {f for f in desk.files("vault") if f.endswith(".json") and not f.endswith("container.json")}


def _desk(folder: Path, objects: int) -> Desk:
    seeds = parse_seeds([{"container": "files", "objects": objects, "bytes_max": 20_000}])
    with LocalProvider("source", folder / "source") as source:
        fill(source, seeds)
    return Desk(folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return _desk(tmp_path, 20)


@pytest.fixture
def large(tmp_path: Path) -> Desk:
    """Enough objects that a signal arrives while they move."""
    return _desk(tmp_path, 1500)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Ran]:
    """A drill that was carried out, with ``--json``."""
    desk = _desk(tmp_path_factory.mktemp("done"), 20)
    return desk, desk.run("run", desk.drill(), "--json")


def _wait_for(process: "subprocess.Popen[str]", words: str) -> str:
    """Read stderr until a line holds the words."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if words in line:
            return read
    raise AssertionError(f"{words!r} never came:\n{read}")


class TestAbout:
    def test_help_names_every_command_and_exit_code(self, tmp_path: Path) -> None:
        """What an operator can do, and what each exit code means, stands in one screen of help."""
        ran = Desk(tmp_path).run("--help")
        assert ran.code == 0
        for command in _COMMANDS:
            assert command in ran.out
        assert all(f"\n  {code}  " in ran.out for code in range(6))

    def test_nothing_heavy_loads_before_a_command_asks_for_it(self) -> None:
        """The start of the command loads neither Prefect, nor Arrow, nor an SDK, nor pydantic."""
        code = "import sys, exitdrill.cli.main; print(sorted({m.partition('.')[0] for m in sys.modules}))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        for heavy in ("prefect", "pyarrow", "boto3", "azure", "awscrt", "pydantic", "yaml"):
            assert f"'{heavy}'" not in loaded.stdout

    def test_version_and_connectors_and_schemas_are_json(self, tmp_path: Path) -> None:
        """With --json, stdout is one JSON document."""
        desk = Desk(tmp_path)
        assert set(desk.run("version", "--json").json["connectors"]) >= {"azure", "local", "s3"}
        rows = {row["name"]: row for row in desk.run("connectors", "--json").json}
        assert rows["local"]["roles"] == ["source", "vault", "target"]
        assert rows["local"]["installed"] is True
        assert desk.run("schema", "drill").json == json.loads(json.dumps(schema("drill")))
        assert "local" in desk.run("connectors").out
        assert "exitdrill" in desk.run("version").out

    @pytest.mark.parametrize("arguments", [["bogus"], ["run"], ["run", "--bogus"], ["schema", "bogus"], ["show"]])
    def test_bad_usage_ends_with_2(self, tmp_path: Path, arguments: list[str]) -> None:
        """A command line that cannot be says so in one message."""
        ran = Desk(tmp_path).run(*arguments)
        assert ran.code == 2
        assert ran.err.startswith("error: ")
        assert ran.out == ""


class TestDefinitions:
    def test_a_missing_file_and_a_wrong_one_end_with_2(self, desk: Desk) -> None:
        """The message names file, place in it and what was expected; no run is made."""
        assert desk.run("run", "nowhere.yaml").code == 2
        ran = desk.run("run", desk.drill(playbok="x"))
        assert ran.code == 2
        assert "playbok" in ran.err
        assert "drill.yaml" in ran.err
        assert not (desk.folder / "runs").exists()

    def test_check_of_a_ready_drill_leaves_nothing(self, desk: Desk) -> None:
        """Exit code 0, every check shown, and no object, container or run stays."""
        before = desk.files("source")
        ran = desk.run("check", desk.drill(), "--json")
        assert (ran.code, ran.json["ready"]) == (0, True)
        assert {"credentials", "source objects", "vault objects", "target objects", "keys"} <= {
            check["name"] for check in ran.json["checks"]
        }
        assert desk.files("source") == before
        assert {Path(f).name for f in desk.files("vault") | desk.files("target")} <= {"README.txt"}
        assert not (desk.folder / "runs").exists()

    def test_check_of_a_drill_that_is_not_ready_says_what_to_do(self, desk: Desk) -> None:
        """Exit code 3; the check that says no is shown beside those that say yes."""
        asset = {"name": "files", "kind": "objects", "source": {"container": "gone"}, "target": {"bucket": "files"}}
        name = desk.drill(assets=[asset])
        ran = desk.run("check", name)
        assert ran.code == 3
        assert "NOT READY" in ran.out
        assert "ready      credentials" in ran.out
        assert "not ready" in ran.err
        assert desk.run("check", name, "--json").json["ready"] is False
        ran = desk.run("run", name)
        assert ran.code == 3
        assert "source objects" in ran.err

    def test_plan_shows_steps_volumes_and_a_forecast(self, desk: Desk) -> None:
        """The forecast's sum stands against the RTO."""
        ran = desk.run("plan", desk.drill(), "--json")
        assert ran.code == 0
        assert ran.json["assets"][0]["objects"] == 20
        phases = [row["phase"] for row in ran.json["forecast"]]
        assert phases == ["preflight", "inventory", "evacuate", "rebuild", "verify"]
        assert 0 < ran.json["forecast_worst_seconds"] < ran.json["rto_seconds"] == 3600
        text = desk.run("plan", "drill.yaml").out
        assert "of the RTO of 1:00:00" in text
        assert "assets.evacuate" in text


class TestRuns:
    def test_a_drill_that_meets_its_objectives_ends_with_0(self, done: tuple[Desk, Ran]) -> None:
        """The report is all of stdout; stderr has the progress in plain lines."""
        _, ran = done
        assert ran.code == 0, ran.err
        assert ran.json["verdict"]["judgement"] == "met"
        assert "evacuate begins; " in ran.err
        assert "evacuate files: 20 objects" in ran.err
        assert "all of it as a page, with the clauses it answers: " in ran.err
        (asset,) = ran.json["record"]["assets"]
        for leg in ("evacuate", "rebuild"):
            assert sum(asset[leg]["throughput"]["objects"]) == 20
            assert sum(asset[leg]["throughput"]["size_bytes"]) == asset["listed"]["size_bytes"]
        assert "\x1b" not in ran.err

    def test_an_rto_that_is_too_short_ends_with_1(self, desk: Desk) -> None:
        """A missed objective is a result, with its report."""
        ran = desk.run("run", desk.drill(objectives={"rto": "1s"}))
        assert ran.code == 1
        assert ran.out.startswith("MISSED")

    def test_a_drill_that_fails_ends_with_4_and_cannot_be_resumed(self, desk: Desk) -> None:
        """A critical step that fails ends it; it is torn down, and a resume would find nothing."""
        phases = [(p, ("assets.inventory", "source.sever") if p == "inventory" else u) for p, u in _PHASES[:4]]
        phases += [p for p in _PHASES[4:] if p[0] != "sever"]
        ran = desk.run("run", desk.drill(phases=phases))
        assert ran.code == 4
        assert "step 'evacuate' failed" in ran.err
        assert ran.out.startswith("FAILED")
        again = desk.run("resume", "last")
        assert again.code == 2
        assert "torn down" in again.err
        assert desk.run("teardown", "last").code == 0

    def test_history(self, done: tuple[Desk, Ran]) -> None:
        """runs, show and report tell the same of the run, as text and as JSON."""
        desk, ran = done
        name = ran.json["record"]["run_id"]
        (row,) = desk.run("runs", "--json").json
        assert (row["id"], row["judgement"], row["status"]) == (name, "met", "completed")
        assert name in desk.run("runs").out
        shown = desk.run("show", name[:-2])
        assert "judged met" in shown.out
        assert "evacuate files" in shown.out
        assert desk.run("show", "last", "--json").json["record"]["run_id"] == name
        assert desk.run("report", "last", "--format", "json").json == ran.json
        assert desk.run("report", "last").out.startswith("MET")
        assert desk.run("report", "last", "--format", "markdown", "-o", "report.md").out == ""
        assert (desk.folder / "report.md").read_text().startswith("#")
        assert desk.run("report", "last", "--format", "pdf").code == 2
        assert desk.run("report", "last", "--lang", "de").code == 2
        assert desk.run("report", "last", "--lang", "nl").out.startswith("GEHAALD")
        assert desk.run("report", "last", "--format", "pdf", "--lang", "nl", "-o", "report.pdf").code == 0
        assert (desk.folder / "report.pdf").read_bytes().startswith(b"%PDF-")
        assert desk.run("report", "last", "--format", "html", "-o", "again.html").code == 0
        (made,) = desk.folder.glob("runs/*/report.html")
        assert (desk.folder / "again.html").read_bytes() == made.read_bytes(), "as the page itself says"
        assert "sha256sum" in made.read_text()

    def test_resuming_a_finished_run_does_nothing(self, done: tuple[Desk, Ran]) -> None:
        """It prints the report again, with its exit code."""
        desk, ran = done
        again = desk.run("resume", "last", "--json")
        assert (again.code, again.json) == (0, ran.json)
        assert "nothing is left to do" in again.err

    @pytest.mark.parametrize("command", ["resume", "teardown", "show", "report"])
    def test_an_unknown_run_ends_with_2(self, done: tuple[Desk, Ran], command: str) -> None:
        """The message says what lists the runs."""
        ran = done[0].run(command, "2001")
        assert ran.code == 2
        assert "exitdrill runs" in ran.err

    def test_a_run_of_another_version_is_refused_and_still_listed(self, desk: Desk) -> None:
        """Its version is named; the list of runs does not end there."""
        folder = desk.folder / "runs" / "20200101-000000-abcdef"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text('{"format": 99, "tool_version": "7.0"}')
        for command in ("resume", "show", "report", "teardown"):
            ran = desk.run(command, "last")
            assert ran.code == 4
            assert "7.0" in ran.err
        listed = desk.run("runs")
        assert listed.code == 0
        assert "unreadable" in listed.out

    def test_a_kept_run_is_torn_down_with_yes_alone(self, desk: Desk) -> None:
        """keep: true leaves everything; teardown without --yes refuses, with it removes all."""
        assert desk.run("run", desk.drill(keep=True)).code == 0
        kept = desk.files("target")
        assert len(kept) > 20
        packs = sum(json.loads((desk.folder / f).read_text())["key"].startswith("packs/") for f in _sidecars(desk))
        assert packs
        assert desk.run("teardown", "last").code == 2
        assert desk.files("target") == kept
        ran = desk.run("teardown", "last", "--yes", "--json")
        assert (ran.code, ran.json["complete"], ran.json["deleted_objects"]) == (0, True, 20 + packs)
        assert {Path(f).name for f in desk.files("vault") | desk.files("target")} <= {"README.txt"}
        assert "already" in desk.run("teardown", "last", "--yes").err
        assert desk.run("report", "last").out.startswith("MET")


class TestPeople:
    def test_nobody_to_ask_is_found_before_the_clock_starts(self, desk: Desk) -> None:
        """A drill bound to fail halfway is not declared; the message gives the option to use."""
        ran = desk.run("run", desk.drill(asking="source.sever"))
        assert ran.code == 3
        assert "--approve sever=NAME" in ran.err
        assert not (desk.folder / "runs").exists()

    def test_an_approval_given_beforehand_is_in_the_record(self, desk: Desk) -> None:
        """Who approved what is part of the evidence."""
        ran = desk.run("run", desk.drill(asking="source.sever"), "--approve", "sever=Anna", "--json")
        assert ran.code == 0, ran.err
        assert [s["approved_by"] for s in ran.json["record"]["steps"] if s["id"] == "sever"] == ["Anna"]

    def test_only_who_may_can_approve(self, desk: Desk) -> None:
        """With approvers in the drill, only their key starts it."""
        for name in ("anna", "eve"):
            assert desk.run("keys", "new", f"{name}.pem").code == 0
        drill = desk.drill(asking="source.sever", evidence={"approvers": {"sever": ["anna.pem.pub"]}})
        ran = desk.run("run", drill, "--approve", "sever=Anna")
        assert (ran.code, "--approver-key Anna=PATH" in ran.err) == (2, True)
        ran = desk.run("run", drill, "--approve", "sever=Anna", "--approver-key", "Anna=eve.pem")
        assert (ran.code, "approvers sever" in ran.err) == (3, True)
        ran = desk.run("run", drill, "--approve", "sever=Anna", "--approver-key", "Anna=anna.pem")
        assert ran.code == 0, ran.err
        shown = desk.run("show", "last", "--json").json["sealed"]
        assert (shown["covered"], shown["tokens"]) == (shown["lines"], 0)
        assert shown["keys"][0][:16] in desk.run("show", "last").out

    def test_secrets_of_keys_are_written_nowhere(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A private key that a variable holds is in no file of the run and in nothing that is said."""
        assert desk.run("keys", "new", "ops.pem").code == 0
        monkeypatch.setenv("OPS_KEY", (desk.folder / "ops.pem").read_text())
        ran = desk.run("run", desk.drill(evidence={"signers": [{"key": "${env:OPS_KEY}"}]}), "--verbose")
        assert ran.code == 0, ran.err
        secret = (desk.folder / "ops.pem").read_bytes().splitlines()[1]
        assert secret.decode() not in ran.out + ran.err
        for path in (desk.folder / "runs").rglob("*"):
            assert not path.is_file() or secret not in path.read_bytes(), path
        assert desk.run("keys", "show", str(next((desk.folder / "runs").glob("*/signer.pub")))).code == 0

    @pytest.mark.parametrize("given", ["sever", "sever=", "evacuate=Anna"])
    def test_an_approval_of_nothing_ends_with_2(self, desk: Desk, given: str) -> None:
        """Neither a name missing nor a step that asks nobody goes unnoticed."""
        assert desk.run("run", desk.drill(asking="source.sever"), "--approve", given).code == 2


class TestInterrupts:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_once_stops_cleanly_and_it_can_be_resumed(self, large: Desk, number: signal.Signals) -> None:
        """While it runs it is locked and shown as running; after one signal it is stopped, and resume ends it well."""
        process = large.begin("run", large.drill())
        _wait_for(process, "evacuate begins")
        if number is signal.SIGINT:
            locked = large.run("resume", "last")
            assert locked.code == 2
            assert "at work on this run" in locked.err
            assert large.run("show", "last", "--json").json["status"] == "running"
        time.sleep(1)
        process.send_signal(number)
        out, err = process.communicate(timeout=_LIMIT)
        assert (process.returncode, out) == (4, ""), err
        assert "resume with   exitdrill resume" in err
        assert large.run("show", "last", "--json").json["status"] == "stopped"
        ran = large.run("resume", "last", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["record"]["sessions"] == 2
        assert ran.json["record"]["assets"][0]["verification"]["equal"] == 1500

    def test_twice_ends_at_once_and_teardown_removes_everything(self, large: Desk) -> None:
        """The second signal does not wait; what was copied until then is found and removed."""
        process = large.begin("run", large.drill())
        _wait_for(process, "evacuate begins")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _wait_for(process, "stopping cleanly")
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=_LIMIT)
        assert process.returncode == 4
        assert time.monotonic() - began < 10
        _until(lambda: large.run("show", "last", "--json").json["status"] != "running")
        ran = large.run("teardown", "last", "--json")
        assert (ran.code, ran.json["complete"]) == (0, True), ran.err
        assert {Path(f).name for f in large.files("vault") | large.files("target")} <= {"README.txt"}
        assert large.run("resume", "last").code == 2


def _until(true: Any) -> None:
    for _ in range(30):
        if true():
            return
        time.sleep(1)
    raise AssertionError("it never came true")


class TestCare:
    def test_no_secret_is_printed(self, desk: Desk) -> None:
        """A secret in the environment appears nowhere, not even in the log of --verbose."""
        secret = "Xk9/planted+secret=="
        places = {
            "source": {"connector": "local", "path": "./source"},
            "vault": {"connector": "local", "path": "./vault"},
            "target": {"connector": "s3", "endpoint": "http://127.0.0.1:1", "region": "eu-central-1"}
            | {"access_key_id": "${env:DESK_ID}", "secret_access_key": "${env:DESK_SECRET}"},
        }
        name = desk.drill(places=places)
        for command in ("check", "run"):
            ran = desk.run(command, name, "--verbose", DESK_ID="desk-key-id", DESK_SECRET=secret)
            assert ran.code == 3
            assert secret not in ran.out + ran.err
        missing = desk.run("check", name)
        assert missing.code == 3
        assert "DESK_" in missing.out

    def test_a_reader_that_goes_away_changes_nothing(self, done: tuple[Desk, Ran]) -> None:
        """``exitdrill report | head``: no traceback, and the exit code stays."""
        process = done[0].begin("report", "last")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(60), err) == (0, "")
        process.stderr.close()
