"""The cut, the worker process and who follows it: with real subprocesses on directories."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exitdrill.clock import format_utc
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.provider import Endpoint
from exitdrill.connector.registry import connector
from exitdrill.errors import (
    ExitdrillError,
    NotFoundError,
    RunError,
    RunLockedError,
    SeveredError,
    StoppedError,
    TransientError,
    UsageError,
)
from exitdrill.plan.drill import Asset, DrillPlan, Level, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.testing.runs import T0
from exitdrill.transfer import client
from exitdrill.transfer.client import Watch, run_job, start_ahead, watch
from exitdrill.transfer.cut import Cut, Refuser, load_cut, make_cut, scrubbed
from exitdrill.transfer.inventory import inventory_counts
from exitdrill.transfer.job import Job, Tick
from exitdrill.transfer.layout import RunDirectory, RunFacts, write_atomic
from exitdrill.transfer.places import vault_container
from exitdrill.transfer.rows import LedgerRow, part_numbers, part_path, read_rows
from exitdrill.transfer.workers import end_idle

_POPEN = subprocess.Popen
_CUT = {"severed_utc": format_utc(T0), "severed_elapsed_ns": 1}


def _cut(
    *hosts: tuple[str, int | None], removed: tuple[str, ...] = (), probes: tuple[tuple[str, int], ...] = ()
) -> Cut:
    return Cut(format_utc(T0), 1, hosts, removed, probes)


# the cut


@pytest.mark.parametrize(
    ("host", "port", "refused"),
    [
        ("a.blob.example", 443, True),
        ("A.Blob.Example.", 443, True),
        ("blob.example", 443, False),
        ("login.example", 443, True),
        ("login.example", 80, True),
        ("10.1.2.3", 443, True),
        ("::ffff:10.1.2.3", 443, True),
        ("10.1.515", 443, True),
        ("10.1.2.3", 80, False),
        ("10.1.2.4", 443, False),
        ("fe80::1%eth0", 1, True),
    ],
)
def test_what_the_cut_refuses(host: str, port: int, refused: bool) -> None:
    """Names below a wildcard, names, and addresses in any spelling; a port only where one was given."""
    cut = _cut(("*.blob.example", None), ("login.example", None), ("10.1.2.3", 443), ("fe80::1", None))
    assert cut.refuses(host, port) is refused
    assert cut.refuses("10.1.2.3", None)


def test_names_are_refused_by_their_port() -> None:
    """Looking up a name is refused if it is all the source's, or for the port that is."""
    cut = _cut(("shared.example", 10000), ("*.own.example", None))
    assert cut.refuses_name("x.own.example")
    assert cut.refuses_name("shared.example", 10000)
    assert not cut.refuses_name("shared.example", 9000)
    assert not cut.refuses_name("shared.example")


def test_the_cut_leaves_what_the_target_needs(tmp_path: Path) -> None:
    """An address shared with the target is refused by name only; a shared metadata address not at all."""
    source = [Endpoint("localhost", 443), Endpoint("meta.example", None, "identity"), Endpoint("127.0.0.9", None)]
    keep = [Endpoint("127.0.0.1", None), Endpoint("meta.example", 80, "identity"), Endpoint("::1", 443)]
    cut = make_cut(tmp_path / "cut.json", source, ["B", "A"], keep, format_utc(T0), 5)
    assert cut.hosts == (("127.0.0.9", None), ("localhost", 443))
    assert cut.probes == (("127.0.0.9", 443), ("localhost", 443))
    assert cut.removed_variables == ("A", "B")
    assert load_cut(tmp_path / "cut.json") == cut
    assert load_cut(tmp_path / "none.json") is None
    wild = make_cut(tmp_path / "cut.json", [Endpoint("*.x.example")], [], [], format_utc(T0), 5)
    assert (wild.hosts, wild.probes) == ((("*.x.example", None),), ())
    gone = make_cut(tmp_path / "cut.json", [Endpoint("nowhere.invalid", 1)], [], [], format_utc(T0), 5)
    assert (gone.hosts, gone.probes) == ((("nowhere.invalid", 1),), ())


def test_the_environment_is_scrubbed() -> None:
    """Variables go by name or pattern; the others stay, and what went is named."""
    environ, removed = scrubbed({"AZURE_KEY": "s", "AWS_KEY": "t", "KEY": "u"}, ["AZURE_*", "KEY"])
    assert (environ, removed) == ({"AWS_KEY": "t"}, ("AZURE_KEY", "KEY"))


def test_the_refuser_sees_every_kind_of_event() -> None:
    """Connecting, sending and looking up are refused and counted; other events and other places are let through."""
    told: list[str] = []
    refuser = Refuser(_cut(("10.1.2.3", 443), ("*.own.example", None)), told.append)
    refused: list[tuple[str, tuple[Any, ...]]] = [
        ("socket.connect", (None, ("10.1.2.3", 443))),
        ("socket.sendto", (None, (b"10.1.2.3", 443))),
        ("socket.getaddrinfo", (b"a.own.example", "443", 0, 0, 0)),
        ("socket.getaddrinfo", ("a.own.example", None, 0, 0, 0)),
        ("socket.gethostbyname", ("a.own.example",)),
    ]
    for event, args in refused:
        with pytest.raises(SeveredError, match="cut off"):
            refuser._hook(event, args)
    passed: list[tuple[str, tuple[Any, ...]]] = [
        ("socket.connect", (None, ("10.1.2.3", 80))),
        ("socket.connect", (None, "/run/socket")),
        ("socket.getaddrinfo", (None, 80, 0, 0, 0)),
        ("socket.gethostbyname", ("other.example",)),
        ("open", ("x",)),
    ]
    for event, args in passed:
        refuser._hook(event, args)
    assert told == ["10.1.2.3:443", "10.1.2.3:443", "a.own.example:443", "a.own.example", "a.own.example"]
    assert refuser.attempts.total() == 5


_ENFORCED = """
import json, socket, sys
from exitdrill.errors import SeveredError
from exitdrill.transfer.cut import Cut, Refuser, probe
port, mode = int(sys.argv[1]), sys.argv[2]
cut = Cut("x", 1, (("127.0.0.1", port), ("localhost", port)), ("TAKEN",), (("127.0.0.1", port),))
refuser = Refuser(cut, lambda address: None)
out = {}
if mode != "open":
    refuser.enforce()
def tried(name, do):
    try:
        do()
    except SeveredError:
        out[name] = "severed"
    except OSError as exc:
        out[name] = type(exc).__name__
    else:
        out[name] = "reached"
tried("connect", lambda: socket.create_connection(("127.0.0.1", port), 5).close())
tried("name", lambda: socket.create_connection(("localhost", port), 5).close())
s6 = socket.socket(socket.AF_INET6)
tried("mapped", lambda: s6.connect(("::ffff:127.0.0.1", port)))
s6.close()
tried("short", lambda: socket.socket().connect(("127.1", port)))
try:
    out["probe"] = list(probe(cut))
except SeveredError as exc:
    out["probe"] = str(exc)
print(json.dumps(out))
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def _enforced(port: int, mode: str, **environ: str) -> dict[str, object]:
    command = [sys.executable, "-W", "ignore", "-c", _ENFORCED, str(port), mode]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=True
    )
    return dict(json.loads(done.stdout))


def test_the_cut_holds_in_a_process(listener: int) -> None:
    """After `enforce`, the source is out of reach by address, name and other spellings; the probe proves it."""
    found = _enforced(listener, "enforced")
    assert {found[n] for n in ("connect", "name", "mapped", "short")} == {"severed"}
    assert found["probe"] == [f"127.0.0.1:{listener}"]


def test_the_probe_says_when_the_cut_does_not_hold(listener: int) -> None:
    """A source that is reached, one that is down by itself, and credentials left over: none passes for a cut."""
    assert "reached in spite of the cut" in str(_enforced(listener, "open")["probe"])
    assert "TAKEN" in str(_enforced(listener, "enforced", TAKEN="secret")["probe"])
    assert "secret" not in str(_enforced(listener, "enforced", TAKEN="secret"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "unreachable" in str(_enforced(port, "open")["probe"])


def test_no_proxy_stands_between_a_worker_and_the_cut() -> None:
    """After the cut, connections to the source go direct, where they are seen."""
    cut = _cut(("*.blob.example", None), ("10.0.0.1", 443))
    found = client._direct({"NO_PROXY": "intranet", "HTTPS_PROXY": "http://proxy"}, cut)
    assert found["NO_PROXY"] == "intranet,.blob.example,10.0.0.1"
    assert found["no_proxy"] == ".blob.example,10.0.0.1"


# workers


def _plan(**asset: object) -> DrillPlan:
    step = Step("declare", "drill.declare", "why", "hand")
    chosen = {"source": {"container": "c"}, "target": {"bucket": "b"}, "verify": Level.FULL, **asset}
    return DrillPlan(
        "d", Mode.REHEARSAL, Objectives(),
        {n: Place(n, "local", {"path": f"./{n}"}) for n in ("here", "vault", "there")},
        Route("here", "vault", "there"), (Asset("files", "objects", **chosen),),  # type: ignore[arg-type]
        Playbook("p", (Phase("declare", (step,)),)),
    )  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A run on three directories, with fifty objects at the source."""
    made = RunDirectory.create(tmp_path / "runs", "20260101-000000-abcdef")
    plan = _plan()
    write_atomic(made.plan, json.dumps(plan.to_json()).encode())
    made.write_facts(RunFacts(made.id, format_utc(T0), str(tmp_path), "0"))
    for place, container in (("here", "c"), ("vault", vault_container(made.id, plan, plan.assets[0])), ("there", "b")):
        (tmp_path / place).mkdir()
        local = connector("local")
        settings = local.settings.model_validate({"path": str(tmp_path / place)})
        with local.open(place, settings) as provider:
            provider.ensure_container(container)
            if place == "here":
                with provider.objects(container) as store:
                    for n in range(50):
                        store.write(WriteRequest(f"{n:02d}", BytesBody(f"content {n}".encode())))
    return made


def _job(directory: RunDirectory, task: str, *parts: int, **options: object) -> Job:
    return Job(task, str(directory.path), "files", parts, options)


def test_all_tasks_one_after_the_other(directory: RunDirectory) -> None:
    """Inventory, both legs, last look, verification and teardown."""
    ticks: list[Tick] = []
    with watch(directory, Watch(ticks.append, lambda: False)):
        run_job(_job(directory, "inventory", part_rows=20))
        assert inventory_counts(directory.inventory("files")).objects == 50
        run_job(_job(directory, "evacuate", 1, 2, 3))
        look = run_job(_job(directory, "last look")).facts
        run_job(_job(directory, "rebuild", 1, 2, 3))
        found = run_job(_job(directory, "verify", seed="00" * 32)).facts
        target = run_job(_job(directory, "clean target", made=True)).facts
        vault = run_job(_job(directory, "clean vault")).facts
    assert (look["lost"], look["deleted"], look["oldest_lost_utc"]) == (0, 0, None)
    assert (found["verification"]["equal"], found["verification"]["reread_objects"]) == (50, 50)
    assert (target["deleted"], target["removed_container"], target["left"]) == (50, True, [])
    assert (vault["deleted"], vault["removed_container"]) == (3, True)  # a pack a part
    assert {t.task for t in ticks} >= {"inventory", "evacuate", "rebuild", "verify"}


def test_after_the_cut_jobs_of_the_source_are_refused(directory: RunDirectory) -> None:
    """What needs the source is not begun after the cut, and a worker's probe runs where the variables are gone."""
    with pytest.raises(RunError, match="not cut off"):
        run_job(_job(directory, "probe"))
    write_atomic(directory.cut, json.dumps({**_CUT, "hosts": [], "removed_variables": ["KEY"], "probes": []}).encode())
    environ = {**os.environ, "KEY": "secret"}
    with watch(directory, Watch(lambda _: None, lambda: False, environ=lambda: environ)):
        assert run_job(_job(directory, "probe")).facts == {"probed": []}
        with pytest.raises(RunError, match="cut off"):
            run_job(_job(directory, "evacuate", 1))


def test_errors_cross_the_border_as_they_are(directory: RunDirectory, tmp_path: Path) -> None:
    """A place's error arrives with its class and text; what nobody foresaw as a RunError, its trace in the log."""
    with pytest.raises(RunError, match="KeyError"):
        run_job(_job(directory, "no such task"))
    assert "Traceback" in (directory.logs / "worker.log").read_text()
    for path in sorted((tmp_path / "here").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(NotFoundError, match="here"):
        run_job(_job(directory, "inventory"))


def test_a_worker_that_is_asked_to_stop(directory: RunDirectory) -> None:
    """Stopping ends a job with StoppedError; what was done is kept, and the next one goes on."""
    run_job(_job(directory, "inventory", part_rows=10))
    with watch(directory, Watch(lambda _: None, lambda: True)), pytest.raises(StoppedError):
        run_job(_job(directory, "evacuate", 1, 2, 3, 4, 5))
    run_job(_job(directory, "evacuate", 1, 2, 3, 4, 5))
    ledger = directory.ledger("files")
    rows = [r for n in part_numbers(ledger, "evacuate") for r in read_rows(part_path(ledger, "evacuate", n), LedgerRow)]
    assert [r.key for r in rows] == [f"{n:02d}" for n in range(50)]


def _start() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "exitdrill.transfer.worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_worker_that_is_told_nonsense() -> None:
    """A first line that is no job ends the worker with an error of the protocol."""
    with _start() as process:
        out, _ = process.communicate("nonsense\n", timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["is"] == "error"


def test_a_worker_whose_conductor_died_is_waited_for(directory: RunDirectory) -> None:
    """The same job is not done by two processes at once: the second waits until the first has ended."""
    claim = directory.claim("inventory files 0", 1, lambda: False)
    with pytest.raises(RunLockedError):
        directory.claim("inventory files 0", 0.3, lambda: False)
    with pytest.raises(StoppedError):
        directory.claim("inventory files 0", 60, lambda: True)
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(run_job(_job(directory, "inventory"))))
    thread.start()
    time.sleep(3)
    assert not done
    claim.close()
    thread.join(60)
    assert done


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[str]]":
    """The worker processes that were started."""
    processes: list[subprocess.Popen[str]] = []

    def popen(*args: object, **more: object) -> object:
        processes.append(_POPEN(*args, **more))  # type: ignore[call-overload]
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return processes


def test_one_worker_carries_out_job_after_job(directory: RunDirectory, started: "list[subprocess.Popen[str]]") -> None:
    """Jobs one after the other are one process's, which ends with the run; without a watch each has its own."""
    with watch(directory, Watch(lambda _: None, lambda: False)):
        run_job(_job(directory, "inventory", part_rows=20))
        run_job(_job(directory, "evacuate", 1, 2, 3))
        run_job(_job(directory, "last look"))
        assert [process.poll() for process in started] == [None]
    assert [process.poll() for process in started] == [0]
    run_job(_job(directory, "rebuild", 1, 2, 3))
    run_job(_job(directory, "verify", seed="00" * 32))
    assert [process.poll() for process in started] == [0, 0, 0]


def test_a_worker_that_waited_and_was_killed_is_replaced(
    directory: RunDirectory, started: "list[subprocess.Popen[str]]"
) -> None:
    """The end of a worker that had nothing to do ends no job."""
    with watch(directory, Watch(lambda _: None, lambda: False)):
        run_job(_job(directory, "inventory", part_rows=20))
        started[0].kill()
        started[0].wait(30)
        run_job(_job(directory, "evacuate", 1, 2, 3))
    assert [process.poll() for process in started] == [-9, 0]


def test_a_worker_is_not_kept_after_an_error(directory: RunDirectory, started: "list[subprocess.Popen[str]]") -> None:
    """Nor is one that was stopped: the next job begins in a process without a past."""
    with watch(directory, Watch(lambda _: None, lambda: False)):
        with pytest.raises(RunError, match="KeyError"):
            run_job(_job(directory, "no such task"))
        run_job(_job(directory, "inventory", part_rows=20))
    assert len(started) == 2


def test_workers_started_ahead_carry_out_the_first_jobs(
    directory: RunDirectory, started: "list[subprocess.Popen[str]]"
) -> None:
    """Jobs take workers that were started for them, also while those still load; one that cannot load says why."""
    with watch(directory, Watch(lambda _: None, lambda: False)):
        start_ahead(directory, 2)
        with ThreadPoolExecutor(2) as pool:
            run_job(_job(directory, "inventory", part_rows=20))
            list(pool.map(run_job, [_job(directory, "evacuate", n) for n in (1, 2)]))
        assert len(started) == 2
    assert [process.poll() for process in started] == [0, 0]
    plan = json.loads(directory.plan.read_text())
    for place in plan["places"].values() if isinstance(plan["places"], dict) else plan["places"]:
        place["connector"] = "elsewhere"
    directory.plan.write_text(json.dumps(plan))
    with watch(directory, Watch(lambda _: None, lambda: False)):
        start_ahead(directory, 1)
        with pytest.raises(ExitdrillError, match="elsewhere"):
            run_job(_job(directory, "inventory", part_rows=20))


def test_workers_that_could_reach_the_source_end_with_the_cut(
    directory: RunDirectory, started: "list[subprocess.Popen[str]]"
) -> None:
    """What waits when the run is cut is ended; jobs after it begin in processes that never had the credentials."""
    environ = {**os.environ, "KEY": "secret"}
    with watch(directory, Watch(lambda _: None, lambda: False, environ=lambda: environ)):
        run_job(_job(directory, "inventory", part_rows=20))
        assert b"KEY=secret" in Path(f"/proc/{started[0].pid}/environ").read_bytes().split(b"\0")
        assert end_idle(directory) == 1
        assert started[0].poll() == 0
        cut = {**_CUT, "hosts": [], "removed_variables": ["KEY"], "probes": []}
        write_atomic(directory.cut, json.dumps(cut).encode())
        run_job(_job(directory, "probe"))
        run_job(_job(directory, "probe"))
        assert len(started) == 2
        assert b"KEY=secret" not in Path(f"/proc/{started[1].pid}/environ").read_bytes().split(b"\0")


def test_a_worker_that_waits_is_given_jobs_of_its_kind_alone(
    directory: RunDirectory, started: "list[subprocess.Popen[str]]"
) -> None:
    """Another environment, or another cut, is another process, also while the first waits."""
    environ = {**os.environ, "KEY": "one"}
    with watch(directory, Watch(lambda _: None, lambda: False, environ=lambda: environ)):
        run_job(_job(directory, "inventory", part_rows=20))
        environ["KEY"] = "two"
        run_job(_job(directory, "last look"))
        cut = {**_CUT, "hosts": [], "removed_variables": [], "probes": []}
        write_atomic(directory.cut, json.dumps(cut).encode())
        run_job(_job(directory, "probe"))
        assert len(started) == 3


def test_a_worker_refuses_a_job_under_another_cut(directory: RunDirectory) -> None:
    """What a worker enforces is decided at its first job: a mistake of the conductor must not undo the cut."""
    with _start() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_job(directory, "inventory", part_rows=20).to_json() + "\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline())["is"] != "result":
            pass
        cut = {**_CUT, "hosts": [], "removed_variables": [], "probes": []}
        write_atomic(directory.cut, json.dumps(cut).encode())
        out, _ = process.communicate(_job(directory, "probe").to_json() + "\n", timeout=60)
    assert "another cut" in out.splitlines()[-1]
    assert process.returncode == 1


def test_a_worker_ends_when_its_input_does(directory: RunDirectory) -> None:
    """The end of the input is the end of the conductor: a worker that waits stops by itself."""
    with directory.claim("inventory files 0", 1, lambda: False), _start() as process:
        out, _ = process.communicate(_job(directory, "inventory").to_json() + "\n", timeout=60)
    assert process.returncode == 1
    assert json.loads(out.splitlines()[-1])["error"]["class"] == "StoppedError"


def _worker(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put another program in the worker's place: the edge of the process."""

    def popen(_command: list[str], **more: object) -> object:
        return _POPEN([sys.executable, "-c", script], **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", popen)


_TICK = '{"is": "tick", "objects": 1, "size_bytes": 2, "errors": 0, "beats": 3}'


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ("print('chatter')", RunError, "not of its protocol"),
        ("print('[1]')", RunError, "not of its protocol"),
        ('print(\'{"is": "song"}\')', RunError, "not of its protocol"),
        ('print(\'{"is": "tick"}\')', RunError, "not of its protocol"),
        ("import os; os.kill(os.getpid(), 9)", RunError, "ended unexpectedly"),
        (
            'import os, sys; sys.stdout.write(\'{"is": "ti\'); sys.stdout.flush(); os.kill(os.getpid(), 9)',
            RunError,
            "ended unexpectedly",
        ),
        ("import sys; sys.stdin.close()", RunError, "code 0"),
    ],
)
def test_a_worker_that_misbehaves(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, script: str, error: type[Exception], text: str
) -> None:
    """Chatter, half a line, a kill: each is an error that says so and where to look, never a hang."""
    _worker(monkeypatch, script)
    with pytest.raises(error, match=text) as caught:
        run_job(_job(directory, "inventory"))
    assert "worker.log" in str(caught.value)


@pytest.mark.parametrize("silent", [True, False])
def test_a_worker_that_stands_still_is_ended(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """Without progress, whether it ticks or is frozen, a worker is ended and the job can be tried again."""
    monkeypatch.setattr(client, "_STALL_SECONDS", 1.5)
    say = "" if silent else f"print('{_TICK}', flush=True);"
    _worker(monkeypatch, f"import time\nwhile True: {say} time.sleep(0.1)")
    with pytest.raises(TransientError, match="no progress"):
        run_job(_job(directory, "inventory"))


def test_a_worker_that_does_not_heed_a_stop_is_ended(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that goes on ticking after it was asked to stop is ended, also if it ignores SIGTERM."""
    monkeypatch.setattr(client, "_STOP_SECONDS", 1.0)
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    _worker(monkeypatch, f"{ignoring}while True: print('{_TICK}', flush=True); time.sleep(0.1)")
    who = Watch(lambda _: None, lambda: True)
    with watch(directory, who), pytest.raises(StoppedError, match="had to be ended"):
        run_job(_job(directory, "inventory"))


def test_a_worker_that_ends_when_stopped(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies after it was asked to stop was stopped; one that is cut reports what it refused."""
    _worker(monkeypatch, "import sys; sys.stdin.readline(); sys.stdin.readline()")
    with watch(directory, Watch(lambda _: None, lambda: True)), pytest.raises(StoppedError):
        run_job(_job(directory, "inventory"))
    refused: list[str] = []
    _worker(
        monkeypatch, 'print(\'{"is": "refused", "address": "h:1"}\\n{"is": "result", "facts": {}, "stays": false}\')'
    )
    who = Watch(lambda _: None, lambda: False, lambda _job, address: refused.append(address))
    with watch(directory, who):
        run_job(_job(directory, "inventory"))
    assert refused == ["h:1"]


# the directory


def test_a_run_is_one_process_s(directory: RunDirectory) -> None:
    """A run in use by another process is refused, naming it; when that has ended, it is free."""
    hold = "import sys; from pathlib import Path; from exitdrill.transfer.layout import RunDirectory\n"
    hold += "file = RunDirectory(Path(sys.argv[1])).lock(); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(directory.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(RunLockedError, match=f"id {process.pid}"):
            directory.lock()
        os.kill(process.pid, signal.SIGKILL)
    directory.lock().close()


@pytest.mark.parametrize("data", [b'{"format": 0, "tool_version": "0.0.1"}', b"[]", b"{"])
def test_a_run_of_another_version(directory: RunDirectory, data: bytes) -> None:
    """A run directory that this version cannot read is refused, and not touched."""
    (directory.path / "run.json").write_bytes(data)
    with pytest.raises(RunError):
        directory.facts()
    assert (directory.path / "run.json").read_bytes() == data
    with pytest.raises(UsageError, match="no such run"):
        RunDirectory(directory.path / "none").facts()


def test_a_runs_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder of runs should be is a usage error."""
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot make"):
        RunDirectory.create(tmp_path / "runs", "x")


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """On a full disk the old content stays; afterwards the reserve gives room for the last words."""
    path = tmp_path / "record.json"
    write_atomic(path, b"old")
    (tmp_path / "record.json.new").symlink_to("/dev/full")
    with pytest.raises(Exception, match="disk is full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    made = RunDirectory.create(tmp_path, "r")
    made.free_reserve()
    made.free_reserve()
    assert not (made.path / "reserve").exists()
