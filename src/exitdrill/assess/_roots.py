"""Whether an asset's manifest roots say the same as its counters: two ways to the same facts, from the same parts."""

from exitdrill.model.human import count
from exitdrill.model.objects import Envelope, Outcome
from exitdrill.model.record import AssetRecord, LegRecord, ManifestRoot, ManifestRoots

__all__ = ["contradictions"]

_COVERED = frozenset((*Envelope.HEADERS, "user", "tags"))
"""Fields of an envelope that are in a leaf's metadata digest."""


def contradictions(measured: AssetRecord) -> list[str]:
    """What cannot be true of both; nothing if there are no roots."""
    roots = measured.roots
    if roots is None:
        return []
    stored = _number(measured.evacuate, Outcome.COPIED) - _number(measured.rebuild, Outcome.CORRUPT, Outcome.LOST)
    proven = 0 if measured.verification is None else measured.verification.equal
    expected = (
        ("source", roots.source, measured.listed.objects),
        ("vault", roots.vault, stored),
        ("target", roots.target, proven),
    )
    found = [
        f"the {place}'s manifest has {count(root.objects, 'object')}, {number:,} counted"
        for place, root, number in expected
        if root.root and root.objects != number
    ]
    return found or _compared(measured, roots)


def _compared(measured: AssetRecord, roots: ManifestRoots) -> list[str]:
    found = []
    listed = measured.listed.objects
    if roots.vault.objects == listed and _differ(roots.source, roots.vault):
        found.append("every object was evacuated, and yet the manifest roots of source and vault differ")
    lost = sum(loss.objects for loss in measured.losses if loss.field in _COVERED)
    if (
        roots.target.root
        and roots.target.objects == roots.vault.objects
        and _differ(roots.vault, roots.target) != bool(lost)
    ):
        known = f"{count(lost, 'piece')} of metadata lost" if lost else "every object was found equal"
        how = "differ" if not lost else "are the same"
        found.append(f"{known}, and yet the manifest roots of vault and target {how}")
    return found


def _number(leg: LegRecord, *outcomes: Outcome) -> int:
    return sum(leg.outcomes[one].objects for one in outcomes if one in leg.outcomes)


def _differ(one: ManifestRoot, other: ManifestRoot) -> bool:
    return bool(one.root and other.root) and one.root != other.root
