"""Public keys: what an outsider checks a signature with, and the names keys go by here.

A key's id is the SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal: anybody can compute it with
``openssl pkey -pubin -in KEY -outform DER | sha256sum``, whatever kind of key it is, and it says nothing about who
made it. Four kinds: Ed25519 (RFC 8032), ECDSA on P-256 with SHA-256 and on P-384 with SHA-384 (what PKCS#11 tokens
and key services have), RSA of 2,048 bits and more (PSS with SHA-256). No other is taken.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from exitdrill.errors import EvidenceError, SigningError

__all__ = ["KeyKind", "PublicKey"]

_FILE_MAX_BYTES = 16 * 1024
_RSA_MIN_BITS = 2048
_RSA_MAX_BITS = 8192
_GROUP = 8


class KeyKind(StrEnum):
    """What kind of key, and how it signs."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"
    ECDSA_P384 = "ecdsa-p384-sha384"
    RSA = "rsa-pss-sha256"


@dataclass(frozen=True)
class PublicKey:
    """One public key. Made by `from_pem`, `from_der` or `load`."""

    der: bytes
    """SubjectPublicKeyInfo."""
    kind: KeyKind

    @classmethod
    def from_der(cls, der: bytes, resource: str = "key") -> "PublicKey":
        """The key in a SubjectPublicKeyInfo. Raises SigningError."""
        try:
            key = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise SigningError("not a public key", resource=resource, expected="SubjectPublicKeyInfo") from exc
        return cls.of(key, resource)

    @classmethod
    def from_pem(cls, data: bytes, resource: str = "key") -> "PublicKey":
        """The key in a PEM file. Raises SigningError."""
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as exc:
            expected = "a file that begins with -----BEGIN PUBLIC KEY-----"
            raise SigningError("not a public key", resource=resource, expected=expected) from exc
        return cls.of(key, resource)

    @classmethod
    def of(cls, key: PublicKeyTypes, resource: str = "key") -> "PublicKey":
        """A key of `cryptography`'s. Raises SigningError for a kind that is not taken."""
        kind = _kind(key)
        if kind is None:
            expected = "Ed25519, ECDSA on P-256 or P-384, or RSA of 2,048 bits or more"
            raise SigningError("a kind of key that is not taken", resource=resource, expected=expected)
        return cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), kind)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """The key in a file, as PEM. Raises SigningError."""
        try:
            with path.open("rb") as file:
                data = file.read(_FILE_MAX_BYTES + 1)
        except OSError as exc:
            hint = "'exitdrill keys new PATH' makes a key pair"
            raise SigningError(f"cannot be read: {exc.strerror}", resource=str(path), hint=hint) from exc
        if len(data) > _FILE_MAX_BYTES:
            raise SigningError(f"larger than {_FILE_MAX_BYTES} bytes", resource=str(path), expected="a public key")
        if b"PRIVATE KEY" in data:
            hint = f"name its public half, such as {path.name}.pub"
            raise SigningError("a private key where a public one is wanted", resource=str(path), hint=hint)
        return cls.from_pem(data, str(path))

    @cached_property
    def id(self) -> str:
        """SHA-256 of `der`, 64 hexadecimal digits."""
        return sha256(self.der).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The id in groups of eight, to be compared by eye or read out on the telephone."""
        return " ".join(self.id[start : start + _GROUP] for start in range(0, len(self.id), _GROUP))

    @property
    def pem(self) -> bytes:
        """As a file has it."""
        return self.crypto.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def crypto(self) -> PublicKeyTypes:
        """The key as `cryptography` has it."""
        return load_der_public_key(self.der)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature: returns if this key made it over this message, else raises EvidenceError."""
        key = self.crypto
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, message)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                digest = hashes.SHA256() if self.kind is KeyKind.ECDSA_P256 else hashes.SHA384()
                key.verify(signature, message, ec.ECDSA(digest))
            elif isinstance(key, rsa.RSAPublicKey):
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(signature, message, pss, hashes.SHA256())
            else:  # pragma: no cover - `of` takes no other
                raise TypeError(type(key).__name__)
        except InvalidSignature as exc:
            raise EvidenceError("the signature is not good", resource=f"key {self.id[:16]}…") from exc


def _kind(key: PublicKeyTypes) -> KeyKind | None:
    if isinstance(key, Ed25519PublicKey):
        return KeyKind.ED25519
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": KeyKind.ECDSA_P256, "secp384r1": KeyKind.ECDSA_P384}.get(key.curve.name)
    if isinstance(key, rsa.RSAPublicKey) and _RSA_MIN_BITS <= key.key_size <= _RSA_MAX_BITS:
        return KeyKind.RSA
    return None
