"""How far a run is, as numbers: ticks of workers added up to one line a leg. Draws nothing.

A worker counts from zero; several carry out one leg side by side, one after the other. A leg's sum is what
was there when the phase began, plus the last count of every worker since.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from exitdrill.model.human import bytes_, count, duration
from exitdrill.model.record import AssetRecord, Counts, LegRecord
from exitdrill.transfer.job import Tick

__all__ = ["Follower", "Leg", "at", "left"]

_WINDOW_SECONDS = 15.0
_SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Leg:
    """One asset's leg, this far."""

    task: str
    asset: str
    objects: int
    size_bytes: int
    errors: int
    total: Counts | None
    """What there is to move, where that is known."""
    bytes_per_second: float
    objects_per_second: float

    @property
    def share(self) -> float | None:
        """From 0 to 1; by objects, since small ones take the time."""
        if self.total is None or not self.total.objects:
            return None
        return min(1.0, self.objects / self.total.objects)

    @property
    def remaining_seconds(self) -> float | None:
        """How long it takes at this rate; None while that cannot be said."""
        if self.total is None or self.objects_per_second <= 0:
            return None
        by_objects = (self.total.objects - self.objects) / self.objects_per_second
        moved = self.bytes_per_second > 0
        by_bytes = (self.total.size_bytes - self.size_bytes) / self.bytes_per_second if moved else 0.0
        return max(0.0, by_objects, by_bytes)

    def line(self) -> str:
        """On one line, for a log."""
        going = self.total is not None and self.objects < self.total.objects
        of = f" of {self.total.objects:,}" if self.total is not None and going else ""
        words = [f"{self.task} {self.asset}: {self.objects:,}{of} objects"]
        if self.size_bytes:
            of = f" of {bytes_(self.total.size_bytes)}" if self.total is not None and going else ""
            words.append(f"{bytes_(self.size_bytes)}{of}")
        if self.bytes_per_second:
            words.append(f"{bytes_(self.bytes_per_second)}/s")
        return ", ".join([*words, count(self.errors, "error")])


class Follower:
    """Adds up ticks. Safe from several threads; time comes in with each call."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = Lock()
        self._base: dict[tuple[str, str], Tick] = {}
        self._totals: dict[str, Counts] = {}
        self._workers: dict[tuple[str, str], dict[tuple[int, ...], Tick]] = {}
        self._samples: dict[tuple[str, str], deque[tuple[float, int, int]]] = {}
        self._began_seconds = 0.0

    def begin(self, records: Mapping[str, AssetRecord], now_seconds: float) -> None:
        """A phase begins; this much is there of each asset."""
        with self._lock:
            self._began_seconds = now_seconds
            self._workers.clear()
            self._samples.clear()
            self._totals = {name: record.listed for name, record in records.items() if record.listed.objects}
            for name, record in records.items():
                for leg in (record.evacuate, record.rebuild):
                    self._base[leg.leg, name] = _done(leg, name)

    def tick(self, tick: Tick, now_seconds: float) -> Leg:
        """A worker is this far; how far its leg is."""
        key = (tick.task, tick.asset)
        with self._lock:
            self._workers.setdefault(key, {})[tick.parts] = tick
            leg = self._leg(key)
            base = self._base.get(key, Tick(*key, 0, 0, 0))
            samples = self._samples.setdefault(key, deque([(self._began_seconds, base.objects, base.size_bytes)]))
            samples.append((now_seconds, leg.objects, leg.size_bytes))
            while now_seconds - samples[0][0] > _WINDOW_SECONDS:
                samples.popleft()
            return self._leg(key)

    def legs(self) -> list[Leg]:
        """Every leg of this phase, in the order they began."""
        with self._lock:
            return [self._leg(key) for key in self._workers]

    def finished(self) -> list[Leg]:
        """As `legs`, each with its rate over the whole phase."""
        with self._lock:
            return [self._leg(key, whole=True) for key in self._workers]

    def _leg(self, key: tuple[str, str], *, whole: bool = False) -> Leg:
        task, asset = key
        ticks = [*self._workers[key].values()]
        if key in self._base:
            ticks.append(self._base[key])
        objects, size, errors = (sum(getattr(t, n) for t in ticks) for n in ("objects", "size_bytes", "errors"))
        samples = self._samples.get(key)
        per_second = (0.0, 0.0)
        base = self._base.get(key, Tick(task, asset, 0, 0, 0))
        if samples:
            first = (self._began_seconds, base.objects, base.size_bytes) if whole else samples[0]
            if (span := samples[-1][0] - first[0]) >= _SHORTEST_SECONDS:
                per_second = ((objects - first[1]) / span, (size - first[2]) / span)
        total = None if task == "inventory" or task.startswith("clean") else self._totals.get(asset)
        return Leg(task, asset, objects, size, errors, total, max(0.0, per_second[1]), max(0.0, per_second[0]))


def _done(leg: LegRecord, asset: str) -> Tick:
    counts = sum(leg.outcomes.values(), Counts())
    failed = sum(c.objects for outcome, c in leg.outcomes.items() if not outcome.arrived)
    return Tick(leg.leg, asset, counts.objects, counts.size_bytes, failed)


def at(elapsed_seconds: float) -> str:
    """A moment on the drill's clock, in whole seconds: ``0:12:34``."""
    minutes, seconds = divmod(int(elapsed_seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def left(rto: timedelta | None, elapsed_seconds: float) -> str:
    """How much of the RTO is left, for people."""
    if rto is None:
        return "no RTO set"
    rest = rto.total_seconds() - elapsed_seconds
    return f"{at(rest)} left" if rest >= 0 else f"RTO missed by {duration(-rest)}"
