"""Every error exitdrill raises on purpose.

::

    ExitdrillError                      4
    ├── UsageError                      2   the command line or a file is wrong
    │   └── DefinitionError             2   a drill or playbook file, with line and column
    ├── NotReadyError                   3   preflight says no, and what to do
    ├── RunError                        4   the drill failed
    │   ├── StoppedError                4   somebody stopped it; it can be resumed
    │   ├── StepFailedError             4   a critical step failed
    │   ├── WorkerDiedError             4   a worker process was killed
    │   ├── ClaimLostError              4   another worker has taken the part over
    │   └── RunLockedError              2   another process is at work on this run
    ├── EvidenceError                   5   evidence does not verify
    ├── SigningError                    3   a key cannot be made, read or signed with
    ├── TimestampError                  4   the timestamp authority gave no good token
    └── ConnectorError                  4   a place did not do what was asked
        ├── MissingExtraError           2   the connector's library is not installed
        ├── AuthenticationError         3   credentials missing or refused
        ├── PermissionDeniedError       3
        ├── NotFoundError               4
        ├── ConflictError               4   exists already, or belongs to somebody else
        ├── ChangedError                4   a pinned object is not the one asked for any more
        ├── DigestError                 4   bytes are not the bytes promised
        ├── InvalidKeyError             4   this place cannot hold that key
        ├── ArchivedError               4   the object must be rehydrated first
        ├── NoSpaceError                4
        ├── ReadOnlyError               4
        ├── UnsupportedError            4   the place cannot do that at all
        ├── TransientError              4   worth another try
        │   └── ThrottledError          4   … after ``retry_after_seconds``
        └── SeveredError                4   a connection to the source after the cut

The number is the process's exit code. Rules: the text says what failed and on which resource; ``expected``
and ``hint`` say what should have been and what to do. Every class survives pickling, because errors cross
process borders. No SDK's exception leaves a connector; ``raise … from exc`` keeps the cause.
"""

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "ArchivedError",
    "AuthenticationError",
    "ChangedError",
    "ClaimLostError",
    "ConflictError",
    "ConnectorError",
    "DefinitionError",
    "DigestError",
    "EvidenceError",
    "ExitdrillError",
    "InvalidKeyError",
    "MissingExtraError",
    "NoSpaceError",
    "NotFoundError",
    "NotReadyError",
    "PermissionDeniedError",
    "ReadOnlyError",
    "RunError",
    "RunLockedError",
    "SeveredError",
    "SigningError",
    "StepFailedError",
    "StoppedError",
    "ThrottledError",
    "TimestampError",
    "TransientError",
    "UnsupportedError",
    "UsageError",
    "WorkerDiedError",
    "can_resume",
    "from_json",
]


class ExitdrillError(Exception):
    """Base of every error that exitdrill raises on purpose.

    Args:
        what: What failed, as a sentence without a full stop.
        resource: Which file, place, container or object it was about.
        expected: What would have been right.
        hint: What to do about it.
    """

    exit_code: ClassVar[int] = 4
    """The exit code of the command this error ends."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed a little later."""

    resumable: ClassVar[bool] = False
    """Whether a run that ended so can be gone on with, once a person has put the cause right."""

    default_hint: ClassVar[str] = ""
    """The hint where the raiser gave none."""

    def __init__(self, what: str, *, resource: str = "", expected: str = "", hint: str = "") -> None:
        """See the class."""
        super().__init__(what)
        self.what = what
        self.resource = resource
        self.expected = expected
        self.hint = hint or self.default_hint

    @property
    def problem(self) -> str:
        """The message without the hint, for where the hint has a column of its own."""
        text = f"{self.resource}: {self.what}" if self.resource else self.what
        return f"{text}; expected {self.expected}" if self.expected else text

    def __str__(self) -> str:
        """The whole message on one line: resource, what, expected, hint."""
        return f"{self.problem} ({self.hint})" if self.hint else self.problem

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the instance's state, because keyword arguments do not survive the default way."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))

    def to_json(self) -> dict[str, str | float | None]:
        """The error as flat JSON, for a process border. `from_json` is its inverse."""
        out: dict[str, str | float | None] = {"class": type(self).__name__}
        out |= {name: value for name, value in self.__dict__.items() if isinstance(value, str | float | int | None)}
        return out


def _rebuild(cls: type[ExitdrillError], args: tuple[str, ...], state: dict[str, object]) -> ExitdrillError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(ExitdrillError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class DefinitionError(UsageError):
    """A drill or playbook file says something that cannot be."""


class NotReadyError(ExitdrillError):
    """Preflight found something that must be put right before the drill can start."""

    exit_code = 3


class RunError(ExitdrillError):
    """The drill failed."""


class StoppedError(RunError):
    """Somebody stopped the drill; ``exitdrill resume`` goes on with it."""

    resumable = True


class WorkerDiedError(RunError):
    """A worker process ended without a word: killed, or out of memory."""

    resumable = True


class StepFailedError(RunError):
    """A critical step of the playbook failed."""


class ClaimLostError(RunError):
    """A worker's claim on a part ran out, and another has taken the part over."""

    resumable = True


class RunLockedError(RunError):
    """Another process is at work on this run."""

    exit_code = 2


class EvidenceError(ExitdrillError):
    """Evidence does not verify."""

    exit_code = 5


class SigningError(ExitdrillError):
    """A key cannot be made, read or signed with."""

    exit_code = 3


class TimestampError(ExitdrillError):
    """The timestamp authority does not answer, or its answer is not good."""


class ConnectorError(ExitdrillError):
    """A place did not do what it was asked to."""


class MissingExtraError(ConnectorError):
    """The library a connector needs is not installed."""

    exit_code = 2


class AuthenticationError(ConnectorError):
    """Credentials are missing, or the place does not accept them."""

    exit_code = 3
    resumable = True


class PermissionDeniedError(ConnectorError):
    """The credentials are good, but do not allow this."""

    exit_code = 3


class NotFoundError(ConnectorError):
    """The container or object does not exist."""


class ConflictError(ConnectorError):
    """It exists already, or belongs to somebody else."""


class ChangedError(ConnectorError):
    """A read pinned to one version of an object found another."""


class DigestError(ConnectorError):
    """Bytes are not the bytes that were promised."""


class InvalidKeyError(ConnectorError):
    """This place cannot hold an object under that key."""


class ArchivedError(ConnectorError):
    """The object is in an offline tier and must be rehydrated before it can be read."""

    default_hint = "rehydrate it to an online tier first; that can take hours"


class NoSpaceError(ConnectorError):
    """The place is full, or a quota is used up."""

    resumable = True


class ReadOnlyError(ConnectorError):
    """The place cannot be written to."""

    resumable = True


class UnsupportedError(ConnectorError):
    """The place cannot do that at all."""


class TransientError(ConnectorError):
    """A fault that may be gone at the next try: a reset, a timeout, a 5xx."""

    transient = True
    resumable = True


class ThrottledError(TransientError):
    """The place asks for fewer requests."""

    def __init__(self, what: str, *, retry_after_seconds: float | None = None, resource: str = "") -> None:
        """As the base; ``retry_after_seconds`` is what the place asked for, if it said."""
        super().__init__(what, resource=resource)
        self.retry_after_seconds = retry_after_seconds


class SeveredError(ConnectorError):
    """A connection to the source was attempted after the cut, and refused."""


def can_resume(error: BaseException | None) -> bool:
    """Whether a run that this error ended can be gone on with: it, or what caused it, is `resumable`."""
    while error is not None:
        if isinstance(error, ExitdrillError) and error.resumable:
            return True
        error = error.__cause__
    return False


def _all_subclasses(cls: type[ExitdrillError]) -> dict[str, type[ExitdrillError]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found |= _all_subclasses(sub)
    return found


def from_json(data: Mapping[str, object]) -> ExitdrillError:
    """The error that `ExitdrillError.to_json` wrote down; a class not known here becomes a `RunError`."""
    cls = _all_subclasses(ExitdrillError).get(str(data.get("class")), RunError)
    state = {name: value for name, value in data.items() if name != "class"}
    return _rebuild(cls, (str(state.get("what", "")),), {"resource": "", "expected": "", "hint": "", **state})
