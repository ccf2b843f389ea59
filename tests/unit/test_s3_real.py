"""What the S3 connector does on the wire and to real servers, beyond what the shared suite asks."""

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ConflictError,
    ConnectorError,
    DigestError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from exitdrill.model.digests import DigestKind, Digests
from exitdrill.model.objects import Envelope
from exitdrill.testing.conformance import PatternBody, digests_of, fresh_container, put, put_many
from exitdrill.testing.faults import Fault, FaultKind, FaultProxy
from exitdrill.transfer.bodies import HashingBody
from exitdrill_s3 import S3Connector
from exitdrill_s3.settings import MEBIBYTE, S3Settings

_PART = 5 * MEBIBYTE
_PARTED: dict[str, Any] = {"multipart_threshold": _PART, "part_size": _PART}


def _open(server: Running, retry: RetryPolicy | None = None, **more: Any) -> Provider:
    return S3Connector().open("s3", S3Settings.model_validate({**server.settings, **more}), retry)


@dataclass
class _Memory:
    """An `UploadMemory` that outlives the upload, as the work state does."""

    state: dict[str, str] = field(default_factory=dict)
    saves: int = 0

    def load(self) -> dict[str, str]:
        return dict(self.state)

    def save(self, state: dict[str, str]) -> None:
        self.state, self.saves = dict(state), self.saves + 1


@pytest.fixture
def parted(seaweedfs: Running) -> Iterator[tuple[Provider, ObjectStore, str]]:
    """A bucket whose objects go in parts from 5 MiB on."""
    with _open(seaweedfs, **_PARTED) as provider, fresh_container(provider) as bucket:
        yield provider, provider.objects(bucket), bucket


@pytest.fixture
def proxy(seaweedfs: Running) -> Iterator[FaultProxy]:
    address = urlsplit(seaweedfs.settings["endpoint"])
    with FaultProxy(str(address.hostname), int(address.port or 0)) as proxy:
        yield proxy


def _uploads(provider: Provider, bucket: str) -> list[str]:
    found = provider._api.call("list_multipart_uploads", bucket, Bucket=bucket)  # type: ignore[attr-defined] # S3Provider's
    return [upload["Key"] for upload in found.get("Uploads", [])]


class TestParts:
    def test_the_whole_is_attested(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """The server itself reports the CRC-64/NVME of an object in parts, and its ETag is no MD5."""
        _, store, _ = parted
        body = PatternBody(3 * _PART + 17)
        entry = store.write(WriteRequest("large", body, digests=body.digests())).entry
        assert entry.etag is not None
        assert entry.etag.endswith("-4")
        assert entry.digests == body.digests().only({DigestKind.CRC64NVME})

    def test_without_a_digest_beforehand_the_parts_are_joined(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """Nobody needs to know the whole's CRC: that of the parts, joined, is checked by the server."""
        _, store, _ = parted
        body = PatternBody(2 * _PART + 1)
        entry = store.write(WriteRequest("large", body)).entry
        assert entry.digests.crc64nvme == body.digests().crc64nvme

    def test_a_wrong_digest_of_the_whole_is_refused(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """A wrong whole-object CRC is sent as it is, refused, and leaves no parts behind."""
        provider, store, bucket = parted
        with pytest.raises(DigestError):
            store.write(WriteRequest("wrong", PatternBody(2 * _PART), digests=Digests(crc64nvme=bytes(8))))
        with pytest.raises(NotFoundError):
            store.stat("wrong")
        assert _uploads(provider, bucket) == []

    def test_a_key_that_exists_stays(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """Conditional writes hold for objects in parts."""
        provider, store, bucket = parted
        put(store, "mine", b"x")
        with pytest.raises(ConflictError):
            store.write(WriteRequest("mine", PatternBody(2 * _PART), only_if_absent=True))
        assert store.read("mine").read_all() == b"x"
        assert _uploads(provider, bucket) == []

    def test_the_envelope_travels(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """Metadata and tags of an object in parts arrive like any other's."""
        _, store, _ = parted
        envelope = Envelope(content_type="video/mp4", user=(("a", "b"),), tags=(("class", "x y"),))
        store.write(WriteRequest("large", PatternBody(2 * _PART), envelope))
        back = store.stat("large").envelope
        assert back is not None
        assert (back.content_type, back.user, back.tags) == ("video/mp4", envelope.user, envelope.tags)

    def test_an_upload_goes_on_where_it_stopped(
        self, seaweedfs: Running, proxy: FaultProxy, parted: tuple[Provider, ObjectStore, str]
    ) -> None:
        """Parts that arrived before the connection died are not sent again by the next process."""
        provider, _, bucket = parted
        body, memory = PatternBody(4 * _PART), _Memory()
        request = WriteRequest("large", body, digests=body.digests(), memory=memory)
        proxy.program(Fault(FaultKind.CLOSE, method="PUT", path=".*partNumber=3.*", count=None))
        once = RetryPolicy(attempts=1)
        with _open(seaweedfs, once, endpoint=proxy.url, **_PARTED) as dying, pytest.raises(TransientError):
            dying.objects(bucket).write(request)
        assert _uploads(provider, bucket) == ["large"]
        assert memory.state["upload_id"]

        proxy.program(Fault(FaultKind.STATUS, method="PUT", path=".*partNumber=[12](&.*)?", count=None, status=418))
        with _open(seaweedfs, once, endpoint=proxy.url, **_PARTED) as next_process:
            entry = next_process.objects(bucket).write(request).entry
        assert proxy.done[FaultKind.STATUS] == 0, "a part was sent again"
        assert entry.digests.crc64nvme == body.digests().crc64nvme
        assert memory.state == {}
        assert _uploads(provider, bucket) == []

    @pytest.mark.parametrize("lane", ["lean", "sdk"])
    def test_an_upload_with_holes_goes_on(
        self, seaweedfs: Running, proxy: FaultProxy, parted: tuple[Provider, ObjectStore, str], lane: str
    ) -> None:
        """Parts go side by side: one in the middle fails, later ones arrive, and only the hole is filled next time."""
        provider, _, bucket = parted
        body, memory = PatternBody(6 * _PART + 9), _Memory()
        read: list[tuple[int, int | None]] = []

        class Watched(PatternBody):
            def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
                read.append((offset, length))
                return super().open(offset, length)

        request = WriteRequest("large", Watched(body.size), digests=body.digests(), memory=memory)
        # It fails late: parts that had not been sent when another failed rightly never are.
        late = Fault(FaultKind.STATUS, "PUT", ".*partNumber=[25](&.*)?", count=None, seconds=1.0, status=500)
        proxy.program(late)
        once = RetryPolicy(attempts=1)
        with (
            _open(seaweedfs, once, endpoint=proxy.url, lane=lane, **_PARTED) as dying,
            pytest.raises(TransientError),
        ):
            dying.objects(bucket).write(request)
        assert read == [(0, None)], "the body was not read once, in one go"
        there = set(json.loads(memory.state["parts"]))
        assert there >= {"1", "3"}
        assert "2" not in there
        assert _uploads(provider, bucket) == ["large"]

        read.clear()
        again = "|".join(there)
        proxy.program(
            Fault(FaultKind.STATUS, method="PUT", path=f".*partNumber=({again})(&.*)?", count=None, status=418),
        )
        with _open(seaweedfs, once, endpoint=proxy.url, lane=lane, **_PARTED) as next_process:
            entry = next_process.objects(bucket).write(request).entry
        assert proxy.done[FaultKind.STATUS] == 0, "a part was sent again"
        assert read[0] == (_PART, _PART), "more than the hole was read"
        assert entry.digests.crc64nvme == body.digests().crc64nvme
        assert entry.size == body.size
        assert memory.state == {}
        assert _uploads(provider, bucket) == []

    def test_a_body_that_hashes_sees_its_end_whatever_was_sent(
        self, seaweedfs: Running, proxy: FaultProxy, parted: tuple[Provider, ObjectStore, str]
    ) -> None:
        """Who counts on the digests of what passed has them, though the last parts were sent before a crash."""
        _, _, bucket = parted
        plain, memory = PatternBody(4 * _PART), _Memory()
        once = RetryPolicy(attempts=1)
        for path in (".*partNumber=3&.*", ".*large.uploadId.*"):  # a part; then the completion
            proxy.program(Fault(FaultKind.STATUS, method="(PUT|POST)", path=path, count=None, status=500))
            with _open(seaweedfs, once, endpoint=proxy.url, **_PARTED) as dying, pytest.raises(TransientError):
                dying.objects(bucket).write(WriteRequest("large", HashingBody(plain.size, plain.open), memory=memory))
            assert memory.state["completing"] == ("no" if "3" in path else "yes")
        body = HashingBody(plain.size, plain.open)
        proxy.program()
        with _open(seaweedfs, once, endpoint=proxy.url, **_PARTED) as last:
            last.objects(bucket).write(WriteRequest("large", body, memory=memory))
        assert body.digests().sha256 == plain.digests().sha256

    def test_an_upload_that_is_gone_begins_again(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """An upload somebody cleaned away, and one of other bytes, are no obstacle."""
        _, store, _ = parted
        body = PatternBody(2 * _PART)
        for size in (body.size, 1):
            memory = _Memory({"upload_id": "gone", "size": str(size), "part_bytes": str(_PART), "parts": "{}"})
            store.write(WriteRequest(f"large-{size}", body, memory=memory))
            assert store.stat(f"large-{size}").size == body.size
            assert memory.state == {}

    def test_a_part_that_is_not_as_recorded_is_sent_again(self, parted: tuple[Provider, ObjectStore, str]) -> None:
        """Only what the server lists as we recorded it counts."""
        provider, store, bucket = parted
        body, memory = PatternBody(2 * _PART), _Memory()
        api = provider._api  # type: ignore[attr-defined] # S3Provider's
        upload_id = api.call("create_multipart_upload", bucket, Bucket=bucket, Key="large")["UploadId"]
        part = '{"1": ["' + "0" * 32 + '", "' + "0" * 16 + '"]}'
        memory.save({"upload_id": upload_id, "size": str(body.size), "part_bytes": str(_PART), "parts": part})
        store.write(WriteRequest("large", body, memory=memory))
        assert digests_of(store.read("large").read_all()) == body.digests()

    def test_a_completion_whose_answer_is_lost(
        self, seaweedfs: Running, proxy: FaultProxy, parted: tuple[Provider, ObjectStore, str]
    ) -> None:
        """The completion that worked unseen is recognised as ours, conditional or not."""
        _, _, bucket = parted
        body = PatternBody(2 * _PART)
        retry = RetryPolicy(attempts=3, base_seconds=0.01)
        with _open(seaweedfs, retry, endpoint=proxy.url, **_PARTED) as provider:
            for only_if_absent in (False, True):
                key = f"large-{only_if_absent}"
                proxy.program(Fault(FaultKind.LOSE_ANSWER, method="POST", path=f".*{key}.*uploadId=.*"))
                request = WriteRequest(key, body, digests=body.digests(), only_if_absent=only_if_absent)
                entry = provider.objects(bucket).write(request).entry
                assert proxy.done[FaultKind.LOSE_ANSWER] == 1
                assert entry.digests.crc64nvme == body.digests().crc64nvme

    def test_an_upload_that_cannot_go_on_leaves_no_parts(
        self, seaweedfs: Running, proxy: FaultProxy, parted: tuple[Provider, ObjectStore, str]
    ) -> None:
        """Without a memory nothing could take the upload up again: its parts are removed."""
        provider, _, bucket = parted
        proxy.program(Fault(FaultKind.STATUS, method="PUT", path=".*partNumber=2.*", count=None, status=500))
        retry = RetryPolicy(attempts=2, base_seconds=0.01)
        with _open(seaweedfs, retry, endpoint=proxy.url, **_PARTED) as dying, pytest.raises(TransientError):
            dying.objects(bucket).write(WriteRequest("large", PatternBody(2 * _PART)))
        assert _uploads(provider, bucket) == []


class TestListing:
    def test_pages_that_end_in_keys_xml_cannot_carry(self, seaweedfs: Running) -> None:
        """A continuation token made of such a key is mangled on the way; nothing is lost or given twice."""
        written = [f"page/c\x01-{number:05d}" for number in range(1203)]
        with _open(seaweedfs) as provider, fresh_container(provider) as bucket:
            store = provider.objects(bucket)
            put_many(store, written, 8)
            assert [entry.key for entry in store.list("page/")] == written

    def test_a_listing_attests_only_what_was_probed(self, seaweedfs: Running) -> None:
        """Whether ETags are MD5s a listing cannot say of each object: unprobed, it claims nothing."""
        with _open(seaweedfs) as provider, fresh_container(provider) as bucket:
            claimed = provider.objects(bucket)
            put(claimed, "k", b"x")
            assert [entry.digests for entry in claimed.list()] == [Digests.NONE]
            probed = provider.objects(bucket, claimed.capabilities)
            assert [entry.digests for entry in probed.list()] == [digests_of(b"x").only({DigestKind.MD5})]


class TestTiers:
    def test_an_archived_object_says_so(self, moto: Running) -> None:
        """An object in an offline class is described, but a read says that it must be rehydrated first."""
        with _open(moto, storage_classes={"Archive": "GLACIER"}) as provider, fresh_container(provider) as bucket:
            store = provider.objects(bucket)
            put(store, "old", b"x", Envelope(tier="Archive"))
            described = store.stat("old").envelope
            assert described is not None
            assert described.tier == "GLACIER"
            with pytest.raises(ArchivedError, match="rehydrate"):
                store.read("old")

    def test_a_tier_nobody_mapped_is_the_default(self, moto: Running) -> None:
        """Azure's tier names are no storage classes: sent as such, S3 would refuse every object."""
        with _open(moto) as provider, fresh_container(provider) as bucket:
            store = provider.objects(bucket)
            put(store, "hot", b"x", Envelope(tier="Hot"))
            described = store.stat("hot").envelope
            assert described is not None
            assert described.tier == "STANDARD"


class TestContainers:
    def test_a_full_bucket_is_not_removed(self, seaweedfs: Running) -> None:
        """SeaweedFS itself would remove it with everything in it."""
        with _open(seaweedfs) as provider, fresh_container(provider) as bucket:
            put(provider.objects(bucket), "kept", b"x")
            with pytest.raises(ConflictError, match="not empty"):
                provider.remove_container(bucket)
            assert provider.objects(bucket).read("kept").read_all() == b"x"

    def test_a_write_makes_no_bucket(self, seaweedfs: Running, unique: Callable[[str], str]) -> None:
        """SeaweedFS would make a missing bucket out of a write to it."""
        with _open(seaweedfs) as provider:
            missing = unique("missing")
            with pytest.raises(NotFoundError):
                put(provider.objects(missing), "x", b"x")
            assert provider.ensure_container(missing), "the write made it"
            provider.remove_container(missing)

    def test_wrong_keys_are_not_taken_for_another_owner(self, seaweedfs: Running) -> None:
        """A refused HEAD says nothing; the reason is found out: the credentials, not the bucket's owner."""
        with _open(seaweedfs) as provider, fresh_container(provider) as bucket:
            wrongs: list[dict[str, Any]] = [{"secret_access_key": "wrong"}, {"access_key_id": "nobody"}]
            for wrong in wrongs:
                with _open(seaweedfs, **wrong) as refused:
                    with pytest.raises(AuthenticationError, match="AWS_ACCESS_KEY_ID"):
                        refused.ensure_container(bucket)
                    with pytest.raises(AuthenticationError, match="AWS_ACCESS_KEY_ID"):
                        refused.server_time()

    def test_the_clock(self, seaweedfs: Running) -> None:
        """The server's clock is known and near ours."""
        with _open(seaweedfs) as provider:
            theirs = provider.server_time()
            assert theirs is not None
            assert abs(dt.datetime.now(dt.UTC) - theirs) < dt.timedelta(minutes=1)

    def test_a_name_no_bucket_can_have(self, seaweedfs: Running) -> None:
        """It is an error of ours, not of the SDK's."""
        with _open(seaweedfs) as provider:
            for name in ("UPPER_bad", "a b", "x"):
                with pytest.raises(ConnectorError):
                    provider.ensure_container(name)


def _refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()


class TestRefusals:
    """What other servers answer, put in SeaweedFS's mouth."""

    @pytest.fixture
    def through(self, seaweedfs: Running, proxy: FaultProxy) -> Iterator[Provider]:
        with _open(seaweedfs, RetryPolicy(attempts=1), endpoint=proxy.url) as provider:
            yield provider

    def test_a_bucket_of_somebody_else(self, through: Provider, proxy: FaultProxy) -> None:
        """A bucket that is there and closed to us belongs to somebody else, and says what to do."""
        proxy.program(
            Fault(FaultKind.STATUS, method="HEAD", status=403),
            Fault(FaultKind.STATUS, method="GET", status=403, body=_refusal("AccessDenied")),
        )
        with pytest.raises(ConflictError, match="somebody else") as caught:
            through.ensure_container("taken")
        assert caught.value.hint

    def test_a_name_that_is_taken(self, through: Provider, proxy: FaultProxy) -> None:
        """Names are shared by everybody: one that is taken in the meantime is a conflict, our own is not."""
        for code, ours in (("BucketAlreadyExists", False), ("BucketAlreadyOwnedByYou", True)):
            proxy.program(Fault(FaultKind.STATUS, method="PUT", status=409, body=_refusal(code)))
            if ours:
                assert not through.ensure_container("never-made")
            else:
                with pytest.raises(ConflictError, match="somebody else"):
                    through.ensure_container("never-made")

    def test_a_server_that_knows_no_such_region(
        self, through: Provider, proxy: FaultProxy, unique: Callable[[str], str]
    ) -> None:
        """A server of one's own gets the bucket without a region."""
        bucket = unique("regionless")
        proxy.program(Fault(FaultKind.STATUS, method="PUT", status=400, body=_refusal("InvalidLocationConstraint")))
        assert through.ensure_container(bucket)
        through.remove_container(bucket)

    def test_keys_for_one_bucket_prove_themselves(self, through: Provider, proxy: FaultProxy) -> None:
        """Who may not list buckets has proven the keys all the same; a refusal for another reason is one."""
        proxy.program(Fault(FaultKind.STATUS, status=403, body=_refusal("AccessDenied")))
        assert through.server_time() is None, "the proxy's own answer has no date"
        proxy.program(Fault(FaultKind.STATUS, status=403, body=_refusal("AllAccessDisabled")))
        with pytest.raises(PermissionDeniedError):
            through.server_time()

    def test_a_server_without_versions(
        self, through: Provider, proxy: FaultProxy, unique: Callable[[str], str]
    ) -> None:
        """Where versions are unknown, an empty listing is enough to remove a bucket."""
        bucket = unique("versionless")
        through.ensure_container(bucket)
        proxy.program(Fault(FaultKind.STATUS, path=".*[?&]versions.*", status=501, body=_refusal("NotImplemented")))
        through.remove_container(bucket)
        assert proxy.done[FaultKind.STATUS] == 1
        assert through.ensure_container(bucket), "it was gone"
        through.remove_container(bucket)

    def test_an_upload_that_could_not_be_aborted(
        self, proxy: FaultProxy, seaweedfs: Running, unique: Callable[[str], str]
    ) -> None:
        """It is said, and made good when the bucket is removed."""
        bucket = unique("left")
        settings = {"endpoint": proxy.url, **_PARTED}
        with _open(seaweedfs, RetryPolicy(attempts=1), **settings) as provider:
            provider.ensure_container(bucket)
            proxy.program(
                Fault(FaultKind.STATUS, method="DELETE", path=".*uploadId.*", status=500),
                Fault(FaultKind.STATUS, method="PUT", path=".*partNumber=2.*", status=500),
            )
            with pytest.raises(TransientError) as caught:
                provider.objects(bucket).write(WriteRequest("large", PatternBody(2 * _PART)))
            assert any("could not be aborted" in note for note in caught.value.__notes__)
            assert _uploads(provider, bucket) == ["large"]
            proxy.program(Fault(FaultKind.DELAY, method="DELETE", path=".*uploadId.*"))
            provider.remove_container(bucket)
            assert proxy.done[FaultKind.DELAY] == 1, "the upload was not aborted first"


@dataclass
class _Wire:
    """A server that writes down what reaches it and answers 200."""

    port: int
    seen: list[tuple[str, str, dict[str, str], bytes]]
    ca: Path | None = None


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "exitdrill test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


@pytest.fixture(params=["http", "https"])
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Wire]:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _note(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_HEAD = _note  # noqa: N815 - names the base class looks for

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    ca = None
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if request.param == "https":
            ca, private = _certificate(tmp_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ca, private)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield _Wire(server.server_address[1], seen, ca)
        server.shutdown()
        thread.join(10)


def _on(wire: _Wire, lane: str = "lean") -> Provider:
    values: dict[str, object] = {"access_key_id": "AK", "secret_access_key": "SK", "region": "eu-central-1"}
    values["lane"] = lane
    values["endpoint"] = f"{'http' if wire.ca is None else 'https'}://127.0.0.1:{wire.port}"
    if wire.ca is not None:
        values["ca_bundle"] = str(wire.ca)
    return S3Connector().open("wire", S3Settings.model_validate(values), RetryPolicy(attempts=1))


@pytest.mark.parametrize("lane", ["lean", "sdk"])
class TestWire:
    @pytest.mark.parametrize("size", [0, 10, 2 * MEBIBYTE])
    def test_a_write(self, wire: _Wire, lane: str, size: int) -> None:
        """Known length, digests in headers, no trailers; a hash that is known is signed."""
        body = PatternBody(size)
        digests = body.digests()
        with _on(wire, lane) as provider:
            provider.objects("bucket").write(WriteRequest("k", body, digests=digests))
        _, path, headers, sent = wire.seen[-1]
        assert path == "/bucket/k"
        assert sent == b"".join(body.open())
        assert headers["content-length"] == str(size)
        assert headers["x-amz-checksum-crc64nvme"] == digests.base64(DigestKind.CRC64NVME)
        assert headers["content-md5"] == digests.base64(DigestKind.MD5)
        assert not {"transfer-encoding", "content-encoding", "x-amz-trailer", "x-amz-decoded-content-length"} & set(
            headers
        )
        assert digests.sha256 is not None
        assert headers["x-amz-content-sha256"] == digests.sha256.hex()
        assert ("expect" in headers) == (lane == "sdk" and size >= MEBIBYTE)

    def test_the_hash_is_found_out_where_nobody_knows_it(self, wire: _Wire, lane: str) -> None:
        """On plain HTTP a body of unknown hash is read once and signed; nothing goes unsigned in the clear."""
        opened: list[tuple[int, int | None]] = []

        class Counted(BytesBody):
            def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
                opened.append((offset, length))
                return super().open(offset, length)

        with _on(wire, lane) as provider:
            provider.objects("bucket").write(WriteRequest("k", Counted(b"abc")))
        want = digests_of(b"abc").sha256
        assert want is not None
        assert opened == [(0, None)]
        assert "x-amz-checksum-crc64nvme" not in wire.seen[-1][2], "preflight must see what a server does untold"
        assert wire.seen[-1][2]["x-amz-content-sha256"] == ("UNSIGNED-PAYLOAD" if wire.ca else want.hex())

    @pytest.mark.parametrize(
        ("key", "path"),
        [
            ("../x", "/bucket/../x"),
            ("a//b", "/bucket/a//b"),
            ("/lead", "/bucket//lead"),
            ("100% a+b\\c", "/bucket/100%25%20a%2Bb%5Cc"),
            ("\x01\n\ufffe", "/bucket/%01%0A%EF%BF%BE"),
        ],
    )
    def test_keys_arrive_byte_exact(self, wire: _Wire, lane: str, key: str, path: str) -> None:
        """No part of a key is normalised on its way to the wire."""
        with _on(wire, lane) as provider:
            store = provider.objects("bucket", provider.objects("bucket").capabilities)
            put(store, key, b"x")
            assert wire.seen[-1][1] == path
            store.read(key).close()
        assert wire.seen[-1][1] == path

    def test_a_read(self, wire: _Wire, lane: str) -> None:
        """Stored bytes are asked for, pinned, and the checksum with them."""
        with _on(wire, lane) as provider:
            provider.objects("bucket").read("k", etag="e").close()
        headers = wire.seen[-1][2]
        assert headers["accept-encoding"] == "identity"
        assert headers["if-match"] == '"e"'
        assert headers["x-amz-checksum-mode"] == "ENABLED"

    @pytest.mark.parametrize("wire", ["https"], indirect=True)
    def test_an_unknown_authority_is_refused(self, wire: _Wire, lane: str) -> None:
        """A certificate nobody vouches for ends the call at once and says what to set."""
        stranger = _Wire(wire.port, wire.seen)
        settings = S3Settings.model_validate(
            {
                "endpoint": f"https://127.0.0.1:{stranger.port}",
                "access_key_id": "AK",
                "secret_access_key": "SK",
                "lane": lane,
            }
        )
        with (
            S3Connector().open("wire", settings) as provider,
            pytest.raises(ConnectorError, match="ca_bundle") as caught,
        ):
            provider.server_time()
        assert not caught.value.transient
        assert stranger.seen == []
