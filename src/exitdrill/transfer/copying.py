"""Copying one object on one leg: what is read, what is written, what that makes of it.

An object ends as a `LedgerRow`: copied, or another `Outcome` with the reason. What is wrong with a whole
place (full, read-only, credentials refused) is raised instead, and ends the leg. Bytes that disagree with the
source's own digest are fetched once more: what was altered on the way heals, what stays different is kept and
declared, because stored digests can be wrong too. Bytes from the vault are
checked against the ledger before the last of them is let out, so corrupt ones never become an object.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from exitdrill.connector.objects import (
    BytesBody,
    ObjectStore,
    ReadStream,
    UploadMemory,
    WriteReceipt,
    WriteRequest,
    copy_chunks,
)
from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConnectorError,
    DigestError,
    InvalidKeyError,
    NoSpaceError,
    NotFoundError,
    ReadOnlyError,
    StoppedError,
    TransientError,
)
from exitdrill.model.digests import Comparison, DigestKind, Digests, Hasher, digests_of
from exitdrill.model.objects import Envelope, ObjectEntry, Outcome
from exitdrill.transfer.bodies import HashingBody
from exitdrill.transfer.packing import PackShelf, Parcel
from exitdrill.transfer.ranges import PARALLEL_BYTES, RANGE_BYTES, RangeReader
from exitdrill.transfer.rename import target_key
from exitdrill.transfer.rows import InventoryRow, LedgerRow

__all__ = ["Evacuation", "Rebuild"]

_WHOLE_PLACE = (NoSpaceError, ReadOnlyError, AuthenticationError, TransientError)
Stopped = Callable[[], bool]


def _until_stopped(chunks: Iterator[bytes], stopped: Stopped, moved: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        if stopped():
            raise StoppedError("stopped while an object was under way")
        moved(len(chunk))
        yield chunk


def _outcome(error: ConnectorError, of_read: bool) -> Outcome:
    """What an error makes of the object it happened to."""
    if isinstance(error, ChangedError) and of_read:
        return Outcome.CHANGED
    if isinstance(error, NotFoundError) and of_read:
        return Outcome.MISSING
    if isinstance(error, ArchivedError):
        return Outcome.ARCHIVED
    if isinstance(error, InvalidKeyError):
        return Outcome.UNREPRESENTABLE
    return Outcome.REFUSED


@lru_cache(maxsize=1024)
def _envelope(text: str) -> Envelope:
    return Envelope.from_json(json.loads(text))


class Evacuation:
    """The first leg for one object: source → vault.

    Args:
        source: Where it is.
        vault: Where it goes.
        kinds: Digests to compute of every object.
        stopped: Whether to stop.
        moved: Told how many bytes have passed.
        packed_bytes: Objects of at most so many bytes are brought as parcels for a pack; -1 for none.
        fetched: Told of the bytes of parcels, which only leave the source; ``moved`` if left out.
    """

    def __init__(
        self,
        source: ObjectStore,
        vault: ObjectStore,
        kinds: frozenset[DigestKind],
        stopped: Stopped,
        moved: Callable[[int], None],
        packed_bytes: int = -1,
        fetched: Callable[[int], None] | None = None,
    ) -> None:
        """See the class."""
        self._source, self._vault, self._kinds = source, vault, kinds | Hasher.DEFAULT
        self._stopped, self._moved = stopped, moved
        self._packed_bytes, self._fetched = packed_bytes, fetched or moved
        self._ranges = RangeReader(source, stopped)

    def __call__(self, row: InventoryRow, memory: UploadMemory) -> LedgerRow | Parcel:
        """Copy one object, or bring it for a pack.

        Raises what is wrong with a whole place, TransientError, StoppedError.
        """
        if row.size <= self._packed_bytes:
            return self._small(row)
        first = self._copy(row, memory)
        if first.source_digest != Comparison.DIFFERENT:
            return first
        second = self._copy(row, memory)
        if not second.evacuated:
            return second
        return replace(second, detail=_disagreed(again=second.sha256 == first.sha256))

    def _small(self, row: InventoryRow) -> LedgerRow | Parcel:
        """Read an object that is held in memory as a whole."""
        first = self._parcel(row)
        if isinstance(first, LedgerRow) or first.source_digest != Comparison.DIFFERENT:
            return first
        second = self._parcel(row)
        if isinstance(second, Parcel):
            second.detail = _disagreed(again=second.digests.sha256 == first.digests.sha256)
        return second

    def _parcel(self, row: InventoryRow) -> LedgerRow | Parcel:
        try:
            entry, data = self._source.read_small(row.key, etag=row.etag, version=row.version, size=row.size)
        except _WHOLE_PLACE:
            raise
        except ConnectorError as error:
            return self._not_read(row, self._unread(row, error), str(error))
        if entry.size != row.size:
            return self._not_read(row, Outcome.CHANGED, f"{entry.size} bytes, listed as {row.size}")
        self._fetched(len(data))
        claims = row.digests.merged(entry.digests)
        ours = digests_of(data, self._kinds | claims.kinds)
        # What the listing said of this very version need not be put together again from this answer.
        envelope = row.envelope if row.envelope is not None and row.etag is not None else None
        if envelope is None:
            try:
                envelope = json.dumps(self._envelope(row, entry).to_json())
            except _WHOLE_PLACE:
                raise
            except ConnectorError as error:
                return self._not_read(row, self._unread(row, error), str(error))
        return Parcel(row, data, ours, ours.compare(claims).value, envelope)

    def _not_read(self, row: InventoryRow, outcome: Outcome, detail: str) -> LedgerRow:
        listed = LedgerRow(row.key, row.size, row.etag, row.version, row.modified, outcome, detail)
        return replace(listed, envelope=row.envelope or "{}")

    def _copy(self, row: InventoryRow, memory: UploadMemory) -> LedgerRow:
        entry = row.entry()
        listed = self._not_read(row, Outcome.REFUSED, "")
        first = RANGE_BYTES if self._in_ranges(row.size) else None
        try:
            stream = self._source.read(row.key, etag=row.etag, version=row.version, length=first)
        except _WHOLE_PLACE:
            raise
        except ConnectorError as error:
            return replace(listed, outcome=self._unread(row, error), detail=str(error))
        with stream:
            if stream.entry.size != row.size:
                detail = f"{stream.entry.size} bytes, listed as {row.size}"
                return replace(listed, outcome=Outcome.CHANGED, detail=detail)
            try:
                envelope = self._envelope(row, stream.entry)
            except _WHOLE_PLACE:
                raise
            except ConnectorError as error:
                return replace(listed, outcome=self._unread(row, error), detail=str(error))
            claims = entry.digests.merged(stream.entry.digests)
            return self._store(listed, stream, envelope, claims, memory)

    def _envelope(self, row: InventoryRow, read: ObjectEntry) -> Envelope:
        """What is around the bytes: from the answer that gave them, the listing, or a question of its own.

        Raises ChangedError if by now another version answers, ConnectorError.
        """
        found = read.envelope or row.entry().envelope
        if found is None:
            entry = self._source.stat(row.key, version=row.version)
            if row.etag is not None and entry.etag != row.etag:
                raise ChangedError(f"is version {entry.etag}, not {row.etag}", resource=self._source.describe(row.key))
            found = entry.envelope
        return found or Envelope()

    def _unread(self, row: InventoryRow, error: ConnectorError) -> Outcome:
        """What became of an object that cannot be read; some places say "changed" of one that is gone."""
        if isinstance(error, ChangedError):
            try:
                self._source.stat(row.key, version=row.version)
            except NotFoundError:
                return Outcome.MISSING
        return _outcome(error, of_read=True)

    def _store(
        self, listed: LedgerRow, stream: ReadStream, envelope: Envelope, claims: Digests, memory: UploadMemory
    ) -> LedgerRow:
        first = [stream]

        def again(offset: int, length: int | None) -> Iterator[bytes]:
            opened = first.pop() if first and offset == 0 and length is None else None
            return _until_stopped(self._chunks(listed, opened, offset, length), self._stopped, self._moved)

        kinds = self._kinds | claims.kinds
        body = HashingBody(listed.size, again, kinds, resource=self._source.describe(listed.key))
        vault_key = self._vault_key(listed.key)
        try:
            receipt = self._vault.write(WriteRequest(vault_key, body, envelope, memory=memory))
            ours = body.digests()
        except ConnectorError as error:
            return self._not_stored(listed, body, error)
        self._check_vault(receipt, listed, ours)
        return replace(
            listed,
            outcome=Outcome.COPIED,
            vault_key=vault_key,
            vault_etag=receipt.entry.etag,
            sha256=ours.sha256,
            crc64nvme=ours.crc64nvme,
            md5=ours.md5,
            source_digest=ours.compare(claims).value,
            envelope=json.dumps(envelope.to_json()),
        )

    def _in_ranges(self, size: int) -> bool:
        return size > PARALLEL_BYTES and self._source.remote

    def _chunks(self, listed: LedgerRow, opened: ReadStream | None, offset: int, length: int | None) -> Iterator[bytes]:
        """The object's bytes: from the stream that is open already, a new one, or several side by side."""
        end = listed.size if length is None else offset + length
        if self._in_ranges(end - offset):
            if opened is not None:
                yield from copy_chunks(opened)
                offset = RANGE_BYTES
            yield from self._ranges.chunks(listed.key, listed.etag, listed.version, offset, end)
            return
        if opened is None:
            opened = self._source.read(
                listed.key, etag=listed.etag, version=listed.version, offset=offset, length=length
            )
        yield from copy_chunks(opened)

    def _not_stored(self, listed: LedgerRow, body: HashingBody, error: ConnectorError) -> LedgerRow:
        if self._stopped():
            raise StoppedError("stopped while an object was under way") from error
        cause = body.failure or error
        if isinstance(cause, _WHOLE_PLACE):
            raise cause
        return replace(listed, outcome=_outcome(cause, of_read=body.failure is not None), detail=str(cause))

    def _check_vault(self, receipt: WriteReceipt, listed: LedgerRow, ours: Digests) -> None:
        attested = receipt.entry.digests.only(self._vault.capabilities.attests)
        if receipt.entry.size != listed.size or attested.compare(ours) is Comparison.DIFFERENT:
            raise TransientError(
                "the vault holds other bytes than were sent", resource=self._vault.describe(listed.key)
            )

    def _vault_key(self, key: str) -> str:
        rules = self._vault.capabilities.keys
        if not rules.violations(key) and not rules.folds and rules.object_and_prefix:
            return key
        return f"by-sha256/{hashlib.sha256(key.encode()).hexdigest()}"


def _disagreed(*, again: bool) -> str:
    how = "the same bytes" if again else "other bytes"
    return f"disagreed with the source's own digest; fetched again: {how}"


class Rebuild:
    """The second leg for one object: vault → target.

    Args:
        vault: Where it is.
        target: Where it goes.
        source_prefix: What is taken off the key.
        prefix: What is put before the key at the target.
        mapping: How keys are renamed.
        stopped: Whether to stop.
        moved: Told how many bytes have passed.
        shelf: Where objects in packs are taken from.
        delivered: Told of the bytes taken out of packs, which only go to the target; ``moved`` if left out.
    """

    def __init__(
        self,
        vault: ObjectStore,
        target: ObjectStore,
        source_prefix: str,
        prefix: str,
        mapping: str,
        stopped: Stopped,
        moved: Callable[[int], None],
        shelf: PackShelf | None = None,
        delivered: Callable[[int], None] | None = None,
    ) -> None:
        """See the class."""
        self._vault, self._target = vault, target
        self._shelf, self._delivered = shelf or PackShelf(vault), delivered or moved
        self._source_prefix, self._prefix, self._mapping = source_prefix, prefix, mapping
        self._stopped, self._moved = stopped, moved

    def __call__(self, row: LedgerRow, memory: UploadMemory) -> LedgerRow:
        """Copy one object. Raises what is wrong with a whole place, TransientError, StoppedError."""
        if not row.evacuated:
            return row.at_target("", Outcome.NOT_EVACUATED, row.outcome)
        try:
            key = target_key(self._mapping, self._prefix, row.key.removeprefix(self._source_prefix))
        except InvalidKeyError as error:
            return row.at_target("", Outcome.UNREPRESENTABLE, str(error))
        if row.vault_offset is not None:
            return self._packed(row, key)

        def again(offset: int, length: int | None) -> Iterator[bytes]:
            stream = self._vault.read(row.vault_key, etag=row.vault_etag, offset=offset, length=length)
            return _until_stopped(copy_chunks(stream), self._stopped, self._moved)

        ours = row.digests
        expected = ours.only({DigestKind.SHA256})
        body = HashingBody(row.size, again, (DigestKind.SHA256,), expected, self._vault.describe(row.key))
        envelope = _envelope(row.envelope)
        try:
            receipt = self._target.write(WriteRequest(key, body, envelope, ours, memory=memory))
        except ConnectorError as error:
            return self._not_written(row, key, body, error)
        return self._written(row, key, receipt, ours)

    def _packed(self, row: LedgerRow, key: str) -> LedgerRow:
        """Take an object out of its pack: it is checked as a whole before its first byte leaves."""
        ours = row.digests
        try:
            data = self._shelf.get(row)
        except ConnectorError as error:
            return self._unfetched(row, key, error)
        if hashlib.sha256(data).digest() != ours.sha256:
            wrong = DigestError("the bytes are not those that were put there", resource=self._vault.describe(row.key))
            return self._unfetched(row, key, wrong)
        if self._stopped():
            raise StoppedError("stopped while an object was under way")
        self._delivered(row.size)
        try:
            receipt = self._target.write(WriteRequest(key, BytesBody(data), _envelope(row.envelope), ours))
        except ConnectorError as error:
            return self._unwritten(row, key, error)
        return self._written(row, key, receipt, ours)

    def _not_written(self, row: LedgerRow, key: str, body: HashingBody, error: ConnectorError) -> LedgerRow:
        if self._stopped():
            raise StoppedError("stopped while an object was under way") from error
        if body.failure is None:
            return self._unwritten(row, key, error)
        return self._unfetched(row, key, body.failure)

    def _unwritten(self, row: LedgerRow, key: str, error: ConnectorError) -> LedgerRow:
        if isinstance(error, _WHOLE_PLACE):
            raise error
        if isinstance(error, DigestError):  # our bytes were right: they were altered on the way
            raise TransientError(error.what, resource=error.resource) from error
        return row.at_target(key, _outcome(error, of_read=False), str(error))

    def _unfetched(self, row: LedgerRow, key: str, cause: ConnectorError) -> LedgerRow:
        if isinstance(cause, _WHOLE_PLACE):
            raise cause
        outcome = Outcome.LOST if isinstance(cause, NotFoundError) else Outcome.CORRUPT
        return row.at_target(key, outcome, str(cause))

    def _written(self, row: LedgerRow, key: str, receipt: WriteReceipt, ours: Digests) -> LedgerRow:
        entry = receipt.entry
        attested = entry.digests.only(self._target.capabilities.attests)
        if entry.size != row.size or attested.compare(ours) is Comparison.DIFFERENT:
            error = DigestError("the target holds other bytes than were sent", resource=self._target.describe(row.key))
            return row.at_target(key, Outcome.REFUSED, str(error))
        agreed = sorted(attested.kinds & ours.kinds)
        losses = [[loss.field, loss.value, loss.reason] for loss in receipt.losses]
        return row.at_target(
            key,
            Outcome.COPIED,
            etag=entry.etag,
            version=entry.version,
            attested=",".join(agreed),
            losses=json.dumps(losses) if losses else "[]",
        )
