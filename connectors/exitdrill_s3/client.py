"""What the store and the provider ask of S3, and which lane answers.

`lean` speaks HTTP itself, `sdk` through boto3. A place's ``lane`` says which; where the machine's settings ask for
what the lean lane does not do (a proxy, FIPS or dual-stack endpoints), it is the SDK's. Rules for both: no retries
and no redirects; every request has its time limits; endpoints configured outside the drill are not used;
`exitdrill.errors.ConnectorError`s only, with a `exitdrill_s3.errors.RefusedError` as cause where the service answered.
"""

import logging
import os
from typing import Any, Protocol

from exitdrill.connector.http import proxied
from exitdrill_s3.body import BodyReader
from exitdrill_s3.settings import S3Settings

__all__ = ["CONNECTIONS", "CONNECT_SECONDS", "DEFAULT_REGION", "READ_SECONDS", "UNOWNED", "S3Api", "open_api"]

CONNECT_SECONDS, READ_SECONDS = 10, 60
CONNECTIONS = 128
DEFAULT_REGION = "us-east-1"
UNOWNED = frozenset({"list_buckets", "create_bucket"})
"""Operations on no bucket that could have an owner."""

_LOG = logging.getLogger(__name__)
_SPECIAL = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")


class S3Api(Protocol):
    """Sends requests to one place; safe to use from several threads."""

    lane: str
    """How it sends them: ``lean`` or ``sdk``."""
    region: str
    endpoint: str
    """Base address, without a bucket."""

    @property
    def encrypted(self) -> bool:
        """Whether requests travel over TLS."""

    def call(
        self, operation: str, resource: str, *, body: BodyReader | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """One request.

        Args:
            operation: As boto3 names its client's methods.
            resource: What it is about, for messages.
            body: What is sent.
            parameters: As boto3 names the method's arguments; those that are None are left out.

        Returns:
            The answer as boto3 gives it, as far as this connector looks at it; of ``get_object`` the ``Body`` has
            ``chunks()`` and ``close()``.

        Raises:
            ConnectorError: As `exitdrill_s3.errors.refused` says; TransientError for a broken connection.
        """

    def close(self) -> None:
        """Let go of connections."""


def open_api(place: str, settings: S3Settings) -> S3Api:
    """The client of the lane the settings name. Makes no request.

    Raises ImportError where the SDK is needed and not installed, AuthenticationError for a profile that does not
    exist, ConnectorError for certificates that cannot be read.
    """
    if settings.lane == "lean":
        why = _not_lean(settings)
        if not why:
            from exitdrill_s3.lean import LeanApi

            return LeanApi(place, settings)
        _LOG.info("%s: %s, so the SDK's lane is used", place, why)
    from exitdrill_s3.sdk import SdkApi

    return SdkApi(place, settings)


def _not_lean(settings: S3Settings) -> str:
    """Why the lean lane cannot do what this machine's settings ask for; empty if it can."""
    if proxied(settings.endpoint or "https://s3.amazonaws.com"):
        return "requests go through a proxy"
    if settings.endpoint is None:
        return next((f"{name} is set" for name in _SPECIAL if os.environ.get(name, "").lower() == "true"), "")
    return ""
