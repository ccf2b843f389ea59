"""A provider's connector, and one place opened through it.

A `Connector` is what the entry point names: static facts, the model of its settings, and how to open a
place. A `Provider` is one opened place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import UnsupportedError

if TYPE_CHECKING:
    from exitdrill.connector.reports import InventoryReport, ReportSource

__all__ = ["Connector", "Endpoint", "Environment", "Provider", "Settings", "Space"]


class Environment(StrEnum):
    """What stands behind a place. Evidence names it; a rehearsal never passes for a real drill."""

    CLOUD = "cloud"
    """The provider's public service."""
    PRIVATE = "private"
    """The same interface served by somebody else, or storage of one's own."""
    EMULATOR = "emulator"
    """A stand-in for tests."""


class Settings(BaseModel):
    """Base of a connector's settings. Secret fields are `pydantic.SecretStr`: a literal in a file is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A network address that belongs to a place, for the cut."""

    host: str
    """A host name or address; a leading ``*.`` stands for any name below."""
    port: int | None = None
    """None for every port."""
    why: str = "data"
    """``data``, ``identity``, ``management`` …"""


@dataclass(frozen=True, slots=True)
class Space:
    """Room at a place, in bytes; None where it does not say."""

    free_bytes: int | None = None
    total_bytes: int | None = None


class Provider(ABC):
    """One opened place. Opening makes no request.

    Args:
        place: Its name in the drill.
        retry: How its stores try again.
    """

    def __init__(self, place: str, retry: RetryPolicy | None = None) -> None:
        """See the class."""
        self.place = place
        self.retry = retry or RetryPolicy()

    @property
    @abstractmethod
    def environment(self) -> Environment:
        """Whether this is the public cloud, a private one, or (when the drill says so) an emulator."""

    @property
    def lane(self) -> str:
        """Which of its ways the bytes go, where a connector has several: ``lean`` or ``sdk``; else empty."""
        return ""

    def objects(self, container: str, capabilities: Capabilities | None = None) -> ObjectStore:
        """One container's objects; with capabilities that preflight narrowed. Makes no request."""
        return self._objects(container, capabilities)

    def inventory_report(self, container: str, prefix: str, source: ReportSource) -> InventoryReport:
        """The place's own report of what a container holds, the newest complete one.

        Args:
            container: The container it is about.
            prefix: Which of its keys must be in it.
            source: Where reports are.

        Raises NotFoundError, UnsupportedError where the connector knows no reports, ConnectorError.
        """
        return self._inventory_report(container, prefix, source)

    def ensure_container(self, container: str) -> bool:
        """Make sure the container exists; True if this call made it.

        Raises ConflictError if the name belongs to somebody else, PermissionDeniedError, ConnectorError.
        """
        return self.retry.call(lambda: self._ensure_container(container))

    def remove_container(self, container: str) -> None:
        """Remove an empty container; no error if there is none. Raises ConflictError if it is not empty."""
        self.retry.call(lambda: self._remove_container(container))

    def server_time(self) -> datetime | None:
        """The place's clock (its ``Date`` header), or None where it has none. Also proves the credentials.

        Raises AuthenticationError, PermissionDeniedError, ConnectorError.
        """
        return self.retry.call(self._server_time)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every network address that belongs to this place, identity and management included. Makes no request."""
        return self._endpoints()

    def space(self) -> Space:
        """Room left, where the place says. Raises ConnectorError."""
        return Space()

    def close(self) -> None:
        """Let go of connections."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _objects(self, container: str, capabilities: Capabilities | None) -> ObjectStore:  # noqa: ARG002 - a hook
        raise _unsupported(self, container)

    def _inventory_report(self, container: str, prefix: str, source: ReportSource) -> InventoryReport:  # noqa: ARG002 - a hook
        msg = "this connector reads no inventory reports"
        raise UnsupportedError(msg, resource=f"{self.place}:{source.container}")

    def _ensure_container(self, container: str) -> bool:
        raise _unsupported(self, container)

    def _remove_container(self, container: str) -> None:
        raise _unsupported(self, container)

    @abstractmethod
    def _server_time(self) -> datetime | None:
        """One cheap authenticated request."""

    @abstractmethod
    def _endpoints(self) -> tuple[Endpoint, ...]:
        """From the settings alone."""


def _unsupported(provider: Provider, container: str) -> UnsupportedError:
    return UnsupportedError("this connector has no object storage", resource=f"{provider.place}:{container}")


class Connector(ABC):
    """What the entry point group ``exitdrill.connectors`` names: a class without arguments."""

    name: ClassVar[str]
    """As drills write it after ``connector:``."""
    title: ClassVar[str]
    """One line for ``exitdrill connectors``."""
    roles: ClassVar[frozenset[str]]
    """Which of ``source``, ``vault``, ``target`` it can take."""
    services: ClassVar[frozenset[str]] = frozenset({"objects"})
    """Which services its places offer."""
    extra: ClassVar[str | None] = None
    """The extra that installs what it needs."""
    settings: ClassVar[type[Settings]]
    """The fields of a place in a drill, beside the common ones."""
    credential_environment: ClassVar[tuple[str, ...]] = ()
    """Environment variables its SDK reads credentials from (``AZURE_*``); removed when it is the source and cut."""

    @abstractmethod
    def open(self, place: str, settings: Settings, retry: RetryPolicy | None = None) -> Provider:
        """A place. Makes no request.

        Raises MissingExtraError, and AuthenticationError for a credential that is needed and nowhere to be
        found (naming the variable).
        """
