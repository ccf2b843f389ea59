"""The seam to whoever runs the tasks and asks the people.

`LocalConductor` runs tasks on threads of this process; it carries the drill until Prefect is up, and tests.
`exitdrill.flow` has the one that runs them as Prefect tasks.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exitdrill.errors import NotReadyError
from exitdrill.transfer.client import cores

__all__ = ["Answer", "Asker", "Conductor", "LocalConductor", "Pending", "Question", "nobody_to_ask"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Question:
    """What a person must do or approve before the drill goes on."""

    step: str
    """The step's id."""
    kind: str
    """``manual``: do it by hand and confirm; ``approval``: allow the program to do it."""
    why: str
    by_hand: str
    signed: bool = False
    """The answer must be signed with the person's own key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered."""

    name: str
    note: str = ""
    key: str | None = None
    """The path of the person's private key, if the answer is to be signed."""


class Asker(Protocol):
    """Asks a person."""

    def __call__(self, question: Question) -> Answer:
        """Wait for the answer. Raises NotReadyError if nobody can be asked, StoppedError if the person declines."""


class Pending(Protocol[T_co]):
    """A task on its way."""

    def result(self, timeout: float | None = None) -> T_co:
        """What it returned. Raises what it raised."""


class Conductor(Protocol):
    """Runs tasks side by side and asks people."""

    @property
    def width(self) -> int:
        """How many tasks run side by side: so many worker processes share a place's limits."""

    def submit(self, name: str, function: Callable[..., T], *args: object) -> Pending[T]:
        """Begin ``function(*args)`` beside others. The function is a module's own, its arguments can be pickled."""

    def everywhere(self, function: Callable[..., T], *args: object) -> list[T]:
        """``function(*args)`` once for every worker that carries out tasks; where all work is done here, here."""

    def ask(self, question: Question) -> Answer:
        """As `Asker`."""


def nobody_to_ask(question: Question) -> Answer:
    """The asker where there is nobody: says how to answer beforehand."""
    raise NotReadyError(
        f"step {question.step!r} waits for a person ({question.kind}) and there is no terminal to ask on",
        hint=f"give the answer beforehand: --approve {question.step}=NAME",
    )


class LocalConductor:
    """Tasks on threads of this process.

    Args:
        asker: Who asks people.
        width: How many tasks run side by side; one a core unless told otherwise.
    """

    def __init__(self, asker: Asker = nobody_to_ask, width: int | None = None) -> None:
        """See the class."""
        self._asker, self._width = asker, width or cores()
        self._pool = ThreadPoolExecutor(self._width, "exitdrill-task")

    @property
    def width(self) -> int:
        """As `Conductor.width`."""
        return self._width

    def submit(self, name: str, function: Callable[..., T], *args: object) -> Future[T]:  # noqa: ARG002 - Prefect shows it
        """Begin it on a thread."""
        return self._pool.submit(function, *args)

    def everywhere(self, function: Callable[..., T], *args: object) -> list[T]:
        """Here."""
        return [function(*args)]

    def ask(self, question: Question) -> Answer:
        """Ask."""
        return self._asker(question)

    def close(self) -> None:
        """Let running tasks end; begin none that waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
