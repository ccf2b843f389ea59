"""The lean lane: one signed request over the pool's own HTTP, without the SDK.

Far cheaper than the SDK's lane for a small object (``docs/adr/0011-the-lean-lane.md``), and free of its imports where
the drill gives the keys. Every operation this connector uses is here. What it leaves to the SDK's lane: proxies, FIPS
and dual-stack endpoints, access points by ARN, and finding out a bucket's region.

Source: Amazon S3 user guide, "Virtual hosting of general purpose buckets".
"""

from __future__ import annotations

import hashlib
import os
import re
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

from exitdrill.clock import Clock
from exitdrill.connector.http import HttpAnswer, HttpPool
from exitdrill.errors import TransientError, UnsupportedError
from exitdrill_s3.answers import fields_of, parsed, refusal_of
from exitdrill_s3.body import BodyReader
from exitdrill_s3.client import CONNECT_SECONDS, CONNECTIONS, DEFAULT_REGION, READ_SECONDS, UNOWNED
from exitdrill_s3.credentials import keys_of, region_of
from exitdrill_s3.errors import RefusedError, refused
from exitdrill_s3.requests import Request, request_of
from exitdrill_s3.settings import S3Settings
from exitdrill_s3.signing import EMPTY_SHA256, Signer, encoded_key, encoded_query

__all__ = ["LeanApi", "domain_of"]

_ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""A page of 1,000 keys of 1,024 bytes, each percent-encoded, is far below it."""
_REPLAYED = frozenset({"GET", "HEAD"})
_WITH_LENGTH = frozenset({"PUT", "POST"})
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}").fullmatch
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{3,63}}$)(?!\d+\.\d+\.\d+\.\d+$){_LABEL}(?:\.{_LABEL})*").fullmatch
"""Buckets that can stand in a host name."""
_DOMAINS = {
    "cn": "amazonaws.com.cn",
    "eusc": "amazonaws.eu",
    "us-iso": "c2s.ic.gov",
    "us-isob": "sc2s.sgov.gov",
    "eu-isoe": "cloud.adc-e.uk",
    "us-isof": "csp.hci.ic.gov",
    "eu-isof": "csp.hci.ic.gov",
}
"""By what a region's name begins with, down to its direction and number: `AWS partitions`."""


def domain_of(region: str) -> str:
    """The domain of the partition that a region is in."""
    partition = next((name for name in _DOMAINS if re.fullmatch(rf"{name}-(?!iso)[a-z-]+-\d+", region)), "")
    return _DOMAINS.get(partition, "amazonaws.com")


class LeanApi:
    """A place's S3 over its own HTTP; as `exitdrill_s3.client.S3Api`.

    Args:
        place: The place's name, for messages.
        settings: Where it is and who asks.
        clock: When is now.
    """

    def __init__(self, place: str, settings: S3Settings, clock: Clock | None = None) -> None:
        """See the class. Makes no request; raises as `exitdrill_s3.client.open_api`."""
        self.lane = "lean"
        self.region = region_of(place, settings, DEFAULT_REGION)
        self.endpoint = settings.endpoint or f"https://s3.{self.region}.{domain_of(self.region)}"
        self._place, self._owner = place, settings.expected_bucket_owner
        address = urlsplit(self.endpoint)
        self._scheme, self._authority = address.scheme, address.netloc
        self._base = quote(address.path, safe="/~%")
        self._virtual = settings.style == "virtual"
        self._ca_bundle = settings.ca_bundle or os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        self._signer = Signer(self.region, keys_of(place, settings), clock)
        self._unsigned = {"user-agent": f"exitdrill/{version('exitdrill')}", "accept-encoding": "identity"}
        # Made at once, so that certificates that cannot be read are found when the place is opened.
        self._pools = {self._authority: self._pool_to(self._authority)}
        self._buckets: dict[str, tuple[HttpPool, str]] = {}

    @property
    def encrypted(self) -> bool:
        """Whether requests travel over TLS."""
        return self._scheme == "https"

    def call(
        self, operation: str, resource: str, *, body: BodyReader | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """As `S3Api.call`."""
        try:
            answer = self._send(operation, resource, body, parameters)
            try:
                return _read(operation, resource, answer)
            except RefusedError as refusal:
                raise refused(refusal, operation, resource) from refusal
        except Exception as exc:
            if body is not None and body.failure is not None and body.failure is not exc:
                raise body.failure from exc
            raise
        finally:
            if body is not None:
                body.close()

    def close(self) -> None:
        """Let go of connections."""
        for pool in list(self._pools.values()):
            pool.close()

    def _send(self, operation: str, resource: str, body: BodyReader | None, parameters: dict[str, Any]) -> HttpAnswer:
        request = request_of(operation, resource, parameters)
        headers = request.headers
        if self._owner is not None and operation not in UNOWNED:
            headers["x-amz-expected-bucket-owner"] = self._owner
        payload, length, content = EMPTY_SHA256, 0, None
        if body is not None:
            payload = body.payload_sha256 or _hash_of(body)
            length, content = len(body), body.content()
        elif request.document is not None:
            content = request.document
            payload, length = hashlib.sha256(content).hexdigest(), len(content)
        pool, path = self._where(request, resource)
        query, canonical = _query(request)
        self._signer.sign(request.method, pool.authority, path, canonical, headers, payload)
        # Below the signature: what a hop may set or change.
        headers |= self._unsigned
        if request.method in _WITH_LENGTH:
            headers["content-length"] = str(length)
        return pool.send(
            request.method,
            f"{path}?{query}" if query else path,
            headers.items(),
            content,
            action=operation,
            resource=resource,
            replay=request.method in _REPLAYED,
        )

    def _where(self, request: Request, resource: str) -> tuple[HttpPool, str]:
        """The server a request goes to, and its path there."""
        bucket, key = request.bucket, request.key
        if bucket is None:
            return self._pools[self._authority], f"{self._base}/"
        known = self._buckets.get(bucket)
        if known is None:
            known = self._buckets[bucket] = self._found(bucket, resource)
        pool, path = known
        return pool, path or "/" if key is None else f"{path}/{encoded_key(key, resource)}"

    def _found(self, bucket: str, resource: str) -> tuple[HttpPool, str]:
        """The server that has a bucket, and what its paths begin with."""
        if not _BUCKET(bucket):
            hint = "an access point is reached by its alias, or with lane: sdk" if bucket.startswith("arn:") else ""
            raise UnsupportedError(f"no bucket can be called {bucket[:80]!r}", resource=resource, hint=hint)
        if not (self._virtual and self._hosted(bucket)):
            return self._pools[self._authority], f"{self._base}/{bucket}"
        authority = f"{bucket}.{self._authority}"
        pool = self._pools.get(authority)
        if pool is None:
            pool = self._pools.setdefault(authority, self._pool_to(authority))
        return pool, self._base

    def _hosted(self, bucket: str) -> bool:
        """Whether the bucket can stand in the host name; a certificate covers one label more, not two."""
        return _HOST(bucket) is not None and ("." not in bucket or not self.encrypted)

    def _pool_to(self, authority: str) -> HttpPool:
        return HttpPool(
            f"{self._scheme}://{authority}",
            self._place,
            connect_seconds=CONNECT_SECONDS,
            read_seconds=READ_SECONDS,
            connections=CONNECTIONS,
            ca_bundle=self._ca_bundle,
        )


def _read(operation: str, resource: str, answer: HttpAnswer) -> dict[str, Any]:
    """What an answer says. Raises RefusedError, TransientError."""
    headers = answer.headers.lower
    if answer.status >= 300:  # noqa: PLR2004 - RFC 9110: no redirect is followed
        raise refusal_of(answer.status, headers, answer.read(_ANSWER_MAX_BYTES))
    try:
        out = fields_of(headers)
    except ValueError as exc:
        answer.close()
        msg = f"the answer to {operation} has headers that cannot be read"
        raise TransientError(msg, resource=resource) from exc
    if operation == "get_object":
        out["Body"] = answer
        return out
    content = answer.read(_ANSWER_MAX_BYTES)
    out.update(parsed(operation, headers, content, resource))
    return out


def _query(request: Request) -> tuple[str, str]:
    """A query as it is sent, and as it is signed: there a subresource has an equals sign."""
    name, query = request.subresource, request.query
    if not name:
        canonical = encoded_query(query) if query else ""
        return canonical, canonical
    if not query:
        return name, f"{name}="
    return f"{name}&{encoded_query(query)}", encoded_query([*query, (name, "")])


def _hash_of(body: BodyReader) -> str:
    """The SHA-256 of a body nobody has hashed yet; it is opened once more to be sent."""
    hasher = hashlib.sha256()
    while data := body.read(1024 * 1024):
        hasher.update(data)
    body.seek(0)
    return hasher.hexdigest()
