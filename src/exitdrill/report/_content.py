"""What a report says, in which order: verdict first, then the proof, then what to do. Formats draw it."""

from collections.abc import Mapping

from exitdrill.model.record import RunRecord, RunStatus
from exitdrill.model.verdict import Judgement, Severity, Verdict
from exitdrill.plan.drill import DrillPlan, Mode
from exitdrill.report import _clauses, _drill, _follow, _movement, _proof, _throughput
from exitdrill.report._document import Document, Figure, Section, Tone
from exitdrill.report._scope import rehearsed
from exitdrill.report.language import ENGLISH, Language

__all__ = ["content"]

_TONES = {Judgement.MET: Tone.GOOD, Judgement.MISSED: Tone.WARN, Judgement.FAILED: Tone.BAD}


def content(
    plan: DrillPlan,
    record: RunRecord,
    verdict: Verdict,
    language: Language = ENGLISH,
    files: Mapping[str, str] | None = None,
) -> Document:
    """The report on one run.

    Args:
        plan: What was to be done.
        record: What was measured.
        verdict: How it is judged.
        language: What the report is written in.
        files: SHA-256 in hexadecimal of the files it is drawn from, by name; None where they are not at hand.
    """
    say = language.say
    sections = (
        Section(say("The drill"), tuple(_drill.drill(plan, record, verdict, language)), "drill"),
        Section(say("Objectives"), (_proof.objectives(verdict, language),), "objectives"),
        Section(say("Timeline"), _movement.timeline(plan, record, language), "timeline"),
        Section(say("Where the time went"), _movement.spent(plan, record, language), "time"),
        Section(say("Throughput over time"), _throughput.trends(record, language), "throughput"),
        Section(say("Both legs"), _movement.legs(record, language), "legs"),
        Section(say("Volumes"), _movement.volumes(record, language), "volumes"),
        Section(say("Integrity"), _proof.funnel(plan, record, language), "integrity"),
        Section(say("Exceptions"), _proof.exceptions(record, language), "exceptions"),
        Section(say("Metadata that was not kept"), _proof.losses(record, language), "metadata"),
        Section(say("Severance"), _proof.severance(record, language), "severance"),
        Section(
            say("Places and their law"),
            (*_drill.jurisdictions(plan, record, language), *_follow.placing(record, language)),
            "places",
        ),
        Section(say("Findings"), _proof.findings(verdict, language), "findings"),
        *_followed(verdict, language),
        Section(say("Teardown"), _proof.teardown(record, language), "teardown"),
        Section(say("Clause coverage"), _clauses.coverage(plan, record, verdict, language), "clauses"),
        Section(say("How to check this report"), _drill.checking(plan, record, language, files or {}), "check"),
        Section(say("How to look further"), (_drill.further(record, language),), "further"),
    )
    return Document(
        say("Cloud exit drill {name}", name=plan.name),
        language.word(verdict.judgement).upper(),
        _lead(plan, record, verdict, language),
        sections,
        _TONES.get(verdict.judgement, Tone.PLAIN),
        _summary(verdict, language),
        _caution(plan, verdict, language),
        tuple(_figures(plan, record, verdict, language)),
        record.run_id,
        language,
    )


def _followed(verdict: Verdict, language: Language) -> tuple[Section, ...]:
    if verdict.comparison is None:
        return ()
    blocks = _follow.followed(verdict.comparison, verdict, language)
    return (Section(language.say("Since the previous run"), blocks, "previous"),)


def _lead(plan: DrillPlan, record: RunRecord, verdict: Verdict, language: Language) -> str:
    parts = [plan.name]
    missing = {"RTA": language.say("not recovered"), "RPA": language.say("not measured")}
    for name, actual, asked in (
        ("RTA", verdict.rta_seconds, plan.objectives.rto),
        ("RPA", verdict.rpa_seconds, plan.objectives.rpo),
    ):
        shown = missing[name] if actual is None else language.duration(actual)
        if asked is not None:
            shown = language.say("{actual} of {asked}", actual=shown, asked=language.duration(asked.total_seconds()))
        parts.append(f"{name} {shown}")
    if record.status is not RunStatus.COMPLETED:
        parts.append(language.say("run {status}", status=language.word(record.status)))
    parts.append(_scope(plan, verdict, language))
    return "  ".join(parts)


def _scope(plan: DrillPlan, verdict: Verdict, language: Language) -> str:
    if verdict.environment == "emulator":
        return language.say("REHEARSAL ON EMULATORS")
    return {
        Mode.REHEARSAL: language.say("REHEARSAL"),
        Mode.SAMPLE: language.say("SAMPLE"),
        Mode.FULL: language.say("full drill"),
    }[plan.mode]


def _summary(verdict: Verdict, language: Language) -> str:
    return {
        Judgement.MET: language.say("Every objective of this drill was reached."),
        Judgement.MISSED: language.say("The drill was carried out, and an objective was not reached."),
        Judgement.FAILED: language.say("The drill was not carried out to the end: nothing is proven."),
        Judgement.NOT_SET: language.say("The drill sets no objective."),
    }[verdict.judgement]


def _caution(plan: DrillPlan, verdict: Verdict, language: Language) -> str:
    if rehearsed(plan, verdict):
        return language.say("This was a rehearsal: it proves the method, not the provider.")
    return language.say("A sample: it proves part of the data, not all of it.") if plan.mode is Mode.SAMPLE else ""


def _figures(plan: DrillPlan, record: RunRecord, verdict: Verdict, language: Language) -> list[Figure]:
    say = language.say
    judged = {item.objective: item.judgement for item in verdict.objectives if item.subject == "drill"}
    figures = []
    for name, objective, actual, asked, missing in (
        (say("Recovery time"), "RTO", verdict.rta_seconds, plan.objectives.rto, say("not recovered")),
        (say("Recovery point"), "RPO", verdict.rpa_seconds, plan.objectives.rpo, say("not measured")),
    ):
        shown = missing if actual is None else language.duration(actual)
        if asked is None:
            figures.append(Figure(name, shown, say("no objective set")))
            continue
        goal = asked.total_seconds()
        beside = say("of {asked} allowed", asked=language.duration(goal))
        tone = Tone.GOOD if judged.get(objective) is Judgement.MET else Tone.BAD
        share = None if actual is None or goal <= 0 else actual / goal
        figures.append(Figure(name, shown, beside, tone, share))
    listed = sum(asset.listed.objects for asset in record.assets)
    proven = sum(asset.verification.equal for asset in record.assets if asset.verification is not None)
    beside = say("of {listed} listed", listed=language.count(listed, "object"))
    whole = proven == listed and listed and verdict.judgement is not Judgement.FAILED
    figures.append(
        Figure(say("Proven at the target"), language.count(proven), beside, Tone.GOOD if whole else Tone.BAD)
    )
    critical = sum(finding.severity is Severity.CRITICAL for finding in verdict.findings)
    beside = say("{critical} critical", critical=language.number(critical))
    tone = Tone.BAD if critical else Tone.PLAIN
    figures.append(Figure(say("Findings"), language.count(len(verdict.findings)), beside, tone))
    return figures
