"""Listings in Arrow: the stream as Microsoft's SDKs describe it, and how it is asked for and done without.

No server speaks it without an account, so the streams here are built to that description and served by a script.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.emulator import Running
from exitdrill.errors import ConnectorError, TransientError
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.testing.conformance import fresh_container
from exitdrill.testing.keys import HOSTILE_KEYS
from exitdrill_azure import AzureConnector, AzureSettings
from exitdrill_azure.arrow_listing import arrow_page_of
from exitdrill_azure.entries import page_of

_WHEN = datetime(2026, 7, 6, 10, 31, 19, tzinfo=UTC)
_MD5 = hashlib.md5(b"x", usedforsecurity=False).digest()
_MAP = pa.map_(pa.string(), pa.string())
_SCHEMA: dict[str, pa.DataType] = {
    "Name": pa.string(),
    "ResourceType": pa.string(),
    "Creation-Time": pa.timestamp("s"),
    "Last-Modified": pa.timestamp("s"),
    "Etag": pa.string(),
    "Content-Length": pa.uint64(),
    "Content-Type": pa.string(),
    "Content-MD5": pa.string(),
    "BlobType": pa.string(),
    "AccessTier": pa.string(),
    "ServerEncrypted": pa.bool_(),
    "Metadata": _MAP,
    "Tags": _MAP,
}


def _row(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "Name": name,
        "ResourceType": "blob",
        "Creation-Time": _WHEN.replace(tzinfo=None),
        "Last-Modified": _WHEN.replace(tzinfo=None),
        "Etag": "0x8DABCDEF1234567",
        "Content-Length": 1234,
        "Content-Type": "text/plain",
        "Content-MD5": base64.b64encode(_MD5).decode(),
        "BlobType": "BlockBlob",
        "AccessTier": "Hot",
        "ServerEncrypted": True,
        "Metadata": None,
        "Tags": None,
    }
    return {**row, **changes}


def _stream(rows: list[dict[str, Any]], marker: str = "", types: dict[str, pa.DataType] | None = None) -> bytes:
    chosen = _SCHEMA if types is None else types
    columns: list[Any] = [pa.array([row.get(name) for row in rows], kind) for name, kind in chosen.items()]
    arrow = pa.schema(list(chosen.items()), metadata={"NextMarker": marker})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, arrow) as writer:
        for n in range(0, len(rows), 7):
            batch = pa.RecordBatch.from_arrays([column.slice(n, 7) for column in columns], schema=arrow)
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_every_field_comes_back() -> None:
    """Names byte for byte, sizes, times, digests and all of the envelope; the marker from the schema."""
    rows = [_row(key, **{"Content-Length": n}) for n, key in enumerate([*HOSTILE_KEYS, "file\uffff.blob"])]
    rows.append(_row("z", Metadata=[("Case", "a b"), ("é", "ü")], Tags=[("t", "1")], **{"Content-MD5": None}))
    entries, marker = arrow_page_of(_stream(rows, "2!next"), "r")
    assert marker == "2!next"
    assert [entry.key for entry in entries] == [row["Name"] for row in rows]
    plain = Envelope(content_type="text/plain", tier="Hot", created=_WHEN, kind="BlockBlob")
    assert entries[3] == ObjectEntry(rows[3]["Name"], 3, "0x8DABCDEF1234567", None, _WHEN, Digests(md5=_MD5), plain)
    envelope = entries[-1].envelope
    assert envelope is not None
    assert (envelope.user, envelope.tags) == ((("Case", "a b"), ("é", "ü")), (("t", "1"),))
    assert entries[-1].digests == Digests.NONE
    assert arrow_page_of(_stream([]), "r") == ([], None)
    assert arrow_page_of(_stream([], types={"Name": pa.string()}), "r") == ([], None)


def test_arrow_says_what_xml_says() -> None:
    """The same blob in both forms becomes the same entry."""
    xml = (
        "<EnumerationResults><Blobs><Blob><Name>dir/blob1</Name><Properties>"
        "<Creation-Time>Mon, 06 Jul 2026 10:31:19 GMT</Creation-Time>"
        "<Last-Modified>Mon, 06 Jul 2026 10:31:19 GMT</Last-Modified><Etag>0x8DABCDEF1234567</Etag>"
        "<Content-Length>1234</Content-Length><Content-Type>text/plain</Content-Type>"
        f"<Content-MD5>{base64.b64encode(_MD5).decode()}</Content-MD5><BlobType>BlockBlob</BlobType>"
        "<AccessTier>Hot</AccessTier></Properties><Metadata><color>blue</color></Metadata>"
        "<Tags><TagSet><Tag><Key>env</Key><Value>prod</Value></Tag></TagSet></Tags></Blob></Blobs>"
        "<NextMarker>m</NextMarker></EnumerationResults>"
    )
    row = _row("dir/blob1", Metadata=[("color", "blue")], Tags=[("env", "prod")])
    assert arrow_page_of(_stream([row], "m"), "r") == page_of(xml.encode(), "r")


def test_versions_and_other_forms_of_a_column() -> None:
    """Snapshots and earlier versions are read by their time; digests and times come in more than one type."""
    types = {
        **_SCHEMA,
        "Snapshot": pa.string(),
        "VersionId": pa.string(),
        "IsCurrentVersion": pa.bool_(),
        "Content-MD5": pa.binary(),
        "Last-Modified": pa.timestamp("ms", "UTC"),
        "Content-Length": pa.int64(),
        "AccessTier": pa.dictionary(pa.int32(), pa.string()),
    }
    rows = [
        _row("a", **{"Content-MD5": _MD5, "Snapshot": "2026-01-01T00:00:00.0000000Z"}),
        _row("b", **{"Content-MD5": None, "VersionId": "2026-01-02T00:00:00.0000000Z", "IsCurrentVersion": False}),
        _row("c", **{"Content-MD5": b"no md5", "VersionId": "2026-01-03T00:00:00.0000000Z", "IsCurrentVersion": True}),
    ]
    a, b, c = arrow_page_of(_stream(rows, types=types), "r")[0]
    assert (a.version, a.digests.md5) == ("snapshot=2026-01-01T00:00:00.0000000Z", _MD5)
    assert (b.version, b.digests.md5) == ("versionid=2026-01-02T00:00:00.0000000Z", None)
    assert (c.version, c.digests.md5) == (None, None)
    assert a.modified == _WHEN
    assert a.envelope is not None
    assert a.envelope.tier == "Hot"
    text = {**_SCHEMA, "Last-Modified": pa.string()}
    row = _row("d", **{"Last-Modified": "Mon, 06 Jul 2026 10:31:19 GMT"})
    assert arrow_page_of(_stream([row], types=text), "r")[0][0].modified == _WHEN


@pytest.mark.parametrize(
    ("change", "types", "problem"),
    [
        ({"Name": None}, {}, "without a name"),
        ({"Content-Length": -1}, {"Content-Length": pa.int64()}, "size of -1"),
        ({"Name": 5}, {"Name": pa.int64()}, "column Name is of type int64"),
        ({"Last-Modified": 5}, {"Last-Modified": pa.int64()}, "is of type int64"),
        ({"ResourceType": "BlobPrefix"}, {}, "prefix in a listing"),
        ({"Content-Length": None}, {}, "makes no sense"),
    ],
)
def test_a_stream_that_makes_no_sense(change: dict[str, Any], types: dict[str, pa.DataType], problem: str) -> None:
    """What is not as described is an error that says what, never a guess."""
    with pytest.raises(ConnectorError, match=problem):
        arrow_page_of(_stream([_row("k", **change)], types={**_SCHEMA, **types}), "r")


@pytest.mark.parametrize("missing", ["Name", "Content-Length", "Etag", "Last-Modified"])
def test_a_column_that_is_missing(missing: str) -> None:
    """A stream without what every object needs is an error that names the column."""
    types = {name: kind for name, kind in _SCHEMA.items() if name != missing}
    with pytest.raises(ConnectorError, match=missing):
        arrow_page_of(_stream([_row("k")], types=types), "r")


def test_a_stream_that_breaks_off() -> None:
    """A stream cut in a message is asked for again; one with a byte flipped is an error or entries, never a crash."""
    whole = _stream([_row(f"{n:03d}") for n in range(20)], "m")
    assert len(arrow_page_of(whole, "r")[0]) == 20
    for cut in (0, 3, 100, len(whole) // 2, len(whole) - 30, len(whole) - 9):
        with pytest.raises(ConnectorError) as caught:
            arrow_page_of(whole[:cut], "r")
        assert isinstance(caught.value, TransientError)
    for at in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        try:
            arrow_page_of(bytes(damaged), "r")
        except ConnectorError:
            continue


@dataclass
class _Service:
    """Answers listings from a script, and keeps what it was asked."""

    url: str = ""
    answer: Callable[[str, str], tuple[int, str, bytes]] = lambda _accept, _version: (500, "", b"")
    seen: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[_Service]:
    found = _Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Accept", ""), self.headers.get("x-ms-version", "")
            found.seen.append(asked)
            status, kind, body = found.answer(*asked)
            self.send_response_only(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        found.url = f"http://127.0.0.1:{listener.server_address[1]}"
        yield found
        listener.shutdown()


_XML = b"<EnumerationResults><Blobs><Blob><Name>x</Name></Blob></Blobs><NextMarker/></EnumerationResults>"
_STREAM = "application/vnd.apache.arrow.stream"


def _listed(service: _Service, lane: str, times: int = 1, **settings: str) -> list[str]:
    fields = {"account": "acct", "endpoint": service.url, "key": "a2V5", "lane": lane, **settings}
    with (
        AzureConnector().open("az", AzureSettings.model_validate(fields)) as provider,
        provider.objects("c") as store,
    ):
        return [entry.key for _ in range(times) for entry in store.list()]


@pytest.mark.parametrize("lane", ["lean", "sdk"])
class TestNegotiation:
    """The same on both lanes."""

    def test_arrow_where_it_is_given(self, service: _Service, lane: str) -> None:
        """Asked for by both forms and the version that has it, a stream is read as one, page after page."""
        pages = iter([_stream([_row("a"), _row("b")], "2"), _stream([_row("c")])])
        service.answer = lambda _accept, _version: (200, f"{_STREAM}; charset=x", next(pages))
        assert _listed(service, lane, listing="arrow") == ["a", "b", "c"]
        assert service.seen == [(f"{_STREAM},application/xml", "2026-10-06")] * 2

    def test_xml_where_it_is_not(self, service: _Service, lane: str) -> None:
        """A service that passes the wish over answers XML, and that is read."""
        service.answer = lambda _accept, _version: (200, "application/xml", _XML)
        assert _listed(service, lane, listing="arrow") == ["x"]
        assert len(service.seen) == 1

    @pytest.mark.parametrize("status", [400, 406])
    def test_a_refusal_is_taken_once(self, service: _Service, lane: str, status: int) -> None:
        """A service that does not know the version or the form is asked the old way, and not tried again."""

        def answer(accept: str, _version: str) -> tuple[int, str, bytes]:
            return (status, "", b"") if "arrow" in accept else (200, "application/xml", _XML)

        service.answer = answer
        assert _listed(service, lane, times=2, listing="arrow") == ["x", "x"]
        assert [version for _, version in service.seen] == ["2026-10-06", "2023-11-03", "2023-11-03"]

    def test_who_asks(self, service: _Service, lane: str) -> None:
        """Left alone, only a place whose version has Arrow asks for it; told to, none or any does."""
        service.answer = lambda _accept, _version: (200, "application/xml", _XML)
        _listed(service, lane)
        _listed(service, lane, api_version="2026-12-06")
        _listed(service, lane, api_version="2026-12-06", listing="xml")
        _listed(service, lane, api_version="2026-12-06", listing="arrow")
        asked = [("arrow" in accept, version) for accept, version in service.seen]
        assert asked == [(False, "2023-11-03"), (True, "2026-12-06"), (False, "2026-12-06"), (True, "2026-12-06")]


@pytest.mark.parametrize("lane", ["lean", "sdk"])
def test_azurite_is_asked_and_answers_its_own_way(azurite: Running, lane: str) -> None:
    """A real server that speaks no Arrow: the signature holds, its answer is taken, nothing is lost."""
    fields = {**azurite.settings, "listing": "arrow", "lane": lane, "page_size": 2}
    with (
        AzureConnector().open("azurite", AzureSettings.model_validate(fields)) as provider,
        fresh_container(provider) as name,
        provider.objects(name) as store,
    ):
        for key in ("a", "b/c", "d"):
            store.write(WriteRequest(key, BytesBody(b"x")))
        assert [entry.key for entry in store.list()] == ["a", "b/c", "d"]
