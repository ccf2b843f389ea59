"""One pass over an inventory: what vault and target will make of it, before a byte moves."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from exitdrill.connector.capabilities import Capabilities
from exitdrill.model import human
from exitdrill.transfer.rename import target_key
from exitdrill.transfer.rows import InventoryRow
from exitdrill.transfer.sorting import sort_rows

__all__ = ["Survey", "survey"]

_NAMED = 20
_SHOWN = 80
_OFFLINE = frozenset({"archive", "glacier", "deep_archive"})


@dataclass(slots=True)
class Survey:
    """What was seen."""

    objects: int = 0
    size_bytes: int = 0
    largest_bytes: int = 0
    offline: int = 0
    """In a tier that must be rehydrated first."""
    stubs: int = 0
    """Zero-byte markers of directories; they are objects like any other and are copied as such."""
    without_digest: int = 0
    """For which the source lists no digest of its own."""
    too_large: int = 0
    unholdable: int = 0
    """Whose key the target cannot hold, also after the mapping."""
    examples: list[str] = field(default_factory=list)
    """The first of them, with the reason."""

    def refuse(self, key: str, reason: str) -> None:
        """Count a key that the target cannot hold."""
        self.unholdable += 1
        if len(self.examples) < _NAMED:
            self.examples.append(f"{_short(key)}: {reason}")


def _short(key: str) -> str:
    return human.key(key, limit=_SHOWN)


def survey(
    rows: Callable[[], Iterator[InventoryRow]],
    target: Capabilities,
    source_prefix: str,
    prefix: str,
    mapping: str,
    scratch: Path,
) -> Survey:
    """Look at every row of an inventory.

    Args:
        rows: Gives the inventory from its beginning, in key order.
        target: What the target can do, as probed.
        source_prefix: What is taken off each key.
        prefix: What is put before each key at the target.
        mapping: How keys are renamed.
        scratch: For sorting.
    """
    seen = Survey()
    ascii_only = True
    in_order = mapping == "none"
    prefixes = _Prefixes(seen)

    def mapped(row: InventoryRow) -> str:
        return target_key(mapping, prefix, row.key.removeprefix(source_prefix))

    for row in rows():
        _look(seen, row)
        seen.too_large += row.size > target.max_object_bytes
        key = mapped(row)
        ascii_only = ascii_only and key.isascii()
        if problems := target.keys.violations(key):
            seen.refuse(key, "; ".join(problems))
        if not target.keys.object_and_prefix and in_order:
            prefixes.look(key)
    if target.keys.folds and not (ascii_only and target.keys.case_sensitive):  # ASCII has one normal form
        _collisions(seen, (replace(row, key=mapped(row)) for row in rows()), target, scratch)
    if not target.keys.object_and_prefix and not in_order:
        renamed = (replace(row, key=mapped(row)) for row in rows())
        for row in sort_rows(renamed, InventoryRow, lambda r: r.key, scratch):
            prefixes.look(row.key)
    return seen


def _look(seen: Survey, row: InventoryRow) -> None:
    seen.objects += 1
    seen.size_bytes += row.size
    seen.largest_bytes = max(seen.largest_bytes, row.size)
    seen.without_digest += row.claims == "{}"
    if row.envelope is None:
        return
    # Parsed only where it can matter: there are as many of them as objects.
    if row.size == 0 and "hdi_isfolder" in row.envelope.lower():
        user = {name.lower(): value for name, value in json.loads(row.envelope).get("user", {}).items()}
        seen.stubs += user.get("hdi_isfolder", "").lower() == "true"
    if any(tier in row.envelope.lower() for tier in _OFFLINE):
        seen.offline += str(json.loads(row.envelope).get("tier", "")).lower() in _OFFLINE


def _collisions(seen: Survey, rows: Iterable[InventoryRow], target: Capabilities, scratch: Path) -> None:
    def fold(row: InventoryRow) -> str:
        return target.keys.fold(row.key)

    before: InventoryRow | None = None
    for row in sort_rows(rows, InventoryRow, fold, scratch):
        if before is not None and fold(before) == fold(row):
            seen.refuse(row.key, f"the target takes it for {_short(before.key)}")
        before = row


class _Prefixes:
    """Finds keys that lie below another key; the stack holds what can still be above, 1,024 bytes deep at most."""

    def __init__(self, seen: Survey) -> None:
        self._seen, self._above = seen, list[str]()

    def look(self, key: str) -> None:
        """At the next key, in order."""
        above = self._above
        while above and not key.startswith(above[-1]):
            above.pop()
        if found := next((k for k in above if key.startswith(k + "/") and not k.endswith("/")), None):
            self._seen.refuse(key, f"the target cannot hold it beside {_short(found)}")
        above.append(key)
