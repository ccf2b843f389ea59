"""Statements and envelopes: what is signed is bytes, by enough different known keys, in forms that others read."""

import json
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from exitdrill.errors import EvidenceError, RunError
from exitdrill.evidence import dsse
from exitdrill.evidence.approval import Approval, open_approval, sign_approval, verify_approval
from exitdrill.evidence.checkpoint import Checkpoint, origin
from exitdrill.evidence.signers import Signer, open_pem
from exitdrill.evidence.statement import DRILL_RESULT, PAYLOAD_TYPE, TEST_RESULT, sign, statements, verify
from exitdrill.model import codec
from exitdrill.model.record import RunRecord, RunStatus
from exitdrill.model.verdict import Finding, Judgement, ObjectiveResult, Severity, Verdict
from exitdrill.plan.drill import Asset, DrillPlan, Mode, Objectives, Place, Playbook, Route


def _signer() -> Signer:
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return open_pem(data, "k")


def test_the_published_encoding() -> None:
    """The pre-authentication encoding of the protocol's own example."""
    encoded = dsse.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_is_verified_by_plain_cryptography() -> None:
    """Nothing but the public key, the protocol's text and JSON is needed."""
    signer = _signer()
    data = json.loads(dsse.sign("t/x", b"\x00payload", [signer]))
    payload = b64decode(data["payload"])
    message = b"DSSEv1 %d %s %d %s" % (3, data["payloadType"].encode(), len(payload), payload)
    key = load_pem_public_key(signer.key.pem)
    key.verify(b64decode(data["signatures"][0]["sig"]), message)  # type: ignore[union-attr,call-arg]
    assert data["signatures"][0]["keyid"] == signer.key.id


def test_securesystemslib_reads_and_writes_it() -> None:
    """Its envelopes are ours, and ours are its."""
    pytest.importorskip("securesystemslib", reason="securesystemslib: make setup")
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    signer = _signer()
    theirs = Envelope.from_dict(json.loads(dsse.sign("t/x", b"payload", [signer])))
    assert theirs.verify([SSlibKey.from_crypto(signer.key.crypto, signer.key.id)], 1)
    assert dsse.verify(json.dumps(theirs.to_dict()).encode(), [signer.key], 1, "t/x").payload == b"payload"


def test_thresholds() -> None:
    """So many different known keys; a key that signed twice is one; strangers count for nothing."""
    ada, bob, eve = _signer(), _signer(), _signer()
    both = dsse.sign("t/x", b"p", [ada, bob])
    assert dsse.verify(both, [ada.key, bob.key, eve.key], 2, "t/x").keys == (ada.key, bob.key)
    for envelope, keys, threshold in (
        (dsse.sign("t/x", b"p", [ada, ada]), [ada.key, bob.key], 2),
        (both, [ada.key, ada.key], 2),
        (both, [ada.key, eve.key], 2),
        (both, [eve.key], 1),
        (both, [], 1),
    ):
        with pytest.raises(EvidenceError, match="of the known keys"):
            dsse.verify(envelope, keys, threshold, "t/x")
    with pytest.raises(EvidenceError, match="another type"):
        dsse.verify(both, [ada.key], 1, "t/y")
    with pytest.raises(ValueError, match="threshold"):
        dsse.verify(both, [ada.key], 0, "t/x")
    with pytest.raises(ValueError, match="nobody"):
        dsse.sign("t/x", b"p", [])


def test_each_flipped_bit_is_caught() -> None:
    """No bit of an envelope can change without it being refused."""
    signer = _signer()
    envelope = dsse.sign("t/x", b"payload", [signer])
    for place in range(len(envelope) * 8):
        changed = bytearray(envelope)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(EvidenceError):
            dsse.verify(bytes(changed), [signer.key], 1, "t/x")


@pytest.mark.parametrize(
    "envelope",
    [
        b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"payload":"","payloadType":"t/x","signatures":[]}',
        b'{"payload":1,"payloadType":"t/x","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":2,"signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"t/x","signatures":[{}]}',
        b'{"payload":"","payloadType":"t/x","signatures":[7]}',
        b'{"payload":"","payloadType":"t/x","signatures":[{"sig":"","keyid":3}]}',
        b'{"payload":"","payloadType":"t/x","signatures":[{"sig":""}],"more":1}',
        b'{"payload":"YQ","payloadType":"t/x","signatures":[{"sig":""}]}',
        b'{"payload":"YR==","payloadType":"t/x","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"t/x","signatures":[' + b",".join([b'{"sig":""}'] * 17) + b"]}",
        b" " * (dsse.ENVELOPE_MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_what_is_no_envelope(envelope: bytes) -> None:
    """Anything but the three fields in their one form is refused, however it is nested or long."""
    with pytest.raises(EvidenceError, match="not an envelope"):
        dsse.verify(envelope, [_signer().key], 1, "t/x")


# statements


def _plan() -> DrillPlan:
    places = {name: Place(name, "local", {"path": name}) for name in ("here", "vault", "there")}
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "b"})
    return DrillPlan(
        "d", Mode.REHEARSAL, Objectives(), places, Route("here", "vault", "there"), (asset,), Playbook("p", ())
    )


def _outcome(judgement: Judgement, environment: str = "real", severity: Severity | None = None) -> tuple[bytes, bytes]:
    record = RunRecord("r1", "d", "full", _plan().digest, "1", RunStatus.COMPLETED, datetime(2026, 1, 1, tzinfo=UTC))
    objectives = (
        ObjectiveResult("RTO", "drill", "24:00:00", "5:00:00", judgement),
        ObjectiveResult("RPO", "drill", "not set", "0:00:05", Judgement.NOT_SET),
    )
    findings = () if severity is None else (Finding("F001", severity, "drill", "text", "remedy"),)
    verdict = Verdict("r1", "d", judgement, objectives, findings, 18000.5, None, environment)
    return codec.dump(record), codec.dump(verdict)


_HEAD = Checkpoint(origin("r1"), 7, bytes(range(32)))


def test_what_is_claimed() -> None:
    """Both statements are about plan, record, verdict, journal and manifests, by digests that anybody can compute."""
    record, verdict = _outcome(Judgement.MET)
    drill, test = (json.loads(s) for s in statements(_plan(), record, verdict, _HEAD, {"files: source": b"\x01" * 32}))
    subject = {item["name"]: item["digest"]["sha256"] for item in drill["subject"]}
    assert subject["plan"] == _plan().digest
    assert (subject["journal"], subject["files: source"]) == (_HEAD.root.hex(), "01" * 32)
    assert set(subject) == {"plan", "record.json", "verdict.json", "journal", "files: source"}
    assert test["subject"] == drill["subject"]
    assert (drill["predicateType"], test["predicateType"]) == (DRILL_RESULT, TEST_RESULT)
    assert drill["_type"] == test["_type"] == "https://in-toto.io/Statement/v1"
    assert drill["predicate"]["journal"] == {"origin": "exitdrill/run/r1", "size": 7}
    assert drill["predicate"]["rtaSeconds"] == 18000.5
    assert drill["predicate"]["rpaSeconds"] is None


@pytest.mark.parametrize(
    ("judgement", "environment", "severity", "result", "passed"),
    [
        (Judgement.MET, "real", None, "PASSED", True),
        (Judgement.MET, "real", Severity.NOTE, "PASSED", True),
        (Judgement.MET, "real", Severity.WARNING, "WARNED", True),
        (Judgement.MET, "emulator", None, "WARNED", True),
        (Judgement.MISSED, "real", None, "FAILED", False),
        (Judgement.FAILED, "real", None, "FAILED", False),
    ],
)
def test_the_standard_result(
    judgement: Judgement, environment: str, severity: Severity | None, result: str, passed: bool
) -> None:
    """A rehearsal never passes without a warning; an objective that is not set is no test."""
    _, test = statements(_plan(), *_outcome(judgement, environment, severity), _HEAD)
    predicate = json.loads(test)["predicate"]
    assert predicate["result"] == result
    assert (predicate["passedTests"], predicate["failedTests"]) == (
        (["RTO of drill"], []) if passed else ([], ["RTO of drill"])
    )
    assert predicate["configuration"] == [{"name": "plan", "digest": {"sha256": _plan().digest}}]


def test_statements_are_signed_as_they_are() -> None:
    """What comes out of a verified envelope is, byte for byte, what went in."""
    signers = [_signer(), _signer()]
    for payload in statements(_plan(), *_outcome(Judgement.MET), _HEAD):
        envelope = sign(payload, signers)
        found = verify(envelope, [s.key for s in signers], 2)
        assert (found.payload, found.keys) == (payload, tuple(s.key for s in signers))
        assert json.loads(envelope)["payloadType"] == PAYLOAD_TYPE


def test_no_statement_about_what_is_none() -> None:
    """A record or verdict that cannot be read is not signed for."""
    record, verdict = _outcome(Judgement.MET)
    with pytest.raises(RunError):
        statements(_plan(), b"{}", verdict, _HEAD)
    with pytest.raises(RunError):
        statements(_plan(), record, b"nonsense", _HEAD)


# approvals


def test_an_approval_is_for_one_thing_only() -> None:
    """It is good for this plan, run, step, kind, name and journal, by one of the keys, and for nothing else."""
    ada, eve = _signer(), _signer()
    given = Approval("ab" * 32, "r1", "sever", "approval", "Ada", 7, "cd" * 32)
    envelope = sign_approval(given, ada)
    assert verify_approval(envelope, given, [eve.key, ada.key], "x") == ada.key
    assert open_approval(envelope, [ada.key], "x") == (given, ada.key)
    others = (
        Approval("ac" * 32, "r1", "sever", "approval", "Ada", 7, "cd" * 32),
        Approval("ab" * 32, "r2", "sever", "approval", "Ada", 7, "cd" * 32),
        Approval("ab" * 32, "r1", "rebuild", "approval", "Ada", 7, "cd" * 32),
        Approval("ab" * 32, "r1", "sever", "manual", "Ada", 7, "cd" * 32),
        Approval("ab" * 32, "r1", "sever", "approval", "Eve", 7, "cd" * 32),
        Approval("ab" * 32, "r1", "sever", "approval", "Ada", 8, "cd" * 32),
        Approval("ab" * 32, "r1", "sever", "approval", "Ada", 7, "ce" * 32),
    )
    for other in others:
        with pytest.raises(EvidenceError, match="something else"):
            verify_approval(envelope, other, [ada.key], "x")
    with pytest.raises(EvidenceError, match="signed by 0"):
        verify_approval(envelope, given, [eve.key], "x")


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"\xff", b'{"plan_digest":"a"}'])
def test_what_is_no_approval(payload: bytes) -> None:
    """A good signature over something else is no approval; nor is one over another form of the same."""
    signer = _signer()
    kind = "application/vnd.exitdrill.approval+json"
    with pytest.raises(EvidenceError, match="not an approval"):
        open_approval(dsse.sign(kind, payload, [signer]).decode(), [signer.key], "x")
    spaced = Approval("a", "r", "s", "manual", "n", 1, "b").to_bytes().replace(b",", b", ")
    with pytest.raises(EvidenceError, match="not an approval"):
        open_approval(dsse.sign(kind, spaced, [signer]).decode(), [signer.key], "x")
