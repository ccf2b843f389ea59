"""Making key pairs: where one was asked for, and the machine's own where a drill names none.

A private key is an Ed25519 key as PEM (PKCS#8, RFC 8410), mode 0600, without a passphrase; its public half stands
beside it under the same name with ``.pub``. Nothing is ever overwritten. The machine's key is made at first need;
two processes that need it at once end up with the same one, because a file is linked to its name, which fails
where the name is taken.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from platformdirs import user_config_path

from exitdrill.errors import SigningError
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer, open_key
from exitdrill.transfer.layout import fsync_directory

__all__ = ["machine_key_path", "machine_signer", "new_key", "public_path"]

_MACHINE = "machine.pem"


def public_path(path: Path) -> Path:
    """Where the public half of a private key is."""
    return path.with_name(path.name + ".pub")


def new_key(path: Path) -> PublicKey:
    """Make a key pair. Raises SigningError where one of the two files is there already, or cannot be written."""
    if public_path(path).exists():
        raise SigningError("is there already", resource=str(public_path(path)), hint="keys are never overwritten")
    if not _make(path):
        raise SigningError("is there already", resource=str(path), hint="keys are never overwritten: take another name")
    return _write_public(path)


def machine_key_path() -> Path:
    """Where the machine's key is, or will be: in the user's configuration folder."""
    return user_config_path("exitdrill") / _MACHINE


def machine_signer() -> tuple[Signer, bool]:
    """The key of this machine and this user, and whether it was made just now. Raises SigningError."""
    path = machine_key_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        hint = "name a key in the drill (evidence.signers), or set XDG_CONFIG_HOME to a folder that can be written"
        raise SigningError(f"cannot be made: {exc.strerror}", resource=str(path.parent), hint=hint) from exc
    made = not path.exists() and _make(path)
    signer = open_key(str(path), path.parent)
    if not public_path(path).exists():
        _write_public(path)
    return signer, made


def _make(path: Path) -> bool:
    """Write a new private key under a name; False where the name is taken. Raises SigningError."""
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _place(path, data, 0o600)


def _write_public(path: Path) -> PublicKey:
    """Write the public half beside a private key, unless it is there."""
    key = open_key(str(path), path.parent).key
    _place(public_path(path), key.pem, 0o644)
    return key


def _place(path: Path, data: bytes, mode: int) -> bool:
    """Write a file whole under a name that is free; False where it is taken."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, path)
        except FileExistsError:
            return False
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
        fsync_directory(path.parent)
    except OSError as exc:
        raise SigningError(f"cannot be written: {exc.strerror}", resource=str(path)) from exc
    return True
