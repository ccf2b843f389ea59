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

from exitdrill.connector.objects import ObjectStore, ReadStream, UploadMemory, WriteReceipt, WriteRequest, copy_chunks
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
from exitdrill.model.digests import Comparison, DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope, Outcome
from exitdrill.transfer.bodies import HashingBody
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


class Evacuation:
    """The first leg for one object: source → vault.

    Args:
        source: Where it is.
        vault: Where it goes.
        kinds: Digests to compute of every object.
        stopped: Whether to stop.
        moved: Told how many bytes have passed.
    """

    def __init__(
        self,
        source: ObjectStore,
        vault: ObjectStore,
        kinds: frozenset[DigestKind],
        stopped: Stopped,
        moved: Callable[[int], None],
    ) -> None:
        """See the class."""
        self._source, self._vault, self._kinds = source, vault, kinds | Hasher.DEFAULT
        self._stopped, self._moved = stopped, moved

    def __call__(self, row: InventoryRow, memory: UploadMemory) -> LedgerRow:
        """Copy one object. Raises what is wrong with a whole place, TransientError, StoppedError."""
        first = self._copy(row, memory)
        if first.source_digest != Comparison.DIFFERENT:
            return first
        second = self._copy(row, memory)
        if not second.evacuated:
            return second
        how = "the same bytes" if second.sha256 == first.sha256 else "other bytes"
        return replace(second, detail=f"disagreed with the source's own digest; fetched again: {how}")

    def _copy(self, row: InventoryRow, memory: UploadMemory) -> LedgerRow:
        listed = LedgerRow(row.key, row.size, row.etag, row.version, row.modified, Outcome.REFUSED)
        entry = row.entry()
        listed = replace(listed, envelope=row.envelope or "{}")
        try:
            stream = self._source.read(row.key, etag=row.etag, version=row.version)
        except _WHOLE_PLACE:
            raise
        except ConnectorError as error:
            return replace(listed, outcome=self._unread(row, error), detail=str(error))
        with stream:
            if stream.entry.size != row.size:
                detail = f"{stream.entry.size} bytes, listed as {row.size}"
                return replace(listed, outcome=Outcome.CHANGED, detail=detail)
            envelope = stream.entry.envelope or entry.envelope or Envelope()
            claims = entry.digests.merged(stream.entry.digests)
            return self._store(listed, stream, envelope, claims, memory)

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
            opened = opened or self._source.read(
                listed.key, etag=listed.etag, version=listed.version, offset=offset, length=length
            )
            return _until_stopped(copy_chunks(opened), self._stopped, self._moved)

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
    ) -> None:
        """See the class."""
        self._vault, self._target = vault, target
        self._source_prefix, self._prefix, self._mapping = source_prefix, prefix, mapping
        self._stopped, self._moved = stopped, moved

    def __call__(self, row: LedgerRow, memory: UploadMemory) -> LedgerRow:
        """Copy one object. Raises what is wrong with a whole place, TransientError, StoppedError."""
        if not row.evacuated:
            return replace(row, rebuilt=Outcome.NOT_EVACUATED, rebuilt_detail=row.outcome)
        try:
            key = target_key(self._mapping, self._prefix, row.key.removeprefix(self._source_prefix))
        except InvalidKeyError as error:
            return replace(row, rebuilt=Outcome.UNREPRESENTABLE, rebuilt_detail=str(error))
        row = replace(row, target_key=key)

        def again(offset: int, length: int | None) -> Iterator[bytes]:
            stream = self._vault.read(row.vault_key, etag=row.vault_etag, offset=offset, length=length)
            return _until_stopped(copy_chunks(stream), self._stopped, self._moved)

        ours = row.digests
        expected = ours.only({DigestKind.SHA256})
        body = HashingBody(row.size, again, (DigestKind.SHA256,), expected, self._vault.describe(row.key))
        envelope = Envelope.from_json(json.loads(row.envelope))
        try:
            receipt = self._target.write(WriteRequest(key, body, envelope, ours, memory=memory))
        except ConnectorError as error:
            return self._not_written(row, body, error)
        return self._written(row, receipt, ours)

    def _not_written(self, row: LedgerRow, body: HashingBody, error: ConnectorError) -> LedgerRow:
        if self._stopped():
            raise StoppedError("stopped while an object was under way") from error
        cause = body.failure
        if cause is None:
            if isinstance(error, _WHOLE_PLACE):
                raise error
            if isinstance(error, DigestError):  # our bytes were right: they were altered on the way
                raise TransientError(error.what, resource=error.resource) from error
            return replace(row, rebuilt=_outcome(error, of_read=False), rebuilt_detail=str(error))
        if isinstance(cause, _WHOLE_PLACE):
            raise cause
        outcome = Outcome.LOST if isinstance(cause, NotFoundError) else Outcome.CORRUPT
        return replace(row, rebuilt=outcome, rebuilt_detail=str(cause))

    def _written(self, row: LedgerRow, receipt: WriteReceipt, ours: Digests) -> LedgerRow:
        entry = receipt.entry
        attested = entry.digests.only(self._target.capabilities.attests)
        if entry.size != row.size or attested.compare(ours) is Comparison.DIFFERENT:
            error = DigestError("the target holds other bytes than were sent", resource=self._target.describe(row.key))
            return replace(row, rebuilt=Outcome.REFUSED, rebuilt_detail=str(error))
        agreed = sorted(attested.kinds & ours.kinds)
        return replace(
            row,
            rebuilt=Outcome.COPIED,
            target_etag=entry.etag,
            target_version=entry.version,
            attested=",".join(agreed),
            losses=json.dumps([[loss.field, loss.value, loss.reason] for loss in receipt.losses]),
        )
