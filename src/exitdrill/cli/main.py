"""The command ``exitdrill``: which commands there are, and how every error ends.

Cyclopts reads the command line: it is what Prefect's own command uses, so it costs no further dependency; it
takes names, types and defaults from signatures as they stand, and its errors can be caught and worded here.

Rules. Importing this loads neither Prefect nor any SDK: commands import what they need when called, so that help
is there at once and a drill's clock starts within seconds of the command. An error of exitdrill's is one message
and its exit code. Nothing else ends in a bare traceback.
"""

import logging
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

from exitdrill import __version__
from exitdrill.cli import about, drills, findings, keys, prove, runs, vault, verify
from exitdrill.cli.console import err, fit, redact, say_error
from exitdrill.errors import ExitdrillError, RunError

__all__ = ["app", "main", "run"]

_USAGE = 2
_EXIT_CODES = """\
Exit codes:

  0  objectives met; or the command did what it was asked to
  1  the drill ran, and an objective was missed
  2  bad usage, or a bad drill or playbook file
  3  not ready: preflight says no, credentials are missing or refused
  4  the drill failed or was stopped; or what is asked for is damaged or not in the vault
  5  evidence does not verify
"""

app = App(
    name="exitdrill",
    help="Timed, verifiable cloud exit drills: proof, on the clock, that you can leave your cloud.",
    help_epilogue=_EXIT_CODES,
    help_format="plaintext",
    version=__version__,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
_GROUPS = (
    ("Drills", (drills.check, drills.plan, drills.run, drills.schedule)),
    ("Runs", (runs.resume, runs.teardown, runs.runs, runs.show, runs.report, findings.app, vault.app)),
    ("Evidence", (prove.prove, verify.verify, keys.app)),
    ("exitdrill", (about.connectors, about.schema, about.version)),
)
for _place, (_title, _commands) in enumerate(_GROUPS):
    _group = Group(_title, sort_key=_place)
    for _command in _commands:
        if isinstance(_command, App):
            _command.group = (_group,)
            app.command(_command)
        else:
            app.command(_command, group=_group, help_epilogue="")
_last = Group("Help", sort_key=len(_GROUPS))
for _flag in ("--help", "--version"):
    app[_flag].group = (_last,)


def run(arguments: Sequence[str]) -> int:
    """Carry one command out; what is wrong is said on stderr.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    try:
        result = app(list(arguments))
    except CycloptsError as error:
        err(f"error: {error}")
        err("  to do     exitdrill --help, or exitdrill COMMAND --help")
        return _USAGE
    except ExitdrillError as error:
        say_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        err("interrupted")
        return RunError.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a message, not a traceback
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> int:
    err(f"error: unexpected {type(error).__name__}: {error}")
    if logging.getLogger("exitdrill").isEnabledFor(logging.DEBUG):
        sys.stderr.write(redact(traceback.format_exc()))
    else:
        err("  to do     run it again with --verbose to see the trace, and report it")
    return RunError.exit_code


def main() -> None:
    """The console script."""
    fit(sys.stdout)
    fit(sys.stderr)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
