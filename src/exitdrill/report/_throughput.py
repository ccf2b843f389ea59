"""What moved when: each leg's throughput over all assets, on the drill's clock."""

from exitdrill.model.record import RunRecord, Throughput
from exitdrill.report._document import Block, Note, Picture, Table, Trend, Trends
from exitdrill.report.language import Language

__all__ = ["trends"]

_NS = 1_000_000_000
_STEPS = 120
_SHORTEST_NS = 1_000_000_000


def trends(record: RunRecord, language: Language) -> tuple[Block, ...]:
    """One line a leg, of all assets together."""
    say = language.say
    legs = {
        "evacuate": [asset.evacuate.throughput for asset in record.assets],
        "rebuild": [asset.rebuild.throughput for asset in record.assets],
    }
    known = {leg: [one for one in each if one is not None and any(one.objects)] for leg, each in legs.items()}
    spans = [_span(one) for each in known.values() for one in each]
    if not spans:
        return (Note(say("Not recorded: no leg moved anything, or the run was made before this was kept.")),)
    begin, end = min(first for first, _ in spans), max(last for _, last in spans)
    step = max(_SHORTEST_NS, -(-(end - begin) // _STEPS))
    drawn, rows = [], []
    for leg, each in known.items():
        if not each:
            continue
        rates = _rates(each, begin, step, -(-(end - begin) // step))
        highest, moved = max(rates), sum(sum(one.size_bytes) for one in each)
        drawn.append(_trend(language.word(leg), rates, (end - begin) / step, language.rate(highest, 1)))
        first, last = min(_span(one)[0] for one in each), max(_span(one)[1] for one in each)
        rows.append((
            language.word(leg), language.duration(first / _NS), language.duration(last / _NS), language.size(moved),
            language.rate(moved, (last - first) / _NS), language.rate(highest, 1),
        ))  # fmt: skip
    headers = (say("leg"), say("from"), say("to"), say("moved"), say("mean"), say("highest"))
    table = Table(headers, tuple(rows), frozenset(range(1, 6)), say("Throughput of each leg"))
    says = say("Bytes a second over all assets, in steps of {step}.", step=language.duration(step / _NS))
    axis = language.duration(begin / _NS), language.duration(end / _NS)
    return (Picture(say("Bytes a second"), says, Trends(tuple(drawn), *axis), table),)


def _span(one: Throughput) -> tuple[int, int]:
    return one.start_elapsed_ns, one.start_elapsed_ns + one.span_ns * len(one.size_bytes)


def _rates(each: list[Throughput], begin: int, step: int, steps: int) -> list[float]:
    """Bytes a second in each step; what a span moved is taken to be spread evenly over it."""
    rates = [0.0] * max(1, steps)
    for one in each:
        for number, size in enumerate(one.size_bytes):
            first = one.start_elapsed_ns + number * one.span_ns - begin
            last = first + one.span_ns
            for index in range(first // step, min(len(rates), -(-last // step))):
                shared = min(last, (index + 1) * step) - max(first, index * step)
                rates[index] += size * shared / one.span_ns / (step / _NS)
    return rates


def _trend(name: str, rates: list[float], steps: float, highest: str) -> Trend:
    most = max(rates) or 1.0
    points = tuple(
        (n / steps, min(1.0, (n + 1) / steps) - n / steps, rate / most) for n, rate in enumerate(rates) if rate
    )
    return Trend(name, points, highest)
