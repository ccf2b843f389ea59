"""The report as OSCAL assessment results (NIST), in JSON, for programs that collect assessments.

Each objective is a finding, satisfied or not; each finding of the verdict and each clause is an observation. Rules.
The same arguments give the same document: identifiers are UUIDs of version 5 made from the run's id. Texts are
Markdown in OSCAL, so they are escaped as in the Markdown report. https://pages.nist.gov/OSCAL/
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from exitdrill.model.journal import Json
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Judgement, ObjectiveResult, Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._clauses import Coverage, Status, evaluate
from exitdrill.report._scope import rehearsed
from exitdrill.report.interface import PLAIN, Options
from exitdrill.report.markdown import prose

__all__ = ["OscalReport"]

_OSCAL = "1.2.1"
_NAMESPACE = "https://exitdrill.example/ns"


@dataclass(frozen=True, slots=True)
class OscalReport:
    """See the module."""

    def render(
        self,
        plan: DrillPlan,
        record: RunRecord,
        verdict: Verdict,
        options: Options = PLAIN,  # noqa: ARG002 - a document for programs
    ) -> str:
        """The document, indented."""
        text = json.dumps(_document(plan, record, verdict), indent=2, ensure_ascii=True, allow_nan=False)
        return text.replace("<", "\\u003c").replace("\x7f", "\\u007f") + "\n"


def _document(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> dict[str, Json]:
    ended = record.ended_utc or record.t0_utc
    observations = [*_objectives(record, verdict), *_findings(record, verdict), *_clauses(plan, record, verdict)]
    result: dict[str, Json] = {
        "uuid": _uuid(record, "result"),
        "title": _line(f"Cloud exit drill {plan.name}"),
        "description": _line(f"Run {record.run_id}, judged {verdict.judgement}"),
        "start": _moment(record.t0_utc),
        "end": _moment(ended),
        "props": [
            _prop("judgement", verdict.judgement),
            _prop("mode", plan.mode),
            _prop("environment", verdict.environment),
            _prop("plan-digest", plan.digest),
        ],
        "reviewed-controls": {"control-selections": [{"include-all": {}}]},
        "observations": list[Json](observations),
        "findings": list[Json](_finding(record, number, item) for number, item in enumerate(verdict.objectives, 1)),
    }
    document: dict[str, Json] = {
        "uuid": _uuid(record, "document"),
        "metadata": {
            "title": _line(f"Cloud exit drill {plan.name}"),
            "last-modified": _moment(ended),
            "version": record.run_id or "-",
            "oscal-version": _OSCAL,
        },
        "import-ap": {"href": "plan.json", "remarks": f"the plan, SHA-256 of its canonical JSON {plan.digest}"},
        "results": [result],
    }
    return {"assessment-results": document}


def _objectives(record: RunRecord, verdict: Verdict) -> Iterator[dict[str, Json]]:
    for number, item in enumerate(verdict.objectives, 1):
        said = f"asked {item.target}, measured {item.actual}: {item.judgement}"
        yield _observation(record, f"objective {number}", f"{item.objective} of {item.subject}", said)


def _findings(record: RunRecord, verdict: Verdict) -> Iterator[dict[str, Json]]:
    for finding in verdict.findings:
        said = f"{finding.text}. What to do: {finding.remedy}" if finding.remedy else finding.text
        title = f"{finding.id} {finding.severity} {finding.subject}"
        yield _observation(record, f"finding {finding.id}", title, said, _prop("severity", finding.severity))


def _clauses(plan: DrillPlan, record: RunRecord, verdict: Verdict) -> Iterator[dict[str, Json]]:
    rehearsal = rehearsed(plan, verdict)
    for number, one in enumerate(evaluate(plan, record, verdict), 1):
        title = f"{one.source.source.en} {one.clause.article.en}: {one.clause.about.en}"
        props = [_prop("clause-status", one.status), _prop("mapping-as-of", one.source.as_of)]
        props += [_prop("rehearsal", "yes")] if rehearsal else []
        yield _observation(record, f"clause {number}", title, _answer(one), *props)


def _answer(one: Coverage) -> str:
    if one.failed:
        return "not exercised: the run failed, nothing is proven"
    said = [str(one.status)]
    if one.missing:
        said.append(f"empty: {', '.join(one.missing)}")
    if one.clause.unrecorded is not None:
        said.append(f"not recorded by exitdrill: {one.clause.unrecorded.en}")
    if one.status is not Status.NOT:
        said.append(f"fields: {', '.join(path for path, _ in one.facts)}")
    return "; ".join(said)


def _observation(record: RunRecord, name: str, title: str, said: str, *props: dict[str, Json]) -> dict[str, Json]:
    observation: dict[str, Json] = {
        "uuid": _uuid(record, name),
        "title": _line(title),
        "description": _line(said),
        "methods": ["TEST"],
        "collected": _moment(record.ended_utc or record.t0_utc),
    }
    return {**observation, "props": list[Json](props)} if props else observation


def _finding(record: RunRecord, number: int, item: ObjectiveResult) -> dict[str, Json]:
    met = item.judgement is Judgement.MET
    status: dict[str, Json] = {"state": "satisfied" if met else "not-satisfied", "reason": "pass" if met else "fail"}
    if item.judgement is Judgement.NOT_SET:
        status = {"state": "not-satisfied", "reason": "other", "remarks": "no such objective is set"}
    return {
        "uuid": _uuid(record, f"objective finding {number}"),
        "title": _line(f"{item.objective} of {item.subject}"),
        "description": _line(f"asked {item.target}, measured {item.actual}: {item.judgement}"),
        "target": {"type": "objective-id", "target-id": f"objective-{number}", "status": status},
        "related-observations": [{"observation-uuid": _uuid(record, f"objective {number}")}],
    }


def _prop(name: str, value: str) -> dict[str, Json]:
    return {"name": name, "ns": _NAMESPACE, "value": value}


def _line(text: str) -> str:
    return prose(text) or "-"


def _moment(utc: datetime) -> str:
    return utc.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _uuid(record: RunRecord, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{_NAMESPACE}/{record.run_id.encode('utf-8', 'backslashreplace')!r}/{name}"))
