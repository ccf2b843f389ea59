"""A report before it has a format: sections of few kinds of blocks, all strings raw and hostile.

Formats escape; nothing in here is escaped, cut or coloured. A `Key` is an object's key, shown as such.
"""

from dataclasses import dataclass, field

__all__ = ["Bar", "Block", "Document", "Facts", "Item", "Items", "Key", "Note", "Section", "Table", "Timeline", "draw"]


@dataclass(frozen=True, slots=True)
class Key:
    """An object's key."""

    text: str


Cell = str | Key


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()
    """Columns of numbers."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One lap."""

    name: str
    start_ns: int
    duration_ns: int
    waiting_ns: int = 0
    attempts: int = 1
    depth: int = 0
    """0 for a phase or downtime, 1 for a step or a wait, 2 for what a step did for one asset."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Laps against the drill's clock."""

    bars: tuple[Bar, ...]
    total_ns: int


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: a line, further lines, and the keys it is about."""

    head: str
    lines: tuple[str, ...] = ()
    keys: tuple[tuple[Key, str], ...] = ()
    """A key and what is said about it."""


@dataclass(frozen=True, slots=True)
class Items:
    """Entries one below the other."""

    items: tuple[Item, ...]


Block = Note | Facts | Table | Timeline | Items


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The report."""

    title: str
    verdict: str
    """The judgement in one word, in capitals."""
    lead: str
    """The rest of the first line."""
    sections: tuple[Section, ...] = field(default=())


def draw(bar: Bar, total_ns: int, width: int) -> str:
    """The bar in ``width`` characters: the drill's whole time from left to right, at least one block for the lap."""
    total = max(1, total_ns)
    start = min(width - 1, max(0, bar.start_ns) * width // total)
    end = min(width, max(start + 1, -(-(bar.start_ns + bar.duration_ns) * width // total)))
    return "·" * start + "█" * (end - start) + "·" * (width - end)
