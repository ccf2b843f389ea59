"""Checks of the record against the journal, and of the verdict against plan and record.

Rules. What the journal says to the nanosecond must be equal. A lap is measured beside the lines that announce its begin
and its end, each of which is written to disk: it may differ from them by `_SLACK_NS` at either end. The two clocks
of the journal, wall and monotonic, may drift apart by `_DRIFT_NS` and the steps that the journal names.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from exitdrill import __version__
from exitdrill.assess import assess
from exitdrill.clock import Lap, format_utc, parse_utc
from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict
from exitdrill.evidence.bundle import files_digest, is_bound
from exitdrill.evidence.checking.case import Case, Event
from exitdrill.evidence.checking.rows import Given, Unchecked
from exitdrill.evidence.checking.seal import AUTHORITY
from exitdrill.evidence.findings import PREVIOUS, pinned
from exitdrill.evidence.index import PAYLOAD
from exitdrill.model.human import count, duration, safe
from exitdrill.model.record import PlaceRecord, RunStatus
from exitdrill.model.verdict import Verdict

__all__ = ["closed", "laps", "plan", "previous", "rta", "same", "seeds", "steps", "teardown", "times", "verdict"]

_NS = 1_000_000_000
_SLACK_NS = 60 * _NS
_DRIFT_NS = 60 * _NS
_SMALL = 1024 * 1024
_EMULATORS = "starting emulators"


def same(what: str, found: object, expected: object, resource: str = "record.json") -> None:
    """Raises EvidenceError where it is not."""
    if found != expected:
        raise EvidenceError(f"{what} is {found}", resource=resource, expected=f"{expected}, by the journal")


def plan(case: Case, given: Given) -> str:  # noqa: ARG001 - each check has the same shape
    """The plan is the one that was declared, and the one the record is of."""
    declared = case.events[0]
    same("the plan's digest", case.plan_digest, declared.text("plan_digest"), "plan.json")
    same("the plan's digest", case.record.plan_digest, case.plan_digest)
    for name, value in (("run", case.record.run_id), ("drill", case.record.drill), ("mode", case.record.mode)):
        same(f"the {name}", value, declared.text(name))
    same("the drill", case.plan.name, declared.text("drill"), "plan.json")
    same("the mode", case.plan.mode.value, declared.text("mode"), "plan.json")
    for place in case.record.places:
        _stated(case, place)
    facts = strict.load(case.bundle.read("run.json", _SMALL), "run.json", max_bytes=_SMALL)
    if not isinstance(facts, dict):
        raise EvidenceError("not what a run is", resource="run.json")
    same("the run", facts.get("run_id"), case.bundle.run, "run.json")
    same("the declaration", facts.get("t0_utc"), declared.text("t0_utc"), "run.json")
    return f"digest {case.plan_digest}, as declared"


def _stated(case: Case, place: PlaceRecord) -> None:
    """What the drill states of a place is in the record as it is in the plan."""
    name = getattr(case.plan.route, place.role, "")
    stated = case.plan.places.get(place.name) if name == place.name else None
    if stated is None:
        raise EvidenceError("a place in a role that the plan does not give it", resource="record.json")
    expected = [stated.connector, stated.emulator, stated.jurisdiction, stated.legal_entity, stated.certifications]
    expected += [None if fact is None else str(fact) for fact in (stated.ownership, stated.seal)]
    found = [place.connector, place.emulator, place.jurisdiction, place.legal_entity, place.certifications]
    found += [place.ownership, place.seal]
    if found != expected:
        raise EvidenceError(f"says of the {place.role} what the plan does not", resource="record.json")


def closed(case: Case, given: Given) -> str:  # noqa: ARG001
    """The journal's last words name this record, this verdict, and every other file of the run."""
    event = case.last("closed")
    found = {"record.json": case.record_bytes, "verdict.json": case.verdict_bytes}
    digests = {name: sha256(data).hexdigest() for name, data in found.items()}
    if event is None or event.facts.get("sha256") != digests:
        raise EvidenceError("not the record and verdict that the journal was closed with", resource="journal.jsonl")
    same("the status", case.record.status.value, event.text("status"))
    same("the judgement", case.verdict.judgement.value, event.text("judgement"), "verdict.json")
    bound = {
        name: member.sha256
        for path, member in case.bundle.index.by_path.items()
        if is_bound(name := path.removeprefix(PAYLOAD))
    }
    if event.facts.get("files") != {"number": len(bound), "sha256": files_digest(bound)}:
        raise EvidenceError("not the files that the journal was closed with", resource="journal.jsonl")
    return f"record, verdict and {count(len(bound), 'file')} are those with which the journal was closed"


def previous(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """What the record holds of the run before is what was taken of it when this one was declared."""
    events, found = case.named(PREVIOUS), case.record.previous
    if found is None:
        if events:
            raise EvidenceError("the record leaves out the run before, which the journal names", resource="record.json")
        return Unchecked("no earlier run of this drill was there when it was declared")
    if len(events) != 1:
        raise EvidenceError("the journal does not name the run before, once", resource="journal.jsonl")
    same("the run before", found.run_id, events[0].text("run"))
    same("the digest of its findings", pinned(found), events[0].text("findings_sha256"))
    same("the digest of its verdict", found.verdict_sha256, events[0].facts.get("verdict_sha256"))
    findings = count(len(found.findings), "finding")
    return f"{findings} of run {safe(found.run_id)}, as taken when this one was declared"


def times(case: Case, given: Given) -> str:  # noqa: ARG001
    """Declaration, end and duration, sessions and steps of the clock are as the journal says."""
    record, declared = case.record, case.events[0]
    same("T0", format_utc(record.t0_utc), declared.text("t0_utc"))
    same("sessions", record.sessions, case.events[-1].session)
    steps = tuple(event.number("by_ns") for event in case.named("clock stepped"))
    same("the clock's steps", record.clock_steps_ns, steps)
    at = next(event.n for event in reversed(case.events) if event.name == "closed")
    # An authority's answer may come at any moment, also between the record and the last words.
    before = next((e for e in reversed(case.events[:at]) if e.name not in AUTHORITY), case.events[0])
    after = case.events[at]
    if not before.elapsed_ns <= record.ended_elapsed_ns <= after.elapsed_ns:
        same("its end", record.ended_elapsed_ns, f"{before.elapsed_ns} to {after.elapsed_ns} ns")
    allowed = _DRIFT_NS + sum(abs(step or 0) for step in steps)
    ended_ns = 0 if record.ended_utc is None else (record.ended_utc - record.t0_utc).total_seconds() * _NS
    if abs(ended_ns - record.ended_elapsed_ns) > allowed:
        same("its end", record.ended_utc, f"{duration(record.ended_elapsed_ns / _NS)} after T0")
    for event in case.events:
        wall = (parse_utc(event.utc) - record.t0_utc).total_seconds() * _NS
        if abs(wall - event.elapsed_ns) > allowed:
            what = (
                f"the wall clock says {duration(wall / _NS)} since T0, the drill's {duration(event.elapsed_ns / _NS)}"
            )
            raise EvidenceError(what, resource=f"journal.jsonl, line {event.n + 1}")
    sessions = count(record.sessions, "process").replace("processs", "processes")
    return f"declared {declared.text('t0_utc')}, ended {duration(record.ended_elapsed_ns / _NS)} later, in {sessions}"


def rta(case: Case, given: Given) -> str:  # noqa: ARG001
    """When each asset was proven, and with the last critical one the drill, is when the journal says."""
    proven: dict[str, Event] = {}
    for event in case.named("asset verified"):
        proven[event.text("asset")] = event
    found: dict[str, int | None] = {}
    for asset in case.record.assets:
        at = asset.recovered_elapsed_ns
        last = proven.get(asset.name)
        if last is None or last.facts.get("proven") is not True:
            same(f"the recovery of {asset.name}", at, None)
        elif "recovered_elapsed_ns" in last.facts:
            same(f"the recovery of {asset.name}", at, last.number("recovered_elapsed_ns"))
        elif at is None or not case.events[last.n - 1].elapsed_ns <= at <= last.elapsed_ns:
            same(f"the recovery of {asset.name}", at, f"just before line {last.n + 1}")
        if last is not None and at is not None and not _began(case, last).elapsed_ns <= at <= last.elapsed_ns:
            same(f"the recovery of {asset.name}", at, f"in the verification that ends in line {last.n + 1}")
        found[asset.name] = at
    names = [asset.name for asset in case.plan.assets]
    if sorted(found) != sorted(names):
        raise EvidenceError("not the assets of the plan", resource="record.json", expected=", ".join(sorted(names)))
    decisive = [found[asset.name] for asset in case.plan.assets if asset.critical] or list(found.values())
    known = [at for at in decisive if at is not None]
    last_ns = max(known) if known and len(known) == len(decisive) else None
    same("the recovery", case.record.recovered_elapsed_ns, last_ns)
    if last_ns is None:
        return "not recovered, as the journal says"
    return f"RTA {duration(last_ns / _NS)} after the declaration, nothing subtracted"


def _began(case: Case, verified: Event) -> Event:
    """Where the verification of an asset began that ended so."""
    ids, asset = case.by_step(("assets.verify",)), verified.text("asset")
    for event in reversed(case.events[: verified.n]):
        if event.name == "asset begins" and event.text("asset") == asset and event.text("step") in ids:
            return event
    raise EvidenceError("verified, and yet no verification began", resource=f"journal.jsonl, line {verified.n + 1}")


@dataclass(frozen=True, slots=True)
class _Span:
    """What a lap must lie beside: a begin, and the end where the journal has one."""

    begun_ns: int
    ended_ns: int
    whole: bool


def _spans(case: Case) -> Iterator[tuple[str, _Span]]:
    """What the journal says of laps, by the lap's name."""
    open_: dict[str, Event] = {}
    for event in case.events:
        name, ends = _lap_of(event)
        if name is None:
            continue
        begun = open_.get(name)
        if name == _EMULATORS and not ends and begun is not None and begun.session == event.session:
            continue  # the second of several
        open_.pop(name, None)
        if begun is not None:  # a begin after a begin: the process that began it was killed
            end = event if ends else case.events[event.n - 1]
            yield name, _Span(begun.elapsed_ns, end.elapsed_ns, ends)
        if not ends:
            open_[name] = event
    for name, begun in open_.items():
        yield name, _Span(begun.elapsed_ns, case.events[-1].elapsed_ns, whole=False)


def _lap_of(event: Event) -> tuple[str | None, bool]:
    step, ends = event.text("step"), event.name.endswith((" ends", "answered"))
    if event.name in ("emulator starts", "emulators ready"):
        return _EMULATORS, event.name == "emulators ready"
    if event.name in ("phase begins", "phase ends"):
        return f"phase {event.text('phase')}", ends
    if event.name in ("step begins", "step ends"):
        return f"step {step}", ends
    if event.name in ("asset begins", "asset ends"):
        return f"{step} {event.text('asset')}", ends
    if event.name in ("person asked", "person answered"):
        return f"waiting for {event.text('kind')} of {step}", ends
    return None, False


def laps(case: Case, given: Given) -> str:  # noqa: ARG001
    """Each lap lies beside the lines that announce it, and each announced span that ended has its lap."""
    spans: dict[str, list[_Span]] = {}
    for name, span in _spans(case):
        spans.setdefault(name, []).append(span)
    downtimes = [event for event in case.events if event.name == "resumed"]
    found: dict[str, list[Lap]] = {}
    for lap in case.record.laps:
        found.setdefault(lap.name, []).append(lap)
    _downtimes(case, downtimes, found.pop("downtime", []))
    for name, measured in found.items():
        for lap in measured:
            if not any(_beside(lap, span) for span in spans.get(name, ())):
                raise EvidenceError(f"the lap {name!r} is not where the journal has it", resource="record.json")
    for name, announced in spans.items():
        for span in announced:
            if span.whole and not any(_beside(lap, span) for lap in found.get(name, ())):
                raise EvidenceError(f"the journal has a lap {name!r} that is missing", resource="record.json")
    return f"{count(len(case.record.laps), 'lap')}, where the journal has them, give or take {_SLACK_NS // _NS} s"


def _beside(lap: Lap, span: _Span) -> bool:
    begins = abs(lap.start_elapsed_ns - span.begun_ns) <= _SLACK_NS
    if not span.whole:
        return begins and lap.end_elapsed_ns <= span.ended_ns + _SLACK_NS
    return begins and abs(lap.end_elapsed_ns - span.ended_ns) <= _SLACK_NS


def _downtimes(case: Case, resumed: list[Event], measured: list[Lap]) -> None:
    expected = [(case.events[event.n - 1].elapsed_ns, event.number("downtime_ns")) for event in resumed]
    repaired = [event for event in case.events if event.name == "journal repaired"]
    if repaired:  # written between the crash and the resume: where the gap began is one line before it
        expected = [(_before(case, event), event.number("downtime_ns")) for event in resumed]
    same("downtime", sorted((lap.start_elapsed_ns, lap.duration_ns) for lap in measured), sorted(expected))


def _before(case: Case, event: Event) -> int:
    at = event.n - 1
    while at > 0 and case.events[at].name == "journal repaired":
        at -= 1
    return case.events[at].elapsed_ns


def steps(case: Case, given: Given) -> str:  # noqa: ARG001
    """Each step, and each asset's, ended as its last lines in the journal say; each check was made."""
    ended: dict[tuple[str, str | None], str] = {}
    for event in case.named("step ends", "asset ends"):
        asset = event.text("asset") if event.name == "asset ends" else None
        ended[event.text("step"), asset] = event.text("status")
    found = {(step.id, step.asset): step.status.value for step in case.record.steps}
    for key in sorted({*ended, *found}, key=str):
        same(f"step {key[0]}{'' if key[1] is None else f' of {key[1]}'}", found.get(key), ended.get(key))
    answered = {event.text("step"): event.text("name") for event in case.named("person answered")}
    for step in case.record.steps:
        if step.asset is None:
            same(f"who approved {step.id}", step.approved_by, answered.get(step.id))
    made = {(event.text("name"), event.text("resource")): event.facts.get("ready") for event in case.named("checked")}
    for check in case.record.checks:
        same(f"check {check.name} of {check.resource}", check.ready, made.get((check.name, check.resource)))
    carried_out = {step.id for step in case.record.steps}
    lacking = [step.id for step in case.plan.playbook.steps if step.id not in carried_out]
    if case.record.status is RunStatus.COMPLETED and lacking:
        raise EvidenceError(f"completed without step {lacking[0]}, which the plan has", resource="record.json")
    said = f"{count(len(case.record.steps), 'step')}, ended as the journal says"
    return f"{said}; {count(len(case.record.checks), 'check')}, as ready as it says"


def seeds(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """Each asset's sample was fixed before the first phase, and signed by the first checkpoint."""
    begun = next((event.n for event in case.events if event.name == "step begins"), len(case.events))
    first = min((signed.checkpoint.size for signed in case.checkpoints), default=0)
    for asset in case.plan.assets:
        drawn = [event for event in case.named("sample seed") if event.text("asset") == asset.name]
        if len(drawn) != 1 or drawn[0].n >= begun:
            raise EvidenceError("its sample's seed was not drawn once, before the first step", resource=asset.name)
        if drawn[0].n >= first:
            raise EvidenceError("its sample's seed is not covered by the first checkpoint", resource=asset.name)
    said = f"{count(len(case.plan.assets), 'seed')} in the journal"
    if first > begun:
        return Unchecked(f"{said} before the first step, but the first checkpoint was signed after that step began")
    return f"{said} and signed before the first step began"


def teardown(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """What was taken away and what is left is what the journal says."""
    recorded, last = case.record.teardown, case.last("torn down", "kept")
    if recorded is None or last is None:
        same("teardown", recorded, None if last is None else last.name)
        return Unchecked("there was no teardown in this run")
    if last.name == "kept":
        same("that all is kept", recorded.kept, True)
        same("that all is to be kept", case.plan.keep, True, "plan.json")
        return "everything was kept, as the drill says"
    same("that all is kept", recorded.kept, False)
    found = [recorded.deleted_objects, list(recorded.removed_containers), list(recorded.left), recorded.complete]
    said = [last.number("deleted"), *(last.facts.get(name) for name in ("containers", "left", "complete"))]
    same("teardown", json.dumps(found), json.dumps(said))
    return f"{count(recorded.deleted_objects, 'object')} deleted, {count(len(recorded.left), 'thing')} left behind"


def verdict(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """The verdict is what the rules make of plan and record."""
    expected = assess(case.plan, case.record)
    if case.record.tool_version == __version__:
        if expected != case.verdict:
            what = _difference(expected, case.verdict)
            raise EvidenceError(f"not what plan and record lead to: {what}", resource="verdict.json")
        return f"{case.verdict.judgement.value}: judged anew from plan and record, the same in every word"
    if _gist(expected) != _gist(case.verdict):
        what = _difference(expected, case.verdict)
        raise EvidenceError(
            f"not what plan and record lead to by the rules of {__version__}: {what}", resource="verdict.json"
        )
    made = case.record.tool_version
    return f"{case.verdict.judgement.value}: judged anew by version {__version__}, the same (texts are those of {made})"


def _gist(found: Verdict) -> object:
    objectives = [(o.objective, o.subject, o.judgement, o.actual_seconds) for o in found.objectives]
    return found.run_id, found.judgement, found.rta_seconds, found.rpa_seconds, found.environment, objectives


def _difference(expected: Verdict, found: Verdict) -> str:
    names = [name for name in Verdict.__slots__ if getattr(expected, name) != getattr(found, name)]
    return f"judged {expected.judgement.value}; other {', '.join(names)}"
