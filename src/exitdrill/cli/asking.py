"""Asks people on the terminal: to approve a step, or to do one by hand and say so.

The answer is a name, for the record; none means no. Waiting ends when the run is stopped, too, which is why
this reads the terminal itself: Python's `input` cannot be ended from outside.
"""

import select
import sys
from threading import Event

from exitdrill.cli.console import err
from exitdrill.cli.screen import Screen
from exitdrill.errors import StoppedError
from exitdrill.playbook.conductor import Answer, Asker, Question, nobody_to_ask

__all__ = ["TerminalAsker", "asker"]

_POLL_SECONDS = 0.2


class TerminalAsker:
    """Asks on stderr, reads stdin.

    Args:
        screen: What stands aside meanwhile.
        stop: Ends the wait.
    """

    def __init__(self, screen: Screen, stop: Event) -> None:
        """See the class."""
        self._screen, self._stop = screen, stop

    def __call__(self, question: Question) -> Answer:
        """The person's answer. Raises StoppedError for no, and when the run is stopped meanwhile."""
        with self._screen.paused():
            return self._ask(question)

    def _ask(self, question: Question) -> Answer:
        manual = question.kind == "manual"
        err("")
        err(f"To be done by hand: {question.step}" if manual else f"Needs approval: {question.step}")
        err(f"  why      {question.why}")
        err(f"  by hand  {question.by_hand}")
        err(f"  clock    it runs on while you decide: {self._screen.left}")
        verb = "Done by" if manual else "Approved by"
        name = self._prompt(f"{verb} (your name; nothing means no): ")
        if not name:
            answer = "was not done" if manual else "was not approved"
            raise StoppedError(f"{question.step} {answer}", hint="exitdrill resume asks again")
        if not question.signed:
            return Answer(name, "on the terminal")
        key = self._prompt("Signed with (the path of your private key; nothing if --approver-key names it): ")
        return Answer(name, "on the terminal", key or None)

    def _prompt(self, text: str) -> str:
        sys.stderr.write(text)
        sys.stderr.flush()
        return self._line().strip()

    def _line(self) -> str:
        while not self._stop.is_set():
            ready, _, _ = select.select([sys.stdin], [], [], _POLL_SECONDS)
            if ready:
                return sys.stdin.readline()
        err("")
        raise StoppedError("stopped while a person was asked")


def asker(screen: Screen, stop: Event) -> Asker:
    """The terminal's where there is one, else the one that says how to answer beforehand."""
    return TerminalAsker(screen, stop) if sys.stdin is not None and sys.stdin.isatty() else nobody_to_ask
