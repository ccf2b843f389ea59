"""Both legs of an asset at once: a group of parts is rebuilt as soon as it is evacuated.

Rules. A part in the ledger is proven and never changes, so nothing of the second leg depends on the rest of the
first. At most as many jobs are under way as run side by side, so that none waits behind a long line of the other
leg's; the leg with fewer of them is next. The evacuation comes first: a rebuild that fails never ends it, and once
everything is evacuated no rebuild is begun any more, so that the cut comes as early as it would without overlap.
What was not rebuilt here is left to the rebuild's own step, after the cut; that step raises what is still wrong
then. What is in the ledger already is not begun again.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict

from exitdrill.assets.costs import LegCost
from exitdrill.assets.grouping import Weight
from exitdrill.assets.interface import AssetContext
from exitdrill.errors import ExitdrillError, StoppedError
from exitdrill.model.journal import Json
from exitdrill.model.record import Counts
from exitdrill.transfer.inventory import STEM, is_complete
from exitdrill.transfer.job import Job, Result
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.rows import part_numbers
from exitdrill.transfer.tally import leg_facts

__all__ = ["EARLY", "ENDED", "EVACUATE", "REBUILD", "BothLegs", "Group", "Turns", "turns_of", "went_through"]

EVACUATE, REBUILD = "evacuate", "rebuild"
EARLY = "rebuilt early"
"""The fact that says which parts were rebuilt before the cut, and how many objects and bytes."""
ENDED = "overlap ended"
"""The fact that says why rebuilding beside the evacuation was given up."""

Group = tuple[int, ...]
"""Parts of one job."""

_GROUPS_AT_MOST = 100
_GROUPS_A_WIDTH = 4
"""At least so many groups for each job that runs beside others: the second leg waits for one of the first."""
_GROUP_SECONDS = 60.0
_FAILURES = 3
"""So many rebuilds may fail in a row before no more are tried; one is enough where trying again changes nothing."""


def turns_of(parts: Mapping[int, Weight], width: int) -> list[Group]:
    """Parts in groups that come one after the other, in order: small enough for the legs to overlap.

    Args:
        parts: Number to weight.
        width: How many jobs run side by side.
    """
    total = sum(weight.seconds for weight in parts.values())
    wanted = min(len(parts), _GROUPS_AT_MOST, max(_GROUPS_A_WIDTH * width, round(total / _GROUP_SECONDS)))
    groups: list[list[int]] = []
    begun = 0.0
    for number in sorted(parts):
        if len(groups) < wanted and begun * wanted >= total * len(groups):
            groups.append([])
        groups[-1].append(number)
        begun += parts[number].seconds
    return [tuple(group) for group in groups]


class Turns:
    """Which group of which leg is next. Pure.

    Args:
        evacuate: The groups to evacuate, in order.
        rebuild: The groups that are evacuated already and not rebuilt.
        rebuilding: Whether to rebuild at all.
    """

    def __init__(self, evacuate: Iterable[Group], rebuild: Iterable[Group], *, rebuilding: bool = True) -> None:
        """See the class."""
        self._rebuilding = rebuilding
        self._waiting = {EVACUATE: deque(evacuate), REBUILD: deque(rebuild if rebuilding else ())}
        self._under_way, self._begun = Counter[str](), Counter[str]()

    @property
    def evacuating(self) -> bool:
        """Whether any group is still to be evacuated."""
        return bool(self._waiting[EVACUATE]) or self.at_work(EVACUATE)

    @property
    def under_way(self) -> int:
        """How many groups are begun and not ended."""
        return self._under_way.total()

    def at_work(self, leg: str) -> bool:
        """Whether a group of that leg is begun and not ended."""
        return self._under_way[leg] > 0

    def next(self) -> tuple[str, Group] | None:
        """The leg and group to begin now, which is then under way; None if there is none yet."""
        legs = [leg for leg, groups in self._waiting.items() if groups]
        if not legs:
            return None
        leg = min(legs, key=lambda name: (self._under_way[name], self._begun[name]))
        self._under_way[leg] += 1
        self._begun[leg] += 1
        return leg, self._waiting[leg].popleft()

    def ended(self, leg: str, group: Group) -> None:
        """A group ended well: what was evacuated can be rebuilt."""
        self._under_way[leg] -= 1
        if leg == EVACUATE and self._rebuilding:
            self._waiting[REBUILD].append(group)

    def failed(self, leg: str, group: Group) -> None:
        """A group failed; one of the rebuild comes again, after the others."""
        self._under_way[leg] -= 1
        if leg == REBUILD and self._rebuilding:
            self._waiting[REBUILD].append(group)

    def give_up(self, leg: str) -> None:
        """Begin no more groups of that leg."""
        self._waiting[leg].clear()
        if leg == REBUILD:
            self._rebuilding = False


class BothLegs:
    """Carries out both legs of one asset.

    Args:
        contexts: The asset's context for each leg's own step.
        job: The name and job for a group on a leg.
        all_evacuated: Whether nothing of the whole drill is left to evacuate; asked when nothing of this asset is.
    """

    def __init__(
        self,
        contexts: Mapping[str, AssetContext],
        job: Callable[[str, Group], tuple[str, Job]],
        all_evacuated: Callable[[], bool],
    ) -> None:
        """See the class."""
        self._contexts, self._job, self._all_evacuated = contexts, job, all_evacuated
        self._ctx = contexts[EVACUATE]
        self._costs = {leg: LegCost.load(self._ctx.facts, leg) for leg in contexts}
        self._failures = 0
        self._error: Exception | None = None

    def run(self, groups: Iterable[Group], *, rebuilding: bool) -> None:
        """Evacuate every group, and rebuild what there is time for and does not fail.

        Args:
            groups: All of the asset's, also those that are done.
            rebuilding: Whether to rebuild at all.

        Raises:
            StoppedError, and what the evacuation failed with; not before every job under way has ended.
        """
        turns = self._turns(tuple(groups), rebuilding=rebuilding)
        self._ctx.facts.put(ENDED, None)
        width = max(1, self._ctx.width)
        under_way: dict[Future[Result], tuple[str, Group]] = {}
        seen_ns = self._ctx.elapsed_ns()
        with ThreadPoolExecutor(width, "leg") as pool:
            while True:
                while turns.under_way < width and (turn := self._next(turns)):
                    under_way[pool.submit(self._one, *turn)] = turn
                if not under_way:
                    break
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                seen_ns = self._time_passed(turns, seen_ns)
                for future in done:
                    self._ended(turns, future, *under_way.pop(future))
                self._keep()
        self._note_early()
        if self._error is not None:
            raise self._error

    def _note_early(self) -> None:
        """What is rebuilt by now: the rebuild's own step has groups without it, the same after every resume."""
        ledger = self._ctx.directory.ledger(self._ctx.asset.name)
        leg, _, _, _, _ = leg_facts(ledger, REBUILD)
        arrived = sum((counts for outcome, counts in leg.outcomes.items() if outcome.arrived), Counts())
        moved: dict[str, Json] = {**asdict(arrived)}
        self._ctx.facts.put(EARLY, {**moved, "parts": list[Json](part_numbers(ledger, REBUILD))})

    def _turns(self, groups: tuple[Group, ...], *, rebuilding: bool) -> Turns:
        ledger = self._ctx.directory.ledger(self._ctx.asset.name)
        there = {leg: frozenset(part_numbers(ledger, leg)) for leg in self._contexts}
        evacuated = [group for group in groups if there[EVACUATE].issuperset(group)]
        waiting = [group for group in groups if not there[EVACUATE].issuperset(group)]
        rebuild = [group for group in evacuated if not there[REBUILD].issuperset(group)]
        return Turns(waiting, rebuild, rebuilding=rebuilding)

    def _next(self, turns: Turns) -> tuple[str, Group] | None:
        if self._error is not None:
            return None
        if not turns.evacuating and self._all_evacuated():
            turns.give_up(REBUILD)
        return turns.next()

    def _one(self, leg: str, group: Group) -> Result:
        (result,) = self._contexts[leg].run_jobs([self._job(leg, group)])
        return result

    def _time_passed(self, turns: Turns, since_ns: int) -> int:
        """Count the time since the last change to the legs that were at work in it."""
        now_ns = self._ctx.elapsed_ns()
        for leg, cost in self._costs.items():
            if turns.at_work(leg):
                cost.worked(since_ns, now_ns)
        return now_ns

    def _ended(self, turns: Turns, future: Future[Result], leg: str, group: Group) -> None:
        try:
            result = future.result()
        except ExitdrillError as error:
            turns.failed(leg, group)
            if leg == EVACUATE or isinstance(error, StoppedError):
                self._error = self._error or error
            else:
                self._not_rebuilt(turns, group, error)
        else:
            turns.ended(leg, group)
            self._costs[leg].add(result)
            self._failures = 0 if leg == REBUILD else self._failures

    def _not_rebuilt(self, turns: Turns, group: Group, error: ExitdrillError) -> None:
        self._failures += 1
        given_up = not error.transient or self._failures >= _FAILURES
        self._ctx.journal.record(
            "early rebuild failed", asset=self._ctx.asset.name, parts=list(group), error=str(error), given_up=given_up
        )
        if given_up:
            turns.give_up(REBUILD)
            self._ctx.facts.put(ENDED, str(error))

    def _keep(self) -> None:
        """After every job: a crash loses the cost of those under way only."""
        for leg, cost in self._costs.items():
            cost.keep(self._ctx.facts, leg)


def went_through(directory: RunDirectory, asset: str, leg: str) -> bool:
    """Whether every part of an asset's inventory has been through that leg; no for an asset that has no parts."""
    inventory = directory.inventory(asset)
    return is_complete(inventory) and part_numbers(inventory, STEM) == part_numbers(directory.ledger(asset), leg)
