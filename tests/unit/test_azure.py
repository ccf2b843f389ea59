"""The Azure connector's translations: settings, addresses, answers and errors. No server."""

import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from exitdrill.connector.http import Headers
from exitdrill.connector.provider import Endpoint, Environment
from exitdrill.connector.registry import connector
from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConflictError,
    ConnectorError,
    DigestError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyError,
    ThrottledError,
    TransientError,
    UsageError,
)
from exitdrill.model.objects import ObjectEntry
from exitdrill_azure import AzureConnector, AzureSettings
from exitdrill_azure.client import open_client
from exitdrill_azure.entries import from_headers, page_of, reported_digests
from rawserver import RawServer, answers

_KEY = "a2V5"
_NONE: Mapping[str, str] = MappingProxyType({})


def _settings(**fields: object) -> AzureSettings:
    return AzureSettings.model_validate({"account": "acct", "key": _KEY, **fields})


def _hosts(**fields: object) -> dict[str, Endpoint]:
    settings = AzureSettings.model_validate({"account": "acct", **fields})
    return {endpoint.host: endpoint for endpoint in AzureConnector().open("az", settings).endpoints()}


class TestSettings:
    def test_the_connector_is_found_by_name(self) -> None:
        """The entry point names it."""
        assert isinstance(connector("azure"), AzureConnector)

    @pytest.mark.parametrize(
        "fields",
        [
            {"account": "Not An Account"},
            {"endpoint": "ftp://x"},
            {"endpoint": "https://acct.blob.core.windows.net/?sv=1&sig=x"},
            {"endpoint": "https://user:secret@acct.blob.core.windows.net"},
            {"sas": "sv=1"},
            {"unknown": 1},
            {"block_bytes": 10},
            {"api_version": "latest"},
            {"lane": "fast"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields: dict[str, object]) -> None:
        """A wrong field is refused by name when the file is read."""
        with pytest.raises(ValidationError) as caught:
            _settings(**fields)
        assert _KEY not in str([error["msg"] for error in caught.value.errors()])

    def test_secrets_do_not_show(self) -> None:
        """Neither the settings' text nor their JSON hold the key."""
        settings = _settings()
        assert _KEY not in f"{settings!r} {settings} {settings.model_dump_json()}"

    def test_a_key_that_is_none(self) -> None:
        """A key that is no base64 is found before the first request, and not repeated."""
        with pytest.raises(AuthenticationError, match="AZURE_STORAGE_KEY") as caught:
            AzureConnector().open("az", _settings(key="not base64!"))
        assert "not base64!" not in str(caught.value)

    def test_foreign_settings(self) -> None:
        """Settings of another connector are a usage error."""
        from exitdrill.connector.provider import Settings

        with pytest.raises(UsageError):
            AzureConnector().open("az", Settings())

    def test_the_lane(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Lean unless the place says otherwise, or its requests would go through a proxy, which the log then says."""
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        caplog.set_level("INFO")

        def lane(**fields: object) -> str:
            with AzureConnector().open("az", _settings(**fields)) as provider:
                return provider.lane

        assert (lane(), lane(lane="lean"), lane(lane="sdk")) == ("lean", "lean", "sdk")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        assert lane(endpoint="http://127.0.0.1:10000") == "lean"
        assert "az: requests go through a proxy" not in caplog.text
        assert lane() == "sdk"
        assert "az: requests go through a proxy" in caplog.text
        monkeypatch.setenv("no_proxy", ".blob.core.windows.net")
        assert lane() == "lean"

    @pytest.mark.parametrize(
        ("endpoint", "environment"),
        [
            (None, Environment.CLOUD),
            ("https://acct.blob.core.windows.net", Environment.CLOUD),
            ("https://acct.blob.core.usgovcloudapi.net", Environment.CLOUD),
            ("https://acct.blob.core.chinacloudapi.cn", Environment.CLOUD),
            ("http://127.0.0.1:10000/acct", Environment.PRIVATE),
            ("https://acct.blob.local.azurestack.external", Environment.PRIVATE),
            ("https://core.windows.net.example.org", Environment.PRIVATE),
            ("https://evilcore.windows.net", Environment.PRIVATE),
        ],
    )
    def test_what_stands_behind(self, endpoint: str | None, environment: Environment) -> None:
        """Microsoft's clouds are the cloud, everything else is private."""
        with AzureConnector().open("az", _settings(endpoint=endpoint)) as provider:
            assert provider.environment is environment

    @pytest.mark.parametrize(
        ("endpoint", "url"),
        [
            (None, "https://acct.blob.core.windows.net"),
            ("http://127.0.0.1:10000", "http://127.0.0.1:10000/acct"),
            ("http://127.0.0.1:10000/acct/", "http://127.0.0.1:10000/acct"),
            ("http://azurite:10000", "http://azurite:10000/acct"),
            ("http://[::1]:10000", "http://[::1]:10000/acct"),
            ("https://blobs.example.org", "https://blobs.example.org"),
        ],
    )
    def test_where_the_account_is(self, endpoint: str | None, url: str) -> None:
        """At bare addresses and names without a dot the account stands in the path."""
        with closing(open_client("az", _settings(endpoint=endpoint))) as client:
            assert client.location.url == url


class TestEndpoints:
    def test_the_cloud(self) -> None:
        """Every service of the account with its secondary, identity, registry, vault and management."""
        hosts = _hosts()
        for service in ("blob", "dfs", "file", "queue", "table"):
            assert f"acct.{service}.core.windows.net" in hosts
            assert f"acct-secondary.{service}.core.windows.net" in hosts
        for host in ("login.microsoftonline.com", "*.vault.azure.net", "169.254.169.254"):
            assert hosts[host].why == "identity"
        assert hosts["*.azurecr.io"].why == "registry"
        assert hosts["management.azure.com"].why == "management"
        assert all(endpoint.port is None for endpoint in hosts.values())

    def test_an_endpoint_of_its_own(self) -> None:
        """A private endpoint is cut by host and port, identity only where it is used."""
        assert list(_hosts(endpoint="http://127.0.0.1:10000/acct", key=_KEY).values()) == [Endpoint("127.0.0.1", 10000)]
        hosts = _hosts(endpoint="https://store.example.org")
        assert hosts["store.example.org"].port == 443
        assert "login.microsoftonline.com" in hosts

    def test_a_national_cloud(self) -> None:
        """A national cloud has its own authority."""
        hosts = _hosts(endpoint="https://acct.blob.core.usgovcloudapi.net")
        assert "login.microsoftonline.us" in hosts
        assert "acct-secondary.dfs.core.usgovcloudapi.net" in hosts
        assert "login.microsoftonline.com" not in hosts

    def test_credentials_leave_with_the_source(self) -> None:
        """Every variable azure-identity reads is named."""
        named = AzureConnector.credential_environment
        assert {"AZURE_*", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"} <= set(named)


_PAGE = """<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{blobs}</Blobs>
<NextMarker>{marker}</NextMarker></EnumerationResults>"""


def _blob(name: str, more: str = "", properties: str = "") -> str:
    length = "<Content-Length>1</Content-Length>"
    return f"<Blob>{name}{more}<Properties>{length}{properties}</Properties></Blob>"


def _page(*blobs: str, marker: str = "") -> tuple[list[ObjectEntry], str | None]:
    return page_of(_PAGE.format(blobs="".join(blobs), marker=marker).encode(), "az:c")


class TestListings:
    @given(st.text(st.characters(codec="utf-8"), min_size=1))
    def test_encoded_names_are_read_exactly(self, key: str) -> None:
        """Names that XML cannot hold come percent-encoded and marked; they are read back to the character."""
        encoded = "".join(f"%{byte:02X}" for byte in key.encode())
        (entry,), _ = _page(_blob(f'<Name Encoded="true">{encoded}</Name>'))
        assert entry.key == key

    def test_a_percent_sign_is_no_encoding(self) -> None:
        """Without the mark a name is what it says."""
        (entry,), marker = _page(_blob("<Name>100%25&amp; %2F</Name>"), marker="2!abc")
        assert (entry.key, marker) == ("100%25& %2F", "2!abc")

    def test_blanks_and_line_ends_stay(self) -> None:
        """Blanks at the ends and escaped line ends belong to the name."""
        (entry,), _ = _page(_blob("<Name> a&#xD;&#xA; </Name>"))
        assert entry.key == " a\r\n "

    def test_versions(self) -> None:
        """The current version is plain; earlier ones and snapshots say how they are read."""
        old = "<VersionId>2026-01-01T00:00:00.0000000Z</VersionId>"
        current = "<VersionId>2026-02-01T00:00:00.0000000Z</VersionId><IsCurrentVersion>true</IsCurrentVersion>"
        snapshot = "<Snapshot>2026-03-01T00:00:00.0000000Z</Snapshot>"
        entries, marker = _page(*(_blob("<Name>a</Name>", more) for more in (old, current, snapshot)))
        assert [entry.version for entry in entries] == [
            "versionid=2026-01-01T00:00:00.0000000Z",
            None,
            "snapshot=2026-03-01T00:00:00.0000000Z",
        ]
        assert marker is None

    def test_a_stored_md5_that_is_none(self) -> None:
        """What a client stored in place of an MD5 is no digest, and no error."""
        for text in ("bm90IGFuIG1kNQ==", "???", ""):
            (entry,), _ = _page(_blob("<Name>a</Name>", properties=f"<Content-MD5>{text}</Content-MD5>"))
            assert entry.digests.kinds == frozenset()

    def test_half_a_page_is_asked_for_again(self) -> None:
        """An answer that broke off is transient."""
        with pytest.raises(TransientError):
            page_of(b"<EnumerationResults><Blobs><Blob>", "az:c")


def _headers(values: Mapping[str, str]) -> Headers:
    return Headers([f"{name}: {value}" for name, value in values.items()])


class TestHeaders:
    def test_a_ranged_answer(self) -> None:
        """The size is the whole blob's, the MD5 too: Content-MD5 would be the range's."""
        headers = {
            "Content-Range": "bytes 5-9/1000",
            "Content-Length": "5",
            "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==",
            "x-ms-blob-content-md5": "AQEBAQEBAQEBAQEBAQEBAQ==",
            "ETag": '"0x8D"',
            "X-MS-META-Mixed": "v",
        }
        entry = from_headers("k", _headers(headers), None)
        assert (entry.size, entry.etag, entry.digests.md5) == (1000, "0x8D", b"\x01" * 16)
        assert entry.envelope is not None
        assert entry.envelope.user == (("Mixed", "v"),)

    def test_the_services_crc64_is_little_endian(self) -> None:
        """The check value of ``123456789`` as Azure answers it."""
        digests = reported_digests(_headers({"x-ms-content-crc64": "iJh5CoYUi64="}))
        assert digests.crc64nvme == bytes.fromhex("AE8B14860A799888")


@dataclass
class _Server:
    """A Blob service that always gives the same answer."""

    url: str = ""
    lane: str = "lean"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[str] = field(default_factory=list)

    def refusal(
        self, status: int, code: str = "", body: bytes = b"", headers: Mapping[str, str] = _NONE
    ) -> ConnectorError:
        """The error that an answer becomes."""
        self.status, self.body = status, body
        self.headers = {**headers, **({"x-ms-error-code": code} if code else {})}
        fields = {"account": "acct", "endpoint": self.url, "sas": "sv=1&sig=s3cr3t", "lane": self.lane}
        client = open_client("az", AzureSettings.model_validate(fields))
        assert client.lane == self.lane
        with pytest.raises(ConnectorError) as caught:
            client.send("GET", "c", "k", action="do it", resource="az:c/k")
        client.close()
        assert len(self.seen) == 1, "no library tries again beneath us"
        self.seen.clear()
        return caught.value


@pytest.fixture(params=["lean", "sdk"])
def server(request: pytest.FixtureRequest) -> Iterator[_Server]:
    """It, on the loopback interface, asked over each lane."""
    found = _Server(lane=str(request.param))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.seen.append(self.path)
            self.send_response_only(found.status)
            for name, value in {**found.headers, "Content-Length": str(len(found.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        found.url = f"http://127.0.0.1:{listener.server_address[1]}"
        yield found
        listener.shutdown()


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "cls"),
        [
            (403, "AuthenticationFailed", AuthenticationError),
            (401, "", AuthenticationError),
            (403, "AuthorizationPermissionMismatch", PermissionDeniedError),
            (403, "AuthorizationFailure", PermissionDeniedError),
            (404, "BlobNotFound", NotFoundError),
            (404, "", NotFoundError),
            (409, "BlobArchived", ArchivedError),
            (409, "BlobBeingRehydrated", ArchivedError),
            (409, "ContainerBeingDeleted", TransientError),
            (409, "BlobImmutableDueToPolicy", ReadOnlyError),
            (409, "BlobAlreadyExists", ConflictError),
            (412, "ConditionNotMet", ChangedError),
            (412, "LeaseIdMissing", ConflictError),
            (400, "Crc64Mismatch", DigestError),
            (400, "Md5Mismatch", DigestError),
            (503, "ServerBusy", ThrottledError),
            (429, "", ThrottledError),
            (500, "InternalError", TransientError),
            (500, "OperationTimedOut", TransientError),
            (400, "InvalidHeaderValue", ConnectorError),
            (301, "", ConnectorError),
        ],
    )
    def test_codes(self, server: _Server, status: int, code: str, cls: type[ConnectorError]) -> None:
        """The code decides, then the status; the message has the code, never the URL; it survives pickling."""
        error = server.refusal(status, code, headers={"x-ms-request-id": "r-1"})
        assert type(error) is cls
        assert "s3cr3t" not in "".join(traceback.format_exception(error))
        assert "r-1" in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - made here
        assert json.dumps(error.to_json())

    def test_the_code_in_the_body(self, server: _Server) -> None:
        """Where the header is missing the body's XML says it; a proxy's page says nothing."""
        body = b"<?xml version='1.0'?><Error><Code>BlobArchived</Code></Error>"
        assert type(server.refusal(409, body=body)) is ArchivedError
        assert type(server.refusal(502, body=b"<html>no")) is TransientError

    def test_retry_after(self, server: _Server) -> None:
        """Seconds, or a date against the answer's own; nonsense is nothing."""
        now = datetime(2026, 1, 1, tzinfo=UTC)
        stamp = {"Date": format_datetime(now, usegmt=True)}
        later = format_datetime(now + timedelta(seconds=7), usegmt=True)
        for text, seconds in (("3", 3.0), (later, 7.0), (stamp["Date"], 0.0), ("soon", None)):
            error = server.refusal(503, "ServerBusy", headers={"Retry-After": text, **stamp})
            assert isinstance(error, ThrottledError)
            assert error.retry_after_seconds == seconds


def _program(text: str) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize("credential", ['"key": "a2V5"', '"sas": "sig=x"'])
def test_the_lean_lane_loads_no_sdk(credential: str) -> None:
    """With a key or a signature, a read through the lean lane imports nothing of azure, nor requests."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: x\r\n\r\nok"
    with RawServer(answers(body)) as server:
        found = _program(f"""
import sys
from exitdrill_azure import AzureConnector, AzureSettings
settings = AzureSettings.model_validate({{"account": "acct", "endpoint": "{server.url}", {credential}}})
with AzureConnector().open("az", settings) as provider:
    print(provider.objects("c").read_small("k", size=2, etag="x")[1])
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"azure", "msal", "requests", "urllib3"}}))
""")
    assert found.splitlines() == ["b'ok'", "[]"]


def test_without_the_sdk() -> None:
    """Where azure's packages are not installed, the lean lane with a key works, and what needs them names the extra."""
    found = _program("""
import sys
sys.modules.update(dict.fromkeys(["azure", "azure.core", "azure.identity", "azure.storage.blob"]))
from exitdrill.errors import MissingExtraError
from exitdrill_azure import AzureConnector, AzureSettings
for fields in ({"key": "a2V5"}, {"key": "a2V5", "lane": "sdk"}, {}):
    try:
        AzureConnector().open("az", AzureSettings.model_validate({"account": "acct", **fields})).close()
        print("opened")
    except MissingExtraError as error:
        print(error.hint)
""")
    assert found.splitlines() == ["opened", "pip install 'exitdrill[azure]'", "pip install 'exitdrill[azure]'"]
