"""The entry point: the S3 connector.

boto3 is imported when a place is opened that needs it, not before.
"""

from typing import ClassVar

from exitdrill.connector.provider import Connector, Provider, Settings
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import MissingExtraError
from exitdrill_s3.settings import S3Settings

__all__ = ["S3Connector"]


class S3Connector(Connector):
    """Amazon S3, and servers that speak its protocol."""

    name: ClassVar[str] = "s3"
    title: ClassVar[str] = "Amazon S3 and S3-compatible storage"
    roles: ClassVar[frozenset[str]] = frozenset({"source", "vault", "target"})
    extra: ClassVar[str | None] = "s3"
    settings: ClassVar[type[Settings]] = S3Settings
    credential_environment: ClassVar[tuple[str, ...]] = ("AWS_*",)

    def open(self, place: str, settings: Settings, retry: RetryPolicy | None = None) -> Provider:
        """A place. Makes no request.

        Raises MissingExtraError where boto3 is needed and not installed, AuthenticationError for a profile that does
        not exist.
        """
        if not isinstance(settings, S3Settings):
            msg = f"S3 places take S3Settings, not {type(settings).__name__}"
            raise TypeError(msg)
        from exitdrill_s3.provider import S3Provider

        try:
            return S3Provider(place, settings, retry)
        except ImportError as exc:
            msg = f"the S3 connector's library is missing: {exc.name}"
            raise MissingExtraError(msg, resource=place, hint="pip install 'exitdrill[s3]'") from exc
