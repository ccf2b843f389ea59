"""Manifest roots of a run's assets: computed when it is sealed, kept in its state, and read from there for the record.

They are computed in this process, after everything that is timed (ADR 17), and stand in the journal too.
"""

from dataclasses import asdict

from exitdrill.assets.interface import asset_kind
from exitdrill.evidence.manifest import RunLedgers, manifest_roots
from exitdrill.model.record import ManifestRoot, ManifestRoots
from exitdrill.plan.drill import Asset
from exitdrill.playbook.run import Run

__all__ = ["keep_roots", "roots_of"]

_STATE = "manifest roots"


def keep_roots(run: Run, asset: Asset) -> None:
    """Compute the roots of an asset that has an inventory; nothing for one that has none.

    Raises EvidenceError if inventory and ledger contradict each other, RunError, StoppedError.
    """
    if not run.directory.inventory(asset.name).exists():
        return
    measured = asset_kind(asset.kind).record(run.asset_context(asset, None))
    roots = manifest_roots(RunLedgers(run.directory), measured, run.stop.is_set)
    run.journal.record("manifest roots", asset=asset.name, **asdict(roots))
    run.state.put(_STATE, asset.name, asdict(roots))


def roots_of(run: Run, asset: str) -> ManifestRoots | None:
    """What `keep_roots` kept."""
    kept = run.state.get(_STATE, asset)
    if not isinstance(kept, dict):
        return None
    return ManifestRoots(*(_root(kept[place]) for place in ManifestRoots.__slots__))


def _root(kept: object) -> ManifestRoot:
    facts = kept if isinstance(kept, dict) else {}
    return ManifestRoot(str(facts["root"]), int(facts["objects"]), str(facts["why_not"]))
