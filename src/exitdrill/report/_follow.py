"""Where assets are against the policy, and what became of the previous run's findings."""

from exitdrill.model.findings import Comparison, Finding, FollowUp
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.report._document import Block, Facts, Note, Table, Tone
from exitdrill.report.language import Language

__all__ = ["followed", "placing", "terms"]


def placing(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Facts of the places, and a line for each requirement; nothing where the drill states and asks for nothing."""
    say = language.say
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
        headers = (say("place"), say("law"), say("legal entity"), say("owner"), "SEAL", say("certified for"))
        blocks.append(Table(headers, rows, caption=say("Facts of places, as the drill states them")))
    if record.placements:
        lines = tuple(
            (
                line.asset,
                language.word(line.classification),
                f"{line.place} ({language.word(line.role)})",
                f"{line.rule}: {line.fact}",
                line.asked,
                line.found,
                language.word(line.result)
                + (
                    say(" until {day} by {name}", day=str(line.waiver.until), name=line.waiver.by)
                    if line.waiver
                    else ""
                ),
            )
            for line in record.placements
        )
        asked = (
            say("asset"),
            say("classification"),
            say("place"),
            say("rule"),
            say("asked"),
            say("found"),
            say("result"),
        )
        blocks.append(Table(asked, lines, caption=say("What the policy asks, and what was found")))
    return tuple(blocks)


def terms(finding: Finding, language: Language) -> tuple[str, ...]:
    """Who is to put it right, until when, and how old it is; nothing where nothing is set."""
    say = language.say
    parts = [say("owner {name}", name=finding.owner)] if finding.owner else []
    parts += [say("due {day}", day=language.day(finding.due.isoformat()))] if finding.due else []
    parts += [say("set by {name}", name=finding.set_by)] if finding.set_by else []
    parts += [say("since run {run}", run=finding.since)] if finding.since else []
    return (", ".join(parts),) if parts else ()


def followed(comparison: Comparison, verdict: Verdict, language: Language) -> tuple[Block, ...]:
    """The previous run's findings and what became of them."""
    say = language.say
    new = [one.id for one in verdict.findings if one.since == verdict.run_id]
    same = say("the same") if comparison.same_plan else say("another: what is not asked is not found")
    digest = comparison.previous_verdict_sha256
    facts = Facts(
        (
            (say("previous run"), comparison.previous_run),
            (say("its verdict"), f"SHA-256 {digest}" if digest else say("not believed")),
            (say("its plan"), same),
            (say("new in this run"), ", ".join(new) or say("nothing")),
        )
    )
    if not comparison.items:
        return (facts, Note(say("It left nothing open."), Tone.GOOD))
    rows = tuple(_row(item, language) for item in comparison.items)
    headers = (
        say("what became of it"), say("severity"), say("subject"), say("owner"), say("due"), say("finding")
    )  # fmt: skip
    return (facts, Table(headers, rows, caption=say("What became of the previous run's findings")))


def _row(item: FollowUp, language: Language) -> tuple[str, ...]:
    say, one = language.say, item.earlier
    standing = language.word(str(item.standing))
    if item.overdue:
        standing = say("{standing}, overdue", standing=standing)
    text = language.recorded(one.text)
    if one.closed_by:
        text = say("{finding} (closed by {name}: {reason})", finding=text, name=one.closed_by, reason=one.closed_reason)
    due = "-" if one.due is None else language.day(one.due.isoformat())
    return (standing, language.word(one.severity.value), one.subject, one.owner or "-", due, text)
