"""The languages of a report: its own words from a catalogue, and numbers and dates in each language's form.

Rules. The English text in the code is the catalogue's key; English needs no catalogue. A text without an entry is a
fault that a test finds, so it is an error here too. What a run recorded in words (findings, errors, what a check found)
is evidence and stays as it was written, except for values of our own enumerations (`word`) and for the phrases of
objectives and findings that the catalogue knows, by pattern (`recorded`).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from exitdrill.clock import format_utc
from exitdrill.errors import UsageError
from exitdrill.model import human

__all__ = ["ENGLISH", "LANGUAGES", "Language", "language"]

LANGUAGES = ("en", "nl")
"""The codes `language` takes."""

_SWAP = str.maketrans(",.", ".,")
_NUMBER = re.compile(r"-?[\d.,:]+( [kMGTPE]?B)?")
_REST = "rest"
_LONGEST = 2000
"""Longer than any phrase of ours; matching takes long on long texts."""
_FIELD = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Language:
    """How a report says things. Without a catalogue: English."""

    code: str
    texts: Mapping[str, str]
    words: Mapping[str, str]
    nouns: Mapping[str, tuple[str, str]]
    """English singular to singular and plural."""
    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()

    @property
    def english(self) -> bool:
        """Whether what a run recorded in words is in this language."""
        return self.code == "en"

    def say(self, text: str, **values: str) -> str:
        """One of the report's own texts, ``{names}`` in it replaced. Raises KeyError if the catalogue lacks it."""
        template = text if self.english else self.texts[text]
        return template.format(**values) if values else template

    def word(self, value: str) -> str:
        """A value of one of our enumerations; as it is if it is something else."""
        return self.words.get(value, value)

    def recorded(self, text: str) -> str:
        """A phrase that a verdict holds in English; as it is where it is not known."""
        if self.english:
            return text
        if len(text) <= _LONGEST:
            for pattern, template in self.patterns:
                if found := pattern.fullmatch(text):
                    values = found.groupdict()
                    return template.format(**{name: self._value(value, name) for name, value in values.items()})
        return self._value(text)

    def _value(self, text: str, name: str = "") -> str:
        if name == _REST:
            return self.recorded(text)
        return text.translate(_SWAP) if _NUMBER.fullmatch(text) else self.word(text)

    def number(self, number: float, digits: int = 0, *, sign: bool = False) -> str:
        """``1,234.5``, or ``1.234,5``."""
        return self._form(f"{number:{'+' if sign else ''},.{digits}f}")

    def count(self, number: int, noun: str = "") -> str:
        """A number, and its noun in the plural unless it is one."""
        if not noun or self.english:
            return self._form(human.count(number, noun))
        return f"{self.number(number)} {self.nouns[noun][number != 1]}"

    def size(self, size_bytes: float) -> str:
        """A size in powers of 1000."""
        return self._form(human.bytes_(size_bytes))

    def duration(self, seconds: float) -> str:
        """As ``h:mm:ss``, rounded up."""
        return self._form(human.duration(seconds))

    def rate(self, size_bytes: float, seconds: float) -> str:
        """A rate a second."""
        return self._form(human.rate(size_bytes, seconds))

    def share(self, share: float) -> str:
        """In per cent, without decimals."""
        return f"{share:.0%}"

    def moment(self, utc: datetime) -> str:
        """A moment in UTC, with as many decimals of the second as were recorded."""
        if self.english:
            return format_utc(utc)
        moment = utc.astimezone(UTC)
        decimals = f",{moment.microsecond:06}" if moment.microsecond else ""
        return f"{moment:%d-%m-%Y %H:%M:%S}{decimals} UTC"

    def day(self, iso: str) -> str:
        """A date given as ``2026-01-05``."""
        return iso if self.english else f"{datetime.fromisoformat(iso):%d-%m-%Y}"

    def _form(self, text: str) -> str:
        return text if self.english else text.translate(_SWAP)


ENGLISH = Language("en", {}, {}, {})


@cache
def language(code: str) -> Language:
    """The language of that code.

    Raises:
        UsageError: There is none.
    """
    if code not in LANGUAGES:
        raise UsageError(f"no report language {code!r}", expected=f"one of {', '.join(LANGUAGES)}")
    if code == "en":
        return ENGLISH
    data = tomllib.loads(files(__package__).joinpath(f"{code}.toml").read_text("utf-8"))
    nouns = {str(noun): (str(pair[0]), str(pair[1])) for noun, pair in data["nouns"].items()}
    patterns = tuple((_pattern(source), str(text)) for source, text in data["patterns"].items())
    return Language(code, data["texts"], {**data["words"], **data["phrases"]}, nouns, patterns)


def _pattern(source: str) -> re.Pattern[str]:
    """``{name}`` is at least one character, ``{rest}`` may be none; ``(s)`` is there or not."""
    escaped = re.escape(source).replace(re.escape("(s)"), "s?").replace(re.escape("{rest}"), "(?P<rest>.*)")
    return re.compile(_FIELD.sub(r"(?P<\1>.+?)", escaped), re.DOTALL)
