"""JSON from outside: what is taken, what is not, and in what time."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict

_MAX = 64 * 1024 * 1024
_TEXT = st.text().filter(lambda text: text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(_TEXT, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(_JSON)
def test_what_json_writes_is_read(value: object) -> None:
    """Any value, whatever brackets and quotation marks are in its strings."""
    assert strict.load(json.dumps(value).encode(), "x", max_bytes=_MAX) == value
    assert strict.load(json.dumps(value, ensure_ascii=False).encode(), "x", max_bytes=_MAX) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a": 1, "a": 1}',
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9223372036854775808",
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"\xff",
        b'"\xc3"',
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 1_000_000,
        b"1 1",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_refused(text: bytes) -> None:
    """EvidenceError and nothing else."""
    with pytest.raises(EvidenceError):
        strict.load(text, "x", max_bytes=_MAX)


def test_limits() -> None:
    """Size and floats are the caller's to limit; brackets in strings are none."""
    with pytest.raises(EvidenceError, match="too large"):
        strict.load(b"[1]", "x", max_bytes=2)
    with pytest.raises(EvidenceError, match="no number here"):
        strict.load(b"1.5", "x", max_bytes=10, floats=False)
    assert strict.load(json.dumps("[" * 1000).encode(), "x", max_bytes=2000) == "[" * 1000
    deep: object = 1
    for _ in range(strict.DEPTH_MAX):
        deep = [deep]
    assert strict.load(json.dumps(deep).encode(), "x", max_bytes=2000) == deep


@pytest.mark.parametrize("text", [b'"' + b'\\"' * 2_000_000, b'["' * 1_000_000, b'"\\' * 1_000_000, b'"' * 2_000_001])
def test_no_text_takes_long(text: bytes) -> None:
    """Each byte is looked at once: four megabytes in a second or so, whatever they are."""
    began = time.monotonic()
    with pytest.raises(EvidenceError):
        strict.load(text, "x", max_bytes=_MAX)
    assert time.monotonic() - began < 10
