"""What a person approved or did, signed with that person's own key.

The signature is over the plan's digest, the run, the step, and the size and root of the journal when the person was
asked: it cannot be used for another plan, run or step, nor for a run whose journal was another until then. It is a DSSE
envelope over canonical JSON (RFC 8785), kept in the journal with the answer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import rfc8785

from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signed import open_signed
from exitdrill.evidence.signers import Signer

__all__ = ["APPROVAL_TYPE", "Approval", "open_approval", "sign_approval", "verify_approval"]

APPROVAL_TYPE = "application/vnd.exitdrill.approval+json"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person signs."""

    plan_digest: str
    run: str
    step: str
    kind: str
    """``approval``, or ``manual``: the person says that it was done."""
    name: str
    """The person, in their own words."""
    journal_size: int
    """How many lines the journal had when the person was asked."""
    journal_root: str
    """The root over them, in hexadecimal."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return rfc8785.dumps(asdict(self))


def sign_approval(approval: Approval, signer: Signer) -> str:
    """The envelope, as text for the journal. Raises SigningError."""
    return dsse.sign(APPROVAL_TYPE, approval.to_bytes(), [signer]).decode()


def open_approval(envelope: str, keys: Sequence[PublicKey], resource: str) -> tuple[Approval, PublicKey]:
    """What somebody signed, and with which of the keys. Raises EvidenceError if none of them signed it."""
    return open_signed(envelope.encode(), keys, APPROVAL_TYPE, Approval, "an approval", resource)


def verify_approval(envelope: str, expected: Approval, keys: Sequence[PublicKey], resource: str) -> PublicKey:
    """Check that one of the keys signed exactly this.

    Args:
        envelope: As the journal has it.
        expected: What must have been signed.
        keys: The keys of those who may.
        resource: What messages call it.

    Returns:
        The key that signed.

    Raises:
        EvidenceError: None of them did, or something else was signed.
    """
    approval, key = open_approval(envelope, keys, resource)
    if approval != expected:
        what = f"run {expected.run}, step {expected.step}, by {expected.name}"
        raise EvidenceError("signed for something else", resource=resource, expected=what)
    return key
