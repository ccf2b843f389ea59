"""What the limits of a drill's places make of its forecast: how long a leg takes at least, whatever else is fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from exitdrill.connector.limits import Timetable
from exitdrill.model.human import bytes_, duration
from exitdrill.model.record import Counts
from exitdrill.plan.drill import DrillPlan, Level, Place

__all__ = ["Floor", "floor", "says"]

_ROLES = {"evacuate": ("source", "vault"), "rebuild": ("vault", "target"), "verify": ("target",)}
_ONE_REQUEST_EACH = {"evacuate": "source", "rebuild": "target"}
"""Where a leg makes at least one request an object; in a vault, small objects share one."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least a leg takes because of a limit."""

    leg: str
    seconds: float
    place: str = ""
    limit: str = ""
    """In words."""


def floor(plan: DrillPlan, leg: str, listed: Mapping[str, Counts], start: datetime) -> Floor:
    """The least that a leg of all assets together takes if it begins then: they share a place's limits.

    Args:
        plan: The drill.
        leg: ``evacuate``, ``rebuild`` or ``verify``.
        listed: Volumes by asset.
        start: UTC-aware.
    """
    assets = [a for a in plan.assets if a.name in listed and (leg != "verify" or a.verify is Level.FULL)]
    size = sum(listed[asset.name].size_bytes for asset in assets)
    objects = sum(listed[asset.name].objects for asset in assets)
    found = [Floor(leg, 0.0)]
    for role in _ROLES[leg]:
        place: Place = getattr(plan, role)
        limits = place.limits
        if limits.bandwidth:
            seconds = Timetable(limits.bandwidth, limits.timezone).seconds_for(size, start)
            rates = [line.bytes_per_second for line in limits.bandwidth]
            shown = ", ".join("unlimited" if rate is None else f"{bytes_(rate)}/s" for rate in rates)
            found.append(Floor(leg, seconds, place.name, f"bandwidth ({shown})"))
        if limits.requests_per_second and role == _ONE_REQUEST_EACH.get(leg):
            shown = f"{limits.requests_per_second:,.0f} requests a second"
            found.append(Floor(leg, objects / limits.requests_per_second, place.name, shown))
    return max(found, key=lambda one: one.seconds)


def says(plan: DrillPlan, floors: list[Floor]) -> list[str]:
    """Lines for the plan: what the limits make each leg take, and whether the RTO is out of reach because of them."""
    lines = [
        f"{one.leg} takes {duration(one.seconds)} at least, if begun now: place {one.place} is limited, {one.limit}."
        for one in floors
        if one.seconds
    ]
    rto, least = plan.objectives.rto, sum(one.seconds for one in floors)
    if rto is not None and least > rto.total_seconds():
        goal = duration(rto.total_seconds())
        lines.append(
            f"The limits put the RTO of {goal} out of reach: because of them alone the drill takes {duration(least)}."
        )
    return lines
