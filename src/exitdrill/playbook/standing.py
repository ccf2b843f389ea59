"""How the findings of a run stand now: those of its verdict, those it had not done with, and what people added since.

It is read from the run's directory, where additions are verified (`exitdrill.evidence.findings`); record and verdict
stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from exitdrill.errors import EvidenceError, RunError, UsageError
from exitdrill.evidence.findings import Addition, Kind, read_additions
from exitdrill.evidence.journal import read_journal
from exitdrill.evidence.publickey import PublicKey
from exitdrill.model import codec
from exitdrill.model.findings import BY_PERSON, UNFOLLOWED, EarlierFinding, Severity, Standing
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.plan.stored import read_plan
from exitdrill.transfer.layout import RunDirectory

__all__ = ["Findings", "Followed", "findings_of", "read_verdict"]


@dataclass(frozen=True, slots=True)
class Followed:
    """One finding, as it stands."""

    id: str
    """``F001`` of the verdict, ``P0001`` of a person, or the fingerprint of one from an earlier run."""
    finding: EarlierFinding
    key: str = ""
    """The id of the key that signed the last addition about it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of a run that are followed."""

    run_id: str
    plan: DrillPlan
    verdict_sha256: str
    items: tuple[Followed, ...]
    refused: tuple[str, ...] = ()
    """What people added that is not believed."""

    def named(self, name: str) -> Followed:
        """One of them, by id or fingerprint. Raises UsageError."""
        wanted = name.strip()
        for item in self.items:
            if wanted.upper() == item.id or wanted.lower() == item.finding.fingerprint:
                return item
        known = ", ".join(item.id for item in self.items) or "there are none"
        raise UsageError(f"no finding that is followed is called {name!r}", resource=self.run_id, expected=known)


def read_verdict(directory: RunDirectory) -> tuple[Verdict, str]:
    """A run's verdict and the SHA-256 of its file.

    Raises:
        UsageError: There is none yet.
        RunError: It cannot be read.
        EvidenceError: It is not the one with which the run closed its journal.
    """
    try:
        data = directory.verdict.read_bytes()
    except FileNotFoundError as exc:
        hint = f"exitdrill show {directory.id}; findings come with the verdict, at the end"
        raise UsageError("no verdict yet", resource=str(directory.path), hint=hint) from exc
    except OSError as exc:
        raise RunError(f"verdict.json cannot be read: {exc.strerror}", resource=str(directory.path)) from exc
    digest = sha256(data).hexdigest()
    if digest != (closed := _closed(directory)):
        what = "verdict.json is not the one with which the run closed its journal"
        raise EvidenceError(what, resource=directory.id, expected=closed or "a journal that was closed")
    return codec.load(Verdict, data, "verdict.json"), digest


def _closed(directory: RunDirectory) -> str:
    """The digest of the verdict, as the journal's last close has it."""
    found = ""
    for event in read_journal(directory.journal):
        digests = event.get("sha256") if event["event"] == "closed" else None
        if isinstance(digests, Mapping):
            found = str(digests.get("verdict.json", ""))
    return found


def findings_of(path: Path) -> Findings:
    """How the findings of a run stand.

    Args:
        path: Its directory.

    Raises:
        UsageError: It is no run's, or has no verdict yet.
        RunError: It is damaged, or of another version.
        EvidenceError: Its verdict is not the one with which it closed its journal.
    """
    directory = RunDirectory(path)
    facts = directory.facts()
    plan = read_plan(directory.plan)
    verdict, digest = read_verdict(directory)
    items = {item.finding.fingerprint: item for item in [*_carried(verdict), *_found(verdict)]}
    additions = read_additions(directory, plan.digest)
    refused = list(additions.refused)
    for addition, key in additions.believed:
        if addition.kind is not Kind.ADDED and addition.fingerprint not in items:
            refused.append(f"{addition.number:04}.json: about a finding that is not there")
            continue
        items[addition.fingerprint] = _changed(items.get(addition.fingerprint), addition, key)
    return Findings(facts.run_id, plan, digest, tuple(items.values()), tuple(refused))


def _found(verdict: Verdict) -> list[Followed]:
    """The verdict's own; of several that are about the same the first."""
    items: dict[str, Followed] = {}
    for one in verdict.findings:
        if one.severity is Severity.NOTE or one.code in UNFOLLOWED or not one.fingerprint:
            continue
        earlier = EarlierFinding(
            one.fingerprint,
            one.code,
            one.severity,
            one.subject,
            one.text,
            one.remedy,
            one.since,
            one.owner,
            one.due,
            one.set_by,
        )
        items.setdefault(one.fingerprint, Followed(one.id, earlier))
    return list(items.values())


def _carried(verdict: Verdict) -> list[Followed]:
    """What the verdict says is still open of earlier runs, without being among its own findings."""
    comparison = verdict.comparison
    open_ones = (Standing.STILL_OPEN, Standing.NOT_JUDGED)
    return [
        Followed(item.earlier.fingerprint, item.earlier)
        for item in (comparison.items if comparison else ())
        if item.standing in open_ones
    ]


def _changed(before: Followed | None, addition: Addition, key: PublicKey) -> Followed:
    if addition.kind is Kind.ADDED or before is None:
        made = EarlierFinding(
            addition.fingerprint,
            BY_PERSON,
            addition.severity,
            addition.subject,
            addition.text,
            addition.remedy,
            addition.run,
            addition.owner,
            addition.due,
            addition.by,
        )
        return Followed(f"P{addition.number:04}", made, key.id)
    if addition.kind is Kind.CLOSED:
        return replace(
            before, finding=replace(before.finding, closed_by=addition.by, closed_reason=addition.reason), key=key.id
        )
    owner, due = addition.owner or before.finding.owner, addition.due or before.finding.due
    return replace(before, finding=replace(before.finding, owner=owner, due=due, set_by=addition.by), key=key.id)
