"""The commands that the documentation shows work as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exitdrill.cli.main import app

_ROOT = Path(__file__).parents[2]
_PAGES = ["README.md", "docs/for-operators.md", "docs/for-auditors.md"]
_FENCE = re.compile(r"^```(sh|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _commands(page: str, kind: str) -> list[str]:
    blocks = [body for found, body in _FENCE.findall((_ROOT / page).read_text()) if found == kind]
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["README.md", "docs/for-operators.md"])
def test_commands_shown_run_in_order(page: str, tmp_path: Path, azurite_installed: None) -> None:
    """Each ``sh`` block, line by line, in a folder that holds the drills and playbooks; `make drill` CI runs itself."""
    for name in ("drills", "playbooks", "policies", "schemas"):
        shutil.copytree(_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("vault", "runs"))
    drill = tmp_path / "drills" / "rehearsal.yaml"  # less made-up data: CI runs all of it with `make drill`
    text, cut = re.subn(r"objects: \d+, bytes_max: \d+", "objects: 60, bytes_max: 20000", drill.read_text())
    assert cut == 2
    drill.write_text(text)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands = [line for line in _commands(page, "sh") if not line.startswith("make ")]
    assert commands
    for command in commands:
        done = subprocess.run(
            command.split(), cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", _PAGES)
def test_other_commands_shown_are_understood(page: str) -> None:
    """Each exitdrill command in a ``console`` block is one the program takes, options and all."""
    import shlex

    for line in _commands(page, "console"):
        words = shlex.split(line)
        if words[0] == "exitdrill":
            app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_make_targets_shown_exist() -> None:
    """Each ``make`` command shown is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        line.split()[1]
        for page in _PAGES
        for kind in ("sh", "console")
        for line in _commands(page, kind)
        if line.startswith("make ")
    }
    assert shown
    assert shown <= targets
