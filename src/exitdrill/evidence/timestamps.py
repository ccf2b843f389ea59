"""Timestamps (RFC 3161): somebody else's clock says that a checkpoint was there at a certain time.

A token is asked for over the bytes of a checkpoint's file, signatures and all, with a nonce; ``openssl ts -verify
-data CHECKPOINT -in TOKEN -CAfile ROOTS`` checks it without us. On receipt it must be granted, over those bytes, and
with that nonce; where roots are given its signature must lead to one of them, by a certificate that is for nothing
but timestamps. A token that cannot be verified for want of roots is kept, and said to be so.

Rules. An authority is asked over HTTP; connecting, waiting and reading have a time limit each, and no more than 64 KiB
are read. Only TimestampError comes out of here. What two tokens say about the time between them is in `Bounds`.
"""

import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from http.client import HTTPException
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    Accuracy,
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    TimeStampTokenInfo,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import PKIStatus

from exitdrill.clock import Clock, Stopwatch
from exitdrill.errors import TimestampError
from exitdrill.evidence.within import Busy

__all__ = ["TOKEN_MAX_BYTES", "Authority", "Bounds", "Token", "bounds", "load_roots", "read_token"]

TOKEN_MAX_BYTES = 64 * 1024
_PIECE_BYTES = 8192
_LIMITS = 3
"""How many time limits an answer may take in all: to connect, to wait, to read."""
_ROOTS_MAX_BYTES = 1024 * 1024
_DIGESTS = {"2.16.840.1.101.3.4.2.1": sha256, "2.16.840.1.101.3.4.2.3": sha512}


@dataclass(frozen=True, slots=True)
class Token:
    """What an authority gave."""

    data: bytes
    """The response, DER: what a ``.tsr`` file holds."""
    at: datetime
    """The authority's time."""
    accuracy: timedelta
    """How far off that may be, either way; the authority's own word."""
    verified: bool
    """Whether its signature led to a root that was given."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What two tokens say about the time between them, by the authority's clock."""

    at_least: timedelta
    at_most: timedelta

    def allows(self, claimed: timedelta, slack: timedelta) -> bool:
        """Whether a duration that our own clock measured can be true.

        Args:
            claimed: From the making of the first checkpoint to that of the last.
            slack: How long a token may have been on its way: each is made some time after its checkpoint.
        """
        return self.at_least - slack <= claimed <= self.at_most + slack


def bounds(first: Token, last: Token) -> Bounds:
    """The interval in which the time between two tokens lies. Raises TimestampError if the last is the earlier.

    The first checkpoint was there no later than the first token, and all that the last covers no later than the last:
    what was done in between took no longer than `Bounds.at_most`, plus what went by on our own clock from the
    declaration to the first checkpoint. The digest of the first token stands in the journal, so that every line after
    it was written after the first token was made, and not before.
    """
    off = first.accuracy + last.accuracy
    between = last.at - first.at
    if between + off < timedelta(0):
        raise TimestampError("the last token is older than the first", expected="tokens of one run, in their order")
    return Bounds(max(timedelta(0), between - off), between + off)


def load_roots(path: Path) -> tuple[Certificate, ...]:
    """The certificates in a PEM file. Raises TimestampError."""
    try:
        with path.open("rb") as file:
            return tuple(load_pem_x509_certificates(file.read(_ROOTS_MAX_BYTES)))
    except OSError as exc:
        raise TimestampError(f"cannot be read: {exc.strerror}", resource=str(path)) from exc
    except ValueError as exc:
        raise TimestampError("no certificates in PEM", resource=str(path)) from exc


def read_token(data: bytes, message: bytes, roots: Sequence[Certificate], nonce: int | None = None) -> Token:
    """Check a token.

    Args:
        data: The response, DER.
        message: The bytes it must be about.
        roots: What its signature must lead to; without any it is not verified.
        nonce: What it must repeat, if it was asked for just now.

    Raises:
        TimestampError: It is not good.
    """
    try:
        response = decode_timestamp_response(data)
        if PKIStatus(response.status) is not PKIStatus.GRANTED:
            said = "; ".join(response.status_string) or PKIStatus(response.status).name.lower()
            raise TimestampError(f"no token was granted: {said}")
        info = response.tst_info
        digest = _DIGESTS.get(info.message_imprint.hash_algorithm.dotted_string)
        if digest is None or digest(message).digest() != info.message_imprint.message:
            raise TimestampError("the token is about other bytes")
        if nonce is not None and info.nonce != nonce:
            raise TimestampError("the token has another nonce: an answer to somebody else's question, or an old one")
        if roots:
            _verify(response, message, roots)
        return Token(data, info.gen_time.astimezone(UTC), _accuracy(info), bool(roots))
    except VerificationError as exc:
        why = str(exc).partition(": ErrorStack")[0]
        hint = "it must lead to a root that is given, by a certificate that is for timestamps alone"
        raise TimestampError(f"the token does not verify: {why}", hint=hint) from exc
    except ValueError as exc:
        raise TimestampError(f"not a timestamp response: {exc}") from exc


def _accuracy(info: TimeStampTokenInfo) -> timedelta:
    """As the authority says it; a second where it says nothing, because times without a fraction are cut off there."""
    said: Accuracy | None = info.accuracy  # the stub has no None, and the token need not have it
    if said is None:
        return timedelta(seconds=1)
    return timedelta(seconds=said.seconds or 0, milliseconds=said.millis or 0, microseconds=said.micros or 0)


def _verify(response: TimeStampResponse, message: bytes, roots: Sequence[Certificate]) -> None:
    """Signature, chain at the time of the token, and that the certificate is for timestamps."""
    builder = VerifierBuilder()
    for root in dict.fromkeys(roots):
        builder = builder.add_root_certificate(root)
    builder.build().verify_message(response, message)


@dataclass(frozen=True)
class Authority:
    """A timestamp authority."""

    url: str
    timeout_seconds: float
    clock: Clock
    roots: tuple[Certificate, ...] = field(default=())

    def stamp(self, message: bytes) -> Token:
        """Ask for a token over these bytes. Raises TimestampError; takes three times the time limit at most."""
        request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
        query = request.as_bytes()
        try:
            # Limits on single reads bound neither headers that come byte by byte nor a chain of redirections.
            answer = Busy[bytes](_LIMITS * self.timeout_seconds).call(lambda: self._ask(query))
        except TimeoutError as exc:
            raise TimestampError(f"does not answer: {exc}", resource=self.url) from exc
        return read_token(answer, message, self.roots, request.nonce)

    def _ask(self, query: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        request = urllib.request.Request(self.url, query, headers, method="POST")  # noqa: S310 - the plan takes http and https only
        watch = Stopwatch(self.clock)
        answer = bytearray()
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_seconds) as response:  # noqa: S310 - as above
                while piece := response.read1(_PIECE_BYTES):
                    answer += piece
                    if len(answer) > TOKEN_MAX_BYTES:
                        raise TimestampError(f"answers with more than {TOKEN_MAX_BYTES} bytes", resource=self.url)
                    if watch.elapsed_seconds > self.timeout_seconds:
                        raise TimestampError(f"takes longer than {self.timeout_seconds:g} s", resource=self.url)
        except urllib.error.HTTPError as exc:
            exc.close()
            raise TimestampError(f"answers {exc.code} {exc.reason}", resource=self.url) from exc
        except (OSError, HTTPException, ValueError) as exc:
            reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
            raise TimestampError(f"does not answer: {reason or type(exc).__name__}", resource=self.url) from exc
        return bytes(answer)
