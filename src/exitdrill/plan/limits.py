"""Limits as drills write them: ``50MB/s``, ``800Mbit/s``, ``unlimited``; ``08:00``; ``mon-fri``; ``Europe/Amsterdam``.

Rules: units are case-sensitive, because a megabit and a megabyte, or a milli and a mega, differ by nothing else.
A rate is one kilobyte a second or more: who wants nothing moved does not start the drill.
"""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from exitdrill.errors import DefinitionError
from exitdrill.model.limits import DAYS, EVERY_DAY

__all__ = ["RATE_PATTERN", "TIME_PATTERN", "parse_days", "parse_minute", "parse_rate", "parse_timezone"]

UNLIMITED = "unlimited"
RATE_PATTERN = r"^(?:unlimited|[0-9]{1,9}(?:\.[0-9]{1,3})? ?(?:[kMGT]?B|[KMGT]iB|[kMGT]?bit)/s)$"
"""What a rate looks like, as a regular expression of ECMA 262 too."""
TIME_PATTERN = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"
"""What a time of day looks like."""

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([kKMGT]?)(i?)(B|bit)/s")
_RATE_EXPECTED = "a rate such as 50MB/s, 800kB/s, 1.5GiB/s, 400Mbit/s, or unlimited"
_LEAST, _MOST = 1_000.0, 1e12
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})")
_TIME_EXPECTED = 'a time of day in quotes such as "08:00" or "24:00"'
_DAYS_EXPECTED = "days such as mon-fri, or sat,sun; a day is one of " + ", ".join(DAYS)
_ZONE_EXPECTED = "a time zone by its IANA name, such as Europe/Amsterdam"


def _refused(text: str, expected: str) -> DefinitionError:
    return DefinitionError(f"found {text[:40]!r}", expected=expected)


def parse_rate(text: str) -> float | None:
    """Bytes a second; None for ``unlimited``. Sizes in powers of 1000, ``KiB`` and its like of 1024.

    Raises:
        DefinitionError: It is no rate, under 1 kB/s or over 1 TB/s.
    """
    if text == UNLIMITED:
        return None
    match = _RATE.fullmatch(text)
    if match is None or re.fullmatch(RATE_PATTERN, text) is None:
        raise _refused(text, _RATE_EXPECTED)
    number, prefix, binary, unit = match.groups()
    step = 1024 if binary else 1000
    power = 0 if not prefix else "kMGT".index(prefix.replace("K", "k")) + 1
    rate: float = float(number) * step**power / (8 if unit == "bit" else 1)
    if not _LEAST <= rate <= _MOST:
        raise _refused(text, "1kB/s or more, 1TB/s at most")
    return rate


def parse_minute(text: str) -> int:
    """A time of day in minutes since midnight; ``24:00`` is the end of the day. Raises DefinitionError."""
    match = _TIME.fullmatch(text)
    if match is None or re.fullmatch(TIME_PATTERN, text) is None:
        raise _refused(text, _TIME_EXPECTED)
    return int(match[1]) * 60 + int(match[2])


def parse_days(text: str) -> tuple[int, ...]:
    """Days of the week, 0 for Monday, in order: ``mon-fri``, ``sat,sun``, ``fri-mon`` over the weekend.

    Raises:
        DefinitionError: A part is no day and no range of days.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise _refused(text, _DAYS_EXPECTED)
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % len(DAYS) if dash else 0
        found |= {(start + n) % len(EVERY_DAY) for n in range(length + 1)}
    return tuple(sorted(found))


def parse_timezone(text: str) -> str:
    """The name of a time zone that this machine knows. Raises DefinitionError."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # a folder of zones, or a path, is none
        raise _refused(text, _ZONE_EXPECTED) from exc
    return text
