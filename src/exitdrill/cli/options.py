"""Options that several commands share, and what every command does first."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exitdrill.cli.console import fit, redact
from exitdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exitdrill.plan.drill import DrillPlan

__all__ = [
    "Approve",
    "ApproverKey",
    "AsJson",
    "Prefect",
    "Run",
    "Runs",
    "Verbose",
    "approvals",
    "approver_keys",
    "set_up",
    "wanted_key",
]

Runs = Annotated[
    Path, Parameter(env_var="EXITDRILL_RUNS", help="The folder of all runs, or the variable EXITDRILL_RUNS.")
]
Run = Annotated[str, Parameter(help="The run's id, the beginning of it, 'last', or the path of its directory.")]
Approve = Annotated[
    tuple[str, ...],
    Parameter(
        negative=(),
        show_default=False,
        help="STEP=NAME: that person approved the step, or did it by hand. Can be given several times.",
    ),
]
ApproverKey = Annotated[
    tuple[str, ...],
    Parameter(
        negative=(),
        show_default=False,
        help="NAME=PATH: the private key that signs what that person answers. Can be given several times.",
    ),
]
AsJson = Annotated[bool, Parameter(negative=(), show_default=False, help="The result as one JSON document.")]
Verbose = Annotated[
    bool, Parameter(negative=(), show_default=False, help="Log what it does to stderr, and the trace of a crash.")
]
Prefect = Annotated[
    bool, Parameter(env_var="EXITDRILL_PREFECT", help="Whether Prefect runs it; without, threads of this process do.")
]


class _Redacting(logging.Formatter):
    """Writes no secret, wherever a library put it: message, arguments or trace."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up(*, verbose: bool = False) -> None:
    """Streams that take every character; logging to stderr where asked for."""
    fit(sys.stdout)
    fit(sys.stderr)
    logger = logging.getLogger("exitdrill")
    if verbose:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        logger.setLevel(logging.DEBUG)


def approvals(given: "Iterable[str]", plan: "DrillPlan") -> dict[str, str]:
    """``STEP=NAME`` as a mapping. Raises UsageError for what is not that, or names no step that asks."""
    from exitdrill.playbook.action import MANUAL

    asking = [step.id for step in plan.playbook.steps if step.approval or step.uses == MANUAL]
    found: dict[str, str] = {}
    for text in given:
        step, equals, name = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--approve {text!r} names no person", expected="--approve STEP=NAME")
        if step not in asking:
            known = ", ".join(asking) or "none does"
            raise UsageError(f"no step {step!r} asks for a person", resource=plan.name, expected=f"one of: {known}")
        found[step] = name.strip()
    return found


def approver_keys(given: "Iterable[str]", plan: "DrillPlan", answers: "Mapping[str, str]") -> dict[str, str]:
    """``NAME=PATH`` as a mapping.

    Args:
        given: The options.
        plan: The drill.
        answers: Step to name, as `approvals` gives them.

    Raises:
        UsageError: One is not that, or an answer that must be signed has no key.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name.strip() or not path.strip():
            raise UsageError(f"--approver-key {text!r} names no key", expected="--approver-key NAME=PATH")
        found[name.strip()] = path.strip()
    for step, name in answers.items():
        if step in plan.evidence.approvers and name not in found:
            raise UsageError(
                f"step {step!r} takes a signed answer only, and {name} has no key here",
                resource=plan.name,
                hint=f"add --approver-key {name}=PATH",
            )
    return found


def wanted_key(key: str | None, key_hex: str | None) -> str:
    """An object's key, given in one of two ways. Raises UsageError for none, both, or what is no UTF-8."""
    if (key is None) == (key_hex is None):
        raise UsageError("say which object: its key, or --key-hex")
    if key is not None:
        return key
    try:
        return bytes.fromhex(str(key_hex)).decode()
    except ValueError as exc:
        raise UsageError(f"--key-hex {key_hex!r} is no UTF-8 in hexadecimal") from exc
