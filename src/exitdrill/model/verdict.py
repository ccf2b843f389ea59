"""The judgement of a record against a plan."""

from dataclasses import dataclass
from enum import StrEnum

from exitdrill.model.findings import Comparison, Finding, Severity

__all__ = ["Finding", "Judgement", "ObjectiveResult", "Severity", "Verdict"]


class Judgement(StrEnum):
    """How a drill, or one of its objectives, came out."""

    MET = "met"
    MISSED = "missed"
    """It was carried out, and an objective was not reached: a result."""
    FAILED = "failed"
    """It was not carried out to the end: nothing is proven."""
    NOT_SET = "not set"
    """The drill sets no such objective; what was measured is shown all the same."""


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """One objective, what was asked and what was measured."""

    objective: str
    """``RTO``, ``RPO``, ``completeness``, ``integrity``, ``severance``, ``teardown``, ``placement``."""
    subject: str
    """``drill`` or the asset's name."""
    target: str
    """What was asked, for people."""
    actual: str
    """What was measured, for people."""
    judgement: Judgement
    target_seconds: float | None = None
    actual_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Met or missed, per objective, with findings."""

    run_id: str
    drill: str
    judgement: Judgement
    objectives: tuple[ObjectiveResult, ...]
    findings: tuple[Finding, ...]
    rta_seconds: float | None
    """Recovery time actual of the drill; None if not recovered."""
    rpa_seconds: float | None
    """Recovery point actual of the drill: the worst of its assets; None if not measured."""
    environment: str
    """``emulator`` as soon as one place is one, else ``real``."""
    comparison: Comparison | None = None
    """With the run of the same drill before this one; None if there was none."""
    format: int = 1

    @property
    def exit_code(self) -> int:
        """0 met, 1 missed, 4 failed."""
        return {Judgement.MET: 0, Judgement.MISSED: 1}.get(self.judgement, 4)
