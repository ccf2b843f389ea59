"""Findings about single objects: one a problem and asset, with the first keys and what to do.

How many there are comes from the counters, which keys from the exceptions; where the two disagree the larger
number counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from exitdrill.assess._common import finding, gravity
from exitdrill.model.digests import Comparison
from exitdrill.model.human import count
from exitdrill.model.objects import Outcome
from exitdrill.model.record import DISAGREES, AssetRecord, Mishap, RunRecord
from exitdrill.model.verdict import Finding, Severity
from exitdrill.plan.drill import Asset, DrillPlan, Level

__all__ = ["findings", "losses"]

_KEYS = 10
_LAST_LOOK = "last look"


@dataclass(frozen=True, slots=True)
class _Advice:
    text: str
    """Goes after the number of objects."""
    remedy: str


_ADVICE: dict[str, _Advice] = {
    Outcome.CHANGED: _Advice(
        "changed at the source while being copied: the state that was listed did not arrive",
        "stop writes or choose a quiet window, then run the drill again",
    ),
    Outcome.MISSING: _Advice(
        "deleted at the source after being listed",
        "find out who deletes there during an exit; stop it or choose a quiet window",
    ),
    Outcome.CORRUPT: _Advice(
        "corrupt in the vault: its bytes are not what the ledger says went in",
        "check the vault's disk, evacuate these objects again, and find out who else writes there",
    ),
    Outcome.LOST: _Advice(
        "gone from the vault after being evacuated",
        "find out who deletes in the vault, and evacuate these objects again",
    ),
    Outcome.UNREPRESENTABLE: _Advice(
        "not written, because the target cannot hold the key",
        "set `rename: percent` for this asset: a reversible name mapping, kept in the ledger",
    ),
    Outcome.ARCHIVED: _Advice(
        "in an archive tier and not readable",
        "rehydrate to an online tier before the drill; that can take hours, so plan it into the exit",
    ),
    Outcome.REFUSED: _Advice(
        "refused with an error that trying again does not change",
        "see the detail of each exception: permissions, quotas, policies or limits of the place",
    ),
    "different": _Advice(
        "at the target with other bytes than were evacuated",
        "find out who writes to the target, rebuild these objects and verify again",
    ),
    "missing": _Advice(
        "not at the target",
        "find out whether they were refused or deleted; rebuild these objects and verify again",
    ),
    "unattested": _Advice(
        "without a digest that the target itself computed: name and size agree, the bytes are not proven",
        "use verify level full, or a target that attests whole-object digests",
    ),
    "extra": _Advice(
        "at the target that the drill did not put there",
        "point the drill to an empty bucket or prefix, or remove them if nobody owns them",
    ),
    DISAGREES: _Advice(
        "copied whose bytes disagree, on two reads, with the digest stored at the source: that digest is wrong, or "
        "the bytes were damaged before the drill",
        "ask the owner which is right; a digest that a client wrote can be wrong, and the ledger has ours",
    ),
    _LAST_LOOK: _Advice(
        "changed at the source after being copied, as the last look before the cut found: those changes are lost",
        "evacuate changes once more before the cut, or stop writes earlier",
    ),
}
_OTHER = _Advice("with a problem this version does not know", "see the detail of each exception")
_HARMLESS = frozenset({"extra", "unattested", DISAGREES, _LAST_LOOK, Outcome.NOT_EVACUATED})
"""Not a loss by itself: judged by integrity, by the RPO, already named by the first leg, or the source's own."""


def losses(measured: AssetRecord) -> int:
    """How many of the exceptions that are named mean an object did not arrive, or not as it was."""
    return sum(1 for mishap in measured.exceptions if _problem(mishap) not in _HARMLESS)


def findings(plan: DrillPlan, record: RunRecord) -> list[Finding]:
    """One finding for each kind of problem each asset had."""
    known = {asset.name: asset for asset in record.assets}
    found = []
    for asset in plan.assets:
        if asset.name in known:
            found += list(_of_asset(asset, known[asset.name]))
    return found


def _problem(mishap: Mishap) -> str:
    return _LAST_LOOK if mishap.where == _LAST_LOOK else mishap.problem


def _counted(measured: AssetRecord) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for leg in (measured.evacuate, measured.rebuild):
        for outcome, counts in leg.outcomes.items():
            numbers[outcome] = numbers.get(outcome, 0) + counts.objects
    if (checked := measured.verification) is not None:
        for problem in ("different", "missing", "unattested", "extra"):
            numbers[problem] = getattr(checked, problem)
    numbers[DISAGREES] = measured.source_digests.get(Comparison.DIFFERENT, 0)
    numbers[_LAST_LOOK] = measured.lost_changes
    return numbers


def _of_asset(asset: Asset, measured: AssetRecord) -> Iterator[Finding]:
    named: dict[str, list[Mishap]] = {}
    for mishap in measured.exceptions:
        named.setdefault(_problem(mishap), []).append(mishap)
    numbers = _counted(measured)
    unknown = sorted(set(named) - set(_ADVICE) - {Outcome.NOT_EVACUATED})
    for problem in (*_ADVICE, *unknown):
        mishaps = named.get(problem, [])
        number = max(numbers.get(problem, 0), len(mishaps))
        if number:
            yield _finding(asset, problem, number, mishaps)


def _finding(asset: Asset, problem: str, number: int, mishaps: list[Mishap]) -> Finding:
    advice = _ADVICE.get(problem, _OTHER)
    keys = sorted({mishap.key for mishap in mishaps})[:_KEYS]
    where = ", ".join(sorted({mishap.where for mishap in mishaps} - {_LAST_LOOK}))
    text = f"{count(number, 'object')} {advice.text}"
    if advice is _OTHER:
        text += f": {problem}"
    text += f" ({where})" if where else ""
    if number > len(keys):
        text += f"; {len(keys)} of them named here" if keys else "; none of them is named in the record"
    remedy = advice.remedy
    if problem == Outcome.UNREPRESENTABLE and asset.rename != "none":
        remedy = f"even under `rename: {asset.rename}` the target cannot hold them: choose another target or new names"
    return finding("objects", _severity(asset, problem), asset.name, text, remedy, keys, about=problem)


def _severity(asset: Asset, problem: str) -> Severity:
    if problem in {"extra", DISAGREES, _LAST_LOOK}:
        return Severity.WARNING
    if problem == "unattested" and asset.verify.rank < Level.ATTESTED.rank:
        return Severity.NOTE
    return gravity(asset)
