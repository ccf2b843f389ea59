"""Policies, facts of places, classifications and waivers: what a good file becomes, and what is said of a bad one."""

import json
from datetime import date
from pathlib import Path

import pytest

from exitdrill.errors import DefinitionError
from exitdrill.flow.compose import load as load_file
from exitdrill.plan import DrillPlan, from_json
from exitdrill.plan.drill import Classification
from exitdrill.plan.sovereignty import Ownership, Seal, SealLevel, Unknown, Waiver

PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "plan-b.yaml"
DRILL = f"""\
exitdrill: 1
name: small
playbook: {PLAYBOOK}
mode: rehearsal
objectives: {{rto: 1h30m, rpo: PT4H}}
places:
  cloud: {{connector: local, path: ./cloud}}
  own: {{connector: local, path: ./vault, jurisdiction: "NO"}}
  away: {{connector: local, path: ./away}}
route: {{source: cloud, vault: own, target: away}}
assets:
  - name: files
    kind: objects
    source: {{container: files}}
    target: {{bucket: files}}
    verify: sampled
  - name: people
    kind: objects
    source: {{bucket: people, prefix: a/}}
    target: {{container: people, prefix: b/}}
"""
POLICY = """\
exitdrill: 1
name: own
unknown: refuse
rules:
  - id: law
    why: Ours.
    classifications: [sensitive, essential]
    roles: [vault, target]
    jurisdictions: [EEA]
  - id: hands
    why: Theirs.
    classifications: [essential]
    ownership: [NL]
    seal: SEAL-2
    assessed: true
    certifications: [ISO 27001]
"""
WITH = DRILL.replace("mode: rehearsal", "policy: policy.yaml\nmode: rehearsal")


def load(folder: Path, drill: str) -> DrillPlan:
    (folder / "drill.yaml").write_text(drill)
    return load_file(folder / "drill.yaml")


def plan_of(folder: Path, drill: str = WITH, policy: str = POLICY) -> DrillPlan:
    (folder / "policy.yaml").write_text(policy)
    return load(folder, drill)


def complaints(folder: Path, drill: str = WITH, policy: str = POLICY) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        plan_of(folder, drill, policy)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_policy_facts_waivers_and_terms_become_a_plan(tmp_path: Path) -> None:
    """All of it arrives, survives plan.json, and is in the digest."""
    facts = (
        'jurisdiction: "NO", legal_entity: Disk AS, ownership: {owner: Disk AS, jurisdiction: "NO", controller: Big '
        "Corp, controller_jurisdiction: US}, certifications: [ISO 27001], seal: {level: SEAL-2, assessed_by: TNO, "
        "assessed_on: 2026-01-31, reference: report 7}"
    )
    drill = WITH.replace('jurisdiction: "NO"', facts).replace(
        "verify: sampled", "verify: sampled\n    classification: essential"
    )
    drill += "waivers: [{asset: files, place: own, rule: hands, by: A. Jansen, reason: for now, until: 2026-12-31}]\n"
    drill += "findings: {due: {critical: 30d}}\n"
    plan = plan_of(tmp_path, drill)
    own = plan.places["own"]
    assert own.ownership == Ownership("Disk AS", "NO", "Big Corp", "US")
    assert own.seal == Seal(SealLevel.SEAL_2, "TNO", date(2026, 1, 31), "report 7")
    assert own.certifications == ("ISO 27001",)
    assert plan.asset("files").classification is Classification.ESSENTIAL
    assert plan.asset("people").classification is Classification.ORDINARY
    assert plan.waivers == (Waiver("files", "own", "hands", "A. Jansen", "for now", date(2026, 12, 31)),)
    assert plan.policy is not None
    assert plan.policy.unknown is Unknown.REFUSE
    assert plan.policy.rules[1].roles == ("source", "vault", "target")
    assert {name: value.days for name, value in plan.due.items()} == {"critical": 30}
    again = from_json(json.loads(json.dumps(plan.to_json())))
    assert again.digest == plan.digest
    assert plan.digest != plan_of(tmp_path, drill.replace("2026-12-31", "2026-12-30")).digest


def test_a_classification_is_one_of_four_words(tmp_path: Path) -> None:
    """Any other is refused in its line, with the words there are."""
    drill = DRILL.replace("verify: sampled", "verify: sampled\n    classification: public")
    [line] = complaints(tmp_path, drill, POLICY)
    where = "drill.yaml:17:21: assets[0].classification: found 'public'"
    assert line == f"{where}; expected one of ordinary, sensitive, essential, critical-infrastructure"


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        ("{asset: file, place: own, rule: law", "assets: no asset is called 'file'"),
        ("{asset: files, place: elsewhere, rule: law", "no place in the route is called 'elsewhere'"),
        ("{asset: files, place: own, rule: laws", "no rule in the policy is called 'laws'"),
    ],
)
def test_a_waiver_names_what_there_is(tmp_path: Path, waiver: str, said: str) -> None:
    """An asset, a place of the route and a rule; the nearest is suggested."""
    drill = WITH + f"waivers: [{waiver}, by: A, reason: r, until: 2026-12-31}}]\n"
    [line] = complaints(tmp_path, drill)
    assert said.removeprefix("assets: ") in line
    assert "drill.yaml:22:" in line
    assert "expected one of" in line


@pytest.mark.parametrize("missing", ["by: A", "reason: r", "until: 2026-12-31"])
def test_a_waiver_without_a_name_a_reason_or_a_last_day_is_none(tmp_path: Path, missing: str) -> None:
    """Each of the three is asked for."""
    parts = [
        x
        for x in ("asset: files", "place: own", "rule: law", "by: A", "reason: r", "until: 2026-12-31")
        if x != missing
    ]
    [line] = complaints(tmp_path, WITH + f"waivers: [{{{', '.join(parts)}}}]\n")
    assert f"waivers[0].{missing.partition(':')[0]}: missing" in line


def test_waivers_need_a_policy_and_each_its_own_breach(tmp_path: Path) -> None:
    """Without a policy there is nothing to waive; and nothing is waived twice."""
    waiver = "{asset: files, place: own, rule: law, by: A, reason: r, until: 2026-12-31}"
    [line] = complaints(tmp_path, DRILL + f"waivers: [{waiver}]\n")
    assert "waivers: waivers without a policy; expected policy: FILE" in line
    [line] = complaints(tmp_path, WITH + f"waivers: [{waiver}, {waiver}]\n")
    assert "the same asset, place and rule as waivers[0]" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("until", "until"), ""),
        (("[NL]", "[nl]"), "found 'nl'; expected a code of two capital letters (ISO 3166-1), EU or EEA"),
        (("[EEA]", "[]"), "1 or more of them"),
        (("SEAL-2", "SEAL-5"), "expected one of SEAL-0, SEAL-1, SEAL-2, SEAL-3, SEAL-4"),
        (("    jurisdictions: [EEA]\n", ""), "it asks for nothing"),
        (("    seal: SEAL-2\n", ""), "assessed is about seal"),
        (("id: hands", "id: law"), "the id 'law' is given twice, first in line 5"),
        (("roles: [vault", "roles: [vaults"), "expected one of source, vault, target"),
        (("unknown: refuse", "unknown: ignore"), "expected one of warn, refuse"),
        (("    why: Ours.\n", ""), "rules[0].why: missing"),
        (("name: own\n", "name: own\nextra: 1\n"), "extra: unknown field"),
        (("exitdrill: 1", "exitdrill: 2"), "found the number 2; expected exitdrill: 1"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    """With the policy's own file and line."""
    policy = POLICY.replace(*change)
    if not said:
        plan_of(tmp_path, WITH, policy)
        return
    assert any(said in line and line.startswith("policy.yaml:") for line in complaints(tmp_path, WITH, policy))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("seal: {level: SEAL-2, assessed_on: 2026-01-01}", "an assessment by nobody"),
        ("seal: {level: SEAL-2, assessed_by: X, assessed_on: 2026-02-30}", "expected a date such as 2027-03-31"),
        ("ownership: {owner: X, jurisdiction: NL, controller: Y}", "controller and controller_jurisdiction belong"),
        ("ownership: {owner: X}", "own.ownership.jurisdiction: missing"),
        ("legal_entity: '${env:X}'", "a reference here stays as it is"),
    ],
)
def test_what_is_wrong_with_facts_is_said(tmp_path: Path, facts: str, said: str) -> None:
    """In the drill's line of that place."""
    drill = DRILL.replace('jurisdiction: "NO"', facts)
    assert any(said in line and line.startswith("drill.yaml:8:") for line in complaints(tmp_path, drill))


def test_a_policy_that_is_not_there_is_named_where_the_drill_names_it(tmp_path: Path) -> None:
    """With line and column of the drill."""
    with pytest.raises(DefinitionError, match=r"drill.yaml:4:9: policy: policy .*policy.yaml: there is no such file"):
        load(tmp_path, WITH)
