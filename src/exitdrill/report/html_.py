"""The report as one HTML page: no script, nothing fetched, readable on a phone, on paper, by a screen reader.

Rules. The page's Content-Security-Policy allows nothing but its own style, by its hash: should a text ever get out of
its place, a browser would neither run nor fetch what it says. Every value goes through `safe` and Jinja's
escaping, markup stands in the template alone. Charts are SVG without a size of their own: lengths in per cent, text
in CSS pixels, so that they fit a phone and stay readable. A chart's numbers stand in the table below it.
"""

import base64
import hashlib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from exitdrill.model.human import key, safe
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._content import content
from exitdrill.report._document import (
    Bar,
    Block,
    Document,
    Facts,
    Heading,
    Items,
    Key,
    Mark,
    Note,
    Picture,
    Shares,
    Table,
    Timeline,
    Trends,
    notes,
)
from exitdrill.report.interface import PLAIN, Options

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["HtmlReport"]

_NS = 1_000_000_000
_KEY_CHARACTERS = 400
_WIDE_COLUMNS = 4
_THINNEST = 0.4
"""The least width of a bar, in per cent: a short lap is still to be seen."""


@dataclass(frozen=True, slots=True)
class HtmlReport:
    """See the module."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:
        """The page."""
        document = content(plan, record, verdict, options.language, options.files)
        template, style = _template()
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        return template.render(
            document=document,
            say=document.language.say,
            language=document.language,
            style=Markup(style),  # noqa: S704 - the style is ours
            digest=digest,
        )


@cache
def _template() -> "tuple[Template, str]":
    """The page's template and style; nothing of a run is in either."""
    from jinja2 import BaseLoader, Environment, StrictUndefined  # a drill needs it at its end, not while its clock runs

    folder = files(__package__).joinpath("templates")
    environment = Environment(
        loader=BaseLoader(),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(key=_key, percent=_percent, kind=_kind, anchor=_anchor, ordered=_ordered, bar=_bar)
    environment.globals.update(notes=_notes, is_key=_is_key, is_mark=_is_mark, wide=_wide, chart=_chart)
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    return template, folder.joinpath("page.css").read_text("utf-8")


def _visible(value: object) -> object:
    """Whatever is written out, with what cannot be seen made visible; Jinja escapes it after that."""
    return value if isinstance(value, Markup) else safe(str(value))


def _key(cell: Key) -> Markup:
    return Markup("<code>{}</code>").format(key(cell.text, limit=_KEY_CHARACTERS))


def _is_key(cell: object) -> bool:
    return isinstance(cell, Key)


def _is_mark(cell: object) -> bool:
    return isinstance(cell, Mark)


def _percent(share: float) -> str:
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def _kind(block: Block) -> str:
    kinds = {Note: "note", Heading: "heading", Facts: "facts", Table: "table", Items: "items"}
    return {**kinds, Timeline: "timeline", Picture: "picture"}[type(block)]


def _chart(picture: Picture) -> str:
    match picture.chart:
        case Shares():
            return "shares"
        case Trends():
            return "trends"
        case _:
            return "funnels"


def _ordered(blocks: tuple[Block, ...]) -> list[Block]:
    """Pictures first: they say it at a glance."""
    return sorted(blocks, key=lambda block: not isinstance(block, Picture))


def _wide(table: Table) -> bool:
    return len(table.headers) > _WIDE_COLUMNS


def _bar(bar: Bar, total_ns: int) -> tuple[str, str]:
    """Where it begins and how wide it is."""
    total = max(1, total_ns)
    width = max(_THINNEST, min(100.0, 100 * bar.duration_ns / total))
    return f"{min(100 - width, max(0.0, 100 * bar.start_ns / total)):.3f}%", f"{width:.3f}%"


def _notes(bar: Bar, document: Document) -> str:
    return ", ".join(notes(replace(bar, critical=False), document.language))


def _anchor(share: float) -> str:
    """Which end of a label stands at that place, so that it stays inside."""
    return "end" if share > 0.5 else "start"  # noqa: PLR2004 - the middle
