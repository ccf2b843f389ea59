"""One run, open in this process: its directory, journal, clock and state, and who follows it."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import IO, Protocol

from exitdrill import __version__
from exitdrill import plan as plans
from exitdrill.assets.interface import AssetContext
from exitdrill.clock import Clock, DrillClock, SystemClock, format_utc, parse_utc
from exitdrill.emulator import Running
from exitdrill.errors import EvidenceError, RunError, UsageError
from exitdrill.evidence.checkpoints import roots
from exitdrill.evidence.findings import PREVIOUS
from exitdrill.evidence.journal import Journal, read_journal, read_tree
from exitdrill.evidence.seal import Seal
from exitdrill.model.journal import Json
from exitdrill.plan.drill import Asset, DrillPlan, Step
from exitdrill.playbook.previous import find_previous, keep_previous, known_previous
from exitdrill.playbook.sealing import make_seal
from exitdrill.playbook.state import AssetFacts, State
from exitdrill.transfer.client import run_job, start_ahead
from exitdrill.transfer.job import Job, Result, Tick
from exitdrill.transfer.layout import RunDirectory, RunFacts, write_atomic
from exitdrill.transfer.places import EMULATED, Places

__all__ = ["Progress", "Run", "RunOptions", "Silent", "declare", "reopen"]


class Progress(Protocol):
    """Who shows how far a run is."""

    def phase(self, name: str) -> None:
        """A phase begins."""

    def tick(self, tick: Tick) -> None:
        """A worker is this far."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Shows nothing."""

    def phase(self, name: str) -> None:
        """Nothing."""

    def tick(self, tick: Tick) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the operator chose for this process."""

    approvals: Mapping[str, str] = field(default_factory=dict)
    """Step id to the name of the person who approved it beforehand, or confirms it was done."""
    approver_keys: Mapping[str, str] = field(default_factory=dict)
    """A person's name to the path of the private key that signs that person's answers."""
    progress: Progress = field(default_factory=Silent)
    looking: bool = False
    """It only looks whether the drill could start: nothing is sealed, and no key is made."""


@dataclass(slots=True)
class Run:
    """One run, open in this process. Made by `declare` or `reopen`."""

    plan: DrillPlan
    directory: RunDirectory
    facts: RunFacts
    journal: Journal
    clock: DrillClock
    state: State
    options: RunOptions
    session: int
    lock: IO[bytes]
    seal: Seal
    notes: list[str]
    """What is to be said to whoever follows the run, as soon as somebody does."""
    stop: Event = field(default_factory=Event)
    """Set it to stop soon; the run can be resumed."""
    emulators: dict[str, Running] = field(default_factory=dict)
    orchestrator: str = ""
    """Who conducts it, for the record."""
    error: Exception | None = None
    """What ended it, if something did."""
    clock_seen: tuple[int, int] = (0, 0)
    """How far the wall clock had stepped when it was last looked at, and when in drill time that was."""

    @property
    def id(self) -> str:
        """The run's id."""
        return self.directory.id

    @property
    def base(self) -> Path:
        """Where relative paths in the drill start."""
        return Path(self.facts.base)

    def environ(self, *, cut_early: bool = False) -> dict[str, str]:
        """The environment of workers: ours, and how to reach this run's emulators.

        Args:
            cut_early: For workers that are cut off from the source before the run is.
        """
        emulated = {place: dict(running.settings) for place, running in self.emulators.items()}
        if cut_early or self.directory.cut.exists():
            emulated.pop(self.plan.route.source, None)
        return {**os.environ, EMULATED: json.dumps(emulated)}

    @property
    def places(self) -> Places:
        """The places of the drill, opened in this process."""
        return Places(self.plan, self.base, self.environ())

    def asset_context(
        self, asset: Asset, step: Step | None, submit: "Submit | None" = None, width: int = 1
    ) -> AssetContext:
        """What the kind of an asset is given; ``width`` is how many jobs run side by side, of all assets together."""

        def run_jobs(jobs: "list[tuple[str, Job]]") -> list[Result]:
            if submit is None:
                return [run_job(job) for _, job in jobs]
            # other assets' jobs may be under way beside these: then all that can run share a place's limits
            share = width if len(self.plan.assets) > 1 else max(1, min(width, len(jobs)))
            shared = [(name, replace(job, options={"share": share, **job.options})) for name, job in jobs]
            return [pending() for pending in [submit(name, job) for name, job in shared]]

        return AssetContext(
            plan=self.plan,
            asset=asset,
            directory=self.directory,
            places=self.places,
            journal=self.journal,
            clock=self.clock.clock,
            facts=AssetFacts(self.state, asset.name),
            run_jobs=run_jobs,  # type: ignore[arg-type]  # any sequence of jobs will do
            arguments={} if step is None else step.arguments,
            elapsed_ns=lambda: self.clock.elapsed_ns,
            width=width,
        )

    def start_workers(self, width: int) -> None:
        """Start workers for jobs to come, as many as run side by side; those of a cluster run elsewhere."""
        if not self.plan.engine.spread:
            start_ahead(self.directory, width)

    def close(self) -> None:
        """Stop emulators, let go of files and the lock."""
        for running in self.emulators.values():
            running.stop()
        self.emulators.clear()
        self.seal.end()
        self.journal.close()
        self.state.close()
        self.lock.close()


Submit = Callable[[str, Job], Callable[[], Result]]


CLOCK_STEPS = "clock steps"
_STEP_SECONDS = 1.0


def keep_clock_step(state: State, jump_ns: int) -> None:
    """Keep one jump of the wall clock for the record."""
    kept = state.get("run", CLOCK_STEPS)
    state.put("run", CLOCK_STEPS, [*(kept if isinstance(kept, list) else ()), jump_ns])


def _run_id(now: datetime) -> str:
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def declare(plan: DrillPlan, runs: Path, options: RunOptions | None = None, clock: Clock | None = None) -> Run:
    """Declare a drill: from here its clock runs.

    Args:
        plan: What to do.
        runs: The folder of all runs.
        options: What the operator chose.
        clock: The machine's clocks.

    Raises:
        UsageError: The run's directory cannot be made.
    """
    clock, options = clock or SystemClock(), options or RunOptions()
    t0 = clock.utc_now()
    drill_clock = DrillClock(clock, t0)
    directory = RunDirectory.create(runs, _run_id(t0))
    lock = directory.lock()
    base = Path(plan.path).resolve().parent if plan.path else Path.cwd()
    facts = RunFacts(directory.id, format_utc(t0), str(base), __version__)
    write_atomic(directory.plan, json.dumps(plan.to_json(), indent=1).encode() + b"\n")
    journal = Journal(directory.journal, drill_clock)
    journal.record(
        "declared",
        run=directory.id,
        drill=plan.name,
        mode=plan.mode.value,
        plan_digest=plan.digest,
        t0_utc=format_utc(t0),
        tool_version=__version__,
    )
    directory.write_facts(facts)
    state = State(directory.state)
    _commit_seeds(plan, journal, state, {})
    if not options.looking:
        keep_previous(find_previous(plan.name, runs, directory.id), state, journal)
    state.put("run", "sessions", 1)
    seal, notes = make_seal(plan, facts, directory, journal, clock)
    if not options.looking:
        seal.announce(plan.evidence.threshold)
        seal.checkpoint(timestamp=True)
    return Run(plan, directory, facts, journal, drill_clock, state, options, 1, lock, seal, notes)


def _commit_seeds(plan: DrillPlan, journal: Journal, state: State, journalled: Mapping[str, str]) -> None:
    """Draw the seeds of the samples that were not drawn yet.

    Each is in the journal before the first byte moves: nobody can choose the sample to suit the result.
    """
    for asset in plan.assets:
        facts = AssetFacts(state, asset.name)
        if facts.get("seed") is not None:
            continue
        seed = journalled.get(asset.name)
        if seed is None:
            seed = secrets.token_hex(32)
            journal.record("sample seed", asset=asset.name, seed=seed)
        facts.put("seed", seed)


def reopen(path: Path, options: RunOptions | None = None, clock: Clock | None = None) -> Run:
    """Take up a run that another process began; its clock never stopped.

    Args:
        path: The run's directory.
        options: What the operator chose.
        clock: The machine's clocks.

    Raises:
        UsageError: There is no such run.
        RunLockedError: Another process is at work on it.
        RunError: It was made by another version, or is damaged.
        EvidenceError: Its journal is not the one that its checkpoints cover, or its plan not the one declared.
    """
    clock = clock or SystemClock()
    directory = RunDirectory(path.resolve())
    facts = directory.facts()
    with ExitStack() as undo:
        lock = undo.enter_context(directory.lock())
        plan = plans.from_json(json.loads(directory.plan.read_bytes()))
        # First of all: of a run that was altered nothing is believed, and nothing is changed.
        covered = roots(directory.checkpoints, facts.run_id)
        read_tree(directory.journal, covered)
        last, seeds, pinned = _last_event(directory, plan)
        last_utc = parse_utc(str(last["utc"]))
        behind_seconds = (clock.utc_now() - last_utc).total_seconds()
        t0 = parse_utc(facts.t0_utc)
        drill_clock, downtime = DrillClock.resumed(clock, t0, last_utc, int(str(last["elapsed_ns"])))
        state = State(directory.state)
        undo.callback(state.close)
        session = int(str(state.get("run", "sessions") or 1)) + 1
        state.put("run", "sessions", session)
        state.put("run", "status", None)
        journal = Journal(directory.journal, drill_clock, session, covered)
        undo.callback(journal.close)
        journal.record("resumed", downtime_ns=downtime.duration_ns, tool_version=__version__)
        state.lap(downtime)
        if behind_seconds < -_STEP_SECONDS:  # earlier now than when the last process wrote: set back meanwhile
            keep_clock_step(state, int(behind_seconds * 1_000_000_000))
            journal.record("clock stepped", by_ns=int(behind_seconds * 1_000_000_000))
        _commit_seeds(plan, journal, state, seeds)
        if not pinned and (earlier := known_previous(state)) is not None:
            keep_previous(earlier, state, journal)  # the process ended between keeping and pinning it
        seal, notes = make_seal(plan, facts, directory, journal, clock)
        seal.announce(plan.evidence.threshold)
        seal.checkpoint(timestamp=True)
        undo.pop_all()
    given = options or RunOptions()
    run = Run(plan, directory, facts, journal, drill_clock, state, given, session, lock, seal, notes)
    run.clock_seen = (0, drill_clock.elapsed_ns)
    return run


def _last_event(directory: RunDirectory, plan: DrillPlan) -> tuple[Mapping[str, Json], dict[str, str], bool]:
    """The journal's last line, the seeds in it, and whether it names the run before.

    Raises RunError, and EvidenceError for another plan than the one declared.
    """
    last: Mapping[str, Json] | None = None
    seeds: dict[str, str] = {}
    pinned = False
    for event in read_journal(directory.journal):
        last = event
        if event["event"] == "declared" and event["plan_digest"] != plan.digest:
            raise EvidenceError(
                "is not the plan that was declared",
                resource=directory.plan.name,
                expected=f"digest {event['plan_digest']}",
                hint="put the plan back as it was; a drill with another plan is another run",
            )
        if event["event"] == "sample seed":
            seeds[str(event["asset"])] = str(event["seed"])
        pinned = pinned or event["event"] == PREVIOUS
    if last is None:
        raise RunError("the journal is empty: the drill was never declared", resource=str(directory.path))
    return last, seeds, pinned


def find(runs: Path, name: str) -> Path:
    """A run's directory by its id, the beginning of its id, ``last``, or a path.

    Raises:
        UsageError: None, or more than one, is called so.
    """
    if "/" in name:
        return Path(name)
    known = sorted(p for p in runs.glob("*") if (p / "run.json").exists()) if runs.is_dir() else []
    found = known[-1:] if name == "last" else [p for p in known if p.name.startswith(name)]
    if len(found) != 1:
        problem = "no run is called" if not found else "more than one run begins with"
        raise UsageError(f"{problem} {name!r}", resource=str(runs), hint="exitdrill runs lists them")
    return found[0]
