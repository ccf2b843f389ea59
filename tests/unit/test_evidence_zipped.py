"""ZIP files of one form: what other tools make of them, and what is not taken."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable

import pytest

from exitdrill.errors import EvidenceError
from exitdrill.evidence import zipped
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.zipped import Stored, Writer, is_path, read_layout

_MEMBERS = {"r/a.txt": b"one", "r/b/c.txt": b"", "r/d.bin": bytes(range(256))}


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


def _made(members: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for name, data in (_MEMBERS if members is None else members).items():
        writer.add(name, len(data), (data[:1], data[1:]), len)
    writer.end()
    return file.getvalue()


def _layout(data: bytes) -> list[Stored]:
    return read_layout(_Bytes(data))


def test_python_reads_what_is_written() -> None:
    """Names, bytes and CRC-32 by zipfile; and the layout knows where each is."""
    data = _made()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == _MEMBERS
    assert {member.name: data[member.start : member.end] for member in _layout(data)} == _MEMBERS
    assert _layout(_made({})) == []


def test_more_than_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZIP64, in small: fields beyond a limit go into extra fields, which zipfile understands."""
    monkeypatch.setattr(zipped, "_FULL_COUNT", 2)
    data = _made()
    with pytest.raises(EvidenceError):
        _layout(data.replace(b"PK\6\6", b"PK\6\7"))
    assert b"PK\6\6" in data
    assert [member.name for member in _layout(data)] == list(_MEMBERS)
    large = Stored("r/x", 5 * 1024**3, 7, 6 * 1024**3)
    with zipfile.ZipFile(io.BytesIO(_sparse(large))) as file:
        (info,) = file.infolist()
        assert (info.file_size, info.header_offset, info.CRC) == (large.size, large.offset - large.offset, 7)


def _sparse(member: Stored) -> bytes:
    """A directory with one line of a large member, which zipfile takes to lie in front."""
    near = Stored(member.name, member.size, member.crc, 0)
    return near.entry + zipped._end(1, len(near.entry), 0)


def test_a_large_file() -> None:
    """A member of more than 4 GiB, of holes: written and read by offset, never in memory."""
    member = Stored("r/x", 2**32 + 5, 0, 0)
    after = Stored("r/y", 3, 1, member.end)

    class Sparse:
        size = 0

        def __init__(self) -> None:
            directory = member.entry + after.entry
            offset = after.end
            self._pieces = {
                0: member.header,
                after.offset: after.header,
                offset: directory,
                offset + len(directory): zipped._end(2, len(directory), offset),
            }
            self.size = offset + len(directory) + len(zipped._end(2, len(directory), offset))

        def at(self, offset: int, size: int) -> bytes:
            for start, piece in self._pieces.items():
                if start <= offset < start + len(piece):
                    return piece[offset - start :][:size]
            tail = b"".join(self._pieces[start] for start in sorted(self._pieces)[2:])
            return tail[len(tail) - (self.size - offset) :][:size]

    assert read_layout(Sparse()) == [member, after]


def test_names() -> None:
    """Only what is the same everywhere."""
    for name in ("a", "a/b", "a-b_c.d/e", "_"):
        assert is_path(name), name
    for name in ("", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a\\b", "a b", "é", "a\n", "C:a", "a" * 300):
        assert not is_path(name), name
    with pytest.raises(EvidenceError, match="no name for a member"):
        Writer(io.BytesIO()).add("../x", 0, (), len)


def _by_python(change: Callable[[zipfile.ZipFile], None], **options: object) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as made:  # type: ignore[call-overload]
        for name, data in _MEMBERS.items():
            made.writestr(zipfile.ZipInfo(name), data)
        change(made)
    return file.getvalue()


def _link(made: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("r/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    made.writestr(info, "/etc/passwd")


def _named(name: str) -> Callable[[zipfile.ZipFile], None]:
    def add(made: zipfile.ZipFile) -> None:
        made.writestr(zipfile.ZipInfo(name), b"x")

    return add


def _deflated(made: zipfile.ZipFile) -> None:
    made.writestr("r/bomb", bytes(10_000_000), zipfile.ZIP_DEFLATED)


def _comment(made: zipfile.ZipFile) -> None:
    made.comment = b"hello"


_PYTHONS = {
    "as Python writes it": _by_python(lambda _made: None),
    "a link": _by_python(_link),
    "a path upwards": _by_python(_named("../../x")),
    "an absolute path": _by_python(_named("/etc/x")),
    "a backslash": _by_python(_named("r\\x")),
    "a bomb": _by_python(_deflated),
    "a comment": _by_python(_comment),
    "a folder": _by_python(_named("r/folder/")),
}


@pytest.mark.parametrize("data", _PYTHONS.values(), ids=_PYTHONS.keys())
def test_other_writers_files_are_not_taken(data: bytes) -> None:
    """Whatever is special about them."""
    with pytest.raises(EvidenceError, match="not a ZIP file as exitdrill writes one"):
        _layout(data)
    with pytest.raises(EvidenceError):
        OpenBundle.of(data)


def _twice(first: str, second: str) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for name in (first, second):
        writer.add(name, 1, (b"x",), len)
    writer.end()
    return file.getvalue()


def _patched(at: int, data: bytes) -> bytes:
    made = _made()
    return made[:at] + data + made[at + len(data) :]


_DIRECTORY = _made().index(b"PK\1\2")
_HOSTILE = {
    "nothing": b"",
    "a few bytes": b"PK\5\6",
    "only an end": _made({})[:-1],
    "bytes before": b"x" + _made(),
    "bytes behind": _made() + b"x",
    "bytes between": _made()[:_DIRECTORY] + b"x" + _made()[_DIRECTORY:],
    "cut off": _made()[:-5],
    "no end": _made()[:-22],
    "the same name twice": _twice("r/a", "r/a"),
    "names that differ in case": _twice("r/a", "r/A"),
    "encrypted, in the directory": _patched(_DIRECTORY + 8, b"\1"),
    "encrypted, at the member": _patched(6, b"\1"),
    "deflated, at the member": _patched(8, b"\x08"),
    "another size at the member": _patched(22, b"\4"),
    "another name at the member": _patched(30, b"r/z.txt"),
    "another size in the directory": _patched(_DIRECTORY + 24, b"\4"),
    "an offset elsewhere": _patched(_DIRECTORY + 42, b"\1"),
    "another disk": _patched(_DIRECTORY + 34, b"\1"),
    "a member's comment": _patched(_DIRECTORY + 32, b"\1"),
    "an extra field": _patched(_DIRECTORY + 30, b"\1"),
    "a mode": _patched(_DIRECTORY + 40, b"\xff"),
    "many members": _made()[:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 60000, 60000, 100, _DIRECTORY, 0),
    "a directory far away": _made()[:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, 100, 2**31, 0),
    "a huge directory": _made()[:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, 2**31, 0, 0),
    "64 bits without the record": _made()[:-22]
    + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0),
    "a long comment": _made()[:-2] + struct.pack("<H", 5) + b"hello",
}


@pytest.mark.parametrize("data", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_hostile_files_are_not_taken(data: bytes) -> None:
    """Each of them is another file than the one form there is."""
    with pytest.raises(EvidenceError, match="not a ZIP file as exitdrill writes one"):
        _layout(data)


def test_every_bit_counts() -> None:
    """Flip any bit of the structure: another layout, or none; in the members' bytes the CRC-32 is left to tell."""
    data = _made()
    whole = _layout(data)
    inside = {at for member in whole for at in range(member.start, member.end)}
    for at in set(range(len(data))) - inside:
        for bit in range(8):
            with pytest.raises(EvidenceError):
                _layout(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])


def test_a_file_that_grew_while_it_was_copied() -> None:
    """More or fewer bytes than it had: the bundle is not made."""
    for pieces in ((b"12",), (b"1234",)):
        with pytest.raises(EvidenceError, match="bytes, and had 3 just before"):
            Writer(io.BytesIO()).add("r/a", 3, pieces, len)
