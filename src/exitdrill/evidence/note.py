"""Signed notes (https://c2sp.org/signed-note): a text, an empty line, and a line for each signature.

Ed25519 keys sign as signature type 0x01, ECDSA keys as type 0x02: ASN.1 signatures over the text, with SHA-256 on
P-256 and SHA-384 on P-384. For RSA no type is assigned; RSA-PSS keys sign as type 0xff with an identifier of our
own, as the specification wants it. Who does not know a type passes over its lines.

Rules. The parser takes what the specification allows and nothing else, and no more than 16 signatures. Verification
passes over lines of unknown keys, and refuses a note in which a known key's signature is not good.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from exitdrill.errors import EvidenceError, SigningError
from exitdrill.evidence.publickey import KeyKind, PublicKey
from exitdrill.evidence.signers import Signer

__all__ = ["NOTE_MAX_BYTES", "Note", "NoteSignature", "key_id", "parse_note", "sign_note", "verify_note"]

NOTE_MAX_BYTES = 64 * 1024
_SIGNATURES_MAX = 16
_KEY_ID_BYTES = 4
_RSA_TYPE = b"\xffexitdrill/rsa-pss-sha256"
_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    """The key's name."""
    key_id: bytes
    """Four bytes."""
    signature: bytes

    def line(self) -> str:
        """As it stands in a note, with its line end."""
        return f"— {self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and who signed it."""

    text: str
    """With its line end."""
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """The note as a file has it."""
        return (self.text + "\n" + "".join(signature.line() for signature in self.signatures)).encode()


def key_id(name: str, key: PublicKey) -> bytes:
    """The four bytes that name a key in a note."""
    if key.kind is KeyKind.ED25519:
        raw = key.crypto.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return sha256(name.encode() + b"\n\x01" + raw).digest()[:_KEY_ID_BYTES]
    if key.kind is KeyKind.RSA:
        return sha256(name.encode() + b"\n" + _RSA_TYPE + key.der).digest()[:_KEY_ID_BYTES]
    return sha256(key.der).digest()[:_KEY_ID_BYTES]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name) and not _CONTROL.search(name)


def sign_note(text: str, name: str, signers: Iterable[Signer]) -> tuple[Note, list[SigningError]]:
    """Sign a text.

    Args:
        text: Ends with a line end.
        name: The name all keys go by.
        signers: Who signs.

    Returns:
        The note with the signatures that were made, and what kept the others from being made.
    """
    if not text.endswith("\n") or _CONTROL.search(text) or not _is_name(name):
        raise ValueError("not the text or the key name of a note")
    signatures, errors = [], []
    for signer in signers:
        try:
            made = signer.sign(text.encode())
        except SigningError as error:
            errors.append(error)
        else:
            signatures.append(NoteSignature(name, key_id(name, signer.key), made))
    return Note(text, tuple(signatures)), errors


def parse_note(data: bytes, resource: str = "note") -> Note:
    """Read a note. Raises EvidenceError for what is none."""

    def refused(what: str) -> EvidenceError:
        return EvidenceError(what, resource=resource, expected="a signed note (c2sp.org/signed-note)")

    if len(data) > NOTE_MAX_BYTES:
        raise refused(f"larger than {NOTE_MAX_BYTES} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError as exc:
        raise refused("not UTF-8") from exc
    if _CONTROL.search(whole):
        raise refused("has a control character in it")
    at = whole.rfind("\n\n")
    if at < 1 or not whole.endswith("\n"):
        raise refused("has no text, no empty line or no line end")
    lines = whole[at + 2 : -1].split("\n")
    if len(lines) > _SIGNATURES_MAX:
        raise refused(f"has more than {_SIGNATURES_MAX} signatures")
    return Note(whole[: at + 1], tuple(_signature(line, refused("a line that is no signature")) for line in lines))


def _signature(line: str, refused: EvidenceError) -> NoteSignature:
    match = _LINE.fullmatch(line)
    if match is None or not _is_name(match[1]):
        raise refused
    try:
        data = b64decode(match[2], validate=True)
    except ValueError as exc:
        raise refused from exc
    # Decoding is lenient about the bits after the last byte: the same signature would have several forms.
    if len(data) <= _KEY_ID_BYTES or b64encode(data).decode() != match[2]:
        raise refused
    return NoteSignature(match[1], data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def verify_note(
    note: Note, name: str, keys: Sequence[PublicKey], threshold: int = 1, resource: str = "note"
) -> tuple[PublicKey, ...]:
    """Check who signed a note.

    Args:
        note: The note.
        name: The name the keys go by.
        keys: The keys that are known.
        threshold: How many different ones of them must have signed.
        resource: What messages call the note.

    Returns:
        The known keys that signed it, in their order.

    Raises:
        EvidenceError: Too few did, or a signature of a known key is not good.
    """
    if threshold < 1:
        raise ValueError("a threshold below 1 is met by anybody")
    signed: dict[str, PublicKey] = {}
    for key in keys:
        own = key_id(name, key)
        for signature in note.signatures:
            if (signature.name, signature.key_id) != (name, own):
                continue
            try:
                key.verify(signature.signature, note.text.encode())
            except EvidenceError as exc:
                raise EvidenceError(f"the signature of key {key.id[:16]}… is not good", resource=resource) from exc
            signed[key.id] = key
    if len(signed) < threshold:
        what = f"signed by {len(signed)} of the known keys"
        raise EvidenceError(what, resource=resource, expected=f"{threshold}")
    return tuple(signed.values())
