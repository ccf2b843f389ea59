"""Starting and stopping a server that stands in for a provider.

`Emulator.start` is concrete: it takes free ports, starts the server under `exitdrill.emulator.supervise`,
asks it real questions until it answers, and begins again on other ports when somebody was quicker. A server
is a file of two private hooks: what to run, and the question.

Rules: loopback only; nothing is left running when this process ends, even by SIGKILL (a process forked from
it and still alive keeps the server alive); the server sees none of this process's environment but its paths;
its keys are made anew at every start. What was written to a `persistent` one is still there when it is
started again in the same directory, on other ports and with other keys.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from exitdrill.clock import Clock, Stopwatch, SystemClock
from exitdrill.emulator import supervise
from exitdrill.emulator.ports import free_ports, is_taken
from exitdrill.errors import NotReadyError

__all__ = ["Emulator", "Launch", "NotYetError", "Running"]

_STARTS = 3
_POLL_SECONDS = 0.1
_STOP_SLACK_SECONDS = 10.0
_LOG_LINES = 12
_LOG_BYTES = 1_000_000
_PORT_TAKEN = ("address already in use", "eaddrinuse", "is already in use", "in use by another program")


class NotYetError(Exception):
    """What an emulator's question raises while the server does not answer well; never leaves `Emulator.start`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to run one server, on ports already chosen."""

    command: tuple[str, ...]
    """The argument vector. No secrets: other users see it."""
    settings: Mapping[str, str]
    """The connector's settings that reach it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the few variables every server gets."""
    stop_signal: int = signal.SIGTERM
    """What asks it to stop; SIGKILL where asking takes too long."""
    grace_seconds: float = 5.0
    """How long it may take to."""
    leftovers: tuple[str, ...] = ()
    """Files to remove when it has been stopped."""


class Running:
    """A server that answers; made by `Emulator.start`. A context manager: leaving it stops the server.

    Args:
        name: The emulator's name.
        launch: How it was started.
        process: Its supervisor.
        pid: The server's own process.
        log: Where it logs.
        persistent: See `Emulator.persistent`.
    """

    def __init__(
        self, name: str, launch: Launch, process: "subprocess.Popen[bytes]", pid: int, log: Path, *, persistent: bool
    ) -> None:
        """See the class."""
        self.name = name
        self.settings = launch.settings
        """What the place's connector needs to reach it: endpoint, credentials. Secrets among them."""
        self.pid = pid
        self.log = log
        self.persistent = persistent
        self._process = process
        self._stop_seconds = launch.grace_seconds + _STOP_SLACK_SECONDS
        self._leftovers = launch.leftovers

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def __repr__(self) -> str:
        """Without the settings, which hold keys."""
        return f"<{self.name}, process {self.pid}, {'alive' if self.alive else 'stopped'}>"

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the server and return when it is gone; nothing if it is already."""
        _stop_supervisor(self._process, self.pid, self._stop_seconds)
        for path in self._leftovers:  # the supervisor removes them too, unless it was killed
            Path(path).unlink(missing_ok=True)


class Emulator(ABC):
    """A server that can be started.

    Args:
        clock: Where the waits are taken.
        ports: Where ports come from.
    """

    name: ClassVar[str]
    """As drills write it after ``emulator:``."""
    persistent: ClassVar[bool]
    """Whether a second start in the same directory finds what the first one was given."""
    ports_needed: ClassVar[int] = 1
    """How many ports it opens."""
    ready_seconds: ClassVar[float] = 60.0
    """How long it may take to answer."""
    lock_seconds: ClassVar[float] = 15.0
    """How long to wait for a server of a killed run to let go of the directory."""

    def __init__(self, clock: Clock | None = None, ports: Callable[[int], tuple[int, ...]] = free_ports) -> None:
        """See the class. Starts nothing."""
        self._clock = clock or SystemClock()
        self._ports = ports

    def start(self, directory: Path) -> Running:
        """Start the server and wait until it answers.

        Args:
            directory: Its own folder, for data and log; made if need be, used by one server at a time.

        Raises:
            NotReadyError: It is not installed, did not answer in time, or the directory is in use.
        """
        directory = directory.absolute()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise NotReadyError(f"no folder for {self.name}: {exc}", resource=str(directory)) from exc
        for left in reversed(range(_STARTS)):
            ports = self._ports(self.ports_needed)
            launch = self._launch(directory, ports)
            log = directory / f"{self.name}.log"
            began_bytes = log.stat().st_size if log.exists() else 0
            running = self._spawn(launch, directory, log)
            try:
                problem = self._wait(running, launch)
            except BaseException:
                running.stop()
                raise
            if not problem:
                return running
            running.stop()
            said = _said(log, began_bytes)
            if not left or not (is_taken(ports) or any(sign in said.lower() for sign in _PORT_TAKEN)):
                break
        tail = "\n".join(said.splitlines()[-_LOG_LINES:])
        raise NotReadyError(
            f"{problem}. The end of its log:\n{tail or '(empty)'}\n",
            resource=f"emulator {self.name}",
            hint=f"the whole log is {log}",
        )

    def _spawn(self, launch: Launch, directory: Path, log: Path) -> Running:
        order = supervise.Order(
            launch.command,
            str(log),
            str(directory / f"{self.name}.lock"),
            launch.stop_signal,
            launch.grace_seconds,
            self.lock_seconds,
            launch.leftovers,
        )
        try:
            # -I and -S: nothing of the user's Python set-up runs in it, and it starts in a few milliseconds
            process = subprocess.Popen(  # noqa: S603 - an argument vector, no shell
                [sys.executable, "-I", "-S", supervise.__file__, order.dumps()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=_environment(directory) | dict(launch.environment),
                start_new_session=True,
            )
        except OSError as exc:
            raise NotReadyError(f"cannot start a process: {exc}", resource=f"emulator {self.name}") from exc
        pid = self._server_pid(process, directory)
        return Running(self.name, launch, process, pid, log, persistent=self.persistent)

    def _server_pid(self, process: "subprocess.Popen[bytes]", directory: Path) -> int:
        out, err = process.stdout, process.stderr
        assert out is not None  # noqa: S101 - asked for above
        assert err is not None  # noqa: S101
        ready, _, _ = select.select([out], [], [], self.lock_seconds + _STOP_SLACK_SECONDS)
        line = out.readline() if ready else b""
        if line:
            return int(json.loads(line)["pid"])
        with err:
            _stop_supervisor(process, None, _STOP_SLACK_SECONDS)
            detail = err.read(_LOG_BYTES).decode(errors="replace").strip().rpartition("\n")[2]
        if process.returncode == supervise.LOCKED:
            raise NotReadyError(
                f"another {self.name} is at work in this folder",
                resource=str(directory),
                hint="end the run it belongs to, or wait until it has stopped",
            )
        raise NotReadyError(f"cannot be run: {detail or 'no answer'}", resource=f"emulator {self.name}")

    def _wait(self, running: Running, launch: Launch) -> str:
        """Empty when the server answers, else what is wrong."""
        watch = Stopwatch(self._clock)
        last = "nothing asked"
        while watch.elapsed_seconds < self.ready_seconds:
            if not running.alive:
                return "the server ended while it started"
            try:
                self._ask(launch.settings)
            except NotYetError as error:
                last = str(error)
            else:
                return ""
            self._clock.sleep(_POLL_SECONDS)
        return f"no good answer in {self.ready_seconds:g} seconds; the last one: {last}"

    @abstractmethod
    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:
        """What to run. Raises NotReadyError if it is not installed."""

    @abstractmethod
    def _ask(self, settings: Mapping[str, str]) -> None:
        """One authenticated request that shows it can serve. Raises NotYetError while it cannot."""


def _environment(directory: Path) -> dict[str, str]:
    """What a server gets to see: paths, no credentials, no settings of the user's."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LC_ALL") if name in os.environ}
    return kept | {"HOME": str(directory), "DO_NOT_TRACK": "1"}


def _stop_supervisor(process: "subprocess.Popen[bytes]", server_pid: int | None, seconds: float) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if server_pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(server_pid, signal.SIGKILL)
    if server_pid is not None and process.stderr is not None:
        process.stderr.close()


def _said(log: Path, began_bytes: int) -> str:
    """What the server wrote since it was started this time, up to a limit; without a Go program's stacks."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(began_bytes)
        text = file.read(_LOG_BYTES).decode(errors="replace")
    return re.split(r"^goroutine \d+ \[", text, maxsplit=1, flags=re.MULTILINE)[0]
