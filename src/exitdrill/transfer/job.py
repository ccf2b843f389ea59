"""What is asked of a worker process, and what it answers. Plain values: they cross machine borders."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["CUT_EARLY", "READY", "Job", "Result", "Tick"]

CUT_EARLY = "cut early"
"""The option of a job that must be cut off from the source although the run is not yet."""
READY = "ready"
"""The task that does nothing but load what other tasks need."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work on one run. All else stands in the run's directory."""

    task: str
    """One of the names in `exitdrill.transfer.tasks`: ``inventory``, ``evacuate``, ``last look``, ``rebuild`` …"""
    directory: str
    """The run's directory."""
    asset: str = ""
    parts: tuple[int, ...] = ()
    """For the legs: which parts."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: ``threads``, ``seed``, ``part_rows``, ``share`` (among how many workers a limit is shared) …"""

    @property
    def cut_early(self) -> bool:
        """Whether it must be cut off from the source, whatever the run is."""
        return bool(self.options.get(CUT_EARLY))

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        data = json.loads(text)
        return cls(**{**data, "parts": tuple(data["parts"])})


@dataclass(frozen=True, slots=True)
class Tick:
    """How far a worker is."""

    task: str
    asset: str
    objects: int
    size_bytes: int
    errors: int
    parts: tuple[int, ...] = ()
    """The job's parts, which tell workers of one leg apart."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker answered at the end."""

    facts: Mapping[str, Any]
    """JSON values, by task."""
    retries: int = 0
    throttled: int = 0
    waited_ns: int = 0
    limited_ns: int = 0
    busy_ns: int = 0
    """From when it was asked for, with the start of a worker if one had to be started, to the answer."""
