"""The commands that work on findings: finding add, assign, close and list.

What is added is signed and kept beside the run; its record and verdict stay as they are.
"""

import getpass
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from exitdrill.cli.console import err, harmless, out, out_json, table
from exitdrill.cli.options import AsJson, Run, Runs, set_up
from exitdrill.errors import DefinitionError, EvidenceError, UsageError

if TYPE_CHECKING:
    from exitdrill.evidence.findings import Addition
    from exitdrill.evidence.signers import Signer
    from exitdrill.playbook.standing import Findings, Followed

__all__ = ["app"]

app = App(
    name="finding",
    help="Add to the findings of a run: owners, dates, findings of one's own, closings.",
    help_epilogue="",
)

_HERE = Path("runs")
_TEXT_MAX = 4000

_Id = Annotated[
    str, Parameter(help="F001 of the verdict, P0001 of a person, or a fingerprint; 'finding list' has them.")
]
_Owner = Annotated[str | None, Parameter(show_default=False, help="Who is to put it right.")]
_Due = Annotated[str | None, Parameter(show_default=False, help="Until when, as 2027-03-31.")]
_By = Annotated[str | None, Parameter(show_default=False, help="Who says so; the name of the login if left out.")]
_Key = Annotated[
    str | None, Parameter(show_default=False, help="The private key that signs it; the machine's own if left out.")
]


@app.command
def add(
    run: Run,
    /,
    *,
    severity: Annotated[Literal["critical", "warning"], Parameter(help="How much it matters.")],
    subject: Annotated[str, Parameter(help="drill, or the name of an asset or a place.")],
    text: Annotated[str, Parameter(help="What was found.")],
    remedy: Annotated[str, Parameter(help="What is to be done.")],
    owner: _Owner = None,
    due: _Due = None,
    about_key: Annotated[
        tuple[str, ...], Parameter(negative=(), show_default=False, help="An object's key. Can be given several times.")
    ] = (),
    by: _By = None,
    key: _Key = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Add a finding of one's own. It is carried on from run to run until it is closed."""
    set_up()
    from exitdrill.evidence.findings import Kind
    from exitdrill.model.findings import BY_PERSON, Severity, fingerprint

    found = _found(run, runs)
    plan = found.plan
    known = ["drill", *sorted(plan.places), *(asset.name for asset in plan.assets)]
    if subject not in known:
        raise UsageError(f"the drill has no {subject!r}", resource=found.run_id, expected=f"one of: {', '.join(known)}")
    owners = {asset.name: asset.owner for asset in plan.assets}
    default = plan.due.get(severity)
    until = _date(due) or (None if default is None else _today() + default)
    who, words = _text(by or getpass.getuser(), "--by"), (_text(text, "--text"), _text(remedy, "--remedy"))

    def make(number: int) -> "Addition":
        mark = fingerprint(BY_PERSON, subject, f"{found.run_id} {number}")
        return _addition(
            who, Kind.ADDED, mark, Severity(severity), subject, *words, owner or owners.get(subject), until, about_key
        )

    return _signed(run, runs, found, make, key, as_json=json)


@app.command
def assign(
    run: Run,
    finding: _Id,
    /,
    *,
    owner: _Owner = None,
    due: _Due = None,
    by: _By = None,
    key: _Key = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Say who is to put a finding right, and until when."""
    set_up()
    from exitdrill.evidence.findings import Kind

    if owner is None and due is None:
        raise UsageError("nothing to assign", expected="--owner NAME, --due DATE, or both")
    found = _found(run, runs)
    who, until = _text(by or getpass.getuser(), "--by"), _date(due)
    make = _about(
        who, Kind.ASSIGNED, found.named(finding), None if owner is None else _text(owner, "--owner"), until, ""
    )
    return _signed(run, runs, found, make, key, as_json=json)


@app.command
def close(
    run: Run,
    finding: _Id,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why it is done with.")],
    by: _By = None,
    key: _Key = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Close a finding. If the next run finds it again, it is open again."""
    set_up()
    from exitdrill.evidence.findings import Kind

    found = _found(run, runs)
    item = found.named(finding)
    if item.finding.closed_by:
        raise UsageError(f"is closed already, by {item.finding.closed_by}", resource=item.id)
    who = _text(by or getpass.getuser(), "--by")
    make = _about(who, Kind.CLOSED, item, None, None, _text(reason, "--reason"))
    return _signed(run, runs, found, make, key, as_json=json)


@app.command(name="list")
def list_(run: Run, /, *, runs: Runs = _HERE, json: AsJson = False) -> int:
    """List the findings of a run as they stand: of its verdict, of people, and of earlier runs."""
    set_up()
    found, today = _found(run, runs), _today()
    if json:
        out_json(
            {
                "run": found.run_id,
                "drill": found.plan.name,
                "findings": [_plain(item, today) for item in found.items],
                "refused": list(found.refused),
            }
        )
    elif found.items:
        rows = [_row(item, today) for item in found.items]
        table(("id", "severity", "subject", "state", "owner", "due", "since", "finding"), rows)
    else:
        err(f"no findings to follow in run {found.run_id}")
    for refused in found.refused:
        err(f"not believed: {refused}")
    return EvidenceError.exit_code if found.refused else 0


def _found(run: str, runs: Path) -> "Findings":
    from exitdrill.playbook.run import find
    from exitdrill.playbook.standing import findings_of

    return findings_of(find(runs, run))


def _today() -> date:
    from exitdrill.clock import SystemClock

    return SystemClock().utc_now().date()


def _date(text: str | None) -> date | None:
    from exitdrill.plan.dates import parse_date

    if text is None:
        return None
    try:
        return parse_date(text)
    except DefinitionError as error:
        raise UsageError(f"--due {text!r} is no date", expected=error.expected) from error


def _text(text: str, option: str) -> str:
    plain = text.strip()
    if not plain or len(plain) > _TEXT_MAX:
        raise UsageError(f"{option} is {'too long' if plain else 'empty'}", expected=f"1 to {_TEXT_MAX:,} characters")
    try:
        plain.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{option} is not text in UTF-8") from exc
    return plain


def _addition(who: str, *facts: object) -> "Addition":
    """One with its own facts; the rest is filled in where it is signed."""
    from exitdrill.evidence.findings import Addition

    return Addition("", "", 0, "", 0, "", "", who, *facts)  # type: ignore[arg-type]  # the fields that follow `by`


def _about(
    who: str, kind: object, item: "Followed", owner: str | None, until: date | None, reason: str
) -> "Callable[[int], Addition]":
    one = item.finding
    facts = (kind, one.fingerprint, one.severity, one.subject, one.text, one.remedy, owner, until, (), reason)
    return lambda _number: _addition(who, *facts)


def _signed(
    run: str, runs: Path, found: "Findings", make: "Callable[[int], Addition]", key: str | None, *, as_json: bool
) -> int:
    """Sign it, write it, say so."""
    from exitdrill.clock import SystemClock
    from exitdrill.evidence.findings import add as write
    from exitdrill.playbook.run import find
    from exitdrill.transfer.layout import RunDirectory

    signer = _signer(key)
    directory = RunDirectory(find(runs, run))
    addition, path = write(directory, found.plan.digest, make, signer, SystemClock().utc_now())
    item = next(one for one in _found(run, runs).items if one.finding.fingerprint == addition.fingerprint)
    if as_json:
        out_json({"run": found.run_id, "file": str(path), "key": signer.key.id, **_plain(item, _today())})
    else:
        out(harmless(f"{item.id} {addition.kind}: {item.finding.text}"))
        err(f"signed by key {signer.key.id[:16]}…, kept as {path}")
    return 0


def _signer(key: str | None) -> "Signer":
    from exitdrill.evidence.keys import machine_key_path, machine_signer
    from exitdrill.evidence.signers import open_key

    if key is not None:
        return open_key(key, Path.cwd())
    signer, made = machine_signer()
    if made:
        err(f"made a key for this machine: {machine_key_path()}; keep it")
    return signer


def _state(item: "Followed", today: date) -> str:
    one = item.finding
    if one.closed_by:
        return "closed"
    return "overdue" if one.due is not None and one.due < today else "open"


def _plain(item: "Followed", today: date) -> dict[str, object]:
    one = item.finding
    return {
        "id": item.id,
        "fingerprint": one.fingerprint,
        "code": one.code,
        "severity": one.severity.value,
        "subject": one.subject,
        "text": one.text,
        "remedy": one.remedy,
        "state": _state(item, today),
        "owner": one.owner,
        "due": None if one.due is None else one.due.isoformat(),
        "since": one.since,
        "set_by": one.set_by,
        "closed_by": one.closed_by,
        "closed_reason": one.closed_reason,
        "key": item.key,
    }


def _row(item: "Followed", today: date) -> tuple[str, ...]:
    one = item.finding
    due = "-" if one.due is None else one.due.isoformat()
    text = f"{one.text} (closed by {one.closed_by}: {one.closed_reason})" if one.closed_by else one.text
    return (item.id, one.severity.value, one.subject, _state(item, today), one.owner or "-", due, one.since, text)
