"""Keys that sign: in a file, on a PKCS#11 token, in a key service.

A key is named by the path of a PEM file (PKCS#8, no passphrase), by the PEM text itself where a reference such as
``${env:NAME}`` stood for it, or by a URI of securesystemslib's: ``file2:PATH``, ``hsm:[ID][?label=TOKEN]``,
``awskms:…``, ``azurekms:…``, ``gcpkms:…``, ``hv:…``. The last five need the public half, which is compared with what
they sign: every signature is verified before it leaves this module, so that a token that holds another key is found
out at once and not by an auditor.

Tokens and services get half a minute for a signature: a drill's clock runs while one is made, and a service that is
away can hold its library for minutes, a token for ever. One that is late is not asked again before it has answered.

Tokens and services are reached through securesystemslib's signers. Keys in files are not, though it reads the same
files and makes the same signatures: to import it is to import every cloud's SDK, and a drill's clock runs meanwhile.
"""

import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exitdrill.errors import EvidenceError, ExitdrillError, SigningError
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.within import Busy
from exitdrill.plan.drill import SigningKey
from exitdrill.plan.secrets import resolve

__all__ = ["Signer", "open_key", "open_pem", "open_signer"]

_FILE_MAX_BYTES = 64 * 1024
_FILE_SCHEMES = ("file2", "file")
_LIMIT_SECONDS = 30.0
_EXTRAS = {
    "hsm": "'exitdrill[hsm]'",
    "awskms": "'exitdrill[awskms]'",
    "azurekms": "'exitdrill[azurekms]'",
    "gcpkms": "'securesystemslib[crypto,gcpkms]'",
    "hv": "'securesystemslib[crypto,vault]'",
}
"""What to install for each scheme."""


Sign = Callable[[bytes], bytes]
"""Makes the signature over a message; raises whatever it does."""


class Signer:
    """One key that signs.

    Args:
        make: Makes a signature.
        key: The public half.
        name: How messages call it; no secret.
    """

    def __init__(self, make: Sign, key: PublicKey, name: str) -> None:
        """See the class."""
        self._make, self.key, self.name = make, key, name

    def sign(self, message: bytes) -> bytes:
        """The signature over a message, verified. Raises SigningError."""
        try:
            signature = self._make(message)
        except Exception as exc:  # tokens and services raise whatever their libraries do
            raise SigningError(f"does not sign: {_reason(exc)}", resource=self.name) from exc
        try:
            self.key.verify(signature, message)
        except EvidenceError as exc:
            hint = "it may hold another key, or not sign in the way its kind of key does"
            what = f"makes signatures that its public half {self.key.id[:16]}… does not verify"
            raise SigningError(what, resource=self.name, hint=hint) from exc
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
    return Signer(partial(_sign, private), key, name)


def _sign(private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, message: bytes) -> bytes:
    """As `PublicKey.verify` wants it."""
    if isinstance(private, Ed25519PrivateKey):
        return private.sign(message)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        digest = hashes.SHA256() if private.curve.name == "secp256r1" else hashes.SHA384()
        return private.sign(message, ec.ECDSA(digest))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return private.sign(message, pss, hashes.SHA256())


def _open_uri(uri: str, scheme: str, public: PublicKey | None, pin: str | None, name: str) -> Signer:
    if public is None:
        raise SigningError("needs its public half", resource=name, expected="public: PATH beside key")
    if scheme == "hsm" and pin is None:
        raise SigningError("needs a PIN", resource=name, expected="pin: ${env:NAME}, or ${file:PATH}")
    if scheme == "hsm" and not os.environ.get("PYKCS11LIB"):
        hint = "set PYKCS11LIB to the PKCS#11 library of the token, such as libykcs11.so"
        raise SigningError("the environment variable PYKCS11LIB is not set", resource=name, hint=hint)
    missing = SigningError(
        "the library for this kind of key is not installed", resource=name, hint=f"pip install {_EXTRAS[scheme]}"
    )
    try:
        from securesystemslib.exceptions import UnsupportedLibraryError
        from securesystemslib.signer import Signer as AnySigner
        from securesystemslib.signer import SSlibKey
    except ImportError as exc:
        raise missing from exc
    key = SSlibKey.from_crypto(public.crypto, public.id)
    busy: Busy[Any] = Busy(_LIMIT_SECONDS)
    try:
        inner = busy.call(lambda: AnySigner.from_priv_key_uri(uri, key, lambda _which: pin or ""))
    except UnsupportedLibraryError as exc:
        raise missing from exc
    except Exception as exc:  # tokens and services raise whatever their libraries do
        raise SigningError(f"cannot be opened: {_reason(exc)}", resource=name) from exc
    return Signer(lambda message: bytes.fromhex(busy.call(lambda: inner.sign(message)).signature), public, name)
