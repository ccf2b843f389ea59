"""One container of a vault: how objects are written, found, read and removed.

The order of a write: the bytes into ``tmp/``; renamed to a data file that no sidecar names yet; the sidecar into
``tmp/``; renamed over the old sidecar. Only that last rename makes the object, or replaces it. Then the old data
file goes. Removing takes the sidecar first. So at any moment, and after any crash, an object is whole or not
there; what a crash leaves over is bytes that nothing names. Before `flush` a power failure may lose an object,
or leave a sidecar whose data file is missing or short: that is not there either.

A disk attests nothing. The digests in a sidecar are those this program computed as the bytes passed.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import ClassVar, Self

from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.objects import CHUNK_BYTES, DigestingBody, ObjectStore, RawRead, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ChangedError, ConflictError, DigestError, NotFoundError
from exitdrill.model.digests import ALL_KINDS, Digests, Hasher
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill_local.files import (
    CREATE,
    READ,
    Durability,
    directory,
    guarded,
    made_directory,
    temporary_name,
    unlink,
    write_all,
)
from exitdrill_local.layout import DATA, SIDECAR, TMP, Sidecar, hashed

__all__ = ["CAPABILITIES", "LocalStore"]

CAPABILITIES = Capabilities(
    keys=KeyRule(max_bytes=64 * 1024),
    envelope=EnvelopeRule(
        user_max_bytes=1024 * 1024,
        user_ascii_only=False,
        tags_max=10_000,
        created=True,
        kinds=frozenset({"BlockBlob", "AppendBlob", "PageBlob"}),
    ),
    refuses_wrong=ALL_KINDS,
    max_object_bytes=2**63 - 1,
    max_single_put_bytes=2**63 - 1,
    sorted_listing=False,
    start_after=False,
    conditional_writes=True,
)
"""What a directory can do; nothing in it attests anything."""

_INCOMPLETE = "its data file is missing, or has another size than its sidecar says"
_SYNC_AT_ONCE_BYTES = 8 * 1024 * 1024
_SHARDS = tuple(f"{number:02x}" for number in range(256))


class _Chunks(Iterator[bytes]):
    """A part of a file. Not a generator: it must close its file even if nobody begins to read."""

    def __init__(self, fd: int, offset: int, length: int, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._fd: int | None = fd
        self._offset, self._left, self._guard = offset, length, guard

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._fd is None or self._left == 0:
            self.close()
            raise StopIteration
        with self._guard():
            data = os.pread(self._fd, min(CHUNK_BYTES, self._left), self._offset)
        if not data:
            self.close()
            raise StopIteration  # cut short meanwhile: the reader counts
        self._offset += len(data)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class LocalStore(ObjectStore):
    """One container in a directory.

    Args:
        resource: How messages name it.
        root: The container's directory.
        capabilities: As claimed, or narrowed.
        retry: How to try again.
    """

    remote: ClassVar[bool] = False

    def __init__(
        self, resource: str, root: Path, capabilities: Capabilities | None = None, retry: RetryPolicy | None = None
    ) -> None:
        """See the class."""
        super().__init__(resource, capabilities or CAPABILITIES, retry)
        self._root = root
        self._durability = Durability()
        self._locks = {shard: Lock() for shard in _SHARDS}

    def flush(self) -> None:
        """Return when every write and delete that has returned survives a power failure. Raises ConnectorError."""
        with guarded(self.resource, self._root):
            self._durability.flush()

    def close(self) -> None:
        """Nothing is held open. What was not flushed is left to the operating system."""

    # listing

    def _list(
        self,
        prefix: str,
        start_after: str | None,  # noqa: ARG002 - not claimed
        token: str | None,
    ) -> tuple[Iterator[ObjectEntry], str | None]:
        """A page is one of the 256 directories, read as it is asked for: memory does not depend on its size."""
        shard = token or _SHARDS[0]
        if token is None:
            with guarded(self.resource, self._root), directory(self._root):
                pass
        following = _SHARDS[_SHARDS.index(shard) + 1 :]
        return self._shard_entries(shard, prefix), following[0] if following else None

    def _shard_entries(self, shard: str, prefix: str) -> Iterator[ObjectEntry]:
        where = self._root / shard
        with guarded(self.resource, where):
            try:
                with directory(self._root) as root, directory(shard, root) as folder, os.scandir(folder) as files:
                    for file in files:
                        if SIDECAR.fullmatch(file.name):
                            found = self._sidecar(folder, file.name)
                            if found and found.entry.key.startswith(prefix) and self._whole(folder, found):
                                yield replace(found.entry, envelope=None)
            except FileNotFoundError:
                return

    # reading

    def _read(
        self,
        key: str,
        etag: str | None,
        version: str | None,  # noqa: ARG002 - not claimed
        offset: int,
        length: int | None,
    ) -> RawRead:
        entry, fd = self._open_data(key)
        end = entry.size if length is None else min(entry.size, offset + length)
        chunks = _Chunks(fd, offset, max(0, end - offset), lambda: guarded(self.describe(key), self._root))
        if etag is not None and entry.etag != etag:
            chunks.close()
            msg = f"is version {entry.etag}, not {etag}"
            raise ChangedError(msg, resource=self.describe(key))
        return RawRead(entry, offset, max(0, end - offset), chunks)

    def _stat(self, key: str, version: str | None) -> ObjectEntry:  # noqa: ARG002 - not claimed
        with self._at(key) as (folder, name):
            found = self._sidecar(folder, f"{name}.json")
            if found is None:
                raise self._missing(key)
            if not self._whole(folder, found):
                raise self._missing(key, _INCOMPLETE)
            return found.entry

    def _open_data(self, key: str) -> tuple[ObjectEntry, int]:
        with self._at(key) as (folder, name):
            found = self._sidecar(folder, f"{name}.json")
            while found is not None:
                try:
                    fd = os.open(found.data, READ, dir_fd=folder)
                except FileNotFoundError:
                    before, found = found, self._sidecar(folder, f"{name}.json")
                    if before == found:
                        raise self._missing(key, _INCOMPLETE) from None
                    continue  # replaced between the two opens
                if os.fstat(fd).st_size == found.entry.size:
                    return found.entry, fd
                os.close(fd)
                raise self._missing(key, _INCOMPLETE)
            raise self._missing(key)

    def _sidecar(self, folder: int, name: str) -> Sidecar | None:
        """What a sidecar says; None if there is none, or only the beginning of one. Raises DigestError, OSError."""
        try:
            fd = os.open(name, READ, dir_fd=folder)
        except FileNotFoundError:
            return None
        try:
            raw = os.read(fd, 64 * 1024)
            while not raw.endswith(b"\n") and (more := os.read(fd, CHUNK_BYTES)):
                raw += more
        finally:
            os.close(fd)
        if not raw.endswith(b"\n"):
            return None  # cut short by a power failure before a flush
        try:
            found = Sidecar.from_bytes(raw)
        except ValueError as exc:
            raise self._damaged(name, str(exc)) from exc
        if f"{hashed(found.entry.key)}.json" != name:
            raise self._damaged(name, "it is about another key")
        return found

    def _data_files(self, folder: int, sidecar: str) -> tuple[str, ...]:
        """What a sidecar that is about to go leaves behind; a damaged one must not stand in the way."""
        try:
            found = self._sidecar(folder, sidecar)
        except DigestError:
            return tuple(name for name in os.listdir(folder) if DATA.fullmatch(name) and name[:64] == sidecar[:64])
        return () if found is None else (found.data,)

    def _damaged(self, name: str, why: str) -> DigestError:
        hint = "it is damaged, or was written by another version of exitdrill"
        return DigestError(f"the sidecar {name} cannot be trusted: {why}", resource=self.resource, hint=hint)

    def _whole(self, folder: int, found: Sidecar) -> bool:
        try:
            size = os.stat(found.data, dir_fd=folder, follow_symlinks=False).st_size
        except FileNotFoundError:
            return False
        return size == found.entry.size

    # writing

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        name = hashed(request.key)
        etag = secrets.token_hex(16)
        where = self._root / name[:2]
        with guarded(self.describe(request.key), where), directory(self._root) as root:
            with made_directory(TMP, root) as (tmp, _), made_directory(name[:2], root) as (folder, made):
                if made:
                    self._durability.add(self._root)
                temporary = temporary_name()
                try:
                    digests = self._write_data(request, tmp, temporary)
                    os.rename(temporary, f"{name}.{etag}", src_dir_fd=tmp, dst_dir_fd=folder)
                except BaseException:
                    unlink(temporary, tmp)
                    raise
                entry = ObjectEntry(request.key, request.body.size, etag, None, datetime.now(UTC), digests, envelope)
                self._commit(Sidecar(entry, f"{name}.{etag}"), tmp, folder, only_if_absent=request.only_if_absent)
            large = request.body.size >= _SYNC_AT_ONCE_BYTES
            names = (f"{name}.json",) if large else (f"{name}.json", f"{name}.{etag}")
            if self._durability.add(where, *names):
                self._durability.flush()
        return entry

    def _write_data(self, request: WriteRequest, tmp: int, temporary: str) -> Digests:
        body, size = request.body, request.body.size
        # Who brings digests with the bytes has computed them from these very bytes, in this process; perhaps not all
        # that are promised.
        own = isinstance(body, DigestingBody)
        hasher = Hasher(request.digests.kinds if own else Hasher.DEFAULT | request.digests.kinds)
        fd = os.open(temporary, CREATE, 0o600, dir_fd=tmp)
        try:
            for chunk in body.open():
                hasher.update(chunk)
                write_all(fd, chunk)
            if size >= _SYNC_AT_ONCE_BYTES:
                os.fsync(fd)  # so that a flush has many small files to do, and no large one
        finally:
            os.close(fd)
        if hasher.length_bytes != size:
            msg = f"the body gave {hasher.length_bytes} bytes, not the {size} it promised"
            raise DigestError(msg, resource=self.describe(request.key))
        ours = hasher.digests().merged(body.digests()) if isinstance(body, DigestingBody) else hasher.digests()
        if ours.only(request.digests.kinds) != request.digests:
            kinds = ", ".join(kind for kind in request.digests.kinds if ours.get(kind) != request.digests.get(kind))
            raise DigestError(f"the bytes do not have the {kinds} promised", resource=self.describe(request.key))
        return ours

    def _commit(self, sidecar: Sidecar, tmp: int, folder: int, *, only_if_absent: bool) -> None:
        """Make the object be there, and the one it replaces not. If that fails, the new data file goes."""
        temporary, final = temporary_name(), f"{sidecar.data.partition('.')[0]}.json"
        with self._locks[final[:2]]:
            try:
                old = () if only_if_absent else self._data_files(folder, final)
                fd = os.open(temporary, CREATE, 0o600, dir_fd=tmp)
                try:
                    write_all(fd, sidecar.to_bytes())
                finally:
                    os.close(fd)
                if only_if_absent:
                    self._link(temporary, tmp, final, folder, sidecar.entry.key)
                else:
                    os.rename(temporary, final, src_dir_fd=tmp, dst_dir_fd=folder)
            except BaseException:
                unlink(temporary, tmp)
                unlink(sidecar.data, folder)
                raise
            for data in old:
                if data != sidecar.data:
                    unlink(data, folder)

    def _link(self, temporary: str, tmp: int, final: str, folder: int, key: str) -> None:
        """Rename, unless the object is there: a sidecar without its bytes is not, and gives way."""
        try:
            os.link(temporary, final, src_dir_fd=tmp, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as exc:
            old = self._sidecar(folder, final)
            if old is not None and self._whole(folder, old):
                raise ConflictError("exists already", resource=self.describe(key)) from exc
            os.rename(temporary, final, src_dir_fd=tmp, dst_dir_fd=folder)
        else:
            unlink(temporary, tmp)

    # removing

    def _delete(self, key: str, version: str | None) -> None:  # noqa: ARG002 - not claimed
        try:
            with self._at(key) as (folder, name), self._locks[name[:2]]:
                old = self._data_files(folder, f"{name}.json")
                unlink(f"{name}.json", folder)
                for data in old:
                    unlink(data, folder)
                self._durability.add(self._root / name[:2])
        except NotFoundError:
            with guarded(self.resource, self._root), directory(self._root):
                return  # the container is there; the object is not

    @contextmanager
    def _at(self, key: str) -> Iterator[tuple[int, str]]:
        """The directory where a key's files are, and their common name. Raises NotFoundError."""
        try:
            name = hashed(key)
        except UnicodeEncodeError as exc:
            raise self._missing(key) from exc
        with (
            guarded(self.describe(key), self._root / name[:2]),
            directory(self._root) as root,
            directory(name[:2], root) as folder,
        ):
            yield folder, name

    def _missing(self, key: str, why: str = "there is no such object") -> NotFoundError:
        return NotFoundError(why, resource=self.describe(key))
