"""The parts of a report that show movement: timeline, where time went, both legs, volumes."""

from collections.abc import Iterable, Iterator

from exitdrill.model.objects import Outcome
from exitdrill.model.record import LegRecord, RunRecord
from exitdrill.model.spans import Span, covered_ns
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._critical import critical_laps
from exitdrill.report._document import Bar, Block, Facts, Note, Part, Picture, Shares, Table, Timeline
from exitdrill.report._timing import LegsTiming, legs_timing
from exitdrill.report.language import Language

__all__ = ["legs", "spent", "timeline", "volumes"]

_NS = 1_000_000_000
_BARS = 60
"""A timeline longer than this shows its phases, the critical path and its longest laps."""
_DOWNTIME = "downtime"
_PHASE = "phase "


def timeline(plan: DrillPlan, record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Phases, and within them what happened, against the drill's clock."""
    say = language.say
    depths = [(lap, _depth(plan, lap.name)) for lap in record.laps]
    path = critical_laps(depths, record.recovered_elapsed_ns)
    bars = [
        Bar(language.recorded(lap.name), lap.start_elapsed_ns, lap.duration_ns, lap.waiting_ns, lap.attempts, depth,
            index in path)
        for index, (lap, depth) in enumerate(depths)
    ]  # fmt: skip
    if not bars:
        return (Note(say("No laps were recorded.")),)
    total = max([record.ended_elapsed_ns, *(bar.start_ns + bar.duration_ns for bar in bars)])
    shown = sorted(bars, key=lambda bar: (bar.depth, not bar.critical, -bar.duration_ns))[:_BARS]
    shown.sort(key=lambda bar: (bar.start_ns, bar.depth, -bar.duration_ns))
    rto = plan.objectives.rto
    rto_ns = None if rto is None else int(rto.total_seconds()) * _NS
    blocks: list[Block] = [Timeline(tuple(shown), total, record.recovered_elapsed_ns, rto_ns)]
    if len(shown) < len(bars):
        blocks.append(Note(say("{laps} not shown.", laps=language.count(len(bars) - len(shown), "shorter lap"))))
    return tuple(blocks)


def _depth(plan: DrillPlan, name: str) -> int:
    """0 for a phase and downtime, 2 for what a step did for one asset, else 1."""
    phases = {phase.name for phase in plan.playbook.phases}
    if name == _DOWNTIME or name.removeprefix(_PHASE) in phases:
        return 0
    return 2 if any(name.startswith(f"{step.id} ") for step in plan.playbook.steps) else 1


def spent(plan: DrillPlan, record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Each phase; what the time inside of them went into; and the drill's whole clock, each moment once."""
    say, duration = language.say, language.duration
    total = max(1, record.ended_elapsed_ns)
    rows = []
    for phase in plan.playbook.phases:
        laps = [lap for lap in record.laps if lap.name.removeprefix(_PHASE) == phase.name]
        if laps:
            took, waited = sum(lap.duration_ns for lap in laps), sum(lap.waiting_ns for lap in laps)
            times = (duration(took / _NS), duration(waited / _NS), language.share(took / total))
            rows.append((language.recorded(f"phase {phase.name}"), *times))
    down = sum(lap.duration_ns for lap in record.laps if lap.name == _DOWNTIME)
    if down:
        name = say("downtime (no process was at work)")
        rows.append((name, duration(down / _NS), "-", language.share(down / total)))
    blocks: list[Block] = []
    if rows:
        headers = (say("part"), say("time"), say("of it waiting"), say("share"))
        blocks.append(Table(headers, tuple(rows), frozenset({1, 2, 3}), say("Time by phase")))
    blocks += [Facts(tuple(_inside(record, language)))]
    blocks += [Note(say("Assets run side by side: parts can add up to more than the drill took."))]
    return (*blocks, *_clock(record, language))


def _inside(record: RunRecord, language: Language) -> Iterator[tuple[str, str]]:
    say = language.say
    both = [asset.evacuate for asset in record.assets], [asset.rebuild for asset in record.assets]
    yield (say("transfer, evacuate"), _transfer(both[0], language))
    yield (say("transfer, rebuild"), _transfer(both[1], language))
    throttled = sum(leg.throttled for legs_ in both for leg in legs_)
    if throttled:
        yield (say("throttling"), say("{times} a place asked to slow down", times=language.count(throttled, "time")))
    yield (say("conversion"), say("none: no asset of this drill was converted"))
    asked = [lap for lap in record.laps if lap.name.startswith("waiting")]
    waiting = language.duration(sum(lap.duration_ns for lap in asked) / _NS)
    yield (say("waiting for people"), say("{time} in {laps}", time=waiting, laps=language.count(len(asked), "lap")))


def _transfer(legs_: list[LegRecord], language: Language) -> str:
    say, duration = language.say, language.duration
    waited, limited = sum(leg.waited_ns for leg in legs_), sum(leg.limited_ns for leg in legs_)
    text = say(
        "{time} summed over assets, {waited} waited over all threads before trying again",
        time=duration(sum(leg.duration_ns for leg in legs_) / _NS), waited=duration(waited / _NS),
    )  # fmt: skip
    own = say("{time} for the drill's own limits", time=duration(limited / _NS))
    return f"{text}, {own}" if limited else text


def _clock(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """The drill's clock from declaration to end, shared out: each moment to the first kind that applies to it."""
    say = language.say
    total = max([record.ended_elapsed_ns, *(lap.end_elapsed_ns for lap in record.laps)], default=0)
    if total <= 0 or not record.laps:
        return ()
    first = [span for asset in record.assets for span in asset.evacuate.spans]
    second = [span for asset in record.assets for span in asset.rebuild.spans]
    kinds = (
        (say("no process at work"), _laps(record, _DOWNTIME)),
        (say("waiting for people"), _laps(record, "waiting")),
        (say("transfer to the vault"), first),
        (say("transfer to the target"), second),
        (say("preparation"), _laps(record, "starting emulators", "phase declare", "phase preflight", "preflight")),
        (say("inventory"), _laps(record, "phase inventory", "inventory")),
        (say("the cut and the look before it"), _laps(record, "phase sever", "sever")),
        (say("verification"), _laps(record, "phase verify", "verify")),
        (say("teardown"), _laps(record, "phase teardown", "teardown")),
        (say("everything else"), [(0, total)]),
    )
    parts, taken = [], list[Span]()
    for name, spans in kinds:
        before = covered_ns(taken)
        taken += spans
        if (own := covered_ns(taken) - before) > 0:
            parts.append(Part(name, own / total, language.duration(own / _NS)))
    rows = tuple((part.name, part.shown, language.share(part.share)) for part in parts)
    table = Table((say("what"), say("time"), say("share")), rows, frozenset({1, 2}), say("The drill's clock"))
    says = say("Each moment of the drill's clock counted once. Throttling is inside of transfer.")
    return (Picture(say("The drill's clock, shared out"), says, Shares(tuple(parts)), table),)


def _laps(record: RunRecord, *names: str) -> list[Span]:
    return [
        (lap.start_elapsed_ns, lap.end_elapsed_ns)
        for lap in record.laps
        if any(lap.name == name or lap.name.startswith(f"{name} ") for name in names)
    ]


def legs(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """Both legs against the drill's clock, and how long they would have taken the other way."""
    say, duration = language.say, language.duration
    timing = legs_timing(record)
    if timing is None:
        return (Note(say("No asset went through both legs.")),)
    rows = []
    for asset in record.assets:
        for leg in (asset.evacuate, asset.rebuild):
            began, ended = (_at(moment, language) for moment in (leg.began_elapsed_ns, leg.ended_elapsed_ns))
            both = duration(asset.both_legs_ns / _NS) if asset.both_legs_ns else "-"
            took, busy = duration(leg.duration_ns / _NS), duration(leg.busy_ns / _NS)
            rows.append((asset.name, language.word(leg.leg), began, ended, took, busy, both))
    headers = (
        say("asset"), say("leg"), say("began"), say("ended"), say("time"), say("worker time"), say("both legs at once")
    )  # fmt: skip
    table = Table(headers, tuple(rows), frozenset({2, 3, 4, 5, 6}), say("Both legs of each asset"))
    return (table, Facts(tuple(_ways(timing, record, language))))


def _ways(timing: LegsTiming, record: RunRecord, language: Language) -> Iterator[tuple[str, str]]:
    say = language.say
    way = say("overlapping") if timing.overlapped else say("one after the other")
    other = say("one after the other") if timing.overlapped else say("overlapping")
    took = language.duration(timing.measured_seconds)
    yield (say("{way}, measured", way=way), say("{time} with a job of either leg under way", time=took))
    how = timing.how if language.english else _how(timing, record, other, language)
    yield (say("{way}, computed", way=other), say("not measured: {how}", how=how))


def _how(timing: LegsTiming, record: RunRecord, other: str, language: Language) -> str:
    """What `legs_timing` says in English."""
    say, duration = language.say, language.duration
    text = say(
        "evacuate took {first} and rebuild {second} of worker time; ",
        first=duration(timing.evacuate_busy_seconds), second=duration(timing.rebuild_busy_seconds),
    )  # fmt: skip
    if timing.other_way_seconds is None:
        return text + say("{way} cannot be computed: how many jobs ran side by side is not known", way=other)
    return text + say(
        "{way} at the same width ({width} side by side): about {time}, if a job takes as long beside the other leg as "
        "alone. Jobs that failed or were killed are not in it.",
        way=other, width=str(record.width), time=duration(timing.other_way_seconds),
    )  # fmt: skip


def _at(elapsed_ns: int | None, language: Language) -> str:
    return "-" if elapsed_ns is None else language.duration(elapsed_ns / _NS)


def volumes(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """What each leg of each asset moved, how fast, and with how much trouble."""
    say, number = language.say, language.number
    rows = []
    for asset, leg in _legs(record):
        copied = leg.outcomes.get(Outcome.COPIED)
        objects, size = (copied.objects, copied.size_bytes) if copied else (0, 0)
        seconds = leg.duration_ns / _NS
        per_second = f"{number(objects / seconds)}/s" if seconds > 0 else "-"
        rows.append((asset, language.word(leg.leg), language.count(objects), language.size(size),
                     language.duration(seconds), language.rate(size, seconds), per_second,
                     language.count(leg.retries), language.count(leg.throttled)))  # fmt: skip
    if not rows:
        return (Note(say("No asset was moved.")),)
    headers = (
        say("asset"), say("leg"), say("objects"), say("size"), say("time"), say("rate"), say("objects"),
        say("retries"), say("throttled"),
    )  # fmt: skip
    return (Table(headers, tuple(rows), frozenset(range(2, 9)), say("What each leg moved")),)


def _legs(record: RunRecord) -> Iterable[tuple[str, LegRecord]]:
    return ((asset.name, leg) for asset in record.assets for leg in (asset.evacuate, asset.rebuild))
