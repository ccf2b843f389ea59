"""Small objects in a vault on disk: a file each, or in packs. The figures of ADR 10.

    python bench/packs.py [--objects 20000] [--bytes 10240] [--repeat 3] [--folder DIR] [--json FILE]

Both ways write the same bytes through the same store, compute SHA-256 and CRC-64 of every object once, and make all of
it durable; both read every byte back and compare its SHA-256. They take turns, and the medians are shown. CPU is this
process's; the folder must be on the disk that is meant, not in memory.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest, copy_chunks
from exitdrill.model.digests import DigestKind, Digests, digests_of
from exitdrill.model.objects import Envelope
from exitdrill.transfer.packs import PackBuilder, PackFacts, read_pack
from exitdrill_local import LocalProvider

PACK_BYTES = 64 * 1024 * 1024
THREADS = 8
COMMIT_OBJECTS = 200
"""So many files are flushed together, as the data plane commits them."""
_ENVELOPE = {"content_type": "application/pdf", "user": {"case": "2024-0815", "department": "civil registry"}}


@dataclass(frozen=True, slots=True)
class Summed(BytesBody):
    """Bytes with their digests, which the store then does not compute again."""

    known: Digests = Digests.NONE

    def digests(self) -> Digests:
        """Of all bytes."""
        return self.known


@dataclass(slots=True)
class Cost:
    """What one thing took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    fsyncs: int = 0


class Data:
    """The same objects for everybody, made as they are asked for."""

    def __init__(self, objects: int, size_bytes: int) -> None:
        """See the class."""
        self.objects, self.size_bytes = objects, size_bytes
        self._pool = random.Random(1).randbytes(size_bytes + 65536)  # noqa: S311 - no secret

    def key(self, n: int) -> str:
        """Like the keys people have."""
        return f"cases/2024/{n % 97:02d}/{n:08d}/document-{n}.pdf"

    def data(self, n: int) -> bytes:
        """Different for neighbours."""
        begin = n * 7919 % 65536
        return self._pool[begin : begin + self.size_bytes]


@contextmanager
def measured(cost: Cost) -> Iterator[None]:
    """Adds what happens to a cost."""
    real, calls = os.fsync, [0]

    def counted(fd: int) -> None:
        calls[0] += 1
        real(fd)

    os.fsync = counted  # type: ignore[assignment]
    began, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        cost.seconds += time.perf_counter() - began
        cost.cpu_seconds += time.process_time() - cpu
        cost.fsyncs += calls[0]
        os.fsync = real


def write_files(store: ObjectStore, data: Data) -> None:
    """A file and a sidecar for each object."""
    envelope = Envelope.from_json(_ENVELOPE)

    def write(n: int) -> None:
        body = data.data(n)
        store.write(WriteRequest(data.key(n), Summed(body, digests_of(body)), envelope))

    with ThreadPoolExecutor(THREADS) as pool:
        for begin in range(0, data.objects, COMMIT_OBJECTS):
            list(pool.map(write, range(begin, min(begin + COMMIT_OBJECTS, data.objects))))
            store.flush()


def write_packs(store: ObjectStore, data: Data) -> None:
    """Packs of 64 MiB."""
    envelope, modified = json.dumps(_ENVELOPE), datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    builder, packs = PackBuilder(PACK_BYTES), 0

    def close() -> None:
        pack = builder.finish()
        summed = digests_of(pack, frozenset({DigestKind.CRC64NVME}))
        store.write(WriteRequest(f"packs/{packs:06d}", Summed(pack, summed)))
        store.flush()

    for n in range(data.objects):
        body = data.data(n)
        digests = digests_of(body)
        builder.add(body, PackFacts(data.key(n), modified, "0x8DC6B1F0A2B3C4D", digests.sha256, envelope))
        if builder.full:
            close()
            builder, packs = PackBuilder(PACK_BYTES), packs + 1
    if builder.members:
        close()


def read_files(store: ObjectStore, data: Data) -> int:
    """Every object, compared with what its sidecar says."""

    def read(n: int) -> bool:
        with store.read(data.key(n)) as stream:
            return hashlib.sha256(stream.read_all()).digest() == stream.entry.digests.sha256

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(read, range(data.objects)))


def read_packs(store: ObjectStore, data: Data) -> int:  # noqa: ARG001 - as `read_files`
    """Every object of every pack, headers and index checked too."""
    found = 0
    for entry in store.list("packs/"):
        found += sum(1 for _ in read_pack(copy_chunks(store.read(entry.key))))
    return found


def run(
    folder: Path,
    data: Data,
    write: Callable[[ObjectStore, Data], None],
    read: Callable[[ObjectStore, Data], int],
) -> dict[str, float]:
    """One way, once."""
    writing, reading, removing = Cost(), Cost(), Cost()
    place = folder / "vault"
    with LocalProvider("vault", place) as provider:
        provider.ensure_container("bench")
        store = provider.objects("bench")
        with measured(writing):
            write(store, data)
        with measured(reading):
            found = read(store, data)
        if found != data.objects:
            sys.exit(f"{found} of {data.objects} objects read back")
        there = list(place.rglob("*"))
        on_disk = sum(path.lstat().st_blocks * 512 for path in there)
        store.close()
    with measured(removing):
        shutil.rmtree(place)
    return {
        "write_seconds": writing.seconds,
        "write_cpu_seconds": writing.cpu_seconds,
        "fsyncs": writing.fsyncs,
        "read_seconds": reading.seconds,
        "read_cpu_seconds": reading.cpu_seconds,
        "remove_seconds": removing.seconds,
        "inodes": len(there),
        "bytes_on_disk": on_disk,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Small objects as files and in packs.")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=10 * 1024)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = Data(options.objects, options.bytes)
    ways = {"files": (write_files, read_files), "packs": (write_packs, read_packs)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(options.repeat):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                os.sync()
                found[name].append(run(Path(folder), data, *way))
    medians = {
        way: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for way, runs in found.items()
    }
    lines = [f"{options.objects:,} objects of {options.bytes:,} bytes, median of {options.repeat}"]
    lines.append(f"{'':20}{'files':>14}{'packs':>14}{'ratio':>9}")
    for name, value in medians["files"].items():
        other = medians["packs"][name]
        digits = 2 if name.endswith("seconds") else 0
        lines.append(f"{name:20}{value:>14,.{digits}f}{other:>14,.{digits}f}{value / other:>9.1f}")
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        facts = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**facts, "runs": found, "medians": medians}, indent=2) + "\n")


if __name__ == "__main__":
    main()
