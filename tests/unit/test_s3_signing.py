"""Signatures of the S3 connector's lean lane: Amazon's published examples, days, keys, seconds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from exitdrill.errors import InvalidKeyError
from exitdrill_s3.signing import EMPTY_SHA256, Keys, Signer, encoded_key, encoded_query

_EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_HOST = "examplebucket.s3.amazonaws.com"
_TEXT = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"


@dataclass
class _StoppedClock:
    now: datetime = field(default_factory=lambda: datetime(2013, 5, 24, tzinfo=UTC))

    def utc_now(self) -> datetime:
        return self.now

    def monotonic_ns(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def _signature(authorization: str) -> str:
    return authorization.rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "signed", "signature"),
    [
        (
            "GET",
            "/test.txt",
            [],
            {"range": "bytes=0-9"},
            EMPTY_SHA256,
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            [],
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            _TEXT,
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            [("lifecycle", "")],
            {},
            EMPTY_SHA256,
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            {},
            EMPTY_SHA256,
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get-object", "put-object", "get-lifecycle", "list-objects"],
)
def test_published_examples(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    payload: str,
    signed: str,
    signature: str,
) -> None:
    """The four examples of Amazon's page "Signature Calculations for the Authorization Header" come out as printed."""
    Signer("us-east-1", lambda: _EXAMPLE, _StoppedClock()).sign(
        method, _HOST, path, encoded_query(query), headers, payload
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )
    assert "host" not in headers, "the client adds it"


def test_seconds_days_and_keys_that_change() -> None:
    """What is kept between requests is given up in time: the second, the day's key, keys that were renewed."""
    clock, keys = _StoppedClock(datetime(2013, 5, 23, 23, 59, 58, 999_999, tzinfo=UTC)), [_EXAMPLE]
    signer = Signer("us-east-1", lambda: keys[0], clock)

    def sign(with_signer: Signer) -> tuple[str, str]:
        headers: dict[str, str] = {}
        with_signer.sign("GET", _HOST, "/", "", headers, EMPTY_SHA256)
        return headers["x-amz-date"], headers["authorization"]

    seen = []
    for step in (0, 1, 1, -1):
        clock.sleep(step)
        seen.append(sign(signer))
        assert seen[-1] == sign(Signer("us-east-1", lambda: keys[0], clock)), "not as from one who kept nothing"
    assert [date for date, _ in seen] == [
        "20130523T235958Z",
        "20130523T235959Z",
        "20130524T000000Z",
        "20130523T235959Z",
    ]
    keys[0] = Keys("AKIDNEW", "another")
    assert sign(signer) == sign(Signer("us-east-1", lambda: keys[0], clock))
    assert _signature(sign(signer)[1]) != _signature(seen[-1][1])


def test_a_session_token_is_signed() -> None:
    """Temporary keys bring their token along, under the signature."""
    headers: dict[str, str] = {}
    keys = Keys("AK", "planted-secret", "planted-token")
    Signer("us-east-1", lambda: keys, _StoppedClock()).sign("GET", _HOST, "/", "", headers, EMPTY_SHA256)
    assert headers["x-amz-security-token"] == "planted-token"
    assert "x-amz-security-token" in headers["authorization"]
    assert "planted" not in repr(keys) + headers["authorization"]


def test_keys_without_a_path() -> None:
    """An empty key would be the bucket itself; a lone surrogate has no bytes. Neither leaves."""
    for key in ("", "half-\ud800"):
        with pytest.raises(InvalidKeyError):
            encoded_key(key, "aws:bucket")
