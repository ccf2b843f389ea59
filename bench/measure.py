"""Running one client and weighing it: wall clock, CPU and peak memory of its process tree, never the servers'.

CPU is what the kernel accounts to the client and to everything it started and waited for (``wait4``). Peak memory
is each process's own high-water mark (``VmHWM``), looked at several times a second, so a process that lives
shorter than that can be missed. CPU over time is kept too, to divide it among the phases of a drill.
"""

import os
import signal
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, Timer
from typing import IO

__all__ = ["ClientFailedError", "Process", "Usage", "is_alive", "run", "tree"]

_SAMPLE_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_TAIL_BYTES = 4000


class ClientFailedError(Exception):
    """A client did not do its work: a measurement of it would say nothing."""


@dataclass(slots=True)
class Process:
    """One process of a client."""

    kind: str
    """``worker``, ``prefect server``, ``exitdrill``, or the program's name."""
    peaks: list[tuple[float, int]]
    """When it was seen, in Unix time, with its high-water mark of resident memory until then: when it was seen
    first, each time that has grown, and when it was seen last."""

    @property
    def peak_bytes(self) -> int:
        """Its high-water mark when it was last seen."""
        return self.peaks[-1][1]

    def peak_until(self, end: float) -> int:
        """Its high-water mark at a moment; 0 before it was seen."""
        at = bisect_right(self.peaks, (end, float("inf")))
        return self.peaks[at - 1][1] if at else 0

    def seen(self, peak_bytes: int) -> None:
        """Note what it is now."""
        if len(self.peaks) > 1 and self.peaks[-1][1] == self.peaks[-2][1] == peak_bytes:
            self.peaks.pop()
        self.peaks.append((time.time(), peak_bytes))


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a client cost."""

    wall_seconds: float
    cpu_seconds: float
    """User and system, of the whole tree."""
    system_seconds: float
    """The part of them that the kernel spent."""
    processes: Sequence[Process]
    samples: Sequence[tuple[float, float]]
    """CPU seconds so far, by Unix time."""

    @property
    def peak_bytes(self) -> int:
        """Resident memory of its largest process."""
        return max((process.peak_bytes for process in self.processes), default=0)

    def peak_between(self, start: float, end: float, kind: str) -> int:
        """The largest peak, in bytes, of a process of that kind that was there between two moments of Unix time.

        A peak is that since the process began: what it did before the first moment counts too.
        """
        there = (p for p in self.processes if p.kind == kind and p.peaks[0][0] <= end and p.peaks[-1][0] >= start)
        return max((p.peak_until(end) for p in there), default=0)

    def cpu_between(self, start: float, end: float) -> float:
        """CPU seconds between two moments of Unix time, interpolated."""
        return self._cpu_at(end) - self._cpu_at(start)

    def _cpu_at(self, moment: float) -> float:
        at = bisect_right(self.samples, (moment, float("inf")))
        if at == 0:
            return 0.0
        if at == len(self.samples):
            return self.samples[-1][1]
        (t0, c0), (t1, c1) = self.samples[at - 1], self.samples[at]
        return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)


def run(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str] | None = None, limit_seconds: float = 3600.0
) -> Usage:
    """Run a client to its end.

    Raises:
        ClientFailedError: It ended with another code than 0, or took too long.
    """
    os.sync()  # dirty pages of the client before must not be written on this one's time
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        watcher = _Watcher(process.pid)
        timer = Timer(limit_seconds, _kill, (process.pid,))
        watcher.start()
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid)
            raise
        finally:
            wall = time.monotonic() - began
            timer.cancel()
            watcher.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = (_tail(err) or _tail(out)).strip()
            raise ClientFailedError(f"{' '.join(command[:4])} … ended with {process.returncode}:\n{said}")
        cpu = used.ru_utime + used.ru_stime
        samples = [*watcher.samples, (time.time(), cpu)]
        return Usage(wall, cpu, used.ru_stime, list(watcher.processes.values()), samples)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode(errors="replace")


class _Watcher:
    """Looks at a process tree until it is stopped."""

    def __init__(self, root: int) -> None:
        self._root, self._ended = root, Event()
        self._thread = Thread(target=self._watch, name="bench-watch", daemon=True)
        self.samples: list[tuple[float, float]] = []
        self.processes: dict[int, Process] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            cpu = 0.0
            for pid in tree(self._root):
                with suppress(OSError, ValueError, IndexError):  # it ended while it was looked at
                    cpu += _cpu_seconds(pid)
                    self._look(pid)
            if cpu and (not self.samples or cpu >= self.samples[-1][1]):
                self.samples.append((time.time(), cpu))

    def _look(self, pid: int) -> None:
        kind, peak = _kind(pid), _peak_bytes(pid)
        known = self.processes.get(pid)
        if known is None or known.kind != kind:  # between fork and exec it had its parent's name, and memory
            known = self.processes[pid] = Process(kind, [])
        known.seen(peak)


def _kind(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    whole = " ".join(words)
    if "exitdrill.transfer.worker" in whole:
        return "worker"
    if "exitdrill.cli" in whole:
        return "exitdrill"
    return "prefect server" if "prefect" in whole else Path(words[0]).name


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be fetched does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found, at = [root], 0
    while at < len(found):
        with suppress(OSError):
            for task in Path(f"/proc/{found[at]}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
        at += 1
    return found


def _cpu_seconds(pid: int) -> float:
    """Of a process and of the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
