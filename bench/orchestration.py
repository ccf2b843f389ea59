"""What Prefect costs: ``python -m bench orchestration``.

Seconds from the command to the first byte copied, as the source sees it: the first blob asked for beside
preflight's look at one byte. Without Prefect, with the embedded server for the first time on this machine (no
template database in the user's cache) and again, and with a server that runs already.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import ours
from bench.corpus import Corpus, store
from bench.fixtures.azure import copies
from bench.measure import ClientFailedError
from bench.places import places
from bench.table import table
from exitdrill.emulator.ports import HOST, free_ports

__all__ = ["Start", "measure", "render"]

_OBJECT_BYTES = 10_240
_READY_SECONDS = 120.0
_ASK_SECONDS = 2.0
TEN_MINUTES_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Start:
    """One drill."""

    way: str
    first_byte_seconds: float
    """From the command to the first blob asked for."""
    command_seconds: float
    cpu_seconds: float
    overhead_seconds: float = 0.0
    """How much longer the command took than without Prefect."""


def measure(objects: int, repeats: int, folder: Path, say: Callable[[str], None]) -> list[Start]:
    """Each way so often, in turn, on a drill of so many small objects; the median of each."""
    stored = store(Corpus("starts", objects, _OBJECT_BYTES, shared=True), folder / "data")
    found: list[Start] = []
    with places([stored], folder / "servers", log=True) as servers:

        def one(way: str, variables: Mapping[str, str], *, prefect: bool) -> None:
            say(way)
            log = folder / "servers" / "azure" / "access.log"
            before = log.stat().st_size if log.exists() else 0
            with servers.bucket(f"starts-{len(found)}") as bucket:
                began = time.time()
                done = ours.drill(
                    servers,
                    "starts",
                    objects,
                    bucket,
                    folder / "drill",
                    level="attested",
                    prefect=prefect,
                    variables=variables,
                )
            _, first = copies(folder / "servers" / "azure", "starts", before)
            if first is None:
                raise ClientFailedError("nothing was copied")
            usage = done.command
            found.append(Start(way, first - began, usage.wall_seconds, usage.cpu_seconds))

        for repeat in range(repeats):
            client = {"PREFECT_HOME": str(folder / f"prefect-client-{repeat}")}
            embedded = {**client, "XDG_CACHE_HOME": str(folder / f"cache-{repeat}")}
            one("without Prefect", {}, prefect=False)
            one("embedded server, first time", embedded, prefect=True)
            one("embedded server, again", embedded, prefect=True)
            with _prefect_server(folder / f"prefect-{repeat}") as url:
                one("server running already", {"PREFECT_API_URL": url, **client}, prefect=True)
    return _medians(found)


def _medians(found: list[Start]) -> list[Start]:
    ways: dict[str, list[Start]] = {}
    for one in found:
        ways.setdefault(one.way, []).append(one)
    without = median(one.command_seconds for one in found if one.way == found[0].way)
    return [
        Start(
            way,
            median(one.first_byte_seconds for one in runs),
            command := median(one.command_seconds for one in runs),
            median(one.cpu_seconds for one in runs),
            command - without,
        )
        for way, runs in ways.items()
    ]


@contextmanager
def _prefect_server(home: Path) -> Iterator[str]:
    """``prefect server start`` in a folder of its own; gives the address of its API."""
    home.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}/api"
    environ = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_UI_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    began = time.monotonic()
    while time.monotonic() - began < _READY_SECONDS and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=_ASK_SECONDS):  # noqa: S310 - our own
                return
        except OSError:
            time.sleep(0.2)
    raise ClientFailedError("the Prefect server does not answer")


def render(found: list[Start]) -> str:
    """The table, and the share in a drill of ten minutes."""
    head = ("Prefect", "first byte after s", "command s", "CPU s", "longer by s", "% of ten minutes")
    rows = [
        (
            one.way,
            f"{one.first_byte_seconds:.1f}",
            f"{one.command_seconds:.1f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.overhead_seconds:.1f}",
            f"{100 * one.overhead_seconds / TEN_MINUTES_SECONDS:.1f}",
        )
        for one in found
    ]
    note = (
        "The last column takes what Prefect added to this drill as what it adds to one of ten minutes: tasks are\n"
        "groups of parts, so their number does not grow with the minutes."
    )
    return f"{table(head, rows)}\n\n{note}\n"


def to_json(found: list[Start]) -> dict[str, object]:
    """For ``--json``."""
    return {"starts": [asdict(one) for one in found]}
