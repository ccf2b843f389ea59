"""What an operator gets wrong, and what breaks: a message to act on, the documented code, and nothing lost."""

import base64
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from azure.storage.blob import BlobServiceClient

from drilling import Ended, Field
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.emulator import Running
from exitdrill.flow.compose import load
from exitdrill.model.codec import load as read_value
from exitdrill.model.objects import Envelope
from exitdrill.model.record import RunRecord
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import declare
from exitdrill.testing.faults import Fault, FaultKind, FaultProxy
from exitdrill_local import LocalProvider

_PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "plan-b.yaml"
_LOCAL = """\
exitdrill: 1
name: from-disk-to-disk
playbook: playbook.yaml
mode: rehearsal
objectives: {rto: 20m, rpo: 20m}
places:
  source: {connector: local, path: ./source}
  vault: {connector: local, path: ./vault}
  target: {connector: local, path: ./target}
route: {source: source, vault: vault, target: target}
assets:
  - name: files
    kind: objects
    source: {container: files}
    target: {bucket: files}
    verify: full
  - name: more
    kind: objects
    source: {container: more}
    target: {bucket: more}
    verify: full
    depends_on: [files]
"""
_MB = 1_000_000


def _clean_environ() -> dict[str, str]:
    return {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "AZURE_", "EXITDRILL_"))}


def _said(ended: Ended, code: int, *parts: str) -> str:
    """All that was said; the code is the documented one, every part is there, and no trace of the program's own."""
    text = ended.out + ended.err
    assert ended.code == code, text
    assert "Traceback" not in text
    assert "unexpected" not in text
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"
    return text


# definitions


@pytest.fixture
def disks(tmp_path: Path) -> Field:
    """A drill from one directory to another, its containers not filled."""
    there = Field(tmp_path, _clean_environ(), "files", "files")
    there.drill.write_text(_LOCAL)
    (tmp_path / "playbook.yaml").write_text(_PLAYBOOK.read_text())
    return there


@pytest.mark.parametrize(
    ("file", "before", "after", "marked", "parts"),
    [
        ("drill.yaml", "target: {connector: local", "target: {connector: gcs", "gcs", ["gcs", "local", "s3"]),
        ("drill.yaml", "vault: vault,", "vault: cellar,", "cellar", ["cellar", "vault"]),
        ("playbook.yaml", "uses: assets.rebuild", "uses: assets.rebild", "assets.rebild", ["assets.rebuild"]),
        ("drill.yaml", "depends_on: [files]", "depends_on: [flies]", "flies", ["flies", "files"]),
        ("drill.yaml", "    verify: full\n  - name: more", "    depends_on: [more]\n  - name: more", None, ["cycle"]),
    ],
    ids=["connector", "place", "action", "asset", "cycle"],
)
def test_a_definition_that_cannot_be(
    disks: Field, file: str, before: str, after: str, marked: str | None, parts: list[str]
) -> None:
    """Code 2 with file, line and column, and what would be right; no run is made and nothing is touched."""
    path = disks.folder / file
    text = path.read_text()
    assert text.count(before) == 1
    text = text.replace(before, after)
    path.write_text(text)
    said = _said(_run(disks), 2, *parts)
    if marked is not None:
        line, column = next((n, t.index(marked)) for n, t in enumerate(text.splitlines(), 1) if marked in t)
        assert f"{file}:{line}:{column + 1}" in said
    assert re.search(rf"{file}:\d+:\d+", said)
    assert {p.name for p in disks.folder.iterdir()} == {"drill.yaml", "playbook.yaml"}


# credentials


def _blobs(there: Field, endpoint: str | None = None) -> Any:
    key = {"account_name": there.environ["AZURE_ACCOUNT"], "account_key": there.environ["AZURE_KEY"]}
    service = BlobServiceClient(endpoint or there.environ["AZURE_ENDPOINT"], credential=key)
    return service.get_container_client(there.container)


def _bucket(s3: Running, name: str) -> Any:
    return boto3.resource(
        "s3",
        endpoint_url=s3.settings["endpoint"],
        region_name="eu-central-1",
        aws_access_key_id=s3.settings["access_key_id"],
        aws_secret_access_key=s3.settings["secret_access_key"],
    ).Bucket(name)


@pytest.fixture
def filled(field: Callable[[Running], Field], moto: Running) -> Field:
    """A drill from Azurite to moto on ten small blobs."""
    there = field(moto)
    there.write()
    container = _blobs(there)
    container.create_container()
    for number in range(10):
        container.upload_blob(f"files/{number:02d}.txt", f"content {number}".encode() * 50)
    return there


def _with(there: Field, **environ: str | None) -> Field:
    """The same with other variables; None for one that is not set."""
    changed = {**there.environ, **environ}
    return replace(there, environ={name: value for name, value in changed.items() if value is not None})


def _run(there: Field, *options: str) -> Ended:
    return there.exitdrill("run", "drill.yaml", "--no-prefect", *options)


@pytest.mark.parametrize(("variable", "place"), [("AZURE_KEY", "azure"), ("S3_SECRET", "aws")])
def test_credentials_that_are_missing(filled: Field, moto: Running, variable: str, place: str) -> None:
    """Code 3 with the variable's name; the same from check; nothing is made at the target."""
    there = _with(filled, **{variable: None})
    _said(_run(there), 3, variable, place)
    _said(there.exitdrill("check", "drill.yaml"), 3, variable, place)
    assert not _bucket(moto, filled.bucket).creation_date


def test_a_wrong_azure_key(filled: Field) -> None:
    """Code 3; place and account are named, and neither key."""
    wrong = base64.b64encode(b"w" * 64).decode()
    said = _said(_run(_with(filled, AZURE_KEY=wrong)), 3, "azure", "-> check account and key")
    assert said.count("check account and key") == 1, "advice is given once"
    assert wrong not in said
    assert filled.environ["AZURE_KEY"] not in said


def test_a_wrong_s3_secret(filled: Field, seaweedfs: Running) -> None:
    """Code 3 from a server that checks signatures; the place is named, the secret is not."""
    wrong = "wrong/secret+of+the+target"
    there = _with(
        filled,
        S3_ENDPOINT=seaweedfs.settings["endpoint"],
        S3_KEY_ID=seaweedfs.settings["access_key_id"],
        S3_SECRET=wrong,
    )
    assert wrong not in _said(_run(there), 3, "aws")


# places


def test_a_source_container_that_is_not_there(filled: Field) -> None:
    """Code 3; the container is named, and what was made at the target is gone again."""
    there = replace(filled, container="nosuchcontainer")
    there.write()
    _said(_run(there), 3, "nosuchcontainer", "azure", "-> check the name in the drill")
    assert there.read("record.json")["teardown"]["complete"] is True


@pytest.mark.parametrize(
    ("method", "status", "code"), [(".*", 403, "AccessDenied"), ("PUT", 409, "BucketAlreadyExists")]
)
def test_a_bucket_of_somebody_else(filled: Field, moto: Running, method: str, status: int, code: str) -> None:
    """S3 says 403 or 409: code 3, the bucket is named with what to do."""
    host, _, port = moto.settings["endpoint"].removeprefix("http://").partition(":")
    body = f"<Error><Code>{code}</Code><Message>not yours</Message></Error>".encode()
    fault = Fault(
        FaultKind.STATUS, method=method, path=rf"/{filled.bucket}/?(\?.*)?", count=None, status=status, body=body
    )
    with FaultProxy(host, int(port), fault) as proxy:
        _said(_run(_with(filled, S3_ENDPOINT=proxy.url)), 3, filled.bucket, "somebody else", "choose another")
        assert proxy.done[FaultKind.STATUS]


def test_a_target_that_is_not_empty(filled: Field, moto: Running) -> None:
    """Code 3; what is there is named, and stays as it is."""
    bucket = _bucket(moto, filled.bucket)
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    bucket.put_object(Key="somebody's.txt", Body=b"mine")
    _said(_run(filled), 3, "not empty", "somebody's.txt", "choose an empty bucket or another prefix")
    assert [(o.key, o.get()["Body"].read()) for o in bucket.objects.all()] == [("somebody's.txt", b"mine")]


# disks


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes small file systems, and changes their size or mode."""
    mounted: list[Path] = []

    def make(name: str, *options: str) -> Path:
        path = tmp_path / name
        remount = path in mounted
        path.mkdir(exist_ok=True)
        joined = ",".join([*(["remount"] if remount else []), *options])
        command = ["mount", "-t", "tmpfs", "-o", joined, "exitdrill-test", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted, which takes root: {done.stderr.strip()}")
        if not remount:
            mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True, timeout=20, check=True)


def _fill_source(there: Field, objects: int, bytes_each: int) -> None:
    with LocalProvider("source", there.folder / "source") as source:
        for container, count in (("files", objects), ("more", 1)):
            source.ensure_container(container)
            with source.objects(container) as store:
                for number in range(count):
                    body = BytesBody(f"{number:08d}".encode() * (bytes_each // 8))
                    store.write(WriteRequest(f"{number:05d}.bin", body, Envelope()))
                store.flush()


def _leave(folder: Path, free_bytes: int) -> None:
    """Fill a file system with something else until that much is free."""
    room = os.statvfs(folder)
    with (folder / "junk").open("wb") as junk:
        junk.write(b"\xff" * (room.f_bavail * room.f_frsize - free_bytes))


def _stop_before_evacuation(there: Field) -> None:
    run, conductor = declare(load(there.drill), there.runs), LocalConductor()
    try:
        execute(run, conductor, before="evacuate")
    finally:
        conductor.close()
        finish(run)


def _copied(there: Field) -> int:
    record = read_value(RunRecord, (there.run / "record.json").read_bytes(), "record")
    return sum(c.objects for asset in record.assets for o, c in asset.rebuild.outcomes.items() if o == "copied")


def test_a_vault_that_gets_full_in_the_middle(disks: Field, mount: Callable[..., Path]) -> None:
    """Code 4, it says what is full and how to go on; nothing is torn down; with more room it ends met."""
    _fill_source(disks, 40, 200_000)
    text = (Path(__file__).parents[2] / "playbooks" / "plan-b.yaml").read_text()
    small = "uses: assets.evacuate\n        with: {pack_bytes: 400000}"
    (disks.folder / "book.yaml").write_text(text.replace("uses: assets.evacuate", small))
    disks.drill.write_text(re.sub("playbook: .*", "playbook: book.yaml", disks.drill.read_text()))
    vault = mount("vault", "size=16m")
    _stop_before_evacuation(disks)
    _leave(vault, 3 * _MB)
    _said(disks.exitdrill("resume", "last", "--no-prefect"), 4, "vault", "full", "exitdrill resume", "make room")
    assert disks.read("record.json")["status"] == "failed"
    assert disks.read("record.json")["teardown"] is None
    kept = sum(p.stat().st_size for p in vault.rglob("*") if p.is_file() and p.name != "junk")
    assert kept > _MB, "what was evacuated stays"
    mount("vault", "size=40m")
    ended = disks.exitdrill("resume", "last", "--no-prefect")
    _said(ended, 0, "MET")
    assert _copied(disks) == 41


def test_a_vault_that_cannot_be_written_to(disks: Field, mount: Callable[..., Path]) -> None:
    """Code 3; the path is named, and nothing was made at the target."""
    _fill_source(disks, 2, 100)
    mount("vault", "size=4m")
    mount("vault", "ro")
    _said(_run(disks), 3, "vault", "Read-only", "-> mount it writable")
    assert not [p for p in (disks.folder / "target").rglob("*") if p.is_file() and p.name != "README.txt"]


def test_a_runs_folder_that_cannot_be_written_to(disks: Field, mount: Callable[..., Path]) -> None:
    """Code 2 with the option to choose another: read-only, full from the start, or no folder at all."""
    mount("locked", "size=1m")
    mount("locked", "ro")
    _said(_run(disks, "--runs", "locked"), 2, "locked", "Read-only", "--runs DIR")
    full = mount("full", "size=1m")
    _said(_run(disks, "--runs", "full"), 2, "full", "No space left", "--runs DIR")
    assert not list(full.iterdir()), "half a run's directory stays behind"
    _said(_run(disks, "--runs", "drill.yaml/runs"), 2, "drill.yaml", "Not a directory", "--runs DIR")


def test_the_runs_own_disk_gets_full(disks: Field, mount: Callable[..., Path]) -> None:
    """Code 4; record and verdict are there and say why; with more room it ends met, nothing lost."""
    _fill_source(disks, 2500, 10)
    runs = mount("runs", "size=16m")
    _stop_before_evacuation(disks)
    _leave(runs, 400_000)
    _said(disks.exitdrill("resume", "last", "--no-prefect"), 4, "full", "exitdrill resume", "make room")
    assert disks.read("record.json")["status"] == "failed"
    assert "full" in disks.read("record.json")["error"]
    assert disks.read("verdict.json")["judgement"] == "failed"
    mount("runs", "size=40m")
    _said(disks.exitdrill("resume", "last", "--no-prefect"), 0, "MET")
    assert _copied(disks) == 2501


# emulators and networks


def test_an_emulator_that_does_not_start(disks: Field) -> None:
    """Code 3 with the emulator's own last words, and where the rest of them is."""
    broken = disks.folder / "broken.js"
    broken.write_text('console.error("this is not Azurite at all"); process.exit(7);\n')
    disks.drill.write_text(
        _LOCAL.replace("source: {connector: local, path: ./source}", "source: {connector: azure, emulator: azurite}")
    )
    there = _with(disks, EXITDRILL_AZURITE=str(broken))
    _said(_run(there), 3, "azurite", "this is not Azurite at all")


def test_a_place_where_nobody_listens(filled: Field) -> None:
    """Code 3; the address is named."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    _said(_run(_with(filled, S3_ENDPOINT=url)), 3, "aws", url.removeprefix("http://"), "can be reached from here")


def test_a_source_that_throttles_breaks_off_and_alters_bytes(filled: Field) -> None:
    """All of it heals but bytes that come altered every time: kept, counted, and named as a warning."""
    host, _, port = filled.environ["AZURE_ENDPOINT"].removeprefix("http://").partition(":")
    port = port.partition("/")[0]
    of = rf"/[^/]+/{filled.container}/files/0%d\.txt(\?.*)?"
    faults = (
        Fault(FaultKind.STATUS, "GET", of % 1, count=3, status=503, retry_after_seconds=1),
        Fault(FaultKind.RESET, "GET", of % 2, at_byte=100),
        Fault(FaultKind.TRUNCATE, "GET", of % 3, at_byte=100),
        Fault(FaultKind.CORRUPT, "GET", of % 4, at_byte=5),
        Fault(FaultKind.CORRUPT, "GET", of % 5, at_byte=5, count=None),
    )
    with FaultProxy(host, int(port), *faults) as proxy:
        account = filled.environ["AZURE_ACCOUNT"]
        ended = _run(_with(filled, AZURE_ENDPOINT=f"{proxy.url}/{account}"))
        done = dict(proxy.done)
    _said(ended, 0, "MET")
    assert done[FaultKind.STATUS] == 3
    assert done[FaultKind.RESET] == done[FaultKind.TRUNCATE] == 1
    assert done[FaultKind.CORRUPT] == 3
    (asset,) = filled.read("record.json")["assets"]
    assert asset["evacuate"]["outcomes"]["copied"]["objects"] == 10
    assert asset["evacuate"]["throttled"] == 3
    assert asset["source_digests"] == {"different": 1, "equal": 9}
    (finding,) = [f for f in filled.read("verdict.json")["findings"] if "disagree" in f["text"]]
    assert (finding["severity"], finding["keys"]) == ("warning", ["files/05.txt"])
