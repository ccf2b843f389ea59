"""The parts of a report about the drill itself: what it was, under whose law its places are, how to check and go on."""

from collections.abc import Iterator, Mapping

from exitdrill.model.record import PlaceRecord, RunRecord, RunStatus, StepStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import Asset, DrillPlan, Place
from exitdrill.report._document import Block, Facts, Note, Table, Tone
from exitdrill.report._scope import rehearsed
from exitdrill.report.language import Language

__all__ = ["checking", "drill", "further", "jurisdictions"]

_NS = 1_000_000_000


def drill(plan: DrillPlan, record: RunRecord, verdict: Verdict, language: Language) -> Iterator[Block]:
    """What was done, with which plan and program, by whom, and where."""
    say = language.say
    if rehearsed(plan, verdict):
        yield Note(say("This was a rehearsal: it proves the method, not the provider."), Tone.WARN)
    yield Facts(tuple(_facts(plan, record, verdict, language)))
    if record.places:
        headers = (say("role"), say("place"), say("connector"), say("environment"), say("law"), say("clock offset"))
        rows = tuple(_place(place, language) for place in record.places)
        yield Table(headers, rows, frozenset({5}), say("The places of this drill"))


def _facts(plan: DrillPlan, record: RunRecord, verdict: Verdict, language: Language) -> Iterator[tuple[str, str]]:
    say, word = language.say, language.word
    if plan.description:
        yield (say("about"), plan.description)
    yield (say("run"), record.run_id)
    environment = word(verdict.environment)
    yield (say("mode"), say("{mode}, environment {environment}", mode=word(plan.mode), environment=environment))
    yield (say("status"), word(record.status) + (f": {record.error}" if record.error else ""))
    yield (say("declared"), say("{moment} (the clock's start)", moment=language.moment(record.t0_utc)))
    ended = "-" if record.ended_utc is None else language.moment(record.ended_utc)
    took = language.duration(record.ended_elapsed_ns / _NS)
    yield (say("ended"), say("{moment}, after {time}", moment=ended, time=took))
    yield (say("playbook"), plan.playbook.name)
    yield (say("plan digest"), plan.digest)
    yield ("exitdrill", record.tool_version + (f", {record.orchestrator}" if record.orchestrator else ""))
    if record.sessions > 1:
        times = language.count(record.sessions - 1, "time")
        yield (say("sessions"), say("{sessions}, resumed {times}", sessions=str(record.sessions), times=times))
    approved = [say("{step} by {who}", step=s.id, who=s.approved_by) for s in record.steps if s.approved_by]
    if approved:
        yield (say("approved"), ", ".join(approved))
    ready = sum(check.ready for check in record.checks)
    of = {"ready": language.number(ready), "checks": language.count(len(record.checks), "check")}
    yield (say("preflight"), say("{ready} of {checks} ready", **of))
    for check in record.checks:
        if check.name == "inventory":
            yield (say("inventory"), f"{check.resource}: {check.found}")
    done = sum(step.status is StepStatus.DONE for step in record.steps)
    yield (say("steps"), say("{done} of {steps} done", done=str(done), steps=str(len(record.steps))))


def _place(place: PlaceRecord, language: Language) -> tuple[str, ...]:
    environment = language.word(place.environment) + (f" ({place.emulator})" if place.emulator else "")
    known = place.clock_offset_seconds
    offset = "-" if known is None else f"{language.number(known, 1, sign=True)} s"
    return (
        language.word(place.role), place.name, place.connector, environment, place.jurisdiction or "-", offset
    )  # fmt: skip


def jurisdictions(plan: DrillPlan, record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Each asset's classification, and under whose law each place that held it is. Judges nothing."""
    say = language.say
    if not plan.assets:
        return (Note(say("The drill has no assets.")),)
    recorded = {place.role: place.jurisdiction for place in record.places}
    roles = (("source", plan.source), ("vault", plan.vault), ("target", plan.target))
    laws = [_law(recorded.get(role) or place.jurisdiction, place, language) for role, place in roles]
    headers = (
        say("asset"), say("classification"), say("owner"), *(language.word(role) for role, _ in roles), say("critical")
    )  # fmt: skip
    rows = tuple(_held(asset, laws, language) for asset in plan.assets)
    blocks: list[Block] = [Table(headers, rows, caption=say("Under whose law each asset was held"))]
    missing = [place.name for role, place in roles if not (recorded.get(role) or place.jurisdiction)]
    if missing:
        places = ", ".join(missing)
        blocks.append(Note(say("No jurisdiction is declared for: {places}.", places=places), Tone.WARN))
    blocks.append(
        Note(say("Jurisdictions and classifications are what the drill declares; the program cannot check them."))
    )
    return tuple(blocks)


def _law(jurisdiction: str | None, place: Place, language: Language) -> str:
    return f"{jurisdiction or language.say('not declared')} ({place.name})"


def _held(asset: Asset, laws: list[str], language: Language) -> tuple[str, ...]:
    critical = language.say("yes") if asset.critical else language.say("no")
    return (asset.name, language.word(asset.classification), asset.owner or "-", *laws, critical)


def checking(
    plan: DrillPlan, record: RunRecord, language: Language, files: Mapping[str, str]
) -> tuple[Block, ...]:  # fmt: skip
    """What this report rests on, and how to see that it says what was measured."""
    say = language.say
    rows = [(say("plan digest"), plan.digest), *((name, f"SHA-256 {digest}") for name, digest in sorted(files.items()))]
    if record.plan_digest != plan.digest:
        rows.append((say("record's plan"), say("{digest}: ANOTHER PLAN", digest=record.plan_digest)))
    steps = [
        say("It is drawn from plan.json, record.json and verdict.json in the run's directory, and from nothing else."),
        say("The same files give the same report: exitdrill report {run} --format html makes it again, byte for byte.",
            run=record.run_id),
        say("Each line of journal.jsonl was written before the act it announces; the line closed has the SHA-256 of "
            "record.json and verdict.json, and signed checkpoints cover it."),
        say("This page by itself is no proof: whoever holds the files can compare, and the files must be had from "
            "somebody who is trusted, or come with signatures."),
    ]  # fmt: skip
    if files:
        steps.insert(1, say("sha256sum, run in that directory, must print the digests above."))
    return (Facts(tuple(rows)), *(Note(step) for step in steps))


def further(record: RunRecord, language: Language) -> Block:
    """Commands and files."""
    say = language.say
    rows = [
        (say("this run again"), f"exitdrill show {record.run_id}"),
        (say("for programs"), f"exitdrill report {record.run_id} --format json"),
        (say("facts, judgement"), say("record.json and verdict.json in the run's directory")),
        (say("every decision"), say("journal.jsonl in the run's directory")),
        (say("every object"), say("the Parquet files under ledger/ in the run's directory")),
    ]
    if record.status is not RunStatus.COMPLETED:
        rows.insert(0, (say("go on with it"), f"exitdrill resume {record.run_id}"))
    if record.teardown is None or record.teardown.kept or record.teardown.left:
        rows.append((say("clean up"), f"exitdrill teardown {record.run_id}"))
    return Facts(tuple(rows))
