"""The HTML report in a real browser: nothing is run, nothing is fetched, everything is there and can be reached."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from exitdrill.assess import assess
from exitdrill.model.record import RunRecord, RunStatus
from exitdrill.plan.drill import DrillPlan
from exitdrill.report import LANGUAGES, Options, language, render
from exitdrill.testing.runs import T0, make_plan, make_record
from reporting import HOSTILE, busy_run, hostile_run

_THEMES = ("light", "dark")
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system: what Playwright itself would download is not wanted here."""
    found = next((path for name in _CHROMIUMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class _Opened:
    """A page, and what happened while it was opened."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Desk:
    browser: Browser
    folder: Path

    def open(self, html: str, theme: str = "light", width: int = 1280) -> _Opened:
        file = self.folder / "report.html"
        file.write_text(html, encoding="utf-8")
        context = self.browser.new_context(
            color_scheme="dark" if theme == "dark" else "light", viewport={"width": width, "height": 900}
        )
        opened = _Opened(context.new_page())
        opened.page.set_default_timeout(20_000)
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.on("dialog", lambda dialog: opened.console.append(dialog.message))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(file.as_uri(), wait_until="load")
        return opened


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[_Desk]:
    yield _Desk(browser, tmp_path)
    for context in browser.contexts:
        context.close()


def _html(plan: DrillPlan, record: RunRecord, code: str = "en") -> str:
    return render("html", plan, record, assess(plan, record), Options(language(code)))


@pytest.mark.parametrize("theme", _THEMES)
@pytest.mark.parametrize("code", LANGUAGES)
def test_the_page_is_quiet_whole_and_accessible(desk: _Desk, code: str, theme: str) -> None:
    """No message, no request but the file, the verdict, every chart, and no violation that axe-core finds."""
    opened = desk.open(_html(*busy_run(), code), theme)
    page = opened.page
    assert opened.console == []
    assert len(opened.requests) == 1
    assert opened.requests[0].startswith("file:///")
    assert page.locator("h1").inner_text() == {"en": "MISSED", "nl": "GEMIST"}[code]
    assert page.locator("html").get_attribute("lang") == code
    charts = page.locator("[data-chart]").evaluate_all("all => all.map(one => one.dataset.chart)")
    assert sorted(charts) == ["funnel"] * 3 + ["shares", "timeline", "trend", "trend"]
    for chart in page.locator("[data-chart]").all():
        box = chart.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 30
    assert page.locator("svg[role=img]:not([aria-label]):not([aria-labelledby])").count() == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("theme", _THEMES)
def test_other_verdicts_are_accessible_too(desk: _Desk, theme: str) -> None:
    """Met and failed have colours of their own."""
    plan = make_plan()
    for record, word in (
        (make_record(plan), "MET"),
        (RunRecord("r1", plan.name, plan.mode, plan.digest, "0.1.0", RunStatus.STOPPED, T0), "FAILED"),
    ):
        page = desk.open(_html(plan, record), theme).page
        assert page.locator("h1").inner_text() == word
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk(desk: _Desk, width: int) -> None:
    """Only tables scroll, each by itself; text in charts keeps its size."""
    page = desk.open(_html(*busy_run()), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    size = page.locator("[data-chart=trend] text").first.evaluate("one => getComputedStyle(one).fontSize")
    assert size == "12px"
    assert page.locator("[data-chart=trend] text").first.evaluate("one => one.getBoundingClientRect().height") > 10


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(desk: _Desk) -> None:
    """The link to the report first, then the contents, then tables that may have to be scrolled."""
    page = desk.open(_html(*busy_run())).page
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "(e => e === document.body ? '' : (e.getAttribute('href') || e.getAttribute('role') || e.tagName))"
            "(document.activeElement)"
        )
        if not stop:
            break
        stops.append(stop)
    links = page.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert stops[0] == "#main"
    assert stops[1 : 1 + len(links)] == links
    assert set(stops[1 + len(links) :]) == {"region"}
    assert page.evaluate(
        "Array.from(document.querySelectorAll('nav a')).every(a => document.querySelector(a.getAttribute('href')))"
    )
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_does_nothing_in_a_browser(desk: _Desk, hostile: str) -> None:
    """Wherever it stands: no script, no request, no element that is not ours, nothing invisible."""
    opened, tame = desk.open(_html(*hostile_run(hostile))), desk.open(_html(*hostile_run("k" if hostile else "")))
    assert opened.console == []
    assert len(opened.requests) == 1
    assert opened.page.title().startswith(("FAILED: Cloud exit drill ", "MISSED: Cloud exit drill "))
    count = "Object.fromEntries(Object.entries(Array.from(document.querySelectorAll('*')).reduce("
    count += "(n, e) => ({...n, [e.tagName]: (n[e.tagName] || 0) + 1}), {})).sort())"
    seen, known = opened.page.evaluate(count), tame.page.evaluate(count)
    for tag in ("SCRIPT", "IMG", "IFRAME", "OBJECT", "LINK", "FORM", "INPUT", "BASE"):
        assert tag not in seen
    assert seen == known
    attributes = opened.page.evaluate(
        "Array.from(new Set(Array.from(document.querySelectorAll('*')).flatMap(e => e.getAttributeNames())))"
    )
    assert not [name for name in attributes if name.startswith("on") or name in {"src", "style"}]
    text = opened.page.evaluate("document.documentElement.textContent")
    assert not set(
        re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]", text)
    )


def test_the_policy_of_the_page_lets_nothing_run(desk: _Desk) -> None:
    """Even a script that got into it."""
    html = _html(*busy_run()).replace("</main>", "<script>document.title = 'owned'</script></main>")
    opened = desk.open(html)
    assert opened.page.title() != "owned"
    assert any("Content Security Policy" in line for line in opened.console)


def test_the_page_says_what_the_print_needs(desk: _Desk) -> None:
    """On paper it is light whatever the screen is, and the contents are left out."""
    page = desk.open(_html(*busy_run()), "dark").page
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("body").evaluate("one => getComputedStyle(one).color") == "rgb(0, 0, 0)"


def test_the_critical_path_and_the_recovery_are_marked(desk: _Desk) -> None:
    """By more than colour: bars on the path are thicker, and their rows say so."""
    page = desk.open(_html(*busy_run())).page
    heights = page.locator("tr.critical rect.critical").evaluate_all(
        "all => all.map(one => one.getAttribute('height'))"
    )
    assert set(heights) == {"16"}
    rows = page.locator("tr.critical th").all_text_contents()
    assert rows
    assert all("on the critical path" in row for row in rows)
    assert page.locator("line.rta").count() == page.locator("[data-chart=timeline] tbody tr").count()
    assert page.locator("line.rto").count() == page.locator("[data-chart=timeline] tbody tr").count()


def test_a_large_drill_is_drawn_within_a_second() -> None:
    """Fifty assets with a thousand exceptions each; a few times that is left for a busy machine."""
    plan, record = busy_run(50, 1000)
    verdict = assess(plan, record)
    render("html", *busy_run(1), assess(*busy_run(1)))
    began = perf_counter()
    html = render("html", plan, record, verdict)
    assert perf_counter() - began < 4
    assert len(html) < 3_000_000


def test_a_digest_of_each_file_stands_in_the_page() -> None:
    """And not where they are not at hand."""
    plan = make_plan()
    record = make_record(plan)
    verdict = assess(plan, record)
    html = render("html", plan, record, verdict, Options(files={"record.json": "ab" * 32}))
    assert f"SHA-256 {'ab' * 32}" in html
    assert "sha256sum" in html
    assert "sha256sum" not in render("html", plan, record, verdict)
    other = replace(record, plan_digest="0" * 64)
    assert "ANOTHER PLAN" in render("html", plan, other, assess(plan, other))
