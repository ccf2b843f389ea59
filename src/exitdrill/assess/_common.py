"""What the rules share: a judged objective, finding makers, the drill's recovery time."""

from collections.abc import Sequence
from dataclasses import dataclass

from exitdrill.model.findings import fingerprint
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Finding, ObjectiveResult, Severity
from exitdrill.plan.drill import Asset, DrillPlan

__all__ = ["DRILL", "Judged", "drill_rta_ns", "finding", "gravity", "has_step", "weighty"]

DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Judged:
    """One objective, and the findings that explain its judgement."""

    result: ObjectiveResult
    findings: tuple[Finding, ...] = ()
    breach: bool = False
    """The program's own accounting does not add up: weighs even for a non-critical asset."""


def finding(
    code: str, severity: Severity, subject: str, text: str, remedy: str, keys: Sequence[str] = (), about: str = ""
) -> Finding:
    """A finding that has no number yet; ``about`` tells those of a kind and subject apart, the same in every run."""
    return Finding("", severity, subject, text, remedy, tuple(keys), code, fingerprint(code, subject, about))


def gravity(asset: Asset) -> Severity:
    """How much it matters when this asset loses something."""
    return Severity.CRITICAL if asset.critical else Severity.WARNING


def weighty(plan: DrillPlan) -> tuple[Asset, ...]:
    """The assets that decide about the drill: the critical ones, or all if none is."""
    return tuple(asset for asset in plan.assets if asset.critical) or plan.assets


def drill_rta_ns(plan: DrillPlan, record: RunRecord) -> int | None:
    """Drill time of recovery, never before that of a critical asset; None if one is not recovered."""
    if record.recovered_elapsed_ns is None:
        return None
    recovered = {asset.name: asset.recovered_elapsed_ns for asset in record.assets}
    worst = record.recovered_elapsed_ns
    for asset in plan.assets:
        if asset.critical:
            when = recovered.get(asset.name)
            if when is None:
                return None
            worst = max(worst, when)
    return worst


def has_step(plan: DrillPlan, name: str) -> bool:
    """Whether the playbook has such a phase, step or action; ``sever`` is also found in ``source.sever``."""
    return any(
        name in (phase.name, step.id, step.uses.rpartition(".")[2])
        for phase in plan.playbook.phases
        for step in phase.steps
    )
