"""Asking a person, and keeping the answer: with its signature, where the person has a key.

Rules. The journal is signed before a person is asked and after the answer. An answer that the person signed is over
the journal as it was when the question was put, and is verified before it counts. Where the drill names the keys of
those who may answer, an answer that none of them signed is none: the run stops, and a resume asks again. Nor is one
that the run's memory has and the journal has not, with such a signature.
"""

from pathlib import Path

from exitdrill.clock import Lap
from exitdrill.errors import EvidenceError, SigningError, StoppedError
from exitdrill.evidence.approval import Approval, open_approval, sign_approval, verify_approval
from exitdrill.evidence.journal import read_journal
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import open_key
from exitdrill.model.codec import utf8
from exitdrill.plan.drill import Step
from exitdrill.playbook.action import MANUAL
from exitdrill.playbook.conductor import Answer, Conductor, Question
from exitdrill.playbook.run import Run

__all__ = ["ask"]


def ask(run: Run, conductor: Conductor, step: Step) -> Answer:
    """The answer to a step's question: the one that was given, or a person's.

    Raises:
        NotReadyError: Nobody can be asked.
        StoppedError: The person declines, or the answer is not signed by one who may give it.
    """
    kept = run.state.get("approvals", step.id)
    if isinstance(kept, str) and _stands(run, step.id):
        return Answer(kept)
    kind = MANUAL if step.uses == MANUAL else "approval"
    question = Question(step.id, kind, step.why, step.by_hand, step.id in run.plan.evidence.approvers)
    run.journal.record("person asked", step=step.id, kind=kind)
    run.seal.checkpoint()
    size, root = run.journal.head()
    stop = run.clock.lap(f"waiting for {kind} of {step.id}")
    try:
        before = run.options.approvals.get(step.id)
        answer = Answer(before, "given beforehand") if before else conductor.ask(question)
    finally:
        lap = stop()
        run.state.lap(Lap(lap.name, lap.started_utc, lap.start_elapsed_ns, lap.duration_ns, lap.duration_ns))
    approval = Approval(run.plan.digest, run.id, step.id, kind, utf8(answer.name), size, root.hex())
    envelope = _signed(run, approval, answer)
    run.journal.record(
        "person answered", step=step.id, kind=kind, name=answer.name, note=answer.note, signature=envelope
    )
    run.state.put("approvals", step.id, answer.name)
    run.seal.checkpoint()
    return answer


def _stands(run: Run, step: str) -> bool:
    """Whether an answer of an earlier process counts: where it must be signed, the journal has to have it, signed."""
    listed = run.plan.evidence.approvers.get(step)
    if listed is None:
        return True
    given = [e for e in read_journal(run.directory.journal) if e["event"] == "person answered" and e["step"] == step]
    return any(_is_signed(run, step, str(event.get("signature")), listed) for event in given)


def _is_signed(run: Run, step: str, envelope: str, listed: tuple[str, ...]) -> bool:
    try:
        approval, _ = open_approval(envelope, _keys(run, listed), step)
    except EvidenceError:
        return False  # the person is asked again
    return (approval.plan_digest, approval.run, approval.step) == (run.plan.digest, run.id, step)


def _keys(run: Run, listed: tuple[str, ...]) -> list[PublicKey]:
    """The public keys of those who may answer. Raises SigningError."""
    return [PublicKey.load(run.base / Path(name).expanduser()) for name in listed]


def _signed(run: Run, approval: Approval, answer: Answer) -> str | None:
    """The envelope of an answer, verified; None where the person has no key and needs none."""
    listed = run.plan.evidence.approvers.get(approval.step)
    path = answer.key or run.options.approver_keys.get(answer.name)
    if path is None and listed is None:
        return None
    try:
        return _envelope(run, approval, path, listed)
    except (SigningError, EvidenceError) as error:
        run.journal.record("answer refused", step=approval.step, name=answer.name, error=str(error))
        raise StoppedError(
            f"{approval.step} was not answered by one who may: {error.problem}",
            resource=run.id,
            hint=error.hint or "exitdrill resume asks again",
        ) from error


def _envelope(run: Run, approval: Approval, path: str | None, listed: tuple[str, ...] | None) -> str:
    if path is None:
        raise SigningError(f"the answer of {approval.name} is not signed", hint=f"--approver-key {approval.name}=PATH")
    signer = open_key(path, Path.cwd())
    keys = [signer.key] if listed is None else _keys(run, listed)
    envelope = sign_approval(approval, signer)
    verify_approval(envelope, approval, keys, f"the answer of {approval.name}")
    return envelope
