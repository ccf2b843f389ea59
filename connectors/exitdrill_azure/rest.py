"""The SDK's lane: one authenticated request through azure-core, exactly as written.

The pipeline, its transport, tokens, signatures and shared access signatures are the vendor's (azure-core,
azure-identity, azure-storage-blob). The SDK's blob clients are not used: they rewrite names (``.`` and
``..``), read a large answer into memory in slices, retry by themselves, and cannot send a digest known
beforehand. Rules: the URL goes out byte for byte as it was signed; no retries, redirects, logging or
tracing; every request has both timeouts; `ConnectorError`s only. It knows proxies, which the lean lane does not.
"""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from email.utils import format_datetime
from typing import Any

import requests
import urllib3.exceptions
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
from exitdrill.connector.http import Headers
from exitdrill.errors import TransientError
from exitdrill_azure.client import Answer, common_headers, target_of
from exitdrill_azure.errors import from_exception, from_response, redact, redact_text
from exitdrill_azure.settings import AzureSettings, Location
from exitdrill_azure.signing import check_credential

__all__ = ["RestClient"]

CHUNK_BYTES = 1024 * 1024
_CLOCK = SystemClock()

# A blob can carry several hundred metadata names (8 KiB in all), each a header of its own; the standard
# library gives up at 100.
http.client._MAXHEADERS = max(http.client._MAXHEADERS, 4096)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way


class RestClient:
    """Sends requests to one account; as `exitdrill_azure.client.Client`.

    Args:
        place: Its name in the drill, for messages.
        settings: The place's settings.

    Raises AuthenticationError for a credential that cannot work.
    """

    def __init__(self, place: str, settings: AzureSettings) -> None:
        """See the class."""
        self.place = place
        self.lane = "sdk"
        self.settings = settings
        self.location = Location.of(settings)
        check_credential(place, settings, self.location)
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
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        """As `Client.send`."""
        response = self._run(method, container, key, action, resource, query, headers, content, accept, stream=False)
        return _answer(response)

    def open(
        self,
        container: str,
        key: str,
        *,
        action: str,
        resource: str,
        query: Mapping[str, str | None],
        headers: Mapping[str, str | None],
        accept: frozenset[int] = frozenset(),
    ) -> _Open:
        """As `Client.open`."""
        response = self._run("GET", container, key, action, resource, query, headers, None, accept, stream=True)
        return _Open(response, resource)

    def close(self) -> None:
        """Let go of connections and of the credential."""
        self._pipeline.__exit__()
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()

    def _run(
        self,
        method: str,
        container: str,
        key: str | None,
        action: str,
        resource: str,
        query: Mapping[str, str | None] | None,
        headers: Mapping[str, str | None] | None,
        content: bytes | Iterable[bytes] | None,
        accept: frozenset[int],
        *,
        stream: bool,
    ) -> HttpResponse:
        resource = resource or self.place
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if method in {"PUT", "POST"} and not content:
            sent["Content-Length"] = "0"
        date = format_datetime(_CLOCK.utc_now(), usegmt=True)
        request = HttpRequest(
            method,
            target_of(self.location.url, container, key, query),
            headers={**common_headers(), "x-ms-version": self.settings.api_version, "x-ms-date": date, **sent},
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
        raise from_response(_answer(response), action, resource, missing=missing if key is None else "")

    def _authentication(self) -> Any:
        """The policy that authenticates: Shared Key, SAS or a token."""
        settings = self.settings
        if settings.key is not None:
            named = AzureNamedKeyCredential(settings.account, settings.key.get_secret_value())
            # The SDK's own signing policy, which knows the service's order of header names.
            policy: SansIOHTTPPolicy[Any, Any] = BlobServiceClient(self.location.url, credential=named).credential
            return policy
        if settings.sas is not None:
            _redact_connection_log()
            return AzureSasCredentialPolicy(AzureSasCredential(settings.sas.get_secret_value().strip().lstrip("?")))
        from exitdrill_azure.identity import SCOPE, default_credential

        self._credential = default_credential(self.location.authority, settings)
        return BearerTokenCredentialPolicy(self._credential, SCOPE)


class _Open:
    """A streamed answer. Closing releases the connection, also before the first byte."""

    def __init__(self, response: HttpResponse, resource: str) -> None:
        self.status = response.status_code
        self.headers = _headers(response)
        self._response = response
        self._resource = resource

    def read(self) -> bytes:
        """As `OpenAnswer.read`."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """As `OpenAnswer.chunks`."""
        try:
            yield from self._response.iter_raw()
        except (AzureError, urllib3.exceptions.HTTPError, OSError) as exc:
            self.close()
            what = f"the answer broke off: {type(exc).__name__}"
            raise TransientError(what, resource=self._resource) from redact(exc)

    def close(self) -> None:
        """As `OpenAnswer.close`."""
        self._response.close()


def _answer(response: HttpResponse) -> Answer:
    return Answer(response.status_code, _headers(response), response.content)


def _headers(response: HttpResponse) -> Headers:
    return Headers([f"{name}: {value}" for name, value in response.headers.items()])


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
