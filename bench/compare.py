"""The comparison: who runs what, in which order, how often.

Every repeat runs every client once, in an order that turns from one repeat to the next, so that what the machine
does meanwhile falls on all of them. The concurrency of the others is swept first, once for each work and leg,
and the best one is kept. Everything a client wrote is removed before the next begins.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import ours
from bench.corpus import ACCOUNT, Stored
from bench.measure import ClientFailedError, Usage, run
from bench.peers import azcopy, rclone, sdk
from bench.places import Places
from bench.results import Measure
from exitdrill.errors import NotReadyError

__all__ = ["CLIENTS", "Comparison"]


@dataclass
class Comparison:
    """One pass over some works at one distance.

    Args:
        places: The servers.
        directory: Where clients may write.
        sweep: The concurrencies to try, by client; ``""`` for those not named.
        level: How our drill verifies.
        only: The clients that take part.
        once: Those of them that take part in the first work only.
        say: Told what is being done.
    """

    places: Places
    directory: Path
    sweep: Mapping[str, Sequence[int]]
    level: str
    only: Sequence[str]
    once: Sequence[str] = ()
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
    notes: list[str] = field(default_factory=list)
    _best: dict[tuple[str, str], int] = field(default_factory=dict)
    _count: int = 0

    def measure(self, stored: Stored, repeats: int) -> Iterator[Measure]:
        """Every client's runs at one work."""
        clients = [name for name in CLIENTS if name in self.only]
        self.only = [name for name in clients if name not in self.once]
        for repeat in range(repeats):
            turn = repeat % max(1, len(clients))
            turned = clients[turn:] + clients[:turn]
            for name in turned:
                self.say(f"{stored.corpus.name}, {self.places.round_trip_ms:g} ms, run {repeat + 1}: {name}")
                try:
                    for one in CLIENTS[name](self, stored):
                        self.say(f"    {one.leg}: {one.wall_seconds:.2f} s, {one.cpu_seconds:.2f} CPU s")
                        yield one
                except NotReadyError as missing:
                    self.only = [other for other in self.only if other != name]
                    clients = [other for other in clients if other != name]
                    self.notes.append(f"{name} did not take part: {missing}")

    @contextmanager
    def room(self) -> Iterator[tuple[Path, str]]:
        """A folder and a bucket that are gone afterwards."""
        self._count += 1
        folder = self.directory / f"client-{self._count}"
        folder.mkdir()
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder)
            yield folder, stack.enter_context(self.places.bucket(f"bench-{self.places.round_trip_ms:g}-{self._count}"))

    def swept(self, client: str) -> Sequence[int]:
        """The concurrencies to try with a client."""
        return self.sweep.get(client, self.sweep[""])

    def best(self, client: str, leg: str, stored: Stored, attempt: Callable[[int], Usage]) -> tuple[int, list[Usage]]:
        """The concurrency that is fastest here, and what is already known of it from the sweep."""
        key = (f"{client} {leg}", stored.corpus.name)
        if key in self._best:
            return self._best[key], []
        tried = {n: attempt(n) for n in self.swept(client)}
        self._best[key] = min(tried, key=lambda n: tried[n].wall_seconds)
        return self._best[key], [tried[self._best[key]]]

    def must_hold(self, leg: str, files: Path, bucket: str, stored: Stored) -> None:
        """A client that left something out was not faster. Raises ClientFailedError."""
        there = self.places.objects(bucket) if leg == "rebuild" else sum(path.is_file() for path in files.rglob("*"))
        if there != stored.corpus.objects:
            raise ClientFailedError(f"moved {there} of {stored.corpus.objects} objects")

    def peer(self, stored: Stored, leg: str, client: str, detail: str, attempt: Callable[[int], Usage]) -> Measure:
        """One run of a peer at its best concurrency."""
        chosen, known = self.best(client, leg, stored, attempt)
        usage = known[0] if known else attempt(chosen)
        swept = ", ".join(map(str, self.swept(client)))
        return self.of(
            stored, leg, client, usage.wall_seconds, usage.cpu_seconds, usage.peak_bytes, detail.format(chosen, swept)
        )

    def of(self, stored: Stored, leg: str, client: str, wall: float, cpu: float, peak: int, detail: str) -> Measure:
        """A measure of this pass."""
        return Measure(
            stored.corpus.name,
            leg,
            client,
            stored.corpus.objects,
            stored.size_bytes,
            wall,
            cpu,
            peak,
            self.places.round_trip_ms,
            detail,
        )


def _rclone_legs(self: Comparison, stored: Stored) -> list[Measure]:
    """Each leg alone, without checksums."""
    measures = []
    for leg in ("evacuate", "rebuild"):

        def attempt(transfers: int, leg: str = leg) -> Usage:
            with self.room() as (folder, bucket):
                files = _files_of(stored) if leg == "rebuild" else folder / "files"
                command = rclone.command(leg, stored.corpus.name, files, bucket, transfers, checked=False)
                usage = run(command, cwd=folder, environ=rclone.environ(self.places.azure, self.places.s3))
                self.must_hold(leg, files, bucket, stored)
                return usage

        flags = " ".join(rclone.command(leg, "", Path(), "", 0, checked=False)[4:])
        detail = "copy " + flags.replace("--transfers=0", "--transfers={} (best of {})")
        measures.append(self.peer(stored, leg, "rclone", detail, attempt))
    return measures


def _rclone_drill(self: Comparison, stored: Stored) -> list[Measure]:
    """copy, copy, check --download, hashsum sha256, with the transfers that were best for the legs."""
    name = stored.corpus.name
    with self.room() as (folder, bucket):
        files, wall, cpu, peak = folder / "files", 0.0, 0.0, 0
        for what in rclone.SEQUENCE:
            chosen = self._best.get((f"rclone {what}", name), self.swept("rclone")[-1])
            command = rclone.command(what, name, files, bucket, chosen, checked=True)
            usage = run(command, cwd=folder, environ=rclone.environ(self.places.azure, self.places.s3))
            wall, cpu, peak = wall + usage.wall_seconds, cpu + usage.cpu_seconds, max(peak, usage.peak_bytes)
        if len((folder / "sha256.txt").read_text().splitlines()) != stored.corpus.objects:
            raise ClientFailedError("rclone did not digest every file")
    detail = "copy, copy, check --download, hashsum sha256; checksums on, transfers as for the legs"
    return [self.of(stored, leg, "rclone", wall, cpu, peak, detail) for leg in ("drill", "command")]


def _azcopy(self: Comparison, stored: Stored) -> list[Measure]:
    azcopy.binary()

    def attempt(concurrency: int) -> Usage:
        with self.room() as (folder, _):
            files = folder / "files"
            command = azcopy.command(stored.corpus.name, files, self.places.azure["endpoint"])
            usage = run(command, cwd=folder, environ=azcopy.environ(folder, concurrency))
            self.must_hold("evacuate", files / stored.corpus.name, "", stored)
            return usage

    detail = "copy --check-md5=NoCheck, AZCOPY_CONCURRENCY_VALUE={} (best of {})"
    return [self.peer(stored, "evacuate", "azcopy", detail, attempt)]


def _sdk(self: Comparison, stored: Stored, leg: str, client: str) -> list[Measure]:
    def attempt(threads: int) -> Usage:
        with self.room() as (folder, bucket):
            files = _files_of(stored) if leg == "rebuild" else folder / "files"
            first, second = (str(files), bucket) if leg == "rebuild" else (stored.corpus.name, str(files))
            command = sdk.command("azure" if leg == "evacuate" else client, first, second, threads=threads)
            usage = run(command, cwd=folder, environ=sdk.environ(self.places.azure, self.places.s3))
            self.must_hold(leg, files, bucket, stored)
            return usage

    return [self.peer(stored, leg, client, "{} threads (best of {})", attempt)]


def _ours(self: Comparison, stored: Stored, *, prefect: bool) -> list[Measure]:
    client = "exitdrill, Prefect" if prefect else "exitdrill"
    detail = f"exitdrill run{'' if prefect else ' --no-prefect'}, verify: {self.level}, keep: true"
    with self.room() as (folder, bucket):
        done = ours.drill(
            self.places,
            stored.corpus.name,
            stored.corpus.objects,
            bucket,
            folder / "drill",
            level=self.level,
            prefect=prefect,
        )
    peak = done.command.peak_bytes
    whole = ours.Leg(done.command.wall_seconds, done.command.cpu_seconds)
    spans = {**done.legs, "drill": done.drill, "command": whole}
    if prefect:
        spans = {"drill": done.drill, "command": whole}
    return [
        self.of(stored, leg, client, span.wall_seconds, span.cpu_seconds, peak, detail) for leg, span in spans.items()
    ]


CLIENTS: dict[str, Callable[[Comparison, Stored], list[Measure]]] = {
    "rclone": _rclone_legs,
    "exitdrill": lambda self, stored: _ours(self, stored, prefect=False),
    "rclone-drill": _rclone_drill,
    "exitdrill-prefect": lambda self, stored: _ours(self, stored, prefect=True),
    "azcopy": _azcopy,
    "azure-storage-blob": lambda self, stored: _sdk(self, stored, "evacuate", "azure-storage-blob"),
    "boto3": lambda self, stored: _sdk(self, stored, "rebuild", "boto3"),
    "minio": lambda self, stored: _sdk(self, stored, "rebuild", "minio"),
}
"""By the names that ``--only`` takes."""


def _files_of(stored: Stored) -> Path:
    return stored.root / ACCOUNT / stored.corpus.name
