"""Whatever is signed, the lean lane signs it as botocore does."""

from datetime import UTC, datetime
from unittest import mock

import botocore.auth
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import SAFE_CHARS, percent_encode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitdrill.testing.keys import HOSTILE_KEYS, keys
from exitdrill_s3.signing import EMPTY_SHA256, UNSIGNED_PAYLOAD, Keys, Signer, encoded_key, encoded_query

_NOW = datetime(2026, 2, 28, 23, 59, 59, 1, tzinfo=UTC)
_ADDED = {"authorization", "date", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: name not in _ADDED and name not in botocore.auth.SIGNED_HEADERS_BLACKLIST
)
_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
_WORDS = st.text(st.characters(codec="utf-8"), max_size=20)


class _Clock:
    def utc_now(self) -> datetime:
        return _NOW

    def monotonic_ns(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def _theirs(
    method: str, path: str, query: str, headers: dict[str, str], payload: str, keys: Keys, region: str
) -> dict[str, str]:
    url = f"http://127.0.0.1:9000{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, headers=headers)
    signer = S3SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token), "s3", region)
    with (
        mock.patch.object(S3SigV4Auth, "payload", return_value=payload),
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=_NOW),
    ):
        signer.add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]),
    key=keys() | st.sampled_from(HOSTILE_KEYS),
    query=st.lists(st.tuples(_WORDS.filter(bool), _WORDS), max_size=4),
    headers=st.dictionaries(_NAMES, _VALUES, max_size=6),
    payload=st.sampled_from([EMPTY_SHA256, UNSIGNED_PAYLOAD, "ab" * 32]),
    token=st.none() | st.text("abcXYZ0189+/=", min_size=1, max_size=40),
    region=st.sampled_from(["us-east-1", "eu-central-1", "garage"]),
)
@example("PUT", "a//../b c", [("uploads", ""), ("a", "=&"), ("a", "!")], {"x-amz-meta-a": " b  c "}, "00", "t", "x")
def test_as_botocore_signs(
    method: str,
    key: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    payload: str,
    token: str | None,
    region: str,
) -> None:
    """Any method, key, query and headers get the very Authorization header that botocore's signer for S3 gives."""
    given_keys = Keys("AKIDEXAMPLE", "secret/with+signs", token)
    path, canonical = f"/bucket/{encoded_key(key, 'r')}", encoded_query(query)
    ours = dict(headers)
    Signer(region, lambda: given_keys, _Clock()).sign(method, "127.0.0.1:9000", path, canonical, ours, payload)
    theirs = _theirs(method, path, canonical, headers, payload, given_keys, region)
    assert ours == theirs


@given(key=keys() | st.sampled_from(HOSTILE_KEYS))
def test_keys_are_encoded_as_botocore_does(key: str) -> None:
    """A key's path is that of botocore's serializer: one encoding, nothing normalised."""
    assert encoded_key(key, "r") == percent_encode(key, safe=SAFE_CHARS + "/~")
