"""``exitdrill verify --live DRILL``: reads a sample at the target, through the place and credentials of a drill file.

From the bundle come the objects, their digests and the seed; where they are read from, only the auditor's own drill
file says. Connectors are loaded here and nowhere else in a verification.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from exitdrill.cli.console import hide
from exitdrill.clock import Clock, Stopwatch, SystemClock
from exitdrill.errors import EvidenceError, ExitdrillError, UsageError
from exitdrill.evidence.checking import Case, Result, Row
from exitdrill.evidence.sampling import fresh_seed, reread, says
from exitdrill.flow.compose import load
from exitdrill.model.human import key as shown_key
from exitdrill.plan.drill import Asset, DrillPlan
from exitdrill.transfer.places import Places, container_of

__all__ = ["live_rows"]

_SHOWN = 3


def live_rows(case: Case, drill: Path, size: int, limit_seconds: float, *, fresh: bool) -> Iterator[Row]:
    """A row for each asset of the bundle.

    Args:
        case: The bundle, verified.
        drill: The drill file.
        size: How many objects of an asset.
        limit_seconds: How long all of it may take.
        fresh: Draw a sample that nobody could know before.

    Raises:
        UsageError: The drill file is of another target.
    """
    plan = load(drill)
    _must_fit(case.plan, plan)
    clock: Clock = SystemClock()
    watch = Stopwatch(clock)
    places = Places(plan, drill.resolve().parent, os.environ)
    hide(places.secrets("target"))
    for asset in case.plan.assets:
        what = f"{asset.name} at the target, now"
        try:
            result, said = _asset(case, places, asset, size, fresh=fresh, watch=watch, limit_seconds=limit_seconds)
        except EvidenceError as error:
            result, said = Result.FAILED, str(error)
        except ExitdrillError as error:
            result, said = Result.NOT_CHECKED, f"the target cannot be read: {error}"
        yield Row(f"live {asset.name}", what, result, said)


def _must_fit(sealed: DrillPlan, given: DrillPlan) -> None:
    for asset in sealed.assets:
        own = next((one for one in given.assets if one.name == asset.name), None)
        if own is None or own.target != asset.target or given.target.connector != sealed.target.connector:
            what = f"asset {asset.name!r} comes up elsewhere in this drill file than in the bundle"
            raise UsageError(what, resource=given.path, hint="give the drill file of the run")


def _asset(
    case: Case, places: Places, asset: Asset, size: int, *, fresh: bool, watch: Stopwatch, limit_seconds: float
) -> tuple[Result, str]:
    gone = case.record.teardown
    if gone is not None and not gone.kept:
        return Result.NOT_CHECKED, "what this run made was taken away at its end: there is nothing to read"
    if asset.kind != "objects":
        return Result.NOT_CHECKED, f"an asset of kind {asset.kind} has no objects to read"
    drawn = [event.text("seed") for event in case.named("sample seed") if event.text("asset") == asset.name]
    if len(drawn) != 1:
        raise EvidenceError("the journal has not one seed for it", resource=asset.name)
    try:
        seed = bytes.fromhex(drawn[0])
    except ValueError as exc:
        raise EvidenceError("the seed in the journal is none", resource=asset.name) from exc
    told = "the sample committed before the drill"
    if fresh:
        secret = secrets.token_bytes(32)
        seed, told = fresh_seed(seed, secret), f"a fresh sample, drawn with {secret.hex()}"
    with places.open("target") as target:
        store = target.objects(container_of(asset.target))
        found = reread(store, case.ledgers, asset.name, seed, size, lambda: watch.elapsed_seconds > limit_seconds)
    said = f"{says(found)}; {told}"
    if found.different:
        named = "; ".join(f"{shown_key(name, limit=100)}: {wrong}" for name, wrong in found.different[:_SHOWN])
        return Result.FAILED, f"{said}: {named}"
    return (Result.CHECKED if found.read else Result.NOT_CHECKED), said
