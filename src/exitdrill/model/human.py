"""How sizes, times, counts and hostile text are written for people.

Rules: sizes in powers of 1000 with their unit; durations ``h:mm:ss``, rounded *up*, so that what was measured
never looks shorter than it was and a missed objective never looks met; text that came from outside only
through `safe`. Escaping that one output format needs on top of that (Markdown, HTML) is the format's business.
"""

import math
import unicodedata

__all__ = ["bytes_", "count", "duration", "key", "rate", "safe"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_STEP = 1000
_TENTHS_BELOW_SECONDS = 10
_MARKS_IN_A_ROW = 2

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
"""Printable by their Unicode category, and yet nothing is to be seen."""

_SPACE = "\\x20"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def bytes_(size_bytes: float) -> str:
    """A size in powers of 1000: ``999 B``, ``1.0 kB``, ``12.3 MB``."""
    if abs(size_bytes) < _STEP:
        return f"{size_bytes:.0f} B"
    value = float(size_bytes)
    for unit in _UNITS[1:]:
        value /= _STEP
        if abs(round(value, 1)) < _STEP or unit == _UNITS[-1]:
            break
    return f"{value:,.1f} {unit}"


def duration(seconds: float) -> str:
    """A duration as ``h:mm:ss``, rounded up; with tenths from zero to ten seconds, hours not limited to 24."""
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    tenths = math.ceil(round(left * 10, 6))
    if 0 < tenths < _TENTHS_BELOW_SECONDS * 10:
        return f"{sign}0:00:0{tenths // 10}.{tenths % 10}"
    whole = math.ceil(round(left, 6))
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{secs:02}"


def rate(size_bytes: float, seconds: float) -> str:
    """A rate a second, such as ``12.3 MB/s``; ``-`` where no time passed."""
    return f"{bytes_(size_bytes / seconds)}/s" if seconds > 0 else "-"


def count(number: int, noun: str = "") -> str:
    """A number with thousands marked, and its noun in the plural unless it is one: ``1,234 objects``."""
    return f"{number:,}" if not noun else f"{number:,} {noun}{'' if number == 1 else 's'}"


def safe(text: str, *, also: str = "", limit: int | None = None) -> str:
    r"""Text from outside, made harmless and visible for a terminal: one line of printable characters.

    Control, format and bidirectional characters, blanks other than the space, surrogates, unassigned code
    points, and combining marks that are heaped up or not in Unicode form C become ``\xNN``, ``\uNNNN`` or
    ``\UNNNNNNNN``; a backslash becomes two. Two different texts never become the same one (unless cut).

    Args:
        text: Any string: a key, a name, a provider's message.
        also: Further characters to escape in the same way.
        limit: Longest result in characters; what is cut is said.
    """
    composed = unicodedata.is_normalized("NFC", text)
    out: list[str] = []
    marks = _MARKS_IN_A_ROW  # a mark at the very start would sit on whatever the report printed before it
    for char in text:
        mark = unicodedata.category(char) in {"Mn", "Mc", "Me"}
        hostile = (
            char in also
            or not char.isprintable()
            or char in _BLANK
            or _is_variation_selector(char)
            or (mark and (not composed or marks >= _MARKS_IN_A_ROW))
        )
        marks = marks + 1 if mark else 0
        out.append(_NAMED.get(char) or (_escape(char) if hostile else char))
    whole = "".join(out)
    if limit is None or len(whole) <= limit:
        return whole
    tail = f"… ({len(text.encode('utf-8', 'surrogatepass')):,} bytes)"
    return whole[: max(0, limit - len(tail))] + tail


def key(text: str, *, also: str = "", limit: int | None = None) -> str:
    r"""An object's key as `safe` writes it, spaces at its ends visible as ``\x20``, and never nothing at all."""
    shown = safe(text, also=also, limit=limit)
    if not shown:
        return "(empty key)"
    inner = shown.strip(" ")
    before = len(shown) - len(shown.lstrip(" "))
    return _SPACE * before + inner + _SPACE * (len(shown) - before - len(inner))


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:  # noqa: PLR2004 - two hexadecimal digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - four hexadecimal digits
