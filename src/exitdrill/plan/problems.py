"""What is wrong with a definition file: found all together, each with its place in the file.

A problem's text is one line: ``drills/x.yaml:12:5: assets[0].verify: found 'atested'; expected one of …
(did you mean 'attested'?)``. Which values may be shown is the business of who adds a problem; URLs lose their
user and query here, wherever they are shown.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from exitdrill.errors import DefinitionError

__all__ = ["KeyPath", "Problem", "Problems", "closest", "one_of", "quoted", "show_path", "without_url_secrets"]

KeyPath = tuple[str | int, ...]
"""Keys and indices from the root of a file."""

_SHOWN_CHARACTERS = 60
_SHOWN_PROBLEMS = 100
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_URL_USER = re.compile(r"://[^/@\s]*@")
_URL_QUERY = re.compile(r"(://[^?\s]*)\?\S*")


def show_path(path: KeyPath) -> str:
    """A path as people write it: ``assets[0].verify``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def quoted(text: str) -> str:
    """A text in quotes on one line, cut where it is long, without what a URL should not carry."""
    plain = without_url_secrets(text)
    return repr(plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…")


def without_url_secrets(text: str) -> str:
    """A text whose URLs carry neither user nor query: passwords and signatures stand there."""
    return _URL_QUERY.sub(r"\1?…", _URL_USER.sub("://…@", text))


def one_of(names: Iterable[str]) -> str:
    """``one of a, b, c``, in order; what to expect where there is a choice."""
    known = sorted(names)
    return f"one of {', '.join(known)}" if known else "none: there are none"


def closest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the nearest of the known words, or nothing where none is near."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), by_lower, 1)
    return f"did you mean {by_lower[found[0]]!r}?" if found else ""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with one file."""

    file: str
    line: int
    """From 1; 0 where it is about the file as a whole."""
    column: int
    """In characters, from 1."""
    path: str
    what: str
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """One line."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{where}: {self.path}: {self.what}" if self.path else f"{where}: {self.what}"
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text} ({self.hint})" if self.hint else text


class Problems:
    """Collects the problems of the files of one drill."""

    def __init__(self) -> None:
        """None yet."""
        self._found: dict[Problem, None] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._found)

    def __iter__(self) -> Iterator[Problem]:
        """Each of them, in the order they were added."""
        return iter(self._found)

    def add(self, problem: Problem) -> None:
        """Add one; the same one twice counts once."""
        self._found[problem] = None

    def take(self, other: "Problems") -> None:
        """Add another's."""
        for problem in other:
            self.add(problem)

    @property
    def about_file(self) -> Problem | None:
        """The problem that is about a file as a whole, if there is one."""
        return next((problem for problem in self._found if not problem.line), None)

    def check(self) -> None:
        """Raise DefinitionError if there is any: a line for each, in the order of the files."""
        if not self._found:
            return
        files = list(dict.fromkeys(problem.file for problem in self._found))
        ordered = sorted(self._found, key=lambda p: (files.index(p.file), p))
        lines = [str(problem) for problem in ordered[:_SHOWN_PROBLEMS]]
        if len(ordered) > len(lines):
            lines.append(f"{ordered[-1].file}: and {len(ordered) - len(lines)} more problems")
        raise DefinitionError("\n".join(lines))
