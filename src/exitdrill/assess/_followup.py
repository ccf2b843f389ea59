"""What became of the previous run's findings, and who is to put this run's right until when.

Rules:

1. Notes are not followed: nothing is to be done about them.
2. An earlier finding that this run has too is open again. One that it has not is closed, if the run could tell: a run
   that failed proves nothing, and a drill without the asset, place or policy does not look: there it is not judged.
   What a person added stays open until a person closes it; what a person closed and this run found again is open again.
3. A finding that is open again keeps its date and its first run, and the owner that a person gave it; else the owner is
   the asset's. A date that nobody set follows from the drill and the day it was declared.
4. What is open past its date, on the day the run was declared, is a warning of its own. That warning is not followed.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from exitdrill.assess._common import DRILL, finding
from exitdrill.assess._placement import POLICY_CODES
from exitdrill.model.findings import (
    BY_PERSON,
    UNFOLLOWED,
    Comparison,
    EarlierFinding,
    FollowUp,
    PreviousRun,
    Standing,
)
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Finding, Severity
from exitdrill.plan.drill import DrillPlan

__all__ = ["compared", "late", "responsible"]

_OVERDUE, _REFUSED = UNFOLLOWED


def responsible(plan: DrillPlan, record: RunRecord, found: Sequence[Finding]) -> list[Finding]:
    """The findings with owner, date and first run."""
    earlier = {} if record.previous is None else {one.fingerprint: one for one in record.previous.findings}
    owners = {asset.name: asset.owner for asset in plan.assets}
    today = record.t0_utc.date()
    out = []
    for one in found:
        if one.severity is Severity.NOTE or one.code in UNFOLLOWED:
            out.append(one)
            continue
        before = earlier.get(one.fingerprint)
        allowed = plan.due.get(one.severity.value)
        due = None if allowed is None else today + allowed
        owner = owners.get(one.subject)
        if before is None:
            out.append(replace(one, owner=owner, due=due, since=record.run_id))
            continue
        if before.set_by or owner is None:
            owner = before.owner or owner
        kept = before.due or due
        out.append(replace(one, owner=owner, due=kept, since=before.since, set_by=before.set_by))
    return out


def compared(plan: DrillPlan, record: RunRecord, found: Sequence[Finding], *, judged: bool) -> Comparison | None:
    """What became of each earlier finding; None without a previous run.

    Args:
        plan: The drill.
        record: The run's.
        found: Its findings.
        judged: Whether the run could tell.
    """
    previous = record.previous
    if previous is None:
        return None
    now = {one.fingerprint for one in found if one.severity is not Severity.NOTE}
    today = record.t0_utc.date()
    items = tuple(_follow_up(one, now, today, judged=judged and _looks(plan, one)) for one in previous.findings)
    same = previous.plan_digest == record.plan_digest
    return Comparison(previous.run_id, previous.verdict_sha256, items, same)


def _looks(plan: DrillPlan, one: EarlierFinding) -> bool:
    """Whether a run of this drill could find it."""
    if one.code in POLICY_CODES and plan.policy is None:
        return False
    return one.subject in {DRILL, *plan.places, *(asset.name for asset in plan.assets)}


def _follow_up(one: EarlierFinding, now: set[str], today: date, *, judged: bool) -> FollowUp:
    if one.fingerprint in now:
        standing = Standing.OPEN_AGAIN
    elif one.closed_by:
        standing = Standing.CLOSED
    elif one.code == BY_PERSON:
        standing = Standing.STILL_OPEN
    else:
        standing = Standing.CLOSED if judged else Standing.NOT_JUDGED
    overdue = standing is not Standing.CLOSED and one.due is not None and one.due < today
    return FollowUp(one, standing, overdue)


def late(comparison: Comparison | None, previous: PreviousRun | None) -> list[Finding]:
    """A warning for each that is open past its date, and for each addition that was not believed."""
    if comparison is None or previous is None:
        return []
    found = []
    for item in comparison.items:
        if item.overdue:
            one = item.earlier
            who = f", {one.owner}" if one.owner else ""
            text = f"overdue since {one.due}{who}: {one.text} (found first in run {one.since})"
            subject, about = one.subject, one.fingerprint
            found.append(finding(_OVERDUE, Severity.WARNING, subject, text, one.remedy or "put it right", (), about))
    for refused in previous.refused:
        text = f"not believed of what run {previous.run_id} left: {refused}"
        remedy = "find out who changed it, and add it again if it is still needed"
        found.append(finding(_REFUSED, Severity.WARNING, DRILL, text, remedy, (), refused))
    return found
