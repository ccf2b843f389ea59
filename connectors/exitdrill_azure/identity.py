"""Tokens by azure-identity. Imports the SDK: loaded only where neither key nor sas is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from exitdrill_azure.errors import from_exception, redact
from exitdrill_azure.settings import AzureSettings, Location
from exitdrill_azure.signing import Token

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

__all__ = ["SCOPE", "Identity", "default_credential"]

SCOPE = "https://storage.azure.com/.default"


def default_credential(authority: str, settings: AzureSettings) -> TokenCredential:
    """azure-identity's chain, its waits bounded: each try of each credential has the place's timeouts."""
    return DefaultAzureCredential(
        authority=authority,
        exclude_interactive_browser_credential=True,
        process_timeout=10,
        connection_timeout=min(5.0, settings.connection_timeout_seconds),
        read_timeout=min(20.0, settings.read_timeout_seconds),
        retry_total=1,
    )


class Identity:
    """Whatever credential `azure.identity.DefaultAzureCredential` finds.

    Args:
        place: Its name in the drill, for messages.
        settings: The place's settings.
        location: Where the account is.
    """

    def __init__(self, place: str, settings: AzureSettings, location: Location) -> None:
        """See the class. Makes no request."""
        self._place = place
        self._credential = default_credential(location.authority, settings)

    def token(self) -> Token:
        """A token for storage. Raises AuthenticationError, TransientError."""
        try:
            found = self._credential.get_token(SCOPE)
        except AzureError as exc:
            raise from_exception(exc, "get a token", self._place) from redact(exc)
        return Token(found.token, found.expires_on)

    def close(self) -> None:
        """Let go of the credential's connections."""
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()
