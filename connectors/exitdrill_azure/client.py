"""What the store asks of the account's client, and how a request is written down; one file a lane has the rest.

`lean` speaks HTTP itself, `rest` through the vendor's SDK. A place's ``lane`` says which; where this machine's settings
send its requests through a proxy, which the lean lane does not speak to, it is the SDK's. Rules for both: a target goes
out byte for byte as it was signed; no retries, redirects or decompression; every request has its timeouts; and
`ConnectorError`s only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Protocol
from urllib.parse import quote

from exitdrill.connector.http import Headers, proxied
from exitdrill.errors import InvalidKeyError, MissingExtraError
from exitdrill_azure.settings import AzureSettings, Location

__all__ = ["Answer", "Client", "OpenAnswer", "common_headers", "open_client", "target_of"]

_LOG = logging.getLogger(__name__)
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch
"""Keys of nothing else need no encoding, unless a segment is made of dots."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read to its end."""

    status: int
    headers: Headers
    content: bytes


class OpenAnswer(Protocol):
    """An answer whose body is still to be read."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """Its headers."""

    def read(self) -> bytes:
        """The body as stored, whole; for small ones. Raises TransientError if it breaks off."""

    def chunks(self) -> Iterator[bytes]:
        """The same in chunks. Raises TransientError if it breaks off."""

    def close(self) -> None:
        """Release the connection, read or unread."""


class Client(Protocol):
    """Sends requests to one account."""

    place: str
    """Its name in the drill, for messages."""
    settings: AzureSettings
    location: Location
    lane: str
    """How it sends them: ``lean`` or ``sdk``."""

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
        """One request, and its answer read to the end.

        Args:
            method: The HTTP method.
            container: Empty for the account itself.
            key: None for the container itself.
            action: What is tried, for messages: ``read the blob``.
            resource: What on, for messages.
            query: Parameters; those of None are left out.
            headers: Headers beside the common ones; those of None are left out.
            content: The body; with an iterable, a ``Content-Length`` is among the headers.
            accept: Statuses beside the 2xx that are no error.

        Raises ConnectorError.
        """

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
    ) -> OpenAnswer:
        """A GET whose answer is read by the caller, who closes it. Arguments as `send`. Raises ConnectorError."""

    def close(self) -> None:
        """Let go of connections and of the credential."""


def open_client(place: str, settings: AzureSettings) -> Client:
    """The client of the lane the settings name.

    Raises AuthenticationError for a credential that cannot work, MissingExtraError where the SDK's lane is needed and
    its library is not installed.
    """
    url = Location.of(settings).url
    lean = settings.lane == "lean"
    if lean and proxied(url):
        _LOG.info("%s: requests go through a proxy, so the SDK's lane is used", place)
        lean = False
    if lean:
        from exitdrill_azure.lean import LeanClient

        return LeanClient(place, settings)
    try:
        from exitdrill_azure.rest import RestClient
    except ImportError as exc:
        raise MissingExtraError(
            f"the SDK's lane cannot be loaded: {exc}", resource=place, hint="pip install 'exitdrill[azure]'"
        ) from exc
    return RestClient(place, settings)


@cache
def common_headers() -> Mapping[str, str]:
    """What every request carries and no signature covers."""
    return {"User-Agent": f"exitdrill/{version('exitdrill')}", "Accept-Encoding": "identity"}


def target_of(base: str, container: str, key: str | None, query: Mapping[str, str | None] | None) -> str:
    """Base, path and query of a request, percent-encoded so that every key survives.

    Raises InvalidKeyError for a name that is no Unicode.
    """
    try:
        path = f"{base}/{quote(container, safe='')}" if container else f"{base}/"
        if key is not None:
            path = f"{path}/{_encoded(key)}"
        if not query:
            return path
        parts = [f"{name}={quote(value, safe='')}" for name, value in query.items() if value is not None]
    except UnicodeEncodeError:
        raise InvalidKeyError("a name that is not valid Unicode", resource=container) from None
    return f"{path}?{'&'.join(parts)}" if parts else path


def _encoded(key: str) -> str:
    if _UNRESERVED(key) and "." not in (key[:1], key[-1:]) and "/." not in key:
        return key
    return "/".join(_segment(part) for part in key.split("/"))


def _segment(part: str) -> str:
    """One segment of a name, percent-encoded; ``.`` and ``..`` too, which URLs would swallow."""
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
