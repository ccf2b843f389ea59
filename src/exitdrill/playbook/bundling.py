"""The evidence bundle, made when a run is finished, whatever came of it.

It comes last: the journal is closed and signed, so that nothing that goes wrong here can stand in it. It is said to
whoever follows the run, and the run's directory, which is sealed, stays what it is.
"""

from exitdrill.errors import ExitdrillError
from exitdrill.evidence.bundle import bound_files, write_bundle
from exitdrill.model.journal import Json
from exitdrill.playbook.run import Run

__all__ = ["bound", "keep_bundle"]


def bound(run: Run) -> dict[str, Json]:
    """What the journal's last words say of all the files of a run: how many, and one digest over their digests."""
    try:
        number, digest = bound_files(run.directory)
    except (ExitdrillError, OSError) as error:
        return {"error": str(error)}
    return {"number": number, "sha256": digest}


def keep_bundle(run: Run) -> None:
    """Make ``evidence.zip``, or say why there is none."""
    head, signers = run.seal.newest
    if head is None or not signers:
        run.options.progress.note("no key signed the end of this run: there is no evidence bundle")
        return
    try:
        write_bundle(run.directory, run.plan, head, signers)
    except (ExitdrillError, OSError) as error:
        run.options.progress.note(f"there is no evidence bundle: {error}; what it would hold is in the run's directory")
