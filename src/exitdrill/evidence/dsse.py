"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, protocol 1.0): signatures over bytes, as they are.

What is signed is the pre-authentication encoding of payload type and payload. The payload is never parsed before it is
verified, and what `verify` returns is the very bytes that were signed.

Rules. A key id in an envelope is a hint and not believed: every known key is tried against signatures that carry its
id or none. One key counts once towards a threshold, however often it signed. Unknown signatures are passed over.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer

__all__ = ["ENVELOPE_MAX_BYTES", "Verified", "key_ids", "pae", "sign", "verify"]

ENVELOPE_MAX_BYTES = 16 * 1024 * 1024
_SIGNATURES_MAX = 16
_VALUES_MAX = 256
"""Of an envelope with 16 signatures: names and texts. Nobody has signed for them when they are read."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A payload that enough known keys signed."""

    payload: bytes
    keys: tuple[PublicKey, ...]
    """Those that did."""


@dataclass(frozen=True, slots=True)
class _Signature:
    keyid: str
    sig: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signers: Iterable[Signer]) -> bytes:
    """An envelope with a signature of every signer, as JSON. Raises SigningError if one does not sign."""
    message = pae(payload_type, payload)
    signatures = [{"keyid": s.key.id, "sig": b64encode(s.sign(message)).decode()} for s in signers]
    if not signatures:
        raise ValueError("an envelope that nobody signs")
    envelope = {"payload": b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def verify(
    envelope: bytes,
    keys: Sequence[PublicKey],
    threshold: int,
    payload_type: str,
    resource: str = "envelope",
    max_bytes: int = ENVELOPE_MAX_BYTES,
) -> Verified:
    """Open an envelope.

    Args:
        envelope: JSON.
        keys: The keys that are known.
        threshold: How many different ones of them must have signed.
        payload_type: What the payload must be.
        resource: What messages call it.
        max_bytes: How long it may be.

    Returns:
        The payload, and the keys that signed it.

    Raises:
        EvidenceError: It is no envelope, of another type, or signed by too few.
    """
    if threshold < 1:
        raise ValueError("a threshold below 1 is met by anybody")
    kind, payload, signatures = _parse(envelope, resource, max_bytes)
    if kind != payload_type:
        raise EvidenceError("an envelope of another type", resource=resource, expected=payload_type)
    message = pae(kind, payload)
    signed = {key.id: key for key in keys if any(_good(key, s, message) for s in signatures)}
    if len(signed) < threshold:
        raise EvidenceError(f"signed by {len(signed)} of the known keys", resource=resource, expected=f"{threshold}")
    return Verified(payload, tuple(signed.values()))


def key_ids(envelope: bytes, resource: str, max_bytes: int = ENVELOPE_MAX_BYTES) -> tuple[str, ...]:
    """Which keys are said to have signed, for envelopes in the very form in which `sign` writes them.

    Raises EvidenceError for any other form, such as one with more spaces: then one payload would have several files.
    """
    _, _, signatures = _parse(envelope, resource, max_bytes)
    if json.dumps(json.loads(envelope), sort_keys=True, separators=(",", ":")).encode() != envelope:
        raise EvidenceError("an envelope in another form", resource=resource, expected="no spaces, names in order")
    return tuple(signature.keyid for signature in signatures)


def _good(key: PublicKey, signature: _Signature, message: bytes) -> bool:
    if signature.keyid not in ("", key.id):
        return False
    try:
        key.verify(signature.sig, message)
    except EvidenceError:
        return False  # another key's, or not good: either way it counts for nothing
    return True


def _parse(envelope: bytes, resource: str, max_bytes: int) -> tuple[str, bytes, list[_Signature]]:
    refused = EvidenceError("not an envelope", resource=resource, expected="DSSE as JSON")
    try:
        data = strict.load(envelope, resource, max_bytes=max_bytes, max_values=_VALUES_MAX, floats=False)
    except EvidenceError as exc:
        what = f"not an envelope: {exc.what}"
        raise EvidenceError(what, resource=resource, expected="DSSE as JSON") from exc
    try:
        if not isinstance(data, Mapping) or set(data) != {"payload", "payloadType", "signatures"}:
            raise refused
        kind, listed = data["payloadType"], data["signatures"]
        if not isinstance(kind, str) or not isinstance(listed, list) or not 0 < len(listed) <= _SIGNATURES_MAX:
            raise refused
        return kind, _bytes(data["payload"]), [_signature(item) for item in listed]
    except (ValueError, TypeError) as exc:
        raise refused from exc


def _signature(item: object) -> _Signature:
    if not isinstance(item, Mapping) or not {"sig"} <= set(item) <= {"sig", "keyid"}:
        raise ValueError("not a signature")
    keyid = item.get("keyid", "")
    if not isinstance(keyid, str):
        raise TypeError("not a key id")
    return _Signature(keyid, _bytes(item["sig"]))


def _bytes(text: object) -> bytes:
    """Standard base64 in its one form; the protocol also allows the form for URLs, which we never write."""
    if not isinstance(text, str):
        raise TypeError("not text")
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not base64 in its one form")
    return data
