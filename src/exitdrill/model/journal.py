"""The seam to the journal: what lower floors need of it."""

from typing import Protocol

from pydantic import JsonValue

__all__ = ["Json", "Recorder"]

Json = JsonValue


class Recorder(Protocol):
    """Writes down what is about to be done, durably, before it is done."""

    def record(self, event: str, **facts: Json) -> None:
        """Append one line: the event's name and its facts. Returns when it is on disk."""
