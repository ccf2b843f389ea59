"""What is claimed of a run, as in-toto statements (https://in-toto.io/Statement/v1) in DSSE envelopes.

Two statements about the same subjects: the plan (its canonical JSON, RFC 8785), ``record.json`` and ``verdict.json`` by
SHA-256, the journal by the root of its tree, and the manifests by theirs. One has our own predicate, `DRILL_RESULT`;
the other is a standard test result, one test an objective, for tools that know nothing of drills.

The type of our own predicate is a name, not an address: nobody owns ``.invalid`` (RFC 2606), so nothing can ever
be put where it points. What its fields mean stands in docs/for-auditors.md of the version that it ends with.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import rfc8785

from exitdrill import __version__
from exitdrill.clock import format_utc
from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse, strict
from exitdrill.evidence.checkpoint import Checkpoint
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer
from exitdrill.model import codec
from exitdrill.model.journal import Json
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Judgement, Severity, Verdict
from exitdrill.plan.drill import DrillPlan

__all__ = ["DRILL_RESULT", "PAYLOAD_TYPE", "STATEMENT", "TEST_RESULT", "sign", "statements", "subjects", "verify"]

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
DRILL_RESULT = "https://exitdrill.invalid/drill-result/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

_PASSED, _WARNED, _FAILED = "PASSED", "WARNED", "FAILED"


def statements(
    plan: DrillPlan,
    record: bytes,
    verdict: bytes,
    journal: Checkpoint,
    manifests: Mapping[str, bytes] | None = None,
    sealed_by: str = __version__,
) -> tuple[bytes, bytes]:
    """The payloads to be signed.

    Args:
        plan: What was to be done.
        record: ``record.json`` as it is on disk.
        verdict: ``verdict.json`` as it is on disk.
        journal: The log's head: that of the newest checkpoint.
        manifests: The root of each manifest, under the name by which the statement is to call it.
        sealed_by: The version of exitdrill that seals.

    Returns:
        Our own statement and the test result, each as canonical JSON.

    Raises:
        RunError: Record or verdict is none.
    """
    measured = codec.load(RunRecord, record, "record.json")
    judged = codec.load(Verdict, verdict, "verdict.json")
    named = {"plan": plan.digest, "record.json": _sha256(record), "verdict.json": _sha256(verdict)}
    named["journal"] = journal.root.hex()
    named |= {name: root.hex() for name, root in (manifests or {}).items()}
    subject: list[Json] = [{"name": name, "digest": {"sha256": digest}} for name, digest in named.items()]
    drill = _statement(subject, DRILL_RESULT, _drill_result(measured, judged, journal, sealed_by))
    test = _statement(subject, TEST_RESULT, _test_result(plan, judged))
    return drill, test


def _sha256(data: bytes) -> str:
    return sha256(data).hexdigest()


def _statement(subject: list[Json], kind: str, predicate: dict[str, Json]) -> bytes:
    whole = {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}
    return rfc8785.dumps(whole)  # type: ignore[arg-type]  # JSON values; its types know no Mapping


def _drill_result(record: RunRecord, verdict: Verdict, journal: Checkpoint, sealed_by: str) -> dict[str, Json]:
    findings: dict[str, Json] = {
        severity.value: sum(finding.severity is severity for finding in verdict.findings) for severity in Severity
    }
    objectives: list[Json] = [
        {
            "objective": objective.objective,
            "subject": objective.subject,
            "target": objective.target,
            "actual": objective.actual,
            "judgement": objective.judgement.value,
        }
        for objective in verdict.objectives
    ]
    return {
        "run": record.run_id,
        "drill": record.drill,
        "mode": record.mode,
        "environment": verdict.environment,
        "status": record.status.value,
        "judgement": verdict.judgement.value,
        "declaredUtc": format_utc(record.t0_utc),
        "rtaSeconds": verdict.rta_seconds,
        "rpaSeconds": verdict.rpa_seconds,
        "objectives": objectives,
        "findings": findings,
        "journal": {"origin": journal.origin, "size": journal.size},
        "tool": {"name": "exitdrill", "version": record.tool_version, "sealedBy": sealed_by},
    }


def _test_result(plan: DrillPlan, verdict: Verdict) -> dict[str, Json]:
    """One test an objective that is set; a drill on emulators, or with warnings, passes with a warning at most."""
    names: dict[str, list[Json]] = {_PASSED: [], _WARNED: [], _FAILED: []}
    for objective in verdict.objectives:
        if objective.judgement is not Judgement.NOT_SET:
            result = _PASSED if objective.judgement is Judgement.MET else _FAILED
            names[result].append(f"{objective.objective} of {objective.subject}")
    warned = verdict.environment != "real" or any(f.severity is not Severity.NOTE for f in verdict.findings)
    result = _FAILED if verdict.judgement is not Judgement.MET else _WARNED if warned else _PASSED
    return {
        "result": result,
        "configuration": [{"name": "plan", "digest": {"sha256": plan.digest}}],
        "passedTests": names[_PASSED],
        "warnedTests": names[_WARNED],
        "failedTests": names[_FAILED],
    }


def sign(payload: bytes, signers: Iterable[Signer]) -> bytes:
    """A statement in an envelope, signed by every signer. Raises SigningError if one does not sign."""
    return dsse.sign(PAYLOAD_TYPE, payload, signers)


def verify(envelope: bytes, keys: Sequence[PublicKey], threshold: int, resource: str = "statement") -> dsse.Verified:
    """The payload of a statement's envelope, and who signed it. Raises EvidenceError where too few did."""
    return dsse.verify(envelope, keys, threshold, PAYLOAD_TYPE, resource)


def subjects(payload: bytes, resource: str = "statement") -> dict[str, str]:
    """What a verified statement is about: SHA-256 by name. Raises EvidenceError for what is no statement."""
    found = strict.load(payload, resource, max_bytes=dsse.ENVELOPE_MAX_BYTES)
    listed = found.get("subject") if isinstance(found, dict) else None
    named: dict[str, str] = {}
    for item in listed if isinstance(listed, list) else ():
        digest = item.get("digest") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(digest, dict):
            raise EvidenceError("a subject that is none", resource=resource)
        named[str(item.get("name"))] = str(digest.get("sha256"))
    return named
