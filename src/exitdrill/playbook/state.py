"""What a run remembers between processes: steps, laps and facts, in one small SQLite file.

Its size depends on the playbook and the number of assets, not of objects. One process writes it at a time
(the run's lock), from several threads.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from threading import Lock

from exitdrill.clock import Lap, format_utc, parse_utc
from exitdrill.errors import ExitdrillError, NoSpaceError, RunError
from exitdrill.model.codec import utf8
from exitdrill.model.journal import Json
from exitdrill.model.record import Check, StepRecord, StepStatus

__all__ = ["AssetFacts", "State"]

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (scope TEXT, name TEXT, value TEXT NOT NULL, PRIMARY KEY (scope, name));
CREATE TABLE IF NOT EXISTS steps (id TEXT, asset TEXT, phase TEXT, status TEXT, attempts INTEGER, error TEXT,
    approved_by TEXT, PRIMARY KEY (id, asset));
CREATE TABLE IF NOT EXISTS laps (name TEXT, started TEXT, start_ns INTEGER, duration_ns INTEGER,
    waiting_ns INTEGER, attempts INTEGER);
CREATE TABLE IF NOT EXISTS checks (name TEXT, resource TEXT, ready INTEGER, found TEXT, action TEXT,
    PRIMARY KEY (name, resource, found));
CREATE TABLE IF NOT EXISTS refused (address TEXT, during TEXT, count INTEGER, PRIMARY KEY (address, during));
"""


class State:
    """The state file of a run.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        """See the class."""
        self._path, self._lock = path, Lock()
        with self._guarded():
            self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        try:
            with self._guarded():
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_TABLES)
        except ExitdrillError:
            self._db.close()
            raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            if "full" in str(exc) or "disk I/O" in str(exc):
                hint = "make room, then: exitdrill resume"
                raise NoSpaceError("the disk is full or fails", resource=str(self._path), hint=hint) from exc
            raise RunError(f"work state cannot be used: {exc}", resource=str(self._path)) from exc

    def _do(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock, self._guarded():
            return self._db.execute(statement, [utf8(v) if isinstance(v, str) else v for v in values]).fetchall()

    def get(self, scope: str, name: str) -> Json:
        """A fact, or None."""
        rows = self._do("SELECT value FROM facts WHERE scope = ? AND name = ?", scope, name)
        return None if not rows else _json(rows[0][0])

    def put(self, scope: str, name: str, value: Json) -> None:
        """Keep a fact, durably."""
        self._do("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", scope, name, json.dumps(value))

    def step(self, step: StepRecord) -> None:
        """Keep how a step stands."""
        values = (step.id, step.asset or "", step.phase, step.status.value, step.attempts, step.error, step.approved_by)
        # Not REPLACE, which would give the row another place in the order.
        self._do(
            "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id, asset) DO UPDATE SET"
            " phase = excluded.phase, status = excluded.status, attempts = excluded.attempts,"
            " error = excluded.error, approved_by = excluded.approved_by",
            *values,
        )

    def steps(self) -> tuple[StepRecord, ...]:
        """Every step that was begun, in the order they were first kept."""
        rows = self._do("SELECT id, phase, status, asset, attempts, error, approved_by FROM steps ORDER BY rowid")
        return tuple(
            StepRecord(
                str(id_),
                str(phase),
                StepStatus(str(status)),
                str(asset) or None,
                int(str(attempts)),
                str(error),
                None if by is None else str(by),
            )
            for id_, phase, status, asset, attempts, error, by in rows
        )

    def done(self, step_id: str, asset: str = "") -> bool:
        """Whether a step was carried out."""
        rows = self._do("SELECT status FROM steps WHERE id = ? AND asset = ?", step_id, asset)
        return bool(rows) and rows[0][0] == StepStatus.DONE

    def lap(self, lap: Lap) -> None:
        """Keep a lap."""
        name, _, *numbers = astuple(lap)
        self._do("INSERT INTO laps VALUES (?, ?, ?, ?, ?, ?)", name, format_utc(lap.started_utc), *numbers)

    def laps(self) -> tuple[Lap, ...]:
        """Every lap, by start."""
        rows = self._do("SELECT * FROM laps ORDER BY start_ns, rowid")
        return tuple(Lap(str(r[0]), parse_utc(str(r[1])), *(int(str(n)) for n in r[2:])) for r in rows)

    def check(self, check: Check) -> None:
        """Keep a line of preflight."""
        values = (check.name, check.resource, int(check.ready), check.found, check.action)
        self._do("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?)", *values)

    def checks(self) -> tuple[Check, ...]:
        """Every line of preflight."""
        rows = self._do("SELECT * FROM checks ORDER BY rowid")
        return tuple(Check(str(n), str(r), bool(ok), str(f), str(a)) for n, r, ok, f, a in rows)

    def forget_checks(self) -> None:
        """Preflight begins anew."""
        self._do("DELETE FROM checks")

    def forget_check(self, name: str, resource: str) -> None:
        """What was found before is looked at anew."""
        self._do("DELETE FROM checks WHERE name = ? AND resource = ?", name, resource)

    def refused(self, address: str, during: str) -> None:
        """Count one connection to the source after the cut."""
        self._do(
            "INSERT INTO refused VALUES (?, ?, 1) ON CONFLICT (address, during) DO UPDATE SET count = count + 1",
            address,
            during,
        )

    def refusals(self) -> tuple[tuple[str, str, int], ...]:
        """Address, during what, how often."""
        rows = self._do("SELECT address, during, count FROM refused ORDER BY during, address")
        return tuple((str(a), str(d), int(str(c))) for a, d, c in rows)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class AssetFacts:
    """One asset's `exitdrill.assets.interface.Facts` in a run's state."""

    def __init__(self, state: State, asset: str) -> None:
        """See the class."""
        self._state, self._scope = state, f"asset:{asset}"

    def get(self, name: str) -> Json:
        """As the interface."""
        return self._state.get(self._scope, name)

    def put(self, name: str, value: Json) -> None:
        """As the interface."""
        self._state.put(self._scope, name, value)


def _json(text: object) -> Json:
    value: Json = json.loads(str(text))
    return value
