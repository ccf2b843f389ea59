"""``evidence:`` of a drill: what it may say, what it must not, and where the problem is."""

from datetime import timedelta
from pathlib import Path

import pytest

from exitdrill.errors import DefinitionError
from exitdrill.flow.compose import load
from exitdrill.plan import from_json
from exitdrill.plan.drill import DrillPlan, Evidence, SigningKey, Timestamps

_PLAYBOOK = """\
exitdrill: 1
name: p
phases:
  - name: declare
    steps: [{id: declare, uses: drill.declare, why: w, by_hand: b}]
  - name: sever
    steps:
      - {id: look, uses: manual, why: w, by_hand: b}
      - {id: sever, uses: source.sever, why: w, by_hand: b, approval: true}
"""
_DRILL = """\
exitdrill: 1
name: d
playbook: p.yaml
mode: full
places:
  a: {connector: local, path: ./a}
  b: {connector: local, path: ./b}
  c: {connector: local, path: ./c}
route: {source: a, vault: b, target: c}
assets: [{name: x, kind: objects, source: {container: k}, target: {container: k}}]
"""


def _load(tmp_path: Path, evidence: str) -> DrillPlan:
    (tmp_path / "p.yaml").write_text(_PLAYBOOK)
    (tmp_path / "d.yaml").write_text(_DRILL + evidence)
    return load(tmp_path / "d.yaml")


def test_without_it(tmp_path: Path) -> None:
    """One signer, the machine's; no timestamps; names for answers."""
    assert _load(tmp_path, "").evidence == Evidence()


def test_all_of_it(tmp_path: Path) -> None:
    """Everything arrives in the plan, references unresolved, and survives being written down."""
    plan = _load(
        tmp_path,
        "evidence:\n"
        "  signers:\n"
        "    - {key: keys/ops.pem}\n"
        '    - {key: "hsm:2?label=drill", public: token.pub, pin: "${env:PIN}"}\n'
        '    - {key: "${env:KEY}"}\n'
        "  threshold: 2\n"
        "  timestamps: {url: http://tsa.example/tsr, root: tsa.pem, timeout: 5s}\n"
        "  approvers: {sever: [ada.pub, bob.pub], look: [ada.pub]}\n",
    )
    assert plan.evidence == Evidence(
        (
            SigningKey("keys/ops.pem"),
            SigningKey("hsm:2?label=drill", "token.pub", "${env:PIN}"),
            SigningKey("${env:KEY}"),
        ),
        2,
        Timestamps("http://tsa.example/tsr", "tsa.pem", timedelta(seconds=5)),
        {"sever": ("ada.pub", "bob.pub"), "look": ("ada.pub",)},
    )
    assert from_json(plan.to_json()).digest == plan.digest


def test_a_plan_of_before(tmp_path: Path) -> None:
    """A plan that was written down without it is read as one without it."""
    data = _load(tmp_path, "").to_json()
    del data["evidence"]
    assert from_json(data).evidence == Evidence()


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ("{signer: []}", "11:12: evidence.signer: unknown field"),
        ("{signers: [{kay: x}]}", "11:23: evidence.signers[0].kay: unknown field"),
        ("{signers: [{public: x}]}", "evidence.signers[0].key: missing"),
        ("{signers: [{key: ' '}]}", "evidence.signers[0].key: found ' '; expected text that is not blank"),
        ('{signers: [{key: "-----BEGIN PRIVATE KEY-----"}]}', "evidence.signers[0].key: a literal secret"),
        ('{signers: [{key: "${KEY}"}]}', "evidence.signers[0].key: a '${' that begins no reference"),
        ("{signers: [{key: 'hsm:2', pin: '1234'}]}", "evidence.signers[0].pin: a literal secret; expected a reference"),
        ("{threshold: 2}", "11:23: evidence.threshold: found 2, and there is only 1 signer; expected 1 at most"),
        ("{signers: [{key: a}, {key: b}], threshold: 3}", "found 3, and there is only 2 signers"),
        ("{threshold: 0}", "evidence.threshold: found the number 0; expected 1 or more"),
        ("{timestamps: {}}", "evidence.timestamps.url: missing"),
        ("{timestamps: {url: ftp://x}}", "expected http://HOST or https://HOST, without a user"),
        ("{timestamps: {url: 'http://u:p@x/'}}", "expected http://HOST or https://HOST, without a user"),
        ("{timestamps: {url: http://x, timeout: 1h}}", "evidence.timestamps.timeout: found '1h'; expected 1s to 2m"),
        ("{timestamps: {url: http://x, timeout: soon}}", "evidence.timestamps.timeout: found 'soon'"),
        (
            "{timestamps: {url: http://x, root: '${env:R}'}}",
            "evidence.timestamps.root: a reference here stays as it is",
        ),
        ("{approvers: {severe: [a]}}", "no step 'severe' asks for a person; expected one of look, sever"),
        ("{approvers: {declare: [a]}}", "11:24: evidence.approvers.declare: no step 'declare' asks for a person"),
        ("{approvers: {sever: []}}", "evidence.approvers.sever: found a list; expected 1 or more of them"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, evidence: str, said: str) -> None:
    """Field, what was found, what was expected; no secret is shown."""
    with pytest.raises(DefinitionError) as caught:
        _load(tmp_path, f"evidence: {evidence}\n")
    assert said in str(caught.value)
    assert "1234" not in str(caught.value)
    assert "u:p" not in str(caught.value)
