"""Where assets are against the policy, and what became of the previous run's findings."""

from exitdrill.model.findings import Finding, FollowUp
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.report._document import Block, Facts, Note, Section, Table

__all__ = ["followed", "placing", "terms"]


def placing(record: RunRecord) -> tuple[Section, ...]:
    """Facts of the places, and a line for each requirement; nothing where the drill states and asks for nothing."""
    blocks: list[Block] = []
    stated = [place for place in record.places if place.legal_entity or place.ownership or place.seal]
    if stated or record.placements:
        rows = tuple(
            (
                place.name,
                place.jurisdiction or "-",
                place.legal_entity or "-",
                place.ownership or "-",
                place.seal or "-",
                ", ".join(place.certifications) or "-",
            )
            for place in record.places
        )
        blocks.append(Note("Facts of places are as the drill states them."))
        blocks.append(Table(("place", "law", "legal entity", "owner", "SEAL", "certified for"), rows))
    if record.placements:
        lines = tuple(
            (
                line.asset,
                line.classification,
                f"{line.place} ({line.role})",
                f"{line.rule}: {line.fact}",
                line.asked,
                line.found,
                line.result + (f" until {line.waiver.until} by {line.waiver.by}" if line.waiver else ""),
            )
            for line in record.placements
        )
        blocks.append(Table(("asset", "classification", "place", "rule", "asked", "found", "result"), lines))
    return (Section("Places and policy", tuple(blocks)),) if blocks else ()


def terms(finding: Finding) -> tuple[str, ...]:
    """Who is to put it right, until when, and how old it is; nothing where nothing is set."""
    parts = [f"owner {finding.owner}"] if finding.owner else []
    parts += [f"due {finding.due}"] if finding.due else []
    parts += [f"set by {finding.set_by}"] if finding.set_by else []
    parts += [f"since run {finding.since}"] if finding.since else []
    return (", ".join(parts),) if parts else ()


def followed(verdict: Verdict) -> tuple[Section, ...]:
    """The previous run's findings and what became of them; nothing where this is the first run."""
    comparison = verdict.comparison
    if comparison is None:
        return ()
    new = [one.id for one in verdict.findings if one.since == verdict.run_id]
    facts = Facts(
        (
            ("previous run", comparison.previous_run),
            ("its verdict", f"SHA-256 {comparison.previous_verdict_sha256 or 'not believed'}"),
            ("its plan", "the same" if comparison.same_plan else "another: what is not asked is not found"),
            ("new in this run", ", ".join(new) or "nothing"),
        )
    )
    if not comparison.items:
        return (Section("Since the previous run", (facts, Note("It left nothing open."))),)
    rows = tuple(_row(item) for item in comparison.items)
    headers = ("what became of it", "severity", "subject", "owner", "due", "finding")
    return (Section("Since the previous run", (facts, Table(headers, rows))),)


def _row(item: FollowUp) -> tuple[str, ...]:
    one = item.earlier
    standing = f"{item.standing}, overdue" if item.overdue else str(item.standing)
    text = f"{one.text} (closed by {one.closed_by}: {one.closed_reason})" if one.closed_by else one.text
    due = "-" if one.due is None else one.due.isoformat()
    return (standing, one.severity.value, one.subject, one.owner or "-", due, text)
