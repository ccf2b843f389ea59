"""The commands that look into a vault, on a drill between three directories that was really carried out."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from disks import carry_out, fill_source, write_drill
from exitdrill.cli import main
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill_local.layout import README

_LARGE = {"packs/large": b"not a pack" * 150_000, "keys/large": bytes(1_500_000), "large/€.bin": os.urandom(1_200_000)}
_SMALL = {key: f"{n}: {key}".encode() for n, key in enumerate(HOSTILE_KEYS)} | {"empty": b"", "packs/1": b"x" * 512}
_OBJECTS = _LARGE | _SMALL


@dataclass(frozen=True)
class _Held:
    """A folder with a run that is complete and a vault that was kept."""

    folder: Path

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    @property
    def container(self) -> Path:
        (found,) = self.vault.glob("*/container.json")
        return found.parent

    def data_file(self, key: str) -> Path:
        hashed = hashlib.sha256(key.encode()).hexdigest()
        (found,) = (p for p in self.container.glob(f"{hashed[:2]}/{hashed}.*") if p.suffix != ".json")
        return found

    @property
    def pack(self) -> Path:
        keys = [json.loads(p.read_text())["key"] for p in self.container.glob("*/*.json")]
        (found,) = [key for key in keys if key.startswith("packs/")]
        return self.data_file(found)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> _Held:
    folder = tmp_path_factory.mktemp("held")
    write_drill(folder, keep=True)
    fill_source(folder, _OBJECTS, lambda _n, _key: ("k", "é"))
    carry_out(folder)
    return _Held(folder)


@pytest.fixture
def vault(held: _Held, monkeypatch: pytest.MonkeyPatch) -> _Held:
    monkeypatch.chdir(held.folder)
    return held


@contextmanager
def _damaged(file: Path, at: int) -> Iterator[None]:
    """One bit of a file is flipped, and flipped back."""

    def flip() -> None:
        with file.open("r+b") as opened:
            opened.seek(at)
            byte = opened.read(1)[0]
            opened.seek(at)
            opened.write(bytes([byte ^ 1]))

    flip()
    try:
        yield
    finally:
        flip()


def _names(folder: Path | str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def _ls(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main.run(["vault", "ls", "last", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def _files(folder: Path) -> set[str]:
    found = [p for p in folder.rglob("*") if not p.is_dir()]
    assert all(p.is_file() and not p.is_symlink() for p in found)
    return {str(p.relative_to(folder)) for p in found} - {"manifest.jsonl"}


def _check_tree(folder: Path) -> None:
    """Manifest and files agree with each other and with what was at the source, object for object."""
    lines = _manifest(folder)
    assert sorted(line["key"] for line in lines) == sorted(_OBJECTS)
    assert {line["path"] for line in lines} == _files(folder)
    for line in lines:
        data = (folder / line["path"]).read_bytes()
        assert data == _OBJECTS[line["key"]]
        assert (line["size"], line["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert line["envelope"]["user"] == {"k": "é"}
        assert "problem" not in line


# ls


def test_ls_lists_what_the_source_had(vault: _Held, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key once, in order, with its size and digest; small ones are in a pack, large ones are not."""
    found = _ls(capsys)
    assert [one["key"] for one in found] == sorted(_OBJECTS)
    for one in found:
        data = _OBJECTS[one["key"]]
        assert (one["size"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert (one["vault_offset"] is None) == (one["key"] in _LARGE)
    pack = vault.pack.read_bytes()
    for one in (one for one in found if one["vault_offset"] is not None):
        assert pack[one["vault_offset"] :][: one["size"]] == _OBJECTS[one["key"]]


def test_ls_by_prefix(vault: _Held, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the keys that begin so, byte for byte; and none for a prefix that nothing has."""
    for prefix in ("a", "a/", "../", "large/€", "\U0001f680", "zz-none"):
        assert [one["key"] for one in _ls(capsys, "--prefix", prefix)] == sorted(
            key for key in _OBJECTS if key.startswith(prefix)
        )


def test_ls_for_people(vault: _Held, capsys: pytest.CaptureFixture[str]) -> None:
    """One line an object whatever its key, no control character, and a sum on stderr."""
    assert main.run(["vault", "ls", "last", "--long"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == len(_OBJECTS)
    assert "\x07" not in shown.out
    assert f"{len(_OBJECTS)} objects" in shown.err
    assert hashlib.sha256(_SMALL["a//b"]).hexdigest() in shown.out


# get


@pytest.mark.parametrize("key", ["a", "a/", "../../etc/passwd", "new\nline", "empty", "packs/1", *_LARGE])
def test_get_gives_the_object(vault: _Held, key: str, tmp_path: Path, capfdbinary: Any) -> None:
    """To a file and to stdout, by the key or by its bytes in hexadecimal: exactly what was at the source."""
    assert main.run(["vault", "get", "last", key, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == _OBJECTS[key]
    assert _names(tmp_path) == ["out"]
    capfdbinary.readouterr()
    assert main.run(["vault", "get", "last", "--key-hex", key.encode().hex()]) == 0
    assert capfdbinary.readouterr().out == _OBJECTS[key]


def test_get_of_what_is_not_there(vault: _Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that the ledger does not have is exit 4; a command that does not say which, or no run, is exit 2."""
    assert main.run(["vault", "get", "last", "a/c", "-o", str(tmp_path / "out")]) == 4
    assert "no object with this key" in capsys.readouterr().err
    assert main.run(["vault", "get", "last"]) == 2
    assert main.run(["vault", "get", "last", "a", "--key-hex", "61"]) == 2
    assert main.run(["vault", "get", "last", "--key-hex", "zz"]) == 2
    assert main.run(["vault", "get", "last", "a", "--asset", "other"]) == 2
    assert main.run(["vault", "get", "nothing", "a"]) == 2
    assert main.run(["vault", "get", "last", "a", "-o", str(tmp_path / "no" / "out")]) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["a//b", "large/€.bin"])
def test_get_gives_nothing_that_is_damaged(vault: _Held, key: str, tmp_path: Path, capfdbinary: Any) -> None:
    """One bit flipped in the vault: exit 4, not a byte on stdout, and the file that was there stays as it was."""
    out = tmp_path / "out"
    out.write_bytes(b"before")
    file = vault.data_file(key) if key in _LARGE else vault.pack
    at = 700_000 if key in _LARGE else vault.pack.read_bytes().index(_SMALL[key])
    with _damaged(file, at):
        assert main.run(["vault", "get", "last", key, "-o", str(out)]) == 4
        assert main.run(["vault", "get", "last", key]) == 4
    said = capfdbinary.readouterr()
    assert said.out == b""
    assert b"not those that were put there" in said.err
    assert out.read_bytes() == b"before"
    assert _names(tmp_path) == ["out"]


# export


def test_export_by_hash(vault: _Held, tmp_path: Path) -> None:
    """Every object is a file under the SHA-256 of its key, and the manifest says which."""
    assert main.run(["vault", "export", "last", "--to", str(tmp_path / "tree")]) == 0
    _check_tree(tmp_path / "tree")
    for line in _manifest(tmp_path / "tree"):
        hashed = hashlib.sha256(line["key"].encode()).hexdigest()
        assert line["path"] == f"objects/{hashed[:2]}/{hashed}"
        seconds = (tmp_path / "tree" / line["path"]).stat().st_mtime
        assert abs(datetime.fromisoformat(line["modified"]) - datetime.fromtimestamp(seconds, UTC)).seconds == 0


def test_export_by_key(vault: _Held, tmp_path: Path) -> None:
    """Hostile keys become files inside the folder, all of them; plain ones keep their names."""
    assert main.run(["vault", "export", "last", "--to", str(tmp_path / "tree"), "--names", "key"]) == 0
    _check_tree(tmp_path / "tree")
    assert _names(tmp_path) == ["tree"]
    paths = {line["key"]: line["path"] for line in _manifest(tmp_path / "tree")}
    assert paths["large/€.bin"] == "keys/large/€.bin"
    assert paths["a"] == "keys/a"
    assert paths["x/../y"] == "keys/x/%2E%2E/y"
    assert paths["a/b"].startswith("objects/")  # keys/a is a file already
    assert all(not {"..", "."} & set(path.split("/")) for path in paths.values())


def test_export_from_the_folder_alone(vault: _Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any run, from packs and sidecars alone, come the same keys, bytes and metadata."""
    monkeypatch.chdir(tmp_path)
    assert main.run(["vault", "export", "--vault", str(vault.vault), "--to", "tree", "--names", "key"]) == 0
    _check_tree(tmp_path / "tree")


def test_export_of_some(vault: _Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a prefix only what begins so comes, with and without a ledger."""
    wanted = sorted(key for key in _OBJECTS if key.startswith("a/"))
    for n, source in enumerate((["last"], ["--vault", "vault"])):
        to = tmp_path / str(n)
        assert main.run(["vault", "export", *source, "--to", str(to), "--prefix", "a/", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["objects"] == len(wanted)
        assert sorted(line["key"] for line in _manifest(to)) == wanted


def test_export_brings_what_is_whole(vault: _Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object damaged: exit 4, the manifest names it, there is no file of it, and all others are there."""
    with _damaged(vault.data_file("keys/keys/large"), 1_000_000):
        for n, source in enumerate((["last"], ["--vault", "vault"])):
            assert main.run(["vault", "export", *source, "--to", str(tmp_path / str(n))]) == 4
            assert "1 object" in capsys.readouterr().err
            lines = {line["key"]: line for line in _manifest(tmp_path / str(n))}
            bad = lines.pop("keys/large")
            assert bad["path"] is None
            assert "not those that were put there" in bad["problem"]
            assert set(lines) == set(_OBJECTS) - {"keys/large"}
            assert _files(tmp_path / str(n)) == {line["path"] for line in lines.values()}


def test_export_from_a_damaged_pack(vault: _Held, tmp_path: Path) -> None:
    """What stands in a pack before the damage comes out without a ledger; with it, all but the damaged object does."""
    last = _ls_offsets(vault)[-1]
    with _damaged(vault.pack, last):
        assert main.run(["vault", "export", "--vault", "vault", "--to", str(tmp_path / "alone")]) == 4
        assert main.run(["vault", "export", "last", "--to", str(tmp_path / "ledger")]) == 4
    for name in ("alone", "ledger"):
        lines = _manifest(tmp_path / name)
        assert sum(line["path"] is not None for line in lines) == len(_OBJECTS) - 1
        (problem,) = [line["problem"] for line in lines if line["path"] is None]
        assert "not those that were put there" in problem


def _ls_offsets(vault: _Held) -> list[int]:
    """Where the objects of the pack begin, in order; empty ones left out."""
    done = subprocess.run(["tar", "-xOf", str(vault.pack), "index.jsonl"], capture_output=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    return [line["offset"] for line in lines if line["size"]]


def test_export_into_something(vault: _Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something in it is left alone, and so is a command that is not clear."""
    (tmp_path / "mine").write_text("mine")
    assert main.run(["vault", "export", "last", "--to", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert _names(tmp_path) == ["mine"]
    assert main.run(["vault", "export", "--to", str(tmp_path / "a")]) == 2
    assert main.run(["vault", "export", "last", "--vault", "vault", "--to", str(tmp_path / "a")]) == 2
    assert main.run(["vault", "export", "last", "--container", "x", "--to", str(tmp_path / "a")]) == 2
    assert main.run(["vault", "export", "--vault", "vault", "--container", "x", "--to", str(tmp_path / "a")]) == 2
    assert main.run(["vault", "export", "--vault", str(tmp_path), "--to", str(tmp_path / "a")]) == 2
    assert main.run(["vault", "export", "last", "--names", "other", "--to", str(tmp_path / "a")]) == 2


# without exitdrill


def _recipe(begin: str, end: str) -> list[str]:
    """The commands that the vault's README.txt gives between two of its sentences."""
    body = README.partition(begin)[2].partition(end)[0]
    assert body
    return [line[4:] for line in body.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("key", ["a//b", "caf\u00e9-composed", "$(id)", "../x"])
def test_the_readme_finds_an_object_in_a_pack(vault: _Held, key: str, tmp_path: Path) -> None:
    """The commands in the vault's README.txt, with another key in them, give the object's bytes with tar alone."""
    container = json.loads((vault.container / "container.json").read_text())["container"]
    commands = "\n".join(_recipe("An object that is in no file of its own", "To unpack"))
    quoted = key.replace("'", "'\\''")
    script = commands.replace("reports/2024 Q4.pdf", quoted).replace("case-files", container)
    assert script != commands
    done = subprocess.run(["sh", "-euc", script], cwd=vault.vault, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, _SMALL[key], b"")


def test_the_readme_unpacks_all_packs(vault: _Held, tmp_path: Path) -> None:
    """The commands in the vault's README.txt unpack every pack; the index leads from each key to its bytes."""
    container = json.loads((vault.container / "container.json").read_text())["container"]
    script = "\n".join(_recipe("To unpack", "The digests are")).replace("case-files", container)
    script = script.replace("/elsewhere", str(tmp_path))
    done = subprocess.run(["sh", "-euc", script], cwd=vault.vault, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [json.loads(line) for line in (tmp_path / "index.jsonl").read_text().splitlines()]
    found = {line["key"]: (tmp_path / line["name"]).read_bytes() for line in lines if "key" in line}
    assert found == _SMALL
