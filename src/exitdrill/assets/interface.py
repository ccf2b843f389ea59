"""What a kind of asset implements, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Protocol

from exitdrill.clock import Clock
from exitdrill.errors import DefinitionError
from exitdrill.model.journal import Json, Recorder
from exitdrill.model.record import AssetRecord, Check
from exitdrill.plan.drill import Asset, DrillPlan
from exitdrill.transfer.job import Job, Result
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.places import Places

__all__ = ["GROUP", "AssetContext", "AssetKind", "Facts", "Forecast", "Removed", "asset_kind", "kind_names"]

GROUP = "exitdrill.assets"


class Facts(Protocol):
    """What a run remembers of one asset, durably."""

    def get(self, name: str) -> Json:
        """The fact, or None."""

    def put(self, name: str, value: Json) -> None:
        """Keep the fact."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What teardown of one asset did."""

    objects: int = 0
    containers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long an asset's legs will take, from its volumes and a short probe."""

    objects: int
    size_bytes: int
    evacuate_seconds: float
    rebuild_seconds: float
    verify_seconds: float


@dataclass(frozen=True, slots=True)
class AssetContext:
    """One asset in one run."""

    plan: DrillPlan
    asset: Asset
    directory: RunDirectory
    places: Places
    journal: Recorder
    clock: Clock
    facts: Facts
    run_jobs: Callable[[Sequence[tuple[str, Job]]], list[Result]]
    """Carries named jobs out side by side; raises what the first that failed raised."""
    arguments: Mapping[str, Json]
    """``with`` of the step."""
    elapsed_ns: Callable[[], int]
    """Drill time, in nanoseconds since the declaration."""
    width: int = 1
    """How many jobs run side by side."""

    def job(self, task: str, parts: tuple[int, ...] = (), **options: Json) -> Job:
        """A job on this asset."""
        chosen = {**self.arguments, **options}
        return Job(task, str(self.directory.path), self.asset.name, parts, chosen)


class AssetKind(ABC):
    """A kind of asset. Every method can be called again after a crash, and goes on where it was."""

    name: ClassVar[str]
    """As drills write it after ``kind:``."""
    service: ClassVar[str] = "objects"
    """The connector service it needs at source and target."""

    @abstractmethod
    def preflight(self, ctx: AssetContext) -> list[Check]:
        """Prove that the places can do what this asset needs. Leaves nothing but what `teardown` removes."""

    @abstractmethod
    def inventory(self, ctx: AssetContext) -> list[Check]:
        """Write down what there is, and check it against what vault and target can hold."""

    @abstractmethod
    def evacuate(self, ctx: AssetContext) -> None:
        """Source → vault."""

    def overlap(self, ctx: AssetContext, rebuild: AssetContext) -> None:  # noqa: ARG002 - of kinds that can
        """Source → vault, and vault → target of what is there already. Without a kind's own: as `evacuate`.

        Args:
            ctx: Of the step that evacuates.
            rebuild: Of the step that rebuilds, which comes after the cut and finds what is left. Jobs that it is
                given here must be cut off early (`exitdrill.transfer.job.CUT_EARLY`).
        """
        self.evacuate(ctx)

    @abstractmethod
    def last_look(self, ctx: AssetContext) -> None:
        """Find what changed at the source and did not reach the vault."""

    @abstractmethod
    def rebuild(self, ctx: AssetContext) -> None:
        """Vault → target."""

    @abstractmethod
    def verify(self, ctx: AssetContext) -> bool:
        """Prove what is at the target; True if everything that was listed is proven there."""

    @abstractmethod
    def teardown(self, ctx: AssetContext) -> Removed:
        """Remove from target and vault what this run made, and nothing else."""

    @abstractmethod
    def record(self, ctx: AssetContext) -> AssetRecord:
        """What was measured so far. Reads only the run's directory."""

    @abstractmethod
    def forecast(self, ctx: AssetContext) -> Forecast:
        """How long it will take. After `inventory`."""


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def kind_names() -> tuple[str, ...]:
    """The names of every kind installed."""
    return tuple(sorted(_entry_points()))


def asset_kind(name: str) -> AssetKind:
    """The kind of that name. Raises DefinitionError if there is none."""
    point = _entry_points().get(name)
    if point is None:
        raise DefinitionError(f"no kind of asset is called {name!r}", expected=f"one of {', '.join(kind_names())}")
    kind = point.load()()
    if not isinstance(kind, AssetKind):
        raise DefinitionError(f"entry point {point.value} of {name!r} is no AssetKind class")
    return kind
