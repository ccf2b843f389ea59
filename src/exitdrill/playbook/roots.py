"""Manifest roots of a run's assets: computed when it is sealed, kept in its state, and read from there for the record.

They are computed in this process, after everything that is timed (ADR 17), and stand in the journal too. What was
measured stands without them: where their time is over, or a fault here keeps them from being made, the record says
that there are none, and why. A ledger that is damaged or contradicts the inventory is no such case: it ends the step.
"""

from dataclasses import asdict

from exitdrill.assets.interface import asset_kind
from exitdrill.errors import ExitdrillError, StoppedError
from exitdrill.evidence.manifest import RunLedgers, manifest_roots
from exitdrill.model.record import AssetRecord, ManifestRoot, ManifestRoots
from exitdrill.plan.drill import Asset
from exitdrill.playbook.run import Run

__all__ = ["keep_roots", "roots_of"]

_STATE = "manifest roots"


def keep_roots(run: Run, asset: Asset, until_ns: int) -> None:
    """Compute the roots of an asset that has an inventory; nothing for one that has none.

    Args:
        run: The run, open.
        asset: Whose.
        until_ns: When to give up, by the monotonic clock.

    Raises:
        EvidenceError: Inventory and ledger contradict each other.
        RunError: A part is damaged.
        StoppedError: Somebody stopped the run.
    """
    if not run.directory.inventory(asset.name).exists():
        return
    measured = asset_kind(asset.kind).record(run.asset_context(asset, None))
    roots = _computed(run, measured, until_ns)
    run.journal.record("manifest roots", asset=asset.name, **asdict(roots))
    run.state.put(_STATE, asset.name, asdict(roots))


def _computed(run: Run, measured: AssetRecord, until_ns: int) -> ManifestRoots:
    def over() -> bool:
        return run.stop.is_set() or run.clock.clock.monotonic_ns() > until_ns

    try:
        return manifest_roots(RunLedgers(run.directory), measured, over)
    except StoppedError:
        if run.stop.is_set():
            raise
        why = "not computed within the step's timeout"
    except ExitdrillError:
        raise
    except Exception as exc:  # noqa: BLE001 - a fault in this program; the record and a finding say it
        why = f"not computed: unexpected {type(exc).__name__}: {exc}"
    none = ManifestRoot(why_not=why)
    return ManifestRoots(none, none, none)


def roots_of(run: Run, asset: str) -> ManifestRoots | None:
    """What `keep_roots` kept."""
    kept = run.state.get(_STATE, asset)
    if not isinstance(kept, dict):
        return None
    return ManifestRoots(*(_root(kept[place]) for place in ManifestRoots.__slots__))


def _root(kept: object) -> ManifestRoot:
    facts = kept if isinstance(kept, dict) else {}
    return ManifestRoot(str(facts["root"]), int(facts["objects"]), str(facts["why_not"]))
