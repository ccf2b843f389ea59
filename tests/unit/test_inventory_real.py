"""Inventories of real servers: in pieces as in one, and from reports that lie in them in the documented form."""

import base64
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exitdrill.assets.interface import AssetContext
from exitdrill.assets.objects import ObjectsKind
from exitdrill.clock import SystemClock, format_utc
from exitdrill.connector.capabilities import KeyRule
from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.reports import ReportSource
from exitdrill.emulator import Running
from exitdrill.errors import NotFoundError
from exitdrill.model.journal import Json
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.plan.drill import Asset, Level, Place, Route
from exitdrill.testing.conformance import fresh_container
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill.testing.memory import MemoryProvider
from exitdrill.testing.runs import T0, make_plan
from exitdrill.transfer.client import run_job
from exitdrill.transfer.copying import Evacuation
from exitdrill.transfer.inventory import PartSize, inventory_report, inventory_rows, make_inventory
from exitdrill.transfer.job import Job, Result
from exitdrill.transfer.layout import RunDirectory, RunFacts, write_atomic
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.places import Places
from exitdrill.transfer.reported import Reported
from exitdrill.transfer.rows import InventoryRow, LedgerRow
from exitdrill_azure import AzureConnector, AzureSettings
from exitdrill_s3 import S3Connector
from exitdrill_s3.settings import S3Settings

_PLAIN = [f"case-{n % 9}/{n % 4}/{n:04d}" for n in range(120)]


@dataclass
class _Place:
    provider: Provider
    container: str
    reports: str

    def store(self) -> ObjectStore:
        return self.provider.objects(self.container)


_RULES = {
    "azurite": KeyRule(dot_segments=False, backslash=False, control_characters=False, non_characters=False),
    "moto": KeyRule(control_characters=False),
    "seaweedfs": KeyRule(
        max_segment_bytes=255, empty_segments=False, dot_segments=False, trailing_slash=False, backslash=False
    ),
}
"""What each can hold of the hostile keys, as its conformance tests have it."""


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[_Place]:
    """A server with a container full of hostile and plain keys, and one for reports."""
    running: Running = request.getfixturevalue(request.param)
    if request.param == "azurite":
        fields = {**running.settings, "page_size": 40}
        provider: Provider = AzureConnector().open("azurite", AzureSettings.model_validate(fields))
    else:
        provider = S3Connector().open(request.param, S3Settings.model_validate(dict(running.settings)))
    keys = [key for key in (*HOSTILE_KEYS, *_PLAIN) if not _RULES[request.param].violations(key)]
    with provider, fresh_container(provider) as container, fresh_container(provider) as reports:
        with provider.objects(container) as store:
            _fill(store, keys)
        yield _Place(provider, container, reports)


def _fill(store: ObjectStore, keys: list[str]) -> None:
    envelopes = [Envelope(), Envelope(content_type="text/plain"), Envelope(user=(("Case", "a b"),), tags=(("t", "1"),))]

    def put(numbered: tuple[int, str]) -> None:
        n, key = numbered
        store.write(WriteRequest(key, BytesBody(key.encode()), envelopes[n % 3]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, enumerate(keys)))


def _inventory(store: ObjectStore, folder: Path, threads: int = 1, reported: Reported | None = None) -> Any:
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    make_inventory(
        store, "", folder, scratch, PartSize(rows=50), SystemClock(), lambda: False, Meter(), threads,
        None if reported is None else lambda _manifest: reported,
    )  # fmt: skip
    return list(inventory_rows(folder))


@pytest.mark.parametrize("place", ["azurite", "moto", "seaweedfs"], indirect=True)
def test_listed_in_pieces_as_in_one(tmp_path: Path, place: _Place) -> None:
    """Four threads find the rows that one does, every field of them."""
    with place.store() as store:
        assert len(store.pieces()) > 3
        together = _inventory(store, tmp_path / "together", 4)
        assert together == _inventory(store, tmp_path / "alone")
        assert len(together) > 60


def _azure_csv(store: ObjectStore, container: str, entries: list[ObjectEntry]) -> None:
    _azure(store, container, entries, parquet=False)


def _azure_parquet(store: ObjectStore, container: str, entries: list[ObjectEntry]) -> None:
    _azure(store, container, entries, parquet=True)


def _azure(store: ObjectStore, container: str, entries: list[ObjectEntry], *, parquet: bool) -> None:
    names = ["Name", "Last-Modified", "Content-Length", "Etag", "Content-MD5"]
    rows = [
        (f"{container}/{e.key}", e.modified, e.size, e.etag, base64.b64encode(e.digests.md5 or b"").decode())
        for e in entries
    ]
    out = io.BytesIO()
    if parquet:
        pq.write_table(pa.table({name: [row[n] for row in rows] for n, name in enumerate(names)}), out)
    else:
        text = io.TextIOWrapper(out, newline="", write_through=True)
        csv.writer(text).writerows([names, *([r[0], r[1] and format_utc(r[1]), *r[2:]] for r in rows)])
        text.detach()
    kind = "parquet" if parquet else "csv"
    folder = "2026/03/05/01-00-00/all"
    manifest = {
        "files": [{"blob": f"{folder}/all_1.{kind}", "size": len(out.getvalue())}],
        "inventoryStartTime": "2026-03-05T01:00:00Z",
        "inventoryCompletionTime": "2026-03-05T02:00:00Z",
        "ruleDefinition": {"filters": {"prefixMatch": [container]}, "format": kind, "objectType": "blob"},
        "ruleName": "all",
        "status": "Succeeded",
    }
    _complete(store, f"{folder}/all-manifest", manifest, {f"{folder}/all_1.{kind}": out.getvalue()})


def _complete(store: ObjectStore, stem: str, manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    data = json.dumps(manifest).encode()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
    for key, content in {**files, f"{stem}.json": data, f"{stem}.checksum": md5}.items():
        store.write(WriteRequest(key, BytesBody(content)))


def _s3_csv(store: ObjectStore, container: str, entries: list[ObjectEntry]) -> None:
    text = io.StringIO()
    rows = [(container, quote_plus(e.key), e.size, e.modified and format_utc(e.modified), e.etag) for e in entries]
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    _s3(store, container, "CSV", "Bucket, Key, Size, LastModifiedDate, ETag", gzip.compress(text.getvalue().encode()))


def _s3_parquet(store: ObjectStore, container: str, entries: list[ObjectEntry]) -> None:
    out = io.BytesIO()
    columns = {
        "bucket": [container] * len(entries),
        "key": [e.key for e in entries],
        "size": [e.size for e in entries],
        "last_modified_date": [e.modified for e in entries],
        "e_tag": [e.etag for e in entries],
    }
    pq.write_table(pa.table(columns), out)
    _s3(store, container, "Parquet", "message s3.inventory {…}", out.getvalue())


def _s3(store: ObjectStore, container: str, kind: str, columns: str, data: bytes) -> None:
    name = f"{container}/daily/data/1.{'csv.gz' if kind == 'CSV' else 'parquet'}"
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    manifest = {
        "sourceBucket": container,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1772672400000",
        "fileFormat": kind,
        "fileSchema": columns,
        "files": [{"key": name, "size": len(data), "MD5checksum": md5}],
    }
    _complete(store, f"{container}/daily/2026-03-05T01-00Z/manifest", manifest, {name: data})


@pytest.mark.parametrize("place", ["azurite", "moto"], indirect=True)
def test_a_report_gives_the_inventory_of_a_listing(tmp_path: Path, place: _Place) -> None:
    """Written from a listing into the place itself, found there and read, it is that listing but for the envelopes.

    What changed after it shows in a delta pass; without one, objects are still copied with all that is around them.
    """
    writers = (_azure_csv, _azure_parquet) if place.provider.place == "azurite" else (_s3_csv, _s3_parquet)
    where = ReportSource(place.reports)
    with place.store() as store, place.provider.objects(place.reports) as reports:
        with pytest.raises(NotFoundError):
            place.provider.inventory_report(place.container, "", where)
        listed = _inventory(store, tmp_path / "listed")
        for write in writers:
            write(reports, place.container, list(store.list())[::-1])
            report = place.provider.inventory_report(place.container, "", where)
            assert format_utc(report.began_utc) == "2026-03-05T01:00:00.000000Z"
            found = _inventory(store, tmp_path / write.__name__, reported=Reported(report, delta=False))
            assert [_pinned(row) for row in found] == [_pinned(row) for row in listed]
        _same_envelopes(store, found[:12], listed[:12])

        store.delete(listed[0].key)
        for key in (listed[1].key, "new-one"):
            store.write(WriteRequest(key, BytesBody(b"other bytes")))
        _inventory(store, tmp_path / "delta", 4, Reported(report, delta=True))
        facts = inventory_report(tmp_path / "delta")
        assert facts is not None
        assert (facts["added"], facts["changed"], facts["deleted"]) == (1, 1, 1)
        gone, changed = _copied(store, found[0]), _copied(store, found[1])
        assert (gone.outcome, changed.outcome) == ("missing at source", "changed during copy")


def _pinned(row: InventoryRow) -> tuple[object, ...]:
    return row.key, row.size, row.etag, row.modified and row.modified.replace(microsecond=0), row.version


class _NoMemory:
    def load(self) -> dict[str, str]:
        return {}

    def save(self, state: dict[str, str]) -> None:
        assert not state


def _copied(store: ObjectStore, row: InventoryRow) -> LedgerRow:
    vault = MemoryProvider("vault")
    vault.ensure_container("v")
    copy = Evacuation(store, vault.objects("v"), frozenset(), lambda: False, lambda _count: None)
    done = copy(row, _NoMemory())
    assert isinstance(done, LedgerRow)
    return done


def _same_envelopes(store: ObjectStore, found: list[InventoryRow], listed: list[InventoryRow]) -> None:
    for ours, theirs in zip(found, listed, strict=True):
        one, other = json.loads(_copied(store, ours).envelope), json.loads(_copied(store, theirs).envelope)
        assert one == other
    assert any("tags" in _copied(store, row).envelope for row in found)


class _Facts(dict[str, Json]):
    def put(self, name: str, value: Json) -> None:
        self[name] = value


class _Journal:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Json]]] = []

    def record(self, event: str, **facts: Json) -> None:
        self.events.append((event, facts))


def _run_jobs(jobs: Sequence[tuple[str, Job]]) -> list[Result]:
    return [run_job(job) for _, job in jobs]


@pytest.mark.parametrize("delta", ["listing", "none"])
@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_an_asset_says_where_its_inventory_is_from(tmp_path: Path, place: _Place, moto: Running, delta: str) -> None:
    """Preflight finds the report, the worker takes it, and checks and journal have its age and what changed since."""
    with place.store() as store, place.provider.objects(place.reports) as reports:
        entries = list(store.list())
        _s3_csv(reports, place.container, entries)
        store.write(WriteRequest("later", BytesBody(b"x")))
    source: dict[str, Json] = {
        "bucket": place.container,
        "prefix": "",
        "inventory": {"report": {"bucket": place.reports, "rule": "daily"}, "delta": delta},
    }
    asset = Asset("files", "objects", source, {"container": "b", "prefix": ""}, verify=Level.LISTED)
    places = {
        "cloud": Place("cloud", "s3", dict(moto.settings)),
        "vault": Place("vault", "local", {"path": "vault"}),
        "home": Place("home", "local", {"path": "home"}),
    }
    plan = make_plan(asset, places=places, route=Route("cloud", "vault", "home"))
    directory = RunDirectory.create(tmp_path / "runs", "20260101-000000-abcdef")
    write_atomic(directory.plan, json.dumps(plan.to_json()).encode())
    directory.write_facts(RunFacts(directory.id, format_utc(T0), str(tmp_path), "0"))
    for folder in ("vault", "home"):
        (tmp_path / folder).mkdir()
    journal = _Journal()
    context = AssetContext(
        plan, asset, directory, Places(plan, tmp_path, {}), journal, SystemClock(), _Facts(), _run_jobs, {}, lambda: 1
    )
    checks = {check.name: check for check in ObjectsKind().preflight(context)}
    assert checks["source objects"].found == ("listed and read; has an inventory report of 2026-03-05T01:00:00.000000Z")
    found = {check.name: check.found for check in ObjectsKind().inventory(context)}
    assert found["inventory"].startswith("from a report of 2026-03-05T01:00:00.000000Z (")
    assert ("1 added, 0 changed, 0 deleted since" in found["inventory"]) is (delta == "listing")
    ((_, told),) = [event for event in journal.events if event[0] == "inventory from a report"]
    assert (told["delta"], told["began_utc"]) == (delta, "2026-03-05T01:00:00.000000Z")
    keys = {row.key for row in inventory_rows(directory.inventory("files"))}
    assert keys == {entry.key for entry in entries} | ({"later"} if delta == "listing" else set())
