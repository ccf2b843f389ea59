"""Properties of definition files: durations, plans written down and read again, and junk."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, SecretStr

from exitdrill.errors import DefinitionError
from exitdrill.plan import DrillPlan, from_json, load_plan
from exitdrill.plan.checks import in_order
from exitdrill.plan.drill import Asset, Classification, Level, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.plan.durations import parse_duration
from exitdrill.plan.secrets import references, resolve
from exitdrill.plan.sovereignty import Ownership, Policy, PolicyRule, Seal, SealLevel, Unknown, Waiver

TEN_YEARS = 3650 * 86400


class Made(BaseModel):
    """Settings with a secret."""

    account: str
    key: SecretStr | None = None


class Connectors:
    """One connector."""

    names = ("made",)

    def __call__(self, name: str) -> type[BaseModel] | None:
        return Made if name in self.names else None

    def roles(self, name: str) -> tuple[str, ...]:
        return ("source", "vault", "target") if name in self.names else ()


def load(drill: bytes, playbook: bytes) -> DrillPlan:
    with TemporaryDirectory() as folder:
        path = Path(folder, "drill.yaml")
        path.write_bytes(drill)
        Path(folder, "book.yaml").write_bytes(playbook)
        return load_plan(path, connectors=Connectors(), actions=("go",), kinds=("objects",), emulators=("sim",))


# durations


@given(st.tuples(*(st.none() | st.integers(0, 99_999) for _ in range(5))), st.booleans())
def test_a_duration_is_the_sum_of_its_parts(parts: tuple[int | None, ...], iso: bool) -> None:
    """Weeks, days, hours, minutes and seconds add up, in either notation; zero and ten years are the limits."""
    units = ("w", 7 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)
    said = [(number, *unit) for number, unit in zip(parts, units, strict=True) if number is not None]
    text = "".join(f"{number}{unit}" for number, unit, _ in said)
    if iso:
        date = "".join(f"{n}{u}" for n, u, _ in said if u in "wd").upper()
        time = "".join(f"{n}{u}" for n, u, _ in said if u in "hms").upper()
        text = f"P{date}" + (f"T{time}" if time else "")
    seconds = sum(number * each for number, _, each in said)
    if 0 < seconds <= TEN_YEARS:
        assert parse_duration(text) == timedelta(seconds=seconds)
    else:
        with pytest.raises(DefinitionError):
            parse_duration(text)


@given(st.text() | st.text("PTWDHMSwdhms0123456789-. ", max_size=12))
def test_any_text_is_a_duration_or_a_definition_error(text: str) -> None:
    """Nothing else is raised, and a duration is longer than zero."""
    try:
        found = parse_duration(text)
    except DefinitionError:
        return
    assert timedelta(0) < found <= timedelta(seconds=TEN_YEARS)


# plans

_names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
_text = st.text(st.characters(codec="utf-8"), max_size=12)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_maps = st.dictionaries(_text, _json, max_size=3)
_durations = st.timedeltas(timedelta(microseconds=1), timedelta(seconds=TEN_YEARS))
_objectives = st.builds(Objectives, st.none() | _durations, st.none() | _durations)
_assets = st.builds(
    Asset,
    name=_names,
    kind=_names,
    source=_maps,
    target=_maps,
    verify=st.sampled_from(Level),
    classification=st.sampled_from(Classification),
    owner=st.none() | _text,
    objectives=_objectives,
    depends_on=st.lists(_names, max_size=2).map(tuple),
    critical=st.booleans(),
    rename=st.sampled_from(["none", "percent"]),
    sample=st.integers(1, 1000),
)
_steps = st.builds(
    Step, _names, _names, _text, _text, st.booleans(), _durations, st.integers(0, 9), st.booleans(), _maps
)
_phases = st.builds(Phase, _names, st.lists(_steps, max_size=2).map(tuple))
_seals = st.builds(Seal, st.sampled_from(SealLevel), st.none() | _text, st.none() | st.dates(), st.none() | _text)
_owners = st.builds(Ownership, _text, _text, st.none() | _text, st.none() | _text)
_texts = st.lists(_text, max_size=2).map(tuple)
_rules = st.builds(
    PolicyRule,
    _names,
    _text,
    st.lists(st.sampled_from(Classification), max_size=2).map(tuple),
    st.lists(st.sampled_from(["source", "vault", "target"]), max_size=2).map(tuple),
    _texts,
    _texts,
    st.none() | st.sampled_from(SealLevel),
    st.booleans(),
    _texts,
)
_policies = st.builds(Policy, _names, st.lists(_rules, max_size=2).map(tuple), _text, st.sampled_from(Unknown))
_waivers = st.builds(Waiver, _names, _names, _names, _text, _text, st.dates())
_places = st.builds(
    Place,
    _names,
    _names,
    _maps,
    st.none() | _names,
    st.none() | _maps | st.lists(_maps, max_size=2),
    st.none() | _text,
    legal_entity=st.none() | _text,
    ownership=st.none() | _owners,
    certifications=_texts,
    seal=st.none() | _seals,
)
_plans = st.builds(
    DrillPlan,
    name=_names,
    mode=st.sampled_from(Mode),
    objectives=_objectives,
    places=st.dictionaries(_names, _places, max_size=3),
    route=st.builds(Route, _names, _names, _names),
    assets=st.lists(_assets, max_size=3).map(tuple),
    playbook=st.builds(Playbook, _names, st.lists(_phases, max_size=2).map(tuple), _text),
    keep=st.booleans(),
    path=_text,
    description=_text,
    policy=st.none() | _policies,
    waivers=st.lists(_waivers, max_size=2).map(tuple),
    due=st.dictionaries(st.sampled_from(["critical", "warning"]), _durations, max_size=2),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_plans)
def test_a_plan_written_down_and_read_again_is_the_same_plan(plan: DrillPlan) -> None:
    """Through JSON and back nothing changes but the path, which is not part of it; the digest stays."""
    again = from_json(json.loads(json.dumps(plan.to_json())))
    assert again == replace(plan, path="")
    assert again.digest == plan.digest


@given(st.lists(_names, unique=True, max_size=8), st.data())
def test_order_respects_every_dependency(names: list[str], data: st.DataObject) -> None:
    """A permutation in which everything comes after what it needs; in file order where that is one already."""
    shuffled = data.draw(st.permutations(names))
    needs: Mapping[str, list[str]] = {
        name: data.draw(st.lists(st.sampled_from(shuffled[: shuffled.index(name)]), max_size=3))
        if shuffled.index(name)
        else []
        for name in names
    }
    ordered = in_order(needs)
    assert sorted(ordered) == sorted(names)
    assert all(ordered.index(other) < ordered.index(name) for name, others in needs.items() for other in others)
    assert in_order({name: needs[name] for name in ordered}) == ordered


# junk

GOOD: dict[str, JsonValue] = {
    "exitdrill": 1,
    "name": "x",
    "playbook": "book.yaml",
    "mode": "rehearsal",
    "objectives": {"rto": "1h"},
    "places": {
        "a": {"connector": "made", "emulator": "sim", "seed": {"container": "c"}},
        "b": {"connector": "made", "account": "b", "key": "${env:K}"},
        "c": {"connector": "made", "account": "c"},
    },
    "route": {"source": "a", "vault": "b", "target": "c"},
    "assets": [
        {"name": "p", "kind": "objects", "source": {"container": "p"}, "target": {"bucket": "p"}, "depends_on": []}
    ],
}
BOOK: dict[str, JsonValue] = {
    "exitdrill": 1,
    "name": "book",
    "phases": [{"name": "verify", "steps": [{"id": "s", "uses": "go", "why": "w", "by_hand": "b", "with": {}}]}],
}
_words = st.sampled_from(["a", "b", "p", "made", "sim", "full", "${env:X}", "${", "no", "-1h", "", "rto", "key"])
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | _text, inner, max_size=3),
    max_leaves=5,
)


def spots(value: JsonValue, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for name, inner in below for spot in spots(inner, (*path, name)))]


def changed(value: JsonValue, spot: tuple[str | int, ...], new: object) -> object:
    if not spot:
        return new
    if isinstance(value, list):
        return [changed(v, spot[1:], new) if i == spot[0] else v for i, v in enumerate(value)]
    assert isinstance(value, dict)
    return {k: changed(v, spot[1:], new) if k == spot[0] else v for k, v in value.items()}


def dumped(value: object) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def test_the_file_the_junk_is_put_into_is_good() -> None:
    """Or the next test would prove nothing."""
    assert load(dumped(GOOD), dumped(BOOK)).name == "x"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["drill", "book"]), st.data(), _junk)
def test_junk_anywhere_in_a_good_file_is_a_plan_or_a_definition_error(
    which: Literal["drill", "book"], data: st.DataObject, junk: object
) -> None:
    """Whatever stands in whichever field, nothing else is raised, every line has its file, and a plan is whole."""
    good = GOOD if which == "drill" else BOOK
    bad = dumped(changed(good, data.draw(st.sampled_from(spots(good))), junk))
    try:
        plan = load(bad, dumped(BOOK)) if which == "drill" else load(dumped(GOOD), bad)
    except DefinitionError as error:
        lines = str(error).split("\n")
        assert all("drill.yaml" in line or "book.yaml" in line for line in lines), lines
    else:
        assert from_json(json.loads(json.dumps(plan.to_json()))).digest == plan.digest


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=200) | st.text("{}[]:,-&*!|>'\"%@`#?~\\ \n\tab1<=.U", max_size=60).map(str.encode))
def test_any_bytes_are_a_definition_error(junk: bytes) -> None:
    """No bytes short of a drill make anything else happen."""
    with pytest.raises(DefinitionError):
        load(junk, dumped(BOOK))
    with pytest.raises(DefinitionError):
        load(dumped(GOOD), junk)


@given(st.dictionaries(_names, _json, max_size=4))
def test_settings_without_references_resolve_to_themselves(plain: dict[str, JsonValue]) -> None:
    """Only references change, and those asked for are all that is looked up."""
    if not references(plain) and "${file:" not in json.dumps(plain):
        assert resolve(plain, {}, Path()) == plain
