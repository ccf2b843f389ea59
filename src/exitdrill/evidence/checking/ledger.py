"""Checks of inventory and ledger: that they are whole, lead to the roots, and add up to the record.

One pass over each part for the counts and one for the roots; memory does not depend on the number of objects.
"""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from exitdrill.errors import EvidenceError, RunError
from exitdrill.evidence import strict
from exitdrill.evidence.checking.case import Case
from exitdrill.evidence.checking.rows import Given, Unchecked
from exitdrill.evidence.manifest import Part, manifest_roots
from exitdrill.model.digests import Comparison
from exitdrill.model.human import count
from exitdrill.model.journal import Json
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, Counts, LegRecord

__all__ = ["counts", "inventory", "manifests"]

_COMPLETE_MAX = 64 * 1024 * 1024


def inventory(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001 - each check has the same shape
    """Each inventory is complete, and its parts are those it was closed with."""
    members = case.bundle.index.by_path
    parts, lacking = 0, list[str]()
    for asset in case.record.assets:
        name = f"inventory/{asset.name}/complete.json"
        if not case.bundle.has(name):
            lacking.append(asset.name)
            continue
        found = strict.load(case.bundle.read(name, _COMPLETE_MAX), name, max_bytes=_COMPLETE_MAX)
        listed = _parts(found, name)
        held = [f"part-{number:06d}.parquet" for number in case.ledgers.parts(asset.name, Part.INVENTORY)]
        if sorted(listed) != held:
            raise EvidenceError("not the parts it was closed with", resource=f"inventory of {asset.name}")
        for part, digest in listed.items():
            if members[f"data/inventory/{asset.name}/{part}"].sha256 != digest:
                raise EvidenceError("not the part it was closed with", resource=f"{part} of {asset.name}")
        parts += len(listed)
    if len(lacking) == len(case.record.assets):
        return Unchecked("there is no inventory in this run")
    said = f"{count(parts, 'part')}, as listed"
    return f"{said}; none is complete of {', '.join(lacking)}" if lacking else said


def _parts(found: Json, resource: str) -> Mapping[str, str]:
    parts = found.get("parts") if isinstance(found, dict) else None
    named: dict[str, str] = {}
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            raise EvidenceError("not the end of an inventory", resource=resource)
        named[str(part.get("name"))] = str(part.get("sha256"))
    return named


def manifests(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """The roots computed anew from the ledgers are those of the record and the journal."""
    told, unsealed = [], []
    journalled = {event.text("asset"): event for event in case.named("manifest roots")}
    for asset in case.record.assets:
        roots = asset.roots
        if roots is None:
            unsealed.append(asset.name)
            continue
        event = journalled.get(asset.name)
        for place in ("source", "vault", "target"):
            root = getattr(roots, place)
            said = {"root": root.root, "objects": root.objects, "why_not": root.why_not}
            if event is None or event.facts.get(place) != said:
                raise EvidenceError(f"other roots than in the journal, at the {place}", resource=asset.name)
        try:
            found = manifest_roots(case.ledgers, asset)
        except RunError as exc:
            raise EvidenceError(exc.what, resource=exc.resource) from exc
        if found != roots:
            raise EvidenceError("the ledger leads to other roots than were sealed", resource=asset.name)
        told.append(f"{asset.name} {'the same at all three places' if roots.same else 'NOT the same at all places'}")
    if not told:
        return Unchecked("the run was not sealed to its end: no roots were computed")
    return "; ".join(told) + (f"; none for {', '.join(unsealed)}" if unsealed else "")


def counts(case: Case, given: Given) -> str | Unchecked:  # noqa: ARG001
    """The numbers of objects and bytes in the record are those of inventory and ledger."""
    objects = 0
    for asset in case.record.assets:
        if not case.ledgers.parts(asset.name, Part.INVENTORY):
            if asset.listed.objects or asset.evacuate.outcomes:
                raise EvidenceError("the record counts objects that no inventory has", resource=asset.name)
            continue
        listed = _listed(case, asset)
        if case.ledgers.complete(asset.name):
            _equal(asset, "listed", asset.listed, listed)
        compared = _leg(case, asset, Part.EVACUATE, asset.evacuate)
        _leg(case, asset, Part.REBUILD, asset.rebuild)
        source_digests = {name: number for name, number in compared.items() if number}
        _equal(asset, "source digests", {n: c for n, c in asset.source_digests.items() if c}, source_digests)
        _proven(case, asset)
        objects += listed.objects
    if not objects:
        return Unchecked("there are no objects in this run")
    return f"{count(objects, 'object')} listed; outcomes of both legs add up to the record's"


def _equal(asset: AssetRecord, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise EvidenceError(
            f"{what}: {found}", resource=f"{asset.name} in record.json", expected=f"{expected}, by the ledger"
        )


def _listed(case: Case, asset: AssetRecord) -> Counts:
    objects = size = 0
    for number in case.ledgers.parts(asset.name, Part.INVENTORY):
        for batch in case.ledgers.batches(asset.name, Part.INVENTORY, number, ("size",)):
            objects += batch.num_rows
            size += sum(_values(batch, 0))
    return Counts(objects, size)


def _leg(case: Case, asset: AssetRecord, part: Part, leg: LegRecord) -> Mapping[str, int]:
    """Compare a leg's outcomes; how the source's own digests compared."""
    column = "outcome" if part is Part.EVACUATE else "rebuilt"
    objects, sizes, compared = Counter[str](), Counter[str](), Counter[str]()
    for number in case.ledgers.parts(asset.name, part):
        for batch in case.ledgers.batches(asset.name, part, number, (column, "size", "source_digest")):
            outcomes, lengths, digests = (_values(batch, n) for n in range(3))
            objects.update(outcomes)
            for outcome, length, digest in zip(outcomes, lengths, digests, strict=True):
                sizes[outcome] += length
                compared[digest] += outcome == Outcome.COPIED
    recorded = {outcome.value: (c.objects, c.size_bytes) for outcome, c in leg.outcomes.items() if c.objects}
    found = {name: (number, sizes[name]) for name, number in objects.items() if number}
    _equal(asset, f"outcomes of {part}", recorded, found)
    return {str(name): compared[name] for name in Comparison}


def _values(batch: pa.RecordBatch, n: int) -> list:  # type: ignore[type-arg]  # of strings or of numbers
    return list(batch.column(n).to_pylist())


def _proven(case: Case, asset: AssetRecord) -> None:
    """Verification has accounted for every object that arrived, and read back what the ledger has as read back."""
    checked = asset.verification
    if checked is None:
        return
    arrived = asset.rebuild.outcomes.get(Outcome.COPIED, Counts()).objects
    told = checked.equal + checked.different + checked.missing + checked.unattested
    if told != arrived:
        _equal(asset, "verified", told, arrived)
    read = equal = 0
    for number in case.ledgers.parts(asset.name, "readback"):
        for batch in case.ledgers.batches(asset.name, "readback", number, ("read_back",)):
            found = _values(batch, 0)
            read += sum(text != "" for text in found)
            equal += found.count("equal")
    if read and (checked.reread_objects < equal or checked.equal > equal):
        _equal(asset, "read back", (checked.equal, checked.reread_objects), (equal, read))
