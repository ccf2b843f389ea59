"""What a report format is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report.language import ENGLISH, Language

__all__ = ["PLAIN", "BinaryReport", "Options", "Report"]


@dataclass(frozen=True, slots=True)
class Options:
    """What whoever asks for a report chose, or knows besides."""

    language: Language = ENGLISH
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 in hexadecimal of the run's files that it is drawn from, by name."""
    leave_out: frozenset[str] = frozenset()
    """Sections that a report in plain text does without, by their ids."""


PLAIN = Options()


class Report(Protocol):
    """Writes a drill, what it measured and how it is judged in one format."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:
        """The whole report, ending in a newline; the same for the same arguments."""


class BinaryReport(Protocol):
    """The same in a format that is no text."""

    def encode(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> bytes:
        """The whole report; the same for the same arguments."""
