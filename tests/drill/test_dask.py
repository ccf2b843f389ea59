"""A drill on several machines: a Dask cluster, claims in PostgreSQL, a vault on S3. Workers are killed midway."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

from drilling import Field
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.registry import connector
from exitdrill.emulator import Running
from exitdrill.evidence.journal import read_journal
from exitdrill.transfer.postgres import ClaimTable
from postgres import URL_PASSWORD, free_port

_OBJECTS = 240
_PART_ROWS = 60
_THREADS = 4
_LEASE_SECONDS = 3
_LIMIT_SECONDS = 240
_VAULT = "vault: {connector: local, path: ./vault}"
_VAULT_ON_S3 = """\
vault:
    connector: s3
    endpoint: "${env:VAULT_ENDPOINT}"
    region: eu-central-1
    access_key_id: "${env:VAULT_KEY_ID}"
    secret_access_key: "${env:VAULT_SECRET}\""""
_SLOW = {"azure": "limits: {requests_per_second: 75}", "s3": "limits: {requests_per_second: 45}"}
_ENGINE = """\
keep: true
engine:
  kind: dask
  address: tcp://127.0.0.1:{port}
  claims: "${{env:EXITDRILL_CLAIMS}}"
  workers: {workers}
  lease: {lease}s
"""


class Cluster:
    """A Dask scheduler and workers, each a process started apart as on a machine of its own."""

    def __init__(self, folder: Path, environ: dict[str, str], stack: ExitStack) -> None:
        self.port = free_port()
        self._folder, self._environ, self._stack = folder, environ, stack
        self._start("scheduler", "--port", str(self.port))

    def worker(self, number: int) -> None:
        alone = ("--nthreads", "1", "--no-nanny", "--name", f"w{number}")
        self._start("worker", f"tcp://127.0.0.1:{self.port}", *alone, log=f"worker-{number}")

    def _start(self, what: str, *arguments: str, log: str = "scheduler") -> None:
        file = self._stack.enter_context((self._folder / f"{log}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", what, "--host", "127.0.0.1", "--no-dashboard", *arguments],
            env=self._environ,
            cwd=self._folder,
            stdout=file,
            stderr=file,
        )
        self._stack.callback(_end, process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pid in _tree(process.pid):
        _kill(pid)
    process.wait(timeout=30)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parent(pid: int) -> int:
    """Zero where there is no such process any more."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    parents = {int(p.name): _parent(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdecimal()}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _s3(environ: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environ["S3_ENDPOINT"],
        region_name="eu-central-1",
        aws_access_key_id=environ["S3_KEY_ID"],
        aws_secret_access_key=environ["S3_SECRET"],
        config=Config(s3={"addressing_style": "path"}),
    )


def _playbook(folder: Path, threads: int, part_rows: int) -> None:
    """The shipped one, with small parts and few threads."""
    text = (Path(__file__).parents[2] / "playbooks" / "plan-b.yaml").read_text()
    small = f"uses: assets.inventory\n        with: {{part_rows: {part_rows}}}"
    text = text.replace("uses: assets.inventory", small)
    for leg in ("assets.evacuate", "assets.rebuild"):
        text = text.replace(f"uses: {leg}", f"uses: {leg}\n        with: {{threads: {threads}}}")
    (folder / "playbook.yaml").write_text(text)


@contextmanager
def _on_cluster(
    there: Field, vault: Running, claims: str, workers: int
) -> Iterator[tuple[Field, dict[str, str], Cluster]]:
    """The field, its drill on a cluster."""
    environ = dict(there.environ) | {
        "EXITDRILL_CLAIMS": claims,
        "VAULT_ENDPOINT": vault.settings["endpoint"],
        "VAULT_KEY_ID": vault.settings["access_key_id"],
        "VAULT_SECRET": vault.settings["secret_access_key"],
    }
    there = Field(there.folder, environ, there.container, there.bucket)
    _playbook(there.folder, _THREADS, _PART_ROWS)
    with ExitStack() as stack:
        cluster = Cluster(there.folder, environ, stack)
        engine = _ENGINE.format(port=cluster.port, workers=workers, lease=_LEASE_SECONDS)
        there.write(extra=engine, playbook="playbook.yaml")
        text = there.drill.read_text().replace(_VAULT, _VAULT_ON_S3)
        # so slow that a worker can be caught in the middle of a part
        text = text.replace("    account:", f"    {_SLOW['azure']}\n    account:")
        text = text.replace('    endpoint: "${env:S3', f"    {_SLOW['s3']}\n" + '    endpoint: "${env:S3')
        there.drill.write_text(text)
        for number in range(workers):
            cluster.worker(number)
        yield there, environ, cluster


def _kill_holder(alive: "subprocess.Popen[bytes]", claims: str, run: str, leg: str, busy: str) -> tuple[int, int]:
    """SIGKILL the Dask worker, with all its processes, that is in the middle of a part; which, and how far it was."""
    middle = f"SELECT holder, part, objects FROM exitdrill_claims WHERE run = %s AND leg = %s AND NOT done AND {busy}"  # noqa: S608
    deadline = time.monotonic() + _LIMIT_SECONDS
    with psycopg.connect(claims, autocommit=True) as db:
        while alive.poll() is None and time.monotonic() < deadline:
            row = db.execute(middle + " AND until > clock_timestamp() LIMIT 1", (run, leg)).fetchone()
            if row is not None and (dask := _parent(int(row[0].split(":")[1]))) > 1:
                for pid in _tree(dask):
                    _kill(pid)
                return int(row[1]), int(row[2])
            time.sleep(0.02)
    raise AssertionError(f"no worker was seen in the middle of {leg}")


def _keys(folder: Path, stem: str) -> tuple[list[str], list[str]]:
    """The keys in every part of a ledger, read without exitdrill, and the parts' names."""
    parts = sorted(folder.glob("*.parquet"))
    named = [part for part in parts if part.name.startswith(f"{stem}-")]
    keys = [str(key) for part in named for key in pq.read_table(part)["key"].to_pylist()]
    return keys, [part.name for part in named]


@pytest.mark.timeout(300)
def test_workers_that_die_lose_nothing_and_double_nothing(
    field: Callable[[Running], Field], moto: Running, seaweedfs: Running, postgres: str
) -> None:
    """One of three workers is killed in the middle of each leg: every object arrives once, every part is there once."""
    with _on_cluster(field(moto), seaweedfs, postgres, 3) as (there, environ, cluster):
        assert there.outsider("fill", there.container, str(_OBJECTS), "300000").code == 0
        s3 = _s3(environ)
        s3.create_bucket(Bucket=there.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

        with ClaimTable(postgres) as table:
            table.prepare()  # the drill's own preflight finds it there
        with _running(there, "run", "drill.yaml") as process:
            deadline = time.monotonic() + _LIMIT_SECONDS
            while not list(there.runs.glob("2*/run.json")) and time.monotonic() < deadline:
                time.sleep(0.1)
            run = there.run.name
            _kill_holder(process, postgres, run, "evacuate", "size_bytes > 0")
            # Only now: moto cannot list versions of the keys with which preflight tried it.
            s3.put_bucket_versioning(Bucket=there.bucket, VersioningConfiguration={"Status": "Enabled"})
            _, done = _kill_holder(process, postgres, run, "rebuild", "objects BETWEEN 35 AND 50")
            code = process.wait(timeout=_LIMIT_SECONDS)
        said = (there.folder / "out").read_text()
        assert code == 0, _said(there)
        assert "Prefect shows no tasks" not in said, said

        compared = there.outsider("compare", there.container, there.bucket)
        assert compared.code == 0, compared.out + compared.err
        _ledger_is_the_inventory(there, environ)
        _claims_are_done(postgres, run)
        _puts(s3, there.bucket, done)
        record = there.read("record.json")
        assert "Dask" in record["orchestrator"]
        _cut_held_everywhere(there, record)
        cluster_checks = {check["resource"]: check["ready"] for check in record["checks"] if check["name"] == "cluster"}
        looked_at = ("runs folder", "claims", "source", "vault", "target", "vault shared")
        assert cluster_checks == dict.fromkeys((f"tcp://127.0.0.1:{cluster.port}", *looked_at), True)
        for secret in (postgres, environ["AZURE_KEY"], environ["VAULT_SECRET"]):
            assert secret not in said
            logs = "".join(p.read_text(errors="replace") for p in there.folder.rglob("*.log"))
            assert secret not in logs + (there.run / "plan.json").read_text()


def _said(there: Field) -> str:
    logs = [*there.folder.glob("*.log"), *there.runs.glob("*/logs/*.log"), there.folder / "out"]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


def _ledger_is_the_inventory(there: Field, environ: dict[str, str]) -> None:
    """Both legs' rows are the source's blobs, each once; each part is there once, and nothing is left beside them."""
    service = BlobServiceClient(
        environ["AZURE_ENDPOINT"],
        credential={"account_name": environ["AZURE_ACCOUNT"], "account_key": environ["AZURE_KEY"]},
    )
    blobs = sorted(blob.name for blob in service.get_container_client(there.container).list_blobs())
    assert len(blobs) == _OBJECTS
    folder = there.run / "ledger" / "case-files"
    for stem in ("evacuate", "rebuild"):
        keys, parts = _keys(folder, stem)
        assert sorted(keys) == blobs
        assert parts == [f"{stem}-{n:06d}.parquet" for n in range(1, -(-_OBJECTS // _PART_ROWS) + 1)]
    assert not list(folder.glob("*.new"))
    assert not list((there.run / "work" / "case-files").glob("*.sqlite*"))


def _cut_held_everywhere(there: Field, record: Any) -> None:
    """The probe ran here and on each worker, after the cut and at the end; nothing else reached for the source."""
    assert record["severance"]["holds"]
    attempts = record["severance"]["attempts"]
    assert {attempt["during"] for attempt in attempts} == {"probe"}
    probed = [event["workers"] for event in read_journal(there.run / "journal.jsonl") if event["event"] == "cut probed"]
    assert probed == [1 + 2, 1 + 1], "here, and on the workers that were left"
    assert sum(attempt["count"] for attempt in attempts) == sum(probed) * len(record["severance"]["probed"])


def _claims_are_done(claims: str, run: str) -> None:
    """Every part of both legs is done, once; one at least of each leg changed hands."""
    with psycopg.connect(claims) as db:
        rows = db.execute(
            "SELECT leg, part, token, done FROM exitdrill_claims WHERE run = %s AND part > 0", (run,)
        ).fetchall()
    assert all(done for *_, done in rows)
    for leg in ("evacuate", "rebuild"):
        tokens = {part: token for of, part, token, _ in rows if of == leg}
        assert sorted(tokens) == list(range(1, -(-_OBJECTS // _PART_ROWS) + 1))
        assert max(tokens.values()) >= 2, f"no part of {leg} changed hands"


def _puts(s3: Any, bucket: str, done: int) -> None:
    """Each object was put once, but those that were on their way when the worker died, or not committed yet."""
    versions: Counter[str] = Counter()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions.update(version["Key"] for version in page.get("Versions", ()))
    twice = [key for key, count in versions.items() if count > 1]
    assert max(versions.values()) <= 2
    assert len(versions) == _OBJECTS
    assert len(twice) < done, "the part was begun anew, though its first worker had proven much of it"


@pytest.mark.timeout(120)
def test_what_is_not_ready_is_said_with_what_to_do(
    field: Callable[[Running], Field], moto: Running, postgres: str
) -> None:
    """Without a scheduler, with a wrong password for the claims: a line for each, exit code 3, and no password."""
    there = field(moto)
    environ = dict(there.environ) | {"EXITDRILL_CLAIMS": postgres.replace(URL_PASSWORD, "not-the-password")}
    there = Field(there.folder, environ, there.container, there.bucket)
    there.write(extra=_ENGINE.format(port=free_port(), workers=1, lease=60))
    service = BlobServiceClient(
        environ["AZURE_ENDPOINT"],
        credential={"account_name": environ["AZURE_ACCOUNT"], "account_key": environ["AZURE_KEY"]},
    )
    service.create_container(there.container)
    ended = there.exitdrill("check", "drill.yaml", "--json")
    assert ended.code == 3, ended.err
    lines = {check["name"]: check for check in json.loads(ended.out)["checks"] if not check["ready"]}
    assert set(lines) == {"claims", "cluster"}
    assert "password authentication failed" in lines["claims"]["found"]
    assert lines["claims"]["action"]
    assert "does not answer" in lines["cluster"]["found"]
    assert "dask scheduler" in lines["cluster"]["action"]
    assert "not-the-password" not in ended.out + ended.err
    assert not there.runs.exists()


_THREE_FOLDERS = """\
exitdrill: 1
name: three-folders
playbook: playbook.yaml
mode: rehearsal
objectives: {{rto: 20m}}
places:
  here: {{connector: local, path: ./here}}
  vault: {{connector: local, path: ./vault}}
  there: {{connector: local, path: ./there}}
route: {{source: here, vault: vault, target: there}}
assets:
  - {{name: case-files, kind: objects, source: {{container: c}}, target: {{bucket: b}}, verify: full}}
{engine}"""


@contextmanager
def _three_folders(
    folder: Path, claims: str, objects: int, workers: int, more: str = ""
) -> Iterator[tuple[Field, Cluster]]:
    """A drill from a folder to a folder, on a cluster."""
    environ = dict(os.environ) | {"EXITDRILL_CLAIMS": claims}
    there = Field(folder, environ, "c", "b")
    _playbook(folder, 1, objects // 2)
    local = connector("local")
    with local.open("here", local.settings.model_validate({"path": str(folder / "here")})) as place:
        place.ensure_container("c")
        with place.objects("c") as store:
            for n in range(objects):
                store.write(WriteRequest(f"stuk {n:04d}", BytesBody(b"x" * (n * 7))))
    with ExitStack() as stack:
        cluster = Cluster(folder, environ, stack)
        engine = _ENGINE.format(port=cluster.port, workers=workers, lease=_LEASE_SECONDS)
        there.drill.write_text(_THREE_FOLDERS.format(engine=engine) + more)
        for number in range(workers):
            cluster.worker(number)
        with ClaimTable(claims) as table:
            table.prepare()
        yield there, cluster


@contextmanager
def _running(there: Field, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (there.folder / "out").open("ab") as out:
        process = subprocess.Popen(
            there.command(*arguments), cwd=there.folder, env=dict(there.environ), stdout=out, stderr=out
        )
        try:
            yield process
        except AssertionError as exc:
            exc.add_note(_said(there))
            raise
        finally:
            process.kill()
            process.wait(timeout=30)


def _caught(alive: "subprocess.Popen[bytes]", claims: str, leg: str, how: int) -> tuple[str, int, int]:
    """Send a signal to a process that holds a part, before it is done: the run, the part, the process."""
    held = "SELECT run, part, holder FROM exitdrill_claims WHERE leg = %s AND NOT done AND until > clock_timestamp()"
    deadline = time.monotonic() + _LIMIT_SECONDS
    with psycopg.connect(claims, autocommit=True) as db:
        while alive.poll() is None and time.monotonic() < deadline:
            for run, part, holder in db.execute(held, (leg,)).fetchall():
                pid = int(holder.split(":")[1])
                if not _parent(pid):
                    continue
                os.kill(pid, how)
                row = db.execute(
                    "SELECT done FROM exitdrill_claims WHERE run = %s AND leg = %s AND part = %s", (run, leg, part)
                ).fetchone()
                if row == (False,):
                    return str(run), int(part), pid
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)
    raise AssertionError(f"no part of {leg} was seen held")


@pytest.mark.timeout(300)
def test_a_worker_that_wakes_up_late_changes_nothing(tmp_path: Path, postgres: str) -> None:
    """Paused midway, its part is taken over and done by another; woken at the end, it ends without a trace.

    The drill overlaps its legs, so that workers of both share the cluster.
    """
    made = _three_folders(tmp_path, postgres, 300, 2, "overlap: true\n")
    with made as (there, _), _running(there, "run", "drill.yaml") as process:
        run, part, paused = _caught(process, postgres, "evacuate", signal.SIGSTOP)
        _kill(_parent(paused))  # its Dask worker: else nobody would think the job lost
        try:
            assert process.wait(timeout=_LIMIT_SECONDS) == 0
            folder = there.run / "ledger" / "case-files"
            before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}
            assert f"evacuate-{part:06d}.parquet" in before
            assert there.run.name == run
        finally:
            os.kill(paused, signal.SIGCONT)
        deadline = time.monotonic() + 90
        while _parent(paused) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _parent(paused), "it is still at work"
        assert {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()} == before
        keys, parts = _keys(folder, "rebuild")
        assert sorted(keys) == [f"stuk {n:04d}" for n in range(300)]
        assert len(parts) == 2
        with psycopg.connect(postgres) as db:
            rows = db.execute("SELECT token, done FROM exitdrill_claims WHERE run = %s AND part > 0", (run,)).fetchall()
        assert all(done for _, done in rows)
        assert len(rows) == 3 * 2, "evacuate, rebuild, read back"


def _when_begun(there: Field, alive: "subprocess.Popen[bytes]", phase: str) -> None:
    """Wait until the run is in that phase, inside Prefect's flow, and no job is carried out yet."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while alive.poll() is None and time.monotonic() < deadline:
        for journal in there.runs.glob("*/journal.jsonl"):
            if any(event.get("phase") == phase for event in read_journal(journal)):
                return
        time.sleep(0.05)
    raise AssertionError(f"{phase} did not begin")


@pytest.mark.timeout(300)
def test_without_prefect_and_without_the_cluster_it_goes_on(tmp_path: Path, postgres: str) -> None:
    """Prefect's server and a worker process are killed: it goes on. Stopped, it is resumed on this machine alone."""
    with _three_folders(tmp_path, postgres, 300, 1) as (there, _):
        with _running(there, "run", "drill.yaml") as process:
            _when_begun(there, process, "evacuate")
            for pid in _tree(process.pid):
                if b"exitdrill.flow.serving" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    _kill(pid)
            run, _part, _pid = _caught(process, postgres, "evacuate", signal.SIGKILL)
            _caught(process, postgres, "rebuild", signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=_LIMIT_SECONDS) == 4
        said = (there.folder / "out").read_text()
        assert "its worker died; it is begun again" in said
        assert "Prefect shows no tasks of the cluster any more" in said
        assert "resume with" in said
    # The cluster is gone now; the claims are not.
    ended = there.exitdrill("resume", run, "--no-prefect")
    assert ended.code == 0, ended.out + ended.err
    assert "the cluster is not used" in ended.err
    keys, parts = _keys(there.run / "ledger" / "case-files", "readback")
    assert sorted(keys) == [f"stuk {n:04d}" for n in range(300)]
    assert len(parts) == 2
