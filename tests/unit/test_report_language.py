"""The catalogue of each language is whole, and numbers and dates have the language's form."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from string import Formatter
from time import perf_counter

import pytest

import exitdrill.report
from exitdrill.assess import assess
from exitdrill.assess._exceptions import _ADVICE, _OTHER, _Advice
from exitdrill.errors import UsageError
from exitdrill.model.objects import Outcome
from exitdrill.model.record import DISAGREES, EARLY_REBUILD, RunStatus, StepStatus
from exitdrill.model.verdict import Judgement, Severity
from exitdrill.plan.drill import Level, Mode
from exitdrill.report import LANGUAGES, Options, language, render
from exitdrill.report._clauses import Status
from exitdrill.report.language import ENGLISH
from exitdrill.testing.runs import make_measured, make_plan, make_record
from reporting import busy_run

_HERE = Path(exitdrill.report.__file__).parent
_OTHERS = [code for code in LANGUAGES if code != "en"]
_IN_TEMPLATE = re.compile(r'say\("((?:[^"\\]|\\.)*)"')


def _calls(method: str, position: int) -> Iterator[str]:
    """Every text literal that the report's own code gives to that method."""
    for file in _HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) > position:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                argument = node.args[position]
                if name == method and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def _texts() -> set[str]:
    return {*_calls("say", 0), *_IN_TEMPLATE.findall((_HERE / "templates" / "page.html").read_text("utf-8"))}


def test_the_catalogue_can_be_found() -> None:
    """The search above finds texts of every kind."""
    assert {"Timeline", "To the report", "{moment}, {time} into the drill"} <= _texts()
    assert not list(_calls("say", 1)), "values are named"


@pytest.mark.parametrize("code", _OTHERS)
def test_every_text_is_in_the_catalogue_and_nothing_else(code: str) -> None:
    """Both ways, with the same fields in each."""
    catalogue = language(code).texts
    assert set(catalogue) == _texts()
    for source, text in catalogue.items():
        assert _fields(source) == _fields(text), source
        assert text.strip()


@pytest.mark.parametrize("code", _OTHERS)
def test_every_noun_and_word_is_there(code: str) -> None:
    """Nouns both ways; every value of our enumerations."""
    spoken = language(code)
    assert set(spoken.nouns) == set(_calls("count", 1))
    kinds: tuple[type[StrEnum], ...] = (Judgement, Severity, RunStatus, StepStatus, Mode, Level, Outcome, Status)
    values = {str(value) for kind in kinds for value in kind}
    values |= {
        DISAGREES,
        EARLY_REBUILD,
        "source",
        "vault",
        "target",
        "evacuate",
        "rebuild",
        "cloud",
        "private",
        "emulator",
    }
    assert not sorted(values - set(spoken.words))
    for pattern, template in spoken.patterns:
        assert set(pattern.groupindex) == _fields(template)


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("format_", ["text", "markdown", "html"])
def test_no_english_is_left_but_what_was_recorded(format_: str, code: str) -> None:
    """A report in Dutch has none of the report's own English sentences."""
    out = render(format_, *busy_run(), assess(*busy_run()), Options(language(code), {"record.json": "ab" * 32}))
    sentences = [text for text in _texts() if len(text) > 30 and not _fields(text) and text[0].isupper()]
    plain = out.replace("&#39;", "'").replace("\\", "").replace("\n", " ")
    found = [text for text in sentences if text in plain]
    assert bool(found) == (code == "en")


def test_objectives_are_said_in_dutch() -> None:
    """What the verdict holds in English phrases, with its numbers."""
    spoken = language("nl")
    said = spoken.recorded
    assert said("0:00:01.9 (registers: from the last look to the cut)") == (
        "0:00:01,9 (registers: van de laatste blik tot de snede)"
    )
    assert said("all 1,900 objects, 37.0 MB") == "alle 1.900 objecten, 37,0 MB"
    assert said("sampled: 1,900 equal, 0 different, 0 unattested, 200 re-read") == (
        "steekproef: 1.900 gelijk, 0 afwijkend, 0 onbevestigd, 200 herlezen"
    )
    assert said("something nobody foresaw") == "something nobody foresaw"
    plan = make_plan()
    verdict = assess(plan, make_record(plan))
    for item in verdict.objectives:
        for text in (item.target, item.actual):
            assert said(text) != text or re.fullmatch(r"[\d:]+", text), text


@pytest.mark.parametrize("advice", [*_ADVICE.values(), _OTHER], ids=lambda advice: advice.text[:20])
def test_every_finding_about_objects_is_said_in_dutch(advice: _Advice) -> None:
    """What was found, with whatever follows it, and what to do."""
    said = language("nl").recorded
    for rest in ("", " (rebuild)", " (rebuild); 10 of them named here", "; none of them is named in the record"):
        for number, noun in (("1", "object"), ("1,234", "objects")):
            spoken = said(f"{number} {noun} {advice.text}{rest}")
            assert spoken.startswith(f"{number.replace(',', '.')} object(en) ")
            assert "named" not in spoken
    assert said(advice.remedy) != advice.remedy


def test_a_finding_that_the_catalogue_does_not_know_stays_and_is_marked() -> None:
    """The reader, and a screen reader, are told that it is English."""
    plan = make_plan()
    record = make_record(plan, make_measured(error="the disk went away"))
    out = render("html", plan, record, assess(plan, record), Options(language("nl")))
    assert "Sommige bevindingen staan er zoals ze zijn vastgelegd" in out
    assert 'class="bad" lang="en"' in out
    assert "Sommige bevindingen" not in render("html", *busy_run(), assess(*busy_run()), Options(language("nl")))


def test_a_long_text_takes_no_long_time() -> None:
    """Made to keep a pattern busy."""
    began = perf_counter()
    text = "0 evacuated, 0 rebuilt, 0 missing, 0 different, 0 " * 4000
    assert language("nl").recorded(text) == text
    language("nl").recorded(text[:2000])
    assert perf_counter() - began < 5


def test_numbers_and_dates_have_the_form_of_the_language() -> None:
    """Commas and points, days first."""
    spoken, moment = language("nl"), datetime(2026, 1, 5, 6, 0, 1, 250_000, tzinfo=UTC)
    assert (spoken.size(12_345_678), ENGLISH.size(12_345_678)) == ("12,3 MB", "12.3 MB")
    assert (spoken.count(1234, "object"), spoken.count(1, "object")) == ("1.234 objecten", "1 object")
    assert (ENGLISH.count(1234, "object"), ENGLISH.number(1234.5, 1)) == ("1,234 objects", "1,234.5")
    assert spoken.duration(1.9) == "0:00:01,9"
    assert spoken.rate(5_000_000, 2) == "2,5 MB/s"
    assert spoken.moment(moment) == "05-01-2026 06:00:01,250000 UTC"
    assert spoken.moment(moment.replace(microsecond=0)) == "05-01-2026 06:00:01 UTC"
    assert spoken.day("2026-11-24") == "24-11-2026"
    assert ENGLISH.day("2026-11-24") == "2026-11-24"
    assert spoken.number(0.5, 1, sign=True) == "+0,5"


def test_an_unknown_language_is_a_usage_error_that_names_the_known_ones() -> None:
    """Exit code 2."""
    with pytest.raises(UsageError, match="one of en, nl"):
        language("de")
