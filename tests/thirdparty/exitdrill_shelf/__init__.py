"""Objects in one SQLite file: the smallest connector that is whole. See ``docs/writing-a-connector.md``."""

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from exitdrill.clock import format_utc, parse_utc
from exitdrill.connector.capabilities import Capabilities, EnvelopeRule
from exitdrill.connector.objects import ObjectStore, RawRead, WriteRequest
from exitdrill.connector.provider import Connector, Endpoint, Environment, Provider, Settings
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ChangedError, ConflictError, ConnectorError, DigestError, NotFoundError, TransientError
from exitdrill.model.digests import ALL_KINDS, Digests, Hasher
from exitdrill.model.objects import Envelope, ObjectEntry

SCHEMA = """
CREATE TABLE IF NOT EXISTS container (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS object (container TEXT REFERENCES container ON DELETE RESTRICT, key TEXT, data BLOB,
    etag TEXT, modified TEXT, digests TEXT, envelope TEXT, PRIMARY KEY (container, key));"""
LIST = """SELECT key, length(data), etag, modified, digests, envelope FROM object
    WHERE container = ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"""
STAT = """SELECT key, length(data), etag, modified, digests, envelope FROM object WHERE container = ? AND key = ?"""
PAGE_OBJECTS = 500
CAPABILITIES = Capabilities(
    envelope=EnvelopeRule(user_max_bytes=65_536, user_ascii_only=False, tags_max=50, created=True),
    refuses_wrong=ALL_KINDS,
    max_object_bytes=64 * 1024 * 1024,
)


class ShelfSettings(Settings):
    """A place of the connector ``shelf``."""

    path: Path
    """The SQLite file."""


@contextmanager
def database(path: Path, resource: str) -> Iterator[sqlite3.Connection]:
    """One transaction; SQLite's errors become exitdrill's."""
    try:
        with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except sqlite3.IntegrityError as exc:
        raise ConflictError(f"the shelf refused: {exc}", resource=resource) from exc
    except sqlite3.DatabaseError as exc:
        busy = getattr(exc, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        raise (TransientError if busy else ConnectorError)(f"SQLite says: {exc}", resource=resource) from exc


def entry_of(row: tuple[str, int, str, str, str, str]) -> ObjectEntry:
    """A row of ``LIST`` or ``STAT`` as an entry."""
    digests, envelope = Digests.from_json(json.loads(row[4])), Envelope.from_json(json.loads(row[5]))
    return ObjectEntry(row[0], row[1], row[2], None, parse_utc(row[3]), digests, envelope)


class ShelfStore(ObjectStore):
    """One container on a shelf."""

    def __init__(self, path: Path, place: str, name: str, claims: Capabilities, retry: RetryPolicy) -> None:
        super().__init__(f"{place}:{name}", claims, retry)
        self.path, self.name = path, name

    def _list(self, prefix: str, start_after: str | None, token: str | None) -> tuple[list[ObjectEntry], str | None]:
        with database(self.path, self.resource) as shelf:
            self._must_exist(shelf)
            rows = shelf.execute(LIST, (self.name, token or start_after or "", len(prefix), prefix, PAGE_OBJECTS))
            page = [entry_of(row) for row in rows]
        return page, page[-1].key if len(page) == PAGE_OBJECTS else None

    def _read(
        self,
        key: str,
        etag: str | None,
        version: str | None,  # noqa: ARG002 - no versions here
        offset: int,
        length: int | None,
    ) -> RawRead:
        with database(self.path, self.resource) as shelf:
            entry = self._stat_in(shelf, key)
            end = entry.size if length is None else min(entry.size, offset + length)
            count = max(0, end - offset)
            query = "SELECT substr(data, ?, ?) FROM object WHERE container = ? AND key = ? AND etag = ?"
            row = shelf.execute(query, (offset + 1, count, self.name, key, etag or entry.etag)).fetchone()
        if row is None:
            raise ChangedError(f"is version {entry.etag}, not {etag}", resource=self.describe(key))
        return RawRead(entry, offset, count, iter((row[0],)))

    def _write(self, request: WriteRequest, envelope: Envelope) -> ObjectEntry:
        data, hasher = b"".join(request.body.open()), Hasher(Hasher.DEFAULT | request.digests.kinds)
        hasher.update(data)
        if hasher.digests().only(request.digests.kinds) != request.digests or len(data) != request.body.size:
            raise DigestError("the bytes are not the ones promised", resource=self.describe(request.key))
        now, digests, etag = datetime.now(UTC), hasher.digests(), secrets.token_hex(16)
        texts = etag, format_utc(now), json.dumps(digests.to_json()), json.dumps(envelope.to_json())
        with database(self.path, self.resource) as shelf:
            self._must_exist(shelf)
            query = "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)"
            shelf.execute(query, (self.name, request.key, data, *texts))
        return ObjectEntry(request.key, len(data), etag, None, now, digests, envelope)

    def _stat(self, key: str, version: str | None) -> ObjectEntry:  # noqa: ARG002 - no versions here
        with database(self.path, self.resource) as shelf:
            return self._stat_in(shelf, key)

    def _delete(self, key: str, version: str | None) -> None:  # noqa: ARG002 - no versions here
        with database(self.path, self.resource) as shelf:
            shelf.execute("DELETE FROM object WHERE container = ? AND key = ?", (self.name, key))

    def _stat_in(self, shelf: sqlite3.Connection, key: str) -> ObjectEntry:
        self._must_exist(shelf)
        row = shelf.execute(STAT, (self.name, key)).fetchone()
        if row is None:
            raise NotFoundError("there is no such object", resource=self.describe(key))
        return entry_of(row)

    def _must_exist(self, shelf: sqlite3.Connection) -> None:
        shelf.executescript(SCHEMA)
        if shelf.execute("SELECT 1 FROM container WHERE name = ?", (self.name,)).fetchone() is None:
            raise NotFoundError("there is no such container", resource=self.resource)


class ShelfProvider(Provider):
    """One shelf."""

    environment = Environment.PRIVATE

    def __init__(self, place: str, path: Path, retry: RetryPolicy | None = None) -> None:
        super().__init__(place, retry)
        self.path = path

    def _objects(self, container: str, capabilities: Capabilities | None) -> ShelfStore:
        return ShelfStore(self.path, self.place, container, capabilities or CAPABILITIES, self.retry)

    def _ensure_container(self, container: str) -> bool:
        with database(self.path, self.place) as shelf:
            shelf.executescript(SCHEMA)
            return shelf.execute("INSERT OR IGNORE INTO container VALUES (?)", (container,)).rowcount == 1

    def _remove_container(self, container: str) -> None:
        with database(self.path, f"{self.place}:{container}") as shelf:
            shelf.execute("DELETE FROM container WHERE name = ?", (container,))

    def _server_time(self) -> None:
        """A file has no clock."""

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return ()


class ShelfConnector(Connector):
    """Opens a shelf."""

    name = "shelf"
    title = "One SQLite file"
    roles = frozenset({"source", "vault", "target"})
    settings = ShelfSettings

    def open(self, place: str, settings: Settings, retry: RetryPolicy | None = None) -> ShelfProvider:
        """The file as a place; makes no request."""
        return ShelfProvider(place, ShelfSettings.model_validate(settings).path, retry)
