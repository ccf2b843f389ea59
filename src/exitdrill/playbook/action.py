"""What a step's ``uses`` names."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

from exitdrill.assets.interface import AssetContext
from exitdrill.errors import DefinitionError
from exitdrill.plan.drill import Asset, Step
from exitdrill.playbook.conductor import Conductor
from exitdrill.playbook.run import Run
from exitdrill.transfer.client import run_job
from exitdrill.transfer.job import Job, Result

__all__ = ["GROUP", "MANUAL", "Action", "StepContext", "action", "action_names"]

GROUP = "exitdrill.actions"
MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class StepContext:
    """One step of one run, for one asset where the action works on assets."""

    run: Run
    step: Step
    conductor: Conductor
    asset: Asset | None = None

    def of_asset(self, asset: Asset) -> AssetContext:
        """What the asset's kind is given."""
        return self.run.asset_context(asset, self.step, self._submit, self.conductor.width)

    def _submit(self, name: str, job: Job) -> Callable[[], Result]:
        return self.conductor.submit(name, run_job, job).result


class Action(ABC):
    """Something a playbook can do."""

    per_asset: ClassVar[bool] = False
    """Carried out once for each asset, side by side where ``depends_on`` allows."""
    always: ClassVar[bool] = False
    """Carried out also when the drill has failed (teardown)."""

    def prepare(self, ctx: StepContext) -> None:
        """Before each attempt to carry out a `per_asset` action, for all of them together. Raises as `run`."""

    @abstractmethod
    def run(self, ctx: StepContext) -> None:
        """Do it. Called again after a crash: go on where it was.

        Raises:
            NotReadyError: Something must be put right first.
            StoppedError: Somebody stopped it.
            ExitdrillError: It failed.
        """


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def action_names() -> tuple[str, ...]:
    """The names of every action installed, and ``manual``."""
    return tuple(sorted((*_entry_points(), MANUAL)))


def action(name: str) -> Action:
    """The action of that name. Raises DefinitionError if there is none."""
    point = _entry_points().get(name)
    if point is None:
        raise DefinitionError(f"no action is called {name!r}", expected=f"one of {', '.join(action_names())}")
    found = point.load()()
    if not isinstance(found, Action):
        raise DefinitionError(f"entry point {point.value} of {name!r} is no Action class")
    return found


def side_by_side(assets: tuple[Asset, ...], do: Callable[[Asset], None]) -> None:
    """Do something for every asset, side by side, each after those it depends on.

    Args:
        assets: In an order that respects ``depends_on``.
        do: Called once an asset; does not raise what concerns that asset alone.
    """
    under_way: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(max(1, len(assets)), "asset") as pool:
        for asset in assets:
            needs = [under_way[name] for name in asset.depends_on if name in under_way]
            under_way[asset.name] = pool.submit(_after, needs, do, asset)
        for future in under_way.values():
            future.result()


def _after(needs: list[Future[None]], do: Callable[[Asset], None], asset: Asset) -> None:
    for need in needs:
        need.result()
    do(asset)
