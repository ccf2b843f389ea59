"""The S3 connector's lean lane: where requests go, with whose keys, what answers say, and without which imports."""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from exitdrill import errors
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.errors import AuthenticationError, ConnectorError, ExitdrillError, TransientError, UnsupportedError
from exitdrill.model.objects import Envelope
from exitdrill.testing.conformance import digests_of
from exitdrill_s3 import S3Connector
from exitdrill_s3.answers import fields_of, parsed, refusal_of
from exitdrill_s3.errors import RefusedError, refused
from exitdrill_s3.lean import LeanApi, domain_of
from exitdrill_s3.requests import request_of
from exitdrill_s3.settings import S3Settings

_KEYS: dict[str, Any] = {"access_key_id": "AKID", "secret_access_key": "planted-secret"}
_ONCE = RetryPolicy(attempts=1)

_REBUILD = """
import json, sys
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.testing.conformance import PatternBody
from exitdrill_s3 import S3Connector
from exitdrill_s3.settings import S3Settings

settings, bucket = json.loads(sys.argv[1]), sys.argv[2]
with S3Connector().open("target", S3Settings.model_validate(settings)) as provider:
    provider.server_time()
    provider.endpoints()
    provider.ensure_container(bucket)
    provider.ensure_container(bucket)
    store = provider.objects(bucket)
    body = PatternBody(11 * 1024 * 1024)
    store.write(WriteRequest("small", BytesBody(b"x")))
    store.write(WriteRequest("large", body, digests=body.digests()))
    store.read_small("small", size=1)
    store.stat("large")
    for entry in list(store.list()):
        store.delete(entry.key)
    provider.remove_container(bucket)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} & {"boto3", "botocore", "s3transfer"})))
"""


def _open(**values: Any) -> Provider:
    return S3Connector().open("s3", S3Settings.model_validate(values), _ONCE)


class TestImports:
    def test_keys_in_the_drill_need_no_sdk(self, seaweedfs: Running, unique: Any) -> None:
        """A process that opens a place with keys and does all a rebuild does never imports boto3 or botocore."""
        settings = {**seaweedfs.settings, "multipart_threshold": 5 * 1024**2, "part_size": 5 * 1024**2}
        done = subprocess.run(
            [sys.executable, "-c", _REBUILD, json.dumps(settings), unique("imports")],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert json.loads(done.stdout) == []

    def test_without_the_sdk_only_what_needs_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without boto3 a place with keys opens; one without keys, or on the SDK's lane, names the extra."""
        for name in [name for name in sys.modules if name.partition(".")[0] in {"boto3", "botocore", "exitdrill_s3"}]:
            if name in {"exitdrill_s3.sdk", "exitdrill_s3.sdk_errors"} or not name.startswith("exitdrill_s3"):
                monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        with _open(**_KEYS) as provider:
            assert provider.lane == "lean"
        for values in ({}, {**_KEYS, "lane": "sdk"}):
            with pytest.raises(errors.MissingExtraError, match=re.escape("exitdrill[s3]")):
                _open(**values)


class TestLane:
    def test_a_proxy_means_the_sdks_lane(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The lean lane speaks to no proxy: with one in the environment the SDK's is used, and said to be."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "10.0.0.1")
        with caplog.at_level(logging.INFO, "exitdrill_s3"), _open(endpoint="http://10.0.0.2:9000", **_KEYS) as provider:
            assert provider.lane == "sdk"
        assert "proxy" in caplog.text
        with _open(endpoint="http://10.0.0.1:9000", **_KEYS) as provider:
            assert provider.lane == "lean"

    def test_special_endpoints_mean_the_sdks_lane(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who must use FIPS endpoints is not sent to others; a server of one's own has none."""
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
        with _open(region="us-gov-west-1", **_KEYS) as provider:
            assert provider.lane == "sdk"
            assert any("amazonaws.com" in endpoint.host for endpoint in provider.endpoints())
        with _open(endpoint="http://127.0.0.1:9", **_KEYS) as provider:
            assert provider.lane == "lean"


class TestAddresses:
    def test_every_regions_domain(self) -> None:
        """Of each region of each partition that botocore knows, the domain is the one it gives."""
        partitions = botocore.session.Session().get_component("data_loader").load_data("partitions")["partitions"]
        regions = [(name, part["outputs"]["dnsSuffix"]) for part in partitions for name in part["regions"]]
        assert len(regions) > 30
        for name, suffix in regions:
            if not name.endswith("-global"):
                assert domain_of(name) == suffix, name

    @pytest.mark.parametrize(
        ("endpoint", "addressing"),
        [
            (None, "auto"),
            ("http://s3.example.org:9000", "auto"),
            ("http://s3.example.org:9000", "virtual"),
            ("https://s3.example.org/base", "virtual"),
        ],
    )
    def test_where_a_bucket_is(self, endpoint: str | None, addressing: str) -> None:
        """The bucket stands in the host name or in the path just where boto3 puts it."""
        settings = S3Settings.model_validate(
            {**_KEYS, "endpoint": endpoint, "region": "eu-west-1", "addressing": addressing}
        )
        api = LeanApi("s3", settings)
        client: Any = botocore.session.Session().create_client(
            "s3",
            region_name="eu-west-1",
            endpoint_url=endpoint,
            aws_access_key_id="AKID",
            aws_secret_access_key="x",
            config=Config(s3={"addressing_style": settings.style}),
        )
        hosted = 0
        for bucket in ("bucket", "a.dotted.bucket", "UPPER", "under_score", "x" * 63, "x" * 64, "1.2.3.4", "-a", "ab"):
            pool, path = api._where(request_of("head_object", "r", {"Bucket": bucket, "Key": "a/../b"}), "r")
            theirs = client.generate_presigned_url("head_object", {"Bucket": bucket, "Key": "a/../b"}).partition("?")[0]
            assert f"{'https' if api.encrypted else 'http'}://{pool.authority}{path}" == theirs
            hosted += pool.authority.startswith(bucket)
        assert hosted == {"path": 0, "virtual": 2 if api.encrypted else 3}[settings.style]

    @pytest.mark.parametrize("bucket", ["a b", "a/b", "", "arn:aws:s3:eu-west-1:123456789012:accesspoint/x", "b?c"])
    def test_no_bucket_can_be_called_so(self, bucket: str) -> None:
        """What is no bucket's name never gets into a path."""
        with _open(endpoint="http://127.0.0.1:9", **_KEYS) as provider, pytest.raises(UnsupportedError):
            provider.objects(bucket).stat("k")

    def test_an_empty_key_is_not_the_bucket(self) -> None:
        """Deleting an object without a name would delete the bucket: it is refused before anything is sent."""
        with _open(endpoint="http://127.0.0.1:9", **_KEYS) as provider, pytest.raises(errors.InvalidKeyError):
            provider.objects("bucket").delete("")


@dataclass
class _Wire:
    """A server that writes down what reaches it and answers as it is told."""

    port: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """By the beginning of the path: status, headers, body."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def wire() -> Iterator[_Wire]:
    told = _Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            found = next((a for path, a in told.answers.items() if self.path.startswith(path)), (200, {}, b""))
            status, headers, body = found
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - names the base class looks for

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield told
        server.shutdown()
        thread.join(10)


class TestCredentials:
    @pytest.fixture(autouse=True)
    def _nothing_configured(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def test_a_profile(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wire: _Wire) -> None:
        """Keys, token and region of a profile are used, over the lean lane."""
        (tmp_path / "config").write_text("[profile drill]\nregion = eu-north-1\n")
        (tmp_path / "credentials").write_text(
            "[drill]\naws_access_key_id = AKPROFILE\naws_secret_access_key = s\naws_session_token = tok\n"
        )
        monkeypatch.setenv("AWS_PROFILE", "drill")
        with _open(endpoint=wire.url) as provider:
            assert provider.lane == "lean"
            provider.objects("bucket").delete("k")
        sent = wire.seen[-1][2]
        assert "Credential=AKPROFILE/" in sent["authorization"]
        assert "/eu-north-1/s3/" in sent["authorization"]
        assert sent["x-amz-security-token"] == "tok"

    def test_a_region_of_the_sdks(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without a region in the drill it is the SDK's: the variable, then the file, then us-east-1."""

        def region() -> str:
            with _open(**_KEYS) as provider:
                return str(provider._api.region)  # type: ignore[attr-defined] # S3Provider's

        assert region() == "us-east-1"
        (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n")
        assert region() == "eu-north-1"
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-2")
        assert region() == "eu-south-2"

    def test_keys_that_expire_are_renewed(self, monkeypatch: pytest.MonkeyPatch, wire: _Wire) -> None:
        """Keys that a service hands out for a while are asked for again in time, by several threads at once."""
        handed_out = iter(range(1, 100))

        def hand_out(lasting: timedelta) -> None:
            keys = {
                "AccessKeyId": f"AKTEMP{next(handed_out)}",
                "SecretAccessKey": "s",
                "Token": "t",
                "Expiration": (datetime.now(UTC) + lasting).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            wire.answers["/credentials"] = (200, {"Content-Type": "application/json"}, json.dumps(keys).encode())

        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{wire.url}/credentials")
        hand_out(timedelta(minutes=5))

        def asked() -> int:
            return sum(path == "/credentials" for _, path, _ in wire.seen)

        with _open(endpoint=wire.url) as provider, ThreadPoolExecutor(8) as pool:
            store = provider.objects("bucket")
            store.delete("k")
            before = asked()
            hand_out(timedelta(hours=6))
            list(pool.map(lambda n: store.delete(f"k{n}"), range(40)))
        used = [re.findall("AKTEMP[0-9]", sent["authorization"])[0] for _, path, sent in wire.seen if "/bucket" in path]
        assert used == ["AKTEMP1"] + ["AKTEMP2"] * 40
        assert asked() == before + 1

    def test_a_service_of_keys_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch, wire: _Wire) -> None:
        """It is an error of ours, without botocore's."""
        wire.answers["/credentials"] = (500, {}, b"no")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{wire.url}/credentials")
        monkeypatch.setattr("time.sleep", lambda _: None)
        with _open(endpoint=wire.url) as provider, pytest.raises(ConnectorError):
            provider.objects("bucket").delete("k")


class TestAnswers:
    def test_headers(self) -> None:
        """Times, numbers and metadata are read; what is unknown is left alone."""
        answer = fields_of(
            {
                "etag": '"e"',
                "content-length": "7",
                "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT",
                "x-amz-meta-a": "b",
                "x-amz-tagging-count": "2",
                "x-other": "?",
            }
        )
        answer.pop("ResponseMetadata")
        assert answer == {
            "ETag": '"e"',
            "ContentLength": 7,
            "LastModified": datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC),
            "Metadata": {"a": "b"},
            "TagCount": 2,
        }
        old = fields_of({"last-modified": "Sunday, 06-Nov-94 08:49:37 GMT"})["LastModified"]
        assert old == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)

    @pytest.mark.parametrize(
        "headers", [{"content-length": "x"}, {"last-modified": "yesterday"}, {"x-amz-tagging-count": ""}]
    )
    def test_headers_that_cannot_be(self, wire: _Wire, headers: dict[str, str]) -> None:
        """A header that cannot be read is a fault of the moment, not a crash."""
        if "content-length" not in headers:
            wire.answers["/bucket/k"] = (200, headers, b"x")
            with _open(endpoint=wire.url, **_KEYS) as provider, pytest.raises(TransientError, match="headers"):
                provider.objects("bucket").read("k")
        with pytest.raises(ValueError, match=r".+"):
            fields_of(headers)

    def test_a_completion_that_failed_after_all(self) -> None:
        """S3 can answer 200 and put an error into the document; that is no success."""
        told = b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"
        with pytest.raises(RefusedError) as caught:
            parsed("complete_multipart_upload", {}, told, "r")
        assert type(refused(caught.value, "complete_multipart_upload", "r")).__name__ == "ThrottledError"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"<",
            b"<html>",
            b'<!DOCTYPE r [<!ENTITY a "b">]><ListBucketResult><Contents><Key>&a;</Key></Contents></ListBucketResult>',
            b"<ListBucketResult><Contents><Size>many</Size></Contents></ListBucketResult>",
            b"<ListBucketResult><Contents><LastModified>then</LastModified></Contents></ListBucketResult>",
        ],
    )
    def test_a_document_that_cannot_be_read(self, content: bytes) -> None:
        """A document cut off, of something else, or with entities, is a fault of the moment and no empty listing."""
        with pytest.raises(TransientError):
            parsed("list_objects_v2", {}, content, "r")

    @pytest.mark.parametrize(
        ("status", "content", "code"),
        [
            (404, b"", "404"),
            (404, b"<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
            (502, b"<html><body>Bad gateway<br></body></html>", "502"),
            (500, b"<Error/>", "500"),
            (301, b"<Error><Code>PermanentRedirect</Code></Error>", "PermanentRedirect"),
        ],
    )
    def test_refusals(self, status: int, content: bytes, code: str) -> None:
        """A refusal has the service's code, or the status where it gives none."""
        assert refusal_of(status, {}, content).code == code

    def test_a_bucket_elsewhere(self, wire: _Wire) -> None:
        """No redirect is followed: the error says in which region the bucket is."""
        wire.answers["/bucket"] = (301, {"x-amz-bucket-region": "eu-north-1", "Location": "http://127.0.0.1:1/"}, b"")
        with _open(endpoint=wire.url, **_KEYS) as provider, pytest.raises(ConnectorError, match="eu-north-1") as caught:
            provider.objects("bucket").stat("k")
        assert "region" in caught.value.hint

    def test_an_answer_without_a_length(self, wire: _Wire) -> None:
        """A HEAD that does not say how large the object is, is a fault of the moment."""
        wire.answers["/bucket/k"] = (204, {}, b"")
        with _open(endpoint=wire.url, **_KEYS) as provider:
            store = provider.objects("bucket")
            assert store.stat("other").size == 0
            with pytest.raises(TransientError, match="how long"):
                store.stat("k")


class TestSecrets:
    def test_no_secret_gets_into_an_error_or_a_log(self, wire: _Wire, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever goes wrong, neither the secret key nor the session token is in text, cause, note or log."""
        wire.answers["/bucket/refused"] = (403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        values = {**_KEYS, "session_token": "planted-token", "endpoint": wire.url}
        wrong: list[tuple[str, Envelope]] = [
            ("refused", Envelope()),
            ("k", Envelope(cache_control="caf\u00e9")),
            ("k", Envelope(content_type="a\r\nb: c")),
            ("k", Envelope(user=(("\u20ac", "x"),))),
            ("half-\ud800", Envelope()),
        ]
        caught: list[BaseException] = []
        with caplog.at_level(logging.DEBUG), _open(**values) as provider:
            store = provider.objects("bucket")
            for key, envelope in wrong:
                try:
                    store._write(WriteRequest(key, BytesBody(b"x"), digests=digests_of(b"x")), envelope)
                except ExitdrillError as error:
                    caught.append(error)
            assert "planted" not in repr(vars(provider)) + repr(vars(provider._api))  # type: ignore[attr-defined]
        with _open(**{**values, "endpoint": "http://127.0.0.1:1"}) as provider, pytest.raises(TransientError) as gone:
            provider.server_time()
        assert len(caught) == len(wrong)
        links = [*caught, gone.value]
        for link in links:
            links += [x for x in (link.__cause__, link.__context__) if x is not None and x not in links]
        assert "planted" not in "".join(f"{x!r}{vars(x)}" for x in links) + caplog.text

    def test_keys_that_cannot_be_sent(self, wire: _Wire) -> None:
        """A token with a line break, as of a file read whole, is refused and not shown."""
        with (
            _open(endpoint=wire.url, **_KEYS, session_token="planted\ntoken") as provider,
            pytest.raises(ConnectorError) as caught,
        ):
            provider.server_time()
        assert "planted" not in str(caught.value)
        assert wire.seen == []


def test_denied_to_others(wire: _Wire) -> None:
    """The account that must own the bucket goes with every request on one."""
    with _open(endpoint=wire.url, expected_bucket_owner="123456789012", **_KEYS) as provider:
        provider.objects("bucket").delete("k")
        assert wire.seen[-1][2]["x-amz-expected-bucket-owner"] == "123456789012"
        provider.server_time()
        assert "x-amz-expected-bucket-owner" not in wire.seen[-1][2]
    with pytest.raises(AuthenticationError):
        raise refused(RefusedError("ExpiredToken", "", 400, {}), "get_object", "r")
