"""A run told otherwise by those who hold its keys: record and journal changed, all that follows from them made anew.

What is left of the run's tokens and of its approvers' signatures is about the journal as it was: tokens are left out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import rfc8785

from exitdrill.assess import assess
from exitdrill.evidence import statement
from exitdrill.evidence.bundle import DRILL_RESULT, TEST_RESULT, files_digest, is_bound, manifests
from exitdrill.evidence.checkpoint import Checkpoint, origin
from exitdrill.evidence.index import INDEX, PAYLOAD
from exitdrill.evidence.merkle import EMPTY_ROOT, Frontier
from exitdrill.evidence.note import sign_note
from exitdrill.model import codec
from exitdrill.model.record import RunRecord
from exitdrill.plan import from_json
from sealed import Sealed, apart, together

__all__ = ["Told", "forged"]


@dataclass
class Told:
    """What a run says, to be changed."""

    record: dict[str, Any]
    events: list[dict[str, Any]]
    """Those taken out leave the checkpoints where they were among the others."""
    members: dict[str, bytes]
    """Below ``data/``."""
    checkpoints: list[int]
    """How many of the events each covers: at first those of the run."""

    def event(self, name: str) -> dict[str, Any]:
        """The first of this name."""
        return next(event for event in self.events if event["event"] == name)

    def without(self, *names: str) -> None:
        """Take events out; checkpoints cover what is left of what they covered."""
        kept = [event["event"] not in names for event in self.events]
        self.checkpoints = [sum(kept[:size]) for size in self.checkpoints]
        self.events = [event for event, keep in zip(self.events, kept, strict=True) if keep]


def forged(sealed: Sealed, change: Callable[[Told], None]) -> bytes:
    """The bundle of a run that says something else, signed by its own keys; its verdict follows."""
    run, members = apart(sealed.bundle)
    inside = {name.removeprefix(PAYLOAD): data for name, data in members.items() if name.startswith(PAYLOAD)}
    sizes = [int(name[:-4].rpartition("-")[2]) for name in sorted(inside) if name.endswith(".txt")]
    events = [json.loads(line) for line in inside["journal.jsonl"].splitlines()]
    kept = {name: data for name, data in inside.items() if not name.startswith("checkpoints/")}
    told = Told(json.loads(inside["record.json"]), events, kept, sizes)
    for event in events:
        if event["event"] == "timestamped":
            event["event"] = "not timestamped"
    change(told)
    _close(told, sealed)
    payload = {PAYLOAD + name: data for name, data in told.members.items()}
    return together(run, {**payload, INDEX: members[INDEX]}, sealed.signers)


def _close(told: Told, sealed: Sealed) -> None:
    inside = told.members
    plan = from_json(json.loads(inside["plan.json"]))
    inside["record.json"] = json.dumps(told.record, indent=1).encode() + b"\n"
    measured = codec.load(RunRecord, inside["record.json"], "record.json")
    verdict = assess(plan, measured)
    inside["verdict.json"] = codec.dump(verdict)
    bound = {name: sha256(data).hexdigest() for name, data in inside.items() if is_bound(name)}
    closed = next(event for event in reversed(told.events) if event["event"] == "closed")
    closed["sha256"] = {name: bound[name] for name in ("record.json", "verdict.json")}
    closed["files"] = {"number": len(bound), "sha256": files_digest(bound)}
    closed["judgement"] = verdict.judgement.value
    tree, roots, lines = Frontier(), [EMPTY_ROOT], []
    for number, event in enumerate(told.events):
        lines.append(rfc8785.dumps({**event, "n": number}))
        tree.append(lines[-1])
        roots.append(tree.root())
    inside["journal.jsonl"] = b"".join(line + b"\n" for line in lines)
    name = origin(sealed.run.name)
    for number, size in enumerate(told.checkpoints, 1):
        head = Checkpoint(name, size, roots[size])
        inside[f"checkpoints/{number:04}-{size}.txt"] = sign_note(head.text, name, sealed.signers)[0].to_bytes()
    payloads = statement.statements(plan, inside["record.json"], inside["verdict.json"], head, manifests(measured))
    for path, text in zip((DRILL_RESULT, TEST_RESULT), payloads, strict=True):
        inside[path] = statement.sign(text, sealed.signers)
