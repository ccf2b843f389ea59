"""The parts of a report that prove: objectives, integrity, exceptions, losses, the cut, findings, teardown."""

from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, Attempt, LegRecord, ManifestRoots, RunRecord
from exitdrill.model.verdict import Finding, Judgement, Severity, Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report import _follow
from exitdrill.report._document import Block, Facts, Funnel, Item, Items, Key, Mark, Note, Part, Picture, Table, Tone
from exitdrill.report.language import Language

__all__ = ["exceptions", "findings", "funnel", "losses", "objectives", "severance", "teardown"]

_NS = 1_000_000_000
_EXCEPTIONS = 20
"""How many exceptions an asset shows; the record and the ledger have the rest."""
_FUNNELS = 60
_TONES = {Judgement.MET: Tone.GOOD, Judgement.MISSED: Tone.BAD, Judgement.FAILED: Tone.BAD}
_GRAVITY = {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN, Severity.NOTE: Tone.PLAIN}


def objectives(verdict: Verdict, language: Language) -> Block:
    """What was asked and what was measured."""
    say = language.say
    rows = tuple(
        (
            language.word(item.subject) if item.subject == "drill" else item.subject,
            language.word(item.objective),
            language.recorded(item.target),
            language.recorded(item.actual),
            Mark(language.word(item.judgement).upper(), _TONES.get(item.judgement, Tone.PLAIN)),
        )
        for item in verdict.objectives
    )
    headers = (say("subject"), say("objective"), say("asked"), say("measured"), say("judgement"))
    return Table(headers, rows, caption=say("Objectives, asked and measured"))


def funnel(plan: DrillPlan, record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Listed, evacuated, rebuilt, verified, re-read: how many objects are left at each stage."""
    say = language.say
    if not record.assets:
        return (Note(say("No asset was recorded.")),)
    levels = {asset.name: language.word(asset.verify) for asset in plan.assets}
    headers = (say("asset"), say("listed"), say("evacuated"), say("rebuilt"), say("verified"), say("re-read"))
    rows = tuple(tuple(_stages(asset, language)) for asset in record.assets)
    table = Table(headers, rows, frozenset(range(1, 6)), say("Objects left at each stage"))
    drawn = tuple(_funnel(asset, headers[1:], language) for asset in record.assets[:_FUNNELS])
    says = say("How many of the objects listed at the source were left at each stage.")
    facts = tuple((asset.name, _verified(asset, levels.get(asset.name, "-"), language)) for asset in record.assets)
    picture = Picture(say("From the listing to the proof"), says, drawn, table)
    return (picture, Facts(facts), *_roots(record, language))


def _roots(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Whether anything was lost or altered, in one line an asset."""
    rows = tuple((asset.name, _same(asset.roots, language)) for asset in record.assets if asset.roots is not None)
    if not rows:
        return ()
    said = language.say("Manifest roots, over key, size, SHA-256 and metadata of every object:")
    return (Note(said), Facts(rows))


def _same(roots: ManifestRoots, language: Language) -> str:
    say = language.say
    if roots.same:
        objects = language.count(roots.source.objects, "object")
        return say(
            "source, vault and target: the same root {root} ({objects})", root=roots.source.root, objects=objects
        )
    places = (("source", roots.source), ("vault", roots.vault), ("target", roots.target))
    texts = [
        f"{language.word(name)} {root.root} ({language.count(root.objects, 'object')})"
        if root.root
        else say("{place} none, {why}", place=language.word(name), why=root.why_not)
        for name, root in places
    ]
    known = {root.root for _, root in places if root.root}
    said = "; ".join(texts)
    return say("DIFFERENT: {roots}", roots=said) if len(known) > 1 else said


def _stages(asset: AssetRecord, language: Language) -> list[str]:
    checked = asset.verification
    proven = "-" if checked is None else language.count(checked.equal)
    reread = "-" if checked is None else language.count(checked.reread_objects)
    listed = f"{language.count(asset.listed.objects)} ({language.size(asset.listed.size_bytes)})"
    return [asset.name, listed, _brought(asset.evacuate, language), _brought(asset.rebuild, language), proven, reread]


def _brought(leg: LegRecord, language: Language) -> str:
    copied = leg.outcomes.get(Outcome.COPIED)
    return "0" if copied is None else f"{language.count(copied.objects)} ({language.size(copied.size_bytes)})"


def _funnel(asset: AssetRecord, names: tuple[str, ...], language: Language) -> Funnel:
    listed, checked = asset.listed.objects, asset.verification
    numbers = [listed, *(_copied(leg) for leg in (asset.evacuate, asset.rebuild))]
    numbers += [checked.equal, checked.reread_objects] if checked else [0, 0]
    stages = tuple(
        Part(name, min(1.0, number / listed) if listed else 0.0, language.count(number))
        for name, number in zip(names, numbers, strict=True)
    )
    return Funnel(asset.name, stages, Tone.GOOD if all(n == listed for n in numbers[:4]) else Tone.BAD)


def _copied(leg: LegRecord) -> int:
    copied = leg.outcomes.get(Outcome.COPIED)
    return 0 if copied is None else copied.objects


def _verified(asset: AssetRecord, level: str, language: Language) -> str:
    say, number, checked = language.say, language.number, asset.verification
    if checked is None:
        return say("level asked for {level}, not verified", level=level)
    by = ", ".join(f"{kind} {number(n)}" for kind, n in sorted(checked.attested_by.items())) or say("nothing")
    text = say(
        "level asked for {level}, carried out {done}; attested by {by}; re-read {objects}, {size}; ",
        level=level, done=language.word(checked.level), by=by,
        objects=language.count(checked.reread_objects, "object"), size=language.size(checked.reread_bytes),
    )  # fmt: skip
    return text + say(
        "{different} different, {missing} missing, {extra} extra, {unattested} unattested",
        different=number(checked.different), missing=number(checked.missing), extra=number(checked.extra),
        unattested=number(checked.unattested),
    )  # fmt: skip


def exceptions(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """The first objects of each asset that did not go the plain way."""
    items = []
    for asset in record.assets:
        if not asset.exceptions_total and not asset.exceptions:
            continue
        shown = asset.exceptions[:_EXCEPTIONS]
        keys = tuple(
            (
                Key(mishap.key),
                f"{language.word(mishap.problem)} ({language.word(mishap.where)})"
                + (f": {mishap.detail}" if mishap.detail else ""),
            )
            for mishap in shown
        )
        total = max(asset.exceptions_total, len(asset.exceptions))
        left = language.number(total - len(shown))
        more = (language.say("{more} more are in the run's directory", more=left),) if total > len(shown) else ()
        items.append(Item(f"{asset.name}: {language.count(total, 'exception')}", more, keys, Tone.WARN))
    return (
        (Items(tuple(items)),) if items else (Note(language.say("None: every object went the plain way."), Tone.GOOD),)
    )


def losses(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """What the target could not hold."""
    say = language.say
    rows = tuple(
        (asset.name, loss.field, language.count(loss.objects), loss.reason, Key(loss.example_key))
        for asset in record.assets
        for loss in asset.losses
    )
    if not rows:
        return (Note(say("Nothing reported lost."), Tone.GOOD),)
    headers = (say("asset"), say("field"), say("objects"), say("reason"), say("example"))
    return (Table(headers, rows, frozenset({2}), say("What the target could not hold")),)


def severance(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """The cut, and the proof of it."""
    say, cut = language.say, record.severance
    if cut is None:
        return (Note(say("The source was not severed."), Tone.WARN),)
    rows = [
        (say("cut"), _into(language.moment(cut.severed_utc), cut.severed_elapsed_ns, language)),
        (say("holds"), say("yes, the probe was refused") if cut.holds else say("NOT PROVEN")),
        *_refused(cut.probed, cut.refused, cut.removed_variables, language),
    ]
    others = [attempt for attempt in cut.attempts if attempt.during != "probe"]
    rows += [
        (
            say("attempt to reach it"),
            say("{tried}, during {leg}", tried=_tried(item, language), leg=language.word(item.during)),
        )
        for item in others
    ]
    if not others:
        rows.append((say("other attempts"), say("none")))
    return (Facts(tuple(rows)), *_early_cut(record, language))


def _into(moment: str, elapsed_ns: int, language: Language) -> str:
    return language.say("{moment}, {time} into the drill", moment=moment, time=language.duration(elapsed_ns / _NS))


def _tried(item: Attempt, language: Language) -> str:
    return f"{item.address}, {language.count(item.count, 'time')}"


def _refused(
    probed: tuple[str, ...], refused: tuple[str, ...], removed: tuple[str, ...], language: Language
) -> list[tuple[str, str]]:
    say = language.say
    return [
        (say("probed"), ", ".join(probed) or say("nothing")),
        (say("refused from then on"), ", ".join(refused) or say("nothing")),
        (say("taken away"), ", ".join(removed) or say("no environment variables")),
    ]


def _early_cut(record: RunRecord, language: Language) -> tuple[Block, ...]:
    say, cut = language.say, record.early_cut
    if cut is None:
        return ()
    held = say("yes, the probe was refused while others reached the source")
    rows = [
        (say("early cut"), _into(language.moment(cut.cut_utc), cut.cut_elapsed_ns, language)),
        (say("holds"), held if cut.holds else say("NOT PROVEN")),
        *_refused(cut.probed, cut.refused, cut.removed_variables, language),
        (say("attempts"), ", ".join(_tried(item, language) for item in cut.attempts) or say("none")),
    ]
    return (Note(say("The workers that rebuilt before the cut were cut off by themselves:")), Facts(tuple(rows)))


def findings(verdict: Verdict, language: Language) -> tuple[Block, ...]:
    """What a person must know, and what to do."""
    say = language.say
    if not verdict.findings:
        return (Note(say("None."), Tone.GOOD),)
    items = tuple(_finding(finding, language) for finding in verdict.findings)
    if language.english or not any(item.recorded for item in items):
        return (Items(items),)
    return (Note(say("Some findings stand as they were recorded, in English.")), Items(items))


def _finding(finding: Finding, language: Language) -> Item:
    text, remedy = language.recorded(finding.text), language.recorded(finding.remedy)
    subject = language.word(finding.subject) if finding.subject == "drill" else finding.subject
    return Item(
        f"{finding.id} {language.word(finding.severity).upper()} {subject}: {text}",
        (
            *((language.say("What to do: {remedy}", remedy=remedy),) if remedy else ()),
            *_follow.terms(finding, language),
        ),
        tuple((Key(key), "") for key in finding.keys),
        _GRAVITY[finding.severity],
        recorded=text == finding.text,
    )


def teardown(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """What was taken away, and what is left."""
    say, done = language.say, record.teardown
    if done is None:
        return (Note(say("Not carried out: what the run made is still there."), Tone.WARN),)
    outcome = say("kept, as asked") if done.kept else say("complete") if done.complete else say("NOT COMPLETE")
    rows = [
        (say("outcome"), outcome),
        (say("deleted"), language.count(done.deleted_objects, "object")),
        (say("removed"), ", ".join(done.removed_containers) or say("no containers")),
    ]
    rows += [(say("left"), left) for left in done.left] or [(say("left"), say("nothing") if done.complete else "-")]
    return (Facts(tuple(rows)),)
