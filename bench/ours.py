"""Driving exitdrill as a user does: a drill file, ``exitdrill run``, and what the run's record says.

One run gives several figures: the command's wall clock, the phases that a user would otherwise do with other
tools, and each leg. A leg's wall clock is the record's own; its CPU is that of the whole process tree in its
phase, the conductor's included.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from bench.measure import ClientFailedError, Usage, run
from bench.places import Places

__all__ = ["PHASES", "DrillRun", "Leg", "command", "drill", "environ", "read", "write_drill"]

_ROOT = Path(__file__).parents[1]
PHASES = ("inventory", "evacuate", "sever", "rebuild", "verify")
"""What a drill does that a sequence of copies does too; declaring, preflight, sealing and teardown come on top."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One span of a drill."""

    wall_seconds: float
    cpu_seconds: float
    began: float = 0.0
    """In Unix time."""


@dataclass(frozen=True, slots=True)
class DrillRun:
    """What one run cost."""

    command: Usage
    phases: Mapping[str, Leg]
    legs: Mapping[str, Leg]
    """``evacuate`` and ``rebuild``, from first byte to last."""
    folder: Path
    """The run's directory; gone when its folder is."""

    @property
    def drill(self) -> Leg:
        """`PHASES` together."""
        chosen = [self.phases[name] for name in PHASES]
        return Leg(sum(leg.wall_seconds for leg in chosen), sum(leg.cpu_seconds for leg in chosen))


def write_drill(folder: Path, work: str, bucket: str, level: str, settings: Mapping[str, Mapping[str, Any]]) -> Path:
    """A drill file: this container to that bucket, nothing taken down at the end.

    Args:
        folder: Where it goes; the vault and the runs will stand beside it.
        work: The container.
        bucket: The bucket.
        level: How it is verified.
        settings: More settings by role: ``{"source": {"lane": "sdk"}}``.
    """
    source = {name: f"${{env:BENCH_{name.upper()}}}" for name in ("account", "endpoint", "key")}
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    target = {name: f"${{env:BENCH_S3_{name.upper()}}}" for name in names}
    facts = {
        "exitdrill": 1,
        "name": "bench",
        "playbook": str(_ROOT / "playbooks" / "plan-b.yaml"),
        "mode": "rehearsal",
        "objectives": {"rto": "24h", "rpo": "24h"},
        "keep": True,
        "places": {
            "azure": {"connector": "azure", **source, **settings.get("source", {})},
            "vault": {"connector": "local", "path": "./vault", **settings.get("vault", {})},
            "s3": {"connector": "s3", **target, **settings.get("target", {})},
        },
        "route": {"source": "azure", "vault": "vault", "target": "s3"},
        "assets": [
            {
                "name": "work",
                "kind": "objects",
                "source": {"container": work},
                "target": {"bucket": bucket},
                "verify": level,
            }
        ],
    }
    path = folder / "drill.yaml"
    path.write_text(yaml.safe_dump(facts, sort_keys=False))
    return path


def environ(places: Places) -> dict[str, str]:
    """The variables the drill file names, and nothing that would lead elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "PREFECT_"))}
    return {
        **kept,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **{f"BENCH_{name.upper()}": value for name, value in places.azure.items()},
        **{f"BENCH_S3_{name.upper()}": value for name, value in places.s3.items()},
    }


def command(*arguments: str, prefect: bool) -> list[str]:
    """The command line of exitdrill."""
    return [sys.executable, "-m", "exitdrill.cli.main", *arguments, *(() if prefect else ("--no-prefect",))]


def drill(
    places: Places,
    work: str,
    objects: int,
    bucket: str,
    folder: Path,
    *,
    level: str = "full",
    prefect: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    variables: Mapping[str, str] | None = None,
) -> DrillRun:
    """Run a drill in a new folder.

    Args:
        places: The servers.
        work: The container.
        objects: How many objects are in it.
        bucket: The bucket.
        folder: Made anew.
        level: How it is verified.
        prefect: Whether Prefect conducts it.
        settings: As `write_drill`'s.
        variables: More environment variables.

    Raises:
        ClientFailedError: It did not end well, or did not move and prove every object.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_drill(folder, work, bucket, level, settings or {})
    environment = {**environ(places), **(variables or {})}
    usage = run(command("run", "drill.yaml", "--json", prefect=prefect), cwd=folder, environ=environment)
    return read(usage, folder, objects)


def read(usage: Usage, folder: Path, objects: int) -> DrillRun:
    """What the record of a folder's only run says. Raises ClientFailedError."""
    (directory,) = (folder / "runs").iterdir()
    record = json.loads((directory / "record.json").read_bytes())
    (asset,) = record["assets"]
    proven = (asset["verification"] or {}).get("equal")
    if record["status"] != "completed" or asset["listed"]["objects"] != objects or proven != objects:
        raise ClientFailedError(f"the drill proved {proven} of {objects} objects: {record['error']}")
    phases = {}
    for lap in record["laps"]:
        if lap["name"].startswith("phase "):
            start = datetime.fromisoformat(lap["started_utc"]).timestamp()
            seconds = lap["duration_ns"] / 1e9
            cpu = usage.cpu_between(start, start + seconds)
            phases[lap["name"].removeprefix("phase ")] = Leg(seconds, cpu, start)
    legs = {
        name: Leg(asset[name]["duration_ns"] / 1e9, phases[name].cpu_seconds, phases[name].began)
        for name in ("evacuate", "rebuild")
    }
    return DrillRun(usage, phases, legs, directory)
