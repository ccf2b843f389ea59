"""A connector by somebody else in a whole drill: built and installed apart, named in the drill file like ours."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContentSettings

from drilling import Ended, Field
from exitdrill.emulator import Running

_SHELF = Path(__file__).parents[1] / "thirdparty"
_PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "plan-b.yaml"
_OBJECTS = 60
_DRILL = """\
exitdrill: 1
name: to-somebody-elses-shelf
playbook: {playbook}
mode: rehearsal
objectives: {{rto: 20m, rpo: 20m}}
keep: {keep}
places:
  azure:
    connector: azure
    account: "${{env:AZURE_ACCOUNT}}"
    endpoint: "${{env:AZURE_ENDPOINT}}"
    key: "${{env:AZURE_KEY}}"
  vault: {{connector: {vault}, path: ./vault.place}}
  there: {{connector: {target}, path: ./target.place}}
route: {{source: azure, vault: vault, target: there}}
assets:
  - name: case-files
    kind: objects
    source: {{container: {container}}}
    target: {{bucket: case-files}}
    verify: {level}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shelf's wheel unpacked: what ``pip install --target`` leaves."""
    work = tmp_path_factory.mktemp("shelf")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work / "dist")]
    subprocess.run(build, cwd=_SHELF, check=True, capture_output=True, timeout=120)
    (wheel,) = (work / "dist").glob("exitdrill_shelf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "site")
    return work / "site"


@pytest.fixture
def there(field: Callable[[Running], Field], moto: Running, installed: Path) -> Field:
    """Blobs with hostile names at Azure, and the shelf on the path of the command and of its workers."""
    made = field(moto)
    environ = {**made.environ, "PYTHONPATH": str(installed)}
    container = _blobs(made)
    container.create_container()
    for number in range(_OBJECTS):
        kind = ContentSettings(content_type="text/x-case", content_language="nl")
        data = os.urandom(number * 331)
        container.upload_blob(f"case//{number}/\u00fc", data, content_settings=kind, metadata={"Case": str(number)})
    return replace(made, environ=environ)


def _blobs(there: Field) -> Any:
    key = {"account_name": there.environ["AZURE_ACCOUNT"], "account_key": there.environ["AZURE_KEY"]}
    return BlobServiceClient(there.environ["AZURE_ENDPOINT"], credential=key).get_container_client(there.container)


def _run(there: Field, vault: str, target: str, level: str, *, keep: bool = False) -> Ended:
    there.drill.write_text(
        _DRILL.format(
            playbook=_PLAYBOOK,
            vault=vault,
            target=target,
            level=level,
            container=there.container,
            keep=str(keep).lower(),
        )
    )
    return there.exitdrill("run", "drill.yaml", "--no-prefect")


def _on_the_shelf(path: Path) -> dict[str, tuple[bytes, str]]:
    """Key to bytes and envelope, read with SQLite alone."""
    with closing(sqlite3.connect(path)) as shelf:
        rows = shelf.execute("SELECT key, data, envelope FROM object").fetchall()
    return {key: (data, envelope) for key, data, envelope in rows}


def test_a_shelf_as_target_takes_everything(there: Field) -> None:
    """Azure to a directory to the shelf: met at level full, every byte read back; bytes and metadata are equal."""
    ended = _run(there, "local", "shelf", "full", keep=True)
    assert ended.code == 0, ended.out + ended.err
    found = _on_the_shelf(there.folder / "target.place")
    blobs = _blobs(there)
    assert found.keys() == set(blobs.list_blob_names())
    for key, (data, envelope) in found.items():
        blob = blobs.download_blob(key)
        assert data == blob.readall()
        assert all(word in envelope for word in ("text/x-case", '"nl"', blob.properties.metadata["Case"]))
    (asset,) = there.read("record.json")["assets"]
    assert asset["verification"]["equal"] == asset["verification"]["reread_objects"] == _OBJECTS
    assert "shelf" in {place["connector"] for place in there.read("record.json")["places"]}


def test_a_shelf_that_attests_nothing_cannot_give_level_attested(there: Field) -> None:
    """Not ready, code 3, before anything is moved, with the levels it can reach."""
    ended = _run(there, "local", "shelf", "attested")
    assert ended.code == 3, ended.out + ended.err
    assert "levels that can be reached: listed, full" in ended.err
    assert _on_the_shelf(there.folder / "target.place") == {}


def test_a_shelf_as_vault_and_as_target_is_left_empty(there: Field) -> None:
    """Azure to one shelf to another: met, and teardown takes away all that the run put there."""
    ended = _run(there, "shelf", "shelf", "full")
    assert ended.code == 0, ended.out + ended.err
    record = there.read("record.json")
    assert record["assets"][0]["verification"]["equal"] == _OBJECTS
    assert record["teardown"]["complete"] is True
    assert record["teardown"]["left"] == []
    for place in ("vault.place", "target.place"):
        assert _on_the_shelf(there.folder / place) == {}


def test_without_the_package_the_drill_says_which_connectors_there_are(there: Field) -> None:
    """Code 2 at the line that names it."""
    environ = {name: value for name, value in there.environ.items() if name != "PYTHONPATH"}
    ended = _run(replace(there, environ=environ), "local", "shelf", "full")
    assert ended.code == 2
    assert "drill.yaml:14:" in ended.err
    assert "'shelf'" in ended.err
    assert "local" in ended.err
