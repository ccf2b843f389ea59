"""Digests, and who vouches for them.

A digest proves nothing without knowing who computed it: one that a client wrote into a header and a server
merely kept is the client's word. Two digests are equal, different, or *absent*: absent is never equal.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NoReturn, Self

from awscrt import checksums

__all__ = ["ALL_KINDS", "Comparison", "DigestKind", "Digests", "Hasher", "Witness", "digests_of"]


class DigestKind(StrEnum):
    """The whole-object digests exitdrill knows."""

    SHA256 = "sha256"
    """FIPS 180-4; ours, always computed."""
    CRC64NVME = "crc64nvme"
    """CRC-64/NVME, big-endian. Azure's transactional CRC64 is the same value little-endian."""
    CRC32C = "crc32c"
    """RFC 3720, big-endian."""
    MD5 = "md5"
    """RFC 1321; only where a side attests it."""


ALL_KINDS = frozenset(DigestKind)


class Witness(StrEnum):
    """Who computed a digest."""

    SOURCE = "source"
    """The place read from."""
    US = "us"
    """This program, over the bytes as they passed."""
    VAULT = "vault"
    """The vault's own server."""
    TARGET = "target"
    """The target's own server."""
    CLIENT = "client"
    """Some client wrote it down once; proves nothing."""


class Comparison(StrEnum):
    """What comparing two sets of digests says."""

    EQUAL = "equal"
    DIFFERENT = "different"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Digests:
    """Whole-object digests as raw big-endian bytes; None where there is none."""

    sha256: bytes | None = None
    crc64nvme: bytes | None = None
    crc32c: bytes | None = None
    md5: bytes | None = None

    NONE: ClassVar["Digests"]
    """No digest at all."""

    def __post_init__(self) -> None:
        """Refuse a digest of the wrong length."""
        # Made for every object of every listing, so written out.
        if self.sha256 is not None and len(self.sha256) != 32:  # noqa: PLR2004 - as FIPS 180-4 has it
            _refuse("sha256", 32, self.sha256)
        if self.crc64nvme is not None and len(self.crc64nvme) != 8:  # noqa: PLR2004 - 64 bits
            _refuse("crc64nvme", 8, self.crc64nvme)
        if self.crc32c is not None and len(self.crc32c) != 4:  # noqa: PLR2004 - 32 bits
            _refuse("crc32c", 4, self.crc32c)
        if self.md5 is not None and len(self.md5) != 16:  # noqa: PLR2004 - as RFC 1321 has it
            _refuse("md5", 16, self.md5)

    def get(self, kind: DigestKind) -> bytes | None:
        """The digest of that kind."""
        found: bytes | None = getattr(self, kind.value)
        return found

    @property
    def kinds(self) -> frozenset[DigestKind]:
        """Which digests there are."""
        return frozenset(kind for kind, name in _NAMES if getattr(self, name) is not None)

    def only(self, kinds: Iterable[DigestKind]) -> "Digests":
        """These digests without those of other kinds."""
        keep = frozenset(kinds)
        return Digests(*(getattr(self, name) if kind in keep else None for kind, name in _NAMES))

    def merged(self, other: "Digests") -> "Digests":
        """These, and the other's where these have none."""
        return Digests(*(getattr(self, name) or getattr(other, name) for _, name in _NAMES))

    def compare(self, other: "Digests") -> Comparison:
        """Different if any kind both have differs, equal if at least one agrees, else absent."""
        found = Comparison.ABSENT
        for _, name in _NAMES:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours is None or theirs is None:
                continue
            if ours != theirs:
                return Comparison.DIFFERENT
            found = Comparison.EQUAL
        return found

    def to_json(self) -> dict[str, str]:
        """Kind to hexadecimal."""
        every = (("sha256", self.sha256), ("crc64nvme", self.crc64nvme), ("crc32c", self.crc32c), ("md5", self.md5))
        return {kind: value.hex() for kind, value in every if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Self:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        return cls(**{kind: bytes.fromhex(text) for kind, text in data.items()})

    def base64(self, kind: DigestKind) -> str | None:
        """The digest in the form HTTP headers carry."""
        value = self.get(kind)
        return None if value is None else base64.b64encode(value).decode("ascii")


def _refuse(kind: str, size: int, value: bytes) -> NoReturn:
    msg = f"{kind} takes {size} bytes, not {len(value)}"
    raise ValueError(msg)


_NAMES = tuple(
    (kind, kind.value) for kind in (DigestKind.SHA256, DigestKind.CRC64NVME, DigestKind.CRC32C, DigestKind.MD5)
)
"""In the order of the fields."""
Digests.NONE = Digests()


class Hasher:
    """Every digest asked for, from one pass over the bytes.

    Args:
        kinds: Which digests; SHA-256 and CRC-64/NVME unless told otherwise.
    """

    DEFAULT: ClassVar[frozenset[DigestKind]] = frozenset({DigestKind.SHA256, DigestKind.CRC64NVME})

    def __init__(self, kinds: Iterable[DigestKind] = DEFAULT) -> None:
        """See the class."""
        wanted = frozenset(kinds)
        self._sha256 = hashlib.sha256() if DigestKind.SHA256 in wanted else None
        self._md5 = hashlib.md5(usedforsecurity=False) if DigestKind.MD5 in wanted else None
        self._crc64: int | None = 0 if DigestKind.CRC64NVME in wanted else None
        self._crc32c: int | None = 0 if DigestKind.CRC32C in wanted else None
        self.length_bytes = 0

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.length_bytes += len(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        if self._crc64 is not None:
            self._crc64 = checksums.crc64nvme(data, self._crc64)
        if self._crc32c is not None:
            self._crc32c = checksums.crc32c(data, self._crc32c)

    def copy(self) -> "Hasher":
        """A second hasher in the same state."""
        twin = Hasher(())
        twin._sha256 = None if self._sha256 is None else self._sha256.copy()
        twin._md5 = None if self._md5 is None else self._md5.copy()
        twin._crc64, twin._crc32c = self._crc64, self._crc32c
        twin.length_bytes = self.length_bytes
        return twin

    def digests(self) -> Digests:
        """The digests of what was taken in so far."""
        return Digests(
            sha256=None if self._sha256 is None else self._sha256.digest(),
            crc64nvme=None if self._crc64 is None else self._crc64.to_bytes(8, "big"),
            crc32c=None if self._crc32c is None else self._crc32c.to_bytes(4, "big"),
            md5=None if self._md5 is None else self._md5.digest(),
        )


def digests_of(data: bytes | bytearray, kinds: frozenset[DigestKind] = Hasher.DEFAULT) -> Digests:
    """The digests of bytes that are all there: what a `Hasher` gives, for less."""
    crc64 = checksums.crc64nvme(data).to_bytes(8, "big") if DigestKind.CRC64NVME in kinds else None
    crc32c = checksums.crc32c(data).to_bytes(4, "big") if DigestKind.CRC32C in kinds else None
    md5 = hashlib.md5(data, usedforsecurity=False).digest() if DigestKind.MD5 in kinds else None
    return Digests(hashlib.sha256(data).digest() if DigestKind.SHA256 in kinds else None, crc64, crc32c, md5)
