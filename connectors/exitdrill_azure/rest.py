"""One authenticated request to the Blob service, exactly as written.

The pipeline, its transport, tokens, signatures and shared access signatures are the vendor's (azure-core,
azure-identity, azure-storage-blob). The SDK's blob clients are not used: they rewrite names (``.`` and
``..``), read a large answer into memory in slices, retry by themselves, and cannot send a digest known
beforehand. Rules: the URL goes out byte for byte as it was signed; no retries, redirects, logging or
tracing; every request has both timeouts; `ConnectorError`s only.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import logging
import os
from collections.abc import Iterable, Mapping
from email.utils import format_datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import requests
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import AzureSasCredentialPolicy, BearerTokenCredentialPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.storage.blob import BlobServiceClient
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from exitdrill.clock import SystemClock
from exitdrill.errors import AuthenticationError
from exitdrill_azure.errors import from_exception, from_response, redact, redact_text
from exitdrill_azure.settings import AzureSettings, Location

__all__ = ["RestClient"]

CHUNK_BYTES = 1024 * 1024
_SCOPE = "https://storage.azure.com/.default"
_CLOCK = SystemClock()

# A blob can carry several hundred metadata names (8 KiB in all), each a header of its own; the standard
# library gives up at 100.
http.client._MAXHEADERS = max(http.client._MAXHEADERS, 4096)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way


class RestClient:
    """Sends requests to one account.

    Args:
        place: Its name in the drill, for messages.
        settings: The place's settings.

    Raises AuthenticationError for a credential that cannot work.
    """

    def __init__(self, place: str, settings: AzureSettings) -> None:
        """See the class."""
        self.place = place
        self.settings = settings
        self.location = Location.of(settings)
        self._headers = {
            "x-ms-version": settings.api_version,
            "User-Agent": f"exitdrill/{version('exitdrill')}",
            "Accept-Encoding": "identity",
            "Accept": "*/*",
        }
        transport = RequestsTransport(
            session=_session(self.location.url, settings.pool_connections),
            connection_timeout=settings.connection_timeout_seconds,
            read_timeout=settings.read_timeout_seconds,
            connection_verify=settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True,
            connection_data_block_size=CHUNK_BYTES,
        )
        self._credential: TokenCredential | None = None
        self._pipeline: Pipeline[HttpRequest, HttpResponse] = Pipeline(transport, [self._authentication()])

    def send(
        self,
        method: str,
        container: str = "",
        key: str | None = None,
        *,
        action: str,
        resource: str = "",
        query: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        stream: bool = False,
        accept: frozenset[int] = frozenset(),
    ) -> HttpResponse:
        """One request; returns the answer, its body read unless ``stream``.

        Args:
            method: The HTTP method.
            container: Empty for the account itself.
            key: None for the container itself.
            action: What is tried, for messages: ``read the blob``.
            resource: What on, for messages.
            query: Parameters; those of None are left out.
            headers: Headers beside the common ones; those of None are left out.
            content: The body; an iterable must have a length.
            stream: Leave the body of a good answer unread.
            accept: Statuses beside the 2xx that are no error.

        Raises ConnectorError.
        """
        resource = resource or self.place
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if method in {"PUT", "POST"} and not content:
            sent["Content-Length"] = "0"
        request = HttpRequest(
            method,
            self._url(container, key, query or {}),
            headers={**self._headers, "x-ms-date": format_datetime(_CLOCK.utc_now(), usegmt=True), **sent},
            content=content,
        )
        try:
            response = self._pipeline.run(request, stream=stream).http_response
            good = 200 <= response.status_code < 300 or response.status_code in accept  # noqa: PLR2004 - RFC 9110
            if stream and not good:
                response.read()
        except AzureError as exc:
            raise from_exception(exc, action, resource) from redact(exc)
        if good:
            return response
        missing = f"container {container} of account {self.location.account}" if container else ""
        raise from_response(response, action, resource, missing=missing if key is None else "")

    def close(self) -> None:
        """Let go of connections and of the credential."""
        self._pipeline.__exit__()
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()

    def _url(self, container: str, key: str | None, query: Mapping[str, str | None]) -> str:
        path = f"/{quote(container, safe='')}" if container else "/"
        if key is not None:
            path += "/" + "/".join(_segment(part) for part in key.split("/"))
        parts = [f"{name}={quote(value, safe='')}" for name, value in query.items() if value is not None]
        return f"{self.location.url}{path}" + (f"?{'&'.join(parts)}" if parts else "")

    def _authentication(self) -> Any:
        """The policy that authenticates: Shared Key, SAS or a token."""
        settings = self.settings
        if settings.key is not None:
            key = settings.key.get_secret_value()
            _check_key(key, self.place)
            named = AzureNamedKeyCredential(settings.account, key)
            # The SDK's own signing policy, which knows the service's order of header names.
            policy: SansIOHTTPPolicy[Any, Any] = BlobServiceClient(self.location.url, credential=named).credential
            return policy
        if settings.sas is not None:
            _redact_connection_log()
            return AzureSasCredentialPolicy(AzureSasCredential(settings.sas.get_secret_value().strip().lstrip("?")))
        if not self.location.url.startswith("https://"):
            raise AuthenticationError(
                "no key and no sas is given, and tokens are not sent without TLS",
                resource=self.place,
                expected='key: "${env:AZURE_STORAGE_KEY}" in the drill, with AZURE_STORAGE_KEY set',
            )
        self._credential = _default_credential(self.location.authority, settings)
        return BearerTokenCredentialPolicy(self._credential, _SCOPE)


def _segment(part: str) -> str:
    """One segment of a name, percent-encoded; ``.`` and ``..`` too, which URLs would swallow."""
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")


def _check_key(key: str, place: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise AuthenticationError(
            "the account key is not base64",
            resource=place,
            expected="the key as the portal shows it, in AZURE_STORAGE_KEY",
        ) from exc


def _default_credential(authority: str, settings: AzureSettings) -> TokenCredential:
    """azure-identity's chain, its waits bounded: each try of each credential has the place's timeouts."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(
        authority=authority,
        exclude_interactive_browser_credential=True,
        process_timeout=10,
        connection_timeout=min(5.0, settings.connection_timeout_seconds),
        read_timeout=min(20.0, settings.read_timeout_seconds),
        retry_total=1,
    )


class _ExactSession(requests.Session):
    """Sends the URL that was signed; the library would decode, fold dots and encode again."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As the base, with the URL untouched."""
        prepared = super().prepare_request(request)
        prepared.url = str(request.url)
        return prepared


def _session(url: str, connections: int) -> requests.Session:
    """A session for one host: its proxy is looked up once, where the library would at every request."""
    session = _ExactSession()
    session.proxies.update(get_environ_proxies(url))
    session.trust_env = False  # else a .netrc entry would overwrite the Authorization header
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0))
    return session


class _RedactSignatures(logging.Filter):
    """Takes shared access signatures out of the connection log, which holds whole URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it is always kept."""
        record.msg = redact_text(record.getMessage())
        record.args = ()
        return True


def _redact_connection_log() -> None:
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(found, _RedactSignatures) for found in logger.filters):
        logger.addFilter(_RedactSignatures())
