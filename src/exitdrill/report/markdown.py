r"""The report as Markdown (CommonMark with GitHub's tables), for wikis, tickets and pull requests.

Rules: prose has every character with a meaning in Markdown or HTML escaped; keys stand in code spans, with what
could end a code span, a table cell or start a tag written visibly, as ``\x60``, ``\x7c``, ``\x3c``. What
neither can do is turn into a link, a tag or another row.
"""

import re
from dataclasses import dataclass

from exitdrill.model.human import key, safe
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._content import content
from exitdrill.report._document import (
    Block,
    Cell,
    Document,
    Facts,
    Heading,
    Item,
    Items,
    Key,
    Mark,
    Note,
    Picture,
    Table,
    Timeline,
    draw,
    notes,
)
from exitdrill.report.interface import PLAIN, Options
from exitdrill.report.language import Language

__all__ = ["MarkdownReport", "prose"]

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

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:
        """The report as one page."""
        return "\n".join(_lines(content(plan, record, verdict, options.language, options.files))) + "\n"


def _lines(document: Document) -> list[str]:
    lines = [f"# {prose(document.title)}", "", f"**{prose(document.verdict)}**: {prose(document.lead)}"]
    for section in document.sections:
        lines += ["", f"## {prose(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, document.language)]
    return lines


def _block(block: Block, language: Language) -> list[str]:
    match block:
        case Note(text):
            return [prose(text)]
        case Heading(text):
            return [f"**{prose(text)}**"]
        case Facts(rows):
            return [f"- **{prose(name)}**: {prose(value)}" for name, value in rows]
        case Table():
            return _table(block)
        case Picture():
            return _table(block.table)
        case Timeline():
            return _timeline(block, language)
        case Items(items):
            return [line for item in items for line in _item(item)]


def _table(block: Table) -> list[str]:
    rule = ["---:" if index in block.right else "---" for index in range(len(block.headers))]
    rows = [[prose(header) for header in block.headers], rule]
    rows += [[_cell(cell) for cell in row] for row in block.rows]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(cell: Cell) -> str:
    if isinstance(cell, Key):
        return _code(cell)
    return prose(cell.text if isinstance(cell, Mark) else cell)


def _timeline(block: Timeline, language: Language) -> list[str]:
    lines = ["```text"]
    for bar in block.bars:
        name = safe("  " * bar.depth + bar.name, also=_IN_CODE, limit=_NAME_WIDTH).ljust(_NAME_WIDTH)
        took = language.duration(bar.duration_ns / _NS)
        said = "".join(f"  {note}" for note in notes(bar, language))
        lines.append(f"{name} {draw(bar, block.total_ns, _BAR_WIDTH)} {took:>9}{said}")
    return [*lines, "```"]


def _item(item: Item) -> list[str]:
    lines = [f"- {prose(item.head)}", *(f"  - {prose(line)}" for line in item.lines)]
    return lines + [f"  - {_code(cell)}" + (f" {prose(said)}" if said else "") for cell, said in item.keys]


def _code(cell: Key) -> str:
    """A key in a code span."""
    return f"`{key(cell.text, also=_IN_CODE, limit=_KEY_CHARACTERS)}`"


def prose(text: str) -> str:
    """Text on one line without any meaning to Markdown or HTML."""
    shown = safe(text)
    # Links and block starts are sought before escaping, while the text is still as its author meant it.
    hostile = {match.start() for match in _LINKS.finditer(shown)}
    hostile |= {match.end() for match in _BLOCK_START.finditer(shown)}
    return "".join(f"&#{ord(char)};" if index in hostile else _escaped(char) for index, char in enumerate(shown))


def _escaped(char: str) -> str:
    return f"\\{char}" if char in _BACKSLASHED else _ENTITIES.get(char, char)
