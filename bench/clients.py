"""What a GET costs by different HTTP clients: ``python -m bench clients``.

Every client does the same work against the fast Azure endpoint: a signed GET of a small blob, its headers parsed,
SHA-256 and CRC-64 of its bytes. "lean HTTP" is the lean lane's client by itself; "lean lane" and "SDK lane" are whole
reads through the store, which make an entry of the headers besides; asyncio and uvloop run a small protocol of their
own with the same signatures. Client CPU is that of the worker processes at work, without their start. What follows
from it: ``docs/adr/0011-the-lean-lane.md``.
"""

import asyncio
import hashlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from awscrt import checksums

from bench.corpus import Corpus, Stored, store
from bench.fixtures.azure import azure_server
from bench.table import table
from exitdrill.connector.http import Headers
from exitdrill.connector.objects import ObjectStore
from exitdrill_azure import AzureConnector, AzureSettings
from exitdrill_azure.lean import LeanClient
from exitdrill_azure.settings import Location
from exitdrill_azure.signing import signer_of

__all__ = ["WAYS", "Cost", "Way", "measure", "opened", "render", "run_once", "to_json"]

_HEAD_END = b"\r\n\r\n"
_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
_START_SECONDS, _RUN_SECONDS = 120.0, 600.0

Settings = Mapping[str, str]
Work = Sequence[tuple[str, str, int]]
"""Key, ETag and size of each object."""
Runner = Callable[[Work], None]
Read = Callable[[str, str, int], bytes]


@dataclass(frozen=True, slots=True)
class Way:
    """One client, so many processes, and so many threads or connections in each."""

    client: str
    processes: int
    wide: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of its runs."""

    way: Way
    rate: float
    """Objects a second."""
    cpu_us: float
    """Of the clients, for each object."""


WAYS = (
    *(Way("lean HTTP", 2, wide) for wide in (4, 8, 16, 32)),
    *(Way("lean HTTP", 1, wide) for wide in (1, 8, 32)),
    Way("lean lane", 2, 16),
    Way("SDK lane", 2, 16),
    *(Way(client, 2, 16) for client in ("asyncio", "uvloop")),
)


def measure(objects: int, size_bytes: int, repeats: int, folder: Path, say: Callable[[str], None]) -> list[Cost]:
    """What every way costs; rounds of all of them, one after another."""
    stored = store(Corpus(f"clients-{objects}-{size_bytes}", objects, size_bytes), folder / "data")
    runs: dict[Way, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with azure_server([stored], folder / "servers") as settings:
        for turn in range(repeats):
            for way in WAYS:
                say(f"round {turn + 1}: {way.client}, {way.processes} x {way.wide}")
                runs[way].append(run_once(way, settings, stored))
    medians = {way: [statistics.median(column) for column in zip(*found, strict=True)] for way, found in runs.items()}
    return [Cost(way, objects / wall, 1e6 * cpu / objects) for way, (wall, cpu) in medians.items()]


def render(costs: list[Cost]) -> str:
    """As a table."""
    head = ("client", "processes", "threads or connections in each", "objects/s", "client CPU µs/object")
    rows = [(c.way.client, str(c.way.processes), str(c.way.wide), f"{c.rate:,.0f}", f"{c.cpu_us:,.0f}") for c in costs]
    return table(head, rows) + "\n"


def to_json(costs: list[Cost]) -> dict[str, object]:
    """For ``--json``."""
    return {"clients": [asdict(cost) for cost in costs]}


def run_once(way: Way, settings: Settings, stored: Stored) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    count = stored.corpus.objects
    work = [(stored.corpus.key(n), stored.etag(n), stored.size(n)) for n in range(count)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(way.processes)
    workers, ends = [], []
    for number in range(way.processes):
        ours, theirs = context.Pipe(duplex=False)
        share = work[number :: way.processes]
        args = (theirs, barrier, way, dict(settings), stored.corpus.name, share)
        workers.append(context.Process(target=_worker, args=args))
        workers[-1].start()
        theirs.close()
        ends.append(ours)
    found: list[tuple[float, float, float]] = []
    for end, worker in zip(ends, workers, strict=True):
        if not end.poll(_START_SECONDS + _RUN_SECONDS):
            worker.kill()
            raise TimeoutError(f"{way} does not end")
        found.append(end.recv())
        worker.join(_START_SECONDS)
    return max(ended for _, ended, _ in found) - min(began for began, _, _ in found), sum(cpu for _, _, cpu in found)


def _worker(end: Connection, barrier: Barrier, way: Way, settings: Settings, container: str, work: Work) -> None:
    """In a process of its own: its beginning and end on the machine's clock, and its CPU between."""
    with opened(way.client, settings, container, way.wide) as run:
        run(work[: way.wide])
        barrier.wait(_START_SECONDS)
        began, cpu = time.monotonic(), time.process_time()
        run(work)
        end.send((began, time.monotonic(), time.process_time() - cpu))


def _digest(data: bytes | bytearray, size: int) -> None:
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes, not {size}")
    hashlib.sha256(data).digest()
    checksums.crc64nvme(bytes(data))


@contextmanager
def opened(client: str, settings: Settings, container: str, wide: int) -> Iterator[Runner]:
    """A client, as wide as that: what reads all of a work, and fails unless every object has its size."""
    with ExitStack() as stack:
        found = AzureSettings.model_validate({**settings, "lane": "sdk" if client == "SDK lane" else "lean"})
        if client in ("asyncio", "uvloop"):
            yield _loop(client, found, container, wide)
            return
        if client == "lean HTTP":
            read = _http(stack.enter_context(closing(LeanClient("bench", found))), container)
        else:
            read = _whole(stack.enter_context(AzureConnector().open("bench", found)).objects(container))
        threads = stack.enter_context(ThreadPoolExecutor(wide))

        def take(rows: Work) -> None:
            for key, etag, size in rows:
                _digest(read(key, etag, size), size)

        def run(work: Work) -> None:
            list(threads.map(take, [work[n::wide] for n in range(wide)]))

        yield run


def _http(client: LeanClient, container: str) -> Read:
    def read(key: str, etag: str, _: int) -> bytes:
        pinned = {"If-Match": f'"{etag}"'}
        return client.open(container, key, action="read", resource=key, query={}, headers=pinned).read()

    return read


def _whole(objects: ObjectStore) -> Read:
    return lambda key, etag, size: objects.read_small(key, size=size, etag=etag)[1]


class _Asking(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body_at = self._end = 0
        self._answer: asyncio.Future[bytearray] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, head: bytes) -> asyncio.Future[bytearray]:
        self._buffer.clear()
        self._end = 0
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(head)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._end and (found := self._buffer.find(_HEAD_END)) >= 0:
            first, *lines = self._buffer[:found].decode("latin-1").split("\r\n")
            if first.split(" ")[1] != "200":
                raise ValueError(first)
            self._body_at = found + len(_HEAD_END)
            self._end = self._body_at + int(Headers(lines)["Content-Length"])
        if self._end and len(self._buffer) >= self._end and self._answer is not None:
            answer, self._answer = self._answer, None
            if not answer.done():  # given up
                answer.set_result(self._buffer[self._body_at : self._end])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))


def _loop(client: str, settings: AzureSettings, container: str, wide: int) -> Runner:
    location = Location.of(settings)
    url = urlsplit(location.url)
    signer = signer_of("bench", settings, location)

    async def take(rows: Work) -> None:
        _, protocol = await asyncio.get_running_loop().create_connection(_Asking, str(url.hostname), url.port or 80)
        try:
            for key, etag, size in rows:
                target = f"{url.path}/{container}/{key}"
                headers = {"x-ms-version": settings.api_version, "x-ms-date": _DATE, "If-Match": f'"{etag}"'}
                signer.authorize("GET", target, {}, headers)
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                head = f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\n{lines}\r\n".encode("latin-1")
                _digest(await protocol.ask(head), size)
        finally:
            protocol.transport.close()

    async def all_of(work: Work) -> None:
        for ended in await asyncio.gather(*(take(work[n::wide]) for n in range(wide)), return_exceptions=True):
            if ended is not None:
                raise ended

    def run(work: Work) -> None:
        with asyncio.Runner(loop_factory=_loop_factory(client)) as runner:
            runner.run(all_of(work))

    return run


def _loop_factory(client: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if client == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop
