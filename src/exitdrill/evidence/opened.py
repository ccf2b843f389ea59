"""Reading a bundle: first what it is, then who signed it, then every byte, and only then what it says.

`OpenBundle.open` takes a file and believes nothing in it; `OpenBundle.verified` gives a `Bundle` once the index is
signed by enough of the keys that were handed in, every member is the one the index lists, and every BagIt file follows
from it. Only a `Bundle` parses what is inside. Nothing is ever written to disk, and no name inside is used as a path.

Memory: the directory and the index (`MEMBERS_MAX` lines), one piece of a file, one batch of rows. Only EvidenceError
comes out.
"""

import io
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import IO, Self, cast
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse
from exitdrill.evidence.index import INDEX, INDEX_MAX_BYTES, INDEX_TYPE, PAYLOAD, TAG_FILES, Index, tag_files
from exitdrill.evidence.manifest import Part
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.zipped import Stored, read_layout
from exitdrill.transfer.inventory import STEM
from exitdrill.transfer.rows import InventoryRow, LedgerRow, schema

__all__ = ["Bundle", "BundleLedgers", "OpenBundle", "looks_like_bundle"]

_PIECE = 1024 * 1024
_LINE_MAX = 4 * 1024 * 1024
_ENVELOPE_MAX = INDEX_MAX_BYTES * 3 // 2
_GROUP_MAX = 256 * 1024 * 1024
"""Of a group of rows, by its footer: ours are of 8 MiB and a batch at most."""
_BATCH = 4096


def looks_like_bundle(path: Path) -> bool:
    """Whether a file begins as a ZIP file does."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False  # whoever reads it next says why


class _Source:
    """A file or bytes, read from anywhere. Usable from several threads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, Lock()
        self.size = file.seek(0, io.SEEK_END)

    def at(self, offset: int, size: int) -> bytes:
        """As `exitdrill.evidence.zipped.Reader.at`."""
        try:
            with self._lock:
                self._file.seek(offset)
                return self._file.read(size)
        except (OSError, ValueError, OverflowError) as exc:  # the last: further on than a file can be
            raise EvidenceError(f"cannot be read: {exc}", resource="bundle") from exc

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class OpenBundle:
    """A file that is laid out as a bundle; nothing in it is verified. Made by `open` or `of`."""

    def __init__(self, source: _Source) -> None:
        """See the class. Raises EvidenceError if it is not laid out as a bundle."""
        self._source = source
        members = read_layout(source)
        self.run = members[0].name.partition("/")[0] if members else ""
        self._members = {member.name.removeprefix(f"{self.run}/"): member for member in members}
        names = list(self._members)
        inside = all(member.name.startswith(f"{self.run}/") for member in members)
        tags, payload = names[-len(TAG_FILES) - 1 :], names[: -len(TAG_FILES) - 1]
        if not inside or tags != [INDEX, *TAG_FILES] or not all(name.startswith(PAYLOAD) for name in payload):
            raise EvidenceError("not a bundle: other members, or in another order", resource="bundle")
        self._payload = payload

    @classmethod
    def open(cls, path: Path) -> "OpenBundle":
        """A bundle on disk. Raises EvidenceError."""
        try:
            file = path.open("rb")
        except OSError as exc:
            raise EvidenceError(f"cannot be read: {exc.strerror}", resource=str(path)) from exc
        try:
            return cls(_Source(file))
        except BaseException:
            file.close()
            raise

    @classmethod
    def of(cls, data: bytes) -> "OpenBundle":
        """A bundle in memory. Raises EvidenceError."""
        return cls(_Source(io.BytesIO(data)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._source.close()

    def signed_index(self, keys: Sequence[PublicKey], threshold: int) -> tuple[Index, tuple[PublicKey, ...]]:
        """The index, and who of the keys signed it. Raises EvidenceError where too few did."""
        envelope = self._whole(INDEX, _ENVELOPE_MAX)
        found = dsse.verify(envelope, keys, threshold, INDEX_TYPE, INDEX, _ENVELOPE_MAX)
        dsse.key_ids(envelope, INDEX, _ENVELOPE_MAX)
        index = Index.from_bytes(found.payload)
        if index.run != self.run:
            raise EvidenceError("of another run than the folder in the file", resource=INDEX, expected=self.run)
        return index, found.keys

    def signer_ids(self) -> tuple[str, ...]:
        """The ids of the keys that are said to have signed the index."""
        return dsse.key_ids(self._whole(INDEX, _ENVELOPE_MAX), INDEX, _ENVELOPE_MAX)

    def check_members(self, index: Index) -> None:
        """Check that the file holds exactly what the index lists, byte for byte. Raises EvidenceError."""
        listed = [member.path for member in index.members]
        if listed != self._payload:
            missing, more = sorted({*listed} - {*self._payload}), sorted({*self._payload} - {*listed})
            what = f"not the members that were signed: {_some(missing)} missing, {_some(more)} not listed"
            raise EvidenceError(what, resource="bundle")
        for member in index.members:
            size, digest = self._digest(self._members[member.path])
            if (size, digest) != (member.size, member.sha256):
                raise EvidenceError("not the bytes that were signed", resource=member.path, expected=member.sha256)

    def check_tags(self, index: Index) -> None:
        """Check that the BagIt files are what follows from the index. Raises EvidenceError."""
        for name, data in tag_files(index, self._whole(INDEX, _ENVELOPE_MAX)).items():
            if self._members[name].size != len(data) or self._whole(name, len(data)) != data:
                raise EvidenceError("does not say what the signed index says", resource=name)
        self._digest(self._members[INDEX])

    def verified(self, index: Index) -> "Bundle":
        """The bundle, to be called after the checks above."""
        return Bundle(self._source, index, {name: self._members[name] for name in self._payload})

    def _whole(self, name: str, max_bytes: int) -> bytes:
        member = self._members[name]
        if member.size > max_bytes:
            raise EvidenceError("too large", resource=name, expected=f"at most {max_bytes:,} bytes")
        data = self._source.at(member.start, member.size)
        if len(data) != member.size or crc32(data) != member.crc:
            raise EvidenceError("not the bytes whose CRC-32 the file has", resource=name)
        return data

    def _digest(self, member: Stored) -> tuple[int, str]:
        digest, crc, at = sha256(), 0, member.start
        while at < member.end:
            piece = self._source.at(at, min(_PIECE, member.end - at))
            if not piece:
                break
            digest.update(piece)
            crc, at = crc32(piece, crc), at + len(piece)
        if crc != member.crc:
            raise EvidenceError("not the bytes whose CRC-32 the file has", resource=member.name)
        return at - member.start, digest.hexdigest()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"  # noqa: PLR2004


class Bundle:
    """What was signed. Made by `OpenBundle.verified`."""

    def __init__(self, source: _Source, index: Index, members: dict[str, Stored]) -> None:
        """See the class."""
        self._source, self.index, self._members = source, index, members

    @property
    def run(self) -> str:
        """The run's id."""
        return self.index.run

    def has(self, name: str) -> bool:
        """Whether there is such a file below ``data/``."""
        return PAYLOAD + name in self._members

    def names(self, folder: str) -> list[str]:
        """The files in a folder below ``data/``, by name."""
        begin = f"{PAYLOAD}{folder}/"
        return sorted(name.removeprefix(PAYLOAD) for name in self._members if name.startswith(begin))

    def read(self, name: str, max_bytes: int) -> bytes:
        """A file's bytes. Raises EvidenceError where there is none, or where it is too large."""
        member = self._member(name)
        if member.size > max_bytes:
            raise EvidenceError("too large", resource=name, expected=f"at most {max_bytes:,} bytes")
        return self._source.at(member.start, member.size)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, with their ends. Raises EvidenceError, also for one that is too long."""
        with self.open(name) as file, io.BufferedReader(file, _PIECE) as buffered:
            while line := buffered.readline(_LINE_MAX + 1):
                if len(line) > _LINE_MAX:
                    raise EvidenceError("a line that is too long", resource=name, expected=f"{_LINE_MAX:,} bytes")
                yield line

    def open(self, name: str) -> "io.RawIOBase":
        """A file, to be read and sought in. Raises EvidenceError where there is none."""
        member = self._member(name)
        return _Window(self._source, member.start, member.size)

    def _member(self, name: str) -> Stored:
        member = self._members.get(PAYLOAD + name)
        if member is None:
            raise EvidenceError("is not in the bundle", resource=name)
        return member


class _Window(io.RawIOBase):
    """A part of a source, as a file."""

    def __init__(self, source: _Source, start: int, size: int) -> None:
        super().__init__()
        self._source, self._start, self._size, self._at = source, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._at))
        data = self._source.at(self._start + self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class BundleLedgers:
    """Inventory and ledger in a bundle: `exitdrill.evidence.manifest.Ledgers`."""

    def __init__(self, bundle: Bundle) -> None:
        """See the class."""
        self._bundle = bundle

    def complete(self, asset: str) -> bool:
        """As `Ledgers.complete`."""
        return self._bundle.has(f"inventory/{asset}/complete.json")

    def parts(self, asset: str, part: Part | str) -> Sequence[int]:
        """As `Ledgers.parts`; also of parts that hold what was read back."""
        rule = re.compile(re.escape(_stem(asset, part)) + r"-([0-9]{6})\.parquet")
        folder = _stem(asset, part).rpartition("/")[0]
        return sorted(int(match[1]) for name in self._bundle.names(folder) if (match := rule.fullmatch(name)))

    def batches(self, asset: str, part: Part | str, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As `Ledgers.batches`. Raises EvidenceError."""
        name = f"{_stem(asset, part)}-{number:06d}.parquet"
        arrow = schema(InventoryRow) if part == Part.INVENTORY else schema(LedgerRow)
        wanted = pa.schema([arrow.field(column) for column in columns])
        try:
            with (
                self._bundle.open(name) as window,
                pq.ParquetFile(cast("IO[bytes]", window), page_checksum_verification=True) as file,
            ):
                groups = (file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
                if any(size > _GROUP_MAX for size in groups):
                    raise EvidenceError("groups of rows that are too large", resource=name)
                for batch in file.iter_batches(_BATCH, columns=list(columns)):
                    yield batch.select(list(columns)).cast(wanted)
        except (OSError, ValueError, KeyError, pa.ArrowException) as exc:
            raise EvidenceError(f"not a part as this program writes it: {exc}", resource=name) from exc


def _stem(asset: str, part: Part | str) -> str:
    return f"inventory/{asset}/{STEM}" if part == Part.INVENTORY else f"ledger/{asset}/{part}"
