"""Tokens and TLS: the Azure connector without key or signature, against an Azurite that demands both.

The token comes by azure-identity's own chain from a managed identity's endpoint, served here; Azurite checks
its form, audience and validity, not its signature.
"""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from certificates import make_certificate
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.emulator.azurite import Azurite
from exitdrill.emulator.interface import Launch, NotYetError
from exitdrill.errors import AuthenticationError, ConnectorError
from exitdrill_azure import AzureConnector, AzureProvider, AzureSettings

_IDENTITY_SECRET = "identity-header-secret"


class _TlsAzurite(Azurite):
    """With a certificate, and taking tokens."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.certificate, self._private = directory / "cert.pem", directory / "key.pem"
        make_certificate(self.certificate, self._private)

    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:
        launch = super()._launch(directory, ports)
        flags = ("--oauth", "basic", "--cert", str(self.certificate), "--key", str(self._private))
        endpoint = launch.settings["endpoint"].replace("http://", "https://")
        return replace(launch, command=(*launch.command, *flags), settings={**launch.settings, "endpoint": endpoint})

    def _ask(self, settings: object) -> None:
        assert isinstance(settings, dict)
        url = urlsplit(settings["endpoint"])
        context = ssl.create_default_context(cafile=str(self.certificate))
        connection = HTTPSConnection(str(url.hostname), url.port, timeout=5, context=context)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, HTTPException) as exc:
            raise NotYetError(str(exc)) from exc
        finally:
            connection.close()


@dataclass
class _Identity:
    """What the managed identity's endpoint hands out, and how often it did."""

    url: str
    audience: str = "https://storage.azure.com"
    valid_seconds: int = 3600
    asked: int = 0
    refuse: bool = False

    def token(self) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "aud": self.audience,
            "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + self.valid_seconds,
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return {"access_token": f"{text}.c2ln", "expires_on": str(claims["exp"]), "token_type": "Bearer"}


@pytest.fixture(scope="module")
def tls_azurite(azurite_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    emulator = _TlsAzurite(tmp_path_factory.mktemp("certificate"))
    with emulator.start(tmp_path_factory.mktemp("azurite-tls")) as running:
        yield running, emulator.certificate


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Identity]:
    """A managed identity's endpoint, and an environment in which azure-identity finds it and nothing else."""
    found = _Identity("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            right = self.headers.get("X-IDENTITY-HEADER") == _IDENTITY_SECRET
            resource = parse_qs(urlsplit(self.path).query).get("resource")
            good = right and resource == ["https://storage.azure.com"] and not found.refuse
            body = json.dumps(found.token() if good else {"error": "invalid_request"}).encode()
            self.send_response(200 if good else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", found.url)
    monkeypatch.setenv("IDENTITY_HEADER", _IDENTITY_SECRET)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["lean", "sdk"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _open(running: Running, certificate: Path | None, **more: object) -> AzureProvider:
    fields = {name: value for name, value in running.settings.items() if name != "key"}
    bundle = {} if certificate is None else {"ca_bundle": str(certificate)}
    settings = AzureSettings.model_validate({**fields, **bundle, **more})
    return AzureConnector().open("azure", settings, RetryPolicy(2, 0.01, 0.1))


def test_a_token_opens_everything(tls_azurite: tuple[Running, Path], identity: _Identity, lane: str) -> None:
    """One token serves every request: containers, writes in one piece and in blocks, reads, listings."""
    running, certificate = tls_azurite
    with _open(running, certificate, lane=lane, single_put_bytes=100_000, block_bytes=65_536) as provider:
        assert provider.server_time() is not None
        assert provider.ensure_container(f"tokens-{lane}") is True
        store = provider.objects(f"tokens-{lane}")
        for key, size in (("small", 10), ("large", 300_000)):
            store.write(WriteRequest(key, BytesBody(b"x" * size)))
            assert store.read(key).read_all() == b"x" * size
        assert sorted(entry.key for entry in store.list()) == ["large", "small"]
    assert identity.asked == 1


def test_a_token_for_something_else_is_refused(
    tls_azurite: tuple[Running, Path], identity: _Identity, lane: str
) -> None:
    """The service's refusal of a token is an authentication error."""
    identity.audience = "https://management.azure.com"
    with _open(*tls_azurite, lane=lane) as provider, pytest.raises(AuthenticationError):
        provider.server_time()


def test_no_credential_anywhere_names_the_variables(
    tls_azurite: tuple[Running, Path], identity: _Identity, lane: str
) -> None:
    """Where the chain finds nothing, the message says what to set, soon, and holds no secret."""
    identity.refuse = True
    began = time.monotonic()
    with (
        _open(*tls_azurite, lane=lane) as provider,
        pytest.raises(AuthenticationError, match="AZURE_CLIENT_ID") as caught,
    ):
        provider.server_time()
    assert time.monotonic() - began < 30
    assert _IDENTITY_SECRET not in repr((caught.value, caught.value.__cause__))


def test_no_token_without_tls(azurite: Running, lane: str) -> None:
    """Over plain HTTP without a key, opening fails at once and names the key and its variable."""
    with pytest.raises(AuthenticationError, match="AZURE_STORAGE_KEY"):
        _open(azurite, None, lane=lane)


def test_a_certificate_nobody_vouches_for(tls_azurite: tuple[Running, Path], lane: str) -> None:
    """TLS is verified: without the bundle the connection is refused, with it the key works."""
    running, certificate = tls_azurite
    with _open(running, None, lane=lane, key=running.settings["key"]) as provider:
        with pytest.raises(ConnectorError, match="ca_bundle") as caught:
            provider.server_time()
        assert not caught.value.transient, "trying again changes nothing"
    with _open(running, certificate, lane=lane, key=running.settings["key"]) as provider:
        assert provider.server_time() is not None
