"""Verification on another machine, as far as one machine can show it: a fresh environment, no network, no run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sealed import Sealed, flip

_ROOT = Path(__file__).parents[2]
_NO_SOCKETS = """\
import socket
def refuse(*_arguments, **_options):
    raise OSError("there is no network in this test")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""


def _uv() -> str:
    noted = _ROOT / ".tools" / "uv-path"
    found = noted.read_text().strip() if noted.exists() else shutil.which("uv")
    if found and not Path(found).is_absolute():
        found = str(_ROOT / found)
    if not found:
        if os.environ.get("EXITDRILL_REQUIRE_ALL"):
            pytest.fail("uv is missing: make setup")
        pytest.skip("uv is missing: make setup")
    return found


def _run(*words: object, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [str(word) for word in words], capture_output=True, text=True, timeout=250, check=False, **options
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The program in an environment of its own, without extras, cut off from the network."""
    work, uv = tmp_path_factory.mktemp("elsewhere"), _uv()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "dist"]
    steps = [
        (build, _ROOT),
        ([uv, "venv", "--quiet", "--python", sys.executable, work / "venv"], work),
        ([uv, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project",
          "-o", work / "requirements.txt"], _ROOT),
        ([uv, "pip", "install", "--quiet", "--python", work / "venv" / "bin" / "python", "--require-hashes",
          "-r", work / "requirements.txt"], work),
    ]  # fmt: skip
    for words, where in steps:
        done = _run(*words, cwd=where)
        assert done.returncode == 0, done.stderr
    (wheel,) = (work / "dist").glob("*.whl")
    done = _run(uv, "pip", "install", "--quiet", "--no-deps", "--python", work / "venv" / "bin" / "python", wheel)
    assert done.returncode == 0, done.stderr
    (site,) = (work / "venv" / "lib").glob("python*/site-packages")
    (site / "sitecustomize.py").write_text(_NO_SOCKETS)
    apart = ["unshare", "-rn"]
    able = shutil.which("unshare") is not None and _run(*apart, "true").returncode == 0
    return [*(apart if able else []), str(work / "venv" / "bin" / "exitdrill")]


def _verify(program: list[str], bundle: Path, sealed: Sealed, home: Path) -> "subprocess.CompletedProcess[str]":
    keys = [f"--key={sealed.folder / name}.pem.pub" for name in ("a", "b")]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return _run(*program, "verify", bundle, *keys, f"--tsa-root={sealed.root}", "--json", cwd=home, env=environ)


def test_it_verifies_there(program: list[str], sealed: Sealed, tmp_path: Path) -> None:
    """The file, the keys and the authority's certificate: nothing else is needed."""
    bundle = tmp_path / "e.zip"
    bundle.write_bytes(sealed.bundle)
    done = _verify(program, bundle, sealed, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["verified"]
    assert {row["result"] for row in facts["checks"]} == {"checked", "not checked"}


def test_a_flipped_bit_is_found_there(program: list[str], sealed: Sealed, tmp_path: Path) -> None:
    """Exit code 5."""
    bundle = tmp_path / "e.zip"
    bundle.write_bytes(flip(sealed.bundle, len(sealed.bundle) // 2))
    done = _verify(program, bundle, sealed, tmp_path)
    assert done.returncode == 5, done.stderr
    assert not json.loads(done.stdout)["verified"]
