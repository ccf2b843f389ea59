"""Worker processes: started, kept between jobs, and ended. Runs in the process that conducts the drill.

Rules. A worker is kept only after a job that ended well, while a `keeping` of its run lasts, and is given only jobs
that would start with the same environment under the same cut: what a worker once knew, or was kept from, never
changes. `end_idle` ends those that wait, so that none that could reach the source outlives the cut.
"""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exitdrill.transfer.cut import Cut
from exitdrill.transfer.layout import RunDirectory

__all__ = ["Kind", "Worker", "end_idle", "keep", "keeping", "take"]

_READER_SECONDS = 5.0
_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 30.0
_ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""glibc keeps a heap a thread otherwise, and with it what each of many threads once needed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a worker starts with. Jobs of one kind may follow one another in one process."""

    environ: Mapping[str, str] = field(repr=False)
    """Its whole environment, with credentials."""
    cut: Cut | None
    """What it enforces."""


class Worker:
    """A worker process.

    Args:
        kind: What it starts with.
        logs: The folder of the log that its standard error goes to.
    """

    def __init__(self, kind: Kind, logs: Path) -> None:
        """See the class."""
        self.kind, self.log = kind, logs / "worker.log"
        self.lines: queue.Queue[str | None] = queue.Queue()
        """What it says, line by line; None once it has ended."""
        with self.log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "exitdrill.transfer.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env={**_ARENAS, **kind.environ},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        """Give it a line. One that has ended hears nothing; what it said last is in `lines`."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        except BrokenPipeError:
            return

    def code(self) -> int:
        """Its exit code, once it ends."""
        return self._process.wait(timeout=_KILL_SECONDS)

    def dismiss(self) -> None:
        """Let it end by itself, which one that waits for a job does at once."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return

    def end(self, patience_seconds: float = 0.0) -> None:
        """Make sure that it has ended.

        Args:
            patience_seconds: How long to wait for it to end by itself.
        """
        steps = ((patience_seconds, self._process.terminate), (_TERMINATE_SECONDS, self._process.kill))
        for seconds, harder in steps:
            try:
                self._process.wait(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                harder()
        self._process.wait(timeout=_KILL_SECONDS)
        self._reader.join(_READER_SECONDS)
        self.dismiss()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self.lines.put(line)
        self.lines.put(None)


class _Idle:
    """The workers of one run that wait for a job."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []
        self._open, self._lock = True, threading.Lock()

    def take(self, kind: Kind) -> Worker | None:
        with self._lock:
            for worker in [w for w in self._workers if w.kind == kind]:
                self._workers.remove(worker)
                if worker.alive:
                    return worker
                worker.end()
        return None

    def keep(self, worker: Worker) -> bool:
        with self._lock:
            if self._open:
                self._workers.append(worker)
            return self._open

    def end(self, *, close: bool = False) -> int:
        with self._lock:
            self._open = self._open and not close
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.end(_READER_SECONDS)
        return len(workers)


_idle: dict[str, _Idle] = {}


@contextmanager
def keeping(directory: RunDirectory) -> Iterator[None]:
    """Keep a run's workers between jobs while the context lasts; at its end those that wait are ended."""
    idle = _idle[str(directory.path)] = _Idle()
    try:
        yield
    finally:
        _idle.pop(str(directory.path), None)
        idle.end(close=True)


def take(directory: RunDirectory, kind: Kind) -> Worker:
    """A worker of that kind: one that waits for a job, or a new one."""
    idle = _idle.get(str(directory.path))
    kept = None if idle is None else idle.take(kind)
    return kept or Worker(kind, directory.logs)


def keep(directory: RunDirectory, worker: Worker) -> None:
    """Put a worker by whose job ended well, or end it where none is kept."""
    idle = _idle.get(str(directory.path))
    if idle is None or not idle.keep(worker):
        worker.dismiss()
        worker.end(_READER_SECONDS)


def end_idle(directory: RunDirectory) -> int:
    """End the workers of a run that wait for a job; how many they were."""
    idle = _idle.get(str(directory.path))
    return 0 if idle is None else idle.end()
