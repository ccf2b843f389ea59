"""What holds of keys in the vault, and of the files that objects become, whatever the keys."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitdrill.connector.capabilities import KeyRule
from exitdrill.errors import DigestError, RunError, UsageError
from exitdrill.testing.keys import keys
from exitdrill.transfer.tree import Exported, Tree, save
from exitdrill.transfer.vaultkeys import object_key, pack_key, parsed

_LIKE_OURS = st.builds(
    str.__add__, st.sampled_from(["packs/", "keys/", "keys/keys/", "by-sha256/", "pack", ""]), keys()
)
_RULES = st.sampled_from([KeyRule(max_bytes=64 * 1024), KeyRule(), KeyRule(case_sensitive=False, dot_segments=False)])


def _names(folder: Path | str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def _exported(key: str | None, data: bytes, hashed: str | None = None) -> Exported:
    hashed = hashlib.sha256((key or "").encode()).hexdigest() if hashed is None else hashed
    return Exported(key, hashed, len(data), hashlib.sha256(data).digest(), None, None, "{}")


@given(_LIKE_OURS, _LIKE_OURS, _RULES)
def test_no_key_stands_where_another_does(key: str, other: str, rules: KeyRule) -> None:
    """Two objects never share a place in the vault, none stands where a pack can, and the key can be read back."""
    where = object_key(key, rules)
    assert not parsed(where).pack
    assert parsed(where).key in (key, None)
    assert parsed(where).hashed == hashlib.sha256(key.encode()).hexdigest()
    if parsed(where).key is None:
        assert rules.violations(where) == ()
    if other != key:
        assert object_key(other, rules) != where


@given(st.integers(1, 10**9), st.text("0123456789abcdef", min_size=1, max_size=16))
def test_packs_are_known_by_their_key(part: int, mark: str) -> None:
    """A pack's key says that it is one, and two packs never share one."""
    assert parsed(pack_key(part, mark)).pack
    assert pack_key(part, mark) != pack_key(part, mark + "0")


@given(st.lists(keys(), unique=True, max_size=12), st.sampled_from(["hash", "key"]))
@settings(deadline=None, max_examples=60)
def test_every_key_becomes_a_file_inside_the_folder(names: list[str], naming: str) -> None:
    """Whatever the keys and their order: each has one file, all are inside, none is a link, the manifest is right."""
    with tempfile.TemporaryDirectory() as outer:
        to = Path(outer) / "to"
        with Tree(to, naming) as tree:
            for name in names:
                tree.add(_exported(name, name.encode()), (name.encode(),))
            tree.finish()
        assert _names(outer) == ["to"]
        lines = [json.loads(line) for line in (to / "manifest.jsonl").read_bytes().split(b"\n") if line]
        assert [line["key"] for line in lines] == names
        assert len({line["path"] for line in lines}) == len(names)
        for line in lines:
            path = to / line["path"]
            assert path.resolve().is_relative_to(to.resolve())
            assert not path.is_symlink()
            assert path.read_bytes() == line["key"].encode()


@pytest.mark.parametrize("naming", ["hash", "key"])
def test_links_in_the_folder_are_not_followed(naming: str, tmp_path: Path) -> None:
    """Somebody who can write to the folder puts links where directories and files will be: nothing is written there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"theirs")
    with Tree(tmp_path / "to", naming) as tree:
        (tmp_path / "to" / "keys").mkdir()
        (tmp_path / "to" / "keys" / "a").symlink_to(outside)
        (tmp_path / "to" / "keys" / "b").symlink_to(outside / "file")
        for key in ("a/x", "b", "a"):
            assert tree.add(_exported(key, b"ours"), (b"ours",)).startswith("objects/")
    assert _names(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"theirs"


def test_a_link_for_the_folder_of_hashed_names(tmp_path: Path) -> None:
    """Where no harmless name is left, writing fails."""
    with Tree(tmp_path / "to") as tree:
        (tmp_path / "to" / "objects").symlink_to(tmp_path)
        with pytest.raises(RunError, match="Not a directory"):
            tree.add(_exported("a", b"x"), (b"x",))
    assert _names(tmp_path) == ["to"]


def test_a_hashed_name_is_one(tmp_path: Path) -> None:
    """A name that is no SHA-256 never becomes a path."""
    with Tree(tmp_path / "to") as tree, pytest.raises(ValueError, match="no SHA-256"):
        tree.add(_exported(None, b"x", hashed="../../x"), (b"x",))
    assert _names(tmp_path) == ["to"]


def test_the_same_object_twice(tmp_path: Path) -> None:
    """The same bytes under the same key come once; other bytes under it stay apart."""
    with Tree(tmp_path / "to") as tree:
        paths = [tree.add(_exported("a", data), (data,)) for data in (b"x", b"x", b"y", b"y")]
        assert tree.objects == 2
        tree.finish()
    hashed = f"objects/ca/{hashlib.sha256(b'a').hexdigest()}"
    assert paths == [hashed, hashed, f"{hashed}.2", f"{hashed}.2"]


def test_nothing_is_left_of_what_is_wrong(tmp_path: Path) -> None:
    """Bytes that end with an error leave no file, and no manifest says that all is well."""

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise DigestError("wrong")

    with Tree(tmp_path / "to") as tree, pytest.raises(DigestError):
        tree.add(_exported("a", b"x"), chunks())
    assert [p.name for p in (tmp_path / "to").rglob("*") if p.is_file()] == ["manifest.jsonl.new"]
    with pytest.raises(DigestError):
        save(tmp_path / "file", chunks())
    assert _names(tmp_path) == ["to"]
    with pytest.raises(UsageError, match="not empty"):
        Tree(tmp_path / "to")
