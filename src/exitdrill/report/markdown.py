r"""The report as Markdown (CommonMark with GitHub's tables), for wikis, tickets and pull requests.

Rules: prose has every character with a meaning in Markdown or HTML escaped; keys stand in code spans, with what
could end a code span, a table cell or start a tag written visibly, as ``\x60``, ``\x7c``, ``\x3c``. What
neither can do is turn into a link, a tag or another row.
"""

import re
from dataclasses import dataclass

from exitdrill.model.human import duration, safe
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._content import content
from exitdrill.report._document import Block, Document, Facts, Item, Items, Key, Note, Table, Timeline, draw

__all__ = ["MarkdownReport"]

_NS = 1_000_000_000
_BAR_WIDTH = 40
_NAME_WIDTH = 28
_KEY_CHARACTERS = 400
_IN_CODE = "`|<>&"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "@": "&#64;", '"': "&quot;"}
_SPACE = "\\x20"
_BACKSLASHED = frozenset("\\*_[]~$#!{}")
_LINKS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_BLOCK_START = re.compile(r"^(\s*)([-+=:]|\d+(?=[.)]))")


@dataclass(frozen=True, slots=True)
class MarkdownReport:
    """See the module."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict) -> str:
        """The report as one page."""
        return "\n".join(_lines(content(plan, record, verdict))) + "\n"


def _lines(document: Document) -> list[str]:
    lines = [f"# {_prose(document.title)}", "", f"**{_prose(document.verdict)}**: {_prose(document.lead)}"]
    for section in document.sections:
        lines += ["", f"## {_prose(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block)]
    return lines


def _block(block: Block) -> list[str]:
    match block:
        case Note(text):
            return [_prose(text)]
        case Facts(rows):
            return [f"- **{_prose(name)}**: {_prose(value)}" for name, value in rows]
        case Table():
            return _table(block)
        case Timeline():
            return _timeline(block)
        case Items(items):
            return [line for item in items for line in _item(item)]


def _table(block: Table) -> list[str]:
    rule = ["---:" if index in block.right else "---" for index in range(len(block.headers))]
    rows = [[_prose(header) for header in block.headers], rule]
    rows += [[_code(cell) if isinstance(cell, Key) else _prose(cell) for cell in row] for row in block.rows]
    return [f"| {' | '.join(row)} |" for row in rows]


def _timeline(block: Timeline) -> list[str]:
    lines = ["```text"]
    for bar in block.bars:
        name = safe("  " * bar.depth + bar.name, also=_IN_CODE, limit=_NAME_WIDTH).ljust(_NAME_WIDTH)
        waited = f"  waited {duration(bar.waiting_ns / _NS)}" if bar.waiting_ns else ""
        tries = f"  try {bar.attempts}" if bar.attempts > 1 else ""
        lines.append(
            f"{name} {draw(bar, block.total_ns, _BAR_WIDTH)} {duration(bar.duration_ns / _NS):>9}{waited}{tries}"
        )
    return [*lines, "```"]


def _item(item: Item) -> list[str]:
    lines = [f"- {_prose(item.head)}", *(f"  - {_prose(line)}" for line in item.lines)]
    return lines + [f"  - {_code(key)}" + (f" {_prose(said)}" if said else "") for key, said in item.keys]


def _code(key: Key) -> str:
    """A key in a code span; spaces at its ends, which a renderer would drop, written visibly."""
    text = safe(key.text, also=_IN_CODE, limit=_KEY_CHARACTERS)
    if not text:
        return "(empty key)"
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(inner)
    return "`" + _SPACE * before + inner + _SPACE * after + "`"


def _prose(text: str) -> str:
    """Text on one line without any meaning to Markdown or HTML."""
    # Links and block starts are sought before escaping, while the text is still as its author meant it.
    marked = [f"&#{ord(char)};" if hostile else _escaped(char) for char, hostile in _classified(safe(text))]
    return "".join(marked)


def _classified(text: str) -> list[tuple[str, bool]]:
    hostile = {match.start() for match in _LINKS.finditer(text)}
    if (start := _BLOCK_START.match(text)) is not None:
        hostile |= {start.end()} if start[2].isdigit() else {start.start(2)}
    return [(char, index in hostile) for index, char in enumerate(text)]


def _escaped(char: str) -> str:
    return f"\\{char}" if char in _BACKSLASHED else _ENTITIES.get(char, char)
