"""Key mappings: how keys that a target cannot hold are written there, reversibly.

``percent``: percent-encoding (RFC 3986) of just what is in the way. A literal ``%`` becomes ``%25``; a slash
that would make an empty segment, or begin or end the key, becomes ``%2F``; segments ``.`` and ``..``, a
trailing dot, backslashes, control characters and non-characters are encoded too. A segment that would be too
long is broken by ``%/``, which nothing else produces. So the way back is: remove every ``%/``, then
percent-decode. The mapping is one-to-one, and keys with nothing in the way stay as they are.
"""

import re
from itertools import pairwise
from urllib.parse import unquote

from exitdrill.errors import InvalidKeyError

__all__ = ["MAPPINGS", "restored", "target_key"]

MAPPINGS = ("none", "percent")
_SEGMENT_BYTES = 200
_IN_THE_WAY = re.compile(r"[%\\\x00-\x1f\x7f\ufffe\uffff]")
_TOKEN = re.compile(r"%[0-9A-F]{2}|.", re.DOTALL)


def target_key(mapping: str, prefix: str, key: str) -> str:
    """The key under which the target holds an object.

    Args:
        mapping: One of `MAPPINGS`.
        prefix: What the drill puts before every key of the asset at the target.
        key: The object's key without the source's prefix taken off.

    Raises:
        InvalidKeyError: The key is not valid Unicode.
    """
    return prefix + (_percent(key) if mapping == "percent" else key)


def restored(mapping: str, prefix: str, key: str) -> str:
    """The inverse of `target_key`. Raises InvalidKeyError if the key is not one that it makes."""
    if not key.startswith(prefix):
        raise InvalidKeyError(f"does not begin with {prefix!r}", resource=repr(key))
    rest = key.removeprefix(prefix)
    if mapping != "percent":
        return rest
    return unquote(rest.replace("%/", ""), errors="strict")


def _encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _percent(key: str) -> str:
    try:
        key.encode()
    except UnicodeEncodeError as exc:
        raise InvalidKeyError("not valid Unicode", resource=ascii(key)) from exc
    segments = [_IN_THE_WAY.sub(_encode, part) for part in key.split("/")]
    segments = [_dots(part) for part in segments]
    joined = segments[0]
    for before, part in pairwise(segments):
        joined += ("/" if before and part else "%2F") + part
    return "/".join(_broken(part) for part in joined.split("/"))


def _dots(segment: str) -> str:
    if segment in (".", ".."):
        return segment.replace(".", "%2E")
    return segment[:-1] + "%2E" if segment.endswith(".") else segment


def _broken(segment: str) -> str:
    if len(segment.encode()) <= _SEGMENT_BYTES:
        return segment
    pieces, size = [""], 0
    for token in _TOKEN.findall(segment):
        width = len(token.encode())
        if size + width > _SEGMENT_BYTES:
            pieces.append("")
            size = 0
        pieces[-1] += token
        size += width
    return "%/".join(pieces)
