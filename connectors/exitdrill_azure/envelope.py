"""What of an envelope a blob can hold, beyond what an `EnvelopeRule` says, and the headers that carry it.

Sources: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
and …/set-blob-tags. Rules: everything left out is a `Loss` with its reason; tiers go by the table here, and an
offline tier becomes the coldest one that can be read, because a blob that cannot be read cannot be verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import quote

from exitdrill.model.objects import Envelope, Loss, Pairs

__all__ = ["BLOCK", "fit", "headers_of"]

BLOCK, APPEND, PAGE = "BlockBlob", "AppendBlob", "PageBlob"
PAGE_BYTES = 512
"""Page blobs consist of these."""

_DEFAULT_TIER = frozenset({"STANDARD", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY"})
"""Classes elsewhere that mean no more than the account's own default here."""
_TIERS = MappingProxyType(
    {
        "Hot": "Hot",
        "Cool": "Cool",
        "Cold": "Cold",
        "STANDARD_IA": "Cool",
        "ONEZONE_IA": "Cool",
        "GLACIER_IR": "Cold",
        "Archive": "Cold",
        "GLACIER": "Cold",
        "DEEP_ARCHIVE": "Cold",
    }
)
_OFFLINE = frozenset({"Archive", "GLACIER", "DEEP_ARCHIVE"})
_TAG_TEXT = re.compile(r"[A-Za-z0-9 +\-./:=_]*")
_TAG_KEY_MAX, _TAG_VALUE_MAX = 128, 256
_HEADERS = MappingProxyType(
    {
        "content_type": "x-ms-blob-content-type",
        "content_encoding": "x-ms-blob-content-encoding",
        "content_language": "x-ms-blob-content-language",
        "content_disposition": "x-ms-blob-content-disposition",
        "cache_control": "x-ms-blob-cache-control",
    }
)


def fit(envelope: Envelope, size: int, tags_max: int) -> tuple[Envelope, tuple[Loss, ...]]:
    """What of the envelope a blob of ``size`` bytes can hold, and what is lost.

    The result's ``kind`` is the kind of blob to make.
    """
    losses: list[Loss] = []
    texts: dict[str, None] = {}
    for name in Envelope.HEADERS:
        value = getattr(envelope, name)
        if value is not None and not _is_header_text(value):
            losses.append(Loss(name, value, "an HTTP header holds printable ASCII, without blanks at its ends"))
            texts[name] = None
    kind = _kind(envelope, size, losses)
    fitted = replace(
        envelope,
        **texts,
        user=tuple(_user(envelope.user, losses)),
        # Too many are left for the capability's own rule, which gives up on them all.
        tags=envelope.tags if len(envelope.tags) > tags_max else tuple(_tags(envelope.tags, losses)),
        tier=_tier(envelope.tier, kind, losses),
        kind=kind,
    )
    return fitted, tuple(losses)


def headers_of(envelope: Envelope) -> dict[str, str]:
    """The request headers that set an envelope, as `fit` left it."""
    out = {header: value for field, header in _HEADERS.items() if (value := getattr(envelope, field)) is not None}
    out |= {f"x-ms-meta-{name}": value for name, value in envelope.user}
    if envelope.tags:
        out["x-ms-tags"] = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in envelope.tags)
    if envelope.tier is not None:
        out["x-ms-access-tier"] = envelope.tier
    return out


def _is_header_text(value: str) -> bool:
    """HTTP trims blanks at the ends of a header's value (RFC 9110, section 5.5)."""
    return value.isascii() and value.isprintable() and value == value.strip()


def _kind(envelope: Envelope, size: int, losses: list[Loss]) -> str:
    if envelope.kind == PAGE and size % PAGE_BYTES:
        losses.append(Loss("kind", PAGE, f"a page blob consists of pages of {PAGE_BYTES} bytes; written as {BLOCK}"))
        return BLOCK
    return envelope.kind if envelope.kind in {APPEND, PAGE} else BLOCK


def _user(items: Pairs, losses: list[Loss]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in items:
        if name.lower() in seen:
            losses.append(Loss(f"user.{name}", value, "another name differs only in case"))
            continue
        seen.add(name.lower())
        yield name, value


def _tags(items: Pairs, losses: list[Loss]) -> Iterator[tuple[str, str]]:
    for name, value in items:
        if not (0 < len(name) <= _TAG_KEY_MAX and len(value) <= _TAG_VALUE_MAX):
            losses.append(Loss(f"tags.{name}", value, "too long, or without a name"))
        elif not (_TAG_TEXT.fullmatch(name) and _TAG_TEXT.fullmatch(value)):
            losses.append(Loss(f"tags.{name}", value, "tags are letters, digits, blanks and + - . / : = _"))
        else:
            yield name, value


def _tier(tier: str | None, kind: str, losses: list[Loss]) -> str | None:
    if tier is None or tier in _DEFAULT_TIER:
        return None
    if kind != BLOCK:
        if tier != "Hot":
            losses.append(Loss("tier", tier, f"a {kind} has no tier of its own"))
        return None
    chosen = _TIERS.get(tier)
    if chosen is None:
        losses.append(Loss("tier", tier, "no such tier here; the account's default is used"))
    elif tier in _OFFLINE:
        losses.append(Loss("tier", tier, f"offline, so it could not be verified; written as {chosen}"))
    return chosen
