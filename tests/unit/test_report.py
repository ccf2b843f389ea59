"""Reports: what they show, that numbers read right, and that hostile keys do nothing in any format."""

import json
import unicodedata
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from exitdrill.assess import assess
from exitdrill.clock import Lap
from exitdrill.errors import UsageError
from exitdrill.model.codec import load
from exitdrill.model.objects import Outcome
from exitdrill.model.record import (
    Check,
    ManifestRoot,
    ManifestRoots,
    Mishap,
    RunRecord,
    RunStatus,
    TeardownRecord,
)
from exitdrill.plan.drill import DrillPlan, Mode, Playbook
from exitdrill.report import FORMATS, render
from exitdrill.report._document import Bar, draw
from exitdrill.report.human import bytes_, count, duration, key, rate, safe
from exitdrill.report.text import TextReport
from exitdrill.testing.runs import T0, make_measured, make_plan, make_record
from reporting import hostile_run

_NS = 1_000_000_000
_HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    "a\nFAILED  everything\r\tb",
    "\u202egnp.exe\u2066\u200f",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "a|b`c``d\\|e\\`",
    "[click](javascript:alert(1)) ![x](http://evil.example/p.png) http://evil.example www.evil.example a@b.example",
    "# heading",
    "1. list",
    "- list",
    "---",
    "```\n# out",
    "*bold* _it_ ~~gone~~ $x$ &lt; &#60;",
    "e\u0301 Z\u0351\u036b\u0343\u036a\u0342",
    "\x00\x7f\x80\x9b31m\u0085\u2028\u2029\ufeff\u00ad",
    "\ufe0f\u3164\U000e0041",
    "=cmd|' /C calc'!A0",
    " ",
    "",
    "x" * 1024,
    "漢" * 300,
    "café/ñ/日本語.txt",
]


def _rendered(format_: str, plan: DrillPlan, record: RunRecord) -> str:
    return render(format_, plan, record, assess(plan, record))


def _assert_harmless_text(text: str) -> None:
    """Printable characters and newlines only, within 100 columns."""
    for line in text.split("\n"):
        assert cell_len(line) <= 100
        for char in line:
            assert char == " " or char.isprintable()
            assert unicodedata.bidirectional(char) not in {
                "LRE",
                "RLE",
                "LRO",
                "RLO",
                "PDF",
                "LRI",
                "RLI",
                "FSI",
                "PDI",
            }


class _Page(HTMLParser):
    """Which elements and attributes a page has, and what its code elements say."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.counts: dict[str, int] = {}
        self.code: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        if tag == "code":
            self.code.append("")

    def handle_data(self, data: str) -> None:
        if self.code:
            self.code[-1] += data


def _page(markdown: str) -> _Page:
    return _Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


_ELEMENTS = {"h1", "h2", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}


def _assert_harmless_markdown(text: str, plain: str) -> None:
    """Rendered with raw HTML allowed, it has our own elements only, as many as the same report on a plain key."""
    page, tame = _page(text), _page(plain)
    assert page.elements <= _ELEMENTS
    assert page.attributes <= {"style", "class"}
    for element in ("h1", "h2", "table", "tr", "td", "pre", "code", "strong"):
        assert page.counts[element] == tame.counts[element], element


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_hostile_text_is_harmless_in_every_format(hostile: str) -> None:
    """Terminal, Markdown and JSON, in every field that comes from outside."""
    plan, record = hostile_run(hostile)
    _assert_harmless_text(_rendered("text", plan, record))
    plain_plan, plain_record = hostile_run("k" if hostile else "")
    _assert_harmless_markdown(_rendered("markdown", plan, record), _rendered("markdown", plain_plan, plain_record))
    document = _rendered("json", plan, record)
    assert document.isascii()
    assert "<" not in document
    assert not set(map(chr, range(32))) - {"\n"} & set(document)
    assert json.loads(document)["record"]["assets"][0]["exceptions"][0]["key"] == hostile


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1))
def test_any_text_is_harmless_in_every_format(hostile: str) -> None:
    """Whatever a key is."""
    plan, record = hostile_run(hostile)
    _assert_harmless_text(_rendered("text", plan, record))
    _assert_harmless_markdown(_rendered("markdown", plan, record), _rendered("markdown", *hostile_run("k")))
    parsed = json.loads(_rendered("json", plan, record))
    assert parsed["record"]["assets"][0]["exceptions"][0]["key"] == hostile


_MARKUP = st.text(st.sampled_from("<>&|`*_[]()!#~$@:/\\.-+= 1a\n\x1b\u202e"), min_size=1, max_size=30)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(_MARKUP)
def test_no_mix_of_markup_gets_through_markdown(hostile: str) -> None:
    """Dense in the characters that mean something."""
    plan, record = hostile_run(hostile)
    _assert_harmless_markdown(_rendered("markdown", plan, record), _rendered("markdown", *hostile_run("k")))


@settings(deadline=None)
@given(st.text(), st.text())
def test_safe_text_is_one_printable_line_and_never_mixes_up_two(one: str, other: str) -> None:
    """What differs stays different, so that a key in a report names one object."""
    for shown in (safe(one), safe(other)):
        assert all(char == " " or char.isprintable() for char in shown)
    assert (safe(one) == safe(other)) == (one == other)


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(40, 100))
def test_cut_text_says_that_it_was_cut(text: str, limit: int) -> None:
    """Within the limit, with the real length."""
    shown = safe(text, limit=limit)
    assert len(shown) <= limit
    if shown != safe(text):
        assert shown.endswith(f"… ({len(text.encode()):,} bytes)")


def test_safe_shows_what_cannot_be_seen() -> None:
    """Lone surrogates, marks that would sit on a neighbour, and forms that look the same."""
    assert safe("a\ud800") == "a\\ud800"
    assert safe("\u0301a") == "\\u0301a"
    assert safe("caf\u00e9") != safe("cafe\u0301") == "cafe\\u0301"
    assert safe("\u0928\u093f") == "\u0928\u093f", "a Hindi syllable is readable"
    assert safe("a\\n\n") == "a\\\\n\\n"
    assert safe("\U000e0041") == "\\U000e0041"
    assert key(" a ") == "\\x20a\\x20"
    assert key("  ") == "\\x20\\x20"
    assert key("") == "(empty key)"


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (12_345_678, "12.3 MB"),
     (64 * 10**9, "64.0 GB"), (1.5e15, "1.5 PB"), (12_345e18, "12,345.0 EB")],
)  # fmt: skip
def test_sizes_are_in_powers_of_1000(size: float, shown: str) -> None:
    """Never 1000.0 of a unit when there is a larger one."""
    assert bytes_(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (0.001, "0:00:00.1"), (2.1, "0:00:02.1"), (9.95, "0:00:10"), (10, "0:00:10"), (10.2, "0:00:11"),
     (59.5, "0:01:00"), (86_400, "24:00:00"), (86_400.000_4, "24:00:01"), (2_592_000, "720:00:00"), (-61, "-0:01:01")],
)  # fmt: skip
def test_durations_are_rounded_up(seconds: float, shown: str) -> None:
    """A missed objective never looks met."""
    assert duration(seconds) == shown


def test_rates_and_counts() -> None:
    """No division by nothing, plurals, thousands."""
    assert rate(5_000_000, 2) == "2.5 MB/s"
    assert rate(5, 0) == "-"
    assert (count(1, "object"), count(1234, "object"), count(1234)) == ("1 object", "1,234 objects", "1,234")


@settings(deadline=None)
@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**15), st.integers(1, 80))
def test_a_bar_fills_its_width_and_shows_every_lap(start_ns: int, took_ns: int, total_ns: int, width: int) -> None:
    """However short the lap or contradictory the numbers."""
    drawn = draw(Bar("x", start_ns, took_ns), total_ns, width)
    assert len(drawn) == width
    assert "█" in drawn
    assert drawn.strip("·").strip("█") == ""


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_report_shows_the_verdict_first_and_everything_an_auditor_asks_for(format_: str) -> None:
    """Each section, with the facts of this run."""
    plan, record = hostile_run("k1")
    out = _rendered(format_, plan, record)
    first = out.split("\n")[0 if format_ == "text" else 2].replace("*", "")
    assert first.startswith("FAILED"), "mode full, and an emulator"
    assert "RTA 2:00:00 of 24:00:00" in out
    assert "RPA 0:05:00 of 4:00:00" in out
    titles = "Objectives,Timeline,Where the time went,Volumes,Integrity,Exceptions,Metadata that was not kept"
    for title in f"{titles},Severance,Teardown,Findings,How to look further".split(","):
        assert title in out
    assert plan.digest in out
    assert "refused (rebuild)" in out
    assert "F001 CRITICAL" in out
    assert "What to do: " in out
    assert "█" in out
    assert "waited 0:00:01.0" in out
    assert "try 2" in out
    assert "exitdrill teardown 20260105-060000-abcd" in out


@pytest.mark.parametrize("format_", FORMATS)
def test_reports_are_the_same_every_time(format_: str) -> None:
    """No clock, no environment, no order of hashing."""
    plan, record = hostile_run("k")
    assert _rendered(format_, plan, record) == _rendered(format_, plan, record)
    assert _rendered(format_, plan, record).endswith("\n")


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_rehearsal_says_so_at_the_top(format_: str) -> None:
    """Nobody takes it for a real drill; a real drill does not say it."""
    plan = make_plan(mode=Mode.REHEARSAL)
    assert "REHEARSAL" in "".join(_rendered(format_, plan, make_record(plan)).split("\n")[:3])
    places = {**plan.places, "azure": replace(plan.places["azure"], emulator="azurite")}
    emulated = make_plan(mode=Mode.REHEARSAL, places=places)
    out = _rendered(format_, emulated, make_record(emulated))
    assert "REHEARSAL ON EMULATORS" in out
    assert "proves the method, not the provider" in out
    real = make_plan()
    assert "REHEARSAL" not in _rendered(format_, real, make_record(real)).upper()


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_run_of_which_nothing_is_known_can_be_reported(format_: str) -> None:
    """It crashed at once: the report says what is not there."""
    plan = make_plan()
    record = RunRecord("r1", plan.name, plan.mode, plan.digest, "0.1.0", RunStatus.STOPPED, T0)
    out = _rendered(format_, plan, record)
    assert "FAILED" in out
    unknown = ("not recovered", "not measured", "No laps", "No asset was moved", "No asset was recorded")
    for text in (*unknown, "run stopped", "not severed", "Not carried out", "exitdrill resume r1"):
        assert text in out
    unverified = make_record(plan, make_measured(verification=None))
    assert "not verified" in _rendered(format_, plan, unverified)


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_flawless_run_has_nothing_to_say_where_there_is_nothing(format_: str) -> None:
    """And says it."""
    plan = make_plan()
    record = make_record(plan)
    assert record.severance is not None
    bare = replace(record.severance, probed=(), refused=(), removed_variables=(), holds=False)
    record = replace(record, severance=bare)
    out = _rendered(format_, plan, replace(record, teardown=TeardownRecord(kept=True)))
    for text in ("every object went the plain way", "Nothing reported lost", "NOT PROVEN", "kept, as asked"):
        assert text in out
    assert "None." in _rendered(format_, plan, make_record(plan))


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_long_runs_are_cut_and_say_so(format_: str) -> None:
    """Many laps, many exceptions, a resume."""
    plan = make_plan()
    laps = (*(Lap(f"lap {n:03}", T0, n * _NS, (n + 1) * _NS) for n in range(70)), Lap("downtime", T0, 0, 9 * _NS))
    named = tuple(Mishap(f"k{n:02}", Outcome.CORRUPT, "rebuild") for n in range(30))
    record = make_record(plan, make_measured(exceptions=named, exceptions_total=50), laps=laps, sessions=3)
    out = _rendered(format_, plan, record)
    assert "11 shorter laps not shown" in out
    assert "lap 069" in out
    assert "lap 010" not in out
    assert "downtime (no process was at work)" in out
    assert "30 more are in the run's directory" in out.replace("&#39;", "'")
    assert "3, resumed 2 times" in out


def test_a_playbook_without_phases_has_no_table_of_phases() -> None:
    """Transfer times are shown all the same."""
    plan = replace(make_plan(), playbook=Playbook("bare", ()))
    assert "transfer, evacuate" in _rendered("text", plan, make_record(plan))


def test_time_that_the_drill_s_own_limits_took_is_shown_apart() -> None:
    """Beside what was waited because a place asked for it; not at all where there was none."""
    plan = make_plan()
    leg = replace(make_measured().evacuate, waited_ns=60 * _NS, limited_ns=3600 * _NS)
    out = _rendered("markdown", plan, make_record(plan, make_measured(evacuate=leg)))
    assert "0:01:00 waited over all threads before trying again, 1:00:00 for the drill's own limits" in out
    assert "own limits" not in _rendered("markdown", plan, make_record(plan))


def test_the_json_report_gives_back_record_and_verdict() -> None:
    """A program reads exactly what was measured and judged."""
    plan, record = hostile_run("k\x1b\x7f<")
    verdict = assess(plan, record)
    document = json.loads(render("json", plan, record, verdict))
    assert set(document) == {"plan_digest", "record", "verdict", "legs"}
    assert document["plan_digest"] == plan.digest
    assert load(RunRecord, json.dumps(document["record"]).encode(), "report") == record
    assert load(type(verdict), json.dumps(document["verdict"]).encode(), "report") == verdict


def test_colour_is_there_only_when_asked_for_and_changes_no_word() -> None:
    """The same lines, with and without."""
    plan, record = hostile_run("\x1b[31m")
    verdict = assess(plan, record)
    plain, coloured = TextReport().render(plan, record, verdict), TextReport(colour=True).render(plan, record, verdict)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert TextReport(colour=True).render(plan, record, verdict) == coloured


def test_an_unknown_format_is_a_usage_error_that_names_the_known_ones() -> None:
    """Exit code 2."""
    plan = make_plan()
    record = make_record(plan, recovered_elapsed_ns=int(timedelta(days=2).total_seconds()) * _NS)
    with pytest.raises(UsageError, match="one of text, json, markdown"):
        render("pdf", plan, record, assess(plan, record))


def test_phases_steps_and_assets_are_nested_in_the_timeline() -> None:
    """Under the names the engine gives its laps."""
    plan = make_plan()
    names = ("phase rebuild", "step rebuild", "rebuild case-files", "waiting for approval of rebuild", "downtime")
    laps = tuple(Lap(name, T0, n, _NS - n) for n, name in enumerate(names))
    out = _rendered("text", plan, make_record(plan, laps=laps)).split("Timeline")[1]
    lines = out.split("\n")
    assert [line[2:30].rstrip() for line in lines[1:4]] == ["phase rebuild", "  step rebuild", "    rebuild case-files"]
    spent = out.split("Where the time went")[1]
    assert spent.split("\n")[3].split()[:3] == ["phase", "rebuild", "0:00:01.0"]
    assert "0:00:01.0 in 1 lap" in out


@pytest.mark.parametrize("name", ["text", "json", "markdown", "html"])
def test_where_an_inventory_is_from(name: str) -> None:
    """An inventory that is not from a listing is said to be from a report of that age, in every document."""
    plan = make_plan()
    record = make_record(plan)
    found = "from a report of 2026-01-04T01:00:00.000000Z (m.json), 29:00:00 old"
    check = Check("inventory", "case-files", ready=True, found=found)
    record = replace(record, checks=(*record.checks, check))
    assert "29:00:00 old" in render(name, plan, record, assess(plan, record))


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_manifest_roots_are_one_line_each(format_: str) -> None:
    """The same root, or which differ and how many objects are in each, or why there is none."""
    one, other = ManifestRoot("aa" * 32, 2500), ManifestRoot("bb" * 32, 2499)
    for roots, expected in (
        (ManifestRoots(one, one, one), f"source, vault and target: the same root {one.root} (2,500 objects)"),
        (ManifestRoots(one, one, other), f"DIFFERENT: source {one.root} (2,500 objects); vault {one.root}"),
        (ManifestRoots(one, one, ManifestRoot(why_not="not verified")), "(2,500 objects); target none, not verified"),
    ):
        plan = make_plan()
        record = make_record(plan, make_measured(roots=roots))
        said = _rendered(format_, plan, record)
        assert expected in " ".join(said.split())
