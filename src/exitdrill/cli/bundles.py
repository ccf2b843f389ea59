"""What ``exitdrill verify`` does with a bundle: the auditor's keys and files in, a table of checks out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from exitdrill.cli.console import err, harmless, out, out_json, table
from exitdrill.errors import EvidenceError, SigningError, TimestampError, UsageError
from exitdrill.evidence.checking import Given, Report, Result, checked_bundle
from exitdrill.evidence.note import NOTE_MAX_BYTES
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.timestamps import load_roots
from exitdrill.model.human import duration

__all__ = ["Live", "verify_file"]

_NO_KEY = (
    "a bundle cannot vouch for itself: give the public key of whoever signs, --key KEY.pub. Get it from its owner by "
    "another way than the bundle, best before the drill; the keys in data/keys/ prove nothing"
)
_SHOWN = {Result.CHECKED: "checked", Result.FAILED: "FAILED", Result.NOT_CHECKED: "not checked"}


@dataclass(frozen=True, slots=True)
class Live:
    """What is to be read again at the target."""

    drill: Path
    """The auditor's drill file."""
    sample: int
    """How many objects of each asset."""
    seconds: float
    """How long it may take."""
    fresh: bool
    """Whether the sample is drawn anew."""


def verify_file(
    file: Path,
    keys: Sequence[Path],
    threshold: int | None,
    tsa_root: Path | None,
    checkpoints: Sequence[Path],
    approvers: Sequence[Path],
    live: Live | None,
    *,
    as_json: bool,
) -> int:
    """Check a bundle and say what was found.

    Returns:
        The process's exit code: 5 where a check failed.

    Raises:
        UsageError: No key is given, or a file that is given cannot be used.
    """
    given = _given(keys, threshold, tsa_root, checkpoints, approvers)
    if live is not None and (live.sample < 1 or live.seconds <= 0):
        raise UsageError("--sample and --seconds are numbers above zero")
    with checked_bundle(partial(OpenBundle.open, file), given) as (found, case):
        report = found
        if live is not None and case is not None:
            from exitdrill.cli.live import live_rows

            more = tuple(live_rows(case, live.drill, live.sample, live.seconds, fresh=live.fresh))
            report = replace(found, rows=(*found.rows, *more))
    if as_json:
        out_json(_facts(report))
    else:
        _show(report)
    return EvidenceError.exit_code if report.failed else 0


def _given(
    keys: Sequence[Path],
    threshold: int | None,
    tsa_root: Path | None,
    checkpoints: Sequence[Path],
    approvers: Sequence[Path],
) -> Given:
    if not keys:
        raise UsageError("no key is given", hint=_NO_KEY)
    if threshold is not None and not 1 <= threshold <= len(keys):
        what = f"--threshold {threshold}, and {len(keys)} given with --key"
        raise UsageError(what, expected="1 to the number of keys given")
    try:
        known = list({key.id: key for key in map(PublicKey.load, keys)}.values())
        who = list(map(PublicKey.load, approvers))
        roots = () if tsa_root is None else load_roots(tsa_root)
    except (SigningError, TimestampError) as exc:
        raise UsageError(exc.what, resource=exc.resource, expected=exc.expected, hint=exc.hint) from exc
    if tsa_root is not None and not roots:
        raise UsageError("no certificates in it", resource=str(tsa_root))
    return Given(known, threshold, roots, [(path.name, _read(path)) for path in checkpoints], who)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(NOTE_MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"cannot be read: {exc.strerror}", resource=str(path)) from exc


def _show(report: Report) -> None:
    rows = [(_SHOWN[row.result], row.what, row.said) for row in report.rows]
    table(("result", "check", "found, or why not"), rows)
    numbers = {result: sum(row.result is result for row in report.rows) for result in Result}
    out("")
    out(", ".join(f"{number} {_SHOWN[result]}" for result, number in numbers.items()))
    if not report.run:
        err("the bundle is not what was signed with these keys: nothing in it can be relied on")
        return
    rta = "not recovered" if report.rta_seconds is None else f"RTA {duration(report.rta_seconds)}"
    claim = f"run {report.run}, drill {report.drill}: {report.judgement}, {rta}"
    out(harmless(f"NOT proven: {claim}" if report.failed else claim))


def _facts(report: Report) -> dict[str, object]:
    return {
        "verified": not report.failed,
        "run": report.run or None,
        "drill": report.drill or None,
        "judgement": report.judgement or None,
        "rta_seconds": report.rta_seconds,
        "signed_by": list(report.keys),
        "checks": [
            {"id": row.id, "what": row.what, "result": row.result.value, "said": row.said} for row in report.rows
        ],
    }
