"""Runs of one drill in succession: a policy that refuses, findings that people add to, and what became of them."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from drilling import Field
from exitdrill.emulator import Running
from exitdrill.evidence.findings import pinned
from exitdrill.model import codec
from exitdrill.model.record import RunRecord

_POLICY = """\
exitdrill: 1
name: own
rules:
  - {id: law, why: Not with others., classifications: [sensitive], jurisdictions: [EU]}
"""
_WAIVER = (
    "waivers: [{asset: case-files, place: aws, rule: law, by: A. Jansen, reason: new contract, until: 2999-12-31}]"
)
_HOSTILE = "\x1b[31mred\u202e <script>alert(1)</script> [x](javascript:y) |"


def _write(there: Field, target: str, waiver: str = "") -> None:
    (there.folder / "policy.yaml").write_text(_POLICY)
    there.write(extra=f"policy: policy.yaml\nfindings: {{due: {{critical: 30d, warning: 90d}}}}\n{waiver}")
    text = there.drill.read_text().replace("connector: azure", "connector: azure\n    jurisdiction: US")
    text = text.replace("path: ./vault", "path: ./vault, jurisdiction: NL")
    there.drill.write_text(text.replace("connector: s3", f"connector: s3\n    jurisdiction: {target}"))


def _asked(there: Field, *arguments: str, code: int = 0) -> Any:
    done = there.exitdrill(*arguments, "--json")
    assert done.code == code, done.out + done.err
    return json.loads(done.out)


def _followed(run: Path) -> set[tuple[str, str]]:
    verdict = json.loads((run / "verdict.json").read_text())
    return {(item["earlier"]["code"], item["standing"]) for item in verdict["comparison"]["items"]}


@pytest.mark.timeout(600)
def test_findings_are_followed_from_run_to_run(field: Callable[[Running], Field], moto: Running) -> None:
    """Refused, then waived, then put right; what people added is carried on, and nothing hostile gets through."""
    there = field(moto)
    filled = there.outsider("fill", there.container, "30", "1000")
    assert filled.code == 0, filled.err

    _write(there, "US")
    assert there.exitdrill("check", "drill.yaml").code == 3
    refused = there.exitdrill("run", "drill.yaml", "--no-prefect")
    assert refused.code == 3, refused.out + refused.err
    assert "policy case-files at aws (target): sensitive, rule law: jurisdiction US; asked: EU" in refused.err
    first = there.run
    verdict = json.loads((first / "verdict.json").read_text())
    assert (verdict["judgement"], verdict["comparison"]) == ("failed", None)
    codes = {one["code"] for one in verdict["findings"]}
    assert {"placement-breached", "placement-source"} <= codes
    assert there.read("record.json")["severance"] is None

    _write(there, "US", _WAIVER)
    waived = there.exitdrill("run", "drill.yaml", "--no-prefect")
    assert waived.code == 0, waived.out + waived.err
    second = there.run
    assert second != first
    assert {("placement-breached", "closed"), ("placement-source", "open again")} <= _followed(second)
    _is_pinned(first, second)

    before = {path: sha256(path.read_bytes()).digest() for path in second.glob("*.json")}
    _people_add(there)
    assert before == {path: sha256(path.read_bytes()).digest() for path in second.glob("*.json")}

    _write(there, "NL")
    right = there.exitdrill("run", "drill.yaml", "--no-prefect")
    assert right.code == 0, right.out + right.err
    third = there.run
    expected = {("placement-waived", "closed"), ("placement-source", "open again")}
    assert expected | {("by-person", "still open"), ("by-person", "closed")} <= _followed(third)
    _is_pinned(second, third)
    findings = {one["code"]: one for one in there.read("verdict.json")["findings"]}
    assert findings["placement-source"]["owner"] == "C. de Vries"
    assert (findings["placement-source"]["due"], findings["placement-source"]["since"]) == ("2999-01-01", first.name)
    assert "overdue since 2020-01-01, records office" in findings["overdue"]["text"]

    for arguments in (("show", "last"), ("report", "last"), ("report", "last", "--format", "markdown")):
        shown = there.exitdrill(*arguments)
        assert shown.code == 0, shown.err
        assert "still open, overdue" in " ".join(shown.out.split())
        assert not {"\x1b", "\u202e"} & set(shown.out)
    checked = there.exitdrill("verify", "last", "--key", str(third / "signer.pub"), "--json")
    assert checked.code == 0, checked.out + checked.err
    (row,) = [row for row in json.loads(checked.out)["checks"] if row["id"] == "previous"]
    assert (row["result"], second.name in row["said"]) == ("checked", True)
    assert "<script>" not in shown.out
    assert "[x](" not in shown.out.replace("\\[x\\](", "")


def _is_pinned(previous: Path, run: Path) -> None:
    """The journal names the run before, with its verdict's digest and that of what was taken from it."""
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    (event,) = [event for event in events if event["event"] == "previous run"]
    record = codec.load(RunRecord, (run / "record.json").read_bytes(), "record.json")
    assert record.previous is not None
    assert (event["run"], event["findings_sha256"]) == (previous.name, pinned(record.previous))
    assert event["verdict_sha256"] == sha256((previous / "verdict.json").read_bytes()).hexdigest()


def _people_add(there: Field) -> None:
    """A finding of their own that is overdue, an owner for one of the verdict's, and one that is closed."""
    key = there.exitdrill("keys", "new", "b.pem")
    assert key.code == 0, key.err
    own = (
        "--severity",
        "critical",
        "--subject",
        "drill",
        "--text",
        _HOSTILE,
        "--remedy",
        "look",
        "--due",
        "2020-01-01",
    )
    added = _asked(there, "finding", "add", "last", *own, "--owner", "records office", "--by", "B", "--key", "b.pem")
    assert (added["id"], added["state"], added["key"]) == ("P0001", "overdue", key.out.strip())
    listed = _asked(there, "finding", "list", "last")["findings"]
    source = next(one["id"] for one in listed if one["code"] == "placement-source")
    _asked(there, "finding", "assign", "last", source, "--owner", "C. de Vries", "--due", "2999-01-01")
    done = _asked(there, "finding", "add", "last", *own, "--by", "B")
    assert _asked(there, "finding", "close", "last", done["id"], "--reason", "a slip", "--by", "B")["state"] == "closed"
    assert there.exitdrill("finding", "close", "last", done["id"], "--reason", "again").code == 2
    assert there.exitdrill("finding", "close", "last", "F999", "--reason", "x").code == 2
    assert there.exitdrill("finding", "add", "last", *own[:-1], "soon").code == 2
    plain = there.exitdrill("finding", "list", "last")
    assert plain.code == 0, plain.err
    assert "\x1b" not in plain.out
    assert "C. de Vries" in plain.out
