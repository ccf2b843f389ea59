"""A drill killed at any moment is taken up again and ends the same."""

import random
import subprocess
import time
from collections.abc import Callable

import pytest

from drilling import Field
from exitdrill.emulator import Running
from exitdrill.evidence.journal import read_journal

_KILLS = 10
_OBJECTS = "1000"
_START_SECONDS = 60


def _sessions(there: Field) -> int:
    """How many processes have taken up the run so far."""
    journals = list(there.runs.glob("*/journal.jsonl"))
    return max((event["session"] for event in read_journal(journals[0])), default=0) if journals else 0


def _kill_after(there: Field, seconds: float, *arguments: str) -> bool:
    """Start the command, kill it with SIGKILL so long after it took up the run; whether it was still at work."""
    before, began = _sessions(there), time.monotonic()
    process = subprocess.Popen(
        there.command(*arguments),
        cwd=there.folder,
        env=dict(there.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while _sessions(there) == before and time.monotonic() - began < _START_SECONDS:
            time.sleep(0.05)
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    else:
        return False
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.mark.timeout(900)
def test_killed_at_ten_random_moments_it_ends_the_same(field: Callable[[Running], Field], moto: Running) -> None:
    """SIGKILL ten times, resume each time: met, every object there, T0 unchanged, nothing proven copied twice."""
    there = field(moto)
    there.write(extra="keep: true")
    assert there.outsider("fill", there.container, _OBJECTS, "9000000").code == 0

    dice = random.Random(2026)
    assert _kill_after(there, dice.uniform(1, 3), "run", "drill.yaml", "--no-prefect")
    t0 = there.read("run.json")["t0_utc"]
    for _ in range(_KILLS - 1):
        assert _kill_after(there, dice.uniform(0.2, 2.5), "resume", "last", "--no-prefect"), "it ended too early"
    ended = there.exitdrill("resume", "last", "--no-prefect")
    assert ended.code == 0, ended.out + ended.err

    record, verdict = there.read("record.json"), there.read("verdict.json")
    assert verdict["judgement"] == "met"
    assert record["t0_utc"] == t0 == there.read("run.json")["t0_utc"]
    events = list(read_journal(there.run / "journal.jsonl"))
    assert sum(event["event"] == "declared" for event in events) == 1
    assert sum(event["event"] == "resumed" for event in events) == _KILLS
    assert any(lap["name"] == "downtime" for lap in record["laps"])
    elapsed = [event["elapsed_ns"] for event in events]
    assert elapsed == sorted(elapsed), "the drill's clock never goes back"
    compared = there.outsider("compare", there.container, there.bucket)
    assert compared.code == 0, compared.out + compared.err


@pytest.mark.timeout(300)
def test_workers_end_with_the_one_they_work_for(field: Callable[[Running], Field], moto: Running) -> None:
    """After SIGKILL of the command no worker of its goes on writing: the run can be locked and resumed at once."""
    there = field(moto)
    there.write()
    assert there.outsider("fill", there.container, _OBJECTS, "9000000").code == 0
    assert _kill_after(there, 4, "run", "drill.yaml", "--no-prefect")
    time.sleep(2)
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(there.run) not in listing
    ended = there.exitdrill("resume", "last", "--no-prefect")
    assert ended.code == 0, ended.out + ended.err
