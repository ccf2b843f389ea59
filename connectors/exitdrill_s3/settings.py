"""What a drill says of an S3 place.

The endpoint stands in the drill or is Amazon's: an endpoint that the SDK would find in the environment is not
used, because evidence says from these settings whether a place is the public cloud.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from exitdrill.connector.provider import Environment, Settings

__all__ = ["LEAST_PART_BYTES", "MEBIBYTE", "S3Settings"]

MEBIBYTE = 1024 * 1024
LEAST_PART_BYTES = 5 * MEBIBYTE
"""Every part but the last is at least so large."""
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


class S3Settings(Settings):
    """Fields of a place with ``connector: s3``. Without keys, the SDK's own credential chain is used."""

    endpoint: str | None = Field(None, description="Base address of an S3-compatible server; none for Amazon S3.")
    region: str | None = Field(None, description="Region; without it the SDK's, or us-east-1.")
    access_key_id: SecretStr | None = Field(None, description="A reference such as ${env:AWS_ACCESS_KEY_ID}.")
    secret_access_key: SecretStr | None = Field(None, description="A reference such as ${env:AWS_SECRET_ACCESS_KEY}.")
    session_token: SecretStr | None = Field(None, description="A reference; for temporary keys.")
    ca_bundle: str | None = Field(None, description="PEM file of the authorities that signed the server's certificate.")
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Bucket in the path or in the host name; auto is path with an endpoint, else virtual."
    )
    lane: Literal["lean", "sdk"] = Field(
        "lean", description="How requests go out: over exitdrill's own HTTP, or through boto3, slower by far."
    )
    expected_bucket_owner: str | None = Field(
        None, pattern=r"^\d{12}$", description="Account that must own every bucket; another owner's is refused."
    )
    storage_classes: Mapping[str, str] = Field(
        default_factory=dict, description="From a source's tier to a storage class; a tier not named gets the default."
    )
    multipart_threshold: int = Field(
        64 * MEBIBYTE,
        ge=LEAST_PART_BYTES,
        le=5 * 1024 * MEBIBYTE,
        description="Objects larger than this go in parts; bytes.",
    )
    part_size: int = Field(
        16 * MEBIBYTE,
        ge=LEAST_PART_BYTES,
        le=64 * MEBIBYTE,
        description="Bytes a part; grows for more than 10,000 parts.",
    )

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = "an endpoint is http://host[:port] or https://host[:port]"
            raise ValueError(msg)
        if parts.username or parts.password or parts.query or parts.fragment:
            msg = "an endpoint holds no credentials, query or fragment"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("storage_classes")
    @classmethod
    def _read_only(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return MappingProxyType(dict(value))

    @model_validator(mode="after")
    def _whole_credential(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            msg = "access_key_id and secret_access_key go together"
            raise ValueError(msg)
        if self.session_token is not None and self.access_key_id is None:
            msg = "session_token goes with access_key_id and secret_access_key"
            raise ValueError(msg)
        return self

    @property
    def address(self) -> SplitResult | None:
        """The endpoint taken apart; None for Amazon S3."""
        return None if self.endpoint is None else urlsplit(self.endpoint)

    @property
    def style(self) -> Literal["path", "virtual"]:
        """Where the bucket stands. A server of one's own seldom has a name for every bucket."""
        if self.addressing == "auto":
            return "path" if self.environment is Environment.PRIVATE else "virtual"
        return self.addressing

    @property
    def environment(self) -> Environment:
        """Cloud for Amazon's own endpoints, private for any other."""
        host = "" if self.address is None else (self.address.hostname or "").lower()
        return Environment.CLOUD if not host or host.endswith(_AMAZON) else Environment.PRIVATE
