"""The drills, playbook and schemas that come with exitdrill."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import JsonValue

from exitdrill.emulator.seed import Seed, parse_seeds
from exitdrill.errors import DefinitionError, RunError
from exitdrill.flow.compose import load
from exitdrill.plan import from_json, schema
from exitdrill.plan.checks import PHASES
from exitdrill.plan.drill import Level
from exitdrill.plan.files import SeedFile

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "drills").glob("*.yaml")), *sorted((ROOT / "playbooks").glob("*.yaml"))]
FILES += sorted((ROOT / "policies").glob("*.yaml"))


def test_the_rehearsal_needs_nothing_but_this_machine() -> None:
    """Both clouds are emulators, no environment variable is asked for, and a few thousand objects are made up."""
    plan = load(ROOT / "drills" / "rehearsal.yaml")
    assert (plan.source.emulator, plan.vault.emulator, plan.target.emulator) == ("azurite", None, "seaweedfs")
    seeds = parse_seeds(plan.source.seed)
    assert 2_000 <= sum(seed.objects for seed in seeds) <= 5_000
    assert {asset.source["container"] for asset in plan.assets} == {seed.container for seed in seeds}
    assert {asset.verify for asset in plan.assets} == {Level.ATTESTED, Level.SAMPLED, Level.FULL}
    assert any(asset.depends_on for asset in plan.assets)
    assert "${" not in json.dumps(plan.to_json()["places"])
    assert (ROOT / ".gitignore").read_text().splitlines().count("/drills/vault/") == 1


def test_the_24_hour_drill_names_its_secrets_by_reference() -> None:
    """As it stands it can be checked anywhere; it needs three variables to run."""
    plan = load(ROOT / "drills" / "plan-b-24h.yaml")
    assert plan.objectives.rto is not None
    assert plan.objectives.rto.total_seconds() == 24 * 3600
    assert plan.source.settings["key"] == "${env:AZURE_STORAGE_KEY}"


def test_the_playbook_has_every_phase_and_says_how_to_do_without_exitdrill() -> None:
    """Each step has a reason, and commands a person can type."""
    playbook = load(ROOT / "drills" / "rehearsal.yaml").playbook
    assert tuple(phase.name for phase in playbook.phases) == PHASES
    assert [step.uses for step in playbook.steps] == [
        *(
            "drill.declare",
            "preflight.check",
            "assets.inventory",
            "assets.evacuate",
            "source.last_look",
            "source.sever",
        ),
        *("assets.rebuild", "assets.verify", "run.seal", "run.teardown"),
    ]
    for step in playbook.steps:
        assert len(step.why) > 80
        assert any(tool in step.by_hand for tool in ("sha256sum", "az ", "azcopy ", "aws ")), step.id


@pytest.mark.parametrize("kind", ["drill", "playbook", "policy"])
def test_the_committed_schemas_are_the_generated_ones(kind: str) -> None:
    """Editors see what the program checks; a valid schema of draft 2020-12."""
    generated = schema(kind)  # type: ignore[arg-type]  # one of the three
    assert json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text()) == generated
    assert generated["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(generated)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_shipped_files_fit_their_schema(path: Path) -> None:
    """The first line names the schema for editors, and the file is valid by it."""
    text = path.read_text()
    first = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    chosen = json.loads((path.parent / first).read_text())
    jsonschema.Draft202012Validator(chosen).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"objectives": {"rto": "PT4H"}}, True),
        ({"objectives": {"rto": "1h30m"}}, True),
        ({"objectives": {"rto": "30m1h"}}, False),
        ({"objectives": {"rto": ""}}, False),
        ({"objectives": {"rto": "PT"}}, False),
        ({"objectives": {"rto": 24}}, False),
        ({"exitdrill": 2}, False),
        ({"nam": "x"}, False),
        ({"mode": "half"}, False),
    ],
)
def test_the_schema_says_what_the_program_says(tmp_path: Path, change: dict[str, JsonValue], valid: bool) -> None:
    """Durations, versions, choices and misspelt keys are judged alike by both."""
    drill = yaml.safe_load((ROOT / "drills" / "plan-b-24h.yaml").read_text())
    drill |= {"playbook": str(ROOT / "playbooks" / "plan-b.yaml"), **change}
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(drill))
    assert jsonschema.Draft202012Validator(schema("drill")).is_valid(drill) is valid
    if valid:
        load(path)
    else:
        with pytest.raises(DefinitionError):
            load(path)


def test_a_seed_in_a_drill_has_the_fields_that_emulators_know() -> None:
    """The two lists of fields, and their defaults, are one."""
    assert set(SeedFile.model_fields) == set(Seed.__dataclass_fields__)
    made = Seed("x")
    given = SeedFile(container="x")
    assert {name: getattr(made, name) for name in SeedFile.model_fields} == given.model_dump()


@pytest.mark.parametrize(
    "change", [{"mode": "other"}, {"assets": None}, {"objectives": {"rto": "soon"}}, {"route": {"source": "azure"}}]
)
def test_a_plan_of_another_version_is_refused(change: dict[str, object]) -> None:
    """A damaged plan.json ends in one of exitdrill's errors, naming the field."""
    data = load(ROOT / "drills" / "plan-b-24h.yaml").to_json() | change
    with pytest.raises(RunError, match=f"plan.json: {next(iter(change))}.*another version"):
        from_json(data)
