"""What the commands write: results to stdout, everything else to stderr.

Rules. Nothing is written that `hide` was told to keep secret. Text from outside is made harmless first, so no
key or message moves the cursor. A reader of stdout that goes away (``| head``) ends the output, not the drill.
Tables are drawn by rich on a terminal and as aligned columns elsewhere. Importing this loads no rich.
"""

import base64
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

from exitdrill.errors import ExitdrillError
from exitdrill.model.human import safe

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "err",
    "fit",
    "harmless",
    "hide",
    "on_terminal",
    "out",
    "out_json",
    "redact",
    "say_error",
    "table",
    "terminal",
]

_SHORTEST_SECRET = 6
"""Shorter ones would blank out ordinary words."""
_MASK = "[secret]"
_secrets: list[str] = []


def hide(values: Iterable[str]) -> None:
    """Never write these values, nor the ways in which they stand in URLs, JSON and headers."""
    found = set(_secrets)
    for value in values:
        if len(value) >= _SHORTEST_SECRET:
            encoded = base64.b64encode(value.encode()).decode()
            found |= {value, quote(value, safe=""), quote(value), json.dumps(value)[1:-1], encoded}
    _secrets[:] = sorted(found, key=len, reverse=True)


def redact(text: str) -> str:
    """Text without any value that `hide` was told of."""
    for value in _secrets:
        text = text.replace(value, _MASK)
    return text


def harmless(text: str) -> str:
    """Text of several lines with nothing secret and no control character in it."""
    return "\n".join(safe(line) for line in redact(text).split("\n"))


def fit(stream: TextIO) -> None:
    """Make a stream take every character, whatever the locale is."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def out(text: str) -> None:
    """Write a result to stdout; a newline is added where there is none."""
    _write(sys.stdout, redact(text))


def err(text: str) -> None:
    """Write a line for people to stderr."""
    _write(sys.stderr, harmless(text))


def say_error(error: ExitdrillError) -> None:
    """One error for people: what, on what, what was expected, what to do."""
    what = error.what.rstrip("\n")
    err(f"error: {error.resource}: {what}" if error.resource else f"error: {what}")
    if error.expected:
        err(f"  expected  {error.expected}")
    if error.hint:
        err(f"  to do     {error.hint}")


def out_json(value: object) -> None:
    """Write a result to stdout as one JSON document, in ASCII."""
    out(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False, default=str).replace("\x7f", "\\u007f"))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()
    except BrokenPipeError:
        # Nobody reads any more. What comes later goes nowhere, and the exit code stays what it is.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def on_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it, with a terminal that can move the cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def terminal(stream: TextIO) -> "Console":
    """A rich console on that stream that takes text as it is."""
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = (), wide: int = -1) -> None:
    """Write a table to stdout.

    Args:
        headers: One a column.
        rows: Cells, as many as there are headers.
        right: Columns of numbers.
        wide: The column that gets what room is left, and wraps.
    """
    numbers = set(right)
    cells = [[harmless(cell) for cell in row] for row in rows]
    if not on_terminal(sys.stdout):
        for line in _plain([list(headers), *cells], numbers):
            out(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="bold")
    last = len(headers) - 1 if wide < 0 else wide
    for index, header in enumerate(headers):
        drawn.add_column(header, justify="right" if index in numbers else "left", overflow="fold", no_wrap=False)
        if index == last:
            drawn.columns[index].ratio = 1
    for row in cells:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    terminal(sys.stdout).print(drawn)


_STYLES = {
    "met": "bold green",
    "ready": "green",
    "done": "green",
    "missed": "bold yellow",
    "failed": "bold red",
    "NOT READY": "bold red",
    "checked": "green",
    "FAILED": "bold red",
    "running": "cyan",
    "interrupted": "yellow",
    "stopped": "yellow",
}


def _plain(rows: list[list[str]], right: set[int]) -> list[str]:
    widths = [max(len(line) for row in rows for line in row[i].split("\n")) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.replace("\n", "; ") for cell in row]
        placed = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        lines.append("  ".join(placed).rstrip())
    return lines
