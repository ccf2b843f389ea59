"""JSON from outside, read strictly: one meaning a text, bounded in size and depth, numbers that arrive as written.

Refused: bytes that are not UTF-8, names given twice, NaN and infinities, whole numbers beyond 64 bits, lone
surrogates, values nested deeper than `DEPTH_MAX`, and more bytes or values than the caller allows: a value takes many
times the memory of its text. `EvidenceError` or the value comes out.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import NoReturn

from exitdrill.errors import EvidenceError
from exitdrill.model.journal import Json

__all__ = ["DEPTH_MAX", "INTEGER_MAX", "exactly", "load", "whole"]

DEPTH_MAX = 64
INTEGER_MAX = 2**63 - 1
_BEGIN, _END = frozenset((b"[", b"{")), frozenset((b"]", b"}"))
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)|[][{},]', re.DOTALL)
"""A string, also one that does not end, a bracket or a comma: each byte is looked at once, whatever the text."""


def load(data: bytes, resource: str, *, max_bytes: int, max_values: int | None = None, floats: bool = True) -> Json:
    """The value in a JSON text.

    Args:
        data: UTF-8.
        resource: What messages call it.
        max_bytes: How long it may be.
        max_values: How many values and names it may have, near enough; None for any number that its length allows.
        floats: Whether numbers with a fraction or an exponent are taken.

    Raises:
        EvidenceError: It is none, or is one of what is refused.
    """
    if len(data) > max_bytes:
        raise EvidenceError("too large", resource=resource, expected=f"at most {max_bytes:,} bytes")
    try:
        _measure(data, max_values)
        value: Json = json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_fraction if floats else _no_number,
            parse_constant=_no_number,
        )
        if b"\\u" in data:  # the only way to a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise EvidenceError(f"not JSON as it must be: {exc}", resource=resource) from exc
    return value


def _measure(data: bytes, max_values: int | None) -> None:
    """Refuse what is nested too deep, brackets in strings left out, or has too many values; before any is made."""
    depth = 0
    for tokens, match in enumerate(_TOKEN.finditer(data), 1):
        if max_values is not None and tokens > 2 * max_values:  # a value, and what stands behind it
            _refuse(f"more than {max_values:,} values")
        if match[0] in _BEGIN:
            depth += 1
            if depth > DEPTH_MAX:
                _refuse(f"nested deeper than {DEPTH_MAX}")
        elif match[0] in _END:
            depth -= 1


def _refuse(what: str) -> NoReturn:
    raise ValueError(what)


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _refuse("a member is there twice")
    return members


def _integer(text: str) -> int:
    if len(text) > len(str(-INTEGER_MAX)) or abs(number := int(text)) > INTEGER_MAX:
        _no_number(text)
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


def _no_number(text: str) -> NoReturn:
    _refuse(f"{text[:20]} is no number here")


def exactly(value: Json, names: Iterable[str], resource: str) -> dict[str, Json]:
    """An object with these members and no others. Raises EvidenceError."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise EvidenceError("not the members it must have", resource=resource, expected=", ".join(names))
    return value


def whole(value: Json, resource: str) -> int:
    """A whole number from 0. Raises EvidenceError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise EvidenceError("not a whole number", resource=resource)
    return value
