"""Values that a person signed: one frozen class as canonical JSON (RFC 8785), in a DSSE envelope."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse
from exitdrill.evidence.publickey import PublicKey

__all__ = ["Canonical", "open_signed"]


class Canonical(Protocol):
    """A value that has one form in bytes."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""


T = TypeVar("T", bound=Canonical)


def open_signed(
    envelope: bytes, keys: Sequence[PublicKey], payload_type: str, cls: type[T], what: str, resource: str
) -> tuple[T, PublicKey]:
    """What somebody signed, and with which of the keys.

    Args:
        envelope: DSSE, as JSON.
        keys: The keys that are known.
        payload_type: What the payload must be.
        cls: The value's class.
        what: What messages call such a value, with its article.
        resource: What messages call this one.

    Raises:
        EvidenceError: None of the keys signed it, or the payload is not what `cls` writes.
    """
    found = dsse.verify(envelope, keys, 1, payload_type, resource)
    refused = EvidenceError(f"not {what}", resource=resource, expected="the fields of one, as canonical JSON")
    try:
        value = TypeAdapter(cls).validate_json(found.payload, strict=True)
    except ValidationError as exc:
        raise refused from exc
    if value.to_bytes() != found.payload:
        raise refused
    return value, found.keys[0]
