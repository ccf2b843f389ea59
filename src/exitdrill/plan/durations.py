"""Durations as drills write them: ``24h``, ``1h30m``, ``7d``, or ISO 8601 ``PT4H``.

Rules: whole weeks, days, hours, minutes and seconds, the larger first; longer than zero, ten years at most.
Months and years are refused, because they have no fixed length.
"""

import re
from datetime import timedelta

from exitdrill.errors import DefinitionError

__all__ = ["EXPECTED", "PATTERN", "parse_duration"]

EXPECTED = "a duration such as 24h, 90m, 1h30m, 7d or PT4H"

# The lookaheads ask for at least one number, and for one after T.
_PLAIN = r"(?=[0-9])(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?"
_ISO = (
    r"P(?=[0-9T])(?:([0-9]{1,9})W)?(?:([0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})S)?)?"
)
PATTERN = f"^(?:{_PLAIN}|{_ISO})$"
"""What a duration looks like, as a regular expression of ECMA 262 too."""

_UNITS_SECONDS = (7 * 86400, 86400, 3600, 60, 1)
_LONGEST = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """A duration from its text.

    Args:
        text: ``24h``, ``90m``, ``30s``, ``7d``, ``2w``, ``1h30m``, or ISO 8601 with whole numbers: ``P1DT12H``.

    Raises:
        DefinitionError: It is no duration, zero, negative, or longer than ten years.

    ISO 8601-1:2019, 5.5.2.
    """
    match = re.fullmatch(f"{_PLAIN}|{_ISO}", text)
    if match is None:
        expected = "a duration longer than zero" if text.startswith("-") else EXPECTED
        raise DefinitionError(f"found {text[:40]!r}", expected=expected)
    numbers = match.groups("0")
    plain, iso = numbers[: len(_UNITS_SECONDS)], numbers[len(_UNITS_SECONDS) :]
    chosen = iso if text.startswith("P") else plain
    seconds = sum(int(number) * unit for number, unit in zip(chosen, _UNITS_SECONDS, strict=True))
    if seconds == 0:
        raise DefinitionError(f"found {text[:40]!r}", expected="a duration longer than zero")
    if seconds > _LONGEST.total_seconds():
        raise DefinitionError(f"found {text[:40]!r}", expected="ten years at most")
    return timedelta(seconds=seconds)
