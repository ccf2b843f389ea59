"""What each leg moved when, from the ticks of its workers, small whatever the leg's length.

Rules. A leg has at most `SPANS` spans of equal length; when it grows out of them, two and two become one. It is kept
as a fact of the run every few seconds and after every phase: a resume goes on with it, and a crash loses seconds.
A worker counts from zero: what is less than it said before is another worker on the same parts.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, Self

from exitdrill.assets.interface import Facts
from exitdrill.model.record import Throughput
from exitdrill.transfer.job import Tick

__all__ = ["SPANS", "Meters", "kept_throughput"]

SPANS = 120
_SHORTEST_NS = 1_000_000_000
_KEEP_NS = 5_000_000_000
_LEGS = frozenset({"evacuate", "rebuild"})


def _name(leg: str) -> str:
    return f"{leg} throughput"


def kept_throughput(facts: Facts, leg: str) -> Throughput | None:
    """What was kept of a leg; None if nothing was."""
    kept: Any = facts.get(_name(leg))
    if not isinstance(kept, Mapping):
        return None
    return Throughput(
        int(kept["start_elapsed_ns"]), int(kept["span_ns"]), tuple(kept["objects"]), tuple(kept["size_bytes"])
    )


@dataclass(slots=True)
class _Meter:
    """One leg of one asset."""

    start_ns: int
    span_ns: int = _SHORTEST_NS
    objects: list[int] = field(default_factory=list)
    size_bytes: list[int] = field(default_factory=list)
    workers: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)
    kept_ns: int = 0
    changed: bool = False

    @classmethod
    def load(cls, facts: Facts, leg: str, now_ns: int) -> Self:
        kept = kept_throughput(facts, leg)
        if kept is None:
            return cls(now_ns, kept_ns=now_ns)
        return cls(kept.start_elapsed_ns, kept.span_ns, list(kept.objects), list(kept.size_bytes), kept_ns=now_ns)

    def tick(self, tick: Tick, now_ns: int) -> None:
        before = self.workers.get(tick.parts, (0, 0))
        if tick.objects < before[0] or tick.size_bytes < before[1]:
            before = (0, 0)
        self.workers[tick.parts] = (tick.objects, tick.size_bytes)
        moved = (tick.objects - before[0], tick.size_bytes - before[1])
        if not any(moved):
            return
        index = self._index(now_ns)
        self.objects[index] += moved[0]
        self.size_bytes[index] += moved[1]
        self.changed = True

    def _index(self, now_ns: int) -> int:
        """The span of that moment, which is made if it is not there."""
        while (index := max(0, now_ns - self.start_ns) // self.span_ns) >= SPANS:
            self.objects, self.size_bytes = _halved(self.objects), _halved(self.size_bytes)
            self.span_ns *= 2
        for counts in (self.objects, self.size_bytes):
            counts.extend([0] * (index + 1 - len(counts)))
        return index

    def keep(self, facts: Facts, leg: str, now_ns: int) -> None:
        value = Throughput(self.start_ns, self.span_ns, tuple(self.objects), tuple(self.size_bytes))
        facts.put(_name(leg), asdict(value))
        self.kept_ns, self.changed = now_ns, False


def _halved(counts: list[int]) -> list[int]:
    return [sum(counts[n : n + 2]) for n in range(0, len(counts), 2)]


class Meters:
    """Every leg of a run, in this process. Safe from several threads.

    Args:
        facts: An asset's facts, by its name.
        elapsed_ns: Drill time.
    """

    def __init__(self, facts: Callable[[str], Facts], elapsed_ns: Callable[[], int]) -> None:
        """See the class."""
        self._facts, self._elapsed_ns = facts, elapsed_ns
        self._lock = Lock()
        self._meters: dict[tuple[str, str], _Meter] = {}

    def tick(self, tick: Tick) -> None:
        """A worker is this far; what is no leg of an asset is not counted."""
        if tick.task not in _LEGS or not tick.asset:
            return
        with self._lock:
            now_ns, key = self._elapsed_ns(), (tick.asset, tick.task)
            if key not in self._meters:
                self._meters[key] = _Meter.load(self._facts(tick.asset), tick.task, now_ns)
            meter = self._meters[key]
            meter.tick(tick, now_ns)
            if meter.changed and now_ns - meter.kept_ns >= _KEEP_NS:
                meter.keep(self._facts(tick.asset), tick.task, now_ns)

    def keep(self) -> None:
        """Keep what is not kept yet."""
        with self._lock:
            for (asset, leg), meter in self._meters.items():
                if meter.changed:
                    meter.keep(self._facts(asset), leg, self._elapsed_ns())
