"""The conductor and the drill's flow, on a real Prefect server started for these tests."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from exitdrill.errors import NotReadyError, RunError, StoppedError, ThrottledError
from exitdrill.flow.server import PrefectServer
from exitdrill.plan.drill import Phase, Playbook, Step
from exitdrill.playbook.conductor import Answer, Question
from exitdrill.playbook.run import Run, RunOptions, declare
from exitdrill.testing.runs import make_plan

T = TypeVar("T")

_LIMIT_SECONDS = 200.0
_QUESTION = Question("approve-cut", "approval", "no way back after it", "tell the director")


@pytest.fixture(scope="module")
def server() -> Iterator[PrefectServer]:
    """A server started for these tests, whatever the developer has configured."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environ["PREFECT_HOME"] = "/nonexistent"
    with PrefectServer(environ=environ) as started:
        before = dict(os.environ)
        started.connect()
        os.environ.update({name: value for name, value in environ.items() if name not in before})
        started.wait_ready(_LIMIT_SECONDS)
        yield started
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _inside(server: PrefectServer, body: Callable[[], T]) -> T:
    """What ``body`` gives inside a flow run."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @flow(name="test", persist_result=False)
    def test_flow() -> list[T]:
        return [body()]

    with temporary_settings({PREFECT_API_URL: server.url}):
        return test_flow()[0]


def _double(number: int) -> int:
    return 2 * number


def _throttled() -> None:
    raise ThrottledError("slow down", retry_after_seconds=3.0, resource="place aws")


def _value_error() -> None:
    raise ValueError("not ours")


def _leave() -> None:
    raise SystemExit(3)


def test_tasks_give_what_they_return_and_raise_what_they_raised(server: PrefectServer) -> None:
    """A result comes back; our errors keep class and fields, others stay what they were; an exit becomes an error."""
    from exitdrill.flow.conductor import PrefectConductor

    def body() -> dict[str, Exception]:
        with PrefectConductor() as conductor:
            assert [p.result() for p in [conductor.submit("x", _double, i) for i in range(40)]] == list(range(0, 80, 2))
            raised = {}
            for function in (_throttled, _value_error, _leave):
                with pytest.raises(Exception) as caught:  # noqa: PT011 - told apart below
                    conductor.submit("fails {x}", function).result()
                raised[function.__name__] = caught.value
            return raised

    raised = _inside(server, body)
    throttled = raised["_throttled"]
    assert type(throttled) is ThrottledError
    assert (throttled.retry_after_seconds, throttled.resource) == (3.0, "place aws")
    assert type(raised["_value_error"]) is ValueError
    assert type(raised["_leave"]) is RunError


def test_tasks_wait_for_tasks_they_submit_without_deadlock(server: PrefectServer) -> None:
    """More outer tasks than threads, each waiting for inner ones; and from threads that know nothing of the flow."""
    from exitdrill.flow.conductor import PrefectConductor

    def body() -> list[int]:
        with PrefectConductor(width=2) as conductor:

            def outer(count: int) -> int:
                return sum(p.result(60) for p in [conductor.submit(f"inner {i}", _double, i) for i in range(count)])

            sums: list[int] = []
            threads = [
                threading.Thread(target=lambda: sums.append(conductor.submit("outer", outer, 4).result(60)))
                for _ in range(6)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return sums

    assert _inside(server, body) == [12] * 6


def test_no_more_tasks_than_its_width_run_at_once(server: PrefectServer) -> None:
    """The width bounds what one provider is asked at a time."""
    from exitdrill.flow.conductor import PrefectConductor

    running, most, lock = 0, 0, threading.Lock()

    def count() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    def body() -> None:
        with PrefectConductor(width=3) as conductor:
            for pending in [conductor.submit("count", count) for _ in range(12)]:
                pending.result()

    _inside(server, body)
    assert most == 3


def test_task_runs_carry_their_names_in_prefect(server: PrefectServer) -> None:
    """What an operator sees in Prefect is the part's name, not a function's."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterName
    from prefect.client.schemas.sorting import TaskRunSort
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from exitdrill.flow.conductor import PrefectConductor

    def body() -> None:
        with PrefectConductor() as conductor:
            conductor.submit("evacuate case-files 0-7", _double, 1).result()

    _inside(server, body)
    wanted = TaskRunFilter(name=TaskRunFilterName(any_=["evacuate case-files 0-7"]))
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        for _ in range(300):
            found = client.read_task_runs(task_run_filter=wanted, sort=TaskRunSort.END_TIME_DESC, limit=5)
            if found and found[0].state is not None and found[0].state.is_completed():
                return
            time.sleep(0.1)
    pytest.fail("the server knows no such completed task run")


def test_nobody_is_asked_at_a_server_nobody_looks_at(server: PrefectServer) -> None:
    """The message tells how to answer beforehand; a terminal is asked where there is one."""
    from exitdrill.flow.conductor import PrefectConductor

    def body() -> Answer:
        with pytest.raises(NotReadyError, match="approve-cut") as caught:
            PrefectConductor().ask(_QUESTION)
        assert "--approve approve-cut=NAME" in caught.value.hint
        return PrefectConductor(lambda question: Answer(f"asked {question.step}")).ask(_QUESTION)

    assert _inside(server, body) == Answer("asked approve-cut")


def _answer(server: PrefectServer, flow_run_id: Any, values: dict[str, object]) -> None:
    """Resume a paused flow run, as a person does in Prefect's pages."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        for _ in range(600):
            state = client.read_flow_run(flow_run_id).state
            if state is not None and state.is_paused():
                break
            time.sleep(0.1)
        for _ in range(100):  # the form is saved a moment after the pause
            reply = client.request(
                "POST", "/flow_runs/{id}/resume", path_params={"id": flow_run_id}, json={"run_input": values}
            )
            if reply.json()["status"] == "ACCEPT":
                return
            time.sleep(0.1)
    raise AssertionError(reply.text)


@pytest.mark.parametrize("approved", [True, False])
def test_people_answer_by_resuming_the_paused_flow_run(server: PrefectServer, *, approved: bool) -> None:
    """An approval comes back with its name and note; a refusal stops the drill, resumably."""
    from prefect.context import FlowRunContext

    from exitdrill.flow.conductor import PrefectConductor

    def body() -> Answer | Exception:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        conductor = PrefectConductor(seen=True, limits={"approve-cut": 60.0})
        values: dict[str, object] = {"name": "A. Director", "approved": approved, "note": "seen the list"}
        thread = threading.Thread(target=_answer, args=(server, context.flow_run.id, values))
        thread.start()
        try:
            return conductor.ask(_QUESTION)
        except StoppedError as error:
            return error
        finally:
            thread.join()

    found = _inside(server, body)
    if approved:
        assert found == Answer("A. Director", "seen the list")
    else:
        assert isinstance(found, StoppedError)
        assert "A. Director said no" in str(found)


def test_a_question_nobody_answers_in_time_is_not_ready(server: PrefectServer) -> None:
    """The step's own time limit counts, and the message tells what to do."""
    from exitdrill.flow.conductor import PrefectConductor

    def body() -> None:
        PrefectConductor(seen=True, limits={"approve-cut": 1.0}).ask(_QUESTION)

    with pytest.raises(NotReadyError, match="nobody answered"):
        _inside(server, body)


def test_a_stop_ends_the_wait_for_an_answer(server: PrefectServer) -> None:
    """Prefect's own wait would go on for a day."""
    from exitdrill.flow.conductor import PrefectConductor

    stop = threading.Event()

    def body() -> None:
        threading.Timer(0.5, stop.set).start()
        PrefectConductor(seen=True, stop=stop).ask(_QUESTION)

    began = time.monotonic()
    with pytest.raises(StoppedError):
        _inside(server, body)
    assert time.monotonic() - began < 30


def _run(tmp_path: Path, steps: tuple[Step, ...], options: RunOptions | None = None) -> Run:
    plan = replace(make_plan(), playbook=Playbook("by hand", tuple(Phase(step.id, (step,)) for step in steps)))
    return declare(plan, tmp_path / "runs", options or RunOptions())


_BY_HAND = Step("look", "manual", "somebody must look", "look")
_DECLARE = Step("declare", "drill.declare", "the clock starts", "write it down")


def _flow_run(server: PrefectServer, run_id: str) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        wanted = FlowRunFilter(name=FlowRunFilterName(any_=[f"plan-b-24h-{run_id}"]))
        (found,) = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=5)
        return found


def test_a_run_is_carried_out_as_a_flow_run(server: PrefectServer, tmp_path: Path) -> None:
    """Record and verdict are written, the flow run has the drill's name and end, its artifacts show the result."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from exitdrill.flow.drill import Conducting, run_in_flow

    run = _run(tmp_path, (_DECLARE, _BY_HAND), RunOptions({"look": "A. Tester"}))
    verdict = run_in_flow(run, Conducting(url=server.url))
    assert run.error is None
    assert run.directory.verdict.exists()
    assert b'"Prefect 3' in run.directory.record.read_bytes()
    found = _flow_run(server, run.id)
    assert found.state.message.startswith(verdict.judgement.value)
    assert found.parameters == {"drill": "plan-b-24h", "run_id": run.id}
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        shown = {}
        for what in ("progress", "result"):
            path = {"key": f"exitdrill-plan-b-24h-{what}"}
            shown[what] = client.request("GET", "/artifacts/{key}/latest", path_params=path).json()
    assert shown["progress"]["data"] == 100.0
    assert f"run {run.id}" in shown["progress"]["description"]
    assert shown["result"]["flow_run_id"] == str(found.id)
    assert "plan-b-24h" in shown["result"]["data"]


def test_a_drill_that_fails_is_a_failed_flow_run_with_its_error(server: PrefectServer, tmp_path: Path) -> None:
    """Nobody can be asked: the error is the run's, the verdict is there all the same."""
    from exitdrill.flow.drill import Conducting, run_in_flow

    run = _run(tmp_path, (_BY_HAND,))
    verdict = run_in_flow(run, Conducting(url=server.url))
    assert verdict.exit_code == 4
    assert isinstance(run.error, NotReadyError)
    state = _flow_run(server, run.id).state
    assert state.is_failed()
    assert "look" in state.message


def test_a_stopped_drill_is_a_cancelled_flow_run(server: PrefectServer, tmp_path: Path) -> None:
    """It was stopped, not carried out, and can be resumed."""
    from exitdrill.flow.drill import Conducting, run_in_flow

    run = _run(tmp_path, (_DECLARE,))
    run.stop.set()
    run_in_flow(run, Conducting(url=server.url))
    assert isinstance(run.error, StoppedError)
    assert _flow_run(server, run.id).state.is_cancelled()


def test_without_a_prefect_server_the_drill_goes_on(server: PrefectServer, tmp_path: Path) -> None:
    """The clock runs: a dead orchestrator is journalled and costs the drill nothing."""
    from exitdrill.flow.drill import Conducting, run_in_flow

    run = _run(tmp_path, (_DECLARE, _BY_HAND), RunOptions({"look": "A. Tester"}))
    run_in_flow(run, Conducting(url="http://127.0.0.1:9/api"))
    assert run.error is None
    assert b"orchestrator failed" in run.directory.journal.read_bytes()
    assert run.directory.verdict.exists()


_UNDER_WAY = """
import sys, signal, threading, time
from dataclasses import replace
from pathlib import Path
from exitdrill.errors import StoppedError
from exitdrill.flow.server import PrefectServer
from exitdrill.plan.drill import Phase, Playbook, Step
from exitdrill.playbook.conductor import Answer
from exitdrill.playbook.run import declare
from exitdrill.testing.runs import make_plan

server = PrefectServer(Path(sys.argv[1], "prefect"))
server.start()
server.connect()
from exitdrill.flow.drill import Conducting, run_in_flow

server.wait_ready(200)
step = Step("look", "manual", "somebody must look", "look")
plan = replace(make_plan(), playbook=Playbook("by hand", (Phase("look", (step,)),)))
run = declare(plan, Path(sys.argv[1], "runs"))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: run.stop.set())

def asker(question):
    if sys.argv[2] == "server dies":
        server.stop()
        return Answer("A. Tester")
    print("asked", flush=True)
    if not run.stop.wait(60):
        raise AssertionError("no signal came through")
    raise StoppedError("stopped while a person was asked")

verdict = run_in_flow(run, Conducting(asker))
print(type(run.error).__name__, verdict.run_id == run.id, run.directory.verdict.exists(), flush=True)
server.stop()
"""


def _under_way(tmp_path: Path, case: str) -> "subprocess.Popen[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-c", _UNDER_WAY, str(tmp_path), case]
    environ["PREFECT_HOME"] = str(tmp_path)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_callers_handler_while_prefect_conducts(tmp_path: Path, number: signal.Signals) -> None:
    """Prefect neither takes the handler nor ends threads: the drill stops in the way its caller chose."""
    with _under_way(tmp_path, "signal") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert out == "StoppedError True True\n", err
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_a_server_that_dies_under_way_costs_the_drill_nothing(tmp_path: Path) -> None:
    """The drill is carried out to its verdict, and the process ends by itself."""
    with _under_way(tmp_path, "server dies") as process:
        out, err = process.communicate(timeout=250)
    assert out == "NoneType True True\n", err
    assert process.returncode == 0, err


def test_an_interrupt_of_a_scheduled_drill_stops_it_cleanly(tmp_path: Path) -> None:
    """Prefect cancels by raising in the main thread; the drill's thread is told, and waited for."""
    from exitdrill.flow.drill import _on_thread

    run = _run(tmp_path, (_DECLARE,))
    ended = threading.Event()

    def work() -> None:
        run.stop.wait(60)
        time.sleep(0.2)
        ended.set()

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
    try:
        threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            _on_thread(run, work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.is_set()
    run.close()


_KILLED = """
import sys, time
from pathlib import Path
from exitdrill.flow.server import PrefectServer
server = PrefectServer(Path(sys.argv[1]), environ={"PREFECT_HOME": sys.argv[1]})
server.start()
print(server.url, flush=True)
time.sleep(300)
"""


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """SIGKILL leaves no server behind, even one that is still starting."""
    home = tmp_path / "prefect"
    starter = subprocess.Popen([sys.executable, "-c", _KILLED, str(home)], stdout=subprocess.PIPE, text=True)
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().startswith("http://127.0.0.1:")
        assert _processes(str(home))
        starter.send_signal(signal.SIGKILL)
        starter.wait(20)
    for _ in range(200):
        if not _processes(str(home)):
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {_processes(str(home))}")


def _processes(argument: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
        if argument in line and "exitdrill.flow.serving" in line:
            found.append(line)
    return found


def test_one_folder_serves_one_server(server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is told so, and the first goes on."""
    monkeypatch.setattr("exitdrill.flow.server._LOCK_SECONDS", 1.0)
    environ = {"PREFECT_HOME": str(tmp_path)}
    with PrefectServer(tmp_path / "p", environ=environ) as first:
        first.url  # noqa: B018 - waits for it
        with (
            PrefectServer(tmp_path / "p", environ=dict(environ)) as second,
            pytest.raises(NotReadyError, match="another"),
        ):
            second.url  # noqa: B018


_WATCHED = """
import os, sys, socket, threading
def hook(event, args):
    if event == "socket.connect":
        address = args[1]
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(repr(address) + "\\n")
    elif event == "socket.getaddrinfo":
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(repr((args[0], args[1])) + "\\n")
sys.addaudithook(hook)
"""

_EMPTY_DRILL = """
import os, sys
from pathlib import Path
from exitdrill.flow.server import PrefectServer
with PrefectServer(Path(sys.argv[1])) as server:
    server.connect()
    server.wait_ready(200)
    from prefect import flow
    from exitdrill.flow.conductor import PrefectConductor
    @flow(name="t")
    def t():
        with PrefectConductor() as conductor:
            print("result", conductor.submit("x", abs, -3).result())
    t()
"""


def test_nothing_is_asked_outside_this_machine_and_stdout_stays_clean(tmp_path: Path) -> None:
    """An audit hook in the client and in the server sees every connection and look-up: all are loopback."""
    seen = tmp_path / "connections"
    (tmp_path / "site").mkdir()
    hook = _WATCHED.replace('os.environ["CONNECTIONS"]', repr(str(seen)))
    (tmp_path / "site" / "sitecustomize.py").write_text(hook)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COVERAGE_"))}
    environ |= {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)}
    environ.pop("DO_NOT_TRACK", None)
    done = subprocess.run(
        [sys.executable, "-c", _EMPTY_DRILL, str(tmp_path / "p")],
        env=environ, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "result 3\n"
    lines = set(seen.read_text().splitlines())
    assert lines
    assert not [line for line in lines if "127.0.0.1" not in line and "localhost" not in line and "'/" not in line]
