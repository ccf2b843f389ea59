"""The SDK's lane: a client made to our rules, and calls whose errors are ours.

Rules: the SDK does not retry; every request has a time limit; checksums are sent as headers that we chose, never
as trailers; endpoints configured outside the drill are not used.

The SDK would read a body twice on plain HTTP, once to sign it. Whoever knows the SHA-256 says so with the body, and
the bytes are read once.
"""

from collections.abc import Iterator
from typing import Any

import boto3
from botocore import exceptions as sdk
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from botocore.utils import determine_content_length

from exitdrill_s3.body import BodyReader
from exitdrill_s3.client import CONNECT_SECONDS, CONNECTIONS, DEFAULT_REGION, READ_SECONDS, UNOWNED
from exitdrill_s3.sdk_errors import cause_of, translate
from exitdrill_s3.settings import MEBIBYTE, S3Settings

__all__ = ["SdkApi"]

_SIGNATURE = "exitdrill-s3v4"
"""Name of the signer that takes a body's word for its hash."""
_ASK_FIRST_BYTES = MEBIBYTE


class SdkApi:
    """A place's S3 client; as `exitdrill_s3.client.S3Api`.

    Args:
        place: The place's name, for messages.
        settings: Where it is and who asks.
    """

    def __init__(self, place: str, settings: S3Settings) -> None:
        """See the class. Makes no request; raises AuthenticationError for a profile that does not exist."""
        self.lane = "sdk"
        self._owner = settings.expected_bucket_owner
        try:
            self._client = _client(settings)
        except (sdk.BotoCoreError, ValueError, OSError) as exc:
            raise translate(exc, "opening the place", place) from exc
        self.region: str = self._client.meta.region_name or DEFAULT_REGION
        self.endpoint: str = self._client.meta.endpoint_url

    @property
    def encrypted(self) -> bool:
        """Whether requests travel over TLS."""
        return self.endpoint.startswith("https:")

    def call(
        self, operation: str, resource: str, *, body: BodyReader | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """As `S3Api.call`."""
        given = {name: value for name, value in parameters.items() if value is not None}
        if self._owner is not None and operation not in UNOWNED:
            given["ExpectedBucketOwner"] = self._owner
        if body is not None:
            given |= {"Body": body, "ContentLength": len(body)}
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**given)
        except (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, OSError) as exc:
            if body is not None and body.failure is not None:
                raise body.failure from exc
            raise translate(exc, operation, resource) from cause_of(exc)
        finally:
            if body is not None:
                body.close()
        if operation == "get_object":
            answer["Body"] = _OpenBody(answer["Body"], resource)
        return answer

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()


class _OpenBody:
    """An answer's body that is still to be read."""

    def __init__(self, stream: Any, resource: str) -> None:
        self._stream, self._resource = stream, resource

    def chunks(self) -> Iterator[bytes]:
        try:
            while chunk := self._stream.read(MEBIBYTE):
                yield chunk
        except (sdk.BotoCoreError, OSError) as exc:
            raise translate(exc, "get_object", self._resource) from exc

    def close(self) -> None:
        self._stream.close()


def _client(settings: S3Settings) -> Any:
    secret, token = settings.secret_access_key, settings.session_token
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id.get_secret_value() if settings.access_key_id else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=token.get_secret_value() if token else None,
        region_name=settings.region,
    )
    # The type stubs do not know this option yet.
    own_endpoint: dict[str, Any] = {"ignore_configured_endpoint_urls": True}
    config = Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": settings.style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="exitdrill",
        **own_endpoint,
    )
    client = session.client(
        "s3",
        region_name=session.region_name or DEFAULT_REGION,
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
    return _SIGNATURE if signature_version == "s3v4" else None


class _PromisedPayloadAuth(S3SigV4Auth):
    """Signature version 4 with the payload hash a `BodyReader` brings along."""

    def payload(self, request: AWSRequest) -> str:
        """The hash to sign: the body's own word, or what the SDK finds."""
        promised: str | None = getattr(request.body, "payload_sha256", None)
        return promised if promised is not None else str(super().payload(request))


# Signers are looked up by name in this map; the name is ours alone, so no other client in the process changes.
AUTH_TYPE_MAPS[_SIGNATURE] = _PromisedPayloadAuth
