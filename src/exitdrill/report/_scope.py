"""How much a run proves, as far as reports say it in more than one place."""

from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan, Mode

__all__ = ["rehearsed"]


def rehearsed(plan: DrillPlan, verdict: Verdict) -> bool:
    """Whether it proves the method only."""
    return verdict.environment == "emulator" or plan.mode is Mode.REHEARSAL
