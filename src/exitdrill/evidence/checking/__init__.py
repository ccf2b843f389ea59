"""Verification of a bundle, offline: every check in order, each a row.

Rules. First the file, the index's signatures and every byte; where one of these fails nothing else is looked at,
because what is inside is then not what anybody signed. Then each check by itself: what is wrong in one does not hide
the others. What is recomputed: the tree over the journal, the RTA and the laps from its lines, manifests' roots and
counts from the ledgers, the verdict from plan and record. What evidence cannot show is a row that says so.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from exitdrill.errors import EvidenceError
from exitdrill.evidence.checking import account, ledger, seal, severing
from exitdrill.evidence.checking.case import Case
from exitdrill.evidence.checking.rows import Given, Report, Result, Row, Unchecked
from exitdrill.evidence.index import Index
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.publickey import PublicKey
from exitdrill.model.human import bytes_, count, safe

__all__ = ["Case", "Given", "Report", "Result", "Row", "Unchecked", "checked_bundle", "verify_bundle"]

Check = Callable[[Case, Given], str | Unchecked]

_CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("threshold", "enough keys have signed it", seal.threshold),
    ("plan", "the plan is the one declared", account.plan),
    ("journal", "the journal is whole and in order", seal.journal),
    ("checkpoints", "checkpoints are signed and fit the journal", seal.checkpoints),
    ("signers", "the keys were announced", seal.signers),
    ("earlier", "it begins as it did before", seal.earlier_checkpoints),
    ("timestamps", "somebody else's clock", seal.timestamps),
    ("bounds", "the time measured is the authority's", seal.measured_by_authority),
    ("statements", "the signed statements say what is here", seal.statements),
    ("approvals", "who approved", seal.approvals),
    ("seeds", "samples were fixed beforehand", account.seeds),
    ("closed", "record and verdict are the journal's", account.closed),
    ("previous", "findings of the run before", account.previous),
    ("times", "start, end and clocks", account.times),
    ("rta", "the RTA, from the journal", account.rta),
    ("laps", "laps, from the journal", account.laps),
    ("steps", "steps and checks, from the journal", account.steps),
    ("cut", "the source was cut off", severing.cut),
    ("teardown", "what was taken away", account.teardown),
    ("inventory", "the inventory is whole", ledger.inventory),
    ("counts", "counts, from the ledger", ledger.counts),
    ("roots", "manifest roots, from the ledger", ledger.manifests),
    ("verdict", "the verdict, from plan and record", account.verdict),
)
_BEYOND = (
    ("source", "what the source held", "the inventory is this program's word for what the source listed"),
    (
        "look",
        "what changed before the cut",
        "the last look, and attempts to reach the source, are this program's word",
    ),
    (
        "compared",
        "what was found at the target",
        "how each object compared, and how many were read back, are this program's word; --live reads a sample again",
    ),
    (
        "pace",
        "retries, waits and throughput",
        "when each leg was under way, its waits and throughput, and where each place is, are this program's word",
    ),
    ("metadata", "metadata at the target", "recorded when it was written; it is not read back"),
)
_ASIDE = "the bundle is not what was signed: nothing in it is looked at"


def verify_bundle(opened: Callable[[], OpenBundle], given: Given) -> Report:
    """Check a bundle; as `checked_bundle`, where nothing more is to be read."""
    with checked_bundle(opened, given) as (report, _):
        return report


@contextmanager
def checked_bundle(opened: Callable[[], OpenBundle], given: Given) -> Iterator[tuple[Report, Case | None]]:
    """Check a bundle, and keep it open as long as the context lasts.

    Args:
        opened: Opens it. Raises EvidenceError.
        given: What the auditor has got by other ways.

    Returns:
        All rows; and what was read, for further checks, where the bundle is what was signed.
    """
    with ExitStack() as undo:
        yield _checked(lambda: undo.enter_context(opened()), given)


def _checked(opened: Callable[[], OpenBundle], given: Given) -> tuple[Report, Case | None]:
    rows: list[Row] = []
    case: Case | None = None
    signed: tuple[str, ...] = ()
    try:
        for row, found, ids in _file(opened, given):
            rows.append(row)
            case, signed = found, ids
    except _FailedError as failed:
        rows.append(failed.row)
    if case is None:
        rows += [Row(name, what, Result.NOT_CHECKED, _ASIDE) for name, what, _ in _CHECKS]
        return Report(tuple(rows)), None
    rows += [_row(case, given, name, what, check) for name, what, check in _CHECKS]
    rows += [Row(name, what, Result.NOT_CHECKED, why) for name, what, why in _BEYOND]
    verdict = case.verdict
    return (
        Report(tuple(rows), case.bundle.run, case.plan.name, verdict.judgement.value, verdict.rta_seconds, signed),
        case,
    )


class _FailedError(Exception):
    """Ends the checks of the file itself."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.said)
        self.row = row


def _file(opened: Callable[[], OpenBundle], given: Given) -> Iterator[tuple[Row, Case | None, tuple[str, ...]]]:
    """The checks of the file, each a row; what was read comes with the last."""
    with _failing("layout", "the file is a bundle, and nothing else"):
        file = opened()
    yield (
        Row(
            "layout", "the file is a bundle, and nothing else", Result.CHECKED, "one ZIP file, every byte accounted for"
        ),
        None,
        (),
    )
    what = "the index is signed"
    with _failing("index", what):
        index, keys = _signed_index(file, given)
        ids = tuple(key.id for key in keys)
    yield Row("index", what, Result.CHECKED, f"by {', '.join(f'{key[:16]}…' for key in ids)}"), None, ids
    what = "every member is the one signed"
    with _failing("members", what):
        file.check_members(index)
    size = sum(member.size for member in index.members)
    said = f"{count(len(index.members), 'member')}, {bytes_(size)}, by SHA-256; none missing, none besides"
    yield Row("members", what, Result.CHECKED, said), None, ids
    what = "the BagIt files agree"
    with _failing("bagit", what):
        file.check_tags(index)
    yield Row("bagit", what, Result.CHECKED, "they say what the signed index says"), None, ids
    what = "what is inside can be read"
    with _failing("contents", what):
        case = Case(file.verified(index), file.signer_ids(), ids)
    yield Row("contents", what, Result.CHECKED, "plan, journal, checkpoints, record and verdict"), case, ids


def _signed_index(file: OpenBundle, given: Given) -> tuple[Index, tuple[PublicKey, ...]]:
    try:
        return file.signed_index(given.keys, given.threshold or 1)
    except EvidenceError as exc:
        said = ", ".join(f"{safe(key)[:16]}…" for key in file.signer_ids())
        hint = f"it says that it is signed by {said}; exitdrill keys show KEY.pub says which key a file holds"
        raise EvidenceError(exc.what, resource=exc.resource, expected=exc.expected, hint=hint) from exc


class _failing:  # noqa: N801 - read as a function
    """Makes a row of an EvidenceError."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, EvidenceError):
            raise _FailedError(Row(self._name, self._what, Result.FAILED, str(error))) from error
        if isinstance(error, Exception):  # hostile input that nobody foresaw is no reason to stop without a word
            said = f"cannot be read: {type(error).__name__}: {error}"
            raise _FailedError(Row(self._name, self._what, Result.FAILED, said)) from error


def _row(case: Case, given: Given, name: str, what: str, check: Check) -> Row:
    try:
        said = check(case, given)
    except EvidenceError as error:
        return Row(name, what, Result.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - signed by somebody who is not trusted: it fails
        return Row(name, what, Result.FAILED, f"cannot be followed: {type(error).__name__}: {error}")
    if isinstance(said, Unchecked):
        return Row(name, what, Result.NOT_CHECKED, said.why)
    return Row(name, what, Result.CHECKED, said)
