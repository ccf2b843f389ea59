"""Keys that sign: in a file, on a PKCS#11 token, in a key service, through securesystemslib's signers.

A key is named by the path of a PEM file (PKCS#8, no passphrase), by the PEM text itself where a reference such as
``${env:NAME}`` stood for it, or by a URI of securesystemslib's: ``file2:PATH``, ``hsm:[ID][?label=TOKEN]``,
``awskms:…``, ``azurekms:…``, ``gcpkms:…``, ``hv:…``. The last five need the public half, which is compared with what
they sign: every signature is verified before it leaves this module, so that a token that holds another key is found
out at once and not by an auditor.

securesystemslib is imported when a key is opened, not before: it loads every SDK it can find.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exitdrill.errors import EvidenceError, ExitdrillError, SigningError
from exitdrill.evidence.publickey import PublicKey
from exitdrill.plan.drill import SigningKey
from exitdrill.plan.secrets import resolve

__all__ = ["Signer", "open_key", "open_pem", "open_signer"]

_FILE_MAX_BYTES = 64 * 1024
_FILE_SCHEMES = ("file2", "file")
_EXTRAS = {
    "hsm": "'exitdrill[hsm]'",
    "awskms": "'exitdrill[awskms]'",
    "azurekms": "'exitdrill[azurekms]'",
    "gcpkms": "'securesystemslib[gcpkms]'",
    "hv": "'securesystemslib[vault]'",
}
"""What to install for each scheme."""


class _Signature(Protocol):
    signature: str


class _Signs(Protocol):
    """What is used of `securesystemslib.signer.Signer`."""

    def sign(self, payload: bytes) -> _Signature:
        """Sign."""


class Signer:
    """One key that signs.

    Args:
        inner: What signs.
        key: The public half.
        name: How messages call it; no secret.
    """

    def __init__(self, inner: _Signs, key: PublicKey, name: str) -> None:
        """See the class."""
        self._inner, self.key, self.name = inner, key, name

    def sign(self, message: bytes) -> bytes:
        """The signature over a message, verified. Raises SigningError."""
        try:
            signature = bytes.fromhex(self._inner.sign(message).signature)
        except Exception as exc:  # tokens and services raise whatever their libraries do
            raise SigningError(f"does not sign: {_reason(exc)}", resource=self.name) from exc
        try:
            self.key.verify(signature, message)
        except EvidenceError as exc:
            expected = f"signatures of the public key {self.key.id[:16]}…"
            raise SigningError("signs with another key", resource=self.name, expected=expected) from exc
        return signature


def _reason(exc: Exception) -> str:
    """An exception of somebody else's in a line; PKCS#11's have no text."""
    text = str(exc).strip().partition("\n")[0]
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def open_signer(key: SigningKey, environ: Mapping[str, str], base: Path) -> Signer:
    """Open a key that a drill names.

    Args:
        key: As the drill has it, references unresolved.
        environ: Where ``${env:NAME}`` is looked up.
        base: Where relative paths start.

    Raises:
        SigningError: It cannot be opened, or is not the key whose public half is named.
    """
    try:
        found = resolve({"key": key.key} | ({"pin": key.pin} if key.pin else {}), environ, base)
    except ExitdrillError as error:
        raise SigningError(error.problem, resource="evidence.signers", hint=error.hint) from error
    public = None if key.public is None else PublicKey.load(base / Path(key.public).expanduser())
    pin = found.get("pin")
    name = key.key if key.key == found["key"] else f"the key in {key.key}"
    return open_key(str(found["key"]), base, public, None if pin is None else str(pin), name)


def open_key(
    text: str, base: Path, public: PublicKey | None = None, pin: str | None = None, name: str | None = None
) -> Signer:
    """Open a key by its path, URI or PEM text.

    Args:
        text: See the module.
        base: Where a relative path starts.
        public: Its public half; wanted for keys that are not in a file, compared for those that are.
        pin: A token's.
        name: How messages call it; the text itself unless given.

    Raises:
        SigningError: It cannot be opened, or is not the key whose public half is given.
    """
    if text.lstrip().startswith("-----BEGIN"):
        return open_pem(text.encode(), name or "a key given as text", public)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _EXTRAS:
        return _open_uri(text, scheme, public, pin, name or text)
    path = base / Path(rest if colon and scheme in _FILE_SCHEMES else text).expanduser()
    return open_pem(_private_file(path), name or str(path), public)


def _private_file(path: Path) -> bytes:
    hint = "'exitdrill keys new PATH' makes a key pair"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise SigningError(f"cannot be read: {exc.strerror}", resource=str(path), hint=hint) from exc
    if not stat.S_ISREG(mode) or len(data) > _FILE_MAX_BYTES:
        raise SigningError("not a file with a private key", resource=str(path), hint=hint)
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise SigningError(
            f"others may read or change it (mode {stat.S_IMODE(mode):04o})",
            resource=str(path),
            expected="mode 0600",
            hint=f"chmod 600 {path}, and make a new key if somebody may have taken this one",
        )
    return data


def open_pem(data: bytes, name: str, public: PublicKey | None = None) -> Signer:
    """Open a private key in PEM form.

    Args:
        data: PKCS#8, without a passphrase.
        name: How messages call it.
        public: Its public half, to be compared.

    Raises:
        SigningError: It is none, or not the key whose public half is given.
    """
    try:
        private = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        # Not chained with what it holds: the cause's text is `cryptography`'s own and has no part of the key.
        expected = "PEM that begins with -----BEGIN PRIVATE KEY-----, without a passphrase"
        raise SigningError("not a private key", resource=name, expected=expected) from exc
    if not isinstance(private, Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SigningError("a kind of key that is not taken", resource=name, expected="Ed25519, ECDSA or RSA")
    key = PublicKey.of(private.public_key(), name)
    if public is not None and public.id != key.id:
        raise SigningError("is not the other half of the public key named with it", resource=name)
    from securesystemslib.signer import CryptoSigner, SSlibKey

    return Signer(CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), key.id)), key, name)


def _open_uri(uri: str, scheme: str, public: PublicKey | None, pin: str | None, name: str) -> Signer:
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import Signer as AnySigner
    from securesystemslib.signer import SSlibKey

    if public is None:
        raise SigningError("needs its public half", resource=name, expected="public: PATH beside key")
    if scheme == "hsm" and pin is None:
        raise SigningError("needs a PIN", resource=name, expected="pin: ${env:NAME}, or ${file:PATH}")
    if scheme == "hsm" and not os.environ.get("PYKCS11LIB"):
        hint = "set PYKCS11LIB to the PKCS#11 library of the token, such as libykcs11.so"
        raise SigningError("the environment variable PYKCS11LIB is not set", resource=name, hint=hint)
    secrets: Callable[[str], str] = lambda _which: pin or ""  # noqa: E731 - it is handed over at once
    try:
        inner = AnySigner.from_priv_key_uri(uri, SSlibKey.from_crypto(public.crypto, public.id), secrets)
    except UnsupportedLibraryError as exc:
        hint = f"pip install {_EXTRAS[scheme]}"
        raise SigningError("the library for this kind of key is not installed", resource=name, hint=hint) from exc
    except Exception as exc:  # tokens and services raise whatever their libraries do
        raise SigningError(f"cannot be opened: {_reason(exc)}", resource=name) from exc
    return Signer(inner, public, name)
