"""Which clauses of laws and standards a run answers, with which facts. Data files beside this module say how.

Rules. A clause is exercised only when every field that it needs holds something, of every asset where it is a field of
assets: None, an empty text, false and a count of zero
are nothing; no time at all is something. A clause that asks for what no run records is exercised in part at best. A
run that failed exercises nothing. A rehearsal is said to be one in every line.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Judgement, Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._document import Block, Heading, Mark, Note, Table, Tone
from exitdrill.report._scope import rehearsed
from exitdrill.report.language import Language

__all__ = ["Clause", "Coverage", "Source", "Status", "coverage", "evaluate", "sources"]

_FILES = (
    "dora", "rts_2024_1773", "rts_2024_1774", "nis2", "nis2_2024_2690", "data_act", "iso_27001", "iso_22301", "bio2"
)  # fmt: skip
_SHOWN = 3
_TEXT = 36
_NS = 1_000_000_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Phrase(_Strict):
    """The same in every language of reports."""

    en: str
    nl: str

    def in_(self, language: Language) -> str:
        """In that one."""
        return str(getattr(self, language.code))


class Clause(_Strict):
    """One clause, in our words."""

    article: Phrase
    about: Phrase
    needs: tuple[str, ...]
    """Fields that must all hold something; one that ends in ``?`` must in one value at least, others in each."""
    shows: tuple[str, ...]
    unrecorded: Phrase | None = None
    """What it also asks for and no run records."""


class Source(_Strict):
    """A law or a standard."""

    source: Phrase
    as_of: str = Field(pattern=r"\d{4}-\d\d-\d\d")
    clause: tuple[Clause, ...]


@cache
def sources() -> tuple[Source, ...]:
    """Every law and standard, in the order reports have them."""
    folder = files(__package__).joinpath("clauses")
    return tuple(Source.model_validate(tomllib.loads(folder.joinpath(f"{n}.toml").read_text("utf-8"))) for n in _FILES)


class Status(StrEnum):
    """How far a run answers a clause."""

    EXERCISED = "exercised"
    IN_PART = "exercised in part"
    NOT = "not exercised"


@dataclass(frozen=True, slots=True)
class Coverage:
    """One clause against one run."""

    source: Source
    clause: Clause
    status: Status
    facts: tuple[tuple[str, tuple[object, ...]], ...]
    """Field and its values, of those that hold something or are only shown."""
    missing: tuple[str, ...]
    """Fields it needs that hold nothing."""
    failed: bool
    """The run proves nothing."""


def evaluate(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> Iterator[Coverage]:
    """Every clause."""
    roots = {"plan": plan, "record": record, "verdict": verdict}
    failed = verdict.judgement is Judgement.FAILED
    for source in sources():
        for clause in source.clause:
            yield _evaluate(source, clause, roots, failed=failed)


def _evaluate(source: Source, clause: Clause, roots: Mapping[str, object], *, failed: bool) -> Coverage:
    facts, missing = [], []
    for path in clause.needs:
        name, anyone = path.removesuffix("?"), path.endswith("?")
        values = tuple(_values(roots, name))
        held = [value for value in values if _holds(value)]
        if held and (anyone or len(held) == len(values)):
            facts.append((name, tuple(held)))
        else:
            missing.append(name)
    facts += [(path, tuple(v for v in _values(roots, path) if v is not None)) for path in clause.shows]
    answered = bool(clause.needs) and not missing and not failed
    status = Status.NOT if not answered else Status.IN_PART if clause.unrecorded else Status.EXERCISED
    return Coverage(source, clause, status, tuple(facts), tuple(missing), failed)


def _values(roots: Mapping[str, object], path: str) -> Iterator[object]:
    """Every value of a field: through tuples and mappings, one for each of their members."""
    root, *names = path.split(".")
    return _walk(roots[root], names)


def _walk(value: object, names: list[str]) -> Iterator[object]:
    if not names:
        yield value
    elif value is None:
        yield None
    elif isinstance(value, tuple):
        for member in value:
            yield from _walk(member, names)
    else:
        yield from _walk(getattr(value, names[0]), names[1:])


def _holds(value: object) -> bool:
    return bool(value) or (isinstance(value, float) and value == 0)


def coverage(plan: DrillPlan, record: RunRecord, verdict: Verdict, language: Language) -> tuple[Block, ...]:
    """A table a source."""
    say = language.say
    rehearsal = rehearsed(plan, verdict)
    blocks: list[Block] = [
        Note(say("Which facts of this run answer which clause. It is no legal advice, and claims no compliance."))
    ]
    if rehearsal:
        blocks.append(Note(say("Every clause below was exercised in a rehearsal at most."), Tone.WARN))
    found = list(evaluate(plan, record, verdict))
    for source in sources():
        rows = tuple(_row(one, language, rehearsal=rehearsal) for one in found if one.source is source)
        headers = (say("clause"), say("about"), say("status"), say("facts of this run"))
        title = say("{source}, mapping as of {day}", source=source.source.in_(language), day=language.day(source.as_of))
        blocks += [Heading(title), Table(headers, rows, caption=title)]
    return tuple(blocks)


def _row(one: Coverage, language: Language, *, rehearsal: bool) -> tuple[str | Mark, ...]:
    say = language.say
    status = language.word(one.status)
    if rehearsal and one.status is not Status.NOT:
        status = say("{status}, rehearsal", status=status)
    tone = {Status.EXERCISED: Tone.GOOD, Status.IN_PART: Tone.WARN, Status.NOT: Tone.PLAIN}[one.status]
    tone = Tone.WARN if rehearsal and tone is Tone.GOOD else tone
    said = []
    if one.failed:
        said.append(say("the run failed: nothing is proven"))
    if one.missing:
        said.append(say("empty: {fields}", fields=", ".join(one.missing)))
    if one.clause.unrecorded is not None:
        what = one.clause.unrecorded.in_(language)
        said.append(say("not recorded by exitdrill: {what}", what=what))
    if one.status is not Status.NOT:
        said += [f"{path}: {_shown(path, values, language)}" for path, values in one.facts]
    about = one.clause.about.in_(language)
    return (one.clause.article.in_(language), about, Mark(status, tone), "; ".join(said))


def _shown(path: str, values: Iterable[object], language: Language) -> str:
    texts = list(dict.fromkeys(_text(path, value, language) for value in values))
    if not texts:
        return language.say("none")
    more = language.say(" and {more} more", more=language.number(len(texts) - _SHOWN)) if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _text(path: str, value: Any, language: Language) -> str:
    match value:
        case bool():
            return language.say("yes") if value else language.say("no")
        case StrEnum():
            return language.word(value)
        case timedelta():
            return language.duration(value.total_seconds())
        case datetime():
            return language.moment(value)
        case int() | float() if path.endswith("_ns"):
            return language.duration(value / _NS)
        case int() | float() if path.endswith("_seconds"):
            return language.duration(value)
        case int() if path.endswith("_bytes"):
            return language.size(value)
        case int() | float():
            return language.number(value)
        case Mapping():
            return ", ".join(f"{language.word(str(k))} {_text(path, v, language)}" for k, v in value.items()) or "-"
        case tuple():
            return ", ".join(_text(path, member, language) for member in value) or language.say("none")
        case _ if is_dataclass(value):
            return ", ".join(_text(f.name, getattr(value, f.name), language) for f in fields(value))
        case _:
            text = str(value)
            return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
