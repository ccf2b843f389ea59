"""The report for a terminal: plain text, at most 100 columns, colour only where asked for.

Every string goes through `safe`, so that no key, name or message can move the cursor, colour, or reorder text.
"""

import io
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

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
    Tone,
    draw,
    notes,
)
from exitdrill.report.interface import PLAIN, Options
from exitdrill.report.language import Language

__all__ = ["TextReport"]

_WIDTH = 100
_KEY_CHARACTERS = 180
_BAR_WIDTH = 40
_NAME_WIDTH = 28
_NS = 1_000_000_000
_STYLES = {Tone.GOOD: "bold green", Tone.WARN: "bold yellow", Tone.BAD: "bold red", Tone.PLAIN: "dim"}


@dataclass(frozen=True, slots=True)
class TextReport:
    """See the module."""

    colour: bool = False
    """Whether to write ANSI colours."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:
        """The report; without colour no control character but the newline is in it."""
        out = io.StringIO()
        console = Console(
            file=out,
            width=_WIDTH,
            force_terminal=self.colour,
            force_interactive=False,
            legacy_windows=False,
            color_system="standard" if self.colour else None,
            no_color=not self.colour,
            markup=False,
            highlight=False,
            emoji=False,
            _environ={},  # the same report whatever the environment says
        )
        document = content(plan, record, verdict, options.language, options.files)
        for part in _parts(document, options.leave_out):
            console.print(part, overflow="fold")
        return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n")) + "\n"


def _parts(document: Document, leave_out: frozenset[str]) -> list[RenderableType]:
    lead = Text.assemble((document.verdict, _STYLES[document.tone]), "  ", safe(document.lead))
    parts: list[RenderableType] = [lead]
    for section in document.sections:
        if section.name in leave_out:
            continue
        parts += [Text(), Text(safe(section.title), style="bold underline")]
        parts += [Padding(_block(block, document.language), (0, 0, 0, 2)) for block in section.blocks]
    return parts


def _block(block: Block, language: Language) -> RenderableType:
    match block:
        case Note(text):
            return Text(safe(text), overflow="fold")
        case Heading(text):
            return Text(safe(text), style="bold", overflow="fold")
        case Facts(rows):
            return _facts(rows)
        case Table():
            return _table(block)
        case Picture():
            return _table(block.table)
        case Timeline():
            return _timeline(block, language)
        case Items(items):
            grid = RichTable.grid(padding=0)
            grid.add_column(overflow="fold")
            for item in items:
                for line in _item(item):
                    grid.add_row(line)
            return grid


def _facts(rows: tuple[tuple[str, str], ...]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold", max_width=30)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(safe(name), style="dim"), Text(safe(value)))
    return grid


def _table(block: Table) -> RichTable:
    table = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="bold")
    for index, header in enumerate(block.headers):
        table.add_column(Text(safe(header)), justify="right" if index in block.right else "left", overflow="fold")
    for row in block.rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def _cell(cell: Cell) -> Text:
    match cell:
        case Key():
            return _key(cell)
        case Mark(text, tone):
            return Text(safe(text), style=_STYLES[tone])
        case _:
            return Text(safe(cell))


def _key(cell: Key) -> Text:
    return Text(key(cell.text, limit=_KEY_CHARACTERS), style="cyan")


def _timeline(block: Timeline, language: Language) -> RichTable:
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=_NAME_WIDTH, overflow="fold")
    grid.add_column(width=_BAR_WIDTH, no_wrap=True)
    grid.add_column(justify="right", overflow="fold")
    grid.add_column(overflow="fold")
    for bar in block.bars:
        name = Text("  " * bar.depth + safe(bar.name), style="" if bar.depth else "bold")
        blocks = Text(draw(bar, block.total_ns, _BAR_WIDTH), style="dim" if bar.depth else "")
        grid.add_row(
            name, blocks, Text(language.duration(bar.duration_ns / _NS)), Text(", ".join(notes(bar, language)))
        )
    return grid


def _item(item: Item) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(safe(item.head))]
    lines += [Padding(Text(safe(line), style="dim"), (0, 0, 0, 4)) for line in item.lines]
    for cell, said in item.keys:
        line = Text.assemble(_key(cell), f"  {safe(said)}" if said else "", overflow="fold")
        lines.append(Padding(line, (0, 0, 0, 6)))
    return lines
