"""Preflight of the policy: a line for each requirement that does not simply hold, and one an asset for those that do.

A breach at the vault or the target is not ready, unless somebody waived it. A breach at the source is no obstacle: it
is what the exit is for. A waiver that has ended does not count; one that waives nothing is said.
"""

from collections.abc import Iterator

from exitdrill.assess import POLICY_CHECK
from exitdrill.model.human import count
from exitdrill.model.placement import PlacementRecord, Placing
from exitdrill.model.record import Check
from exitdrill.plan.placing import placements, superfluous
from exitdrill.playbook.run import Run

__all__ = ["policy_checks"]


def policy_checks(run: Run) -> Iterator[Check]:
    """The lines; none without a policy."""
    plan = run.plan
    lines = placements(plan, run.clock.t0_utc.date())
    for asset in plan.assets if plan.policy is not None else ():
        own = [line for line in lines if line.asset == asset.name]
        held = sum(line.result is Placing.HOLDS for line in own)
        found = f"{asset.classification}: {held:,} of {count(len(own), 'requirement')} hold"
        yield Check(POLICY_CHECK, asset.name, ready=True, found=found)
        yield from (_check(line) for line in own if line.result is not Placing.HOLDS)
    for waiver in superfluous(plan, lines):
        found = f"the waiver of {waiver.by} for rule {waiver.rule} waives nothing"
        resource = f"{waiver.asset} at {waiver.place}"
        yield Check(POLICY_CHECK, resource, ready=True, found=found, action="take it out of the drill")


def _check(line: PlacementRecord) -> Check:
    resource = f"{line.asset} at {line.place} ({line.role})"
    found = f"{line.classification}, rule {line.rule}: {line.fact} {line.found}; asked: {line.asked}"
    waiver = line.waiver
    if line.result is Placing.UNKNOWN:
        return Check(POLICY_CHECK, resource, ready=True, found=found, action=f"state the {line.fact} of {line.place}")
    if line.result is Placing.WAIVED and waiver is not None:
        action = f"waived until {waiver.until} by {waiver.by}: {waiver.reason}"
        return Check(POLICY_CHECK, resource, ready=True, found=found, action=action)
    if waiver is not None:
        found += f"; the waiver of {waiver.by} ended on {waiver.until}"
    if line.role == "source":
        return Check(POLICY_CHECK, resource, ready=True, found=found, action="no obstacle: this is why it leaves")
    action = "choose another place, or have it waived: waivers: [{asset, place, rule, by, reason, until}]"
    return Check(POLICY_CHECK, resource, ready=False, found=found, action=action)
