"""PDF, CSV and OSCAL: what other people's programs make of them, and that hostile text does nothing there."""

import csv
import io
import json
import sys
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from trestle.oscal.assessment_results import AssessmentResults

from exitdrill.assess import assess
from exitdrill.errors import UsageError
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report import Options, encode, language, render
from exitdrill.testing.runs import make_plan, make_record
from reporting import HOSTILE, busy_run, hostile_run, rehearsed


def _judged(run: tuple[DrillPlan, RunRecord]) -> tuple[DrillPlan, RunRecord, Verdict]:
    return (*run, assess(*run))


def _pdf(run: tuple[DrillPlan, RunRecord], code: str = "en") -> PdfReader:
    return PdfReader(io.BytesIO(encode("pdf", *_judged(run), Options(language(code)))), strict=True)


def _text(pdf: PdfReader) -> str:
    return "\n".join(page.extract_text() for page in pdf.pages)


class TestPdf:
    @pytest.mark.parametrize("code", ["en", "nl"])
    def test_it_says_that_it_is_pdf_a_and_ua_and_has_what_that_takes(self, code: str) -> None:
        """Identification, output intent, tags, language, title, and every font inside. No validator was at hand."""
        pdf = _pdf(busy_run(), code)
        root: Any = pdf.root_object
        metadata = root["/Metadata"].get_data().decode()
        assert "<pdfaid:part>2</pdfaid:part>" in metadata
        assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
        assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
        intent = root["/OutputIntents"][0].get_object()
        assert intent["/S"] == "/GTS_PDFA1"
        assert len(intent["/DestOutputProfile"].get_object().get_data()) > 300
        assert root["/MarkInfo"]["/Marked"]
        assert root["/StructTreeRoot"]["/K"]
        assert root["/Lang"] == code
        assert root["/ViewerPreferences"]["/DisplayDocTitle"]
        assert pdf.metadata is not None
        assert pdf.metadata.title == {"en": "Cloud exit drill plan-b-24h", "nl": "Cloud-exitoefening plan-b-24h"}[code]
        fonts = list(_fonts(pdf))
        assert fonts
        assert all("/FontFile3" in font or "/FontFile2" in font for font in fonts)

    def test_nothing_in_it_runs_or_leads_elsewhere(self) -> None:
        """No script, no action, no link, no attachment."""
        pdf = _pdf(hostile_run("javascript:alert(1) http://evil.example/x.png"))
        root: Any = pdf.root_object
        for name in ("/OpenAction", "/AA", "/AcroForm"):
            assert name not in root
        assert not {"/JavaScript", "/EmbeddedFiles"} & set(root.get("/Names", {}))
        assert not [page for page in pdf.pages if page.get("/Annots")]

    def test_it_says_the_same_as_the_other_formats(self) -> None:
        """Verdict first, every section, the facts."""
        text = _text(_pdf(busy_run()))
        assert text.index("MISSED") < text.index("The drill")
        for title in ("Objectives", "Timeline", "Throughput over time", "Integrity", "Exceptions", "Severance",
                      "Places and their law", "Findings", "Teardown", "Clause coverage"):  # fmt: skip
            assert title in text
        assert "changed during copy (evacuate)" in text

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_hostile_text_is_text(self, hostile: str) -> None:
        """Set as it was given, what cannot be seen or drawn as code points; no markup of Typst's is carried out."""
        pdf = _pdf(hostile_run(hostile))
        text = _text(pdf)
        tame = _text(_pdf(hostile_run("k")))
        for section in ("Objectives", "Findings", "Teardown"):
            assert text.count(section) >= tame.count(section) > 0
        assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c not in "\n\u00ad"]
        assert "root:x:0" not in text

    def test_the_same_run_gives_the_same_bytes(self) -> None:
        """No clock, no random identifier."""
        judged = _judged(busy_run())
        assert encode("pdf", *judged) == encode("pdf", *judged)

    def test_without_typst_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exit code 2, and the name of the extra."""
        monkeypatch.setitem(sys.modules, "typst", None)
        with pytest.raises(UsageError, match=r"exitdrill\[pdf\]"):
            encode("pdf", *_judged(busy_run(1)))

    def test_it_is_no_text(self) -> None:
        """`render` refuses it, and names the way."""
        with pytest.raises(UsageError, match="--output FILE"):
            render("pdf", *_judged(busy_run(1)))


def _fonts(pdf: PdfReader) -> Any:
    """The descriptor of every font that a page uses."""
    for page in pdf.pages:
        resources: Any = page["/Resources"]
        for font in resources.get("/Font", {}).values():
            for inner in font.get_object().get("/DescendantFonts", [font]):
                yield inner.get_object()["/FontDescriptor"].get_object()


class TestCsv:
    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_no_cell_is_a_formula_and_each_row_is_one_line(self, hostile: str) -> None:
        """Whatever the key is; what was put before it can be taken off."""
        out = render("csv", *_judged(hostile_run(hostile)))
        rows = list(csv.reader(io.StringIO(out, newline=""), strict=True))
        assert out.count("\r\n") == len(rows) == 3
        assert all(len(row) == 8 for row in rows)
        for cell in (cell for row in rows for cell in row):
            assert not unicodedata.normalize("NFKC", cell.lstrip(" ")).startswith(("=", "+", "-", "@", "|", "%"))
            assert all(char == " " or char.isprintable() for char in cell)

    @pytest.mark.parametrize("begin", ["=1", "+1", "-1", "@x", "\uff1d1", " =1", "\t=1", "|x", "%x"])
    def test_formulas_are_neutralised(self, begin: str) -> None:
        """An apostrophe stands before them, or what stood there is written out."""
        out = render("csv", *_judged(hostile_run(begin)))
        key = list(csv.reader(io.StringIO(out)))[1][4]
        assert key[0] in {"'", "\\"}

    def test_it_has_every_exception_of_the_record(self) -> None:
        """With how many there are in all."""
        out = render("csv", *_judged(busy_run(3, 30)))
        rows = list(csv.reader(io.StringIO(out)))
        assert len(rows) == 1 + 3 * 30
        assert rows[1][1:7] == ["asset-00", "1", "30", "k0/0", "changed during copy", "evacuate"]


class TestOscal:
    @pytest.mark.parametrize("hostile", ["k", *HOSTILE])
    def test_trestle_reads_it(self, hostile: str, tmp_path: Path) -> None:
        """As assessment results of the version it names, whatever is in the record."""
        file = tmp_path / "assessment-results.json"
        file.write_text(render("oscal", *_judged(hostile_run(hostile))), encoding="utf-8")
        read = AssessmentResults.oscal_read(file)
        assert read is not None
        again = json.loads(read.oscal_serialize_json())["assessment-results"]
        assert again["metadata"]["oscal-version"] == "1.2.1"
        assert len(again["results"][0]["findings"]) == 8

    def test_findings_say_which_objectives_were_reached(self) -> None:
        """And observations have the verdict's findings and the clauses."""
        judged = _judged(busy_run())
        document = json.loads(render("oscal", *judged))["assessment-results"]
        (result,) = document["results"]
        states = [finding["target"]["status"]["state"] for finding in result["findings"]]
        wanted = ["satisfied" if item.judgement == "met" else "not-satisfied" for item in judged[2].objectives]
        assert states == wanted
        assert {"satisfied", "not-satisfied"} == set(states)
        titles = [observation["title"] for observation in result["observations"]]
        assert any("F001" in title for title in titles)
        assert any("DORA" in title for title in titles)
        known = {observation["uuid"] for observation in result["observations"]}
        assert len(known) == len(titles)
        assert all(one["related-observations"][0]["observation-uuid"] in known for one in result["findings"])

    def test_a_rehearsal_is_marked_in_every_clause(self) -> None:
        """A program that reads it cannot take it for the real thing."""
        plan = rehearsed(make_plan())
        document = json.loads(render("oscal", *_judged((plan, make_record(plan)))))["assessment-results"]
        clauses = [one for one in document["results"][0]["observations"]
                   if any(prop["name"] == "clause-status" for prop in one.get("props", ()))]  # fmt: skip
        assert clauses
        assert all(any(prop["name"] == "rehearsal" for prop in one["props"]) for one in clauses)


class _Elements(HTMLParser):
    """How many there are of each element, and which attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.attributes |= {name for name, _ in attrs}


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1) | st.text(st.sampled_from("<>&\"'`/=-!{}%# \nax"), min_size=1, max_size=30))
def test_no_text_is_an_element_of_the_page(hostile: str) -> None:
    """Whatever it is: the page has the elements and attributes that it has for a plain one."""
    page, tame = (_Elements(render("html", *_judged(hostile_run(text)))) for text in (hostile, "k"))
    assert page.counts == tame.counts
    assert page.attributes == tame.attributes
