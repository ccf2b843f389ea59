"""The one road to the SDK: a client made to our rules, and calls whose errors are ours.

Rules: the SDK does not retry; every request has a time limit; checksums are sent as headers that we chose, never
as trailers; endpoints configured outside the drill are not used.
"""

from typing import Any

import boto3
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from botocore.utils import determine_content_length

from exitdrill.connector.provider import Environment
from exitdrill_s3.body import SIGNATURE, BodyReader
from exitdrill_s3.errors import translate
from exitdrill_s3.settings import MEBIBYTE, S3Settings

__all__ = ["S3Api"]

_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_CONNECTIONS = 128
_ASK_FIRST_BYTES = MEBIBYTE
_UNOWNED = frozenset({"list_buckets", "create_bucket"})
_DEFAULT_REGION = "us-east-1"


class S3Api:
    """A place's S3 client; safe to use from several threads.

    Args:
        place: The place's name, for messages.
        settings: Where it is and who asks.
    """

    def __init__(self, place: str, settings: S3Settings) -> None:
        """See the class. Makes no request; raises AuthenticationError for a profile that does not exist."""
        self._owner = settings.expected_bucket_owner
        try:
            self._client = _client(settings)
        except (sdk.BotoCoreError, ValueError, OSError) as exc:
            raise translate(exc, "opening the place", place) from exc
        self.region: str = self._client.meta.region_name or _DEFAULT_REGION
        self.endpoint: str = self._client.meta.endpoint_url

    @property
    def encrypted(self) -> bool:
        """Whether requests travel over TLS."""
        return self.endpoint.startswith("https:")

    def call(
        self, operation: str, resource: str, *, body: BodyReader | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """One request.

        Args:
            operation: The client's method.
            resource: What it is about, for messages.
            body: What is sent.
            parameters: The method's arguments; those that are None are left out.

        Returns:
            The answer as the SDK gives it.

        Raises:
            ConnectorError: As `exitdrill_s3.errors.translate` says.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        if self._owner is not None and operation not in _UNOWNED:
            given["ExpectedBucketOwner"] = self._owner
        if body is not None:
            given |= {"Body": body, "ContentLength": len(body)}
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**given)
        except (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, OSError) as exc:
            if body is not None and body.failure is not None:
                raise body.failure from exc
            raise translate(exc, operation, resource) from exc
        finally:
            if body is not None:
                body.close()
        return answer

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()


def _client(settings: S3Settings) -> Any:
    secret, token = settings.secret_access_key, settings.session_token
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id.get_secret_value() if settings.access_key_id else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=token.get_secret_value() if token else None,
        region_name=settings.region,
    )
    style = settings.addressing
    if style == "auto":
        # A server of one's own seldom has a name for every bucket.
        style = "path" if settings.environment is Environment.PRIVATE else "virtual"
    # The type stubs do not know this option yet.
    own_endpoint: dict[str, Any] = {"ignore_configured_endpoint_urls": True}
    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="exitdrill",
        **own_endpoint,
    )
    client = session.client(
        "s3",
        region_name=session.region_name or _DEFAULT_REGION,
        endpoint_url=settings.endpoint,
        verify=settings.ca_bundle,
        config=config,
    )
    events: Any = client.meta.events
    events.unregister("before-call.s3", add_expect_header)
    for operation in ("PutObject", "UploadPart"):
        events.register(f"before-call.s3.{operation}", _ask_first)
        events.register(f"choose-signer.s3.{operation}", _choose_signer)
    events.register("before-call.s3.GetObject", _ask_for_checksums)
    return client


def _ask_first(params: dict[str, Any], **_: object) -> None:
    """Large bodies wait for ``100 Continue``; for small ones the extra round trip costs more than it saves."""
    if (determine_content_length(params.get("body")) or 0) >= _ASK_FIRST_BYTES:
        params["headers"]["Expect"] = "100-continue"


def _ask_for_checksums(params: dict[str, Any], **_: object) -> None:
    """The header, not the SDK's parameter: with that it would hash every body once more."""
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _choose_signer(signature_version: object, **_: object) -> str | None:
    return SIGNATURE if signature_version == "s3v4" else None
