"""What a place can really do.

A connector *claims* capabilities; preflight *probes* them and narrows the claim to what proved true; the
conformance suite checks both directions. Everything after preflight works with the narrowed value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from exitdrill.clock import format_utc
from exitdrill.model.digests import DigestKind
from exitdrill.model.objects import Envelope, Loss, Pairs

__all__ = ["Capabilities", "EnvelopeRule", "KeyRule"]

_PLAIN_KIND = "BlockBlob"
"""What every place can write: bytes under a key."""
_PLAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*(?:/[\w-]+(?:\.[\w-]+)*)*", re.ASCII)
"""Keys in which no rule can find anything but their length; nearly all are like that."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""


@dataclass(frozen=True, slots=True)
class KeyRule:
    """Which keys a place keeps byte-exact."""

    max_bytes: int = 1024
    """Longest key, in UTF-8 bytes."""
    max_segment_bytes: int | None = None
    """Longest part between two slashes, in UTF-8 bytes."""
    empty_segments: bool = True
    """``a//b`` and ``/a`` stay as they are."""
    dot_segments: bool = True
    """``.`` and ``..`` between slashes stay as they are."""
    trailing_slash: bool = True
    """``a/`` is an object of its own, with bytes."""
    trailing_dot: bool = True
    """``a.`` and ``a./b`` stay as they are."""
    backslash: bool = True
    """``\\`` stays as it is."""
    control_characters: bool = True
    """U+0001 to U+001F and U+007F are kept."""
    non_characters: bool = True
    """U+FFFE and U+FFFF are kept."""
    case_sensitive: bool = True
    """``a`` and ``A`` are two objects."""
    normalisation_sensitive: bool = True
    """A composed and a decomposed letter (Unicode NFC, NFD) are two objects."""
    object_and_prefix: bool = True
    """``a`` and ``a/b`` can both be objects."""

    def violations(self, key: str) -> tuple[str, ...]:
        """Why this place cannot hold that key by itself; empty if it can. Collisions are not seen here."""
        if len(key) <= min(self.max_bytes, self.max_segment_bytes or self.max_bytes) and _PLAIN.fullmatch(key):
            return ()
        return tuple(self._violations(key))

    def _violations(self, key: str) -> Iterator[str]:
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            yield "not valid Unicode"
            return
        if size == 0:
            yield "empty"
        if size > self.max_bytes:
            yield f"{size} bytes, longer than {self.max_bytes}"
        segments = key.split("/")
        if self.max_segment_bytes is not None:
            longest = max(len(segment.encode()) for segment in segments)
            if longest > self.max_segment_bytes:
                yield f"a segment of {longest} bytes, longer than {self.max_segment_bytes}"
        body = segments[:-1] if key.endswith("/") else segments
        if not self.empty_segments and "" in body:
            yield "an empty segment (//)"
        if not self.dot_segments and ("." in segments or ".." in segments):
            yield "a segment that is . or .."
        if not self.trailing_slash and key.endswith("/"):
            yield "a trailing /"
        if not self.trailing_dot and any(s.endswith(".") and s.strip(".") for s in segments):
            yield "a segment that ends in a dot"
        if not self.backslash and "\\" in key:
            yield "a backslash"
        if not self.control_characters and any(ord(c) < 0x20 or ord(c) == 0x7F for c in key):  # noqa: PLR2004 - ASCII
            yield "a control character"
        if not self.non_characters and any(c in "\ufffe\uffff" for c in key):
            yield "a Unicode non-character"

    def fold(self, key: str) -> str:
        """The name under which this place would take two keys for one."""
        folded = key if self.normalisation_sensitive else unicodedata.normalize("NFC", key)
        return folded if self.case_sensitive else folded.casefold()

    @property
    def folds(self) -> bool:
        """Whether two different keys can be one object here."""
        return not (self.case_sensitive and self.normalisation_sensitive)


@dataclass(frozen=True, slots=True)
class EnvelopeRule:
    """Which parts of an envelope a place keeps."""

    headers: frozenset[str] = frozenset(Envelope.HEADERS)
    """The representation headers kept, by `Envelope` field name."""
    user: bool = True
    """User metadata is kept."""
    user_max_bytes: int = 2048
    """Names and values together."""
    user_lower_case: bool = False
    """Names come back in lower case."""
    user_identifiers_only: bool = False
    """Names must be C# identifiers (Azure): letters, digits, underscores."""
    user_ascii_only: bool = True
    """Metadata travels in HTTP headers: what is not printable ASCII, or ends in spaces, is not kept."""
    user_empty: bool = True
    """Names with an empty value are kept."""
    tags_max: int = 0
    """How many tags an object may have; 0 for none."""
    created: bool = False
    """The creation time can be set."""
    kinds: frozenset[str] = frozenset()
    """The kinds of object it can write beside the plain one."""

    def split(self, envelope: Envelope) -> tuple[Envelope, tuple[Loss, ...]]:
        """What of an envelope this place keeps, and what is lost, with reasons."""
        losses: list[Loss] = []
        dropped: dict[str, None] = {}
        for name in Envelope.HEADERS:
            value = getattr(envelope, name)
            if value is not None and name not in self.headers:
                losses.append(Loss(name, value, "this place keeps no such header"))
                dropped[name] = None
        user = tuple(self._user(envelope.user, losses))
        tags = envelope.tags if len(envelope.tags) <= self.tags_max else ()
        if envelope.tags and not tags:
            reason = f"more than {self.tags_max} tags" if self.tags_max else "this place keeps no tags"
            losses.extend(Loss(f"tags.{name}", value, reason) for name, value in envelope.tags)
        if envelope.created is not None and not self.created:
            losses.append(Loss("created", format_utc(envelope.created), "the creation time cannot be set here"))
            dropped["created"] = None
        if envelope.kind not in (None, _PLAIN_KIND, *self.kinds):
            losses.append(Loss("kind", str(envelope.kind), "this place writes no such kind of object"))
            dropped["kind"] = None
        if dropped or user != envelope.user or tags != envelope.tags:
            envelope = _cut(envelope, dropped, user, tags)
        return envelope, tuple(losses)

    def _user(self, items: Iterable[tuple[str, str]], losses: list[Loss]) -> Iterator[tuple[str, str]]:
        used, seen = 0, set[str]()
        for name, value in items:
            kept = name.lower() if self.user_lower_case else name
            size = len(name.encode()) + len(value.encode())
            reason = ""
            if not self.user:
                reason = "this place keeps no user metadata"
            elif used + size > self.user_max_bytes:
                reason = f"more than {self.user_max_bytes} bytes of user metadata"
            elif self.user_identifiers_only and not name.isidentifier():
                reason = "the name is not an identifier"
            elif self.user_ascii_only and not (value.isascii() and value.isprintable() and name.isascii()):
                reason = "a character outside printable ASCII"
            elif self.user_ascii_only and value != value.strip():
                reason = "spaces at the ends, which an HTTP header does not carry"
            elif self.user_ascii_only and not _TOKEN.fullmatch(name):
                reason = "the name cannot be part of an HTTP header's name"
            elif not value and not self.user_empty:
                reason = "a name without a value"
            elif kept in seen:
                reason = "another name differs only in case"
            if reason:
                losses.append(Loss(f"user.{name}", value, reason))
                continue
            if kept != name:
                losses.append(Loss(f"user.{name}", name, f"the name comes back as {kept}"))
            used += size
            seen.add(kept)
            yield kept, value


def _cut(envelope: Envelope, dropped: Mapping[str, None], user: Pairs, tags: Pairs) -> Envelope:
    """`dataclasses.replace` for what is done once an object."""

    def kept(name: str) -> str | None:
        value: str | None = None if name in dropped else getattr(envelope, name)
        return value

    return Envelope(
        kept("content_type"),
        kept("content_encoding"),
        kept("content_language"),
        kept("content_disposition"),
        kept("cache_control"),
        user,
        tags,
        envelope.tier,
        None if "created" in dropped else envelope.created,
        kept("kind"),
    )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one container at one place can do."""

    keys: KeyRule = KeyRule()
    envelope: EnvelopeRule = EnvelopeRule()
    attests: frozenset[DigestKind] = frozenset()
    """Whole-object digests the server itself computes and reports for what it stored."""
    refuses_wrong: frozenset[DigestKind] = frozenset()
    """Digests that, sent wrong with the bytes, make the server refuse them."""
    listing_digests: frozenset[DigestKind] = frozenset()
    """Attested digests that a listing already carries, without a request an object."""
    max_object_bytes: int = 5 * 1024**4
    """Largest object."""
    max_single_put_bytes: int = 5 * 1024**3
    """Largest object written in one request. Larger ones go in parts, where some digests are not attested."""
    multipart_attests: frozenset[DigestKind] = frozenset()
    """Whole-object digests the server attests for an object written in parts."""
    sorted_listing: bool = True
    """A listing comes in the order of the keys' UTF-8 bytes."""
    start_after: bool = True
    """A listing can begin after a given key."""
    delimited_listing: bool = False
    """A listing can stop at a slash, and gives the prefixes of what lies below."""
    pinned_reads: bool = True
    """A read can be pinned to an ETag."""
    conditional_writes: bool = False
    """A write can be refused when the key exists (If-None-Match)."""
    changing_etags: bool = True
    """Other bytes give another ETag."""
    versions: bool = False
    """Earlier versions can be listed and read."""
    snapshots: bool = False
    """Snapshots can be listed and read."""

    def narrowed(self, **changes: object) -> Capabilities:
        """A copy with these fields replaced by what a probe found."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """As JSON; sets as sorted lists."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        values = dict(data)
        keys, envelope = values.pop("keys", None), values.pop("envelope", None)
        if not isinstance(keys, Mapping) or not isinstance(envelope, Mapping):
            msg = "keys and envelope are maps"
            raise TypeError(msg)
        rule = {k: frozenset(v) if isinstance(v, list) else v for k, v in envelope.items()}
        known = {f.name for f in fields(cls)}
        rest = {
            k: frozenset(DigestKind(str(d)) for d in v) if isinstance(v, list) else v
            for k, v in values.items()
            if k in known
        }
        return cls(keys=KeyRule(**keys), envelope=EnvelopeRule(**rule), **rest)  # type: ignore[arg-type]


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
