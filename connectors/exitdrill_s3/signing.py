"""Signature version 4 for S3, in headers.

Rules: the path is signed and sent as it stands, encoded once and never normalised; a payload has its SHA-256 or the
word UNSIGNED-PAYLOAD, never chunks with signatures of their own. The signing key is derived once a day, the date
written once a second.

Source: Amazon S3 API reference, "Authenticating requests: using the Authorization header (AWS Signature Version 4)".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import HMAC, digest
from hmac import new as hmac_of
from urllib.parse import quote

from exitdrill.clock import Clock, SystemClock
from exitdrill.errors import InvalidKeyError

__all__ = ["EMPTY_SHA256", "UNSIGNED_PAYLOAD", "Keys", "Signer", "encoded_key", "encoded_query"]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = sha256(b"").hexdigest()
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch
_SERVICE = "s3"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials at one moment."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    """For temporary keys."""


def encoded_key(key: str, resource: str) -> str:
    """A key as a path has it: percent-encoded once, slashes and dots as they are.

    Raises InvalidKeyError for an empty one, which would name its bucket, and for one that is not Unicode.
    """
    if not key:
        raise InvalidKeyError("an empty key", resource=resource)
    if _PLAIN(key):
        return key
    try:
        return quote(key, safe="/~")
    except UnicodeEncodeError:
        raise InvalidKeyError("a key that is not valid Unicode", resource=resource) from None


def encoded_query(query: Iterable[tuple[str, str]]) -> str:
    """Parameters in canonical form: percent-encoded, then sorted."""
    encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query)
    return "&".join([f"{name}={value}" for name, value in encoded])


class Signer:
    """Signs requests of one place; for any number of threads.

    Args:
        region: Whose endpoint is asked.
        keys: The credentials of the moment, asked for each request.
        clock: When is now.
        service: As signatures have it.
    """

    def __init__(
        self, region: str, keys: Callable[[], Keys], clock: Clock | None = None, service: str = _SERVICE
    ) -> None:
        """See the class."""
        self._keys, self._clock = keys, clock or SystemClock()
        self._region, self._service = region, service
        # Both are swapped whole, so that threads need no lock; at worst two make the same one.
        self._second = (_LONG_AGO, _LONG_AGO, "")
        self._key = _DailyKey("", "", "", hmac_of(b"", digestmod=sha256))

    def sign(self, method: str, authority: str, path: str, query: str, headers: dict[str, str], payload: str) -> None:
        """Add to the headers what makes them a signed request.

        Args:
            method: As HTTP has it.
            authority: What the ``Host`` header will say; it is not among the headers.
            path: Percent-encoded.
            query: In canonical form (`encoded_query`).
            headers: Those to sign, by lower-case name. What a hop may change is added afterwards.
            payload: Hexadecimal SHA-256 of the body, or `UNSIGNED_PAYLOAD`.

        Raises what getting the credentials raises.
        """
        keys, moment = self._keys(), self._now()
        headers["host"] = authority
        headers["x-amz-content-sha256"] = payload
        headers["x-amz-date"] = moment
        if keys.session_token is not None:
            headers["x-amz-security-token"] = keys.session_token
        pairs = sorted(headers.items())
        # In canonical form: no spaces at the ends of a value, and one where there are several. Most have none.
        lines = "\n".join(
            [
                f"{name}:{value if ' ' not in value and value.isprintable() else ' '.join(value.split())}"
                for name, value in pairs
            ]
        )
        signed = ";".join([name for name, _ in pairs])
        del headers["host"]
        key = self._daily(moment[:8], keys.secret_access_key)
        hashed = sha256(f"{method}\n{path}\n{query}\n{lines}\n\n{signed}\n{payload}".encode()).hexdigest()
        mac = key.mac.copy()
        mac.update(f"AWS4-HMAC-SHA256\n{moment}\n{key.scope}\n{hashed}".encode())
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{key.scope}, "
            f"SignedHeaders={signed}, Signature={mac.hexdigest()}"
        )

    def _now(self) -> str:
        now = self._clock.utc_now()
        begin, end, text = self._second
        if not begin <= now < end:
            begin = now.replace(microsecond=0)
            text = begin.strftime("%Y%m%dT%H%M%SZ")
            self._second = (begin, begin + timedelta(seconds=1), text)
        return text

    def _daily(self, day: str, secret: str) -> _DailyKey:
        kept = self._key
        if kept.day != day or kept.secret != secret:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = digest(key, part.encode(), "sha256")
            scope = f"{day}/{self._region}/{self._service}/aws4_request"
            kept = self._key = _DailyKey(day, secret, scope, hmac_of(key, digestmod=sha256))
        return kept


@dataclass(frozen=True, slots=True)
class _DailyKey:
    """What the signing key of a day has been derived from, and a MAC that has taken in nothing but it."""

    day: str
    secret: str = field(repr=False)
    scope: str
    mac: HMAC = field(repr=False)
