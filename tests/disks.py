"""A drill between three directories: its file, what is at its source, and carrying it out as a user does."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.model.objects import Envelope
from exitdrill_local import LocalProvider

__all__ = ["PLAYBOOK", "carry_out", "fill_source", "write_drill"]

PLAYBOOK = Path(__file__).parents[1] / "playbooks" / "plan-b.yaml"
_DRILL = """\
exitdrill: 1
name: from-disk-to-disk
playbook: {playbook}
mode: rehearsal
keep: {keep}
objectives: {{rto: 20m, rpo: 20m}}
places:
  source: {{connector: local, path: ./source}}
  vault: {{connector: local, path: ./vault}}
  target: {{connector: local, path: ./target}}
route: {{source: source, vault: vault, target: target}}
assets:
  - {{name: case-files, kind: objects, source: {{container: files}}, target: {{bucket: files}}, verify: full}}
{more}"""


def write_drill(folder: Path, *, keep: bool, playbook: Path = PLAYBOOK, more: str = "") -> Path:
    """Write ``drill.yaml``; ``more`` is YAML at its end."""
    path = folder / "drill.yaml"
    path.write_text(_DRILL.format(playbook=playbook, keep=str(keep).lower(), more=more))
    return path


def fill_source(folder: Path, objects: Mapping[str, bytes], user: Callable[[int, str], tuple[str, str]]) -> None:
    """Put objects at the source; ``user`` gives the user metadata of each, by its number and key."""
    with LocalProvider("source", folder / "source") as source:
        source.ensure_container("files")
        with source.objects("files") as store:
            for n, (key, data) in enumerate(objects.items()):
                envelope = Envelope(content_type="text/x", user=(user(n, key),))
                store.write(WriteRequest(key, BytesBody(data), envelope))
            store.flush()


def carry_out(folder: Path) -> None:
    """``exitdrill run``, which must end well."""
    command = [sys.executable, "-m", "exitdrill.cli.main", "run", "drill.yaml", "--no-prefect"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
