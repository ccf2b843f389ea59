"""Carrying a playbook out, and judging what came of it.

Rules. Steps run in the playbook's order; a step that was done is not done again after a crash. Each step is
in the journal before it begins. A critical step that fails ends the drill: the steps after it are not
attempted, except those that always run (teardown, and the record). Where the cause can be put right (a full
disk, expired credentials, a place that is down) teardown waits for a person too: to resume, or to give up.
A person's answer is waited for in a lap of its own. `finish` writes the record and the verdict whatever happened.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from threading import Timer

from exitdrill.assess import assess
from exitdrill.errors import (
    ExitdrillError,
    NoSpaceError,
    NotReadyError,
    RunError,
    StepFailedError,
    StoppedError,
    can_resume,
)
from exitdrill.model import codec
from exitdrill.model.record import EARLY_REBUILD, RunRecord, RunStatus, StepRecord, StepStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import Asset, Phase, Step
from exitdrill.playbook.action import MANUAL, Action, StepContext, action, side_by_side
from exitdrill.playbook.asking import ask
from exitdrill.playbook.bundling import bound, keep_bundle
from exitdrill.playbook.conductor import Answer, Conductor
from exitdrill.playbook.emulators import ready_emulators
from exitdrill.playbook.recording import note_clock_step, run_record
from exitdrill.playbook.run import Run
from exitdrill.playbook.state import AssetFacts
from exitdrill.playbook.throughput import Meters
from exitdrill.report import Options, encode
from exitdrill.transfer.client import Watch, watch
from exitdrill.transfer.job import Job, Tick
from exitdrill.transfer.layout import write_atomic

__all__ = ["execute", "finish"]

_BRIEF = 300
_ENDED_BADLY = (StepStatus.FAILED, StepStatus.NOT_ATTEMPTED)


def execute(run: Run, conductor: Conductor, *, before: str | None = None) -> None:
    """Carry out every phase that is not done yet.

    Args:
        run: The run, open.
        conductor: Runs the tasks and asks the people.
        before: Stop in front of this phase; None for all.

    Raises:
        StoppedError: Somebody stopped it. It can be resumed.
        NotReadyError: Preflight says no.
        StepFailedError: A critical step failed. Teardown was carried out, unless the cause can be put right
            (`exitdrill.errors.can_resume`): then all is kept for ``exitdrill resume``.
        ExitdrillError: What else ended it.
    """

    def refused(job: Job, address: str) -> None:
        early = job.cut_early and job.task == "rebuild"
        run.state.refused(address, EARLY_REBUILD if early else job.task)

    run.state.put("run", "width", conductor.width)
    cut_early = partial(run.environ, cut_early=True)
    meters = Meters(lambda asset: AssetFacts(run.state, asset), lambda: run.clock.elapsed_ns)

    def tick(this_far: Tick) -> None:
        meters.tick(this_far)
        run.options.progress.tick(this_far)

    while run.notes:
        run.options.progress.note(run.notes.pop(0))
    who = Watch(tick, run.stop.is_set, refused, run.environ, cut_early)
    with watch(run.directory, who):
        try:
            ready_emulators(run)
            if before is None:
                run.start_workers(conductor.width)
            for phase in run.plan.playbook.phases:
                if phase.name == before:
                    return
                try:
                    _phase(run, conductor, phase)
                finally:
                    meters.keep()
        except StoppedError as error:
            run.error = error
            raise
        except Exception as error:
            run.error = error
            _say_failed(run, error)
            if not can_resume(error):
                # Also what nobody foresaw: what the run made must not stay behind because of it.
                _last_steps(run, conductor)
            raise


def _say_failed(run: Run, error: Exception) -> None:
    """Into the journal; on a full disk the room kept for this is given back first."""
    if isinstance(error, NoSpaceError):
        run.directory.free_reserve()
    text = str(error) if isinstance(error, ExitdrillError) else f"unexpected {type(error).__name__}: {error}"
    try:
        run.journal.record("failed", error=text)
    except NoSpaceError:
        run.directory.free_reserve()
        run.journal.record("failed", error=text)


def _brief(error: Exception) -> str:
    """An error as the steps and the drill name it: the asset, the checks or the journal have the whole of it."""
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= _BRIEF else line[: _BRIEF - 1] + "…"


def _phase(run: Run, conductor: Conductor, phase: Phase) -> None:
    if all(_done(run, step) for step in phase.steps):
        return
    run.options.progress.phase(phase.name)
    run.journal.record("phase begins", phase=phase.name)
    stop = run.clock.lap(f"phase {phase.name}")
    try:
        for step in phase.steps:
            if not _done(run, step):
                _step(run, conductor, phase, step)
    finally:
        run.state.lap(stop())
        note_clock_step(run)
    run.journal.record("phase ends", phase=phase.name)
    if not run.options.looking:
        run.seal.checkpoint(timestamp=True)


def _done(run: Run, step: Step) -> bool:
    return run.state.done(step.id)


def _last_steps(run: Run, conductor: Conductor) -> None:
    """The steps that always run, after a failure. What fails here is noted and does not hide the cause."""
    for phase in run.plan.playbook.phases:
        for step in phase.steps:
            try:
                if step.uses == MANUAL or _done(run, step) or not action(step.uses).always:
                    continue
                answer = ask(run, conductor, step) if step.approval else None
                _attempts(run, conductor, phase, step, answer)
            except ExitdrillError as error:
                run.journal.record("failed", step=step.id, error=str(error))
                run.options.progress.note(f"{step.id}: {error}")


def _step(run: Run, conductor: Conductor, phase: Phase, step: Step) -> None:
    answer = ask(run, conductor, step) if step.approval or step.uses == MANUAL else None
    try:
        _attempts(run, conductor, phase, step, answer)
    except StoppedError:
        raise
    except ExitdrillError as error:
        if not step.critical:
            run.options.progress.note(f"{step.id} failed, and is not critical: {error}")
            return
        if isinstance(error, NotReadyError | NoSpaceError):
            raise
        raise StepFailedError(f"step {step.id!r} failed: {_brief(error)}", resource=run.id) from error


def _attempts(run: Run, conductor: Conductor, phase: Phase, step: Step, answer: Answer | None) -> None:
    """A step with its retries, its time limit and its lap."""
    by = None if answer is None else answer.name
    for attempt in range(1, step.retries + 2):
        run.journal.record("step begins", step=step.id, uses=step.uses, attempt=attempt)
        stop = run.clock.lap(f"step {step.id}")
        # Done only once it is: an exception nobody foresaw must not leave a step that a resume would skip.
        status, error, whole = StepStatus.FAILED, "ended unexpectedly", ""
        try:
            _limited(run, conductor, phase, step)
            status, error = StepStatus.DONE, ""
        except ExitdrillError as exc:
            status = StepStatus.STOPPED if isinstance(exc, StoppedError) else StepStatus.FAILED
            error, whole = _brief(exc), str(exc)
            if not exc.transient or attempt > step.retries:
                raise
            run.options.progress.note(f"{step.id}: trying again: {_brief(exc)}")
        finally:
            run.state.lap(stop(attempts=attempt))
            run.state.step(StepRecord(step.id, phase.name, status, None, attempt, error, by))
            run.journal.record("step ends", step=step.id, status=status.value, error=whole or error)
        if status is StepStatus.DONE:
            return


def _limited(run: Run, conductor: Conductor, phase: Phase, step: Step) -> None:
    if step.uses == MANUAL:
        return
    late = False

    def expire() -> None:
        nonlocal late
        late = not run.stop.is_set()  # otherwise somebody stopped the run before, and that stands
        run.stop.set()

    timer = Timer(step.timeout.total_seconds(), expire)
    timer.daemon = True
    timer.start()
    stopped: StoppedError | None = None
    try:
        _act(run, conductor, phase, step, action(step.uses))
    except StoppedError as error:
        stopped = error
    finally:
        timer.cancel()
        timer.join()
        if late:
            run.stop.clear()
    if late:
        raise RunError(f"took longer than its limit of {step.timeout}", resource=step.id) from stopped
    if stopped is not None:
        raise stopped


def _act(run: Run, conductor: Conductor, phase: Phase, step: Step, chosen: Action) -> None:
    if run.stop.is_set() and not chosen.always:
        raise StoppedError("stopped", resource=run.id, hint=f"go on with: exitdrill resume {run.id}")
    if not chosen.per_asset:
        chosen.run(StepContext(run, step, conductor))
        return
    chosen.prepare(StepContext(run, step, conductor))
    _Assets(run, conductor, phase, step, chosen).run()


class _Assets:
    """One action on every asset: side by side, in the order of ``depends_on``."""

    def __init__(self, run: Run, conductor: Conductor, phase: Phase, step: Step, chosen: Action) -> None:
        self._run, self._conductor, self._phase, self._step, self._action = run, conductor, phase, step, chosen
        self._errors: dict[str, ExitdrillError] = {}

    def run(self) -> None:
        side_by_side(self._run.plan.assets, self._one)
        stopped = [e for e in self._errors.values() if isinstance(e, StoppedError)]
        if stopped:
            raise stopped[0]
        for asset in self._run.plan.assets:
            if (error := self._errors.get(asset.name)) is not None and asset.critical:
                raise error

    def _one(self, asset: Asset) -> None:
        if self._run.state.done(self._step.id, asset.name):
            return
        if (why := self._hopeless(asset)) is not None:
            self._keep(asset, StepStatus.NOT_ATTEMPTED, RunError(why, resource=asset.name))
            self._errors[asset.name] = RunError(f"not attempted: {why}", resource=asset.name)
            return
        self._run.journal.record("asset begins", step=self._step.id, asset=asset.name)
        stop = self._run.clock.lap(f"{self._step.id} {asset.name}")
        try:
            self._action.run(StepContext(self._run, self._step, self._conductor, asset))
        except ExitdrillError as error:
            self._errors[asset.name] = error
            status = StepStatus.STOPPED if isinstance(error, StoppedError) else StepStatus.FAILED
            self._keep(asset, status, error)
        else:
            self._keep(asset, StepStatus.DONE, None)
        finally:
            self._run.state.lap(stop())

    def _hopeless(self, asset: Asset) -> str | None:
        """Why there is no use in trying: what it depends on failed, or a critical step before this one did."""
        if any(name in self._errors for name in asset.depends_on):
            return "what it depends on failed"
        critical = {step.id for step in _critical(self._run)} - {self._step.id}
        for step in self._run.state.steps():
            if step.asset == asset.name and step.id in critical and step.status in _ENDED_BADLY:
                return f"step {step.id!r} failed for it"
        return None

    def _keep(self, asset: Asset, status: StepStatus, error: ExitdrillError | None) -> None:
        """Note how the step ended for an asset, and its first error until the step that raised it succeeds."""
        run, scope, text = self._run, f"asset:{asset.name}", "" if error is None else _brief(error)
        run.state.step(StepRecord(self._step.id, self._phase.name, status, asset.name, 1, text))
        if run.state.get(scope, "error step") in (None, self._step.id):
            run.state.put(scope, "error", "" if error is None else str(error))
            run.state.put(scope, "error step", None if error is None else self._step.id)
        whole = "" if error is None else str(error)
        run.journal.record("asset ends", step=self._step.id, asset=asset.name, status=status.value, error=whole)


def _status(run: Run) -> RunStatus:
    if isinstance(run.error, StoppedError):
        return RunStatus.STOPPED
    if run.error is not None:
        return RunStatus.FAILED
    undone = [step for step in _critical(run) if not _done(run, step)]
    return RunStatus.STOPPED if undone else RunStatus.COMPLETED


def _critical(run: Run) -> Iterator[Step]:
    return (step for step in run.plan.playbook.steps if step.critical)


def finish(run: Run) -> Verdict:
    """Write the record, the verdict and the report, close the run, and return the verdict. Whatever happened before."""
    try:
        if isinstance(run.error, NoSpaceError):
            run.directory.free_reserve()
        try:
            return _close(run)
        except NoSpaceError:
            run.directory.free_reserve()
            return _close(run, last=True)
    finally:
        run.close()


def _write_report(run: Run, record: RunRecord, verdict: Verdict, digests: Mapping[str, str], *, last: bool) -> None:
    """The page for people. It can be made again from what is on disk: what fails here is said, and costs no more."""
    try:
        page = encode("html", run.plan, record, verdict, Options(files=digests))
        write_atomic(run.directory.report, page)
    except Exception as error:  # a fault in a template must not cost the run its seal and its exit code
        if isinstance(error, NoSpaceError) and not last:
            raise  # `finish` gives the reserve back, and tries again
        text = str(error) if isinstance(error, ExitdrillError) else f"unexpected {type(error).__name__}: {error}"
        run.journal.record("report failed", error=text)
        again = f"exitdrill report {run.id} --format html -o FILE"
        run.options.progress.note(f"{run.directory.report.name} was not written: {text}; try: {again}")


def _close(run: Run, *, last: bool = False) -> Verdict:
    note_clock_step(run)
    record = run_record(run, _status(run))
    verdict = assess(run.plan, record)
    write_atomic(run.directory.record, codec.dump(record))
    write_atomic(run.directory.verdict, codec.dump(verdict))
    digests = run.directory.report_digests()
    _write_report(run, record, verdict, digests, last=last)
    words = partial(
        run.journal.record,
        "closed",
        status=record.status.value,
        judgement=verdict.judgement.value,
        sha256={path.name: digests[path.name] for path in (run.directory.record, run.directory.verdict)},
        files=bound(run),
    )
    signed, wanted = run.seal.close(words), run.plan.evidence.threshold
    if signed < wanted:
        text = f"{signed} keys signed the end of this run, {wanted} must have for its evidence to count"
        run.options.progress.note(f"{text}; the journal says why")
    keep_bundle(run)
    return verdict
