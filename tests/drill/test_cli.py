"""The command as it is used: a drill from Azurite to moto under Prefect, through a pipe and on a terminal."""

import codecs
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

_PHASES = {
    "declare": ["drill.declare"],
    "preflight": ["preflight.check"],
    "inventory": ["assets.inventory"],
    "evacuate": ["assets.evacuate"],
    "sever": ["source.last_look", "source.sever"],
    "rebuild": ["assets.rebuild"],
    "verify": ["assets.verify"],
    "seal": ["run.seal"],
    "teardown": ["run.teardown"],
}
_COMMAND = [sys.executable, "-m", "exitdrill.cli.main"]
_LIMIT = 280


def _environ() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "AZURE_", "PREFECT_"))}
    return kept | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}


@pytest.fixture
def drill(tmp_path: Path, azurite_installed: None) -> Path:
    """A rehearsal on emulators whose cut needs approval."""
    phases = [
        {
            "name": name,
            "steps": [
                {"id": uses.partition(".")[2], "uses": uses, "why": "because", "by_hand": "by hand"}
                | ({"approval": True} if uses == "source.sever" else {})
                for uses in steps
            ],
        }
        for name, steps in _PHASES.items()
    ]
    (tmp_path / "playbook.yaml").write_text(json.dumps({"exitdrill": 1, "name": "plan-b", "phases": phases}))
    seed = {"container": "files", "objects": 200, "bytes_max": 50_000}
    drill = {
        "exitdrill": 1,
        "name": "through-the-command",
        "playbook": "playbook.yaml",
        "mode": "rehearsal",
        "objectives": {"rto": "1h", "rpo": "30m"},
        "places": {
            "azure": {"connector": "azure", "emulator": "azurite", "seed": seed},
            "vault": {"connector": "local", "path": "./vault"},
            "aws": {"connector": "s3", "emulator": "moto"},
        },
        "route": {"source": "azure", "vault": "vault", "target": "aws"},
        "assets": [
            {"name": "files", "kind": "objects", "source": {"container": "files"}, "target": {"bucket": "files"}}
        ],
    }
    path = tmp_path / "drill.yaml"
    path.write_text(json.dumps(drill))
    return path


def test_a_drill_under_prefect_through_a_pipe(drill: Path) -> None:
    """The clock waits for nothing, Prefect conducts, and stdout is one JSON document."""
    began = time.time()
    command = [*_COMMAND, "run", drill.name, "--approve", "sever=Anna", "--json"]
    ran = subprocess.run(
        command,
        cwd=drill.parent,
        env=_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["verdict"]["judgement"] == "met"
    assert document["record"]["orchestrator"].startswith("Prefect 3")
    assert document["record"]["severance"]["holds"] is True
    assert "Prefect conducts from here" in ran.stderr
    assert "Traceback" not in ran.stderr
    (journal,) = drill.parent.glob("runs/*/journal.jsonl")
    declared = json.loads(journal.read_text().splitlines()[0])
    assert declared["event"] == "declared"
    assert (journal.parent / "run.json").stat().st_mtime - began < 30  # five on an idle machine; tests share theirs


class _Terminal:
    """A command on a terminal of its own, 80 by 24."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(_COMMAND[0], [*_COMMAND, *arguments], _environ())  # noqa: S606 - the child of a pty
        self.seen = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode  # a read may end within a character

    def until(self, words: str) -> None:
        """Read until the words are on the screen."""
        end = time.monotonic() + _LIMIT
        while words not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen):
            assert time.monotonic() < end, self.seen
            if select.select([self._master], [], [], 1)[0]:
                try:
                    self.seen += self._decode(os.read(self._master, 65536))
                except OSError as exc:
                    raise AssertionError(f"it ended before {words!r}:\n{self.seen}") from exc

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                break
            if not data:
                break
            self.seen += self._decode(data)
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_on_a_terminal_a_person_declines_then_approves(drill: Path) -> None:
    """No stops it, to be resumed; the resumed run asks again, and the name given is in the record."""
    seed = json.loads(drill.read_text())
    seed["places"]["aws"]["emulator"] = "seaweedfs"  # it keeps its data between the two processes
    drill.write_text(json.dumps(seed))
    first = _Terminal(["run", drill.name], drill.parent)
    first.until("Approved by")
    assert "because" in first.seen
    first.type("\r")
    assert first.end() == 4
    assert "resume with" in first.seen
    second = _Terminal(["resume", "last", "--no-prefect"], drill.parent)
    second.until("Approved by")
    second.type("Anna de Vries\r")
    assert second.end() == 0
    assert "MET" in second.seen
    (record,) = drill.parent.glob("runs/*/record.json")
    steps = json.loads(record.read_text())["steps"]
    assert [s["approved_by"] for s in steps if s["id"] == "sever"] == ["Anna de Vries"]


def test_ctrl_c_on_a_terminal_under_prefect(drill: Path) -> None:
    """The terminal's own Ctrl-C stops it cleanly while Prefect conducts; the cursor is back at the end."""
    terminal = _Terminal(["run", drill.name], drill.parent)
    terminal.until("Approved by")
    terminal.type("\x03")
    assert terminal.end() == 4
    assert "stopped" in terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    (record,) = drill.parent.glob("runs/*/record.json")
    assert json.loads(record.read_text())["status"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cron", "often"], "no cron line"),
        (["--cron", "0 6 * * *", "--timezone", "Europe/Nowhere"], "no time zone"),
        (["--cron", "0 6 * * *", "--work-pool", "pool"], "PREFECT_API_URL"),
        (["--cron", "0 6 * * *", "--approve", "evacuate=Anna"], "asks for a person"),
    ],
)
def test_a_schedule_that_cannot_be(drill: Path, arguments: list[str], words: str) -> None:
    """Each ends with 2 and says what is wrong, before anything is started."""
    ran = subprocess.run(
        [*_COMMAND, "schedule", drill.name, *arguments],
        cwd=drill.parent,
        env=_environ() | {"HOME": str(drill.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert words in ran.stderr
