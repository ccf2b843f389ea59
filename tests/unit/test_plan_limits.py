"""``limits:`` of a place: what a drill file may say, what becomes of it, and what is said of a bad one."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel

from exitdrill.errors import DefinitionError
from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.plan import DrillPlan, from_json, load_plan, schema
from exitdrill.plan.limits import parse_days, parse_minute, parse_rate, parse_timezone

_DRILL = """\
exitdrill: 1
name: small
playbook: book.yaml
mode: sample
places:
  cloud:
    connector: cloud
    account: a
    limits:
{limits}
  own: {{connector: cloud, account: b}}
  away: {{connector: cloud, account: c}}
route: {{source: cloud, vault: own, target: away}}
assets: [{{name: files, kind: objects, source: {{container: a}}, target: {{bucket: b}}}}]
"""
_PLAYBOOK = """\
exitdrill: 1
name: book
phases: [{name: evacuate, steps: [{id: copy, uses: manual, why: Because., by_hand: Copy it.}]}]
"""


class _Cloud(BaseModel):
    """Settings of a made-up connector."""

    account: str


class _Connectors:
    names = ("cloud",)

    def __call__(self, name: str) -> type[BaseModel]:  # noqa: ARG002 - as the protocol has it
        return _Cloud

    def roles(self, name: str) -> frozenset[str]:  # noqa: ARG002 - as above
        return frozenset({"source", "vault", "target"})


def _load(folder: Path, limits: str) -> DrillPlan:
    lines = "\n".join(f"      {line}" for line in limits.splitlines())
    (folder / "drill.yaml").write_text(_DRILL.format(limits=lines))
    (folder / "book.yaml").write_text(_PLAYBOOK)
    return load_plan(
        folder / "drill.yaml", connectors=_Connectors(), actions=(), kinds=("objects",), emulators=("moto",)
    )


def test_limits_become_a_part_of_the_plan(tmp_path: Path) -> None:
    """Every field arrives, survives being written down, and is not the connector's; left out, nothing is limited."""
    text = """\
concurrency: 64
requests_per_second: 5000
bandwidth:
  - {days: mon-fri, from: "08:00", to: "18:00", rate: 50MB/s}
  - {days: "fri,sat", from: "22:30", to: "06:00", rate: unlimited}
  - {rate: 800Mbit/s}
timezone: Europe/Amsterdam"""
    plan = _load(tmp_path, text)
    lines = (
        BandwidthLine(50_000_000, (0, 1, 2, 3, 4), 480, 1080),
        BandwidthLine(None, (4, 5), 1350, 360),
        BandwidthLine(100_000_000),
    )
    assert plan.source.limits == Limits(64, 5000, lines, "Europe/Amsterdam")
    assert plan.source.settings == {"account": "a"}
    assert plan.vault.limits == Limits()
    assert from_json(json.loads(json.dumps(plan.to_json()))).places == plan.places


@pytest.mark.parametrize("value", ["400MB/s", {"rate": "400MB/s"}, [{"rate": "400MB/s"}]])
def test_a_rate_alone_is_a_timetable_of_one_line(tmp_path: Path, value: object) -> None:
    """However it is written, it holds at any time; and the schema for editors takes it."""
    text = f"bandwidth: {json.dumps(value)}"
    assert _load(tmp_path, text).source.limits == Limits(bandwidth=(BandwidthLine(400_000_000),))
    ours = {"$defs": schema("drill")["$defs"], "$ref": "#/$defs/LimitsFile"}
    jsonschema.validate({"bandwidth": value}, ours)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"bandwidth": "400"}, ours)


_RATE = "expected a rate such as 50MB/s, 800kB/s, 1.5GiB/s, 400Mbit/s, or unlimited"
_AT = "places.cloud.limits"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bandwidth: 50mb/s", f"10:18: {_AT}.bandwidth: found '50mb/s'; {_RATE}"),
        ("bandwidth: 50MB", f"10:18: {_AT}.bandwidth: found '50MB'; {_RATE}"),
        ("bandwidth: 50", f"10:18: {_AT}.bandwidth: found the number 50; {_RATE}"),
        ("bandwidth: 10B/s", f"10:18: {_AT}.bandwidth: found '10B/s'; expected 1kB/s or more, 1TB/s at most"),
        ("bandwidth: []", f"10:18: {_AT}.bandwidth: found a list; expected 1 or more of them"),
        ("requests_per_second: 0", f"10:28: {_AT}.requests_per_second: found the number 0; expected 1 or more"),
        ("concurrency: many", f"10:20: {_AT}.concurrency: found 'many'; expected a whole number"),
        ("timezone: Amsterdam",
         f"10:17: {_AT}.timezone: found 'Amsterdam'; expected a time zone by its IANA name, such as Europe/Amsterdam"),
        ("speed: 1", (f"10:7: {_AT}.speed: unknown field; expected one of bandwidth, concurrency, "
         "requests_per_second, timezone")),
        ('bandwidth: "${env:RATE}"', (f"10:18: {_AT}.bandwidth: a reference here stays as it is; expected a plain "
         "value (only a place's settings, engine.claims, and key and pin of evidence.signers are resolved)")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Line, column, field, what was found and what was expected."""
    with pytest.raises(DefinitionError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/drill.yaml:", "").splitlines()[0] == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{from: 18:00, rate: 1MB/s}",
         ('11:16: {at}[0].from: found the number 18:00; expected a time of day in quotes such as "08:00" or "24:00" '
         '(write "18:00" in quotes)')),
        ('{to: "24:30", rate: 1MB/s}',
         "11:14: {at}[0].to: found '24:30'; expected a time of day in quotes such as \"08:00\" or \"24:00\""),
        ("{days: mo-fr, rate: 1MB/s}",
         ("11:16: {at}[0].days: found 'mo-fr'; expected days such as mon-fri, or sat,sun; a day is one of mon, tue, "
         "wed, thu, fri, sat, sun")),
        ("{days: mon}", ("11:9: {at}[0].rate: missing; expected how many bytes a second: 50MB/s, 400Mbit/s, "
         "or unlimited")),
        ('{from: "08:00", to: "08:00", rate: 1MB/s}',
         "11:9: {at}[0]: it ends when it begins: leave out from and to for the whole day"),
        ("{rate: 2MB/s}",
         "10:7: {limits}: bandwidth: line 1 matches at any time, so the lines after it are never used"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_timetable_is_named(tmp_path: Path, line: str, said: str) -> None:
    """The line of the table, also where only several fields or lines together make no sense."""
    with pytest.raises(DefinitionError) as caught:
        _load(tmp_path, f"bandwidth:\n- {line}\n- {{rate: unlimited}}")
    expected = said.replace("{at}", f"{_AT}.bandwidth").replace("{limits}", _AT)
    assert str(caught.value).replace(f"{tmp_path}/drill.yaml:", "").splitlines()[0] == expected


@pytest.mark.parametrize(
    ("text", "rate"),
    [("unlimited", None), ("1kB/s", 1e3), ("50MB/s", 5e7), ("1.5 GB/s", 1.5e9), ("2MiB/s", 2 * 1024**2),
     ("1KiB/s", 1024), ("400Mbit/s", 5e7), ("8000bit/s", 1000), ("1TB/s", 1e12), ("2500B/s", 2500)],
)  # fmt: skip
def test_rates(text: str, rate: float | None) -> None:
    """Bytes or bits, powers of 1000, or of 1024 where the unit says so."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "MB/s", "-1MB/s", "1e3MB/s", "50 Mb/s", "1KB/s", "1Mib/s", "2TB/s", "1MB/s "])
def test_no_rates(text: str) -> None:
    """What could be read in two ways is refused, and what is out of bounds."""
    with pytest.raises(DefinitionError):
        parse_rate(text)


def test_days_times_and_zones() -> None:
    """Ranges go over the weekend; the day ends at 24:00; a zone is known or refused, whatever its name tries."""
    assert parse_days("mon-fri") == (0, 1, 2, 3, 4)
    assert parse_days("fri-mon, wed") == (0, 2, 4, 5, 6)
    assert parse_days("sun") == (6,)
    assert (parse_minute("00:00"), parse_minute("24:00"), parse_minute("23:59")) == (0, 1440, 1439)
    assert parse_timezone("Europe/Amsterdam") == "Europe/Amsterdam"
    for zone in ("Europe", "../etc/passwd", "/etc/passwd", "", "Nowhere/Else"):
        with pytest.raises(DefinitionError):
            parse_timezone(zone)
    for days in ("", "mon-", "-fri", "monday", "mon;tue"):
        with pytest.raises(DefinitionError):
            parse_days(days)
