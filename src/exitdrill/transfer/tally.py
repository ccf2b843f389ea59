"""Adding up a leg: per part while it is written, per asset from the parts' footers."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exitdrill.model.digests import Comparison
from exitdrill.model.objects import Outcome
from exitdrill.model.record import DISAGREES, Counts, LegRecord, LossCount, Mishap
from exitdrill.transfer.rows import part_numbers, part_path, summary

__all__ = ["MISHAPS_KEPT", "LegTally", "leg_facts"]

MISHAPS_KEPT = 1000
"""How many exceptions of an asset are named in the record; the ledger has them all."""
_PART_MISHAPS = 200
_PART_DISAGREEING = 20
"""Apart from the others: where a client wrote wrong digests, it wrote many."""


class LegTally:
    """Counts the rows of one part as they are written.

    Args:
        leg: ``evacuate`` or ``rebuild``.
    """

    def __init__(self, leg: str) -> None:
        """See the class."""
        self._leg = leg
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._digests: Counter[str] = Counter()
        self._losses: dict[tuple[str, str], list[Any]] = {}
        self._mishaps: list[tuple[str, str, str]] = []
        self._disagreeing: list[tuple[str, str, str]] = []

    def counted(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Count rows, given as columns, and hand them on."""
        rebuild = self._leg == "rebuild"
        outcomes, details = (columns[n] for n in (("rebuilt", "rebuilt_detail") if rebuild else ("outcome", "detail")))
        keys, sizes = columns["key"], columns["size"]
        self._objects.update(outcomes)
        for outcome, size in zip(outcomes, sizes, strict=True):
            self._bytes[outcome] += size
        if any(outcome != Outcome.COPIED for outcome in outcomes):
            self._exceptions(keys, outcomes, details)
        if rebuild:
            self._lost(keys, columns["losses"])
        else:
            self._compared(keys, outcomes, columns["source_digest"], details)
        return columns

    def _exceptions(self, keys: Sequence[str], outcomes: Sequence[str], details: Sequence[str]) -> None:
        for key, outcome, detail in zip(keys, outcomes, details, strict=True):
            if outcome not in (Outcome.COPIED, Outcome.NOT_EVACUATED) and len(self._mishaps) < _PART_MISHAPS:
                self._mishaps.append((key, outcome, detail))

    def _lost(self, keys: Sequence[str], losses: Sequence[str]) -> None:
        for key, text in zip(keys, losses, strict=True):
            if text != "[]":
                for field, _, reason in json.loads(text):
                    self._losses.setdefault((_family(field), reason), [0, key])[0] += 1

    def _compared(
        self, keys: Sequence[str], outcomes: Sequence[str], compared: Sequence[str], details: Sequence[str]
    ) -> None:
        """Count how the source's own digest compares, of objects that were brought."""
        brought = [n for n, outcome in enumerate(outcomes) if outcome == Outcome.COPIED]
        self._digests.update(compared[n] for n in brought)
        if self._digests[Comparison.DIFFERENT]:
            wrong = [n for n in brought if compared[n] == Comparison.DIFFERENT]
            room = _PART_DISAGREEING - len(self._disagreeing)
            self._disagreeing += [(keys[n], DISAGREES, details[n]) for n in wrong[: max(0, room)]]

    def facts(self) -> dict[str, Any]:
        """What was counted, as JSON values."""
        return {
            "leg": self._leg,
            "objects": dict(self._objects),
            "bytes": dict(self._bytes),
            "source_digests": dict(self._digests),
            "losses": [[*key, *value] for key, value in sorted(self._losses.items())],
            "mishaps": self._mishaps + self._disagreeing,
        }


def _family(field: str) -> str:
    """One field for all names of user metadata that were lost for the same reason."""
    return field.partition(".")[0]


def leg_facts(folder: Path, leg: str) -> tuple[LegRecord, list[Mishap], int, list[LossCount], Mapping[str, int]]:
    """One asset's leg, added up from the footers of its ledger parts.

    Returns:
        The counts, the first exceptions, how many there are in all, the losses, and how the source's own
        digests compared.
    """
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    digests: Counter[str] = Counter()
    losses: dict[tuple[str, str], tuple[int, str]] = {}
    mishaps: list[Mishap] = []
    for facts in (summary(part_path(folder, leg, n)) for n in part_numbers(folder, leg)):
        objects.update(facts["objects"])
        sizes.update(facts["bytes"])
        digests.update(facts["source_digests"])
        for field, reason, count, key in facts["losses"]:
            before = losses.get((field, reason), (0, key))
            losses[field, reason] = (before[0] + count, before[1])
        mishaps += _mishaps(facts["mishaps"], leg, MISHAPS_KEPT - len(mishaps))
    outcomes = {Outcome(name): Counts(objects[name], sizes[name]) for name in sorted(objects)}
    total = sum(c.objects for o, c in outcomes.items() if not o.arrived and o is not Outcome.NOT_EVACUATED)
    total += digests[Comparison.DIFFERENT]
    counts = [LossCount(field, reason, n, key) for (field, reason), (n, key) in sorted(losses.items())]
    return LegRecord(leg, outcomes), mishaps, total, counts, digests


def _mishaps(rows: Iterable[tuple[str, str, str]], leg: str, room: int) -> list[Mishap]:
    return [Mishap(key, problem, leg, detail) for key, problem, detail in rows][:room]
