"""What is in a bundle, read once for all checks: plan, journal, checkpoints, record, verdict.

All of it was signed, and none of it is believed: reading it raises EvidenceError for what is not in form.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TypeVar

import rfc8785

from exitdrill.clock import parse_utc
from exitdrill.errors import EvidenceError, RunError
from exitdrill.evidence import strict
from exitdrill.evidence.checkpoint import Checkpoint, parse_checkpoint
from exitdrill.evidence.merkle import EMPTY_ROOT, Frontier
from exitdrill.evidence.note import NOTE_MAX_BYTES, Note, parse_note
from exitdrill.evidence.opened import Bundle, BundleLedgers
from exitdrill.model import codec
from exitdrill.model.journal import Json
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan import from_json
from exitdrill.plan.drill import DrillPlan

__all__ = ["Case", "Event", "Signed"]

_LINES_MAX = 2_000_000
_LINE_MAX = 4 * 1024 * 1024
_DOCUMENT_MAX = 64 * 1024 * 1024
_TOKEN_MAX = 64 * 1024
_CHECKPOINT = re.compile(r"checkpoints/([0-9]{4,9})-([0-9]{1,18})\.txt")
_EVENT = ("n", "utc", "elapsed_ns", "session", "event")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal."""

    n: int
    name: str
    elapsed_ns: int
    utc: str
    session: int
    facts: Mapping[str, Json]

    def text(self, name: str) -> str:
        """A fact that is a text; empty where it is none."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """A fact that is a whole number; as a string of digits where it is large."""
        value = self.facts.get(name)
        if isinstance(value, bool) or not isinstance(value, int | str):
            return None
        return int(value) if re.fullmatch(r"-?[0-9]{1,20}", str(value)) else None


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint in a bundle."""

    number: int
    name: str
    data: bytes
    note: Note
    checkpoint: Checkpoint
    token: bytes | None
    """Its timestamp, if it has one."""


class Case:
    """Everything the checks read.

    Args:
        bundle: The bundle, verified.
        index_keys: The ids of the keys that are said to have signed its index.
        signed_by: The ids of those whose signature is good.
    """

    def __init__(self, bundle: Bundle, index_keys: Sequence[str], signed_by: Sequence[str]) -> None:
        """See the class. Raises EvidenceError for what cannot be read."""
        self.bundle, self.index_keys, self.signed_by = bundle, tuple(index_keys), tuple(signed_by)
        self.ledgers = BundleLedgers(bundle)
        self.plan_json = strict.load(bundle.read("plan.json", _DOCUMENT_MAX), "plan.json", max_bytes=_DOCUMENT_MAX)
        self.plan = self._plan()
        self.plan_digest = sha256(rfc8785.dumps(self.plan_json)).hexdigest()
        self.record_bytes = bundle.read("record.json", _DOCUMENT_MAX)
        self.record = _model(RunRecord, self.record_bytes, "record.json")
        self.verdict_bytes = bundle.read("verdict.json", _DOCUMENT_MAX)
        self.verdict = _model(Verdict, self.verdict_bytes, "verdict.json")
        self.events, self.roots = self._journal()
        self.checkpoints = tuple(self._checkpoints())

    def _plan(self) -> DrillPlan:
        if not isinstance(self.plan_json, dict):
            raise EvidenceError("not a plan", resource="plan.json")
        try:
            return from_json(self.plan_json)
        except RunError as exc:
            raise EvidenceError(exc.what, resource="plan.json", hint=exc.hint) from exc

    def _journal(self) -> tuple[list[Event], list[bytes]]:
        """The events, and the root of the tree after each number of lines."""
        tree, events, roots = Frontier(), list[Event](), [EMPTY_ROOT]
        for line in self.bundle.lines("journal.jsonl"):
            if not line.endswith(b"\n") or len(events) >= _LINES_MAX:
                raise EvidenceError("a line without an end, or too many", resource="journal.jsonl")
            events.append(_event(line[:-1], len(events)))
            tree.append(line[:-1])
            roots.append(tree.root())
        return events, roots

    def _checkpoints(self) -> Iterator[Signed]:
        names = self.bundle.names("checkpoints")
        for name in names:
            match = _CHECKPOINT.fullmatch(name)
            if match is None:
                if name.endswith(".tsr") and name.removesuffix(".tsr") + ".txt" in names:
                    continue
                raise EvidenceError("neither a checkpoint nor the timestamp of one", resource=name)
            data = self.bundle.read(name, NOTE_MAX_BYTES)
            note = parse_note(data, name)
            token = name.removesuffix(".txt") + ".tsr"
            stamp = self.bundle.read(token, _TOKEN_MAX) if self.bundle.has(token) else None
            point = parse_checkpoint(note.text, name)
            if point.size != int(match[2]):
                raise EvidenceError("its name says another size than its text", resource=name)
            yield Signed(int(match[1]), name, data, note, point, stamp)

    def named(self, *names: str) -> list[Event]:
        """The events of these names, in order."""
        return [event for event in self.events if event.name in names]

    def last(self, *names: str) -> Event | None:
        """The last event of these names."""
        return next((event for event in reversed(self.events) if event.name in names), None)

    @cached_property
    def head(self) -> Checkpoint:
        """The newest checkpoint. Raises EvidenceError where there is none."""
        if not self.checkpoints:
            raise EvidenceError("there is no checkpoint", resource="checkpoints")
        return max(self.checkpoints, key=lambda signed: signed.number).checkpoint

    def by_step(self, uses: Sequence[str]) -> frozenset[str]:
        """The ids of the plan's steps that use one of these actions."""
        return frozenset(step.id for step in self.plan.playbook.steps if step.uses in uses)


def _model(cls: type[T], data: bytes, name: str) -> T:
    strict.load(data, name, max_bytes=_DOCUMENT_MAX)
    try:
        return codec.load(cls, data, name)
    except RunError as exc:
        raise EvidenceError(exc.what, resource=name, hint=exc.hint) from exc


def _event(leaf: bytes, number: int) -> Event:
    resource = f"journal.jsonl, line {number + 1}"
    found = strict.load(leaf, resource, max_bytes=_LINE_MAX)
    if not isinstance(found, dict) or not set(_EVENT) <= set(found):
        raise EvidenceError("not an event", resource=resource)
    n, utc, session, name = (found[field] for field in ("n", "utc", "session", "event"))
    if n != number or isinstance(n, bool) or not isinstance(utc, str) or not isinstance(name, str):
        raise EvidenceError("not the next event", resource=resource)
    try:
        parse_utc(utc)
        if rfc8785.dumps(found) != leaf:
            raise EvidenceError("not canonical JSON (RFC 8785)", resource=resource)
    except (ValueError, rfc8785.CanonicalizationError) as exc:
        raise EvidenceError(f"not an event: {exc}", resource=resource) from exc
    event = Event(number, name, 0, utc, strict.whole(session, resource), found)
    elapsed = event.number("elapsed_ns")
    if elapsed is None:
        raise EvidenceError("says no drill time", resource=resource)
    return Event(number, name, elapsed, utc, event.session, found)
