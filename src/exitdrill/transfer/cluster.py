"""A job on another machine: what is carried there, and what comes back.

`carry` runs where a task runner brought it, in a process that may have nothing of ours but the package: the run's
directory is on a file system that both machines see, credentials are in that process's own environment, and what the
job needs to know besides is in its `Order`. No secret travels. How far a job is, and whether it is asked to stop, goes
through the table of claims; connections that the cut refused there are written into the run's directory, and counted
by who conducts.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exitdrill import plan as plans
from exitdrill.errors import ExitdrillError, RunError, StoppedError
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.client import Watch, run_job
from exitdrill.transfer.job import CUT_EARLY, Job, Result
from exitdrill.transfer.layout import RunDirectory

__all__ = ["Order", "carry", "collect_refused", "order_for"]

_SEE_SECONDS = 90.0
"""How long a network file system may show what was: its caches live for a minute at most, as they come."""
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What goes along with a job."""

    ticket: str
    """A name for this errand, no other's."""
    cut: str | None
    """The digest of the run's cut; None before it."""
    early_cut: str | None
    """The digest of the early cut, for a job that must be cut off before the run is."""


def order_for(job: Job, ticket: str) -> Order:
    """What goes along with a job, as who conducts it sees the run."""
    directory = RunDirectory(Path(job.directory))
    return Order(ticket, _digest(directory.cut), _digest(directory.early_cut) if job.cut_early else None)


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file as this machine sees it; None where it sees none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def carry(job: Job, order: Order) -> Result:
    """Carry a job out on this machine, on behalf of a conductor on another.

    Raises:
        ExitdrillError: As `run_job`; RunError for anything else, and where this machine does not see the run.
    """
    try:
        return _carried(job, order)
    except ExitdrillError:
        raise
    except Exception as exc:
        raise RunError(f"{type(exc).__name__}: {exc}", resource=f"{socket.gethostname()}: {job.task}") from exc


def _carried(job: Job, order: Order) -> Result:
    directory = RunDirectory(Path(job.directory))
    _must_see(directory, order)
    if job.parts and _stopped(job, directory):
        raise StoppedError("stopped before it began", resource=job.asset)
    said = directory.scratch("refused") / f"{order.ticket}.jsonl"

    def refused(of: Job, address: str) -> None:
        with said.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": of.task, "address": address, "early": of.cut_early}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    return run_job(job, Watch(lambda _: None, lambda: False, refused))


def _must_see(directory: RunDirectory, order: Order) -> None:
    """Wait until this machine sees the run and its cut as the conductor does: without it nothing would be severed."""
    deadline = time.monotonic() + _SEE_SECONDS
    while not directory.plan.exists() or not _as_ordered(directory, order):
        if time.monotonic() > deadline:
            raise RunError(
                "this machine does not see the run as the one that conducts it",
                resource=f"{socket.gethostname()}:{directory.path}",
                hint="the runs folder must be the same file system at the same path everywhere",
            )
        time.sleep(_LOOK_SECONDS)


def _as_ordered(directory: RunDirectory, order: Order) -> bool:
    """Whether this machine sees the cut that must hold, or one that was made since and is stricter."""
    seen = _digest(directory.cut)
    if order.cut is not None:
        return seen == order.cut
    return order.early_cut is None or seen is not None or _digest(directory.early_cut) == order.early_cut


def _stopped(job: Job, directory: RunDirectory) -> bool:
    plan = plans.from_json(json.loads(directory.plan.read_bytes()))
    with claim_table(plan, directory, os.environ, Path(directory.facts().base)) as table:
        return table.stopped(directory.id, job.task, job.asset)


def collect_refused(directory: RunDirectory, tell: Callable[[Job, str], None], tickets: tuple[str, ...] = ()) -> None:
    """Count what the cut refused on other machines, once.

    Args:
        directory: The run's.
        tell: Told of each.
        tickets: Of errands that have ended; none for all that there are.
    """
    folder = directory.scratch("refused")
    for path in [folder / f"{ticket}.jsonl" for ticket in tickets] or sorted(folder.glob("*.jsonl")):
        with suppress(FileNotFoundError):
            lines = path.read_text(encoding="utf-8").splitlines()
            for line in lines:
                with suppress(ValueError):  # the beginning of a line: its writer was killed
                    said = json.loads(line)
                    options = {CUT_EARLY: True} if said.get("early") else {}
                    tell(Job(str(said["task"]), str(directory.path), options=options), str(said["address"]))
            path.unlink()
