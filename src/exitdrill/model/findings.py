"""What a person must know of a run, what is to be done about it, and what became of it by the next run.

A finding is known again by its fingerprint: of what kind it is and what it is about. Numbers, texts and severities are
not in it, because they differ from run to run.
"""

import json
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from hashlib import sha256

__all__ = [
    "BY_PERSON",
    "UNFOLLOWED",
    "Comparison",
    "EarlierFinding",
    "Finding",
    "FollowUp",
    "PreviousRun",
    "Severity",
    "Standing",
    "fingerprint",
]

BY_PERSON = "by-person"
"""The code of findings that people add."""

UNFOLLOWED = ("overdue", "addition-refused")
"""Codes of warnings about other findings, which are not followed into the next run themselves."""

_DIGITS = 16


class Severity(StrEnum):
    """How much a finding matters."""

    CRITICAL = "critical"
    """Something is lost, altered, or unproven."""
    WARNING = "warning"
    """Needs a person's eye."""
    NOTE = "note"


def fingerprint(code: str, subject: str, about: str = "") -> str:
    """By which a finding is known again: 16 hexadecimal digits.

    Args:
        code: The kind of finding.
        subject: ``drill``, a place or an asset.
        about: What of it, where a subject can have several of a kind.
    """
    return sha256(json.dumps([code, subject, about]).encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person must know, with what to do."""

    id: str
    """Stable within a verdict: ``F001`` …"""
    severity: Severity
    subject: str
    """``drill``, a place or an asset."""
    text: str
    remedy: str
    keys: tuple[str, ...] = ()
    """The objects concerned, the first of them."""
    code: str = ""
    """Of what kind it is: the same in every run."""
    fingerprint: str = ""
    """By which it is known again in other runs."""
    owner: str | None = None
    """Who is to put it right."""
    due: date | None = None
    """Until when."""
    since: str = ""
    """The run that found it first, of those that followed one another without a run that was free of it."""
    set_by: str = ""
    """Who set owner and date; empty: they follow from the drill."""


@dataclass(frozen=True, slots=True)
class EarlierFinding:
    """A finding of the previous run, or one that run had not done with, as it stood when this run was declared."""

    fingerprint: str
    code: str
    severity: Severity
    subject: str
    text: str
    remedy: str
    since: str
    """The run that found it first."""
    owner: str | None = None
    due: date | None = None
    set_by: str = ""
    """Who added it, or set owner and date."""
    closed_by: str = ""
    """Who closed it; empty: nobody."""
    closed_reason: str = ""


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """The run of the same drill before this one, and what it left open."""

    run_id: str
    verdict_sha256: str
    """Of its ``verdict.json``."""
    findings: tuple[EarlierFinding, ...] = ()
    refused: tuple[str, ...] = ()
    """What people had added to it, and was not believed: the file and why."""
    plan_digest: str = ""
    """Of its plan."""


class Standing(StrEnum):
    """What became of an earlier finding."""

    OPEN_AGAIN = "open again"
    """This run found it, too."""
    CLOSED = "closed"
    """This run looked and did not find it; or a person closed it."""
    STILL_OPEN = "still open"
    """A person added it, and nobody has closed it."""
    NOT_JUDGED = "not judged"
    """This run failed, or does not look any more: that it is not among the findings says nothing."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One earlier finding, and what became of it."""

    earlier: EarlierFinding
    standing: Standing
    overdue: bool = False
    """It is open, and its date was past when this run was declared."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The findings of the previous run of the same drill against those of this one."""

    previous_run: str
    previous_verdict_sha256: str
    items: tuple[FollowUp, ...] = ()
    same_plan: bool = False
    """Both runs had one and the same plan; else one may have asked for less, and found less."""
