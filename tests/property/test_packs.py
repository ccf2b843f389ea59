"""What holds of packs whatever the objects: any tar gets them out, and no damage goes unseen."""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exitdrill.errors import DigestError, InvalidKeyError
from exitdrill.testing.keys import keys
from exitdrill.transfer.packs import INDEX, PackBuilder, PackFacts, member_name, read_pack

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as asked
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_HOSTILE = (
    "../../etc/passwd",
    "/etc/passwd",
    "a\nb=c\n12 path=evil\n",
    "a",
    "a/",
    "a/b",
    "a//b",
    ".",
    "..",
    "😀" * 256,
    "x" * 1024,
    "key=with=equals",
    "A",
    "e\u0301",
    "\u00e9",
    "nul\0inside",
    "index.jsonl",
)


@st.composite
def _objects(draw: st.DrawFn) -> list[tuple[PackFacts, bytes]]:
    names = draw(st.lists(st.one_of(keys(), st.sampled_from(_HOSTILE), _TEXT), max_size=8, unique=True))
    return [(draw(_facts(name)), draw(st.binary(max_size=1500))) for name in names]


def _facts(name: str) -> st.SearchStrategy[PackFacts]:
    envelopes = st.dictionaries(_TEXT, _TEXT, max_size=3).map(json.dumps)
    return st.builds(
        PackFacts, st.just(name), st.none() | _MOMENTS, st.none() | _TEXT, st.none(), st.just("{}") | envelopes
    )


def _packed(objects: list[tuple[PackFacts, bytes]]) -> tuple[bytes, list[int]]:
    builder = PackBuilder()
    offsets = [builder.add(data, facts) for facts, data in objects]
    assert builder.members == len(objects)
    return bytes(builder.finish()), offsets


def _some() -> list[tuple[PackFacts, bytes]]:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    return [
        (PackFacts("a\nb=😀", moment, "0x8D", None, '{"content_type": "text/plain"}'), b"hello" * 30),
        (PackFacts("../empty", None, None, None), b""),
        (PackFacts("old", _EPOCH - timedelta(seconds=1, microseconds=1), "", None), bytes(600)),
    ]


@given(_objects(), st.integers(1, 4000))
@settings(deadline=None, max_examples=150)
def test_what_goes_in_comes_out(objects: list[tuple[PackFacts, bytes]], piece: int) -> None:
    """All comes back as it went in, however the pack is cut into pieces; bytes begin at the offset returned."""
    pack, offsets = _packed(objects)
    found = list(read_pack(pack[at : at + piece] for at in range(0, len(pack), piece)))
    assert [(m.offset, m.data) for m in found] == [(o, d) for o, (_, d) in zip(offsets, objects, strict=True)]
    for member, (facts, data) in zip(found, objects, strict=True):
        sent = (facts.key, facts.modified, facts.etag, facts.envelope)
        assert (member.facts.key, member.facts.modified, member.facts.etag, member.facts.envelope) == sent
        assert member.facts.sha256 == hashlib.sha256(data).digest()
        assert pack[member.offset : member.offset + len(data)] == data


@given(_objects())
@settings(deadline=None, max_examples=100)
def test_tarfile_reads_it(objects: list[tuple[PackFacts, bytes]]) -> None:
    """Python's own reader finds every object under its hashed name, with its bytes and its key byte for byte."""
    pack, _ = _packed(objects)
    with tarfile.open(fileobj=io.BytesIO(pack), mode="r:") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [*(member_name(facts.key) for facts, _ in objects), INDEX]
        assert all(m.isreg() and m.mode == 0o600 for m in members)
        for member, (facts, data) in zip(members, objects, strict=False):
            file = tar.extractfile(member)
            assert file is not None
            assert file.read() == data
            assert member.pax_headers["EXITDRILL.key"] == facts.key
            assert member.pax_headers["EXITDRILL.sha256"] == hashlib.sha256(data).hexdigest()
            assert member.pax_headers.get("EXITDRILL.etag") == facts.etag
            assert json.loads(member.pax_headers.get("EXITDRILL.envelope", "{}")) == json.loads(facts.envelope)
            if facts.modified is not None:
                assert abs(float(member.mtime) - facts.modified.timestamp()) < 0.001


@given(_objects())
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_gnu_tar_unpacks_it(objects: list[tuple[PackFacts, bytes]]) -> None:
    """GNU tar unpacks every object, byte for byte, and nothing but hashed names and the index, whatever the keys."""
    pack, _ = _packed(objects)
    with tempfile.TemporaryDirectory() as folder:
        command = ["tar", "--warning=no-unknown-keyword", "--warning=no-timestamp", "-xf", "-"]
        done = subprocess.run(command, cwd=folder, input=pack, capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        found = {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    index = found.pop(INDEX)
    assert found == {member_name(facts.key): data for facts, data in objects}
    lines = [json.loads(line) for line in index.splitlines()]
    assert [line["key"] for line in lines[:-1]] == [facts.key for facts, _ in objects]
    for line in lines[:-1]:
        data = pack[line["offset"] : line["offset"] + line["size"]]
        assert data == found[line["name"]]
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
    assert lines[-1]["members"] == len(objects)


def test_every_flipped_byte_is_seen() -> None:
    """Whichever single byte of a pack is altered, in data, headers, records, index or padding, reading raises."""
    pack, _ = _packed(_some())
    assert len(list(read_pack([pack]))) == 3
    for at in range(len(pack)):
        flip = 0x20 if at % 2 else 0x01
        damaged = bytearray(pack)
        damaged[at] ^= flip
        with pytest.raises(DigestError, match=r"at byte \d+"):
            list(read_pack([bytes(damaged)], "packs/1"))


def test_a_pack_cut_short_or_grown_is_seen() -> None:
    """A pack without its last bytes, or with bytes after its end, is refused at whatever length."""
    pack, _ = _packed(_some())
    for length in range(0, len(pack), 97):
        with pytest.raises(DigestError, match="early"):
            list(read_pack([pack[:length]]))
    with pytest.raises(DigestError, match="after the end"):
        list(read_pack([pack, b"", b"\0"]))


def test_objects_before_the_damage_are_given() -> None:
    """What stands before the damaged place still comes out, checked."""
    objects = _some()
    pack, offsets = _packed(objects)
    damaged = bytearray(pack)
    damaged[offsets[2] + 5] ^= 1
    found = read_pack([bytes(damaged)])
    assert [next(found).facts.key, next(found).facts.key] == [objects[0][0].key, objects[1][0].key]
    with pytest.raises(DigestError, match="not those that were put there"):
        next(found)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, b"g"])
def test_links_and_the_like_are_refused(kind: bytes) -> None:
    """An archive with a link, a directory or a device in it is no pack."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("objects/" + "0" * 64)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(DigestError, match="not a file"):
        list(read_pack([made.getvalue()]))


def test_other_archives_are_refused() -> None:
    """A tar that another program wrote is refused even where all of it is in order, and so is an endless header."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(member_name("a"))
        info.size, info.pax_headers = 1, {"EXITDRILL.key": "a", "EXITDRILL.sha256": hashlib.sha256(b"x").hexdigest()}
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DigestError, match="does not write"):
        list(read_pack([made.getvalue()]))
    huge = tarfile.TarInfo("PaxHeaders/x")
    huge.type, huge.size = tarfile.XHDTYPE, 2**30
    with pytest.raises(DigestError, match="a size of"):
        list(read_pack([huge.tobuf(tarfile.USTAR_FORMAT)]))


def test_limits() -> None:
    """A pack is full from its limit on, and a key that is no Unicode is refused."""
    builder = PackBuilder(limit_bytes=4096)
    full = [builder.full]
    for name in ("a", "b"):
        builder.add(memoryview(bytes(2000)), PackFacts(name, None, None, None))
        full.append(builder.full)
    assert full == [False, False, True]
    assert builder.size > 4096
    with pytest.raises(InvalidKeyError):
        builder.add(b"", PackFacts("\ud800", None, None, None))
