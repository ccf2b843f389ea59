"""What was measured, as values and as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

__all__ = ["Measure", "Results", "Summary", "machine", "summaries"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One run of one client."""

    work: str
    leg: str
    """``evacuate``, ``rebuild``, ``drill`` (the phases), ``command`` (from its start to its end)."""
    client: str
    objects: int
    size_bytes: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Of its largest process; 0 where it was not measured apart."""
    round_trip_ms: float = 0.0
    """Added by the proxy."""
    detail: str = ""
    """Its flags."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one call of the bench measured."""

    mode: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    """Which servers, which level of verification, what the proxy lets through …"""
    measures: Sequence[Measure] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    """Who could not take part, and why."""

    def write(self, path: Path) -> None:
        """As JSON, with the summaries for readers who do not want to compute them."""
        data = {**asdict(self), "summaries": [asdict(item) for item in summaries(self.measures)]}
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """The inverse of `write`."""
        data = json.loads(path.read_text())
        del data["summaries"]
        return cls(**{**data, "measures": tuple(Measure(**item) for item in data["measures"])})


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one client at one piece of work."""

    work: str
    round_trip_ms: float
    leg: str
    client: str
    runs: int
    objects: int
    size_bytes: int
    median_seconds: float
    best_seconds: float
    cpu_ms_per_object: float
    cpu_seconds_per_gb: float
    peak_bytes: int
    times_rclone: float | None
    """rclone's median wall time over this one's: 2.0 is twice as fast. None where rclone was not run."""
    detail: str


def summaries(measures: Iterable[Measure]) -> list[Summary]:
    """Medians, in the order in which things were first measured."""
    groups: dict[tuple[str, float, str, str], list[Measure]] = {}
    for one in measures:
        groups.setdefault((one.work, one.round_trip_ms, one.leg, one.client), []).append(one)
    walls = {key: median(one.wall_seconds for one in runs) for key, runs in groups.items()}
    works = list(dict.fromkeys(key[:2] for key in groups))
    legs = list(dict.fromkeys(key[2] for key in groups))
    ordered = sorted(groups, key=lambda key: (works.index(key[:2]), legs.index(key[2])))
    return [_summary(groups[key], walls[key], walls.get((*key[:3], "rclone"))) for key in ordered]


def _summary(runs: Sequence[Measure], wall: float, rclone: float | None) -> Summary:
    first = runs[0]
    cpu = median(one.cpu_seconds for one in runs)
    return Summary(
        first.work,
        first.round_trip_ms,
        first.leg,
        first.client,
        len(runs),
        first.objects,
        first.size_bytes,
        wall,
        min(one.wall_seconds for one in runs),
        1000 * cpu / first.objects,
        cpu / first.size_bytes * 1e9,
        max(one.peak_bytes for one in runs),
        None if rclone is None else rclone / wall,
        runs[-1].detail,
    )


def machine() -> dict[str, str]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": ", ".join(sorted(names)),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
