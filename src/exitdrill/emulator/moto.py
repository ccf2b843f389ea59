"""moto's server: many AWS services in memory. Keys stay byte-exact; signatures and checksums are not checked."""

import importlib.util
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from exitdrill.emulator.interface import Emulator, Launch
from exitdrill.emulator.ports import HOST
from exitdrill.emulator.s3_ask import ask_s3
from exitdrill.errors import NotReadyError

__all__ = ["Moto"]


class Moto(Emulator):
    """In memory: what it holds ends with it."""

    name = "moto"
    persistent = False

    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:  # noqa: ARG002 - a hook; keeps nothing
        if importlib.util.find_spec("moto") is None:
            raise NotReadyError(
                "moto is not installed", resource="emulator moto", hint="pip install 'exitdrill[emulators]'"
            )
        (port,) = ports
        return Launch(
            command=(sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)),
            settings={
                "endpoint": f"http://{HOST}:{port}",
                "region": "eu-central-1",
                "access_key_id": "moto",
                "secret_access_key": "moto-takes-any",
            },
            stop_signal=signal.SIGKILL,  # nothing to save
        )

    def _ask(self, settings: Mapping[str, str]) -> None:
        ask_s3(settings)
