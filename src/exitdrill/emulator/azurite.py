"""Azurite, Microsoft's emulator of Azure Storage: the real protocol, with signatures checked.

Persistent: measured on two cores with azure-storage-blob in 16 threads, 4 KiB blobs, it took 211 puts a second
on disk and 235 in memory, so memory is not worth the loss. Stopped by SIGTERM it keeps everything (0.2 s);
killed by SIGKILL it loses the metadata of at most its last 5 seconds, which is why its supervisor, not the
kernel, ends it when a run is killed.
"""

import base64
import hashlib
import hmac
import secrets
import signal
from collections.abc import Mapping
from email.utils import formatdate
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from exitdrill.emulator.install import azurite_js, node
from exitdrill.emulator.interface import Emulator, Launch, NotYetError
from exitdrill.emulator.ports import HOST

__all__ = ["Azurite"]

_ACCOUNT = "devstoreaccount1"
_VERSION = "2021-12-02"
_ASK_SECONDS = 5.0
_HTTP_OK = 200


class Azurite(Emulator):
    """Blob storage; its queue and table services start too and are not used."""

    name = "azurite"
    persistent = True
    ports_needed = 3

    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:
        data = directory / "data"
        data.mkdir(exist_ok=True)
        blob, queue, table = ports
        key = base64.b64encode(secrets.token_bytes(64)).decode("ascii")
        services = {"blob": blob, "queue": queue, "table": table}
        listen = [
            part for name, port in services.items() for part in (f"--{name}Host", HOST, f"--{name}Port", str(port))
        ]
        # without these two it refuses newer SDKs and reports its use to its maker
        flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(data)]
        return Launch(
            command=(str(node()), str(azurite_js()), *flags, *listen),
            settings={"account": _ACCOUNT, "endpoint": f"http://{HOST}:{blob}/{_ACCOUNT}", "key": key},
            environment={"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{key}"},
            stop_signal=signal.SIGTERM,
            grace_seconds=10.0,
        )

    def _ask(self, settings: Mapping[str, str]) -> None:
        """List containers, signed with the account's key.

        https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        """
        account, endpoint = settings["account"], urlsplit(settings["endpoint"])
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION}
        canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        text = "GET" + "\n" * 12 + f"{canonical}/{account}{endpoint.path}\ncomp:list"
        signature = hmac.digest(base64.b64decode(settings["key"]), text.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(signature).decode('ascii')}"
        connection = HTTPConnection(endpoint.hostname or HOST, endpoint.port, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", f"{endpoint.path}?comp=list", headers=headers)
            status = connection.getresponse().status
        except (OSError, HTTPException) as exc:
            raise NotYetError(f"{type(exc).__name__}: {exc}") from exc
        finally:
            connection.close()
        if status != _HTTP_OK:
            raise NotYetError(f"status {status} to a signed request")
