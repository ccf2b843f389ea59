"""What a report format is."""

from typing import Protocol

from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan

__all__ = ["Report"]


class Report(Protocol):
    """Writes a drill, what it measured and how it is judged in one format."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict) -> str:
        """The whole report, ending in a newline; the same for the same arguments."""
