"""Schedules, against a real Prefect server: what is deployed, and a triggered run that carries a drill out."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from exitdrill.errors import NotReadyError, UsageError
from exitdrill.flow.deploy import Timetable, deploy_to_pool
from exitdrill.flow.server import PrefectServer

_LIMIT_SECONDS = 270
_ROOT = Path(__file__).parents[2]
_CRON = "0 6 1 1,4,7,10 *"
_ZONE = "Europe/Amsterdam"

_DRILL = """\
exitdrill: 1
name: quarterly
playbook: ./playbook.yaml
mode: rehearsal
objectives: {rto: 20m, rpo: 20m}
places:
  azure:
    connector: azure
    emulator: azurite
    seed: {container: registers, objects: 20, bytes_max: 20000, random: 7}
  vault: {connector: local, path: ./vault}
  aws: {connector: s3, emulator: moto}
route: {source: azure, vault: vault, target: aws}
assets:
  - name: registers
    kind: objects
    source: {container: registers}
    target: {bucket: registers}
    verify: full
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server with all its services, as an organisation runs one."""
    environ = {"PREFECT_HOME": "/nonexistent"}
    with PrefectServer(tmp_path_factory.mktemp("prefect"), scheduler=True, environ=environ) as started:
        started.wait_ready(200)
        yield started


@pytest.fixture
def drill(tmp_path: Path) -> Path:
    """A drill whose cut a person must approve."""
    playbook = (_ROOT / "playbooks" / "plan-b.yaml").read_text()
    assert "uses: source.sever\n" in playbook
    approved = playbook.replace("uses: source.sever\n", "uses: source.sever\n        approval: true\n")
    (tmp_path / "playbook.yaml").write_text(approved)
    path = tmp_path / "drill.yaml"
    path.write_text(_DRILL)
    return path


@pytest.fixture
def client(server: PrefectServer) -> Iterator[Any]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as found:
        yield found


def _user(server: PrefectServer, tmp_path: Path) -> Mapping[str, str]:
    """The environment of somebody who uses that server."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EXITDRILL_"))}
    return environ | {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(tmp_path / "user"), "DO_NOT_TRACK": "1"}


def _eventually(ask: Any, what: str, process: "subprocess.Popen[bytes]", log: Path) -> Any:
    for _ in range(_LIMIT_SECONDS * 2):
        if (found := ask()) is not None:
            return found
        assert process.poll() is None, log.read_text()
        time.sleep(0.5)
    pytest.fail(f"{what}; the log:\n{log.read_text()}")


def _by_name(client: Any, name: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _approved(client: Any, flow_run_id: UUID) -> bool | None:
    """Answer the form as a person does in Prefect's pages; None while it is not there yet."""
    answer = {"run_input": {"name": "A. Director", "approved": True, "note": ""}}
    path = {"id": flow_run_id}
    reply = client.request("POST", "/flow_runs/{id}/resume", path_params=path, json=answer).json()
    return True if reply["status"] == "ACCEPT" else None


def test_a_served_schedule_carries_the_drill_out_when_triggered(
    server: PrefectServer, client: Any, drill: Path, tmp_path: Path, azurite_installed: None
) -> None:
    """The deployment has its cron line and zone; a run of it pauses for approval and ends in a verdict."""
    runs, log = tmp_path / "runs", tmp_path / "serve.log"
    command = [sys.executable, "-m", "exitdrill.cli.main", "schedule", str(drill), "--cron", _CRON]
    command += ["--timezone", _ZONE, "--runs", str(runs)]
    with log.open("wb") as out:
        serving = subprocess.Popen(command, env=_user(server, tmp_path), stdout=out, stderr=out)
    try:
        deployment = _eventually(lambda: _by_name(client, "exitdrill/quarterly"), "no deployment", serving, log)
        (schedule,) = deployment.schedules
        assert (schedule.schedule.cron, schedule.schedule.timezone) == (_CRON, _ZONE)
        assert schedule.active

        flow_run = client.create_flow_run_from_deployment(deployment.id)

        def state(*names: str) -> Any:
            found = client.read_flow_run(flow_run.id)
            return found if found.state is not None and found.state.type.value in names else None

        ends = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        paused = _eventually(lambda: state("PAUSED", *ends), "it does not ask", serving, log)
        assert paused.state.is_paused(), f"{paused.state}\n{log.read_text()}"
        _eventually(lambda: _approved(client, flow_run.id), "it takes no answer", serving, log)
        done = _eventually(lambda: state(*ends), "it does not end", serving, log)
        assert done.state.is_completed(), f"{done.state}\n{log.read_text()}"
        (run,) = runs.iterdir()
        assert done.name == f"quarterly-{run.name}"
        assert b'"judgement": "met"' in (run / "verdict.json").read_bytes(), (run / "verdict.json").read_text()
        assert done.state.message == "met"
        assert b"A. Director" in (run / "record.json").read_bytes()
    finally:
        serving.terminate()
        assert serving.wait(60) == 0, log.read_text()


def test_a_work_pool_gets_the_deployment(server: PrefectServer, client: Any, drill: Path, tmp_path: Path) -> None:
    """With names and paths, no image; by the flow's module, so that a worker needs exitdrill alone."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.request("POST", "/work_pools/", json=WorkPoolCreate(name="pool", type="process").model_dump(mode="json"))
    approvals = {"sever": "A. Director"}
    timetable = Timetable(drill, tmp_path / "runs", _CRON, _ZONE, name="in the pool", approvals=approvals)
    found = client.read_deployment(deploy_to_pool(timetable, "pool"))
    assert found.work_pool_name == "pool"
    assert found.entrypoint == "exitdrill.flow.drill.scheduled_drill"
    assert found.parameters == {
        "drill": str(drill),
        "runs": str(tmp_path / "runs"),
        "approvals": approvals,
    }
    assert [s.schedule.timezone for s in found.schedules] == [_ZONE]


def test_an_unknown_work_pool_is_named(client: Any, drill: Path, tmp_path: Path) -> None:
    """Not ready, with the command that makes one."""
    with pytest.raises(NotReadyError, match="no such work pool") as caught:
        deploy_to_pool(Timetable(drill, tmp_path, _CRON), "elsewhere")
    assert "prefect work-pool create" in caught.value.hint


def test_a_server_that_does_not_answer_is_named(drill: Path, tmp_path: Path) -> None:
    """With its address."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(NotReadyError, match=r"http://127\.0\.0\.1:9/api"),
    ):
        deploy_to_pool(Timetable(drill, tmp_path, _CRON), "pool")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"cron": "0 6 1 1,4,7,10"}, "is no cron line"),
        ({"cron": "61 6 1 1 *"}, "is no cron line"),
        ({"cron": "@every quarter"}, "is no cron line"),
        ({"timezone": "Europe/Den Haag"}, "no time zone is called"),
        ({"timezone": "../../etc/passwd"}, "no time zone is called"),
        ({"name": "a/b"}, "cannot name a deployment"),
    ],
)
def test_a_timetable_that_cannot_be_is_a_usage_error(
    drill: Path, tmp_path: Path, changes: dict[str, str], what: str
) -> None:
    """Before any server is asked."""
    timetable = replace(Timetable(drill, tmp_path, _CRON, _ZONE), **changes)  # type: ignore[arg-type]  # strings all
    with pytest.raises(UsageError, match=what):
        deploy_to_pool(timetable, "pool")
