"""The seal of a run: its keys and its timestamp authority, as the drill names them.

Without keys in the drill the machine's own key signs; it is made when a run first needs it, and whoever runs the
drill is told so.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from exitdrill.clock import Clock
from exitdrill.errors import TimestampError
from exitdrill.evidence.journal import Journal
from exitdrill.evidence.keys import machine_key_path, machine_signer, public_path
from exitdrill.evidence.seal import KeySlot, Seal
from exitdrill.evidence.signers import Signer, open_signer
from exitdrill.evidence.timestamps import Authority, load_roots
from exitdrill.plan.drill import DrillPlan, Timestamps
from exitdrill.transfer.layout import RunDirectory, RunFacts

__all__ = ["authority", "key_slots", "make_seal", "public_names"]


def make_seal(
    plan: DrillPlan, facts: RunFacts, directory: RunDirectory, journal: Journal, clock: Clock
) -> tuple[Seal, list[str]]:
    """The seal of a run, and what is to be said to whoever runs it (more may come when a key is first opened).

    Args:
        plan: The drill.
        facts: What the run is.
        directory: The run's.
        journal: The run's, open.
        clock: The machine's clocks.
    """
    base = Path(facts.base)
    notes: list[str] = []
    asked, why = None, "the drill names no timestamp authority"
    if plan.evidence.timestamps is not None:
        try:
            asked = authority(plan.evidence.timestamps, clock, base)
        except TimestampError as error:
            why = str(error)
    return Seal(facts.run_id, directory, journal, key_slots(plan, os.environ, base, notes), asked, why), notes


def key_slots(plan: DrillPlan, environ: Mapping[str, str], base: Path, notes: list[str]) -> list[KeySlot]:
    """The keys that are to sign, none of them open yet; that one was made is added to the notes."""
    if not plan.evidence.signers:
        return [KeySlot(str(machine_key_path()), partial(_machine, notes))]
    return [KeySlot(key.key, partial(open_signer, key, environ, base)) for key in plan.evidence.signers]


def _machine(notes: list[str]) -> Signer:
    signer, made = machine_signer()
    if made:
        path = machine_key_path()
        notes.append(
            f"made a key for this machine, which signs the evidence: {path}. Keep it; give auditors "
            f"{public_path(path).name} (key {signer.key.id[:16]}…) before the next drill, by another way"
        )
    return signer


def authority(named: Timestamps, clock: Clock, base: Path) -> Authority:
    """The timestamp authority. Raises TimestampError where its roots cannot be read."""
    roots = () if named.root is None else load_roots(base / Path(named.root).expanduser())
    return Authority(named.url, named.timeout.total_seconds(), clock, roots)


def public_names(plan: DrillPlan, base: Path) -> list[str]:
    """The files with the public keys of a drill's signers, for whoever verifies where it ran."""
    if not plan.evidence.signers:
        return [str(public_path(machine_key_path()))]
    found = []
    for key in plan.evidence.signers:
        path = base / Path(key.public or f"{key.key}.pub").expanduser()
        found.append(str(path) if path.exists() else "KEY.pub")
    return found
