"""A connector by somebody else: built, installed apart, found by its entry point, held to the shipped suite."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the shelf unpacked: what ``pip install --target`` leaves."""
    work = tmp_path_factory.mktemp("shelf")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work / "dist")]
    subprocess.run(build, cwd=HERE, check=True, capture_output=True, timeout=120)
    (wheel,) = (work / "dist").glob("exitdrill_shelf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "site")
    return work / "site"


def _python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=installed,
    )


def test_passes_the_shipped_suite(installed: Path) -> None:
    """The suite runs in the author's own pytest, on the installed package, and nothing is skipped."""
    suite = installed.parent / "test_conformance.py"
    suite.write_text((HERE / "shelf_conformance.py").read_text())
    done = _python(
        installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist", str(suite)
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout
    assert int(done.stdout.strip().splitlines()[-1].split()[0]) > 60


def test_is_known_only_where_it_is_installed(installed: Path) -> None:
    """With the package on the path its name is known; without it, the error says which names are."""
    program = "from exitdrill.connector.registry import connector; print(connector('shelf').title)"
    done = _python(installed, "-c", program)
    assert done.stdout == "One SQLite file\n", done.stderr
    without = _python(installed.parent, "-c", program)
    assert without.returncode != 0
    assert "no connector is called 'shelf'" in without.stderr
    assert "local" in without.stderr
