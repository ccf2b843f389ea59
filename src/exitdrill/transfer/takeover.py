"""Work files of parts that change hands.

On one machine a part has one work file. On several, each holder of the part has its own, named by its token, so that
two never write to one file. A new holder begins with what the one before it had proven: every row in there is a fact,
whoever wrote it and whenever. It is read through SQLite's own locks, as a reader beside a writer; a file that is held
or damaged is passed over, and the part is begun anew.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

__all__ = ["forget_work", "take_over", "work_files", "work_path"]

_BUSY_SECONDS = 5.0


def work_path(folder: Path, leg: str, part: int, token: int = 0) -> Path:
    """The work file of a part; each token above 0 has one of its own."""
    name = f"{leg}-{part:06d}"
    return folder / (f"{name}.t{token:06d}.sqlite" if token else f"{name}.sqlite")


def work_files(folder: Path, leg: str, part: int) -> list[Path]:
    """Every work file that there is of a part, the oldest first."""
    name = f"{leg}-{part:06d}"
    return [path for path in (folder / f"{name}.sqlite", *sorted(folder.glob(f"{name}.t*.sqlite"))) if path.exists()]


def take_over(folder: Path, leg: str, part: int, token: int) -> Path:
    """The work file for this holder, with what the last one before it had proven, where that can be read.

    Args:
        folder: Where the work files are.
        leg: ``evacuate`` or ``rebuild``.
        part: Which part.
        token: This holder's; 0 on one machine, where there is nobody to take over from.
    """
    own = work_path(folder, leg, part, token)
    if not token or own.exists():
        return own
    for path in reversed(work_files(folder, leg, part)):
        if _copied(path, own):
            break
    return own


def forget_work(folder: Path, ledger_part: Path, leg: str, part: int) -> None:
    """Remove every work file of a part that is in the ledger, and what was begun beside it there."""
    for path in ledger_part.parent.glob(f"{ledger_part.name}.*.new"):
        path.unlink(missing_ok=True)
    for path in work_files(folder, leg, part):
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


class _BusyError(Exception):
    """Somebody holds the file. Never leaves this module."""


def _patience() -> Callable[[int, int, int], None]:
    """Ends a copy that waits for a lock: SQLite's own loop would wait for ever."""
    deadline = time.monotonic() + _BUSY_SECONDS

    def progress(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise _BusyError

    return progress


def _copied(path: Path, own: Path) -> bool:
    """Whether the file could be copied whole; if not, nothing of it stays."""
    beside = own.with_suffix(".new")
    try:
        with (
            closing(sqlite3.connect(path, timeout=_BUSY_SECONDS / 5)) as source,
            closing(sqlite3.connect(beside)) as target,
        ):
            source.backup(target, progress=_patience())
            if target.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
            if not target.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
                return False
        beside.replace(own)
    except (sqlite3.Error, _BusyError):
        return False
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return True
