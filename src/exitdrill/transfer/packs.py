"""Packs: many small objects in one plain tar file, readable without exitdrill.

::

    for each object   an extended header, then the object as a file:
        objects/<sha256 of key>    mtime: when it was last modified; the bytes as they were at the source
            mtime                  only if known; to the microsecond
            EXITDRILL.key          the key, byte for byte (UTF-8)
            EXITDRILL.etag         only if there was one
            EXITDRILL.sha256       of the bytes
            EXITDRILL.envelope     content type, metadata, tags, as JSON; only if there are any
    at the end        index.jsonl  a line of JSON in ASCII an object: key, name, offset, size, sha256; and a last
                                   line with their number and the SHA-256 of all headers before it, in order

Rules. The format is POSIX.1-2001 ``pax``, and nothing of it beyond what is listed here. No path is made from a key
other than by SHA-256, so that unpacking a pack cannot lead out of its folder, whatever the keys. Every byte of a
pack is either an object's (its SHA-256 says whether it is right), in a header or the index (the index's last line
does), or fixed; `read_pack` accepts nothing else.

Building and reading make no requests and touch no file; when a pack is full, and where it goes, is `packing`'s.

Source: POSIX.1-2017, ``pax``, Extended Description
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exitdrill.errors import DigestError, InvalidKeyError

__all__ = ["INDEX", "MEMBER_LIMIT_BYTES", "PackBuilder", "PackFacts", "PackMember", "member_name", "read_pack"]

INDEX = "index.jsonl"
"""The name of a pack's last member."""
MEMBER_LIMIT_BYTES = 256 * 1024 * 1024
"""No object of a pack is larger: a reader holds one at a time."""
_RECORDS_LIMIT_BYTES = 16 * 1024 * 1024
"""Nor are the records around one."""

_BLOCK = 512
_RECORD = 20 * _BLOCK
_OBJECTS = b"objects/"
_EXTENDED = b"PaxHeaders/"
_VENDOR = b"EXITDRILL."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 8**11 - 1
_text = json.JSONEncoder().encode

# Read and write for the owner alone, whoever unpacks; no user's name or number of the machine that packed.
_MODE_TO_GROUP = b"".join((b"0000600\0", b"0000000\0", b"0000000\0"))
_AFTER_KIND = b"".join((bytes(100), b"ustar\0", b"00", bytes(64), b"0000000\0", b"0000000\0", bytes(155 + 12)))
_FIXED_SUM = sum(_MODE_TO_GROUP) + sum(_AFTER_KIND) + 8 * ord(" ")


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What a pack keeps of an object beside its bytes."""

    key: str
    modified: datetime | None
    etag: str | None
    sha256: bytes | None
    """Of the bytes; None to have it computed."""
    envelope: str = "{}"
    """As JSON."""


@dataclass(frozen=True, slots=True)
class PackMember:
    """An object as it stands in a pack; its bytes have been checked."""

    facts: PackFacts
    offset: int
    """Where its bytes begin in the pack."""
    data: bytes


def member_name(key: str) -> str:
    """The name of an object in its pack. Raises InvalidKeyError if the key is not valid Unicode."""
    return (_OBJECTS + _hashed(key)).decode()


class PackBuilder:
    """A pack in the making, in memory. Not thread-safe.

    Args:
        limit_bytes: From that size on it is `full`.
    """

    def __init__(self, limit_bytes: int = 64 * 1024 * 1024) -> None:
        """See the class."""
        self._limit_bytes = limit_bytes
        self._pack, self._index = bytearray(), bytearray()
        self._headers = hashlib.sha256()
        self._members = 0

    @property
    def size(self) -> int:
        """In bytes, so far: without index and end."""
        return len(self._pack)

    @property
    def members(self) -> int:
        """How many objects it holds."""
        return self._members

    @property
    def full(self) -> bool:
        """Whether it has reached its limit."""
        return len(self._pack) >= self._limit_bytes

    def add(self, data: bytes | bytearray | memoryview, facts: PackFacts) -> int:
        """Take an object in.

        Args:
            data: Its bytes, at most `MEMBER_LIMIT_BYTES`.
            facts: What is kept beside them. ``sha256`` is taken at its word.

        Returns:
            Where its bytes begin in the pack.

        Raises:
            InvalidKeyError: The key is not valid Unicode.
            ValueError: It is too large.
        """
        size = len(data)
        if size > MEMBER_LIMIT_BYTES:
            msg = f"{size} bytes, more than an object in a pack may have"
            raise ValueError(msg)
        sha256 = facts.sha256 or hashlib.sha256(data).digest()
        hashed = _hashed(facts.key)
        headers = _headers(hashed, size, facts, sha256)
        pack = self._pack
        pack += headers
        offset = len(pack)
        pack += data
        pack += bytes(-size % _BLOCK)
        self._headers.update(headers)
        self._index += _line(facts.key, hashed, offset, size, sha256)
        self._members += 1
        return offset

    def finish(self) -> bytearray:
        """The whole pack, with index and end. Nothing can be added afterwards."""
        pack, index = self._pack, self._index
        index += _last_line(self._members, self._headers.hexdigest())
        pack += _header(INDEX.encode(), len(index), 0, b"0")
        pack += index
        pack += bytes(-len(index) % _BLOCK)
        pack += bytes(_ending(len(pack)))
        return pack


def read_pack(chunks: Iterable[bytes], resource: str = "pack") -> Iterator[PackMember]:
    """The objects of a pack, in order, one in memory at a time.

    Each has been checked against its SHA-256. What is in headers and index is proven only when the iterator has
    ended: until then an object's facts may be wrong where its bytes are right.

    Args:
        chunks: The pack's bytes, in pieces of any size.
        resource: What messages call it.

    Raises:
        DigestError: It is damaged, cut short, or no pack of exitdrill's; the message says at which byte.
    """
    source = _Source(chunks, resource)
    headers, index, members, index_size = hashlib.sha256(), hashlib.sha256(), 0, 0
    while _kind(block := source.take(_BLOCK), source) == b"x":
        member, raw = _member(block, source)
        headers.update(raw)
        facts = member.facts
        line = _line(facts.key, _hashed(facts.key), member.offset, len(member.data), facts.sha256 or b"")
        index.update(line)
        members, index_size = members + 1, index_size + len(line)
        yield member
    last = _last_line(members, headers.hexdigest())
    index.update(last)
    index_size += len(last)
    if block != _header(INDEX.encode(), index_size, 0, b"0"):
        at = source.position - _BLOCK
        raise _damaged(block, at, source) or source.wrong("not the index of the objects before it", at=at)
    begin, found = source.position, hashlib.sha256()
    for piece in source.pieces(index_size):
        found.update(piece)
    if found.digest() != index.digest():
        raise source.wrong("the index does not agree with headers and objects", at=begin)
    source.zeros(-index_size % _BLOCK)
    source.zeros(_ending(source.position))
    source.end()


class _Source:
    """Bytes from pieces, counted."""

    def __init__(self, chunks: Iterable[bytes], resource: str) -> None:
        self._chunks, self._resource = iter(chunks), resource
        self._held = memoryview(b"")
        self.position = 0

    def wrong(self, what: str, *, at: int | None = None) -> DigestError:
        """The error to raise."""
        return DigestError(f"{what}, at byte {self.position if at is None else at}", resource=self._resource)

    def pieces(self, count: int) -> Iterator[memoryview]:
        """So many bytes, in pieces. Raises DigestError if there are fewer."""
        while count:
            while not self._held:
                following = next(self._chunks, None)
                if following is None:
                    raise self.wrong(f"ends {count} bytes early")
                self._held = memoryview(following)
            piece, self._held = self._held[:count], self._held[count:]
            count -= len(piece)
            self.position += len(piece)
            yield piece

    def take(self, count: int) -> bytes:
        """So many bytes. Raises DigestError if there are fewer."""
        return b"".join(self.pieces(count))

    def zeros(self, count: int) -> None:
        """So many zeros. Raises DigestError if they are not there, or not zero."""
        begin = self.position
        if self.take(count).strip(b"\0"):
            raise self.wrong("not filled with zeros", at=begin)

    def end(self) -> None:
        """Nothing more. Raises DigestError."""
        if self._held or any(self._chunks):
            raise self.wrong("more bytes after the end")


def _kind(block: bytes, source: _Source) -> bytes:
    """The type of a header. Whether the rest of it is right is seen when it is made again."""
    kind = block[156:157]
    if kind not in (b"x", b"0"):
        begin = source.position - _BLOCK
        raise _damaged(block, begin, source) or source.wrong(f"a member of type {kind!r}, not a file", at=begin)
    return kind


def _damaged(block: bytes, begin: int, source: _Source) -> DigestError | None:
    """The error for a header whose checksum is wrong."""
    if block[148:156] == b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * ord(" ")):
        return None
    return source.wrong("a header that is damaged, or none", at=begin)


def _member(block: bytes, source: _Source) -> tuple[PackMember, bytes]:
    """An object from its extended header on, and the bytes of its headers."""
    begin = source.position - _BLOCK
    length = _octal(block[124:136], _RECORDS_LIMIT_BYTES, source)
    records = source.take(length)
    source.zeros(-length % _BLOCK)
    file = source.take(_BLOCK)
    if _kind(file, source) != b"0":
        raise source.wrong("two extended headers for one file", at=begin)
    size = _octal(file[124:136], MEMBER_LIMIT_BYTES, source)
    facts = _facts(records, begin, source)
    # Made again from what was read: so there is nothing in it that a reader would not look at.
    raw = _headers(_hashed(facts.key), size, facts, facts.sha256 or b"")
    if raw != block + records + bytes(-length % _BLOCK) + file:
        damaged = _damaged(block, begin, source) or _damaged(file, source.position - _BLOCK, source)
        raise damaged or source.wrong("headers that exitdrill does not write", at=begin)
    offset = source.position
    data = source.take(size)
    if hashlib.sha256(data).digest() != facts.sha256:
        raise source.wrong(f"the {size} bytes are not those that were put there", at=offset)
    source.zeros(-size % _BLOCK)
    return PackMember(facts, offset, data), raw


def _octal(field: bytes, limit: int, source: _Source) -> int:
    try:
        value = int(field[:-1], 8)
    except ValueError:
        value = -1
    if not 0 <= value <= limit:
        raise source.wrong(f"a size of {field!r}", at=source.position - _BLOCK)
    return value


def _facts(records: bytes, begin: int, source: _Source) -> PackFacts:
    """From the records of an extended header; that they are written as they should be is seen elsewhere."""
    try:
        found = dict(_split(records))
        modified, etag, sha256 = found.get(b"mtime"), found.get(_VENDOR + b"etag"), found[_VENDOR + b"sha256"]
        return PackFacts(
            found[_VENDOR + b"key"].decode(),
            None if modified is None else _moment(modified.decode("ascii")),
            None if etag is None else etag.decode(),
            bytes.fromhex(sha256.decode("ascii")),
            found.get(_VENDOR + b"envelope", b"{}").decode(),
        )
    except (ValueError, KeyError, OverflowError) as exc:
        raise source.wrong("an extended header that exitdrill does not write", at=begin) from exc


def _split(records: bytes) -> Iterator[tuple[bytes, bytes]]:
    begin = 0
    while begin < len(records):
        space = records.index(b" ", begin, begin + 20)
        end = begin + int(records[begin:space])
        name, equals, value = records[space + 1 : end - 1].partition(b"=")
        if end <= space or not equals:
            msg = "no record"
            raise ValueError(msg)
        yield name, value
        begin = end


def _moment(text: str) -> datetime:
    seconds, _, fraction = text.partition(".")
    micros = int(fraction or "0")
    return _EPOCH + timedelta(seconds=int(seconds), microseconds=-micros if text.startswith("-") else micros)


def _hashed(key: str) -> bytes:
    try:
        return hashlib.sha256(key.encode()).hexdigest().encode()
    except UnicodeEncodeError as exc:
        raise InvalidKeyError("not valid Unicode", resource=ascii(key)) from exc


def _headers(hashed: bytes, size: int, facts: PackFacts, sha256: bytes) -> bytes:
    """All that stands before an object's bytes."""
    seconds, records = 0, b""
    if facts.modified is not None:
        since = facts.modified - _EPOCH
        seconds = since.days * 86400 + since.seconds
        records = _record(b"mtime", _decimal(seconds, since.microseconds))
    records += _record(b"EXITDRILL.key", facts.key.encode())
    if facts.etag is not None:
        records += _record(b"EXITDRILL.etag", facts.etag.encode())
    records += _record(b"EXITDRILL.sha256", sha256.hex().encode())
    if facts.envelope != "{}":
        records += _record(b"EXITDRILL.envelope", facts.envelope.encode())
    length = len(records)
    if length > _RECORDS_LIMIT_BYTES:
        msg = f"{length} bytes of metadata, more than an object in a pack may have"
        raise ValueError(msg)
    extended = _header(_EXTENDED + hashed, length, 0, b"x")
    file = _header(_OBJECTS + hashed, size, min(max(seconds, 0), _LAST_SECOND), b"0")
    return b"".join((extended, records, bytes(-length % _BLOCK), file))


def _decimal(seconds: int, micros: int) -> bytes:
    if not micros:
        return b"%d" % seconds
    if seconds < 0:  # the fraction is counted upwards from the second before
        return b"-%d.%06d" % (-seconds - 1, 1_000_000 - micros)
    return b"%d.%06d" % (seconds, micros)


def _record(name: bytes, value: bytes) -> bytes:
    """One record; its length counts its own digits."""
    rest = len(name) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %b=%b\n" % (length, name, value)


def _header(name: bytes, size: int, seconds: int, kind: bytes) -> bytes:
    """One header block."""
    fields = b"%011o\0%011o\0" % (size, seconds)
    total = _FIXED_SUM + sum(name) + sum(fields) + kind[0]
    return b"".join((name.ljust(100, b"\0"), _MODE_TO_GROUP, fields, b"%06o\0 " % total, kind, _AFTER_KIND))


def _line(key: str, hashed: bytes, offset: int, size: int, sha256: bytes) -> bytes:
    """An object's line in the index."""
    return b'{"key":%b,"name":"objects/%b","offset":%d,"size":%d,"sha256":"%b"}\n' % (
        _text(key).encode("ascii"),
        hashed,
        offset,
        size,
        sha256.hex().encode(),
    )


def _last_line(members: int, headers: str) -> bytes:
    return f'{{"members":{members},"headers_sha256":"{headers}"}}\n'.encode()


def _ending(position: int) -> int:
    """How many zeros end an archive of that size: two blocks, and what fills the last record."""
    return 2 * _BLOCK + -(position + 2 * _BLOCK) % _RECORD
