"""Under whose law and in whose hands places are, how assets are classified, and which may be where.

The levels are those of the European Commission's Cloud Sovereignty Framework (version 1.2.1, October 2025): Sovereignty
Effectiveness Assurance Levels from 0 to 4. The framework gives a level for each of eight objectives; here a place has
one, that of its weakest objective. A level with nobody who assessed it is its owner's own word, and shown as that.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

__all__ = ["Classification", "Ownership", "Policy", "PolicyRule", "Seal", "SealLevel", "Unknown", "Waiver"]


class Classification(StrEnum):
    """What would be at stake with an asset."""

    ORDINARY = "ordinary"
    """None of the others: published data, for one."""
    SENSITIVE = "sensitive"
    """Data that must not come into others' hands."""
    ESSENTIAL = "essential"
    """A service that people cannot do without."""
    CRITICAL_INFRASTRUCTURE = "critical-infrastructure"
    """What other services and society as a whole stand on."""


class SealLevel(StrEnum):
    """A Sovereignty Effectiveness Assurance Level; what is said of each is in short, the framework says it in full."""

    SEAL_0 = "SEAL-0"
    """No sovereignty: in the hands of parties outside the Union."""
    SEAL_1 = "SEAL-1"
    """Jurisdictional: the Union's law applies in form, and is hard to enforce."""
    SEAL_2 = "SEAL-2"
    """Data: the Union's law applies and can be enforced; material dependencies on others remain."""
    SEAL_3 = "SEAL-3"
    """Digital resilience: parties of the Union have the say; others have little."""
    SEAL_4 = "SEAL-4"
    """Full digital sovereignty: all of it in the Union's hands."""

    @property
    def rank(self) -> int:
        """0 for the lowest."""
        return list(SealLevel).index(self)


@dataclass(frozen=True, slots=True)
class Seal:
    """The level of a place, and by whose word."""

    level: SealLevel
    assessed_by: str | None = None
    """Who assessed it; None: it is declared."""
    assessed_on: date | None = None
    reference: str | None = None
    """Where the assessment can be read."""

    def __str__(self) -> str:
        """For people: a level is never shown without by whose word it is."""
        if self.assessed_by is None:
            return f"{self.level}, declared, assessed by nobody"
        when = f" on {self.assessed_on}" if self.assessed_on else ""
        where = f" ({self.reference})" if self.reference else ""
        return f"{self.level}, assessed by {self.assessed_by}{when}{where}"


@dataclass(frozen=True, slots=True)
class Ownership:
    """In whose hands a provider is."""

    owner: str
    jurisdiction: str
    """Of the owner."""
    controller: str | None = None
    """Who has the last word over the owner; None: the owner itself."""
    controller_jurisdiction: str | None = None

    @property
    def jurisdictions(self) -> tuple[str, ...]:
        """The owner's, and the controller's if that is another."""
        return (self.jurisdiction, *([self.controller_jurisdiction] if self.controller_jurisdiction else []))

    def __str__(self) -> str:
        """For people."""
        owner = f"{self.owner} ({self.jurisdiction})"
        if self.controller is None:
            return owner
        return f"{owner}, controlled by {self.controller} ({self.controller_jurisdiction})"


class Unknown(StrEnum):
    """What a policy makes of a fact that the drill does not state."""

    WARN = "warn"
    REFUSE = "refuse"
    """As a breach."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """What places must be to hold certain assets in certain roles. What is left empty is not asked for."""

    id: str
    why: str
    classifications: tuple[Classification, ...]
    """To which assets it applies."""
    roles: tuple[str, ...]
    """To which places it applies: ``source``, ``vault``, ``target``."""
    jurisdictions: tuple[str, ...] = ()
    """One of these must be the place's."""
    ownership: tuple[str, ...] = ()
    """The owner's jurisdiction, and the controller's, must be among these."""
    seal: SealLevel | None = None
    """The lowest level."""
    assessed: bool = False
    """A level that is only declared does not count."""
    certifications: tuple[str, ...] = ()
    """All of these."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which places may hold what. What no rule speaks of is allowed."""

    name: str
    rules: tuple[PolicyRule, ...]
    description: str = ""
    unknown: Unknown = Unknown.WARN


@dataclass(frozen=True, slots=True)
class Waiver:
    """A breach that a named person accepts for a while."""

    asset: str
    place: str
    rule: str
    by: str
    reason: str
    until: date
    """The last day on which it counts (UTC)."""
