"""What one small object costs a client: ``python -m bench cpu``.

CPU microseconds for each object and leg, of the whole process tree; and, from a second run with a sampler in every
worker, in which functions the workers spent them.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import ours
from bench.corpus import Corpus, store
from bench.places import places
from bench.table import table

__all__ = ["Cost", "measure", "render"]

_PROFILER = Path(__file__).parent / "profiler"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """One phase."""

    step: str
    wall_us: float
    """For each object."""
    cpu_us: float
    functions: tuple[tuple[str, float], ...]
    """Where the workers' CPU went, in microseconds an object, most first. Of the run with the sampler, which
    costs a little itself."""


def measure(objects: int, size_bytes: int, folder: Path, say: Callable[[str], None]) -> list[Cost]:
    """The costs of every phase of a drill of so many objects of one size."""
    stored = store(Corpus(f"cpu-{objects}-{size_bytes}", objects, size_bytes), folder / "data")
    name = stored.corpus.name
    with places([stored], folder / "servers") as servers:
        say("plain run")
        with servers.bucket("cpu-plain") as bucket:
            plain = ours.drill(servers, name, objects, bucket, folder / "drill", level="full")
        say("run with the sampler")
        samples = folder / "samples"
        samples.mkdir(exist_ok=True)
        for old in samples.iterdir():
            old.unlink()
        variables = {"BENCH_PROFILE": str(samples), "PYTHONPATH": str(_PROFILER)}
        with servers.bucket("cpu-sampled") as bucket:
            sampled = ours.drill(servers, name, objects, bucket, folder / "drill", level="full", variables=variables)
    found = [json.loads(path.read_text()) for path in samples.glob("*.json")]
    costs = []
    for step in ours.PHASES:
        leg, other = plain.phases[step], sampled.phases[step]
        spent: Counter[str] = Counter()
        for tenths in found:
            for tenth, functions in tenths.items():
                if other.began <= int(tenth) / 10 <= other.began + other.wall_seconds:
                    spent.update(functions)
        most = tuple((where, 1e6 * seconds / objects) for where, seconds in spent.most_common(_SHOWN))
        costs.append(Cost(step, 1e6 * leg.wall_seconds / objects, 1e6 * leg.cpu_seconds / objects, most))
    return costs


def render(costs: list[Cost]) -> str:
    """The costs, then the functions of each phase."""
    rows = [(cost.step, f"{cost.wall_us:,.0f}", f"{cost.cpu_us:,.0f}") for cost in costs]
    parts = [table(("phase", "wall µs/object", "CPU µs/object"), rows)]
    for cost in costs:
        lines = [(where, f"{each:,.1f}") for where, each in cost.functions]
        if lines:
            parts.append(table((f"{cost.step}: workers' CPU by function", "µs/object"), lines))
    return "\n\n".join(parts) + "\n"


def to_json(costs: list[Cost]) -> dict[str, object]:
    """For ``--json``."""
    return {"costs": [asdict(cost) for cost in costs]}
