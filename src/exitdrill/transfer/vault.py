"""Looking into the vault: what a run's ledger says is there, and the bytes, checked.

Reads only, and one object, pack or batch of rows at a time. Bytes are the ledger's or an error: whoever takes them
from here has them only when the iterator has ended without one.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from exitdrill.connector.objects import ObjectStore, copy_chunks
from exitdrill.connector.registry import connector
from exitdrill.errors import DigestError, NotFoundError, RunError, UsageError
from exitdrill.plan.drill import Asset, DrillPlan
from exitdrill.transfer.inventory import STEM
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.packing import PackShelf
from exitdrill.transfer.places import Places, narrowed, vault_container
from exitdrill.transfer.rows import LedgerRow, part_numbers, part_path, rows_of, schema

__all__ = ["VaultView", "checked", "local_container", "object_chunks"]

_BATCH = 4096


class VaultView:
    """One asset of a run in the vault; a context manager.

    Args:
        directory: The run's.
        plan: The drill.
        places: Its places, opened on demand: listing needs none of them.
        asset: Which asset.
    """

    def __init__(self, directory: RunDirectory, plan: DrillPlan, places: Places, asset: Asset) -> None:
        """See the class. Touches nothing."""
        self._directory, self._plan, self._places, self._asset = directory, plan, places, asset
        self._open = ExitStack()
        self._store: ObjectStore | None = None
        self._shelf: PackShelf | None = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Let go of connections."""
        self._open.close()

    @property
    def asset(self) -> str:
        """The asset's name."""
        return self._asset.name

    @property
    def parts(self) -> tuple[int, int]:
        """How many parts of the asset are done, and so in the ledger; and how many there are."""
        done = part_numbers(self._directory.ledger(self.asset), "evacuate")
        return len(done), len(part_numbers(self._directory.inventory(self.asset), STEM))

    def rows(self, prefix: str = "") -> Iterator[LedgerRow]:
        """The ledger's rows whose key begins with ``prefix``, in the order of keys. Raises RunError."""
        folder = self._directory.ledger(self.asset)
        for number in part_numbers(folder, "evacuate"):
            for row in _rows(part_path(folder, "evacuate", number), prefix):
                if row.key.startswith(prefix):
                    yield row

    def find(self, key: str) -> LedgerRow:
        """The row of one object. Raises NotFoundError if it is not in the vault, RunError."""
        found = next((row for row in self.rows(key) if row.key == key), None)
        if found is None:
            done, parts = self.parts
            so_far = f" ({done} of {parts} parts are done)" if done < parts else ""
            what = f"the ledger has no object with this key{so_far}"
            raise NotFoundError(what, resource=f"{self.asset}/{key!a}")
        if not found.evacuated:
            what = f"did not reach the vault: {found.outcome}"
            raise NotFoundError(what, resource=f"{self.asset}/{key!a}", hint=found.detail)
        return found

    def chunks(self, row: LedgerRow) -> Iterator[bytes]:
        """An object's bytes. Raises DigestError at the end if they are not the ledger's, ConnectorError."""
        return checked(self._raw(row), row.size, row.sha256, self.store.describe(row.key))

    def packed(self, row: LedgerRow) -> Iterator[bytes]:
        """As `chunks`, for who wants many: an object in a pack comes from the pack, which is read once and held."""
        if row.vault_offset is None:
            return self.chunks(row)
        if self._shelf is None:
            self._shelf = PackShelf(self.store)
        return checked(iter((self._shelf.get(row),)), row.size, row.sha256, self.store.describe(row.key))

    @property
    def store(self) -> ObjectStore:
        """The container in the vault; opened when first needed. Raises UsageError, AuthenticationError."""
        if self._store is None:
            place = self._places.place("vault")
            if place.emulator:
                what = "the vault is an emulator, which runs only while its drill does"
                raise UsageError(what, resource=place.name)
            provider = self._open.enter_context(self._places.open("vault"))
            container = vault_container(self._directory.id, self._plan, self._asset)
            self._store = narrowed(provider, self._directory, "vault", self.asset, container)
        return self._store

    def _raw(self, row: LedgerRow) -> Iterator[bytes]:
        offset, length = (0, None) if row.vault_offset is None else (row.vault_offset, row.size)
        return object_chunks(self.store, row.vault_key, row.vault_etag, offset, length)


def object_chunks(
    store: ObjectStore, vault_key: str, etag: str | None, offset: int = 0, length: int | None = None
) -> Iterator[bytes]:
    """Bytes of an object of the vault. Raises DigestError if it is shorter than that, ConnectorError."""
    try:
        stream = store.read(vault_key, etag=etag, offset=offset, length=length)
    except ValueError as exc:
        raise DigestError(f"ends before byte {offset}", resource=store.describe(vault_key)) from exc
    yield from copy_chunks(stream)


def checked(chunks: Iterator[bytes], size: int, sha256: bytes | None, resource: str) -> Iterator[bytes]:
    """The same bytes. Raises DigestError at their end if they are not so many, or have another SHA-256."""
    found, count = hashlib.sha256(), 0
    for chunk in chunks:
        found.update(chunk)
        count += len(chunk)
        yield chunk
    if count != size:
        raise DigestError(f"{count} bytes", resource=resource, expected=f"{size} bytes")
    if sha256 is not None and found.digest() != sha256:
        what = "the bytes are not those that were put there"
        raise DigestError(what, resource=resource, expected=f"SHA-256 {sha256.hex()}")


def _rows(path: Path, prefix: str) -> Iterator[LedgerRow]:
    """Rows of a part, without the groups whose keys all lie elsewhere."""
    arrow = schema(LedgerRow)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [n for n in range(file.metadata.num_row_groups) if _may_hold(file.metadata.row_group(n), prefix)]
            for batch in file.iter_batches(_BATCH, row_groups=groups, columns=arrow.names) if groups else ():
                yield from rows_of(batch.select(arrow.names), LedgerRow)
    except (OSError, pa.ArrowException) as exc:
        raise RunError(f"a part cannot be read: {exc}", resource=path.name) from exc


def _may_hold(group: pq.RowGroupMetaData, prefix: str) -> bool:
    """Whether a group of rows may have a key that begins so, as far as its statistics tell."""
    column = next(n for n in range(group.num_columns) if group.column(n).path_in_schema == "key")
    statistics = group.column(column).statistics
    if statistics is None or not isinstance(statistics.min, str) or not isinstance(statistics.max, str):
        return True
    return statistics.max >= prefix and statistics.min[: len(prefix)] <= prefix


@contextmanager
def local_container(folder: Path, container: str | None) -> Iterator[ObjectStore]:
    """A container of a local vault, opened without any run.

    Args:
        folder: The vault's.
        container: Its name; None if there is only one.

    Raises:
        UsageError: It is not there, or it is not clear which.
        ConnectorError: The folder cannot be read.
    """
    local = connector("local")
    with local.open("vault", local.settings.model_validate({"path": folder})) as provider:
        names = provider.containers()
        if not names:
            raise UsageError("is no vault: it has no container", resource=str(folder))
        if (container is None and len(names) > 1) or (container is not None and container not in names):
            problem = "has several containers" if container is None else f"has no container {container!r}"
            raise UsageError(problem, resource=str(folder), expected=f"--container, one of: {', '.join(names)}")
        with provider.objects(container or names[0]) as store:
            yield store
