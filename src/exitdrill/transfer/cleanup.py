"""Teardown of objects: what this run made, nothing else, and what is left.

Only keys that this run's ledger or work names are deleted, and only if they are still what this run wrote
(same ETag, where the place's ETags tell). A container is removed if this run made it and it is empty.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.errors import ConflictError, ConnectorError, NotFoundError, StoppedError
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rename import target_key
from exitdrill.transfer.rows import InventoryRow, LedgerRow
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing, sort_rows
from exitdrill.transfer.verify import ledger_rows

__all__ = ["Cleanup", "Ours", "clean_container"]

_WINDOW = 512
_LEFT_KEPT = 100


@dataclass(slots=True)
class Cleanup:
    """What was deleted and what is left."""

    deleted: int = 0
    left: list[str] = field(default_factory=list)
    left_total: int = 0
    removed_container: bool = False

    def leave(self, what: str) -> None:
        """Note something that stays."""
        self.left_total += 1
        if len(self.left) < _LEFT_KEPT:
            self.left.append(what)


@dataclass(frozen=True, slots=True)
class Ours:
    """Which keys at the target are this run's, as rows whose ``target_key`` and ``target_etag`` count."""

    ledger: Path
    inventory: Callable[[], Iterator[InventoryRow]]
    source_prefix: str
    prefix: str
    mapping: str

    def rows(self, scratch: Path) -> Iterator[LedgerRow]:
        """In the order of the keys at the target.

        Every inventory row counts: a run that was killed may have written objects that no ledger part names.
        """
        sort = self.mapping != "none"
        mapped = self._mapped()
        return sort_rows(mapped, LedgerRow, lambda row: row.target_key, scratch) if sort else mapped

    def _mapped(self) -> Iterator[LedgerRow]:
        rebuilt = ledger_rows(self.ledger, "rebuild")
        for listed, row in merge_join(self.inventory(), rebuilt, lambda r: r.key, lambda r: r.key):
            if listed is None:
                continue
            key = target_key(self.mapping, self.prefix, listed.key.removeprefix(self.source_prefix))
            etag = row.target_etag if row is not None and row.arrived else None
            yield LedgerRow(listed.key, listed.size, None, None, None, "copied", target_key=key, target_etag=etag)


def clean_container(
    provider: Provider,
    store: ObjectStore,
    container: str,
    prefix: str,
    ours: Ours | None,
    made: bool,
    scratch: Path,
    threads: int,
    stopped: Callable[[], bool],
    meter: Meter,
) -> Cleanup:
    """Delete this run's objects from a container, and the container if this run made it.

    Args:
        provider: The place.
        store: The container.
        container: Its name.
        prefix: Where the asset is in it.
        ours: Which keys are this run's; None if all are, because the container is this run's own.
        made: Whether this run made the container.
        scratch: For sorting.
        threads: How many requests at once.
        stopped: Whether to stop.
        meter: Counts.

    Raises:
        StoppedError, ConnectorError: The place cannot be listed.
    """
    done = Cleanup()
    try:
        _clean(done, store, prefix, ours, scratch, threads, stopped, meter)
    except NotFoundError:
        done.removed_container = made
        return done
    except ListingOutOfOrderError:
        store.capabilities = store.capabilities.narrowed(sorted_listing=False)
        _clean(done, store, prefix, ours, scratch, threads, stopped, meter)
    if made:
        try:
            provider.remove_container(container)
            done.removed_container = True
        except ConflictError:
            done.leave(f"{store.resource}: not empty: it holds what this run did not make")
        except ConnectorError as error:
            done.leave(f"{store.resource}: {error}")
    return done


def _clean(
    done: Cleanup,
    store: ObjectStore,
    prefix: str,
    ours: Ours | None,
    scratch: Path,
    threads: int,
    stopped: Callable[[], bool],
    meter: Meter,
) -> None:
    doomed = (row.key for row in store.list(prefix)) if ours is None else _doomed(done, store, prefix, ours, scratch)

    def delete(key: str) -> ConnectorError | None:
        try:
            store.delete(key)
        except ConnectorError as error:
            return error
        return None

    with ThreadPoolExecutor(threads, "delete") as pool:
        while batch := list(islice(doomed, _WINDOW)):
            if stopped():
                raise StoppedError("stopped during teardown")
            for key, error in zip(batch, pool.map(delete, batch), strict=True):
                meter.objects += 1
                if error is None:
                    done.deleted += 1
                else:
                    done.leave(f"{store.describe(key)}: {error}")


def _doomed(done: Cleanup, store: ObjectStore, prefix: str, ours: Ours, scratch: Path) -> Iterator[str]:
    there = in_order(ordered_listing(store, prefix, scratch), lambda row: row.key, store.resource)
    for row, listed in merge_join(ours.rows(scratch), there, lambda row: row.target_key, lambda row: row.key):
        if listed is None:
            continue
        if row is None:
            done.leave(f"{store.describe(listed.key)}: not this run's")
        elif row.target_etag is not None and store.capabilities.changing_etags and listed.etag != row.target_etag:
            done.leave(f"{store.describe(listed.key)}: replaced by somebody else after this run wrote it")
        else:
            yield listed.key
