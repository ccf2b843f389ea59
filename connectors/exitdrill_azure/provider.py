"""The connector ``azure``: Azure Blob Storage as source, vault or target; one place is one storage account."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, ClassVar

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Connector, Endpoint, Environment, Provider, Settings
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import (
    AuthenticationError,
    ConflictError,
    ConnectorError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
    UsageError,
)
from exitdrill_azure.client import open_client
from exitdrill_azure.entries import page_of
from exitdrill_azure.errors import from_response
from exitdrill_azure.settings import AzureSettings
from exitdrill_azure.store import AzureObjectStore

if TYPE_CHECKING:
    from exitdrill.connector.reports import InventoryReport, ReportSource

__all__ = ["AzureConnector", "AzureProvider"]

_FORBIDDEN = 403
_CONTAINER = {"restype": "container"}


class AzureProvider(Provider):
    """One storage account.

    Args:
        place: Its name in the drill.
        settings: Its settings.
        retry: How its stores try again.
    """

    def __init__(self, place: str, settings: AzureSettings, retry: RetryPolicy | None = None) -> None:
        """See the class. Raises AuthenticationError for a credential that cannot work."""
        super().__init__(place, retry)
        self._client = open_client(place, settings)

    @property
    def environment(self) -> Environment:
        """The public cloud if the endpoint is one of Microsoft's."""
        return self._client.location.environment

    @property
    def lane(self) -> str:
        """``lean`` or ``sdk``."""
        return self._client.lane

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _objects(self, container: str, capabilities: Capabilities | None) -> ObjectStore:
        return AzureObjectStore(self._client, container, capabilities, self.retry)

    def _inventory_report(self, container: str, prefix: str, source: ReportSource) -> InventoryReport:
        from exitdrill_azure.inventory_report import newest_report  # few drills need it

        return newest_report(self._objects(source.container, None), container, prefix, source)

    def _ensure_container(self, container: str) -> bool:
        resource = f"{self.place}:{container}"
        try:
            self._client.send("PUT", container, action="create the container", resource=resource, query=_CONTAINER)
        except ConflictError:
            return False  # an account's names are its own: it exists already
        except PermissionDeniedError:
            # The right to create is not needed where there is nothing to create.
            with suppress(NotFoundError, PermissionDeniedError):
                self._page(container, "metadata")
                return False
            raise
        return True

    def _remove_container(self, container: str) -> None:
        resource = f"{self.place}:{container}"
        try:
            if self._holds_anything(container):
                raise ConflictError("the container is not empty, so it stays", resource=resource)
            self._client.send("DELETE", container, action="remove the container", resource=resource, query=_CONTAINER)
        except NotFoundError:
            return

    def _holds_anything(self, container: str) -> bool:
        """Whether there is a blob, a snapshot, an earlier version or an uncommitted block."""
        try:
            return self._page(container, "snapshots,uncommittedblobs,versions")
        except (TransientError, NotFoundError, AuthenticationError, PermissionDeniedError):
            raise
        except ConnectorError:  # versions are unknown to some accounts and servers
            return self._page(container, "snapshots,uncommittedblobs")

    def _page(self, container: str, include: str) -> bool:
        """Whether a listing of the container has an entry."""
        query = {**_CONTAINER, "comp": "list", "maxresults": "1", "include": include}
        resource = f"{self.place}:{container}"
        response = self._client.send("GET", container, action="list the container", resource=resource, query=query)
        entries, marker = page_of(response.content, resource)
        return bool(entries) or marker is not None

    def _server_time(self) -> datetime | None:
        action, query = "list the account's containers", {"comp": "list", "maxresults": "1"}
        response = self._client.send("GET", action=action, query=query, accept=frozenset({_FORBIDDEN}))
        if response.status == _FORBIDDEN:
            refused = from_response(response, action, self.place)
            # Credentials for some containers only are good, and refused here all the same.
            if not isinstance(refused, PermissionDeniedError):
                raise refused
        date = response.headers.get("Date")
        return None if date is None else parsedate_to_datetime(date).astimezone(UTC)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return self._client.location.endpoints()


class AzureConnector(Connector):
    """Opens storage accounts."""

    name: ClassVar[str] = "azure"
    title: ClassVar[str] = "Azure Blob Storage: block, append and page blobs, snapshots, versions, tags"
    roles: ClassVar[frozenset[str]] = frozenset({"source", "vault", "target"})
    extra: ClassVar[str | None] = "azure"
    settings: ClassVar[type[Settings]] = AzureSettings
    credential_environment: ClassVar[tuple[str, ...]] = (
        "AZURE_*",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IDENTITY_SERVER_THUMBPRINT",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "MSI_SECRET",
    )

    def open(self, place: str, settings: Settings, retry: RetryPolicy | None = None) -> AzureProvider:
        """One storage account; makes no request. Raises AuthenticationError for a credential that cannot work."""
        if not isinstance(settings, AzureSettings):
            raise UsageError(f"settings of {type(settings).__name__}", resource=place, expected="AzureSettings")
        return AzureProvider(place, settings, retry)
