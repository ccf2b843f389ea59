"""A drill between three directories that was carried out, sealed in every way there is, and its bundle taken apart."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from authority import authority
from disks import PLAYBOOK, fill_source, write_drill
from exitdrill.evidence import dsse
from exitdrill.evidence.checking import Given, Report, Result, verify_bundle
from exitdrill.evidence.index import INDEX, INDEX_TYPE, PAYLOAD, TAG_FILES, Index, Member, tag_files
from exitdrill.evidence.keys import new_key
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer, open_key
from exitdrill.evidence.timestamps import load_roots
from exitdrill.evidence.zipped import Writer
from exitdrill.flow.compose import load
from exitdrill.plan.drill import DrillPlan
from exitdrill.playbook.conductor import LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import Run, RunOptions, declare

__all__ = ["Sealed", "apart", "carry_out", "failed", "flip", "index_of", "make_sealed", "together", "zipped"]

_EVIDENCE = """\
evidence:
  signers: [{{key: a.pem}}, {{key: b.pem}}]
  threshold: 2
  timestamps: {{url: "{url}", root: {root}}}
  approvers: {{sever: [ada.pem.pub]}}
"""
OBJECTS = {f"files/{n:02}.txt": f"the text of number {n}".encode() for n in range(12)}


@dataclass(frozen=True)
class Sealed:
    """A run that has ended, and what an auditor has of it."""

    folder: Path
    run: Path
    plan: DrillPlan
    root: Path
    """The certificate of the authority."""

    @property
    def bundle(self) -> bytes:
        return (self.run / "evidence.zip").read_bytes()

    @property
    def signers(self) -> list[Signer]:
        return [open_key(name, self.folder) for name in ("a.pem", "b.pem")]

    @property
    def keys(self) -> list[PublicKey]:
        return [PublicKey.load(self.folder / f"{name}.pem.pub") for name in ("a", "b")]

    def given(self, **changes: object) -> Given:
        """All that an auditor can have; ``changes`` are fields of `Given`."""
        approvers = [PublicKey.load(self.folder / "ada.pem.pub")]
        whole = Given(self.keys, None, load_roots(self.root), (), approvers)
        return replace(whole, **changes)  # type: ignore[arg-type]  # replace checks the names at run time

    def verify(self, data: bytes, given: Given | None = None) -> Report:
        return verify_bundle(lambda: OpenBundle.of(data), given or self.given())

    @property
    def drill(self) -> Path:
        return self.folder / "drill.yaml"


def make_sealed(
    folder: Path,
    tsa: Path,
    *,
    keep: bool = False,
    change: Callable[[DrillPlan], DrillPlan] = lambda plan: plan,
    carried_out: Callable[[Run], Run] | None = None,
) -> Sealed:
    """Carry the drill out; ``tsa`` is the folder of the authority's certificates."""
    for name in ("a.pem", "b.pem", "ada.pem"):
        if not (folder / name).exists():
            new_key(folder / name)
    fill_source(folder, OBJECTS, lambda _n, key: ("n", key))
    with authority(tsa) as local:
        asking = PLAYBOOK.read_text().replace("- id: sever\n", "- id: sever\n        approval: true\n")
        (folder / "playbook.yaml").write_text(asking)
        more = _EVIDENCE.format(url=local.url, root=local.root)
        write_drill(folder, keep=keep, playbook=Path("playbook.yaml"), more=more)
        plan = change(load(folder / "drill.yaml"))
        options = RunOptions({"sever": "Ada"}, {"Ada": str(folder / "ada.pem")})
        run = declare(plan, folder / "runs", options)
        run = (carried_out or carry_out)(run)
        return Sealed(folder, run.directory.path, plan, local.root)


def carry_out(run: Run, before: str | None = None, *, ends: bool = True) -> Run:
    """Do what is left of a run, up to a phase; without an end it is as if the process had been killed."""
    conductor = LocalConductor()
    try:
        execute(run, conductor, before=before)
    finally:
        conductor.close()
        if ends:
            finish(run)
        else:
            run.close()
    return run


def apart(bundle: bytes) -> tuple[str, dict[str, bytes]]:
    """The run's id, and every member by its path below the run's folder; by Python's own zipfile."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as file:
        run = file.namelist()[0].partition("/")[0]
        return run, {name.removeprefix(f"{run}/"): file.read(name) for name in file.namelist()}


def index_of(run: str, payload: Mapping[str, bytes], old: bytes) -> Index:
    """The index of these members; when and by what it was made, the old envelope says."""
    found = json.loads(_payload(old))
    members = [Member(n, len(data), sha256(data).hexdigest()) for n, data in sorted(payload.items())]
    return Index(run, found["made"], found["tool"], tuple(members))


def _payload(envelope: bytes) -> bytes:
    from base64 import b64decode

    return b64decode(json.loads(envelope)["payload"])


def zipped(run: str, members: Sequence[tuple[str, bytes]]) -> bytes:
    """A file in the one form there is."""
    made = io.BytesIO()
    writer = Writer(made)
    for name, data in members:
        writer.add(f"{run}/{name}", len(data), (data,), len)
    writer.end()
    return made.getvalue()


def together(run: str, members: Mapping[str, bytes], signers: Sequence[Signer] = ()) -> bytes:
    """A bundle of these members, its BagIt files made anew; signed anew if there are signers."""
    payload = {name: data for name, data in members.items() if name.startswith(PAYLOAD)}
    index, envelope = index_of(run, payload, members[INDEX]), members[INDEX]
    if signers:
        envelope = dsse.sign(INDEX_TYPE, index.to_bytes(), signers)
    tags = tag_files(index, envelope)
    return zipped(run, [*sorted(payload.items()), (INDEX, envelope), *((name, tags[name]) for name in TAG_FILES)])


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """One bit another."""
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def failed(report: Report) -> list[str]:
    """The ids of the rows that failed."""
    return [row.id for row in report.rows if row.result is Result.FAILED]
