"""The report as PDF/A-2a and PDF/UA-1, set by Typst: for archives, and for screen readers.

Rules. What is in the report reaches Typst as JSON data, never as source: no text can be markup. Only fonts that come
with Typst are used, and they are embedded, so the same run gives the same pages on every machine. They hold Latin,
Greek and Cyrillic; what they lack is written out as its code point, as characters are that cannot be seen. The date in
the file is that of the run's end.
"""

import json
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files

from exitdrill.errors import RunError, UsageError
from exitdrill.model.human import key, safe
from exitdrill.model.journal import Json
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._content import content
from exitdrill.report._document import (
    Bar,
    Block,
    Cell,
    Document,
    Facts,
    Figure,
    Heading,
    Item,
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
from exitdrill.report.language import Language

__all__ = ["PdfReport"]

_NS = 1_000_000_000
_KEY_CHARACTERS = 400
_LAST_LETTER = 0x052F
"""The end of Cyrillic: letters beyond it are in none of the fonts."""
_SIGNS = frozenset("\u2013\u2014\u2018\u2019\u201c\u201d\u201e\u2026\u2022\u20ac\u2122\xd7\xb7")
"""Dashes, quotation marks, the ellipsis and the like, which are in them."""


@dataclass(frozen=True, slots=True)
class PdfReport:
    """See the module."""

    def encode(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> bytes:
        """The pages.

        Raises:
            UsageError: Typst is not installed.
            RunError: Typst refuses the document.
        """
        try:
            import typst
        except ImportError as exc:
            raise UsageError("PDF needs Typst, which is not installed", hint="pip install 'exitdrill[pdf]'") from exc
        document = content(plan, record, verdict, options.language, options.files)
        source = files(__package__).joinpath("templates").joinpath("page.typ").read_bytes()
        moment = record.ended_utc or record.t0_utc
        data = json.dumps(_data(document, moment), ensure_ascii=True)
        try:
            made = typst.compile(
                source,
                format="pdf",
                sys_inputs={"data": data},
                pdf_standards=["a-2a", "ua-1"],
                ignore_system_fonts=True,
                timestamp=int(moment.timestamp()),
            )
        except typst.TypstError as exc:
            raise RunError(f"the PDF could not be set: {exc}", hint="the HTML report has the same content") from exc
        if not isinstance(made, bytes):
            raise RunError("Typst gave no single file", hint="the HTML report has the same content")
        return made


def _data(document: Document, moment: datetime) -> dict[str, Json]:
    say = document.language.say
    words = {
        "page": say("page"), "lap": say("lap"), "began": say("began"), "time": say("time"),
        "clock": say("from the drill's declaration to its end"), "critical": say("on the critical path"),
        "other": say("not on it"), "contents": say("Contents"),
    }  # fmt: skip
    utc = moment.astimezone(UTC)
    return {
        "lang": document.language.code,
        "title": _text(document.title),
        "run": _text(document.run_id),
        "verdict": _text(document.verdict),
        "tone": document.tone,
        "summary": _text(document.summary),
        "caution": _text(document.caution),
        "date": [utc.year, utc.month, utc.day],
        "figures": [_figure(figure) for figure in document.figures],
        "words": {name: _text(word) for name, word in words.items()},
        "sections": [
            {
                "title": _text(section.title),
                "blocks": [_block(block, document.language) for block in section.blocks],
            }
            for section in document.sections
        ],
    }


def _figure(figure: Figure) -> Json:
    share = None if figure.share is None else min(1.0, max(0.01, figure.share))
    return {
        "name": _text(figure.name), "value": _text(figure.value), "beside": _text(figure.beside), "tone": figure.tone,
        "share": share,
    }  # fmt: skip


def _block(block: Block, language: Language) -> Json:
    match block:
        case Note(text, tone):
            return {"is": "note", "text": _text(text), "tone": tone}
        case Heading(text):
            return {"is": "heading", "text": _text(text)}
        case Facts(rows):
            return {"is": "facts", "rows": [[_text(name), _text(value)] for name, value in rows]}
        case Table():
            return {"is": "table", **_table(block)}
        case Timeline():
            return _timeline(block, language)
        case Items(items):
            return {"is": "items", "items": [_item(item, language) for item in items]}
        case Picture():
            return _picture(block)


def _table(block: Table) -> dict[str, Json]:
    return {
        "headers": [_text(header) for header in block.headers],
        "right": list[Json](sorted(block.right)),
        "rows": [[_cell(cell) for cell in row] for row in block.rows],
        "caption": _text(block.caption),
    }


def _cell(cell: Cell) -> Json:
    match cell:
        case Key(text):
            return {"text": _key(text), "kind": "key"}
        case Mark(text, tone):
            return {"text": _text(text), "kind": "mark", "tone": tone}
        case _:
            return {"text": _text(cell), "kind": "text"}


def _timeline(block: Timeline, language: Language) -> Json:
    total = max(1, block.total_ns)

    def bar(lap: Bar) -> Json:
        width = max(0.004, min(1.0, lap.duration_ns / total))
        return {
            "name": _text(lap.name), "depth": lap.depth, "critical": lap.critical,
            "x": min(1 - width, max(0.0, lap.start_ns / total)), "width": width,
            "began": language.duration(lap.start_ns / _NS), "time": language.duration(lap.duration_ns / _NS),
            "notes": _text(", ".join(notes(replace(lap, critical=False), language))),
        }  # fmt: skip

    said = []
    if block.rta_ns is not None:
        said.append(language.say("recovered after {time}", time=language.duration(block.rta_ns / _NS)))
    if block.rto_ns is not None:
        said.append(language.say("to be recovered within {time}", time=language.duration(block.rto_ns / _NS)))
    return {
        "is": "timeline",
        "bars": [bar(lap) for lap in block.bars],
        "rta": None if block.rta_ns is None else min(1.0, block.rta_ns / total),
        "rto": None if block.rto_ns is None or block.rto_ns > total else block.rto_ns / total,
        "said": _text(", ".join(said)),
    }


def _picture(block: Picture) -> Json:
    chart: Json
    match block.chart:
        case Shares(parts):
            kind, chart = "shares", [[part.share, _text(part.name)] for part in parts]
        case Trends(trends, begin, end):
            kind = "trends"
            drawn: list[Json] = [
                {"name": _text(t.name), "highest": _text(t.highest), "points": [list[Json](p) for p in t.points]}
                for t in trends
            ]
            chart = {"trends": drawn, "begin": begin, "end": end}
        case funnels:
            kind = "funnels"
            chart = [
                {
                    "name": _text(funnel.name),
                    "tone": funnel.tone,
                    "stages": [[_text(stage.name), stage.share, _text(stage.shown)] for stage in funnel.stages],
                }
                for funnel in funnels
            ]
    return {
        "is": "picture", "kind": kind, "title": _text(block.title), "says": _text(block.says), "chart": chart,
        "table": _table(block.table),
    }  # fmt: skip


def _item(item: Item, language: Language) -> Json:
    return {
        "head": _text(item.head),
        "tone": item.tone,
        "lines": [_text(line) for line in item.lines],
        "keys": [[_key(cell.text), _text(said)] for cell, said in item.keys],
        "lang": "en" if item.recorded else language.code,
    }


def _key(text: str) -> str:
    return _drawable(key(text, limit=_KEY_CHARACTERS))


def _text(text: str) -> str:
    return _drawable(safe(text))


def _drawable(text: str) -> str:
    """Only what the embedded fonts have; the rest as code points."""
    return "".join(char if _has_glyph(char) else _code_point(char) for char in text)


def _has_glyph(char: str) -> bool:
    if char.isascii() or char in _SIGNS:
        return True
    letter = ord(char) <= _LAST_LETTER and unicodedata.category(char) in {"Lu", "Ll"}
    return letter and unicodedata.name(char, "").startswith(("LATIN ", "GREEK ", "CYRILLIC "))


def _code_point(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - four hexadecimal digits
