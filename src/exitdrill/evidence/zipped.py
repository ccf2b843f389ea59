"""ZIP files of one form only, written and read: the form leaves nothing to hide in.

Members are stored, not deflated: what is large in a bundle is compressed already, and a file that inflates nothing
is no bomb. Names are ASCII paths. Every header follows from a member's name, size, CRC-32 and place, so that a reader
makes all headers anew from the directory and compares them, byte for byte, with those in the file. What anybody could
put elsewhere (flags, encryption, modes, links, comments, extra fields, several disks, members listed twice, bytes
before, between or behind) is another file and refused. PKWARE's APPNOTE 6.3.9 has the fields: 4.3.7 local headers,
4.3.12 the directory, 4.3.14 to 4.3.16 its end, 4.5.3 sizes of 4 GiB and more (ZIP64).
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol
from zlib import crc32

from exitdrill.errors import EvidenceError

__all__ = ["MEMBERS_MAX", "Reader", "Stored", "Writer", "is_path", "read_layout"]

MEMBERS_MAX = 200_000
_DIRECTORY_MAX = 64 * 1024 * 1024
_PIECE = 1024 * 1024
_FULL = 0xFFFFFFFF
_FULL_COUNT = 0xFFFF
_PATH_MAX = 240

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_TIME, _DATE = 0, 0x21
"""1980-01-01 00:00, the first there is: one set of members is one file."""
_MADE_BY = (3 << 8) | 45
"""Unix, version 4.5."""
_MODE = 0o100644 << 16

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def is_path(name: str) -> bool:
    """Whether a member may be called so: letters, digits, dots, dashes, underscores; no part begins with a dot."""
    return len(name) <= _PATH_MAX and _PATH.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Stored:
    """One member and where it is."""

    name: str
    size: int
    crc: int
    offset: int
    """Where its header begins."""

    @property
    def header(self) -> bytes:
        """What stands before its bytes."""
        name, large = self.name.encode(), self.size >= _FULL
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.size) if large else b""
        size = _FULL if large else self.size
        fixed = _LOCAL.pack(b"PK\3\4", _needed(large), 0, 0, _TIME, _DATE, self.crc, size, size, len(name), len(extra))
        return fixed + name + extra

    @property
    def start(self) -> int:
        """Where its bytes begin."""
        return self.offset + len(self.header)

    @property
    def end(self) -> int:
        """Where its bytes end, and the next member begins."""
        return self.start + self.size

    @property
    def entry(self) -> bytes:
        """Its line in the directory."""
        name, large, far = self.name.encode(), self.size >= _FULL, self.offset >= _FULL
        wide = ([self.size, self.size] if large else []) + ([self.offset] if far else [])
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        size = _FULL if large else self.size
        fixed = _ENTRY.pack(
            b"PK\1\2", _MADE_BY, _needed(large or far), 0, 0, _TIME, _DATE, self.crc, size, size,
            len(name), len(extra), 0, 0, 0, _MODE, _FULL if far else self.offset,
        )  # fmt: skip
        return fixed + name + extra


def _needed(wide: bool) -> int:
    return 45 if wide else 20


def _end(count: int, size: int, offset: int) -> bytes:
    """What stands behind the directory."""
    wide = b""
    if count >= _FULL_COUNT or size >= _FULL or offset >= _FULL:
        wide = _END64.pack(b"PK\6\6", _END64.size - 12, _MADE_BY, 45, 0, 0, count, count, size, offset)
        wide += _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    few, short, near = min(count, _FULL_COUNT), min(size, _FULL), min(offset, _FULL)
    return wide + _END.pack(b"PK\5\6", 0, 0, few, few, short, near, 0)


class Writer:
    """Writes members one after another into a file that can be sought in."""

    def __init__(self, file: IO[bytes]) -> None:
        """See the class. The file is empty."""
        self._file = file
        self._members: list[Stored] = []

    def add(self, name: str, size: int, pieces: Iterable[bytes], seen: Callable[[bytes], object]) -> None:
        """Write a member.

        Args:
            name: Its path.
            size: How many bytes it has.
            pieces: They, of any length.
            seen: Told each piece.

        Raises:
            EvidenceError: It is no path, or there are more or fewer bytes.
        """
        if not is_path(name):
            raise EvidenceError("no name for a member of a bundle", resource=repr(name))
        offset = self._members[-1].end if self._members else 0
        self._file.write(Stored(name, size, 0, offset).header)
        written = crc = 0
        for piece in pieces:
            self._file.write(piece)
            seen(piece)
            crc, written = crc32(piece, crc), written + len(piece)
        if written != size:
            raise EvidenceError(f"has {written:,} bytes, and had {size:,} just before", resource=name)
        made = Stored(name, size, crc, offset)
        self._file.seek(offset)
        self._file.write(made.header)
        self._file.seek(made.end)
        self._members.append(made)

    def end(self) -> None:
        """Write the directory."""
        offset = self._members[-1].end if self._members else 0
        size = 0
        for member in self._members:
            size += self._file.write(member.entry)
        self._file.write(_end(len(self._members), size, offset))


class Reader(Protocol):
    """Bytes that can be read from anywhere."""

    size: int

    def at(self, offset: int, size: int) -> bytes:
        """So many bytes from there; fewer only where there are no more. Raises EvidenceError."""


def read_layout(file: Reader) -> list[Stored]:
    """The members of a file, in order.

    Raises:
        EvidenceError: It is no ZIP file of this one form.
    """
    count, size, offset = _directory(file)
    expected_end = _end(count, size, offset)
    if offset + size + len(expected_end) != file.size or file.at(offset + size, len(expected_end)) != expected_end:
        raise _other("the end of its directory is another")
    data = file.at(offset, size)
    members: list[Stored] = []
    at = next_offset = 0
    for _ in range(count):
        member = _parsed(data, at)
        if member.offset != next_offset or data[at : at + len(member.entry)] != member.entry:
            raise _other(f"the entry of {member.name} in its directory is another, or has bytes before it")
        if file.at(member.offset, len(member.header)) != member.header:
            raise _other(f"the header of {member.name} is not what the directory says")
        at, next_offset = at + len(member.entry), member.end
        members.append(member)
    if at != len(data) or next_offset != offset:
        raise _other("there are bytes that belong to no member")
    names = [member.name.casefold() for member in members]
    if len(set(names)) != len(names):
        raise _other("two members have one name, or names that differ in case only")
    return members


def _other(what: str) -> EvidenceError:
    return EvidenceError(f"not a ZIP file as exitdrill writes one: {what}", hint="ask for the file as it was made")


def _directory(file: Reader) -> tuple[int, int, int]:
    """How many members, how long the directory is, and where; all of it to be checked."""
    if file.size < _END.size:
        raise _other("it is too short")
    sign, _, _, _, count, size, offset, _ = _END.unpack(file.at(file.size - _END.size, _END.size))
    if sign != b"PK\5\6":
        raise _other("it does not end as one")
    if count == _FULL_COUNT or _FULL in (size, offset):
        length = _END64.size + _LOCATOR.size + _END.size
        if file.size < length:
            raise _other("it is too short")
        wide = _END64.unpack(file.at(file.size - length, _END64.size))
        count, size, offset = wide[7:]
    if count > MEMBERS_MAX or size > _DIRECTORY_MAX:
        raise _other(f"it says that it has {count:,} members; {MEMBERS_MAX:,} are taken")
    if offset + size > file.size:
        raise _other("its directory is said to lie outside")
    return count, size, offset


def _parsed(data: bytes, at: int) -> Stored:
    try:
        fields = _ENTRY.unpack_from(data, at)
    except struct.error as exc:
        raise _other("its directory is cut off") from exc
    crc, size, name_length, extra_length, offset = fields[7], fields[9], fields[10], fields[11], fields[16]
    begin = at + _ENTRY.size
    name = data[begin : begin + name_length].decode("ascii", "replace")
    if not is_path(name):
        raise _other("a member has a name that none may have: only letters, digits, dots, dashes and underscores")
    extra = data[begin + name_length : begin + name_length + extra_length]
    wide = list(_wide(extra))
    if size == _FULL and len(wide) > 1:
        size, wide = wide[0], wide[2:]
    if offset == _FULL and wide:
        offset = wide[0]
    return Stored(name, size, crc, offset)


def _wide(extra: bytes) -> Iterator[int]:
    """The numbers in a ZIP64 field; what else may be there, the comparison finds."""
    for at in range(4, len(extra) - 7, 8):
        yield int.from_bytes(extra[at : at + 8], "little")
