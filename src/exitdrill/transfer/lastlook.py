"""The last look at the source before the cut: which of its newest state did not reach the vault.

From it the recovery point follows: every change at the source up to the oldest lost one is in the vault, so
the recovery point lies just before that change. An object deleted at the source meanwhile is not a loss.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from exitdrill.clock import Clock
from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import StoppedError
from exitdrill.model.record import Mishap
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rows import InventoryRow, LedgerRow
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing
from exitdrill.transfer.tally import MISHAPS_KEPT
from exitdrill.transfer.verify import ledger_rows

__all__ = ["LastLook", "last_look"]


@dataclass(slots=True)
class LastLook:
    """What the last look found."""

    looked_utc: datetime
    lost: int = 0
    oldest_lost_utc: datetime | None = None
    deleted: int = 0
    mishaps: list[Mishap] = field(default_factory=list)

    def lose(self, listed: InventoryRow, detail: str) -> None:
        """Count an object whose newest state is not in the vault."""
        self.lost += 1
        when = listed.modified or self.looked_utc
        self.oldest_lost_utc = when if self.oldest_lost_utc is None else min(when, self.oldest_lost_utc)
        if len(self.mishaps) < MISHAPS_KEPT:
            self.mishaps.append(Mishap(listed.key, "lost change", "last look", detail))


def last_look(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    clock: Clock,
    stopped: Callable[[], bool],
    meter: Meter,
) -> LastLook:
    """Compare the source as it is now with what reached the vault.

    Args:
        store: The source's container.
        prefix: Where the asset is in it.
        folder: The ledger's folder.
        scratch: For sorting.
        clock: For the time of the look: its beginning, so that the bound is on the safe side.
        stopped: Whether to stop.
        meter: Counts.

    Raises:
        ConnectorError, StoppedError.
    """
    found = LastLook(clock.utc_now())
    try:
        _look(found, store, prefix, folder, scratch, stopped, meter)
    except ListingOutOfOrderError:
        found = LastLook(clock.utc_now())
        store.capabilities = store.capabilities.narrowed(sorted_listing=False)
        _look(found, store, prefix, folder, scratch, stopped, meter)
    return found


def _key(row: InventoryRow | LedgerRow) -> str:
    return row.key


def _look(
    found: LastLook,
    store: ObjectStore,
    prefix: str,
    folder: Path,
    scratch: Path,
    stopped: Callable[[], bool],
    meter: Meter,
) -> None:

    def beat() -> None:
        meter.beats += 1
        if stopped():
            raise StoppedError("stopped during the last look")

    now = in_order(ordered_listing(store, prefix, scratch, beat=beat), _key, store.resource)
    for row, listed in merge_join(ledger_rows(folder, "evacuate"), now, _key, _key):
        beat()
        meter.objects += 1
        if listed is None:
            found.deleted += 1
        elif row is None:
            found.lose(listed, "appeared after the inventory")
        elif not row.evacuated:
            found.lose(listed, f"not in the vault: {row.outcome}")
        elif (listed.etag, listed.size) != (row.etag, row.size):
            found.lose(listed, "changed after it was copied")
