"""What an object is: its key, its bytes' facts, and the envelope around them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self

from exitdrill.clock import format_utc, parse_utc
from exitdrill.model.digests import Digests

__all__ = ["Envelope", "Loss", "ObjectEntry", "Outcome", "Pairs"]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything around an object's bytes that a person would miss if it were gone.

    Names in ``user`` and ``tags`` are kept as the place gave them, in that order sorted by name.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    user: Pairs = ()
    """User metadata."""
    tags: Pairs = ()
    """Index tags or object tags."""
    tier: str | None = None
    """The place's own name of the storage tier or class. Mapped by table, never passed through."""
    created: datetime | None = None
    """When the object was first written."""
    kind: str | None = None
    """The place's own kind of object: ``BlockBlob``, ``AppendBlob``, ``PageBlob``."""

    HEADERS: ClassVar[tuple[str, ...]] = (
        "content_type",
        "content_encoding",
        "content_language",
        "content_disposition",
        "cache_control",
    )
    """The fields that are HTTP representation headers."""

    def to_json(self) -> dict[str, object]:
        """As JSON, without what is not set."""
        out: dict[str, object] = {n: v for n in (*self.HEADERS, "tier", "kind") if (v := getattr(self, n)) is not None}
        if self.user:
            out["user"] = dict(self.user)
        if self.tags:
            out["tags"] = dict(self.tags)
        if self.created is not None:
            out["created"] = format_utc(self.created)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        fields = dict(data)
        user, tags, created = fields.pop("user", {}), fields.pop("tags", {}), fields.pop("created", None)
        if not isinstance(user, Mapping) or not isinstance(tags, Mapping):
            msg = "user metadata and tags are maps of strings"
            raise TypeError(msg)
        texts = {str(name): str(value) for name, value in fields.items()}
        return cls(
            **texts,
            user=pairs(user),
            tags=pairs(tags),
            created=None if created is None else parse_utc(str(created)),
        )


def pairs(mapping: Mapping[str, str] | None) -> Pairs:
    """A map as sorted pairs; None as no pairs."""
    return tuple(sorted((str(k), str(v)) for k, v in (mapping or {}).items()))


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object as one place describes it."""

    key: str
    """Byte-exact (UTF-8). Never a path. Ordered by code point, which is the order of the UTF-8 bytes."""
    size: int
    """In bytes, as stored."""
    etag: str | None = None
    """The place's opaque version mark, without quotes. Reads are pinned to it."""
    version: str | None = None
    """A version or snapshot id, where the object is not simply the current one."""
    modified: datetime | None = None
    """When it was last modified, by the place's clock."""
    digests: Digests = field(default=Digests.NONE)
    """Whole-object digests the place reports. Who computed them, the place's `Capabilities` say."""
    envelope: Envelope | None = None
    """None where this answer did not carry it (most listings)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One piece of an envelope that a target cannot hold."""

    field: str
    """``tags``, ``user.Name``, ``content_language``, ``tier`` …"""
    value: str
    """What it was at the source."""
    reason: str
    """Why the target cannot hold it."""


class Outcome(StrEnum):
    """What became of one object on one leg. ``listed = copied + every other outcome`` always holds."""

    COPIED = "copied"
    CHANGED = "changed during copy"
    """The source no longer has the version the inventory pinned."""
    MISSING = "missing at source"
    """Deleted at the source after it was listed."""
    CORRUPT = "corrupt in vault"
    """The vault's bytes are not what the ledger says went in."""
    LOST = "missing in vault"
    """The vault has no such object any more."""
    UNREPRESENTABLE = "key not representable"
    """The target cannot hold an object under this key."""
    ARCHIVED = "archived"
    """In an offline tier that was not rehydrated."""
    REFUSED = "refused"
    """The place answered with an error that trying again does not change."""
    NOT_EVACUATED = "not evacuated"
    """On the second leg: the first did not bring it."""

    @property
    def arrived(self) -> bool:
        """Whether the object is where this leg was to bring it."""
        return self is Outcome.COPIED
