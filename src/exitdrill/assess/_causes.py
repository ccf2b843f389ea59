"""Why a drill proves nothing at all, each cause a critical finding."""

from exitdrill.assess._common import DRILL, finding
from exitdrill.model.record import RunRecord, RunStatus, StepRecord, StepStatus
from exitdrill.model.verdict import Finding, Severity
from exitdrill.plan.drill import DrillPlan, Mode

__all__ = ["emulated", "failures", "fatal", "final_steps"]

_ENDS = {
    RunStatus.STOPPED: ("the run was stopped before its end", "exitdrill resume {run}: the clock has run on"),
    RunStatus.FAILED: ("the run failed", "put the cause right, then exitdrill resume {run} or run the drill again"),
    RunStatus.RUNNING: (
        "the run has not ended, or its process was lost",
        "wait for it; if no process is at work on it any more, exitdrill resume {run}",
    ),
}


def failures(plan: DrillPlan, record: RunRecord) -> list[Finding]:
    """Every cause; empty when the record can be judged."""
    causes = []
    if record.status in _ENDS:
        what, remedy = _ENDS[record.status]
        text = f"{what}: {record.error}" if record.error else what
        causes.append(("run-incomplete", "", f"{text}; nothing is proven", remedy.format(run=record.run_id)))
    else:
        causes += [
            (
                "critical-step",
                step.id,
                f"critical step {step.id!r} ended as {step.status}, in a run that says it completed",
                "run the drill again",
            )
            for step in final_steps(record)
            if step.status is not StepStatus.DONE and fatal(plan, step)
        ]
    if record.plan_digest != plan.digest:
        text = f"the record was made with another plan ({record.plan_digest[:16]}, not {plan.digest[:16]})"
        causes.append(("another-plan", "", text, "judge it against the plan in the run's own directory"))
    if plan.mode is Mode.FULL and emulated(plan, record):
        text = "the drill says mode full, and a place is an emulator: a rehearsal does not pass for a real drill"
        causes.append(("emulator-in-full", "", text, "set mode: rehearsal, or name real places"))
    return [finding(code, Severity.CRITICAL, DRILL, text, remedy, about=about) for code, about, text, remedy in causes]


def emulated(plan: DrillPlan, record: RunRecord) -> bool:
    """Whether any place of the route is an emulator, by the plan or by what the run found."""
    declared = any(place.emulator is not None for place in (plan.source, plan.vault, plan.target))
    return declared or any(place.environment == "emulator" or place.emulator for place in record.places)


def final_steps(record: RunRecord) -> tuple[StepRecord, ...]:
    """How each step ended for each asset: after a resume the later record counts."""
    return tuple({(step.phase, step.id, step.asset): step for step in record.steps}.values())


def fatal(plan: DrillPlan, step: StepRecord) -> bool:
    """Whether the drill cannot do without this step."""
    light = {asset.name for asset in plan.assets if not asset.critical}
    critical = {item.id for item in plan.playbook.steps if item.critical}
    return step.id in critical and step.asset not in light
