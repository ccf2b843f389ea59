"""One pass over an inventory: what vault and target will make of it, before a byte moves."""

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

    def mapped() -> Iterator[InventoryRow]:
        for row in rows():
            yield replace(row, key=target_key(mapping, prefix, row.key.removeprefix(source_prefix)))

    for row in rows():
        _look(seen, row)
        seen.too_large += row.size > target.max_object_bytes
    for row in mapped():
        if problems := target.keys.violations(row.key):
            seen.refuse(row.key, "; ".join(problems))
    if target.keys.folds:
        _collisions(seen, mapped(), target, scratch)
    if not target.keys.object_and_prefix:
        ordered = sort_rows(mapped(), InventoryRow, lambda r: r.key, scratch) if mapping != "none" else mapped()
        _prefixes(seen, (row.key for row in ordered))
    return seen


def _look(seen: Survey, row: InventoryRow) -> None:
    seen.objects += 1
    seen.size_bytes += row.size
    seen.largest_bytes = max(seen.largest_bytes, row.size)
    seen.without_digest += row.claims == "{}"
    if row.envelope is None:
        return
    envelope = row.entry().envelope
    if envelope is not None:
        seen.offline += (envelope.tier or "").lower() in _OFFLINE
        seen.stubs += row.size == 0 and dict(envelope.user).get("hdi_isfolder", "").lower() == "true"


def _collisions(seen: Survey, rows: Iterable[InventoryRow], target: Capabilities, scratch: Path) -> None:
    def fold(row: InventoryRow) -> str:
        return target.keys.fold(row.key)

    before: InventoryRow | None = None
    for row in sort_rows(rows, InventoryRow, fold, scratch):
        if before is not None and fold(before) == fold(row):
            seen.refuse(row.key, f"the target takes it for {_short(before.key)}")
        before = row


def _prefixes(seen: Survey, keys: Iterator[str]) -> None:
    """Find keys that lie below another key; the stack holds what can still be above, 1,024 bytes deep at most."""
    above: list[str] = []
    for key in keys:
        while above and not key.startswith(above[-1]):
            above.pop()
        if found := next((k for k in above if key.startswith(k + "/") and not k.endswith("/")), None):
            seen.refuse(key, f"the target cannot hold it beside {_short(found)}")
        above.append(key)
