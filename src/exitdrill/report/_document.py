"""A report before it has a format: sections of few kinds of blocks, all strings raw and hostile.

Formats escape; nothing in here is escaped, cut or coloured. A `Key` is an object's key, shown as such.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from exitdrill.report.language import ENGLISH, Language

__all__ = [
    "Bar",
    "Block",
    "Cell",
    "Document",
    "Facts",
    "Figure",
    "Funnel",
    "Heading",
    "Item",
    "Items",
    "Key",
    "Mark",
    "Note",
    "Part",
    "Picture",
    "Section",
    "Shares",
    "Table",
    "Timeline",
    "Tone",
    "Trend",
    "Trends",
    "draw",
    "notes",
]


class Tone(StrEnum):
    """What a thing means for the reader. A format shows it by more than colour."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Key:
    """An object's key."""

    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word that says how something came out."""

    text: str
    tone: Tone


Cell = str | Key | Mark


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Heading:
    """What the blocks after it are about."""

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
    caption: str = ""
    """What it shows, for those who cannot see what stands around it."""


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
    critical: bool = False
    """On the critical path: had it taken less, the recovery would have been earlier."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Laps against the drill's clock."""

    bars: tuple[Bar, ...]
    total_ns: int
    rta_ns: int | None = None
    """When the recovery was complete; None if it was not."""
    rto_ns: int | None = None
    """When it had to be; None where no objective is set."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a whole, or what is left of it at one stage."""

    name: str
    share: float
    """From 0 to 1."""
    shown: str


@dataclass(frozen=True, slots=True)
class Shares:
    """A whole and its parts, which add up to it."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Funnel:
    """How much is left at each stage, one after the other."""

    name: str
    stages: tuple[Part, ...]
    tone: Tone


@dataclass(frozen=True, slots=True)
class Trend:
    """How much at which time."""

    name: str
    points: tuple[tuple[float, float, float], ...]
    """Begin and width, from 0 to 1 of the time shown, and height, from 0 to 1 of the highest."""
    highest: str


@dataclass(frozen=True, slots=True)
class Trends:
    """Several on one axis of time."""

    trends: tuple[Trend, ...]
    begin: str
    end: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart. Formats without pictures draw the table, which says the same."""

    title: str
    says: str
    """What there is to be seen, in a sentence."""
    chart: Shares | Trends | tuple[Funnel, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: a line, further lines, and the keys it is about."""

    head: str
    lines: tuple[str, ...] = ()
    keys: tuple[tuple[Key, str], ...] = ()
    """A key and what is said about it."""
    tone: Tone = Tone.PLAIN
    recorded: bool = False
    """In the words of the record, which are English."""


@dataclass(frozen=True, slots=True)
class Items:
    """Entries one below the other."""

    items: tuple[Item, ...]


Block = Note | Heading | Facts | Table | Timeline | Items | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]
    name: str = ""
    """A short word for links within the document, the same in every language."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number worth standing at the top."""

    name: str
    value: str
    beside: str
    """What it is measured against."""
    tone: Tone = Tone.PLAIN
    share: float | None = None
    """How much of the objective it took, from 0; above 1 it is missed. None where there is none."""


@dataclass(frozen=True, slots=True)
class Document:
    """The report."""

    title: str
    verdict: str
    """The judgement in one word, in capitals."""
    lead: str
    """The rest of the first line."""
    sections: tuple[Section, ...] = field(default=())
    tone: Tone = Tone.PLAIN
    """The judgement's."""
    summary: str = ""
    """The judgement in a sentence."""
    caution: str = ""
    """What the reader must know before believing it: that it was a rehearsal. Empty if nothing."""
    figures: tuple[Figure, ...] = ()
    run_id: str = ""
    language: Language = ENGLISH


def draw(bar: Bar, total_ns: int, width: int) -> str:
    """The bar in ``width`` characters: the drill's whole time from left to right, at least one block for the lap."""
    total = max(1, total_ns)
    start = min(width - 1, max(0, bar.start_ns) * width // total)
    end = min(width, max(start + 1, -(-(bar.start_ns + bar.duration_ns) * width // total)))
    return "·" * start + "█" * (end - start) + "·" * (width - end)


def notes(bar: Bar, language: Language) -> list[str]:
    """What there is to say of a lap beside its length."""
    said = []
    if bar.waiting_ns:
        said.append(language.say("waited {time}", time=language.duration(bar.waiting_ns / 1_000_000_000)))
    if bar.attempts > 1:
        said.append(language.say("try {attempts}", attempts=str(bar.attempts)))
    if bar.critical:
        said.append(language.say("on the critical path"))
    return said
