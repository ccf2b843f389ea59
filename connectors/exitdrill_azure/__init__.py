"""Azure Blob Storage for exitdrill.

`provider` opens an account, `store` reads and lists a container, `write` writes into it; `rest` sends one
request, `entries` and `envelope` translate, `errors` says what went wrong, `settings` what a drill may say.
"""

from exitdrill_azure.provider import AzureConnector, AzureProvider
from exitdrill_azure.settings import AzureSettings

__all__ = ["AzureConnector", "AzureProvider", "AzureSettings"]
