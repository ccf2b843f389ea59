"""What the tests of several report formats share: texts that mean harm, and runs that have them everywhere."""

from dataclasses import replace
from datetime import timedelta

from exitdrill.clock import Lap
from exitdrill.model.objects import Outcome
from exitdrill.model.record import (
    Attempt,
    Check,
    Counts,
    LegRecord,
    LossCount,
    Mishap,
    RunRecord,
    TeardownRecord,
    Throughput,
)
from exitdrill.plan.drill import DrillPlan, Mode, Objectives
from exitdrill.testing.runs import T0, make_asset, make_measured, make_plan, make_record

NS = 1_000_000_000

HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    "a\nFAILED  everything\r\tb",
    "\u202egnp.exe\u2066\u200f",
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "</style><script>document.title='owned'</script>",
    "--><svg onload=document.title='owned'>{{ 7 * 7 }}{% raw %}",
    "' onmouseover=document.title='owned' x='",
    '" onmouseover=document.title="owned" x="',
    "javascript:alert(1) http://evil.example/x.png",
    '#read("/etc/passwd") $x$ *b* _i_ #set page(fill: red) \\ "',
    "a|b`c``d\\|e\\`",
    "\x00\x7f\x80\x9b31m\u0085\u2028\u2029\ufeff\u00ad",
    "a\ud800b",
    "\ufe0f\u3164\U000e0041",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "x" * 1024,
    "\u6f22" * 300,
    "caf\u00e9/\u00f1/\u65e5\u672c\u8a9e.txt",
    "",
]


def hostile_run(text: str) -> tuple[DrillPlan, RunRecord]:
    """A run with the text in every place that comes from outside; a plan is UTF-8, so no lone surrogate is in it."""
    planned = text.encode("utf-8", "replace").decode()
    asset = make_asset(owner=planned, classification=planned)
    plan = make_plan(asset, name=planned or "d", description=planned)
    measured = make_measured(
        rebuild=LegRecord("rebuild", {Outcome.COPIED: Counts(999, 9), Outcome.REFUSED: Counts(1, 1)}, retries=99),
        exceptions=(Mishap(text, Outcome.REFUSED, "rebuild", text), Mishap(text, text, "verify", text)),
        exceptions_total=2,
        losses=(LossCount(text, text, 3, text),),
        error=text,
    )
    good = make_record(plan)
    assert good.severance is not None
    record = make_record(
        plan,
        measured,
        error=text,
        orchestrator=text,
        severance=replace(good.severance, attempts=(Attempt(text, 1, text),), probed=(text,)),
        teardown=TeardownRecord(left=(text,), removed_containers=(text,)),
        places=tuple(replace(place, emulator=text or None, jurisdiction=text) for place in good.places),
        laps=(*good.laps, Lap(text, T0, 0, NS, waiting_ns=NS, attempts=2)),
        steps=(replace(good.steps[0], approved_by=text),),
        checks=(Check("inventory", text, ready=True, found=text),),
    )
    return plan, record


def moved(start_seconds: int, sizes: tuple[int, ...], span_seconds: int = 60) -> Throughput:
    """A leg's throughput in spans of a minute."""
    return Throughput(start_seconds * NS, span_seconds * NS, tuple(size // 4096 for size in sizes), sizes)


def busy_run(assets: int = 3, exceptions: int = 3) -> tuple[DrillPlan, RunRecord]:
    """A real drill that missed its objective, with everything a report can show."""
    names = [f"asset-{number:02}" for number in range(assets)]
    planned = tuple(make_asset(name, objectives=Objectives(timedelta(hours=1))) for name in names)
    plan = make_plan(*planned, objectives=Objectives(timedelta(hours=1), timedelta(hours=4)))
    measured = []
    for number, name in enumerate(names):
        good = make_measured(name)
        first, second = 2700 * NS, 4500 * NS
        measured.append(
            replace(
                good,
                evacuate=replace(
                    good.evacuate, spans=((first, first + 600 * NS),), busy_ns=600 * NS, throttled=3,
                    throughput=moved(2700, (4_000_000, 9_000_000, 2_000_000)),
                ),
                rebuild=replace(
                    good.rebuild, spans=((second, second + 500 * NS),), busy_ns=500 * NS,
                    throughput=moved(4500, (8_000_000, 1_000_000)),
                ),
                exceptions=tuple(Mishap(f"k{n}/{number}", Outcome.CHANGED, "evacuate") for n in range(exceptions)),
                exceptions_total=exceptions,
                losses=(LossCount("created", "cannot be set here", 10, "a/b"),),
            )
        )  # fmt: skip
    laps = make_record(plan).laps
    inner = tuple(
        Lap(f"{lap.name} {name}", lap.started_utc, lap.start_elapsed_ns + 10 * n * NS, 500 * NS)
        for lap in laps
        if lap.name in {"evacuate", "rebuild", "verify"}
        for n, name in enumerate(names)
    )
    waiting = Lap("waiting for approval of sever", T0, 3600 * NS, 60 * NS, 60 * NS)
    return plan, make_record(plan, *measured, laps=(*laps, *inner, waiting), width=2)


def rehearsed(plan: DrillPlan) -> DrillPlan:
    """The same drill with an emulator for its source."""
    places = {**plan.places, "azure": replace(plan.places["azure"], emulator="azurite")}
    return replace(plan, mode=Mode.REHEARSAL, places=places)
