r"""The report as Markdown (CommonMark with GitHub's tables), for wikis, tickets and pull requests.

Rules: prose has every character with a meaning in Markdown or HTML escaped; keys stand in code spans, with what
could end a code span, a table cell or start a tag written visibly, as ``\x60``, ``\x7c``, ``\x3c``. What
neither can do is turn into a link, a tag or another row.
"""

import re
from dataclasses import dataclass

from exitdrill.model.human import duration, key, safe
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
_BACKSLASHED = frozenset("\\*_[]~$#!{}")
_LINKS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_BLOCK_START = re.compile(r"^ *(?:\d+(?=[.)](?: |$))|(?=[-+](?: |$)|[-= ]+$))")


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
    return lines + [f"  - {_code(cell)}" + (f" {_prose(said)}" if said else "") for cell, said in item.keys]


def _code(cell: Key) -> str:
    """A key in a code span."""
    return f"`{key(cell.text, also=_IN_CODE, limit=_KEY_CHARACTERS)}`"


def _prose(text: str) -> str:
    """Text on one line without any meaning to Markdown or HTML."""
    shown = safe(text)
    # Links and block starts are sought before escaping, while the text is still as its author meant it.
    hostile = {match.start() for match in _LINKS.finditer(shown)}
    hostile |= {match.end() for match in _BLOCK_START.finditer(shown)}
    return "".join(f"&#{ord(char)};" if index in hostile else _escaped(char) for index, char in enumerate(shown))


def _escaped(char: str) -> str:
    return f"\\{char}" if char in _BACKSLASHED else _ENTITIES.get(char, char)
