"""Cutting the source off: the whole run at *sever*, and before that, with ``overlap``, the workers that rebuild.

Both are written down as a `exitdrill.transfer.cut.Cut` and probed from a worker that starts under it. The early
one is probed before the first rebuild and again when the run is cut: all that time other workers reached the
source, so that what refused the probe was the cut.
"""

from pathlib import Path

from exitdrill.clock import format_utc
from exitdrill.connector.provider import Endpoint
from exitdrill.model.journal import Json
from exitdrill.plan.secrets import references
from exitdrill.playbook.conductor import Conductor
from exitdrill.playbook.run import Run
from exitdrill.transfer.client import run_job
from exitdrill.transfer.cut import load_cut, make_cut, scrubbed
from exitdrill.transfer.job import CUT_EARLY, Job
from exitdrill.transfer.workers import end_idle

__all__ = ["cut_early", "cut_off", "probe_cut"]


def cut_off(run: Run, conductor: Conductor) -> None:
    """Cut the run off from the source; no worker that could reach it is left then.

    Raises what the places raise, and SeveredError if an early cut fails now.
    """
    if load_cut(run.directory.early_cut) is not None:
        run.state.put("cut", "early probed again", probe_cut(run, conductor, early=True))
    run.journal.record("workers ended", workers=end_idle(run.directory))
    _cut(run, run.directory.cut, format_utc(run.clock.clock.utc_now()), run.clock.elapsed_ns, "severing", "severed")


def cut_early(run: Run, conductor: Conductor) -> None:
    """Cut off the workers that rebuild before the run is cut.

    Done anew by every process that goes on with the run, since its environment may be another; the time is that
    of the first. Raises what the places raise, and SeveredError if the probe reaches the source.
    """
    path = run.directory.early_cut
    earlier = load_cut(path)
    if earlier is None:
        utc, elapsed_ns = format_utc(run.clock.clock.utc_now()), run.clock.elapsed_ns
    else:
        utc, elapsed_ns = earlier.severed_utc, earlier.severed_elapsed_ns
    _cut(run, path, utc, elapsed_ns, "cutting the rebuild off", "rebuild cut off")
    run.state.put("cut", "early probed", probe_cut(run, conductor, early=True))


def probe_cut(run: Run, conductor: Conductor, *, early: bool = False) -> list[Json]:
    """What workers that start under the cut could not reach, wherever they start. Raises SeveredError if one could."""
    job = Job("probe", str(run.directory.path), options={CUT_EARLY: True} if early else {})
    results = conductor.everywhere(run_job, job)
    refused: list[Json] = list(dict.fromkeys(str(address) for result in results for address in result.facts["probed"]))
    run.journal.record("cut probed", early=early, refused=refused, workers=len(results))
    return refused


def _cut(run: Run, path: Path, utc: str, elapsed_ns: int, before: str, after: str) -> None:
    places = run.places
    with places.open("source") as source:
        source.server_time()  # it answers: that it does not afterwards is the cut's doing
        endpoints = source.endpoints()
    kept: list[Endpoint] = []
    for role in ("vault", "target"):
        with places.open(role) as other:
            kept += other.endpoints()
    patterns, spared = _sources_own(run)
    removed = tuple(name for name in scrubbed(run.environ(), patterns)[1] if name not in spared)
    run.journal.record(before, endpoints=[f"{e.host}:{e.port or '*'}" for e in endpoints], variables=list(removed))
    make_cut(path, endpoints, removed, kept, utc, elapsed_ns, patterns, spared)
    run.journal.record(after, utc_cut=utc)


def _sources_own(run: Run) -> tuple[set[str], frozenset[str]]:
    """What names of variables with the source's credentials look like, and those that something else needs."""
    plan, places = run.plan, run.places
    needed = references(plan.vault.settings) | references(plan.target.settings)
    needed |= references({"claims": plan.engine.claims})
    others = {places.connector(role).name for role in ("vault", "target")}
    patterns = set(references(plan.source.settings)) - needed
    if places.connector("source").name not in others:
        patterns |= set(places.connector("source").credential_environment)
    return patterns, needed
