"""Tokens of the lean lane: fetched once, renewed in time, by one thread. Signatures: tests/property."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from exitdrill.errors import AuthenticationError, TransientError
from exitdrill_azure.signing import BearerToken, SharedSignature, Token

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _Clock:
    def __init__(self) -> None:
        self.now = _NOW

    def utc_now(self) -> datetime:
        return self.now

    def monotonic_ns(self) -> int:
        raise AssertionError

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


class _Source:
    """Hands out numbered tokens, good for an hour."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.asked = 0
        self.error: Exception | None = None

    def __call__(self) -> Token:
        self.asked += 1
        time.sleep(0.01)
        if self.error is not None:
            raise self.error
        return Token(f"t{self.asked}", (self.clock.now + timedelta(hours=1)).timestamp())


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def source(clock: _Clock) -> _Source:
    return _Source(clock)


@pytest.fixture
def signer(clock: _Clock, source: _Source) -> BearerToken:
    return BearerToken(source, clock=clock)


def _header(signer: BearerToken) -> str:
    headers: dict[str, str] = {}
    assert signer.authorize("GET", "/c/k", {}, headers) == "/c/k"
    return headers["Authorization"]


def test_many_threads_fetch_one_token(signer: BearerToken, source: _Source) -> None:
    """None is fetched before it is needed; thirty-two threads need one at once, and one asks for it."""
    assert source.asked == 0
    with ThreadPoolExecutor(32) as pool:
        found = set(pool.map(lambda _: _header(signer), range(320)))
    assert (found, source.asked) == ({"Bearer t1"}, 1)


def test_a_token_is_renewed_five_minutes_before_its_end(signer: BearerToken, clock: _Clock) -> None:
    """Kept until then, and no longer."""
    assert _header(signer) == "Bearer t1"
    clock.now = _NOW + timedelta(minutes=54, seconds=59)
    assert _header(signer) == "Bearer t1"
    clock.now = _NOW + timedelta(minutes=55)
    assert _header(signer) == "Bearer t2"


def test_a_token_that_cannot_be_renewed_yet_is_used_to_its_end(
    signer: BearerToken, source: _Source, clock: _Clock
) -> None:
    """What is transient is tried again half a minute later; at the token's end, or for a refusal, it comes out."""
    assert _header(signer) == "Bearer t1"
    source.error = TransientError("busy")
    clock.now = _NOW + timedelta(minutes=56)
    assert [_header(signer), _header(signer)] == ["Bearer t1", "Bearer t1"]
    assert source.asked == 2
    clock.now += timedelta(seconds=31)
    assert _header(signer) == "Bearer t1"
    assert source.asked == 3
    clock.now = _NOW + timedelta(minutes=60)
    with pytest.raises(TransientError):
        _header(signer)
    source.error = AuthenticationError("no")
    with pytest.raises(AuthenticationError):
        _header(signer)
    source.error = None
    assert _header(signer) == "Bearer t6"


def test_a_signature_stands_behind_the_query() -> None:
    """With or without a question mark of its own, and whether or not there is a query already."""
    for sas in ("sv=1&sig=a%3D", "?sv=1&sig=a%3D", " ?sv=1&sig=a%3D\n"):
        signer = SharedSignature(sas)
        assert signer.authorize("GET", "/c/k", {}, {}) == "/c/k?sv=1&sig=a%3D"
        assert signer.authorize("GET", "/c?comp=list", {"comp": "list"}, {}) == "/c?comp=list&sv=1&sig=a%3D"
