"""The lean lane's signatures are the vendor's, whatever the request."""

import base64
from typing import Any
from urllib.parse import quote

from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient
from hypothesis import example, given
from hypothesis import strategies as st

from exitdrill_azure.client import target_of
from exitdrill_azure.signing import _SIGNED, SharedKey

_LETTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN = st.text(_LETTERS + "ABCXYZ", min_size=1, max_size=8)
_VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)
_KNOWN = [
    "x-ms-version",
    "x-ms-date",
    "x-ms-range",
    "x-ms-blob-type",
    "x-ms-blob-content-type",
    "x-ms-blob-content-md5",
    "x-ms-blob-condition-appendpos",
    "x-ms-content-crc64",
    "x-ms-access-tier",
    "x-ms-tags",
    "x-ms-meta-a",
    "x-ms-meta-a1",
    "x-ms-meta-a_b",
    "x-ms-meta-ab",
    "x-ms-meta-AZ",
    *(name.title() for name in _SIGNED if name != "range"),  # the vendor's signature leaves Range out
    "User-Agent",
    "Accept",
    "Authorization-Extra",
]
_HEADERS = st.dictionaries(
    st.one_of(st.sampled_from(_KNOWN), _TOKEN.map("x-ms-meta-{}".format), _TOKEN.map("x-ms-{}".format)),
    st.one_of(_VALUE, st.sampled_from(["", "0", "10240", '"0x8D"', "*"])),
    max_size=12,
).map(lambda found: {low: (name, value) for name, value in found.items() if (low := name.lower())})
_QUERY = st.dictionaries(
    st.sampled_from(
        ["comp", "restype", "prefix", "marker", "maxresults", "include", "snapshot", "versionid", "blockid"]
    ),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=12)),
    max_size=5,
)


def _theirs(account: str, key: str, method: str, url: str, headers: dict[str, str]) -> str:
    """The Authorization header azure-storage-blob's own policy gives a request."""
    credential: Any = {"account_name": account, "account_key": key}
    policy: Any = BlobServiceClient("http://127.0.0.1:10000/" + account, credential=credential).credential
    request = HttpRequest(method, url, headers=headers)
    policy.on_request(PipelineRequest(request, PipelineContext(None)))
    return str(request.headers["Authorization"])


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "POST"]),
    st.binary(min_size=1, max_size=150),
    st.sampled_from(["", "/acct"]),
    st.one_of(st.just(""), st.just("case-files"), st.just("$root")),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)),
    _QUERY,
    _HEADERS,
)
@example("PUT", b"k" * 65, "", "c", None, {"comp": "x", "blockid": None}, {"content-length": ("Content-Length", "0")})
@example("PUT", b"k", "", "c", "k", {}, {f"x-ms-{c}": (f"x-ms-{c}", "v") for c in _LETTERS})
@example("GET", b"k" * 64, "/acct", "c", "a//b/../.", {"prefix": "\u00e9 ?&=%+"}, {})
@example(
    "PUT", b"k", "", "c", "\U0001f680", {}, {n: (n, "v") for n in ("x-ms-meta-a-b", "x-ms-meta-ab", "x-ms-meta-a'b")}
)
def test_the_vendor_signs_alike(
    method: str,
    secret: bytes,
    base: str,
    container: str,
    key: str | None,
    query: dict[str, str | None],
    headers: dict[str, tuple[str, str]],
) -> None:
    """Any method, key, query, headers in any order and case, empty values, lengths, and letters outside ASCII."""
    encoded = base64.b64encode(secret).decode()
    sent = dict(headers.values())
    target = target_of(base, container, key if container else None, query)
    theirs = _theirs("acct", encoded, method, "http://127.0.0.1:10000" + target, dict(sent))
    assert SharedKey("acct", encoded).authorize(method, target, query, sent) == target
    assert sent["Authorization"] == theirs


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_keys_are_encoded_to_the_byte(key: str) -> None:
    """Segment by segment as `quote` does it, with segments of dots made safe, plain or not."""
    parts = [part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="") for part in key.split("/")]
    assert target_of("", "c", key, None) == "/c/" + "/".join(parts)


@given(st.text("ab./~-_", min_size=1, max_size=8))
def test_plain_keys_are_encoded_to_the_byte(key: str) -> None:
    """The same for keys of nothing but harmless letters, dots and slashes, which take a shorter way."""
    parts = [part.replace(".", "%2E") if part in {".", ".."} else part for part in key.split("/")]
    assert target_of("", "c", key, None) == "/c/" + "/".join(parts)
