"""Manifest roots and proofs, on a drill between three directories that was really carried out."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disks import carry_out, fill_source, write_drill
from exitdrill.cli import main
from exitdrill.testing.keys import HOSTILE_KEYS

_OBJECTS = {key: f"{n}: {key}".encode() for n, key in enumerate(HOSTILE_KEYS)} | {"large/€.bin": b"x" * 1_500_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has ended, its vault torn down."""
    folder = tmp_path_factory.mktemp("drilled")
    write_drill(folder, keep=False)
    fill_source(folder, _OBJECTS, lambda n, _key: ("case", f"é{n}"))
    carry_out(folder)
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    (found,) = (folder / "runs").glob("*/run.json")
    return found.parent


def _roots(run: Path) -> Any:
    return json.loads((run / "record.json").read_text())["assets"][0]["roots"]


def test_nothing_lost_is_one_root(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Source, vault and target have the same root, in the record, the journal and every report."""
    roots = _roots(run)
    (root,) = {roots[place]["root"] for place in ("source", "vault", "target")}
    assert roots["source"]["objects"] == len(_OBJECTS)
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    (sealed,) = [event for event in events if event["event"] == "manifest roots"]
    assert (sealed["asset"], sealed["target"]["root"]) == ("case-files", root)
    for form in ("text", "markdown"):
        assert main.run(["report", "last", "--format", form]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert root in said
        assert f"source, vault and target: the same root {root} ({len(_OBJECTS)} objects)" in said


def _naive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    split = max(2**n for n in range(len(hashes)) if 2**n < len(hashes))
    return hashlib.sha256(b"\1" + _naive_root(hashes[:split]) + _naive_root(hashes[split:])).digest()


def test_an_outsider_computes_the_same_root(run: Path) -> None:
    """From docs/for-auditors.md alone, with pyarrow, hashlib and json: the root of what was put at the source."""
    ledger = run / "ledger" / "case-files"
    rows = [row for path in ledger.glob("rebuild-*.parquet") for row in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: row["key"].encode())
    names = [
        "content_type",
        "content_encoding",
        "content_language",
        "content_disposition",
        "cache_control",
        "user",
        "tags",
    ]
    hashes = []
    for row in rows:
        key, data, envelope = row["key"].encode(), _OBJECTS[row["key"]], json.loads(row["envelope"])
        kept = {name: envelope[name] for name in names if name in envelope}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digests = hashlib.sha256(data).digest() + hashlib.sha256(text.encode()).digest()
        leaf = b"\1" + len(key).to_bytes(4) + key + len(data).to_bytes(8) + b"\1" + digests
        hashes.append(hashlib.sha256(b"\0" + leaf).digest())
    assert _naive_root(hashes).hex() == _roots(run)["target"]["root"]


@pytest.mark.parametrize("place", ["source", "vault", "target"])
def test_every_object_can_be_proven(run: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each proof holds by itself, under the sealed root, and says the SHA-256 of what was at the source."""
    root = _roots(run)[place]["root"]
    for n, (key, data) in enumerate(_OBJECTS.items()):
        path = tmp_path / f"{n}.proof"
        assert main.run(["prove", "last", "--key-hex", key.encode().hex(), "--at", place, "-o", str(path)]) == 0
        capsys.readouterr()
        assert main.run(["verify", str(path), "--root", root, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["present"], facts["key"], facts["place"], facts["size"]) == (True, key, place, len(data))
        assert facts["sha256"] == hashlib.sha256(data).hexdigest()


def test_what_was_never_there_can_be_proven_absent(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To stdout; it verifies from a file."""
    assert main.run(["prove", "last", "--asset", "case-files", "--key", "never there"]) == 0
    said = capsys.readouterr()
    assert "case-files at the target: no such object; root" in said.err
    Path("absent.proof").write_text(said.out)
    assert main.run(["verify", "absent.proof", "--root", _roots(run)["target"]["root"]]) == 0
    assert "absent: no object has this key" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--key", "a", "--asset", "other"], 2, "no asset of objects is called 'other'"),
        ([], 2, "say which object"),
        (["--key", "a", "--output", "no/such/folder/x"], 2, "cannot be written"),
    ],
)
def test_what_cannot_be_proven(
    run: Path, arguments: list[str], code: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors say what is wrong."""
    assert run.exists()
    assert main.run(["prove", "last", *arguments]) == code
    assert problem in capsys.readouterr().err


def _other_digest(rows: pa.Table) -> pa.Table:
    digests = rows.column("sha256").to_pylist()
    digests[0] = bytes(32)
    at = rows.schema.get_field_index("sha256")
    return rows.set_column(at, rows.schema.field(at), pa.array(digests, pa.binary()))


@pytest.mark.parametrize("change", [_other_digest, lambda rows: rows.slice(1)])
def test_a_ledger_altered_after_the_seal_proves_nothing(
    run: Path, change: Callable[[pa.Table], pa.Table], capsys: pytest.CaptureFixture[str]
) -> None:
    """One digest, or one row less: the root is not the sealed one, exit code 5."""
    path = next((run / "ledger" / "case-files").glob("rebuild-*.parquet"))
    before = path.read_bytes()
    try:
        pq.write_table(change(pq.read_table(path)), path)
        assert main.run(["prove", "last", "--key", "large/€.bin"]) == 5
    finally:
        path.write_bytes(before)
    assert "the ledger leads to another root than was sealed" in capsys.readouterr().err


def test_a_record_altered_after_the_seal_proves_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root forged in the record would fit a forged ledger: the journal has the record's digest; `show` says so."""
    path = run / "record.json"
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(_roots(run)["target"]["root"].encode(), b"00" * 32))
        assert main.run(["prove", "last", "--key", "large/€.bin"]) == 5
        assert main.run(["show", "last"]) == 0
    finally:
        path.write_bytes(before)
    said = capsys.readouterr()
    assert "record.json: is not the one that the journal names" in said.err
    assert "sealed    NOT: record.json: is not the one that the journal names" in said.out


def test_a_plan_altered_after_the_run_is_seen(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A longer RTO, for instance."""
    path = run / "plan.json"
    before = path.read_bytes()
    plan = json.loads(before)
    plan["objectives"]["rto"] = 86_400
    try:
        path.write_text(json.dumps(plan))
        assert main.run(["show", "last"]) == 0
    finally:
        path.write_bytes(before)
    assert "sealed    NOT: plan.json: is not the one that the journal names" in capsys.readouterr().out
