"""Small objects into packs on the first leg, and out of them on the second.

`Packing` collects parcels from many threads and is emptied by one: the thread that tends the part writes a pack
that is full, or old, while the others fill the next. A row counts as done only when its pack is in the vault and
flushed. `PackShelf` holds the last packs read, so that the objects of a pack cost one request to the vault and
not one each. Memory: two packs each way, whatever the number of objects.

The format of a pack is `exitdrill.transfer.packs`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.errors import DigestError, TransientError
from exitdrill.model.digests import Comparison, DigestKind, Digests, digests_of
from exitdrill.model.objects import Outcome
from exitdrill.transfer.packs import PackBuilder, PackFacts
from exitdrill.transfer.rows import InventoryRow, LedgerRow

__all__ = ["MEMBER_BYTES", "PACK_BYTES", "PackShelf", "Packing", "Parcel"]

PACK_BYTES = 32 * 1024 * 1024
"""When a pack is closed. Two are held in memory, one filling and one being written."""
MEMBER_BYTES = 1024 * 1024
"""The largest object that goes into a pack."""
_MEMBERS = 2000
"""A pack is closed at so many objects too: what is kept of each beside its bytes is memory as well."""
_OLD_SECONDS = 5.0
"""A pack is closed after this time too, so that a slow source does not keep rows uncommitted for long."""
_SHELF_PACKS = 2

Moved = Callable[[int], None]


def _unheeded(_count: int) -> None:
    pass


@dataclass(slots=True)
class Parcel:
    """A small object that was read and hashed, on its way into a pack."""

    row: InventoryRow
    data: bytes
    digests: Digests
    source_digest: str
    envelope: str
    """As JSON."""
    detail: str = ""

    def placed(self, pack: str, etag: str | None, offset: int) -> LedgerRow:
        """Its row, once its pack is in the vault."""
        row, ours = self.row, self.digests
        return LedgerRow(
            row.key,
            row.size,
            row.etag,
            row.version,
            row.modified,
            Outcome.COPIED,
            self.detail,
            pack,
            etag,
            offset,
            ours.sha256,
            ours.crc64nvme,
            ours.md5,
            self.source_digest,
            self.envelope,
        )


@dataclass(frozen=True, slots=True)
class _PackBody(BytesBody):
    """A pack's bytes, already summed."""

    known: Digests
    moved: Callable[[int], None]

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `exitdrill.connector.objects.Body.open`, at the vault's pace."""
        for chunk in BytesBody.open(self, offset, length):
            self.moved(len(chunk))
            yield chunk

    def digests(self) -> Digests:
        """As `exitdrill.connector.objects.DigestingBody`."""
        return self.known


class Packing:
    """Packs in the making, of one part.

    Args:
        vault: Where packs go.
        name: Gives each pack its key in the vault; never the same one twice.
        wake: Set when there is a pack to write.
        pack_bytes: When a pack is full.
        moved: Told how many bytes of packs go to the vault.
    """

    def __init__(
        self,
        vault: ObjectStore,
        name: Callable[[], str],
        wake: threading.Event,
        pack_bytes: int = PACK_BYTES,
        moved: Moved = _unheeded,
    ) -> None:
        """See the class."""
        self._vault, self._name, self._wake, self._pack_bytes = vault, name, wake, pack_bytes
        self._moved = moved
        self._room = threading.Condition()
        self._fill()
        self._full: tuple[PackBuilder, list[tuple[int, Parcel, int]]] | None = None
        self._closed = False

    def put(self, n: int, parcel: Parcel) -> None:
        """Take a parcel in; waits while one pack is full and the one before it is still being written."""
        row = parcel.row
        facts = PackFacts(row.key, row.modified, row.etag, parcel.digests.sha256, parcel.envelope)
        with self._room:
            while self._is_full and not self._closed:
                if self._full is None:
                    self._hand_over()
                else:
                    self._room.wait()
            offset = self._builder.add(parcel.data, facts)
            parcel.data = b""  # it is in the pack now
            if not self._members:
                self._began = time.monotonic()
            self._members.append((n, parcel, offset))
            if self._is_full and self._full is None:
                self._hand_over()

    def written(self, *, last: bool) -> list[tuple[int, LedgerRow]]:
        """Write the packs that are full or old, or with ``last`` all there are; their rows. Not yet flushed.

        Raises ConnectorError; then its rows are not done.
        """
        rows: list[tuple[int, LedgerRow]] = []
        while (pack := self._taken(last=last)) is not None:
            rows += self._write(*pack)
        return rows

    def abandon(self) -> None:
        """Let nobody wait any more: what is not written is copied again."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    @property
    def _is_full(self) -> bool:
        return self._builder.full or self._builder.members >= _MEMBERS

    def _fill(self) -> None:
        self._builder = PackBuilder(self._pack_bytes)
        self._members: list[tuple[int, Parcel, int]] = []
        self._began = 0.0

    def _hand_over(self) -> None:
        self._full = (self._builder, self._members)
        self._fill()
        self._wake.set()

    def _taken(self, *, last: bool) -> tuple[PackBuilder, list[tuple[int, Parcel, int]]] | None:
        with self._room:
            if self._full is None:
                old = bool(self._members) and time.monotonic() - self._began > _OLD_SECONDS
                if not self._members or not (last or old):
                    return None
                self._hand_over()
            pack, self._full = self._full, None
            self._room.notify_all()
            return pack

    def _write(self, builder: PackBuilder, members: list[tuple[int, Parcel, int]]) -> list[tuple[int, LedgerRow]]:
        data = builder.finish()
        # Its members carry their own SHA-256; for the pack as a whole the sum that servers check is enough.
        ours, key = digests_of(data, frozenset({DigestKind.CRC64NVME})), self._name()
        receipt = self._vault.write(WriteRequest(key, _PackBody(data, ours, self._moved), digests=ours))
        attested = receipt.entry.digests.only(self._vault.capabilities.attests)
        if receipt.entry.size != len(data) or attested.compare(ours) is Comparison.DIFFERENT:
            raise TransientError("the vault holds other bytes than were sent", resource=self._vault.describe(key))
        return [(n, parcel.placed(key, receipt.entry.etag, offset)) for n, parcel, offset in members]


class _Held:
    """One pack on the shelf, or on its way there."""

    __slots__ = ("data", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.data: memoryview | None = None


class PackShelf:
    """The packs read last.

    Args:
        vault: Where they are.
        moved: Told how many bytes of packs come from the vault.
    """

    def __init__(self, vault: ObjectStore, moved: Moved = _unheeded) -> None:
        """See the class."""
        self._vault, self._moved = vault, moved
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str | None], _Held] = OrderedDict()

    def get(self, row: LedgerRow) -> bytes:
        """One object's bytes. Raises DigestError if the pack is too short for it, ConnectorError."""
        where = (row.vault_key, row.vault_etag)
        with self._lock:
            held = self._held.get(where)
            if held is None:
                held = self._held[where] = _Held()
                while len(self._held) > _SHELF_PACKS:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(where)
        data = held.data
        if data is None:
            with held.lock:
                data = held.data
                if data is None:
                    data = held.data = self._fetched(row)
        begin = row.vault_offset or 0
        if begin + row.size > len(data):
            raise DigestError("the pack is too short", resource=self._vault.describe(row.vault_key))
        return bytes(data[begin : begin + row.size])

    def _fetched(self, row: LedgerRow) -> memoryview:
        with self._vault.read(row.vault_key, etag=row.vault_etag) as stream:
            data, position = bytearray(stream.entry.size), 0
            for chunk in stream.chunks():
                self._moved(len(chunk))
                data[position : position + len(chunk)] = chunk
                position += len(chunk)
        return memoryview(data)
