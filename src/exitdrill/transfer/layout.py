"""A run's directory: where everything is, and how files are written into it.

Rules: a file is there whole or not at all (written beside, fsynced, renamed, directory fsynced). No name in
it is made from a provider's key. Directories of assets are named by the asset's name, which the plan keeps
to letters, digits, dots, dashes and underscores.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from exitdrill.errors import NoSpaceError, ReadOnlyError, RunError, RunLockedError, StoppedError, UsageError
from exitdrill.model.record import FORMAT

__all__ = ["RunDirectory", "RunFacts", "disk_errors", "fsync_directory", "write_atomic"]

_RESERVE_BYTES = 4 * 1024 * 1024
_CLAIM_BEAT_SECONDS = 0.2


@contextmanager
def disk_errors(resource: str) -> Iterator[None]:
    """Turn the operating system's refusals to write into exitdrill's errors."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # the last: a limit on the size of files
            raise NoSpaceError("the disk is full", resource=resource, hint="make room, then: exitdrill resume") from exc
        if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ReadOnlyError(f"cannot be written to ({exc.strerror})", resource=resource) from exc
        raise


def fsync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, durably. Raises NoSpaceError, ReadOnlyError."""
    beside = path.with_name(path.name + ".new")
    with disk_errors(str(path)):
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is, fixed when it is declared (``run.json``)."""

    run_id: str
    t0_utc: str
    base: str
    """The folder of the drill file: relative paths in the drill start there."""
    tool_version: str
    format: int = FORMAT


class RunDirectory:
    """Paths of one run.

    Args:
        path: The run's directory; it must exist.
    """

    def __init__(self, path: Path) -> None:
        """See the class."""
        self.path = path

    @classmethod
    def create(cls, runs: Path, run_id: str) -> "RunDirectory":
        """A new directory for a run. Raises UsageError if it cannot be made."""
        path = runs / run_id
        made = False
        try:
            path.mkdir(parents=True)
            made = True
            for name in ("inventory", "ledger", "work", "logs", "checkpoints"):
                (path / name).mkdir()
            (path / "reserve").write_bytes(b"\0" * _RESERVE_BYTES)
        except OSError as exc:
            if made:  # half a run is none, and must not take the room that is missing
                shutil.rmtree(path, ignore_errors=True)
            raise UsageError(
                f"cannot make the run's directory: {exc.strerror}",
                resource=str(path),
                hint="choose another: --runs DIR",
            ) from exc
        return cls(path)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def plan(self) -> Path:
        """The plan as it was declared."""
        return self.path / "plan.json"

    @property
    def journal(self) -> Path:
        """The append-only log."""
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Signed heads of the log, and their timestamps."""
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        """Work state (SQLite)."""
        return self.path / "state.db"

    @property
    def record(self) -> Path:
        """What was measured."""
        return self.path / "record.json"

    @property
    def verdict(self) -> Path:
        """How it was judged."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """What was measured and how it is judged, as a page for people."""
        return self.path / "report.html"

    def report_digests(self) -> dict[str, str]:
        """SHA-256 in hexadecimal of the files that reports are drawn from, by name; of those that are there."""
        files = (file for file in (self.plan, self.record, self.verdict) if file.exists())
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    @property
    def findings(self) -> Path:
        """What people add to the findings; made with the first."""
        return self.path / "findings"

    @property
    def cut(self) -> Path:
        """What is refused since the cut; there is no such file before."""
        return self.path / "cut.json"

    @property
    def early_cut(self) -> Path:
        """What is refused to workers that rebuild before the cut; only with ``overlap``."""
        return self.path / "early-cut.json"

    @property
    def logs(self) -> Path:
        """Logs of emulators, workers and the Prefect server."""
        return self.path / "logs"

    def capabilities(self, role: str, asset: str) -> Path:
        """What preflight found the place in that role able to do, for that asset."""
        return self.path / "work" / f"capabilities.{role}.{asset}.json"

    def inventory(self, asset: str) -> Path:
        """The folder of an asset's inventory parts."""
        return self.path / "inventory" / asset

    def ledger(self, asset: str) -> Path:
        """The folder of an asset's ledger parts."""
        return self.path / "ledger" / asset

    def scratch(self, *names: str) -> Path:
        """A folder for spilled data, made if needed; may be deleted when no process is at work."""
        path = self.path.joinpath("work", *names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def free_reserve(self) -> None:
        """Give back the room kept for the last words of a run on a full disk."""
        with suppress(OSError):
            (self.path / "reserve").unlink(missing_ok=True)

    def write_facts(self, facts: RunFacts) -> None:
        """Write ``run.json``."""
        data = {name: getattr(facts, name) for name in RunFacts.__slots__}
        write_atomic(self.path / "run.json", json.dumps(data, indent=2).encode() + b"\n")

    def facts(self) -> RunFacts:
        """Read ``run.json``.

        Raises UsageError if this is no run's directory, RunError if another version made it.
        """
        try:
            data = json.loads((self.path / "run.json").read_bytes())
        except FileNotFoundError as exc:
            raise UsageError("no such run", resource=str(self.path), hint="exitdrill runs lists them") from exc
        except (OSError, ValueError) as exc:
            raise RunError(f"run.json cannot be read: {exc}", resource=str(self.path)) from exc
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            made = data.get("tool_version", "unknown") if isinstance(data, Mapping) else "unknown"
            raise RunError(
                f"made by another version of exitdrill ({made})",
                resource=str(self.path),
                expected=f"format {FORMAT}",
                hint="show, report, resume or tear it down with that version",
            )
        return RunFacts(**{name: data[name] for name in RunFacts.__slots__})

    def lock(self) -> IO[bytes]:
        """Take the run for this process; closing what is returned lets it go.

        Raises RunLockedError if another process has it.
        """
        file = (self.path / "lock").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            holder = file.read(32).decode("ascii", "replace").strip()
            file.close()
            raise RunLockedError(
                f"another process (id {holder}) is at work on this run",
                resource=str(self.path),
                hint="wait for it, or stop it",
            ) from exc
        except OSError as exc:
            file.close()
            raise RunError(
                f"cannot be locked ({exc.strerror})",
                resource=str(self.path),
                hint="put the runs where files can be locked",
            ) from exc
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        return file

    def claim(self, job: str, limit_seconds: float, stopped: Callable[[], bool]) -> IO[bytes]:
        """Take one job of the run for this process, waiting for another that still has it; closing lets it go.

        Args:
            job: Which job, the same for every process that would do the same work.
            limit_seconds: How long to wait.
            stopped: Whether to stop waiting.

        Raises:
            RunLockedError: Another process has it still.
            StoppedError: Somebody stopped it.
        """
        name = hashlib.sha256(job.encode()).hexdigest()[:16]
        file = (self.scratch("claims") / name).open("ab")
        deadline = time.monotonic() + limit_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if stopped() or time.monotonic() > deadline:
                    file.close()
                    if stopped():
                        raise StoppedError("stopped while waiting for an earlier worker", resource=job) from exc
                    raise RunLockedError("an earlier worker is still at work on it", resource=job) from exc
                time.sleep(_CLAIM_BEAT_SECONDS)
            else:
                return file
