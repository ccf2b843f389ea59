"""Drill and playbook files: what a good one becomes, and what is said of a bad one, to the letter."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from exitdrill.errors import DefinitionError, MissingExtraError
from exitdrill.plan import DrillPlan, load_plan
from exitdrill.plan.drill import Level, Mode, Objectives, Step

DRILL = """\
exitdrill: 1
name: small
playbook: book.yaml
mode: rehearsal
objectives: {rto: 1h30m, rpo: PT4H}
places:
  cloud: {connector: cloud, account: records}
  own: {connector: disk, path: ./vault, jurisdiction: "NO"}
  away: {connector: cloud, account: elsewhere}
route: {source: cloud, vault: own, target: away}
assets:
  - name: files
    kind: objects
    source: {container: files}
    target: {bucket: files}
    verify: sampled
    depends_on: [people]
  - name: people
    kind: objects
    source: {bucket: people, prefix: a/}
    target: {container: people, prefix: b/}
"""

PLAYBOOK = """\
exitdrill: 1
name: book
phases:
  - name: evacuate
    steps:
      - id: copy
        uses: move
        why: |
          Because.
        by_hand: Copy it.
        timeout: 2h
        retries: 3
        critical: false
        approval: true
        with: {threads: 4}
  - name: own-phase
    steps:
      - {id: ask, uses: manual, why: Somebody must look., by_hand: Look.}
  - name: verify
    steps:
      - {id: look, uses: move, why: To know., by_hand: Compare.}
"""


class Cloud(BaseModel):
    """Settings of a made-up connector."""

    model_config = ConfigDict(extra="forbid")

    account: str
    page_size: int = 10


class Disk(BaseModel):
    """Settings of another."""

    model_config = ConfigDict(extra="forbid")

    path: Path


class Connectors:
    """Two connectors, and one whose library is missing."""

    names = ("broken", "cloud", "disk")

    def __call__(self, name: str) -> type[BaseModel] | None:
        if name == "broken":
            raise MissingExtraError("connector 'broken' cannot be loaded", hint="pip install it")
        models: dict[str, type[BaseModel]] = {"cloud": Cloud, "disk": Disk}
        return models.get(name)

    def roles(self, name: str) -> frozenset[str]:
        return frozenset({"vault"}) if name == "disk" else frozenset({"source", "vault", "target"})


def load(folder: Path, drill: str | bytes = DRILL, playbook: str | bytes = PLAYBOOK) -> DrillPlan:
    path = folder / "drill.yaml"
    for file, text in ((path, drill), (folder / "book.yaml", playbook)):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_plan(path, connectors=Connectors(), actions=("move",), kinds=("objects", "vm"), emulators=("azurite",))


def complaints(folder: Path, drill: str | bytes = DRILL, playbook: str | bytes = PLAYBOOK) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load(folder, drill, playbook)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_good_drill_becomes_a_plan(tmp_path: Path) -> None:
    """Every field arrives; what is left out has its default; assets stand after those they depend on."""
    plan = load(tmp_path)
    assert (plan.name, plan.mode, plan.keep, plan.path) == (
        "small",
        Mode.REHEARSAL,
        False,
        str(tmp_path / "drill.yaml"),
    )
    assert plan.objectives == Objectives(timedelta(minutes=90), timedelta(hours=4))
    assert [asset.name for asset in plan.assets] == ["people", "files"]
    people, files = plan.assets
    assert (people.source, people.target) == (
        {"bucket": "people", "prefix": "a/"},
        {"container": "people", "prefix": "b/"},
    )
    assert (files.source, files.target) == ({"container": "files", "prefix": ""}, {"bucket": "files", "prefix": ""})
    assert (files.verify, files.depends_on, people.verify) == (Level.SAMPLED, ("people",), Level.ATTESTED)
    assert (plan.source.settings, plan.vault.jurisdiction) == ({"account": "records"}, "NO")
    assert plan.playbook.phases[0].steps == (
        Step("copy", "move", "Because.", "Copy it.", False, timedelta(hours=2), 3, True, {"threads": 4}),
    )
    assert [phase.name for phase in plan.playbook.phases] == ["evacuate", "own-phase", "verify"]


def test_other_kinds_say_where_they_are_in_their_own_words(tmp_path: Path) -> None:
    """Only objects have containers; what a machine's source looks like is its kind's business."""
    text = DRILL.replace("kind: objects\n    source: {container: files}", "kind: vm\n    source: {machine: web-1}")
    assert load(tmp_path, text).asset("files").source == {"machine": "web-1"}


def test_the_order_of_assets_is_the_files_where_nothing_else_is_asked(tmp_path: Path) -> None:
    """An asset moves behind those it depends on, and no other asset moves."""
    names = {"d": ["b"], "c": [], "b": ["a"], "a": [], "e": ["c"]}
    assets = "".join(
        f"  - {{name: {name}, kind: vm, source: {{}}, target: {{}}, depends_on: [{', '.join(needs)}]}}\n"
        for name, needs in names.items()
    )
    text = DRILL[: DRILL.index("  - name: files")] + assets
    assert [asset.name for asset in load(tmp_path, text).assets] == ["c", "a", "b", "d", "e"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # fields
        (
            "verify: sampled",
            "verfy: sampled",
            (
                "drill.yaml:16:5: assets[0].verfy: unknown field; expected one of classification, "
                "critical, depends_on, "
                "kind, name, objectives, owner, rename, sample, source, target, verify "
                "(did you mean 'verify'?)"
            ),
        ),
        (
            "verify: sampled",
            "verify: atested",
            (
                "drill.yaml:16:13: assets[0].verify: found 'atested'; expected one of listed, attested, sampled, full "
                "(did you mean 'attested'?)"
            ),
        ),
        (
            "verify: sampled",
            "verify: no",
            (
                "drill.yaml:16:13: assets[0].verify: found no, which YAML reads as false; expected one of "
                "listed, attested, "
                "sampled, full"
            ),
        ),
        (
            "verify: sampled",
            "rename: no",
            (
                "drill.yaml:16:13: assets[0].rename: found no, which YAML reads as false; expected one of "
                "none, percent "
                "(did you mean 'none'?)"
            ),
        ),
        ("verify: sampled", "sample: 0", "drill.yaml:16:13: assets[0].sample: found the number 0; expected 1 or more"),
        (
            "verify: sampled",
            "sample: 1.5",
            "drill.yaml:16:13: assets[0].sample: found the number 1.5; expected a whole number",
        ),
        ("verify: sampled", "sample: true", "drill.yaml:16:13: assets[0].sample: found true; expected a whole number"),
        (
            "verify: sampled",
            "critical: 1",
            "drill.yaml:16:15: assets[0].critical: found the number 1; expected true or false",
        ),
        (
            "verify: sampled",
            "owner: ' '",
            "drill.yaml:16:12: assets[0].owner: found ' '; expected text that is not blank",
        ),
        (
            "depends_on: [people]",
            "depends_on: people",
            "drill.yaml:17:17: assets[0].depends_on: found 'people'; expected a list",
        ),
        (
            "depends_on: [people]",
            "depends_on: [012]",
            'drill.yaml:17:18: assets[0].depends_on[0]: found the number 012; expected text (write "012" in quotes)',
        ),
        ("name: small\n", "\n", "drill.yaml:1:1: name: missing; expected the drill's name"),
        ("name: small\n", "name:\n", "drill.yaml:2:6: name: found nothing; expected text"),
        (
            "name: small",
            "name: ../small",
            (
                "drill.yaml:2:7: name: found '../small'; expected 1 to 63 letters, digits, dots, dashes "
                "and underscores, "
                "beginning with a letter or digit"
            ),
        ),
        (
            "places:\n",
            "places:\n  o wn: {connector: cloud, account: x}\n",
            (
                "drill.yaml:7:3: places['o wn']: found the name 'o wn'; expected 1 to 63 letters, digits, "
                "dots, dashes and "
                "underscores, beginning with a letter or digit"
            ),
        ),
        (
            'jurisdiction: "NO"',
            "jurisdiction: NO",
            (
                "drill.yaml:8:55: places.own.jurisdiction: found NO, which YAML reads as false; expected text "
                '(write "NO" in quotes)'
            ),
        ),
        (
            "rto: 1h30m",
            "rto: 24",
            (
                "drill.yaml:5:19: objectives.rto: found the number 24; expected a duration such as 24h, "
                "90m, 1h30m, 7d or PT4H"
            ),
        ),
        ("rto: 1h30m", "rto: 0h", "drill.yaml:5:19: objectives.rto: found '0h'; expected a duration longer than zero"),
        (
            "rto: 1h30m",
            "rto: -4h",
            "drill.yaml:5:19: objectives.rto: found '-4h'; expected a duration longer than zero",
        ),
        ("assets:", "keep: [1]\nassets:", "drill.yaml:11:7: keep: found a list; expected true or false"),
        ("mode: rehearsal", "mode: {}", "drill.yaml:4:7: mode: found a map; expected one of rehearsal, sample, full"),
        (
            DRILL[DRILL.index("assets:") :],
            "assets: []\n",
            "drill.yaml:11:9: assets: found a list; expected 1 or more of them",
        ),
        # places
        (
            "connector: disk",
            "connector: dsk",
            (
                "drill.yaml:8:20: places.own.connector: no connector is called 'dsk'; expected one of "
                "broken, cloud, disk "
                "(did you mean 'disk'?)"
            ),
        ),
        (
            "vault: own",
            "vault: owm",
            (
                "drill.yaml:10:31: route.vault: no place is called 'owm'; expected one of away, cloud, own "
                "(did you mean 'own'?)"
            ),
        ),
        (
            "vault: own",
            "vault: cloud",
            (
                "drill.yaml:10:31: route.vault: place 'cloud' is the source already; expected three places "
                "(what leaves a place cannot come up there)"
            ),
        ),
        (
            "  away: {connector: cloud, account: elsewhere}",
            "  away: {connector: disk, path: /srv}",
            (
                "drill.yaml:10:44: route.target: place 'away' has connector disk, which cannot be a "
                "target; expected a place "
                "whose connector can; this one can be one of vault"
            ),
        ),
        (
            "account: records",
            "emulator: azurit",
            (
                "drill.yaml:7:39: places.cloud.emulator: no emulator is called 'azurit'; expected one of azurite "
                "(did you mean 'azurite'?)"
            ),
        ),
        (
            "account: records",
            "account: records, seed: {container: files}",
            (
                "drill.yaml:7:53: places.cloud.seed: a seed without an emulator; expected emulator: one of azurite "
                "(a real place is never filled with made-up objects)"
            ),
        ),
        (
            "account: records",
            "emulator: azurite, seed: {container: files, objcts: 3}",
            (
                "drill.yaml:7:73: places.cloud.seed.objcts: unknown field; expected one of bytes_max, "
                "container, hostile, "
                "objects, prefix, random (did you mean 'objects'?)"
            ),
        ),
        (
            "account: records",
            "emulator: azurite, seed: [{container: files}, {objects: -3, container: x}]",
            "drill.yaml:7:85: places.cloud.seed[1].objects: found the number -3; expected 0 or more",
        ),
        (
            "places:\n",
            "places:\n  spare: {connector: cloud, emulator: azurite}\n",
            (
                "drill.yaml:7:39: places.spare.emulator: an emulator for a place that is not in the route; "
                "expected a place in the route"
            ),
        ),
        # assets
        (
            "kind: objects",
            "kind: object",
            (
                "drill.yaml:13:11: assets[0].kind: no kind of asset is called 'object'; expected one of objects, vm "
                "(did you mean 'objects'?)"
            ),
        ),
        (
            "[people]",
            "[peple]",
            (
                "drill.yaml:17:18: assets[0].depends_on[0]: no asset is called 'peple'; expected one of files, people "
                "(did you mean 'people'?)"
            ),
        ),
        (
            "[people]",
            "[files]",
            "drill.yaml:17:17: assets[0].depends_on: a cycle: files -> files; expected assets that can be up before it",
        ),
        (
            "b/}\n",
            "b/}\n    depends_on: [files]\n",
            (
                "drill.yaml:17:17: assets[0].depends_on: a cycle: files -> people -> files; "
                "expected assets that can be up before it"
            ),
        ),
        (
            "b/}\n",
            "b/}\n  - {name: people, kind: vm, source: {}, target: {}}\n",
            (
                "drill.yaml:22:12: assets[2].name: the name 'people' is given twice, first in line 18; "
                "expected each name once"
            ),
        ),
        (
            "{container: files}",
            "{contaner: files}",
            (
                "drill.yaml:14:14: assets[0].source.contaner: unknown field; expected one of bucket, container, "
                "inventory, prefix (did you mean 'container'?)"
            ),
        ),
        (
            "{container: files}",
            "{container: files, inventory: {report: {prefix: a/}}}",
            (
                "drill.yaml:14:52: assets[0].source.inventory.report: no container; "
                "expected container: NAME, or bucket: NAME"
            ),
        ),
        (
            "{container: files}",
            "{container: files, inventory: {report: {container: i}, delta: perhaps}}",
            ("drill.yaml:14:75: assets[0].source.inventory.delta: found 'perhaps'; expected one of listing, none"),
        ),
        (
            "{container: files}",
            "{prefix: a/}",
            "drill.yaml:14:13: assets[0].source: no container; expected container: NAME, or bucket: NAME",
        ),
        (
            "{container: files}",
            "{container: files, bucket: files}",
            (
                "drill.yaml:14:13: assets[0].source: both container and bucket, which mean the same; "
                "expected container: NAME, or bucket: NAME"
            ),
        ),
        (
            "source: {container: files}",
            "source: files",
            "drill.yaml:14:13: assets[0].source: found 'files'; expected a map",
        ),
        (
            "target: {container: people, prefix: b/}",
            "target: {container: files, prefix: b/}",
            (
                "drill.yaml:21:25: assets[1].target: assets[0] comes up at 'files/', which overlaps; "
                "expected a container or a prefix of its own"
            ),
        ),
        (
            "source: {container: files}",
            'source: {container: "${env:X}"}',
            (
                "drill.yaml:14:25: assets[0].source.container: a reference here stays as it is; expected a plain value "
                "(only a place's settings, engine.claims, and key and pin of evidence.signers are resolved)"
            ),
        ),
        # the file's version
        (
            "exitdrill: 1",
            "exitdrill: 2",
            (
                "drill.yaml:1:12: exitdrill: found the number 2; expected exitdrill: 1 "
                "(this file was made for another version of exitdrill)"
            ),
        ),
        (
            "exitdrill: 1",
            "exitdrill: true",
            (
                "drill.yaml:1:12: exitdrill: found true; expected exitdrill: 1 "
                "(this file was made for another version of exitdrill)"
            ),
        ),
        ("exitdrill: 1\n", "", "drill.yaml:1:1: exitdrill: missing; expected exitdrill: 1"),
        # its playbook
        (
            "playbook: book.yaml",
            "playbook: book.yml",
            "drill.yaml:3:11: playbook: playbook book.yml: there is no such file (did you mean 'book.yaml'?)",
        ),
        ("playbook: book.yaml", "playbook: ''", "drill.yaml:3:11: playbook: found ''; expected text that is not blank"),
        (
            "playbook: book.yaml",
            'playbook: "a\\0b"',
            "drill.yaml:3:11: playbook: playbook a\0b: cannot be read: embedded null byte",
        ),
    ],
)
def test_one_wrong_thing_in_a_drill(tmp_path: Path, old: str, new: str, said: str) -> None:
    """One line: where it stands, what was found, what was expected, what may have been meant."""
    assert old in DRILL
    assert complaints(tmp_path, DRILL.replace(old, new, 1)) == [said]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "uses: move",
            "uses: mov",
            (
                "book.yaml:7:15: phases[0].steps[0].uses: no action is called 'mov'; expected one of manual, move "
                "(did you mean 'move'?)"
            ),
        ),
        (
            "name: own-phase",
            "name: sever\n    steps: [{id: x, uses: move, why: y, by_hand: z}]\n  - name: inventory",
            (
                "book.yaml:18:11: phases[2].name: phase inventory stands after evacuate; expected the order declare, "
                "preflight, inventory, evacuate, sever, rebuild, verify, seal, teardown"
            ),
        ),
        (
            "name: own-phase",
            "name: evacuate",
            (
                "book.yaml:16:11: phases[1].name: the phase 'evacuate' is there twice, first in line 4; "
                "expected each phase once"
            ),
        ),
        (
            "id: ask",
            "id: copy",
            (
                "book.yaml:18:14: phases[1].steps[0].id: the id 'copy' is given twice, first in line 6; "
                "expected each id once"
            ),
        ),
        (
            ", by_hand: Look.",
            "",
            "book.yaml:18:9: phases[1].steps[0].by_hand: missing; expected how a person does it without exitdrill",
        ),
        (
            "by_hand: Look.",
            "by_hand: ''",
            "book.yaml:18:68: phases[1].steps[0].by_hand: found ''; expected text that is not blank",
        ),
        (
            "retries: 3",
            "retries: 300",
            "book.yaml:12:18: phases[0].steps[0].retries: found the number 300; expected 100 at most",
        ),
        (
            "timeout: 2h",
            "timeout: soon",
            (
                "book.yaml:11:18: phases[0].steps[0].timeout: found 'soon'; expected a duration such as "
                "24h, 90m, 1h30m, 7d or PT4H"
            ),
        ),
        (
            "with: {",
            "arguments: {",
            (
                "book.yaml:15:9: phases[0].steps[0].arguments: unknown field; expected one of approval, "
                "by_hand, critical, id, "
                "retries, timeout, uses, why, with"
            ),
        ),
        (
            "exitdrill: 1",
            "exitdrill: '1'",
            (
                "book.yaml:1:12: exitdrill: found '1'; expected exitdrill: 1 "
                "(this file was made for another version of exitdrill)"
            ),
        ),
        (PLAYBOOK, "[]", "book.yaml:1:1: found a list; expected a map of fields: 'name: value' lines"),
        (PLAYBOOK, "", "drill.yaml:3:11: playbook: playbook book.yaml: the file is empty"),
    ],
)
def test_one_wrong_thing_in_a_playbook(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The line names the playbook's file; where there is nothing to read in it, the drill's."""
    assert old in PLAYBOOK
    assert complaints(tmp_path, DRILL, PLAYBOOK.replace(old, new, 1)) == [said]


def test_mode_full_refuses_an_emulator(tmp_path: Path) -> None:
    """An emulator never passes for the real thing."""
    text = DRILL.replace("mode: rehearsal", "mode: full").replace("account: records", "emulator: azurite")
    assert complaints(tmp_path, text) == [
        (
            "drill.yaml:7:39: places.cloud.emulator: an emulator in a drill of mode full; expected no emulator "
            "(mode: rehearsal for a drill on emulators, or name the real place)"
        )
    ]


def test_everything_wrong_is_said_at_once_in_the_order_of_the_files(tmp_path: Path) -> None:
    """Types, names, cycles and the playbook's own problems come together: one round of putting right is enough."""
    drill = DRILL.replace("rto: 1h30m", "rto: soon").replace("disk", "dsk").replace("[people]", "[files, nobody]")
    drill = drill.replace("kind: objects", "kind: object")
    found = complaints(tmp_path, drill, PLAYBOOK.replace("uses: move", "uses: mov"))
    assert [line.partition(": ")[0] for line in found] == [
        *("drill.yaml:5:19", "drill.yaml:8:20", "drill.yaml:13:11", "drill.yaml:17:17", "drill.yaml:17:25"),
        *("drill.yaml:19:11", "book.yaml:7:15", "book.yaml:21:26"),
    ]


def test_of_very_many_problems_the_first_hundred_are_shown(tmp_path: Path) -> None:
    """And how many more there are."""
    found = complaints(tmp_path, DRILL + "x: 1\n" * 150)
    assert len(found) == 101
    assert found[-1] == "drill.yaml: and 50 more problems"


def test_two_cycles_are_both_named(tmp_path: Path) -> None:
    """Each cycle is reported once, beginning with the asset that stands first."""
    needs = {"a": "b", "b": "c", "c": "a", "d": "e", "e": "d", "f": "a"}
    assets = "".join(
        f"  - {{name: {name}, kind: vm, source: {{}}, target: {{}}, depends_on: [{other}]}}\n"
        for name, other in needs.items()
    )
    found = complaints(tmp_path, DRILL[: DRILL.index("  - name: files")] + assets)
    assert [line.split("a cycle: ")[1].split(";")[0] for line in found] == ["a -> b -> c -> a", "d -> e -> d"]


def test_a_connector_that_cannot_be_loaded_says_so_itself(tmp_path: Path) -> None:
    """Its own error, with what to install, comes out as it is."""
    with pytest.raises(MissingExtraError, match="pip install it"):
        load(tmp_path, DRILL.replace("connector: disk", "connector: broken"))


def test_wrong_types_everywhere_are_problems_and_nothing_else(tmp_path: Path) -> None:
    """Checks between fields pass over what is not of its type."""
    text = """\
exitdrill: 1
name: []
playbook: {}
mode: 1
objectives: []
places: {cloud: 1, own: {connector: []}, away: {connector: cloud, emulator: [], seed: 1}}
route: {source: [], vault: {}, target: 1}
assets: [1, {name: [], kind: [], source: 1, target: {container: [], prefix: 1}, depends_on: {}},
  {kind: objects, source: []}]
"""
    found = complaints(tmp_path, text)
    assert all(line.startswith("drill.yaml:") for line in found)
    assert {line.split(":")[1] for line in found} == set("23456789")
    assert complaints(tmp_path, text.replace("route: {source: [], vault: {}, target: 1}", "route: 1"))
    assert complaints(tmp_path, text.replace("places: {", "places: [], x: {").replace("assets: [", "assets: {}, y: ["))
    assert complaints(
        tmp_path, DRILL, "exitdrill: 1\nname: 1\nphases: [1, {name: [], steps: [1, {id: [], uses: []}]}, {steps: 1}]\n"
    )
