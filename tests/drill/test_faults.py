"""What goes wrong at a place while a drill runs is found and named in the verdict."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from azure.storage.blob import BlobServiceClient

from drilling import Field
from exitdrill.emulator import Running
from exitdrill.errors import ExitdrillError
from exitdrill.flow.compose import load
from exitdrill.model.verdict import Judgement, Verdict
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import declare


def _blobs(there: Field) -> Any:
    key = {"account_name": there.environ["AZURE_ACCOUNT"], "account_key": there.environ["AZURE_KEY"]}
    return BlobServiceClient(there.environ["AZURE_ENDPOINT"], credential=key).get_container_client(there.container)


def _bucket(there: Field) -> Any:
    return boto3.resource(
        "s3",
        endpoint_url=there.environ["S3_ENDPOINT"],
        region_name="eu-central-1",
        aws_access_key_id=there.environ["S3_KEY_ID"],
        aws_secret_access_key=there.environ["S3_SECRET"],
    ).Bucket(there.bucket)


@pytest.fixture
def filled(field: Callable[[Running], Field], moto: Running, monkeypatch: pytest.MonkeyPatch) -> Field:
    """A drill on thirty small blobs."""
    there = field(moto)
    there.write()
    for name in ("AZURE_ACCOUNT", "AZURE_ENDPOINT", "AZURE_KEY", "S3_ENDPOINT", "S3_KEY_ID", "S3_SECRET"):
        monkeypatch.setenv(name, there.environ[name])
    container = _blobs(there)
    container.create_container()
    for number in range(30):
        container.upload_blob(f"files/{number:02d}.txt", f"content {number}".encode() * 50)
    return there


def _drill(there: Field, phase: str, meanwhile: Callable[[], None]) -> Verdict:
    """Run the drill; in front of a phase, let something happen."""
    run = declare(load(there.drill), there.runs)
    conductor = LocalConductor()
    try:
        execute(run, conductor, before=phase)
        meanwhile()
        execute(run, conductor)
    finally:
        conductor.close()
        verdict = finish(run)
    return verdict


def _named(verdict: Verdict, key: str) -> str:
    """The texts of the findings that name a key."""
    return "\n".join(f.text for f in verdict.findings if key in f.keys)


def test_nothing_happens(filled: Field) -> None:
    """The drill is met when nothing goes wrong: what the tests below find is what they did."""
    assert _drill(filled, "sever", lambda: None).judgement is Judgement.MET


def test_an_object_changed_and_one_deleted_during_the_copy(filled: Field) -> None:
    """Between inventory and copy one blob is overwritten and one deleted: both are named, neither is copied."""

    def meanwhile() -> None:
        _blobs(filled).upload_blob("files/03.txt", b"changed", overwrite=True)
        _blobs(filled).delete_blob("files/04.txt")

    verdict = _drill(filled, "evacuate", meanwhile)
    assert verdict.judgement is Judgement.MISSED
    assert "changed" in _named(verdict, "files/03.txt")
    assert "deleted at the source" in _named(verdict, "files/04.txt")
    record = filled.read("record.json")
    outcomes = {name: counts["objects"] for name, counts in record["assets"][0]["evacuate"]["outcomes"].items()}
    assert outcomes == {"copied": 28, "changed during copy": 1, "missing at source": 1}
    assert record["assets"][0]["listed"]["objects"] == sum(outcomes.values())
    assert record["assets"][0]["lost_changes"] == 1
    assert verdict.rpa_seconds is not None


def test_a_change_after_the_copy_is_lost_and_counts_against_the_recovery_point(filled: Field) -> None:
    """A blob written after the copy and before the cut is a lost change, and is named."""
    verdict = _drill(filled, "sever", lambda: _blobs(filled).upload_blob("files/99.txt", b"late"))
    assert "files/99.txt" in {k for f in verdict.findings for k in f.keys}
    assert filled.read("record.json")["assets"][0]["lost_changes"] == 1


def test_a_flipped_bit_in_the_vault(filled: Field) -> None:
    """One bit of one object's bytes in the vault is flipped before the rebuild: named, and never at the target."""
    content = b"content 7" * 50

    def meanwhile() -> None:
        (path,) = [p for p in (filled.folder / "vault").rglob("*") if p.is_file() and content in p.read_bytes()]
        path.chmod(0o600)
        pack = bytearray(path.read_bytes())
        pack[pack.index(content)] ^= 1
        path.write_bytes(pack)

    verdict = _drill(filled, "rebuild", meanwhile)
    assert verdict.judgement is Judgement.MISSED
    assert "corrupt in the vault" in _named(verdict, "files/07.txt")
    assert filled.read("record.json")["assets"][0]["rebuild"]["outcomes"]["copied"]["objects"] == 29


def test_a_target_object_replaced_after_the_rebuild(filled: Field) -> None:
    """Somebody replaces one object at the target, of the same size: different, named, and left at teardown."""
    other = b"Content 9" * 50
    verdict = _drill(filled, "verify", lambda: _bucket(filled).put_object(Key="files/09.txt", Body=other))
    assert verdict.judgement is Judgement.MISSED
    assert "other bytes" in _named(verdict, "files/09.txt")
    left = filled.read("record.json")["teardown"]["left"]
    assert any("files/09.txt" in item for item in left)
    assert [o.key for o in _bucket(filled).objects.all()] == ["files/09.txt"]


def test_an_object_removed_and_one_added_at_the_target(filled: Field) -> None:
    """Missing and extra are told apart, and what is not the run's stays at teardown."""

    def meanwhile() -> None:
        _bucket(filled).Object("files/11.txt").delete()
        _bucket(filled).put_object(Key="somebody's.txt", Body=b"mine")

    verdict = _drill(filled, "verify", meanwhile)
    assert verdict.judgement is Judgement.MISSED
    assert "not at the target" in _named(verdict, "files/11.txt")
    assert [o.key for o in _bucket(filled).objects.all()] == ["somebody's.txt"]


def test_a_hidden_dependency_on_the_source_is_refused_counted_and_named(
    filled: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target's login is served by the source: after the cut it is refused, and the drill fails."""
    source = filled.environ["AZURE_ENDPOINT"]
    text = filled.drill.read_text()
    for line in ('    access_key_id: "${env:S3_KEY_ID}"\n', '    secret_access_key: "${env:S3_SECRET}"\n'):
        assert line in text
        text = text.replace(line, "")
    filled.drill.write_text(text)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", filled.environ["S3_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", filled.environ["S3_SECRET"])

    def meanwhile() -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{source}/login")

    with pytest.raises(ExitdrillError):
        _drill(filled, "rebuild", meanwhile)
    assert filled.read("verdict.json")["judgement"] == "failed"
    severance = filled.read("record.json")["severance"]
    address = source.split("//")[1].split("/")[0]
    attempts = {a["during"]: a["count"] for a in severance["attempts"] if a["address"] == address}
    assert attempts.keys() - {"probe"}, severance


def test_the_source_credentials_are_taken_away(filled: Field) -> None:
    """The cut names the variables it removed; they are those of the source and none of the target."""
    _drill(filled, "sever", lambda: None)
    removed = filled.read("record.json")["severance"]["removed_variables"]
    assert {"AZURE_ACCOUNT", "AZURE_ENDPOINT", "AZURE_KEY"} <= set(removed)
    assert not any(name.startswith("S3_") for name in removed)


def test_no_secret_is_in_anything_a_run_leaves(filled: Field) -> None:
    """The keys of both places are in no file of the run or the vault."""
    _drill(filled, "sever", lambda: None)
    secrets = [filled.environ["AZURE_KEY"].encode(), filled.environ["S3_SECRET"].encode()]
    for path in [*filled.runs.rglob("*"), *(filled.folder / "vault").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path
