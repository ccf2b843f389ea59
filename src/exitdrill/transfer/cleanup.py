"""Teardown of objects: what this run made, nothing else, and what is left.

Only keys that this run's rebuild wrote, or may have written when it was killed, are deleted, and only if they are
still what it wrote (same ETag, where the place's ETags tell). A container is removed if this run made it and it is
empty.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.errors import ConflictError, ConnectorError, NotFoundError, StoppedError
from exitdrill.model.objects import Outcome
from exitdrill.transfer.join import in_order, merge_join
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.rename import target_key
from exitdrill.transfer.rows import LedgerRow, part_numbers, part_path, read_rows
from exitdrill.transfer.sorting import ListingOutOfOrderError, ordered_listing, sort_rows

__all__ = ["Cleanup", "Ours", "clean_container", "clear_probe", "probe_base"]

_WINDOW = 512
_LEFT_KEPT = 100
_UNSURE = (Outcome.REFUSED, Outcome.CORRUPT)
"""Of the second leg: the place may have taken the object all the same."""


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
    begun: Callable[[int], bool]
    """Whether a part's rebuild has a work file: then it was begun, and is not in the ledger."""
    source_prefix: str
    prefix: str
    mapping: str

    def rows(self, scratch: Path) -> Iterator[LedgerRow]:
        """In the order of the keys at the target."""
        sort = self.mapping != "none"
        mapped = self._mapped()
        return sort_rows(mapped, LedgerRow, lambda row: row.target_key, scratch) if sort else mapped

    def _mapped(self) -> Iterator[LedgerRow]:
        for number in part_numbers(self.ledger, "evacuate"):
            rebuilt = part_path(self.ledger, "rebuild", number)
            if rebuilt.exists():
                rows = (row for row in read_rows(rebuilt, LedgerRow) if row.arrived or row.rebuilt in _UNSURE)
            elif self.begun(number):
                # Begun and killed: any of its objects may be there, and nothing says with which ETag.
                evacuated = part_path(self.ledger, "evacuate", number)
                rows = (row for row in read_rows(evacuated, LedgerRow) if row.evacuated)
            else:
                continue
            for row in rows:
                key = target_key(self.mapping, self.prefix, row.key.removeprefix(self.source_prefix))
                yield replace(row, target_key=key)


def probe_base(prefix: str, run_id: str) -> str:
    """What every key begins with that preflight of a run writes to try a place."""
    return f"{prefix}exitdrill-probe-{run_id}-"


def clear_probe(store: ObjectStore, base: str) -> None:
    """Delete what preflight wrote, a few dozen objects at most. Raises ConnectorError."""
    for entry in list(store.list(base)):
        store.delete(entry.key)


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
        done.left, done.left_total = [], 0
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

    def beat() -> None:
        meter.beats += 1
        if stopped():
            raise StoppedError("stopped during teardown")

    everything = (row.key for row in store.list(prefix))
    doomed = everything if ours is None else _doomed(done, store, prefix, ours, scratch, beat)

    def delete(key: str) -> ConnectorError | None:
        try:
            store.delete(key)
        except ConnectorError as error:
            return error
        return None

    with ThreadPoolExecutor(threads, "delete") as pool:
        while batch := list(islice(doomed, _WINDOW)):
            beat()
            for key, error in zip(batch, pool.map(delete, batch), strict=True):
                meter.objects += 1
                if error is None:
                    done.deleted += 1
                else:
                    done.leave(f"{store.describe(key)}: {error}")


def _doomed(
    done: Cleanup, store: ObjectStore, prefix: str, ours: Ours, scratch: Path, beat: Callable[[], None]
) -> Iterator[str]:
    there = in_order(ordered_listing(store, prefix, scratch, beat=beat), lambda row: row.key, store.resource)
    for row, listed in merge_join(ours.rows(scratch), there, lambda row: row.target_key, lambda row: row.key):
        if listed is None:
            continue
        if row is None:
            done.leave(f"{store.describe(listed.key)}: not this run's")
        elif row.target_etag is not None and store.capabilities.changing_etags and listed.etag != row.target_etag:
            done.leave(f"{store.describe(listed.key)}: replaced by somebody else after this run wrote it")
        else:
            yield listed.key
