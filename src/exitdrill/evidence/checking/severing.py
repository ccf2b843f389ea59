"""Checks of the cut: what the record says of it, against the journal and what the cut itself was."""

from collections.abc import Mapping

from exitdrill.clock import format_utc
from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict
from exitdrill.evidence.checking.account import same
from exitdrill.evidence.checking.case import Case
from exitdrill.evidence.checking.rows import Given, Unchecked
from exitdrill.model.human import duration
from exitdrill.model.journal import Json
from exitdrill.model.record import EarlyCutRecord, SeveranceRecord

__all__ = ["cut"]

_NS = 1_000_000_000
_SMALL = 1024 * 1024


def cut(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """The cut came before the rebuild, and the record says of it what the journal and the cut itself say."""
    severance, severed = case.record.severance, case.last("severed")
    if severance is None or severed is None:
        if severance is not None or severed is not None or case.bundle.has("cut.json"):
            raise EvidenceError("a cut that only some of journal, record and cut.json know of", resource="cut.json")
        return Unchecked("the source was not cut off in this run")
    facts = _cut_json(case.bundle.read("cut.json", _SMALL))
    same("the cut", format_utc(severance.severed_utc), severed.text("utc_cut"))
    same("the cut", facts.get("severed_utc"), severed.text("utc_cut"), "cut.json")
    same("the cut's drill time", severance.severed_elapsed_ns, facts.get("severed_elapsed_ns"))
    severing = case.last("severing")
    if severing is None or severance.severed_elapsed_ns > severed.elapsed_ns:
        raise EvidenceError("the cut was not announced before it was made", resource="journal.jsonl")
    _early_cut(case)
    rebuilds = case.by_step(("assets.rebuild",))
    began = next((e.n for e in case.named("step begins") if e.text("step") in rebuilds), None)
    if began is not None and began < severed.n:
        raise EvidenceError("the rebuild began before the cut", resource=f"journal.jsonl, line {began + 1}")
    probed, again = _probed(case, "source.sever"), _probed(case, "run.seal")
    same("what was probed", list(severance.probed), probed or [])
    _taken(severance, facts)
    hosts = facts.get("hosts")
    holds = bool(facts.get("probes") or not hosts) and probed is not None and probed == again
    same("that the cut held", severance.holds, holds)
    whether = "it held when probed, before the rebuild and at the end"
    if not holds:
        whether = "it is not shown to have held"
    elif not severance.probed:
        whether = "there was no address of the source to probe: that it held is shown by nothing"
    return f"at {duration(severance.severed_elapsed_ns / _NS)}, before the rebuild; {whether}"


def _taken(severance: SeveranceRecord | EarlyCutRecord, facts: Mapping[str, Json]) -> None:
    """What was refused and taken away is what the cut has."""
    hosts = facts.get("hosts")
    refused = []
    for host in hosts if isinstance(hosts, list) else ():
        name, port = host if isinstance(host, list) and len(host) == 2 else ("", None)  # noqa: PLR2004 - a pair
        refused.append(f"{name}:{port}" if port else name)
    same("what is refused", list(severance.refused), refused)
    same("what was taken away", list(severance.removed_variables), facts.get("removed_variables"))


def _early_cut(case: Case) -> None:
    """What the record says of workers that rebuilt before the cut, against the journal and their own cut."""
    early, made = case.record.early_cut, case.last("rebuild cut off")
    if early is None or made is None or not case.bundle.has("early-cut.json"):
        if early is not None or made is not None or case.bundle.has("early-cut.json"):
            raise EvidenceError("a cut that not all of journal, record and file know of", resource="early-cut.json")
        return
    facts = _cut_json(case.bundle.read("early-cut.json", _SMALL))
    same("the early cut", format_utc(early.cut_utc), made.text("utc_cut"))
    same("the early cut", facts.get("severed_utc"), made.text("utc_cut"), "early-cut.json")
    same("the early cut's drill time", early.cut_elapsed_ns, facts.get("severed_elapsed_ns"))
    probed, again = (_probed(case, uses, early=True) for uses in ("assets.evacuate", "source.sever"))
    _taken(early, facts)
    same("what was probed early", list(early.probed), probed or [])
    holds = bool(facts.get("probes") or not facts.get("hosts")) and probed is not None and probed == again
    same("that the early cut held", early.holds, holds)


def _cut_json(data: bytes) -> Mapping[str, Json]:
    found = strict.load(data, "cut.json", max_bytes=_SMALL)
    if not isinstance(found, dict):
        raise EvidenceError("not a cut", resource="cut.json")
    return found


def _probed(case: Case, uses: str, *, early: bool = False) -> list[str] | None:
    """What the last probe within a step with that action was refused."""
    ids, inside, found = case.by_step((uses,)), False, None
    for event in case.events:
        if event.name in ("step begins", "step ends"):
            inside = event.name == "step begins" and event.text("step") in ids
        elif event.name == "cut probed" and inside and event.facts.get("early") is early:
            refused = event.facts.get("refused")
            found = [str(item) for item in refused] if isinstance(refused, list) else None
    return found
