"""Whether memory and the cost of an object stay the same as objects grow more: ``python -m bench memory``.

Every object is one and the same small file at the source, so a million need no room there. A drill runs at each
number of objects; then another one is killed in the middle of the evacuation and taken up again.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import ours
from bench.corpus import Corpus, Stored, store
from bench.fixtures.azure import copies
from bench.measure import ClientFailedError, is_alive, run, tree
from bench.places import Places, places
from bench.table import table

__all__ = ["Row", "flatness", "measure", "render"]

_OBJECT_BYTES = 1024
_POLL_SECONDS = 0.05
_START_SECONDS = 600.0
_STEPS = ("inventory", "evacuate", "rebuild", "verify", "resume")


@dataclass(frozen=True, slots=True)
class Row:
    """One phase at one number of objects."""

    objects: int
    step: str
    """A phase, or ``resume``."""
    wall_seconds: float
    cpu_seconds: float
    worker_peak_bytes: int
    """Of the largest worker process at work in this phase, since it began: it may have done earlier phases too."""
    conductor_peak_bytes: int
    """Of the process that conducts, over the whole run."""
    note: str = ""


def measure(counts: Sequence[int], folder: Path, say: Callable[[str], None], *, resume: bool = True) -> list[Row]:
    """The rows of every phase at each of these numbers of objects."""
    works = [store(Corpus(f"many-{n}", n, _OBJECT_BYTES, shared=True), folder / "data") for n in counts]
    rows: list[Row] = []
    with places(works, folder / "servers", log=resume) as servers:
        for stored in works:
            say(f"{stored.corpus.objects:,} objects")
            rows += _whole(servers, stored, folder / "drill")
            if resume:
                say(f"{stored.corpus.objects:,} objects, killed half-way and resumed")
                rows.append(_resumed(servers, stored, folder))
            shutil.rmtree(folder / "drill")
    return rows


def _whole(servers: Places, stored: Stored, folder: Path) -> list[Row]:
    objects = stored.corpus.objects
    with servers.bucket(stored.corpus.name) as bucket:
        done = ours.drill(servers, stored.corpus.name, objects, bucket, folder, level="attested")
    usage = done.command
    conductor = max((p.peak_bytes for p in usage.processes if p.kind == "exitdrill"), default=0)
    rows = []
    for step in _STEPS[:-1]:
        leg = done.phases[step]
        peak = usage.peak_between(leg.began, leg.began + leg.wall_seconds, "worker")
        rows.append(Row(objects, step, leg.wall_seconds, leg.cpu_seconds, peak, conductor))
    return rows


def _resumed(servers: Places, stored: Stored, folder: Path) -> Row:
    work, objects, there, azure = (
        stored.corpus.name,
        stored.corpus.objects,
        folder / "drill",
        folder / "servers" / "azure",
    )
    shutil.rmtree(there)
    there.mkdir()
    with servers.bucket(f"{work}-resumed") as bucket:
        ours.write_drill(there, work, bucket, "attested", {})
        environ = ours.environ(servers)
        log = azure / "access.log"
        before = log.stat().st_size
        _killed(
            ours.command("run", "drill.yaml", prefect=False), there, environ, lambda: _lines(log, before) > objects / 2
        )
        fetched, _ = copies(azure, work, before)
        between, began = log.stat().st_size, time.time()
        usage = run(ours.command("resume", "last", "--json", prefect=False), cwd=there, environ=environ)
        again, first = copies(azure, work, between)
        ours.read(usage, there, objects)
    if first is None:
        raise ClientFailedError("the resumed drill copied nothing: it was killed too late")
    conductor = max((p.peak_bytes for p in usage.processes if p.kind == "exitdrill"), default=0)
    worker = max((p.peak_bytes for p in usage.processes if p.kind == "worker"), default=0)
    note = f"{fetched:,} objects read before, {again:,} after: {fetched + again - objects:,} twice"
    return Row(objects, "resume", first - began, usage.cpu_between(began, first), worker, conductor, note)


def _lines(log: Path, offset: int) -> int:
    """About how many lines a log has behind an offset."""
    with log.open("rb") as file:
        file.seek(offset)
        first = len(file.readline()) or 1
        return (log.stat().st_size - offset) // first


def _killed(command: list[str], folder: Path, environ: dict[str, str], enough: Callable[[], bool]) -> None:
    """Run a command until that is enough, then kill it, and wait until its workers have noticed."""
    with (folder / "killed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
        began = time.monotonic()
        try:
            while not enough():
                if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    raise ClientFailedError(f"the drill to be killed did not get half-way: {folder}/killed.log")
                time.sleep(_POLL_SECONDS)
        finally:
            all_ = tree(process.pid)
            process.kill()
            process.wait()
        while any(map(is_alive, all_)):
            if time.monotonic() - began > 2 * _START_SECONDS:
                raise ClientFailedError("the workers of the killed drill do not end")
            time.sleep(_POLL_SECONDS)


def flatness(rows: Sequence[Row]) -> dict[str, float]:
    """For each step, the largest worker's peak at the most objects over that at the fewest."""
    ratios = {}
    for step in dict.fromkeys(row.step for row in rows):
        of = sorted((row for row in rows if row.step == step), key=lambda row: row.objects)
        if len(of) > 1 and of[0].worker_peak_bytes:
            ratios[step] = of[-1].worker_peak_bytes / of[0].worker_peak_bytes
    return ratios


def render(rows: Sequence[Row]) -> str:
    """The table, the marginal cost of an object, and the ratios."""
    head = ("step", "objects", "note", "s", "CPU µs/object", "CPU µs/further object", "worker MB", "conductor MB")
    lines = []
    for step in dict.fromkeys(row.step for row in rows):
        last: Row | None = None
        for row in (r for r in rows if r.step == step):
            further = ""
            if last is not None and step != "resume" and row.objects > last.objects:
                further = f"{1e6 * (row.cpu_seconds - last.cpu_seconds) / (row.objects - last.objects):,.1f}"
            each = "" if step == "resume" else f"{1e6 * row.cpu_seconds / row.objects:,.1f}"
            peaks = (f"{row.worker_peak_bytes / 1e6:,.0f}", f"{row.conductor_peak_bytes / 1e6:,.0f}")
            lines.append((step, f"{row.objects:,}", row.note, f"{row.wall_seconds:.1f}", each, further, *peaks))
            last = row
    ratios = ", ".join(f"{step} {ratio:.2f}" for step, ratio in flatness(rows).items())
    note = "resume: seconds from the command to the first object copied again."
    return (
        f"{table(head, lines, 3)}\n\nPeak of a worker at the most objects over that at the fewest: {ratios}.\n{note}\n"
    )


def to_json(rows: Sequence[Row]) -> dict[str, object]:
    """For ``--json``."""
    return {"rows": [asdict(row) for row in rows], "flatness": flatness(rows)}
