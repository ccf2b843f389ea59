"""Stands between exitdrill and an emulator, so that no server outlives the program that started it.

Run as a program, with one JSON argument (`Order`); imports the standard library alone, because it starts
without ``site``. It holds the directory's lock, starts the server in a process group of its own, writes
``{"pid": N}`` on stdout and waits. When its stdin ends (the parent closed it, or was killed), or at SIGTERM,
it stops the server: first with the order's signal, after the grace with SIGKILL. If this program itself is
killed, Linux sends the server the order's signal (``PR_SET_PDEATHSIG``). It exits with 0 when it stopped the
server, 75 when the directory stayed locked, 70 when the server ended by itself.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

__all__ = ["ENDED", "LOCKED", "Order"]

LOCKED = 75
"""Exit code: another server holds the directory."""
ENDED = 70
"""Exit code: the server ended without being asked to."""

_PR_SET_PDEATHSIG = 1
_LOCK_TRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """What to run and how to stop it."""

    command: tuple[str, ...]
    """The server's argument vector."""
    log: str
    """Where its stdout and stderr go; appended to."""
    lock: str
    """A file locked while the server lives."""
    stop_signal: int
    """What asks it to stop."""
    grace_seconds: float
    """How long it may take to."""
    lock_seconds: float
    """How long to wait for the lock: a server of a killed run may be on its way out."""
    leftovers: tuple[str, ...] = ()
    """Files it leaves behind when killed, such as sockets."""

    def dumps(self) -> str:
        """As the argument of this program."""
        return json.dumps(asdict(self))


def _loads(text: str) -> Order:
    data = json.loads(text)
    return Order(**{**data, "command": tuple(data["command"]), "leftovers": tuple(data["leftovers"])})


def _locked(path: str, seconds: float) -> IO[bytes] | None:
    lock = Path(path).open("ab")  # noqa: SIM115 - held until this process and the server are gone
    for _ in range(max(1, int(seconds / _LOCK_TRY_SECONDS))):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            select.select([], [], [], _LOCK_TRY_SECONDS)
        else:
            return lock
    lock.close()
    return None


def _spawn(order: Order, lock: IO[bytes]) -> "subprocess.Popen[bytes]":
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    supervisor = os.getpid()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, order.stop_signal, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(1)

    with Path(order.log).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - an argument vector, no shell
            order.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            pass_fds=(lock.fileno(),),
            preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
        )


def _wait(wakeup: int, child: "subprocess.Popen[bytes]", asked: list[int]) -> bool:
    """True when the server is to be stopped, False when it ended by itself."""
    while True:
        if asked:
            return True
        if child.poll() is not None:
            return False
        ready, _, _ = select.select([0, wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 4096)
        if 0 in ready and not os.read(0, 4096):
            return True


def _stop(order: Order, child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, order.stop_signal)
    with suppress(subprocess.TimeoutExpired):
        child.wait(order.grace_seconds)
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _main(argument: str) -> int:
    order = _loads(argument)
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    wakeup, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)

    lock = _locked(order.lock, order.lock_seconds)
    if lock is None:
        return LOCKED
    child = _spawn(order, lock)
    try:
        with suppress(BrokenPipeError):  # the parent is gone already; stdin says so too
            os.write(1, json.dumps({"pid": child.pid}).encode() + b"\n")
        wanted = _wait(wakeup, child, asked)
    finally:
        _stop(order, child)
        for path in order.leftovers:
            Path(path).unlink(missing_ok=True)
    return 0 if wanted else ENDED


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
