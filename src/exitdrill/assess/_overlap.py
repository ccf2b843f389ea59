"""What a rebuild that began before the cut proves, and what it does not."""

from exitdrill.assess._common import DRILL, finding
from exitdrill.model.human import count, duration
from exitdrill.model.record import Counts, EarlyCutRecord, RunRecord, SeveranceRecord
from exitdrill.model.verdict import Finding, Severity
from exitdrill.plan.drill import DrillPlan

__all__ = ["lead_ns", "note", "problems"]

_NS = 1_000_000_000


def lead_ns(record: RunRecord, cut: SeveranceRecord) -> int:
    """How long before the cut the first rebuild began; 0 if none did."""
    began = [asset.rebuild.began_elapsed_ns for asset in record.assets]
    return max(0, *(cut.severed_elapsed_ns - n for n in began if n is not None), 0)


def problems(record: RunRecord, cut: SeveranceRecord) -> tuple[Finding, ...]:
    """What of a rebuild before the cut is not proven to have done without the source, each a critical finding."""
    if lead_ns(record, cut) <= 0:
        return ()
    early = record.early_cut
    if early is None:
        text = "part of the rebuild ran before the cut, and nothing shows that it did without the source"
        return (
            finding(
                "early-rebuild-unproven", Severity.CRITICAL, DRILL, text, "set overlap: false and run the drill again"
            ),
        )
    found = []
    if not early.holds or (_has_endpoints(record) and not early.probed):
        text = "the workers that rebuilt before the cut are not proven to have been cut off from the source"
        remedy = "see which addresses were probed, or set overlap: false; then run the drill again"
        found.append(finding("early-cut-not-held", Severity.CRITICAL, DRILL, text, remedy))
    if tried := _tried(early):
        text = f"a hidden dependency on the source: the rebuild before the cut tried to reach {tried}"
        remedy = "find what still needs that address and move it to the target before the next drill"
        found.append(finding("hidden-dependency-early", Severity.CRITICAL, DRILL, text, remedy))
    return tuple(found)


def note(plan: DrillPlan, record: RunRecord, cut: SeveranceRecord) -> tuple[Finding, ...]:
    """What has to be known of a drill whose legs overlap, also where nothing is wrong."""
    if not plan.overlap:
        return ()
    lead, early = lead_ns(record, cut), record.early_cut
    if lead <= 0:
        text = (
            "the drill says overlap: true, and nothing was rebuilt before the cut: the rebuild ran without the source"
        )
        return (finding("overlap", Severity.NOTE, DRILL, text, "overlap saves time where an asset has many parts"),)
    moved = sum((asset.rebuilt_early for asset in record.assets), Counts())
    text = f"the rebuild overlapped the evacuation: it began {duration(lead / _NS)} before the cut and brought "
    text += f"{count(moved.objects, 'object')} while the source could be reached; only the rest of it and the "
    text += "verification came after the cut. " + _apart(early)
    remedy = "for a proof that the whole rebuild works without the source, run the drill with overlap: false"
    return (finding("overlap", Severity.WARNING, DRILL, text, remedy),)


def _apart(early: EarlyCutRecord | None) -> str:
    if early is None:
        return "Its workers were not cut off"
    attempts = count(sum(attempt.count for attempt in early.attempts), "attempt")
    if not early.probed:
        return (
            f"Each of its workers started without the source's credentials; no address was probed, {attempts} refused"
        )
    state = "was cut off from the source from its start" if early.holds else "was meant to be cut off from the source"
    return f"Each of its workers {state}: {', '.join(early.probed)} probed, {attempts} refused"


def _tried(early: EarlyCutRecord) -> str:
    return ", ".join(f"{attempt.address} ({attempt.count} times)" for attempt in early.attempts[:10])


def _has_endpoints(record: RunRecord) -> bool:
    return any(place.endpoints for place in record.places if place.role == "source")
