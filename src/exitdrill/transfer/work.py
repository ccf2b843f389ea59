"""What is done of a part that is not finished: one small SQLite file a part and leg.

Rows are committed in groups, after the place they were written to has been flushed; so what stands here is
proven, and a worker that is killed and started again goes on behind it. The file is deleted once its part
is in the ledger.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any

from exitdrill.errors import NoSpaceError, RunError
from exitdrill.transfer.rows import LedgerRow

__all__ = ["PartWork", "RowMemory"]

_FIELDS = [f.name for f in fields(LedgerRow)]
_VALUES = attrgetter(*_FIELDS)
_make: Callable[..., LedgerRow] = LedgerRow
_MODIFIED = _FIELDS.index("modified")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_TIMEOUT_SECONDS = 30


class PartWork:
    """The work file of one part on one leg. Usable from several threads.

    Args:
        path: Where it is, or will be.
        shared: Other machines may read it: then no memory is shared between those who have it open, which
            SQLite's write-ahead log needs (https://www.sqlite.org/wal.html).
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        """See the class."""
        self._path = path
        self._lock = Lock()
        with self._guard():
            self._db = sqlite3.connect(path, timeout=_TIMEOUT_SECONDS, check_same_thread=False, isolation_level=None)
            try:
                self._db.execute(f"PRAGMA journal_mode={'DELETE' if shared else 'WAL'}")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute(f"CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, {', '.join(_FIELDS)})")
                self._db.execute("CREATE TABLE IF NOT EXISTS uploads (n INTEGER PRIMARY KEY, state TEXT NOT NULL)")
            except sqlite3.Error:
                self._db.close()
                raise

    def _guard(self) -> "_Guard":
        return _Guard(self._path)

    def commit(self, rows: Iterable[tuple[int, LedgerRow]]) -> None:
        """Keep these rows, durably, all or none. Raises NoSpaceError."""
        values = [(n, *_cells(row)) for n, row in rows]
        marks = ", ".join("?" * (len(_FIELDS) + 1))
        with self._lock, self._guard():
            self._db.execute("BEGIN")
            try:
                self._db.executemany(f"INSERT OR REPLACE INTO rows VALUES ({marks})", values)  # noqa: S608 - marks only
                self._db.execute("DELETE FROM uploads WHERE n IN (SELECT n FROM rows)")
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:  # on a full disk SQLite has rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    def done(self) -> set[int]:
        """The numbers of the rows kept. One part's worth at most."""
        with self._lock, self._guard():
            return {n for (n,) in self._db.execute("SELECT n FROM rows")}

    def rows(self) -> Iterator[LedgerRow]:
        """The rows kept, in their order."""
        with self._guard(), closing(self._db.execute(f"SELECT {', '.join(_FIELDS)} FROM rows ORDER BY n")) as cursor:  # noqa: S608 - our own names
            for values in cursor:
                moment = values[_MODIFIED]
                if moment is not None:
                    moment = _EPOCH + timedelta(microseconds=moment)
                yield _make(*values[:_MODIFIED], moment, *values[_MODIFIED + 1 :])

    def columns(self, size: int) -> Iterator[dict[str, Sequence[Any]]]:
        """The rows kept, in their order, ``size`` at a time, as columns; times as microseconds since 1970.

        Without making the rows: there are as many as objects.
        """
        with self._guard(), closing(self._db.execute(f"SELECT {', '.join(_FIELDS)} FROM rows ORDER BY n")) as cursor:  # noqa: S608 - our own names
            while values := cursor.fetchmany(size):
                yield dict(zip(_FIELDS, zip(*values, strict=True), strict=True))

    def load_upload(self, n: int) -> dict[str, str]:
        """The state of row ``n``'s upload in parts; empty if there is none."""
        with self._lock, self._guard():
            found = self._db.execute("SELECT state FROM uploads WHERE n = ?", (n,)).fetchone()
        return {} if found is None else dict(json.loads(found[0]))

    def save_upload(self, n: int, state: dict[str, str]) -> None:
        """Keep the state of row ``n``'s upload in parts; an empty one forgets."""
        with self._lock, self._guard():
            if state:
                self._db.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?)", (n, json.dumps(state)))
            else:
                self._db.execute("DELETE FROM uploads WHERE n = ?", (n,))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def remove(self) -> None:
        """Close and delete: the part is in the ledger."""
        self.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class RowMemory:
    """One row's `exitdrill.connector.objects.UploadMemory` in a part's work file."""

    def __init__(self, work: PartWork, n: int) -> None:
        """See the class."""
        self._work, self._n = work, n

    def load(self) -> dict[str, str]:
        """As the interface."""
        return self._work.load_upload(self._n)

    def save(self, state: dict[str, str]) -> None:
        """As the interface."""
        self._work.save_upload(self._n, state)


class _Guard:
    """Turns SQLite's errors into exitdrill's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if isinstance(exc, sqlite3.Error):
            if "full" in str(exc) or "disk I/O" in str(exc):
                hint = "make room, then: exitdrill resume"
                raise NoSpaceError("the disk is full or fails", resource=str(self._path), hint=hint) from exc
            raise RunError(f"work state cannot be used: {exc}", resource=str(self._path)) from exc


def _cells(row: LedgerRow) -> tuple[object, ...]:
    values: tuple[object, ...] = _VALUES(row)
    moment = row.modified
    if moment is None:
        return values
    return (*values[:_MODIFIED], (moment - _EPOCH) // _MICROSECOND, *values[_MODIFIED + 1 :])
