"""What a leg of an asset has cost so far, kept as a fact of the run so that a resume adds to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from exitdrill.assets.interface import Facts
from exitdrill.model.spans import Span
from exitdrill.transfer.job import Result

__all__ = ["LegCost"]


@dataclass(slots=True)
class LegCost:
    """The fields of `exitdrill.model.record.LegRecord` that are no outcomes, and mean what they mean there."""

    retries: int = 0
    throttled: int = 0
    waited_ns: int = 0
    limited_ns: int = 0
    duration_ns: int = 0
    spans: tuple[Span, ...] = ()
    busy_ns: int = 0
    longest_ns: int = 0

    @classmethod
    def load(cls, facts: Facts, leg: str) -> Self:
        """What was kept; nothing yet if nothing was."""
        kept: Any = facts.get(_name(leg))
        if not isinstance(kept, Mapping):
            return cls()
        return cls(**{**kept, "spans": tuple((int(begin), int(end)) for begin, end in kept["spans"])})

    def keep(self, facts: Facts, leg: str) -> None:
        """Keep it."""
        facts.put(_name(leg), asdict(self))

    def worked(self, began_elapsed_ns: int, ended_elapsed_ns: int) -> None:
        """Jobs of the leg were under way from then to then, in drill time."""
        self.duration_ns += ended_elapsed_ns - began_elapsed_ns
        before = self.spans
        if before and before[-1][1] == began_elapsed_ns:  # it only goes on
            began_elapsed_ns, before = before[-1][0], before[:-1]
        self.spans = (*before, (began_elapsed_ns, ended_elapsed_ns))

    def add(self, result: Result) -> None:
        """A job ended well."""
        self.retries += result.retries
        self.throttled += result.throttled
        self.waited_ns += result.waited_ns
        self.limited_ns += result.limited_ns
        self.busy_ns += result.busy_ns
        self.longest_ns = max(self.longest_ns, result.busy_ns)


def _name(leg: str) -> str:
    return f"{leg} cost"
