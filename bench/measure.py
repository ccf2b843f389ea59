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

__all__ = ["ClientFailedError", "Usage", "run"]

_SAMPLE_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_TAIL_BYTES = 4000


class ClientFailedError(Exception):
    """A client did not do its work: a measurement of it would say nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a client cost."""

    wall_seconds: float
    cpu_seconds: float
    """User and system, of the whole tree."""
    peaks: Mapping[str, int]
    """The largest peak of resident memory of one process, in bytes, by kind of process."""
    samples: Sequence[tuple[float, float]]
    """CPU seconds so far, by Unix time."""
    output: str
    """The end of what it wrote to standard output."""

    @property
    def peak_bytes(self) -> int:
        """Of its largest process."""
        return max(self.peaks.values(), default=0)

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
        process = subprocess.Popen(  # noqa: S603 - an argument vector, no shell
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
            said = f"{_tail(out)}\n{_tail(err)}".strip()
            raise ClientFailedError(f"{' '.join(command[:4])} … ended with {process.returncode}:\n{said}")
        cpu = used.ru_utime + used.ru_stime
        samples = [*watcher.samples, (time.time(), cpu)]
        return Usage(wall, cpu, watcher.peaks, samples, _tail(out))


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tail(file: "tempfile._TemporaryFileWrapper[bytes] | object") -> str:
    file.seek(0, os.SEEK_END)  # type: ignore[attr-defined]  # what TemporaryFile gives has no public name
    file.seek(max(0, file.tell() - _TAIL_BYTES))  # type: ignore[attr-defined]
    return str(file.read().decode(errors="replace"))  # type: ignore[attr-defined]


class _Watcher:
    """Looks at a process tree until it is stopped."""

    def __init__(self, root: int) -> None:
        self._root, self._ended = root, Event()
        self._thread = Thread(target=self._watch, name="bench-watch", daemon=True)
        self._kinds: dict[int, str] = {}
        self.samples: list[tuple[float, float]] = []
        self.peaks: dict[str, int] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            cpu = 0.0
            for pid in _tree(self._root):
                with suppress(OSError, ValueError, IndexError):  # it ended while it was looked at
                    cpu += _cpu_seconds(pid)
                    kind, peak = self._kind(pid), _peak_bytes(pid)
                    self.peaks[kind] = max(peak, self.peaks.get(kind, 0))
            if cpu and (not self.samples or cpu >= self.samples[-1][1]):
                self.samples.append((time.time(), cpu))

    def _kind(self, pid: int) -> str:
        """What sort of process it is, from its command line: ``worker``, ``prefect``, or the program's name."""
        if pid not in self._kinds:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            whole = " ".join(words)
            if "exitdrill.transfer.worker" in whole:
                self._kinds[pid] = "worker"
            elif "prefect" in whole:
                self._kinds[pid] = "prefect server"
            elif "exitdrill" in whole:
                self._kinds[pid] = "exitdrill"
            else:
                return Path(words[0]).name  # not kept: between fork and exec it has its parent's name
        return self._kinds[pid]


def _tree(root: int) -> list[int]:
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
