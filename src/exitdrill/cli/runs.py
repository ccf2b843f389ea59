"""The commands that work on runs: resume, teardown, runs, show, report."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exitdrill.cli.console import err, out, out_json, table
from exitdrill.cli.options import (
    Approve,
    ApproverKey,
    AsJson,
    Prefect,
    Run,
    Runs,
    Verbose,
    approvals,
    approver_keys,
    set_up,
)
from exitdrill.errors import ExitdrillError, RunError, UsageError

if TYPE_CHECKING:
    from exitdrill.playbook.run import Run as OpenRun

__all__ = ["report", "resume", "runs", "show", "teardown"]

_HERE = Path("runs")


def resume(
    run: Run,
    /,
    *,
    approve: Approve = (),
    approver_key: ApproverKey = (),
    runs: Runs = _HERE,
    prefect: Prefect = True,
    json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Go on with a run that was stopped or interrupted. Its clock never stopped."""
    set_up(verbose=verbose)
    from exitdrill.cli.conduct import carry_out, print_report
    from exitdrill.cli.screen import screen
    from exitdrill.cli.stored import load_plan_of, load_verdict, stored, torn_down
    from exitdrill.playbook.run import RunOptions, find, reopen

    path = find(runs, run)
    known = stored(path)
    if known.status == "completed":
        err(f"run {known.id} is complete: nothing is left to do")
        verdict = load_verdict(path)
        print_report(path, load_plan_of(path), verdict, "json" if json else "text")
        return verdict.exit_code
    if torn_down(path) is not None:
        raise UsageError(
            "cannot be resumed: it failed and was torn down, what it had copied is gone",
            resource=known.id,
            hint=f"exitdrill report {known.id} says why it failed; start the drill anew",
        )
    known_plan = load_plan_of(path)
    given = approvals(approve, known_plan)
    keys = approver_keys(approver_key, known_plan, given)
    shown = screen()
    return carry_out(
        reopen(path, RunOptions(given, keys, shown)), shown, prefect=prefect, as_json=json, verbose=verbose
    )


def teardown(
    run: Run,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Also for a run whose drill says keep: true.")] = False,
    runs: Runs = _HERE,
    json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Remove what a run made at the target and in the vault, and nothing else, and list what is left."""
    set_up(verbose=verbose)
    from exitdrill.cli.screen import screen
    from exitdrill.cli.stored import load_record, stored, torn_down
    from exitdrill.playbook.run import RunOptions, find, reopen

    path = find(runs, run)
    known = stored(path)
    before = torn_down(path)
    if before is not None and before.get("complete"):
        err(f"run {known.id} was torn down already: nothing is left")
    else:
        if known.status == "completed" and before is None and not yes:
            raise UsageError("its drill says keep: true", resource=known.id, hint="add --yes to remove it all the same")
        shown = screen()
        opened = reopen(path, RunOptions(progress=shown))
        shown.attach(opened)
        _tear_down(opened, failed=load_record(path).error if known.status == "failed" else "")
        shown.end("done")
    done = load_record(path).teardown
    if done is None:
        raise RunError("teardown left no account of itself", resource=known.id)
    if json:
        out_json({"run": known.id, **asdict(done)})
    else:
        containers = ", ".join(done.removed_containers) or "none"
        out(f"{known.id}: {done.deleted_objects:,} objects deleted, containers removed: {containers}")
        for item in done.left:
            out(f"  left behind: {item}")
    return 0 if done.complete else RunError.exit_code


def _tear_down(run: "OpenRun", failed: str) -> None:
    """The teardown action alone, as a step of its own; the run's status stays what it was."""
    from exitdrill.cli.conduct import hide_secrets
    from exitdrill.cli.interrupts import interrupts
    from exitdrill.cli.readiness import only
    from exitdrill.emulator import emulator
    from exitdrill.playbook.conductor import LocalConductor
    from exitdrill.playbook.engine import execute, finish

    plan, conductor = run.plan, LocalConductor()
    for place in plan.places.values():
        if place.emulator and not emulator(place.emulator).persistent:
            # It ended with all it held: there is nothing to lose by starting it empty.
            run.state.put("emulators", place.name, None)
    run.plan = replace(plan, keep=False, playbook=only("run.teardown"))
    try:
        with interrupts(run.stop, err):
            hide_secrets(plan, run)
            execute(run, conductor)
    except ExitdrillError as error:
        err(f"error: {error}")
    finally:
        conductor.close()
        run.plan = plan
        run.error = RunError(failed) if failed else None
        finish(run)


def runs(*, runs: Runs = _HERE, json: AsJson = False) -> int:
    """List every run: when, which drill, how it was judged, how long recovery took."""
    set_up()
    from exitdrill.cli.stored import every
    from exitdrill.model.human import duration

    found = every(runs)
    if json:
        out_json([{**asdict(one), "path": str(one.path)} for one in found])
        return 0
    if not found:
        err(f"no runs in {runs}")
        return 0
    rows = [
        (
            one.id,
            one.drill,
            one.mode,
            one.declared_utc[:16].replace("T", " "),
            one.judgement or one.status,
            "-" if one.rta_seconds is None else duration(one.rta_seconds),
            "-" if one.rto_seconds is None else duration(one.rto_seconds),
        )
        for one in found
    ]
    table(("run", "drill", "mode", "declared (UTC)", "judgement", "RTA", "RTO"), rows, right=(5, 6), wide=1)
    for one in found:
        if one.problem:
            err(f"{one.id}: {one.problem}")
    return 0


def show(run: Run, /, *, runs: Runs = _HERE, json: AsJson = False) -> int:
    """Show one run: how it stands, its steps and its laps; also while it is still running."""
    set_up()
    from exitdrill.cli.showing import show_run, to_json
    from exitdrill.cli.stored import stored
    from exitdrill.playbook.run import find

    known = stored(find(runs, run))
    if json:
        out_json(to_json(known))
    else:
        show_run(known)
    return 0


def report(
    run: Run,
    /,
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str, Parameter(help="text, html, pdf, markdown, json, csv (the exceptions) or oscal.")
    ] = "text",
    lang: Annotated[
        str,
        Parameter(
            env_var="EXITDRILL_LANG", help="en or nl, of the formats for people; or the variable EXITDRILL_LANG."
        ),
    ] = "en",
    output: Annotated[Path | None, Parameter(name=("--output", "-o"), help="Write to this file, not stdout.")] = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Print the report on a run that has ended: verdict, proof, findings."""
    set_up()
    from exitdrill.cli.conduct import print_report
    from exitdrill.cli.stored import load_plan_of, load_record, load_verdict, stored
    from exitdrill.playbook.run import find
    from exitdrill.report import Options, encode, language
    from exitdrill.transfer.layout import RunDirectory, write_atomic

    path = find(runs, run)
    spoken = language(lang)
    stored(path)
    plan, verdict = load_plan_of(path), load_verdict(path)
    chosen = "json" if json else format
    options = Options(spoken, RunDirectory(path).report_digests())
    if output is None:
        print_report(path, plan, verdict, chosen, options)
        return 0
    made = encode(chosen, plan, load_record(path), verdict, options)
    try:
        write_atomic(output, made)
    except OSError as exc:
        raise UsageError(f"cannot be written: {exc.strerror}", resource=str(output)) from exc
    err(f"written to {output}")
    return 0
