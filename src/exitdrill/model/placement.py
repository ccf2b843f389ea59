"""How an asset's place stands against the drill's policy: one line an asset, place, rule and fact."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

__all__ = ["PlacementRecord", "Placing", "WaiverRecord"]


class Placing(StrEnum):
    """How one fact of a place answers one rule."""

    HOLDS = "holds"
    BREACHED = "breached"
    WAIVED = "waived"
    """Breached, and a named person accepted that until a date that has not passed."""
    UNKNOWN = "unknown"
    """The drill does not state the fact."""


@dataclass(frozen=True, slots=True)
class WaiverRecord:
    """Who accepted a breach, why, and until when."""

    by: str
    reason: str
    until: date
    """The last day on which it counts (UTC)."""
    expired: bool
    """On the day the drill was declared it was past."""


@dataclass(frozen=True, slots=True)
class PlacementRecord:
    """One requirement of one rule, for one asset at one place."""

    asset: str
    classification: str
    place: str
    role: str
    """``source``, ``vault`` or ``target``."""
    rule: str
    """The rule's id in the policy."""
    fact: str
    """``jurisdiction``, ``ownership``, ``SEAL`` or ``certifications``."""
    asked: str
    """What the rule asks for, for people."""
    found: str
    """What the drill states of the place, for people."""
    result: Placing
    waiver: WaiverRecord | None = None
