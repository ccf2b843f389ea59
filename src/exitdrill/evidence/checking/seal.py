"""Checks of the seal: who signed, whether the log is the one that was signed, and by whose clock.

Each returns what it found, or `Unchecked` with the reason, and raises EvidenceError where something is wrong.
"""

from datetime import timedelta
from hashlib import sha256

from exitdrill import __version__
from exitdrill.clock import format_utc, parse_utc
from exitdrill.errors import EvidenceError, SigningError, TimestampError
from exitdrill.evidence import statement
from exitdrill.evidence.approval import Approval, open_approval
from exitdrill.evidence.bundle import DRILL_RESULT, TEST_RESULT, manifests
from exitdrill.evidence.checking.case import Case, Event, Signed
from exitdrill.evidence.checking.rows import Given, Unchecked
from exitdrill.evidence.checkpoint import origin, parse_checkpoint
from exitdrill.evidence.dsse import ENVELOPE_MAX_BYTES, key_ids
from exitdrill.evidence.note import Note, parse_note, verify_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.timestamps import Token, bounds, read_token
from exitdrill.model.human import count, duration
from exitdrill.model.record import RunStatus, StepStatus

__all__ = [
    "AUTHORITY",
    "approvals",
    "checkpoints",
    "earlier_checkpoints",
    "journal",
    "measured_by_authority",
    "signers",
    "statements",
    "threshold",
    "threshold_of",
    "timestamps",
]

AUTHORITY = ("timestamped", "not timestamped")
"""What the journal says of an authority's answers, whenever they come."""
AFTER_CLOSED = (*AUTHORITY, "signing failed")
_NS = 1_000_000_000
_MANUAL = "manual"
_KEY_MAX = 16 * 1024
_OFF = timedelta(minutes=10)
"""How far the machine's clock may be from the authority's."""


def threshold_of(case: Case, given: Given) -> int:
    """How many keys must have signed."""
    return given.threshold if given.threshold is not None else case.plan.evidence.threshold


def threshold(case: Case, given: Given) -> str:
    """As many keys have signed the index as must have."""
    wanted, signed = threshold_of(case, given), len(case.signed_by)
    if signed < wanted:
        hint = "give the other keys, too: --key, once for each"
        raise EvidenceError(f"signed by {signed} of the keys given", resource="index", expected=f"{wanted}", hint=hint)
    by_plan = case.plan.evidence.threshold
    less = f"; the plan asks for {by_plan}" if wanted < by_plan else ""
    return f"{signed} of the keys given, {wanted} must have{less}"


def statements(case: Case, given: Given) -> str:
    """Both statements are signed by enough keys, and say what follows from the bundle."""
    wanted = statement.statements(
        case.plan, case.record_bytes, case.verdict_bytes, case.head, manifests(case.record), case.bundle.index.tool
    )
    same_version = case.bundle.index.tool == __version__
    for name, expected in zip((DRILL_RESULT, TEST_RESULT), wanted, strict=True):
        envelope = case.bundle.read(name, ENVELOPE_MAX_BYTES)
        found = statement.verify(envelope, given.keys, threshold_of(case, given), name)
        key_ids(envelope, name)
        if same_version and found.payload != expected:
            raise EvidenceError("does not say what plan, record, verdict and journal say", resource=name)
        if statement.subjects(found.payload, name) != statement.subjects(expected, name):
            raise EvidenceError("is about other files or roots than those in the bundle", resource=name)
    return "both are signed and say what plan, record, verdict, journal and roots say"


def journal(case: Case, given: Given) -> str:  # noqa: ARG001 - each check has the same shape
    """The journal is one log from its declaration to its close, with clocks that run forwards."""
    first = case.events[0] if case.events else None
    if first is None or first.name != "declared" or first.text("run") != case.bundle.run:
        raise EvidenceError("does not begin with the declaration of this run", resource="journal.jsonl")
    for before, event in zip(case.events, case.events[1:], strict=False):
        if event.session < before.session:
            raise EvidenceError("sessions run backwards", resource=f"journal.jsonl, line {event.n + 1}")
        if event.elapsed_ns < before.elapsed_ns:
            raise EvidenceError("drill time runs backwards", resource=f"journal.jsonl, line {event.n + 1}")
    last = next((event for event in reversed(case.events) if event.name not in AFTER_CLOSED), first)
    if last.name != "closed":
        raise EvidenceError("does not end with the close of the run", resource="journal.jsonl")
    return f"{count(len(case.events), 'line')} of canonical JSON, numbered, from the declaration to the close"


def checkpoints(case: Case, given: Given) -> str:
    """Every checkpoint is signed, is of this run, and is the root of the journal until then."""
    sizes = [signed.checkpoint.size for signed in case.checkpoints]
    numbers = [signed.number for signed in case.checkpoints]
    if sizes != sorted(sizes) or numbers != list(range(1, len(sizes) + 1)):
        raise EvidenceError("not in order, or one is missing", resource="checkpoints")
    for signed in case.checkpoints:
        _covers(case, signed.name, signed)
        verify_note(signed.note, origin(case.bundle.run), given.keys, 1, signed.name)
    if any(event.name != "signing failed" for event in case.events[case.head.size :]):
        what = f"the newest covers {case.head.size} of {len(case.events)} lines"
        raise EvidenceError(what, resource="checkpoints", expected="all, but for keys that failed after it")
    newest = case.checkpoints[-1]
    signed_by = verify_note(newest.note, origin(case.bundle.run), given.keys, threshold_of(case, given), newest.name)
    said = f"{count(len(sizes), 'checkpoint')}, each the root of the journal until then"
    return f"{said}; {count(len(signed_by), 'known key')} signed the last"


def _covers(case: Case, name: str, signed: Signed) -> None:
    point = signed.checkpoint
    if point.origin != origin(case.bundle.run):
        raise EvidenceError("a checkpoint of another run", resource=name, expected=origin(case.bundle.run))
    if point.size >= len(case.roots) or case.roots[point.size] != point.root:
        raise EvidenceError(f"the first {point.size} lines of the journal are not those it covers", resource=name)


def signers(case: Case, given: Given) -> str:
    """Every key on the index was announced in the journal, before the first phase or at a resume."""
    announced: set[str] = set()
    for event in case.named("signers", "signers added"):
        keys = event.facts.get("keys")
        for one in keys if isinstance(keys, list) else ():
            if isinstance(one, dict):
                announced.add(str(one.get("id")))
    ids = case.index_keys
    if strangers := [name for name in ids if name not in announced]:
        raise EvidenceError(f"signed by {strangers[0][:16]}…, which the journal announces nowhere", resource="index")
    held = set()
    for name in case.bundle.names("keys"):
        try:
            key = PublicKey.from_pem(case.bundle.read(name, _KEY_MAX), name)
        except SigningError as exc:
            raise EvidenceError(exc.what, resource=name) from exc
        if key.id not in announced or key.pem != case.bundle.read(name, _KEY_MAX):
            raise EvidenceError("a key that the journal announces nowhere", resource=name)
        held.add(key.id)
    if lacking := set(ids) - held:
        raise EvidenceError("the public half of a key that signed is missing", resource=f"{min(lacking)[:16]}…")
    known = {key.id for key in given.keys}
    more = [f"{name[:16]}…" for name in ids if name not in known]
    said = f"{count(len(set(ids) & known), 'key')}, announced in the journal"
    return said if not more else f"{said}; a signature of {', '.join(more)} is not judged: that key was not given"


def earlier_checkpoints(case: Case, given: Given) -> str | Unchecked:
    """The journal begins with what each checkpoint that was kept from before covers."""
    if not given.checkpoints:
        return Unchecked(
            "none was given (--checkpoint FILE, got while the drill ran, shows that nothing was sealed anew)"
        )
    told = []
    for name, data in given.checkpoints:
        note = parse_note(data, name)
        point = parse_checkpoint(note.text, name)
        try:
            _covers(case, name, Signed(0, name, data, note, point, None))
        except EvidenceError as exc:
            hint = "this run was sealed anew after that checkpoint was made, or it is of another run"
            raise EvidenceError(exc.what, resource=name, expected=exc.expected, hint=hint) from exc
        by = _signed_by(note, case, given, name)
        told.append(f"the first {point.size} lines are those that {name} covers ({by})")
    return "; ".join(told)


def _signed_by(note: Note, case: Case, given: Given, name: str) -> str:
    """Who of the given keys signed a checkpoint that was kept; it counts without, by the way it was got."""
    try:
        found = verify_note(note, origin(case.bundle.run), given.keys, 1, name)
    except EvidenceError:
        return "signed by none of the keys given"
    return f"signed by {found[0].id[:16]}…"


def _tokens(case: Case, given: Given) -> list[tuple[Signed, Token]]:
    found = []
    for signed in case.checkpoints:
        if signed.token is not None:
            try:
                found.append((signed, read_token(signed.token, signed.data, given.roots)))
            except TimestampError as exc:
                raise EvidenceError(exc.what, resource=f"timestamp of {signed.name}", hint=exc.hint) from exc
    return found


def _answers(case: Case) -> dict[int, Event]:
    """The journal's lines on tokens, by the number of the checkpoint."""
    found = {}
    for event in case.named("timestamped"):
        number = event.number("checkpoint")
        if number is not None:
            found[number] = event
    return found


def timestamps(case: Case, given: Given) -> str | Unchecked:
    """Every token is about its checkpoint, is in the journal, and fits the clock of the machine."""
    tokens, answers = _tokens(case, given), _answers(case)
    held = {signed.number for signed, _ in tokens}
    if lost := sorted(set(answers) - held):
        raise EvidenceError("the journal has a token that is not in the bundle", resource=f"checkpoint {lost[0]}")
    last: Token | None = None
    for signed, token in tokens:
        answer = answers.get(signed.number)
        if answer is not None and answer.text("token_sha256") != sha256(token.data).hexdigest():
            raise EvidenceError("not the token that the journal has", resource=signed.name)
        if last is not None and token.at + token.accuracy < last.at - last.accuracy:
            raise EvidenceError("a token that is older than the one before it", resource=signed.name)
        if signed.checkpoint.size:
            ours = parse_utc(case.events[signed.checkpoint.size - 1].utc)
            if abs(token.at - ours) > _OFF:
                what = f"the authority says {format_utc(token.at)}, the journal {format_utc(ours)}"
                hint = "the machine's clock was wrong, or the journal was sealed long after it says"
                raise EvidenceError(what, resource=signed.name, hint=hint)
        last = token
    if last is None:
        reasons = [event.text("reason") for event in case.named("not timestamped")]
        wanted = "" if case.plan.evidence.timestamps is None else "the plan names an authority, and yet: "
        return Unchecked(f"not timestamped: {wanted}{reasons[0] if reasons else 'the journal does not say why'}")
    said = f"{count(len(tokens), 'token')}, {format_utc(tokens[0][1].at)} to {format_utc(last.at)}"
    if not given.roots:
        return Unchecked(f"{said}, about these checkpoints; by whom is not known without --tsa-root CERT")
    return f"{said}, each leads to a root given and is about its checkpoint"


def measured_by_authority(case: Case, given: Given) -> str | Unchecked:
    """What lay between the first and the last token, by the authority's clock, is what the journal says."""
    tokens = _tokens(case, given)
    if len(tokens) < 2 or not given.roots:  # noqa: PLR2004 - a first and a last
        return Unchecked("needs two tokens and --tsa-root CERT: the times are by the machine's own clock")
    (first, opening), (last, closing) = tokens[0], tokens[-1]
    if not first.checkpoint.size:
        raise EvidenceError("covers nothing", resource=first.name)
    try:
        between = bounds(opening, closing)
    except TimestampError as exc:
        raise EvidenceError(exc.what, resource="timestamps") from exc
    begun, ended = (case.events[one.checkpoint.size - 1].elapsed_ns for one in (first, last))
    shortest, longest = (
        timedelta(microseconds=ns // 1000) for ns in (ended - _got(case, first, begun), _got(case, last, ended) - begun)
    )
    if longest < between.at_least or shortest > between.at_most:
        what = f"the journal says {_span(shortest, longest)}, the authority {_span(between.at_least, between.at_most)}"
        raise EvidenceError(what, resource="time between the first and the last token")
    recovered = case.record.recovered_elapsed_ns
    bound = timedelta(microseconds=begun // 1000) + between.at_most
    said = f"{_span(between.at_least, between.at_most)} between the tokens by the authority's clock, as in the journal"
    if recovered is None or recovered > ended:
        return f"{said}; the drill did not recover before the last of them"
    if timedelta(microseconds=recovered // 1000) > bound:
        raise EvidenceError("the RTA is longer than the time until the last token", resource="record.json")
    longest_rta, claimed = duration(bound.total_seconds()), duration(recovered / _NS)
    return f"{said}; the RTA was no longer than {longest_rta}, and is claimed as {claimed}"


def _got(case: Case, signed: Signed, made_ns: int) -> int:
    """Drill time by which the token of a checkpoint had come."""
    answer = _answers(case).get(signed.number)
    timeout = case.plan.evidence.timestamps
    limit = 0 if timeout is None else int(timeout.timeout.total_seconds() * _NS)
    return made_ns + limit if answer is None else answer.elapsed_ns


def _span(low: timedelta, high: timedelta) -> str:
    return f"{max(0.0, low.total_seconds()):.1f} to {high.total_seconds():.1f} s"


def approvals(case: Case, given: Given) -> str | Unchecked:
    """Every answer of a person that must be signed is, by one of the approvers' keys, over this run until then."""
    answers = case.named("person answered")
    _unanswered(case, {event.text("step") for event in answers})
    if not answers:
        return Unchecked("no step of this run asked for a person")
    asked = {event.text("step"): event for event in case.named("person asked")}
    signed, by = 0, list[str]()
    for event in answers:
        envelope, step = event.text("signature"), event.text("step")
        if not envelope and step in case.plan.evidence.approvers:
            raise EvidenceError("the plan wants a signed answer, and this one is not", resource=f"step {step}")
        signed += bool(envelope)
        if envelope and given.approvers:
            by.append(f"{step} by {_approved(case, given, event, asked.get(step)).id[:16]}…")
    said = f"{count(len(answers), 'answer')}, {signed} signed"
    if not signed:
        return Unchecked(f"{said}: a name in the journal is all there is")
    if not given.approvers:
        return Unchecked(f"{said}; by whom is not known without --approver PUB")
    return f"{said} over plan, run, step and the journal until then: {', '.join(by)}"


def _unanswered(case: Case, answered: set[str]) -> None:
    """Refuse a run that went on without the answer that its plan asks for."""
    done = {step.id for step in case.record.steps if step.status is StepStatus.DONE}
    for step in case.plan.playbook.steps:
        asks = step.approval or step.uses == _MANUAL
        carried_out = step.id in done or case.record.status is RunStatus.COMPLETED
        if asks and carried_out and step.id not in answered:
            raise EvidenceError("the plan asks for a person, and nobody answered", resource=f"step {step.id}")


def _approved(case: Case, given: Given, event: Event, asked: Event | None) -> PublicKey:
    step = event.text("step")
    found, key = open_approval(event.text("signature"), given.approvers, f"answer to {step}")
    size = found.journal_size
    expected = Approval(
        case.plan_digest, case.bundle.run, step, event.text("kind"), event.text("name"), size, found.journal_root
    )
    if found != expected or asked is None or not asked.n < size <= event.n:
        raise EvidenceError("signed for something else", resource=f"answer to {step}")
    if case.roots[size].hex() != found.journal_root:
        raise EvidenceError("signed over another journal", resource=f"answer to {step}")
    return key
