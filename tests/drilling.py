"""A folder with a drill in it: writing the file, running the command, and an outsider to check it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent / "drill"
_ROOT = _HERE.parents[1]
_LIMIT_SECONDS = 280

DRILL = """\
exitdrill: 1
name: {name}
playbook: {playbook}
mode: rehearsal
objectives: {{rto: 20m, rpo: 20m}}
{extra}
places:
  azure:
    connector: azure
    account: "${{env:AZURE_ACCOUNT}}"
    endpoint: "${{env:AZURE_ENDPOINT}}"
    key: "${{env:AZURE_KEY}}"
  vault: {{connector: local, path: ./vault}}
  aws:
    connector: s3
    endpoint: "${{env:S3_ENDPOINT}}"
    region: eu-central-1
    access_key_id: "${{env:S3_KEY_ID}}"
    secret_access_key: "${{env:S3_SECRET}}"
route: {{source: azure, vault: vault, target: aws}}
assets:
  - name: case-files
    kind: objects
    source: {{container: {container}}}
    target: {{bucket: {bucket}}}
    verify: {level}
    classification: sensitive
    {asset}
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Field:
    """A folder with a drill in it, and the servers it runs against."""

    folder: Path
    environ: Mapping[str, str]
    container: str
    bucket: str

    @property
    def drill(self) -> Path:
        return self.folder / "drill.yaml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def run(self) -> Path:
        """The newest run."""
        return max(p for p in self.runs.iterdir() if (p / "run.json").exists())

    def write(self, *, level: str = "attested", asset: str = "", extra: str = "", playbook: str | None = None) -> None:
        chosen = playbook or str(_ROOT / "playbooks" / "plan-b.yaml")
        text = DRILL.format(
            name="under-test",
            playbook=chosen,
            container=self.container,
            bucket=self.bucket,
            level=level,
            asset=asset,
            extra=extra,
        )
        self.drill.write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "exitdrill.cli.main", *arguments]

    def exitdrill(self, *arguments: str, limit_seconds: float = _LIMIT_SECONDS) -> Ended:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def outsider(self, *arguments: str) -> Ended:
        done = subprocess.run(
            [sys.executable, str(_HERE / "outsider.py"), *arguments],
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def read(self, name: str) -> Any:
        return json.loads((self.run / name).read_text())
