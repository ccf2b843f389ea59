"""What a verification found: one row a check, in order. A check that could not be made is a row with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography.x509 import Certificate

from exitdrill.evidence.publickey import PublicKey

__all__ = ["Given", "Report", "Result", "Row", "Unchecked"]


class Result(StrEnum):
    """How a check ended."""

    CHECKED = "checked"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Row:
    """One check."""

    id: str
    """Stable from version to version: ``index``, ``journal``, ``rta`` …"""
    what: str
    """What was to be shown, for people."""
    result: Result
    said: str
    """What was found, or why not. May hold text from the bundle: to be made safe by whoever prints it."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What a check returns that cannot be made."""

    why: str


@dataclass(frozen=True, slots=True)
class Given:
    """What an auditor has got by other ways than the bundle."""

    keys: Sequence[PublicKey]
    """Of those who sign evidence; at least one."""
    threshold: int | None = None
    """How many must have signed; None: as many as the plan says."""
    roots: Sequence[Certificate] = ()
    """Certificates to which timestamps must lead."""
    checkpoints: Sequence[tuple[str, bytes]] = ()
    """Checkpoints kept from before: what messages call each, and its file's bytes."""
    approvers: Sequence[PublicKey] = ()
    """Of those who approve steps."""


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, and what the bundle says it is: to be believed as far as no row failed."""

    rows: tuple[Row, ...]
    run: str = ""
    drill: str = ""
    judgement: str = ""
    rta_seconds: float | None = None
    keys: tuple[str, ...] = ()
    """The ids of the given keys that signed the index."""

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(row.result is Result.FAILED for row in self.rows)
