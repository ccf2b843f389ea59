"""The table of claims in Postgres: which worker has which part, until when, and how far it is.

Rules. Only the server's clock counts. A claim is one row; its token grows by one whenever somebody else takes
the part, and everything a holder does names its token, so that one whose lease was taken changes nothing any
more. Every statement stands alone (autocommit) and may be repeated, because an answer can get lost: a lost
connection is made again and the statement repeated, for a bounded time. psycopg loads when used.

The row ``part = 0`` of a leg and asset says whether that leg is asked to stop.
"""

import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from exitdrill.errors import DefinitionError, MissingExtraError, PermissionDeniedError, RunError, TransientError

if TYPE_CHECKING:
    import psycopg

__all__ = ["TABLE", "TABLE_SQL", "ClaimTable", "Key", "Standing", "address_of", "holder_name"]

TABLE = "exitdrill_claims"

TABLE_SQL = f"""\
CREATE TABLE IF NOT EXISTS {TABLE} (
    run text NOT NULL, leg text NOT NULL, asset text NOT NULL, part integer NOT NULL,
    token bigint NOT NULL DEFAULT 0, holder text NOT NULL DEFAULT '',
    until timestamptz NOT NULL DEFAULT '-infinity', done boolean NOT NULL DEFAULT false,
    stop boolean NOT NULL DEFAULT false, objects bigint NOT NULL DEFAULT 0, size_bytes bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0, beat timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, leg, asset, part))"""
"""What an administrator runs where the drill's user may not make tables."""

_KEY = "run = %s AND leg = %s AND asset = %s AND part = %s"
_CLAIM = f"""
INSERT INTO {TABLE} AS c (run, leg, asset, part, token, holder, until)
VALUES (%s, %s, %s, %s, 1, %s, clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (run, leg, asset, part) DO UPDATE
SET token = c.token + 1, holder = excluded.holder, until = excluded.until, beat = clock_timestamp()
WHERE NOT c.done AND (c.until < clock_timestamp() OR c.holder = excluded.holder)
RETURNING c.token"""  # noqa: S608 - our own names
_RENEW = f"""
UPDATE {TABLE} AS c SET until = clock_timestamp() + make_interval(secs => %s),
    objects = %s, size_bytes = %s, errors = %s, beat = clock_timestamp()
WHERE {_KEY} AND token = %s AND NOT done
RETURNING EXISTS (SELECT 1 FROM {TABLE} s
    WHERE s.run = c.run AND s.leg = c.leg AND s.asset = c.asset AND s.part = 0 AND s.stop)"""  # noqa: S608 - as above
_FINISH = f"""
UPDATE {TABLE} SET done = true, until = '-infinity', objects = %s, size_bytes = %s, errors = %s,
    beat = clock_timestamp()
WHERE {_KEY} AND token = %s RETURNING token"""  # noqa: S608 - as above
_RELEASE = f"UPDATE {TABLE} SET until = '-infinity' WHERE {_KEY} AND token = %s AND NOT done"  # noqa: S608 - as above
_DONE = f"SELECT done FROM {TABLE} WHERE {_KEY}"  # noqa: S608 - as above
_STOP = f"""
INSERT INTO {TABLE} (run, leg, asset, part, stop) VALUES (%s, %s, %s, 0, %s)
ON CONFLICT (run, leg, asset, part) DO UPDATE SET stop = excluded.stop"""  # noqa: S608 - as above
_GO_ON = f"UPDATE {TABLE} SET stop = false WHERE run = %s AND stop"  # noqa: S608 - as above
_STOPPED = f"SELECT stop FROM {TABLE} WHERE {_KEY}"  # noqa: S608 - as above
_STANDING = f"""
SELECT leg, asset, part, token, done, objects, size_bytes, errors,
    extract(epoch FROM clock_timestamp())::float8 - 2
FROM {TABLE} WHERE run = %s AND part > 0 AND beat > to_timestamp(%s)
ORDER BY leg, asset, part"""  # noqa: S608 - as above
_FORGET = f"DELETE FROM {TABLE} WHERE run = %s"  # noqa: S608 - as above

_CONNECT_SECONDS = 10
_STATEMENT_MILLISECONDS = 20_000
_AGAIN_SECONDS = 0.5
_OPTIONS = f"-c statement_timeout={_STATEMENT_MILLISECONDS} -c lock_timeout={_STATEMENT_MILLISECONDS}"
_URL_PASSWORD = re.compile(r"(?<=://)[^@\s]*@|password=\S+")


@dataclass(frozen=True, slots=True)
class Key:
    """What is claimed."""

    run: str
    leg: str
    asset: str
    part: int

    @property
    def values(self) -> tuple[str, str, str, int]:
        """As the statements take it."""
        return (self.run, self.leg, self.asset, self.part)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one part is."""

    leg: str
    asset: str
    part: int
    token: int
    done: bool
    objects: int
    size_bytes: int
    errors: int


def holder_name() -> str:
    """A name for this process that no other has, here or elsewhere."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as exc:
        hint = "pip install 'exitdrill[cluster]'"
        raise MissingExtraError(f"psycopg cannot be loaded: {exc}", resource="claims", hint=hint) from exc
    return psycopg


def address_of(url: str) -> tuple[tuple[str, int], ...]:
    """Hosts and ports that a Postgres URL names; none for a socket of this machine.

    Raises:
        DefinitionError: It is no Postgres URL. The message does not repeat it, for the password's sake.
    """
    psycopg = _psycopg()
    try:
        found = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise DefinitionError(
            "what engine.claims refers to is no Postgres URL",
            resource="claims",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        ) from None
    hosts = [host for host in str(found.get("host") or found.get("hostaddr") or "").split(",") if host]
    ports = [int(port) if port else 5432 for port in str(found.get("port") or "").split(",")]
    return tuple(
        (host, ports[min(n, len(ports) - 1)]) for n, host in enumerate(hosts) if not host.startswith(("/", "@"))
    )


class ClaimTable:
    """The table, reached by one connection. Usable from several threads.

    Args:
        url: Of the database, resolved.
        patience_seconds: How long a lost connection is made again and a statement repeated.
        sleep: Waits.
    """

    def __init__(self, url: str, patience_seconds: float = 60.0, sleep: Callable[[float], None] = time.sleep) -> None:
        """See the class. Connects at the first statement. Raises DefinitionError, MissingExtraError."""
        self.addresses = address_of(url)
        self.resource = ", ".join(f"{host}:{port}" for host, port in self.addresses) or "Postgres of this machine"
        self._url, self._patience_seconds, self._sleep = url, patience_seconds, sleep
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def prepare(self) -> bool:
        """Make the table where there is none; whether it was made. For one process at a time: the conductor."""
        if self._one(f"SELECT to_regclass('{TABLE}') IS NOT NULL", ()) == (True,):
            return False
        self._run(TABLE_SQL, ())
        return True

    def claim(self, key: Key, holder: str, lease_seconds: float) -> int | None:
        """The token, if the part is nobody's (any more) and not done; it is then this holder's."""
        row = self._one(_CLAIM, (*key.values, holder, lease_seconds))
        return None if row is None else int(row[0])

    def renew(self, key: Key, token: int, lease_seconds: float, counts: tuple[int, int, int]) -> bool | None:
        """Hold the part for longer; whether its leg is asked to stop. None: it is somebody else's."""
        row = self._one(_RENEW, (lease_seconds, *counts, *key.values, token))
        return None if row is None else bool(row[0])

    def finish(self, key: Key, token: int, counts: tuple[int, int, int]) -> bool:
        """Note that the part is done, for good; False if it is somebody else's."""
        return self._one(_FINISH, (*counts, *key.values, token)) is not None

    def release(self, key: Key, token: int) -> None:
        """Let go of a part that is not done; nothing if it is somebody else's."""
        self._run(_RELEASE, (*key.values, token))

    def done(self, key: Key) -> bool:
        """Whether the part is done."""
        return self._one(_DONE, key.values) == (True,)

    def ask_stop(self, run: str, leg: str, asset: str, *, stop: bool) -> None:
        """Ask a leg's holders to stop, or take that back."""
        self._run(_STOP, (run, leg, asset, stop))

    def go_on(self, run: str) -> None:
        """Take every wish to stop a run back."""
        self._run(_GO_ON, (run,))

    def stopped(self, run: str, leg: str, asset: str) -> bool:
        """Whether a leg is asked to stop."""
        return self._one(_STOPPED, (run, leg, asset, 0)) == (True,)

    def standing(self, run: str, since: float = 0.0) -> tuple[list[Standing], float]:
        """How far the parts of a run are that moved since then.

        Args:
            run: The run.
            since: What this returned last, on the server's clock; 0 for all.
        """
        rows = self._all(_STANDING, (run, since))
        return [Standing(*row[:-1]) for row in rows], (float(rows[0][-1]) if rows else since)

    def forget(self, run: str) -> int:
        """Remove what is known of a run; how many rows."""
        return self._run(_FORGET, (run,))

    def _one(self, sql: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        return next(iter(self._all(sql, values)), None)

    def _all(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._patiently(sql, values) as cursor:
            return list(cursor.fetchall())

    def _run(self, sql: str, values: Sequence[object]) -> int:
        with self._patiently(sql, values) as cursor:
            return int(cursor.rowcount)

    def _patiently(self, sql: str, values: Sequence[object]) -> Any:
        """The cursor of a statement that was carried out."""
        psycopg = _psycopg()
        deadline = time.monotonic() + self._patience_seconds
        while True:
            try:
                with self._lock:
                    return self._connected().execute(sql, values)
            except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as exc:
                self.close()
                if time.monotonic() > deadline:
                    hint = "see that Postgres runs and can be reached from here, then: exitdrill resume"
                    raise TransientError(_words(exc), resource=self.resource, hint=hint) from None
                self._sleep(_AGAIN_SECONDS)
            except psycopg.errors.InsufficientPrivilege as exc:
                hint = (
                    f"have an administrator run, in that database: {' '.join(TABLE_SQL.split())}; and grant all on it"
                )
                raise PermissionDeniedError(_words(exc), resource=self.resource, hint=hint) from exc
            except psycopg.errors.UndefinedTable as exc:
                hint = "exitdrill check makes it"
                raise RunError("has no table of claims", resource=self.resource, hint=hint) from exc
            except psycopg.Error as exc:
                raise RunError(_words(exc), resource=self.resource) from exc

    def _connected(self) -> "psycopg.Connection[Any]":
        if self._connection is None or self._connection.closed:
            psycopg_ = _psycopg()
            given = psycopg_.conninfo.conninfo_to_dict(self._url).get("options") or ""
            self._connection = psycopg_.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                options=f"{given} {_OPTIONS}".strip(),
                application_name="exitdrill",
                keepalives_idle=30,
                tcp_user_timeout=_STATEMENT_MILLISECONDS,
                prepare_threshold=None,  # a pooler in between may not know prepared statements
            )
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _words(exc: Exception) -> str:
    """What Postgres says, on one line, without a password."""
    return _URL_PASSWORD.sub("…", " ".join(str(exc).split()))[:300]
