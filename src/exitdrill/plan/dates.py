"""Dates as drills write them: ``2027-03-31``, a day of the Gregorian calendar in UTC."""

import re
from datetime import date

from exitdrill.errors import DefinitionError

__all__ = ["EXPECTED", "PATTERN", "parse_date"]

EXPECTED = "a date such as 2027-03-31"
PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""What a date looks like, as a regular expression of ECMA 262 too."""


def parse_date(text: str) -> date:
    """A date from its text. Raises DefinitionError. ISO 8601-1:2019, 5.2.2.1, the extended format alone."""
    refused = DefinitionError(f"found {text[:40]!r}", expected=EXPECTED)
    if re.fullmatch(PATTERN, text) is None:
        raise refused
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise refused from exc
