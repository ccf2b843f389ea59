"""Azure Blob Inventory and S3 Inventory as documented, hostile ones too, read from a store in memory."""

import base64
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exitdrill.clock import SystemClock
from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.reports import InventoryReport, ReportSource, moment_of, truth_of
from exitdrill.errors import ConnectorError, DigestError, NotFoundError, RunError, UnsupportedError
from exitdrill.model.objects import ObjectEntry
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider
from exitdrill.transfer.inventory import (
    STEM,
    PartSize,
    inventory_counts,
    inventory_report,
    inventory_rows,
    make_inventory,
)
from exitdrill.transfer.partrun import Meter
from exitdrill.transfer.reported import Reported
from exitdrill.transfer.rows import part_numbers
from exitdrill_azure import inventory_report as azure
from exitdrill_s3 import inventory_report as s3

_WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_BEGAN = "2026-03-05T01:00:00Z"


def _digest(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _store() -> ObjectStore:
    provider = MemoryProvider("place", HONEST, Behaviour(page_objects=5))
    provider.ensure_container("inventories")
    return provider.objects("inventories")


def _put(store: ObjectStore, key: str, data: bytes) -> None:
    store.write(WriteRequest(key, BytesBody(data)))


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _parquet(names: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    out = io.BytesIO()
    columns: dict[str, Any] = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    pq.write_table(pa.table(columns), out, row_group_size=7)
    return out.getvalue()


def _etag(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass
class _Written:
    """What a test's report has, to be changed."""

    folder: str
    files: list[tuple[str, bytes]]
    manifest: dict[str, Any]
    checksum: bytes | None = b""
    """None for none; empty for the right one."""
    manifest_name: str = "manifest.json"

    def put(self, store: ObjectStore) -> str:
        for name, data in self.files:
            _put(store, name, data)
        data = json.dumps(self.manifest).encode()
        key = f"{self.folder}/{self.manifest_name}"
        _put(store, key, data)
        if self.checksum is not None:
            checksum = self.checksum or _digest(data).hexdigest().encode() + b"\n"
            _put(store, key.removesuffix("json") + "checksum", checksum)
        return key


_S3_COLUMNS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")
_S3_PARQUET = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag")


def _s3_report(keys: Sequence[str], kind: str, stamp: str = "2026-03-05T01-00Z", per_file: int = 40) -> _Written:
    files: list[tuple[str, bytes]] = []
    for n in range(0, max(len(keys), 1), per_file):
        some = keys[n : n + per_file]
        if kind == "CSV":
            when = _WHEN.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            rows = [("case-files", quote_plus(k, safe="/"), "", "true", "false", len(k), when, _etag(k)) for k in some]
            files.append((f"daily/data/{stamp}-{n}.csv.gz", gzip.compress(_csv(rows))))
        else:
            typed = [("case-files", k, None, True, False, len(k), _WHEN, _etag(k)) for k in some]
            files.append((f"daily/data/{stamp}-{n}.parquet", _parquet(_S3_PARQUET, typed)))
    manifest = {
        "sourceBucket": "case-files",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": str(int(moment(_BEGAN).timestamp() * 1000)),
        "fileFormat": kind,
        "fileSchema": ", ".join(_S3_COLUMNS) if kind == "CSV" else "message s3.inventory { … }",
        "files": [{"key": k, "size": len(d), "MD5checksum": _digest(d).hexdigest()} for k, d in files],
    }
    return _Written(f"case-files/daily/{stamp}", files, manifest)


_AZURE_COLUMNS = ("Name", "Creation-Time", "Last-Modified", "Etag", "Content-Length", "Content-MD5", "Snapshot")


def _azure_report(keys: Sequence[str], kind: str, stamp: str = "2026/03/05/01-00-00") -> _Written:
    folder = f"{stamp}/all"
    when: object = _WHEN if kind == "parquet" else _WHEN.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
    rows = [
        (f"case-files/{k}", when, when, f"0x{_etag(k)}", len(k) if kind == "parquet" else str(len(k)), _md5(k), "")
        for k in keys
    ]
    data = _parquet(_AZURE_COLUMNS, rows) if kind == "parquet" else b"\xef\xbb\xbf" + _csv([_AZURE_COLUMNS, *rows])
    manifest = {
        "destinationContainer": "inventories",
        "endpoint": "https://records.blob.core.windows.net",
        "files": [{"blob": f"{folder}/all_1.{kind}", "size": len(data)}],
        "inventoryCompletionTime": "2026-03-05T03:00:00Z",
        "inventoryStartTime": _BEGAN,
        "ruleDefinition": {
            "filters": {
                "blobTypes": ["blockBlob", "appendBlob", "pageBlob"],
                "includeBlobVersions": False,
                "prefixMatch": ["case-files"],
            },
            "format": kind,
            "objectType": "blob",
            "schedule": "daily",
            "schemaFields": list(_AZURE_COLUMNS),
        },
        "ruleName": "all",
        "status": "Succeeded",
        "summary": {"objectCount": len(keys), "totalObjectSize": 1},
        "version": "1.0",
    }
    return _Written(folder, [(f"{folder}/all_1.{kind}", data)], manifest, manifest_name="all-manifest.json")


def _md5(key: str) -> str:
    return base64.b64encode(_digest(key.encode()).digest()).decode()


def moment(text: str) -> datetime:
    found = moment_of(text)
    assert found is not None
    return found


def _newest(store: ObjectStore, of: str, **source: Any) -> InventoryReport:
    where = ReportSource("inventories", **source)
    if of == "s3":
        return s3.newest_report(store, "case-files", where)
    return azure.newest_report(store, "case-files", "", where)


_FORMATS = [("s3", "CSV"), ("s3", "Parquet"), ("azure", "csv"), ("azure", "parquet")]


def _report(of: str, kind: str, keys: Sequence[str]) -> _Written:
    return _s3_report(keys, kind) if of == "s3" else _azure_report(keys, kind)


@pytest.mark.parametrize(("of", "kind"), _FORMATS)
def test_every_row_comes_back(tmp_path: Path, of: str, kind: str) -> None:
    """Hostile keys, sizes, ETags, times and MD5s are what was reported, byte for byte."""
    store, keys = _store(), list(HOSTILE_KEYS)
    _report(of, kind, keys).put(store)
    report = _newest(store, of)
    found = list(report.entries(tmp_path))
    assert [entry.key for entry in found] == keys
    mark = "0x" if of == "azure" else ""
    assert [entry.etag for entry in found] == [mark + _etag(key) for key in keys]
    assert [entry.size for entry in found] == [len(key) for key in keys]
    assert {entry.modified for entry in found} == {_WHEN}
    assert {entry.envelope for entry in found} == {None}, "a report says too little of what is around the bytes"
    if of == "azure":
        assert [entry.digests.md5 for entry in found] == [_digest(key.encode()).digest() for key in keys]
    assert report.began_utc == moment(_BEGAN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("of", "kind"), _FORMATS)
def test_an_inventory_of_a_report(tmp_path: Path, of: str, kind: str) -> None:
    """Sorted, each key once, only what begins with the prefix, in parts; with where it is from and how old it is."""
    store = _store()
    keys = [f"{n % 7}/{n:04d}" for n in range(300)]
    written = _report(of, kind, [*keys, *keys[:3]])
    written.put(store)
    folder = tmp_path / "inv"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    report = _newest(store, of)
    make_inventory(
        store, "3/", folder, scratch, PartSize(rows=10), SystemClock(), lambda: False, Meter(),
        reported=lambda _manifest: Reported(report, delta=False),
    )  # fmt: skip
    assert [row.key for row in inventory_rows(folder)] == sorted(key for key in keys if key.startswith("3/"))
    facts = inventory_report(folder)
    assert facts is not None
    assert facts["began_utc"] == "2026-03-05T01:00:00.000000Z"
    assert facts["delta"] == "none"
    age = SystemClock().utc_now() - moment(_BEGAN)
    assert abs(facts["age_seconds"] - age / timedelta(seconds=1)) < 60
    assert facts["manifest"] == f"{written.folder}/{written.manifest_name}"


def _inventory(store: ObjectStore, folder: Path, reported: Reported, **more: Any) -> None:
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    make_inventory(
        store, "", folder, scratch, more.pop("size", PartSize()), SystemClock(), lambda: False, Meter(),
        reported=lambda _manifest: reported, **more,
    )  # fmt: skip


class _Listed(InventoryReport):
    """A report made of entries, for what has nothing to do with files."""

    rows: Sequence[ObjectEntry] = ()

    @property
    def _needed(self) -> frozenset[str]:
        return frozenset()

    @property
    def _used(self) -> frozenset[str]:
        return frozenset()

    def _entry(self, record: Any) -> None:
        raise AssertionError(record)

    def entries(self, scratch: Path) -> Any:
        del scratch
        return iter(self.rows)


def _listed(rows: Sequence[ObjectEntry]) -> _Listed:
    report = _Listed(_store(), "m", moment(_BEGAN), None, [], parquet=False)
    report.rows = rows
    return report


def test_a_delta_pass_says_what_changed(tmp_path: Path) -> None:
    """The inventory is the container as it is now; the report only says how many were added, changed and deleted."""
    store = _store()
    for n in range(50):
        _put(store, f"{n:03d}", b"x")
    old = list(store.list())
    for n in range(5):
        store.delete(f"{n:03d}")
    for n in range(10, 13):
        _put(store, f"{n:03d}", b"changed")
    for n in range(50, 57):
        _put(store, f"{n:03d}", b"new")
    _inventory(store, tmp_path / "inv", Reported(_listed(old[::-1]), delta=True))
    assert [row.entry() for row in inventory_rows(tmp_path / "inv")] == list(store.list())
    facts = inventory_report(tmp_path / "inv")
    assert facts is not None
    counts = {name: facts[name] for name in ("reported", "added", "changed", "deleted", "delta")}
    assert counts == {"reported": 50, "added": 7, "changed": 3, "deleted": 5, "delta": "listing"}


def test_a_key_that_comes_twice_counts_once(tmp_path: Path) -> None:
    """Of two rows for a key the one modified last is taken, wherever they are in the report."""
    rows = [ObjectEntry(f"{n:05d}", n, f"new{n}", None, _WHEN) for n in range(3000)]
    older = [replace(row, etag="old", modified=_WHEN - timedelta(days=1)) for row in rows[::7]]
    timeless = [replace(row, etag="old", modified=None) for row in rows[::500]]
    thrice = [replace(rows[1500], etag="old", modified=_WHEN - timedelta(days=n)) for n in range(1, 2500)]
    _inventory(_store(), tmp_path / "inv", Reported(_listed([*older, *rows, *timeless, *thrice]), delta=False))
    assert [(row.key, row.etag) for row in inventory_rows(tmp_path / "inv")] == [(r.key, r.etag) for r in rows]


def test_an_interrupted_report_goes_on_with_the_same(tmp_path: Path) -> None:
    """The same report is asked for again, and parts that are there stay."""
    folder, asked = tmp_path / "inv", list[str | None]()
    rows = [ObjectEntry(f"{n:03d}", 1, "e", None, _WHEN) for n in range(50)]
    (tmp_path / "scratch").mkdir()

    def reported(manifest: str | None) -> Reported:
        asked.append(manifest)
        return Reported(_listed(rows), delta=False)

    def make(stopped: Callable[[], bool]) -> None:
        size, clock = PartSize(rows=10), SystemClock()
        scratch = tmp_path / "scratch"
        make_inventory(_store(), "", folder, scratch, size, clock, stopped, Meter(), reported=reported)

    with pytest.raises(RunError):
        make(lambda: len(part_numbers(folder, STEM)) == 2)
    first = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert len(first) == 2
    make(lambda: False)
    make(lambda: False)
    assert asked == [None, "m"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")}.items() >= first.items()
    assert [row.key for row in inventory_rows(folder)] == [row.key for row in rows]
    assert inventory_counts(folder).objects == 50


def test_versions_need_a_listing(tmp_path: Path) -> None:
    """A report is of current objects: where versions are asked for, it cannot stand for a listing."""
    store = _store()
    store.capabilities = HONEST.narrowed(versions=True)
    with pytest.raises(UnsupportedError, match="current objects only"):
        _inventory(store, tmp_path / "inv", Reported(_listed([]), delta=False))


@pytest.mark.parametrize("of", ["s3", "azure"])
def test_the_newest_complete_report_is_taken(tmp_path: Path, of: str) -> None:
    """Older ones, unfinished ones and failed ones are passed over; one can be named; there may be none."""
    store, first = _store(), ""
    with pytest.raises(NotFoundError, match="no complete inventory report"):
        _newest(store, of)
    for day in range(1, 6):
        if of == "s3":
            written = _s3_report([f"day{day}"], "CSV", f"2026-03-0{day}T01-00Z")
        else:
            written = _azure_report([f"day{day}"], "csv", f"2026/03/0{day}/01-00-00")
            written.manifest["status"] = "Pending" if day == 4 else "Succeeded"
        written.checksum = None if day == 5 or (of == "s3" and day == 4) else b""
        key = written.put(store)
        first = key if day == 1 else first
    assert [entry.key for entry in _newest(store, of).entries(tmp_path)] == ["day3"]
    assert [entry.key for entry in _newest(store, of, manifest=first).entries(tmp_path)] == ["day1"]


def test_whose_report_it_is(tmp_path: Path) -> None:
    """A report about another bucket or of another rule is not taken for the one asked for."""
    store = _store()
    other = _s3_report(["a"], "CSV", "2026-03-06T01-00Z")
    other.manifest["sourceBucket"] = "payroll"
    key = other.put(store)
    with pytest.raises(NotFoundError):
        _newest(store, "s3")
    with pytest.raises(ConnectorError, match="about bucket payroll"):
        _newest(store, "s3", manifest=key)
    _s3_report(["mine"], "CSV").put(store)
    assert [entry.key for entry in _newest(store, "s3", rule="daily").entries(tmp_path)] == ["mine"]
    with pytest.raises(NotFoundError):
        _newest(store, "s3", rule="weekly")
    blobs = _store()
    _azure_report(["mine"], "csv").put(blobs)
    second = _azure_report(["else"], "csv")
    second.files = []
    second.folder, second.manifest_name = second.folder.replace("all", "logs"), "logs-manifest.json"
    second.put(blobs)
    with pytest.raises(ConnectorError, match="several rules: all, logs"):
        _newest(blobs, "azure")
    assert [entry.key for entry in _newest(blobs, "azure", rule="all").entries(tmp_path)] == ["mine"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prefixMatch": ["case-files/a"]}, "prefixMatch"),
        ({"prefixMatch": ["payroll"]}, "prefixMatch"),
        ({"excludePrefix": ["case-files/tmp"]}, "leaves out case-files/tmp"),
        ({"creationTime": 3}, "new blobs only"),
        ({"blobTypes": ["blockBlob"]}, "appendBlob"),
    ],
)
def test_a_rule_that_leaves_something_out_is_no_source(change: dict[str, object], problem: str) -> None:
    """What a rule's filters leave out would be lost without a word, so such a report is refused."""
    store = _store()
    written = _azure_report(["a/1"], "csv")
    written.manifest["ruleDefinition"]["filters"] |= change
    written.put(store)
    with pytest.raises(ConnectorError, match=problem):
        _newest(store, "azure")
    where = ReportSource("inventories")
    if change == {"prefixMatch": ["case-files/a"]}:
        azure.newest_report(store, "case-files", "a/", where)


@pytest.mark.parametrize(
    ("of", "kind", "what"),
    [
        *((of, kind, what) for of, kind in _FORMATS for what in ("shorter", "longer")),
        ("s3", "CSV", "changed"),
        ("s3", "Parquet", "changed"),
    ],
)
def test_a_file_that_is_not_the_manifests(tmp_path: Path, of: str, kind: str, what: str) -> None:
    """A file of another size, or with another MD5 where the manifest has it, is an error and no inventory."""
    store = _store()
    written = _report(of, kind, [f"{n:04d}" for n in range(40)])
    written.put(store)
    key, data = written.files[0]
    changed = {"shorter": data[:-1], "longer": data + b"\n", "changed": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]}
    _put(store, key, changed[what])
    with pytest.raises(ConnectorError):
        _inventory(store, tmp_path / "inv", Reported(_newest(store, of), delta=False))
    assert part_numbers(tmp_path / "inv", STEM) == []


def test_a_manifest_that_is_not_its_checksums() -> None:
    """A manifest is believed only if its checksum is of it, in either form that a sum is written in."""
    for of, kind in (("s3", "CSV"), ("azure", "csv")):
        store = _store()
        written = replace(_report(of, kind, ["a"]), checksum=b"0" * 32)
        written.put(store)
        with pytest.raises(DigestError, match="checksum"):
            _newest(store, of)
    data = json.dumps(written.manifest).encode()
    replace(written, checksum=base64.b64encode(_digest(data).digest())).put(store)
    assert _newest(store, "azure").manifest


def _change(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(values)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_change(fileFormat="ORC"), "ORC"),
        (_change(creationTimestamp="soon"), "creationTimestamp"),
        (_change(files=[{"key": "", "size": 1}]), "files.0.key"),
        (_change(files="none"), "files"),
        (_change(files=[{"key": "a", "size": -1}]), "files.0.size"),
    ],
)
def test_a_manifest_that_makes_no_sense(change: Callable[[dict[str, Any]], None], problem: str) -> None:
    """A manifest of another form is an error that names the field."""
    store, written = _store(), _s3_report(["a"], "CSV")
    change(written.manifest)
    written.put(store)
    with pytest.raises(ConnectorError, match=problem):
        _newest(store, "s3")


_GOOD = ["case-files", "k", "", "true", "false", "1", "2026-03-04T05:06:07.000Z", "e"]


def _with(column: int, value: str) -> list[str]:
    return [*_GOOD[:column], value, *_GOOD[column + 1 :]]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (_csv([_GOOD[:-1]]), "7 fields, not 8"),
        (_csv([[*_GOOD, "more"]]), "9 fields, not 8"),
        (_csv([_with(0, "other")]), "row 1 makes no sense: a row of bucket 'other'"),
        (_csv([_GOOD, _with(1, "")]), "row 2 makes no sense: no key"),
        (_csv([_with(1, "%FF")]), "codec can't decode"),
        (_csv([_with(3, "maybe")]), "neither true nor false"),
        (_csv([_with(5, "-1")]), "no size"),
        (_csv([_with(5, "1e3")]), "no size"),
        (_csv([_with(5, "٣")]), "no size"),
        (_csv([_with(6, "yesterday")]), "makes no sense"),
        (_csv([_with(7, '""')]), "no ETag"),
        (b'case-files,"k', "unexpected end of data"),
        (b'case-files,"k"x,,', "expected after"),
        (b"\xff\xfe", "codec can't decode"),
        (b"k" * 300_000, "more than 262144 characters"),
        (_csv([_with(1, "k" * 200_000)]), "field larger than field limit"),
    ],
)
def test_rows_that_make_no_sense(tmp_path: Path, data: bytes, problem: str) -> None:
    """A hostile CSV is an error that says where; never another row."""
    store, written = _store(), _s3_report(["a"], "CSV")
    packed = gzip.compress(data)
    written.files = [("f.csv.gz", packed)]
    md5 = _digest(packed).hexdigest()
    written.manifest["files"] = [{"key": "f.csv.gz", "size": len(packed), "MD5checksum": md5}]
    written.put(store)
    with pytest.raises(ConnectorError, match=problem):
        list(_newest(store, "s3").entries(tmp_path))


def test_what_is_no_current_object_is_left_out(tmp_path: Path) -> None:
    """Delete markers, earlier versions, snapshots, deleted blobs and other containers' blobs are no objects here."""
    store, written = _store(), _s3_report(["a"], "CSV")
    rows = [_GOOD, _with(3, "false"), _with(4, "true"), _with(3, "")]
    written.files = [("f.csv", _csv(rows))]
    written.manifest["files"] = [{"key": "f.csv", "size": len(_csv(rows))}]
    written.put(store)
    assert [entry.key for entry in _newest(store, "s3").entries(tmp_path)] == ["k", "k"]

    blobs, report = _store(), _azure_report([], "csv")
    names = ["Name", "Last-Modified", "ETag", "Content-Length", "Snapshot", "IsCurrentVersion", "Deleted"]
    when = "Wed, 04 Mar 2026 05:06:07 GMT"
    data = _csv([
        names,
        ["case-files/a", when, '"e"', 1, "", "", ""],
        ["case-files/b", when, "e", 1, "2026-01-01T00:00:00Z", "", ""],
        ["case-files/c", when, "e", 1, "", "false", ""],
        ["case-files/d", when, "e", 1, "", "true", "True"],
        ["payroll/e", when, "e", 1, "", "", ""],
        ['case-files/f,\n"g"', when, "e", 1, "", "true", "False"],
    ])  # fmt: skip
    report.files = [("r.csv", data)]
    report.manifest["files"] = [{"blob": "r.csv", "size": len(data)}]
    report.put(blobs)
    found = list(_newest(blobs, "azure").entries(tmp_path))
    assert [(entry.key, entry.etag, entry.modified) for entry in found] == [("a", "e", _WHEN), ('f,\n"g"', "e", _WHEN)]


@pytest.mark.parametrize("missing", ["Name", "Etag", "Content-Length", "Last-Modified"])
def test_a_report_without_a_column_it_takes(tmp_path: Path, missing: str) -> None:
    """A rule that leaves out a field without which objects cannot be pinned is refused, and the field named."""
    store, report = _store(), _azure_report([], "csv")
    data = _csv([[name for name in _AZURE_COLUMNS if name != missing]])
    report.files = [("r.csv", data)]
    report.manifest["files"] = [{"blob": "r.csv", "size": len(data)}]
    report.put(store)
    with pytest.raises(ConnectorError, match=missing.replace("-", "").lower()):
        list(_newest(store, "azure").entries(tmp_path))


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    """A file of another form under the name of a Parquet file is an error."""
    store, written = _store(), _s3_report(["a"], "Parquet")
    written.files = [("f.parquet", b"PAR1 not really PAR1")]
    written.manifest["files"] = [{"key": "f.parquet", "size": 20}]
    written.put(store)
    with pytest.raises(ConnectorError, match=r"f\.parquet"):
        list(_newest(store, "s3").entries(tmp_path))


def test_times_and_truths_as_reports_write_them() -> None:
    """Every form of time and truth value that reports use; nothing else."""
    for text in (
        "2026-03-04T05:06:07Z",
        "2026-03-04T05:06:07.000Z",
        "2026-03-04T06:06:07+01:00",
        "2026-03-04 05:06:07",
    ):
        assert moment_of(text) == _WHEN
    assert moment_of("Wed, 04 Mar 2026 05:06:07 GMT") == moment_of(_WHEN.replace(tzinfo=None)) == _WHEN
    assert (moment_of(""), moment_of(None), truth_of("")) == (None, None, None)
    assert truth_of("TRUE") is truth_of(value=True) is True
    for wrong in ("soon", "5"):
        with pytest.raises(ValueError, match=r"."):
            moment_of(wrong)
    with pytest.raises(TypeError):
        moment_of(5)


def test_a_place_without_reports(tmp_path: Path) -> None:
    """A connector that knows no reports says so."""
    with pytest.raises(UnsupportedError, match="no inventory reports"):
        MemoryProvider().inventory_report("c", "", ReportSource("inventories"))
    assert inventory_report(tmp_path) is None
