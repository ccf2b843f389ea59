"""Under which key the vault holds what: packs, and objects of their own.

::

    packs/<part>-<random>       a pack
    <key>                       an object under its own key, where the vault can hold that
    keys/<key>                  the same, of a key that begins like one of these
    by-sha256/<sha256 of key>   an object whose key the vault cannot hold; the ledger has its key

So no key at the source can stand where a pack or another object stands, and a vault can be read back to keys without
its ledger, but for the last kind.
"""

import hashlib
import re
from dataclasses import dataclass

from exitdrill.connector.capabilities import KeyRule

__all__ = ["Found", "object_key", "pack_key", "parsed"]

_PACKS, _KEYS, _HASHED = "packs/", "keys/", "by-sha256/"
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a key in the vault stands for."""

    pack: bool
    key: str | None
    """The object's key at the source; None for a pack, and where only the ledger knows it."""
    hashed: str
    """The SHA-256 of the object's key, or of a pack's own."""


def pack_key(part: int, mark: str) -> str:
    """Where a pack goes.

    Args:
        part: The part of the inventory that its objects are from.
        mark: Never the same twice in a part.
    """
    return f"{_PACKS}{part:06d}-{mark}"


def object_key(key: str, rules: KeyRule) -> str:
    """Where an object goes that is in no pack.

    Args:
        key: At the source.
        rules: What keys the vault can hold.
    """
    own = f"{_KEYS}{key}" if key.startswith((_PACKS, _KEYS, _HASHED)) else key
    if not rules.violations(own) and not rules.folds and rules.object_and_prefix:
        return own
    return f"{_HASHED}{_sha256(key)}"


def parsed(vault_key: str) -> Found:
    """The inverse of `pack_key` and `object_key`."""
    if vault_key.startswith(_PACKS):
        return Found(pack=True, key=None, hashed=_sha256(vault_key))
    if vault_key.startswith(_HASHED):
        rest = vault_key.removeprefix(_HASHED)
        return Found(pack=False, key=None, hashed=rest if _HEX.fullmatch(rest) else _sha256(vault_key))
    key = vault_key.removeprefix(_KEYS)
    return Found(pack=False, key=key, hashed=_sha256(key))


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
