"""How a drill describes an Azure storage account, and which addresses belong to it.

Rules: secrets are `SecretStr`; an endpoint carries no credential and no query. An account at one of
Microsoft's clouds is `Environment.CLOUD`, anything else `Environment.PRIVATE`. Left to others: whether the
account exists (`provider`), and whether the drill started an emulator (the engine).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from exitdrill.connector.provider import Endpoint, Environment, Settings

__all__ = ["AzureSettings", "Include", "Location"]

_MIB = 1024 * 1024
_ARROW_SINCE = "2026-10-06"
"""The version of the service from which it gives listings in Arrow: see `exitdrill_azure.arrow_listing`."""


class Include(BaseModel):
    """What a listing gives beside the current blobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    snapshots: bool = False
    versions: bool = False


class AzureSettings(Settings):
    """The fields of a place with ``connector: azure``.

    Without ``key`` and ``sas`` the credential is whatever `azure.identity.DefaultAzureCredential` finds.
    """

    account: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")
    endpoint: str | None = None
    """The blob service's URL; for emulators, private clouds and sovereign clouds."""
    key: SecretStr | None = None
    sas: SecretStr | None = None
    lane: Literal["lean", "sdk"] = "lean"
    """How requests go out: over exitdrill's own HTTP, or through the vendor's SDK, slower by far."""
    ca_bundle: str | None = None
    """A file of certificates to trust in place of the usual ones."""
    include: Include = Include()
    connection_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    read_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    page_size: int = Field(default=1000, ge=1, le=5000)
    """Blobs a listing page."""
    listing: Literal["auto", "xml", "arrow"] = "auto"
    """The form of listings: Arrow where the service gives it, XML where it does not. ``auto`` asks for Arrow only where
    ``api_version`` has it; ``arrow`` asks for it by the version that has it, whatever that says."""
    single_put_bytes: int = Field(default=64 * _MIB, ge=0, le=5000 * _MIB)
    """Larger blobs are written in blocks."""
    block_bytes: int = Field(default=8 * _MIB, ge=64 * 1024, le=128 * _MIB)
    """Size of a block; one is held in memory for each write under way."""
    pool_connections: int = Field(default=64, ge=1, le=1024)
    api_version: str = Field(default="2023-11-03", pattern=r"^20\d\d-\d\d-\d\d$")
    """The REST version spoken; an older one for older private clouds."""

    @property
    def arrow_version(self) -> str:
        """The version to ask for listings in Arrow by; empty where they are asked for in XML."""
        if self.listing == "arrow":
            return max(self.api_version, _ARROW_SINCE)
        return self.api_version if self.listing == "auto" and self.api_version >= _ARROW_SINCE else ""

    @field_validator("endpoint")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected a URL such as https://ACCOUNT.blob.core.windows.net, without a query")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL with credentials in it; they belong in key or sas")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> AzureSettings:
        if self.key is not None and self.sas is not None:
            raise ValueError("both key and sas are given; expected one of them, or neither")
        return self


@dataclass(frozen=True, slots=True)
class _Cloud:
    """One of Microsoft's clouds."""

    storage: str
    authority: str
    others: tuple[tuple[str, str], ...]
    """Host and what for."""


# https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints and the
# national clouds' lists of endpoints.
_CLOUDS = (
    _Cloud(
        "core.windows.net",
        "login.microsoftonline.com",
        (
            ("*.storage.azure.net", "data"),  # accounts with DNS zone endpoints
            ("login.windows.net", "identity"),
            ("sts.windows.net", "identity"),
            ("*.vault.azure.net", "identity"),
            ("*.azurecr.io", "registry"),
            ("management.azure.com", "management"),
        ),
    ),
    _Cloud(
        "core.usgovcloudapi.net",
        "login.microsoftonline.us",
        (
            ("*.vault.usgovcloudapi.net", "identity"),
            ("*.azurecr.us", "registry"),
            ("management.usgovcloudapi.net", "management"),
        ),
    ),
    _Cloud(
        "core.chinacloudapi.cn",
        "login.chinacloudapi.cn",
        (
            ("login.partner.microsoftonline.cn", "identity"),
            ("*.vault.azure.cn", "identity"),
            ("*.azurecr.cn", "registry"),
            ("management.chinacloudapi.cn", "management"),
        ),
    ),
)
_SERVICES = ("blob", "dfs", "file", "queue", "table")
_METADATA_SERVICE = (
    "169.254.169.254"  # managed identities: learn.microsoft.com/azure/virtual-machines/instance-metadata-service
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where the account is, worked out from the settings alone."""

    url: str
    """The account's base URL, without a trailing slash."""
    cloud: _Cloud | None
    """Which of Microsoft's clouds, if any."""
    account: str
    uses_identity: bool

    @classmethod
    def of(cls, settings: AzureSettings) -> Location:
        """The location a place's settings describe."""
        url = settings.endpoint or f"https://{settings.account}.blob.core.windows.net"
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not parts.path and _is_path_style(host):
            url = f"{url}/{settings.account}"
        cloud = next((cloud for cloud in _CLOUDS if host.endswith("." + cloud.storage)), None)
        return cls(url, cloud, settings.account, settings.key is None and settings.sas is None)

    @property
    def environment(self) -> Environment:
        """The public cloud or a private one."""
        return Environment.PRIVATE if self.cloud is None else Environment.CLOUD

    @property
    def authority(self) -> str:
        """The host that issues tokens."""
        return (self.cloud or _CLOUDS[0]).authority

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every address of the account, and of what its credentials come from."""
        if self.cloud is None:
            parts = urlsplit(self.url)
            own = (Endpoint(parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]),)
            return own + (self._identity(_CLOUDS[0]) if self.uses_identity else ())
        hosts = dict.fromkeys([urlsplit(self.url).hostname or ""])
        hosts |= dict.fromkeys(
            f"{self.account}{copy}.{service}.{self.cloud.storage}"
            for service in _SERVICES
            for copy in ("", "-secondary")
        )
        return tuple(Endpoint(host) for host in hosts) + self._identity(self.cloud)

    @staticmethod
    def _identity(cloud: _Cloud) -> tuple[Endpoint, ...]:
        return (
            Endpoint(cloud.authority, None, "identity"),
            *(Endpoint(host, None, why) for host, why in cloud.others),
            Endpoint(_METADATA_SERVICE, None, "identity"),
        )


def _is_path_style(host: str) -> bool:
    """Whether the account stands in the path: at bare addresses and names without a dot, as with Azurite."""
    try:
        ip_address(host)
    except ValueError:
        return "." not in host
    return True
