"""How a request proves who sends it: Shared Key, a shared access signature, or a token.

Sources: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key, and for the order of header
names, which that page leaves out, the vendor's own signer (azure-storage-blob), whose results these must equal: the
service sorts as Windows does, where letters and digits count first, and hyphens and apostrophes only between names
that are otherwise the same. Nothing of the SDK is imported here; tokens come from `identity`, loaded when first needed.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from threading import Lock
from typing import Protocol

from exitdrill.clock import Clock, SystemClock
from exitdrill.errors import AuthenticationError, MissingExtraError, TransientError
from exitdrill_azure.settings import AzureSettings, Location

__all__ = ["BearerToken", "SharedKey", "SharedSignature", "Signer", "Token", "check_credential", "signer_of"]

_LOG = logging.getLogger(__name__)
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
"""Headers that are signed whether they are there or not, in this order."""
_MINOR = "'-"
_MAJOR = "!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz"
_BY_MAJOR = str.maketrans({c: chr(1 + n) for n, c in enumerate(_MAJOR)} | dict.fromkeys(_MINOR, ""))
_BY_MINOR = str.maketrans(dict.fromkeys(_MAJOR, "\0") | {c: chr(1 + n) for n, c in enumerate(_MINOR)})
_BLOCK_BYTES = 64
"""Of SHA-256."""

_REFRESH_BEFORE_SECONDS = 300
_TRY_AGAIN_SECONDS = 30


class Signer(Protocol):
    """Authorizes requests."""

    def authorize(
        self, method: str, target: str, query: Mapping[str, str | None], headers: MutableMapping[str, str]
    ) -> str:
        """Add to the headers what authorizes the request; the target to send, which may be another.

        Args:
            method: The HTTP method.
            target: Path and query, percent-encoded.
            query: The same query, decoded; parameters of None are not in it.
            headers: Every header that will be sent, ``x-ms-date`` and ``x-ms-version`` among them.

        Raises AuthenticationError, TransientError where a token must be fetched.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class SharedKey:
    """HMAC-SHA256 over the request with the account's key.

    Args:
        account: The account's name.
        key: Its key, in base64 as the portal shows it.
    """

    def __init__(self, account: str, key: str) -> None:
        """See the class. Raises ValueError for a key that is not base64."""
        secret = base64.b64decode(key, validate=True)
        if len(secret) > _BLOCK_BYTES:
            secret = sha256(secret).digest()
        secret = secret.ljust(_BLOCK_BYTES, b"\0")
        # HMAC (FIPS 198-1) from two prepared states: less than half the cost of `hmac.digest`.
        self._inner = sha256(bytes(byte ^ 0x36 for byte in secret))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in secret))
        self._resource = f"/{account}"
        self._prefix = f"SharedKey {account}:"

    def authorize(
        self, method: str, target: str, query: Mapping[str, str | None], headers: MutableMapping[str, str]
    ) -> str:
        """As `Signer.authorize`."""
        form, values = _form(method, headers.get("Content-Length") == "0", tuple(headers))
        text = form % values(headers) + self._resource
        if query:
            text += target.partition("?")[0]
            for name in sorted(query):
                value = query[name]
                if value is not None:
                    text += f"\n{name.lower()}:{value}"
        else:
            text += target
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode("utf-8", "surrogatepass"))
        outer.update(inner.digest())
        headers["Authorization"] = self._prefix + binascii.b2a_base64(outer.digest(), newline=False).decode("ascii")
        return target

    def close(self) -> None:
        """Nothing is held."""


@lru_cache(maxsize=1024)
def _form(
    method: str, empty: bool, names: tuple[str, ...]
) -> tuple[str, Callable[[Mapping[str, str]], tuple[str, ...]]]:
    """What is signed of a method and headers of these names, and what picks the values to put in.

    A length of zero (``empty``) is signed as if there were none.
    """
    by_low = {name.lower(): name for name in names}
    if empty:
        by_low.pop("content-length", None)
    own = sorted((low for low in by_low if low.startswith("x-ms-")), key=_collation)
    lines = [method, *("%s" if name in by_low else "" for name in _SIGNED)]
    lines += [f"{low.replace('%', '%%')}:%s" for low in own]
    picked = [by_low[name] for name in (*_SIGNED, *own) if name in by_low]

    def values(headers: Mapping[str, str]) -> tuple[str, ...]:
        return tuple([headers[name] for name in picked])

    return "\n".join(lines) + "\n", itemgetter(*picked) if len(picked) > 1 else values


def _collation(name: str) -> tuple[str, str]:
    return name.translate(_BY_MAJOR), name.translate(_BY_MINOR)


class SharedSignature:
    """A query that somebody else signed.

    Args:
        sas: It, with or without the question mark.
    """

    def __init__(self, sas: str) -> None:
        """See the class."""
        self._sas = sas.strip().lstrip("?")

    def authorize(
        self,
        method: str,  # noqa: ARG002 - a protocol
        target: str,
        query: Mapping[str, str | None],  # noqa: ARG002
        headers: MutableMapping[str, str],  # noqa: ARG002
    ) -> str:
        """As `Signer.authorize`: the signature stands behind the query."""
        return f"{target}{'&' if '?' in target else '?'}{self._sas}"

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token."""

    text: str
    expires_epoch_seconds: float
    """When it ends, in seconds since 1970."""


class BearerToken:
    """A token, kept until five minutes before its end. For any number of threads; one of them fetches.

    Args:
        fetch: Gets one; raises AuthenticationError or TransientError.
        closed: Called at the end.
        clock: When is now.
    """

    def __init__(
        self, fetch: Callable[[], Token], closed: Callable[[], None] = lambda: None, clock: Clock | None = None
    ) -> None:
        """See the class. Fetches nothing yet."""
        self._fetch, self._closed = fetch, closed
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._token: Token | None = None
        self._header = ""
        self._renew_epoch_seconds = 0.0

    def authorize(
        self,
        method: str,  # noqa: ARG002 - a protocol
        target: str,
        query: Mapping[str, str | None],  # noqa: ARG002
        headers: MutableMapping[str, str],
    ) -> str:
        """As `Signer.authorize`."""
        if self._now() >= self._renew_epoch_seconds:
            with self._lock:
                if self._now() >= self._renew_epoch_seconds:
                    self._renew()
        headers["Authorization"] = self._header
        return target

    def close(self) -> None:
        """Forget the token, and let go of the credential."""
        self._token, self._renew_epoch_seconds = None, 0.0
        self._closed()

    def _now(self) -> float:
        return self._clock.utc_now().timestamp()

    def _renew(self) -> None:
        try:
            token = self._fetch()
        except TransientError as error:
            # A token that is still good is worth more than one that cannot be had just now.
            if self._token is None or self._token.expires_epoch_seconds <= self._now() + _TRY_AGAIN_SECONDS:
                raise
            _LOG.warning("the token could not be renewed yet: %s", error)
            self._renew_epoch_seconds = self._now() + _TRY_AGAIN_SECONDS
            return
        self._token, self._header = token, f"Bearer {token.text}"
        self._renew_epoch_seconds = token.expires_epoch_seconds - _REFRESH_BEFORE_SECONDS


def check_credential(place: str, settings: AzureSettings, location: Location) -> None:
    """Raises AuthenticationError for a credential that cannot work."""
    if settings.key is not None:
        try:
            base64.b64decode(settings.key.get_secret_value(), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise AuthenticationError(
                "the account key is not base64",
                resource=place,
                expected="the key as the portal shows it, in AZURE_STORAGE_KEY",
            ) from exc
    elif settings.sas is None and not location.url.startswith("https://"):
        raise AuthenticationError(
            "no key and no sas is given, and tokens are not sent without TLS",
            resource=place,
            expected='key: "${env:AZURE_STORAGE_KEY}" in the drill, with AZURE_STORAGE_KEY set',
        )


def signer_of(place: str, settings: AzureSettings, location: Location) -> Signer:
    """What the settings ask for.

    Raises AuthenticationError for a credential that cannot work, MissingExtraError where tokens are needed and
    azure-identity is not installed.
    """
    check_credential(place, settings, location)
    if settings.key is not None:
        return SharedKey(settings.account, settings.key.get_secret_value())
    if settings.sas is not None:
        return SharedSignature(settings.sas.get_secret_value())
    try:
        from exitdrill_azure.identity import Identity
    except ImportError as exc:
        raise MissingExtraError(
            f"tokens need azure-identity: {exc}", resource=place, hint="pip install 'exitdrill[azure]'"
        ) from exc
    identity = Identity(place, settings, location)
    return BearerToken(identity.token, identity.close)
