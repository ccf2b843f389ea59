"""The Azure connector against Azurite, beyond the shared suite, over both its lanes.

Blobs are seeded by azure-storage-blob itself.
"""

import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import (
    BlobServiceClient,
    ContentSettings,
    StandardBlobTier,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConflictError,
    DigestError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from exitdrill.model.digests import Digests, Hasher
from exitdrill.model.objects import Envelope, pairs
from exitdrill.testing.conformance import MIB, PatternBody, digests_of
from exitdrill.testing.faults import Fault, FaultKind, FaultProxy
from exitdrill_azure import AzureConnector, AzureProvider, AzureSettings
from exitdrill_azure.store import AzureObjectStore

Unique = Callable[[str], str]


def _open(azurite: Running, **more: object) -> AzureProvider:
    fields = {**azurite.settings, "single_put_bytes": 2 * MIB, "block_bytes": MIB, "page_size": 7, **more}
    settings = AzureSettings.model_validate({name: value for name, value in fields.items() if value is not None})
    return AzureConnector().open("azure", settings, RetryPolicy(3, 0.01, 0.1))


@pytest.fixture(params=["lean", "sdk"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(azurite: Running, lane: str) -> Iterator[AzureProvider]:
    with _open(azurite, lane=lane) as provider:
        yield provider


@pytest.fixture
def sdk(azurite: Running) -> Iterator[BlobServiceClient]:
    with BlobServiceClient(azurite.settings["endpoint"], credential=azurite.settings["key"]) as client:
        yield client


@pytest.fixture
def container(sdk: BlobServiceClient, unique: Unique) -> str:
    name = unique("azure")
    sdk.create_container(name)
    return name


@pytest.fixture
def store(provider: AzureProvider, container: str) -> AzureObjectStore:
    store = provider.objects(container)
    assert isinstance(store, AzureObjectStore)
    return store


@pytest.fixture
def proxied(azurite: Running, lane: str) -> Iterator[tuple[AzureProvider, FaultProxy]]:
    upstream = urlsplit(azurite.settings["endpoint"])
    with (
        FaultProxy(str(upstream.hostname), int(upstream.port or 0)) as proxy,
        _open(azurite, lane=lane, endpoint=proxy.url) as provider,
    ):
        yield provider, proxy


class TestListing:
    def test_a_listing_tells_everything(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """What another program set around a blob is in the listing, in stat, and the same in both."""
        before = datetime.now(UTC).replace(microsecond=0)
        client = sdk.get_blob_client(container, "dossier/1.json")
        client.upload_blob(
            b"{}",
            metadata={"CaseId": "Z-17", "a_b": "x y"},
            tags={"class": "sensitive", "a b": "c+d=e"},
            content_settings=ContentSettings("application/json", "gzip", "nl", "inline", "no-store"),
            standard_blob_tier=StandardBlobTier.COOL,
        )
        (listed,) = store.list()
        assert listed.envelope == Envelope(
            "application/json",
            "gzip",
            "nl",
            "inline",
            "no-store",
            pairs({"CaseId": "Z-17", "a_b": "x y"}),
            pairs({"class": "sensitive", "a b": "c+d=e"}),
            "Cool",
            listed.modified,
            "BlockBlob",
        )
        assert listed.modified is not None
        assert listed.modified >= before
        assert (listed.key, listed.size, listed.version) == ("dossier/1.json", 2, None)
        assert listed.etag == client.get_blob_properties().etag.strip('"')
        assert listed.digests == digests_of(b"{}").only({*listed.digests.kinds})
        assert store.stat("dossier/1.json") == listed

    def test_directory_stubs_are_seen(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """The marker of a folder is an object, and says what it is."""
        sdk.get_blob_client(container, "folder").upload_blob(b"", metadata={"hdi_isfolder": "true"})
        sdk.get_blob_client(container, "folder/x").upload_blob(b"x")
        stub, _ = store.list()
        assert stub.envelope is not None
        assert (stub.key, stub.size, stub.envelope.user) == ("folder", 0, (("hdi_isfolder", "true"),))

    def test_a_wrong_md5_a_client_wrote_is_a_claim(
        self, sdk: BlobServiceClient, store: AzureObjectStore, container: str
    ) -> None:
        """Azure reports whatever MD5 a client stored: it is carried, and the connector vouches for no digest."""
        client = sdk.get_blob_client(container, "lie")
        client.upload_blob(b"truth")
        client.set_http_headers(ContentSettings(content_md5=bytearray(b"0123456789abcdef")))
        (listed,) = store.list()
        assert listed.digests.md5 == b"0123456789abcdef"
        assert store.capabilities.attests == frozenset()

    def test_snapshots_are_listed_and_read_when_asked_for(
        self, azurite: Running, lane: str, sdk: BlobServiceClient, store: AzureObjectStore, container: str
    ) -> None:
        """A snapshot is an entry of its own with its old bytes; without the setting there is none."""
        client = sdk.get_blob_client(container, "kept")
        client.upload_blob(b"old")
        client.create_snapshot()
        client.upload_blob(b"newer", overwrite=True)
        assert [entry.version for entry in store.list()] == [None]
        with _open(azurite, lane=lane, include={"snapshots": True}) as provider:
            both = provider.objects(container)
            current, snapshot = sorted(both.list(), key=lambda entry: entry.version or "")
            assert (current.version, snapshot.size, current.size) == (None, 3, 5)
            assert snapshot.version is not None
            assert both.read("kept", version=snapshot.version, etag=snapshot.etag).read_all() == b"old"
            assert both.stat("kept", version=snapshot.version).size == 3
            both.delete("kept", version=snapshot.version)
            assert [entry.version for entry in both.list()] == [None]

    def test_deleting_a_blob_deletes_its_snapshots(
        self, sdk: BlobServiceClient, store: AzureObjectStore, container: str
    ) -> None:
        """A blob with snapshots can be deleted, and a blob that is not there too."""
        client = sdk.get_blob_client(container, "snap")
        client.upload_blob(b"x")
        client.create_snapshot()
        store.delete("snap")
        store.delete("snap")
        assert list(sdk.get_container_client(container).list_blobs(include=["snapshots"])) == []

    @pytest.mark.parametrize("status", [400, 403, 409])
    def test_tags_that_cannot_be_read_are_given_up_visibly(
        self,
        proxied: tuple[AzureProvider, FaultProxy],
        sdk: BlobServiceClient,
        container: str,
        caplog: pytest.LogCaptureFixture,
        status: int,
    ) -> None:
        """A listing refused with tags goes on without them; the capability says so from then on."""
        for number in range(20):
            sdk.get_blob_client(container, f"b{number:02}").upload_blob(b"x", tags={"a": "b"}, metadata={"m": "1"})
        provider, proxy = proxied
        proxy.program(Fault(FaultKind.STATUS, path=".*(metadata%2Ctags|comp=tags).*", count=None, status=status))
        store = provider.objects(container)
        entries = list(store.list())
        assert len(entries) == 20
        assert {entry.envelope and entry.envelope.user for entry in entries} == {(("m", "1"),)}
        assert store.capabilities.envelope.tags_max == 0
        assert "tags cannot be read" in caplog.text
        assert proxy.done[FaultKind.STATUS] == 1
        facts = store.stat("b00")
        assert facts.envelope is not None
        assert facts.envelope.tags == ()

    def test_tags_forbidden_to_one_request(
        self, proxied: tuple[AzureProvider, FaultProxy], sdk: BlobServiceClient, container: str
    ) -> None:
        """Where only reading one blob's tags is forbidden, its other facts are told and the capability narrows."""
        sdk.get_blob_client(container, "b").upload_blob(b"x", tags={"a": "b"}, metadata={"m": "1"})
        provider, proxy = proxied
        proxy.program(Fault(FaultKind.STATUS, path=".*comp=tags.*", count=None, status=403))
        store = provider.objects(container)
        facts = store.stat("b")
        assert facts.envelope is not None
        assert (facts.envelope.user, facts.envelope.tags) == ((("m", "1"),), ())
        assert store.capabilities.envelope.tags_max == 0

    def test_a_missing_container_is_named(self, provider: AzureProvider) -> None:
        """Listing, reading and writing say which container of which account is not there."""
        store = provider.objects("no-such-container")
        with pytest.raises(NotFoundError, match="container no-such-container of account devstoreaccount1"):
            list(store.list())
        with pytest.raises(NotFoundError):
            store.stat("x")
        with pytest.raises(NotFoundError):
            store.write(WriteRequest("x", BytesBody(b"x")))


class TestReading:
    def test_dots_are_read_as_they_are(self, store: AzureObjectStore, provider: AzureProvider, container: str) -> None:
        """A name of dots another tool made is read under that name, and never written or deleted."""
        for key in ("../x", "a/../b", ".", "..", "./c"):
            provider._client.send(
                "PUT", container, key, action="seed", headers={"x-ms-blob-type": "BlockBlob"}, content=key.encode()
            )
        assert sorted(entry.key for entry in store.list()) == sorted(["../x", "a/../b", ".", "..", "./c"])
        for entry in store.list():
            assert store.read(entry.key, etag=entry.etag).read_all() == entry.key.encode()
            with pytest.raises(InvalidKeyError):
                store.write(WriteRequest(entry.key, BytesBody(b"")))
            with pytest.raises(InvalidKeyError):
                store.delete(entry.key)

    def test_long_keys(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """Azure's limit is 1,024 characters, up to 4,096 bytes; such a blob is listed and read."""
        key = "\U0001f680" * 512
        sdk.get_blob_client(container, key).upload_blob(b"far")
        (entry,) = store.list()
        assert entry.key == key
        assert store.read(key, etag=entry.etag).read_all() == b"far"

    def test_an_archived_blob(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """The listing names the tier, and a read says that the blob must be rehydrated."""
        sdk.get_blob_client(container, "cold").upload_blob(b"x", standard_blob_tier=StandardBlobTier.ARCHIVE)
        (entry,) = store.list()
        assert entry.envelope is not None
        assert entry.envelope.tier == "Archive"
        with pytest.raises(ArchivedError, match="rehydrate"):
            store.read("cold", etag=entry.etag)

    def test_empty_blobs_have_no_range(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """An empty blob is read whole, by range and pinned; the end of a blob is an empty read."""
        sdk.get_blob_client(container, "empty").upload_blob(b"")
        sdk.get_blob_client(container, "five").upload_blob(b"bytes")
        etag = store.stat("empty").etag
        assert store.read("empty", etag=etag).read_all() == b""
        assert store.read("empty", etag=etag, offset=0, length=10).read_all() == b""
        assert store.read("five", offset=5).read_all() == b""
        with pytest.raises(ValueError, match="range"):
            store.read("five", offset=6)
        with pytest.raises(ChangedError):
            store.read("empty", etag="0x0", length=1)

    def test_hundreds_of_metadata_names(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """More headers than Python's HTTP client takes by itself are read all the same."""
        many = {f"n{number}": "v" for number in range(300)}
        sdk.get_blob_client(container, "many").upload_blob(b"x", metadata=many)
        envelope = store.stat("many").envelope
        assert envelope is not None
        assert dict(envelope.user) == many
        assert store.read("many").read_all() == b"x"

    def test_a_tagged_blob_read_claims_no_whole_envelope(
        self, sdk: BlobServiceClient, store: AzureObjectStore, container: str
    ) -> None:
        """The answer to a read carries no tags: its entry has no envelope, so that none is taken for none."""
        sdk.get_blob_client(container, "tagged").upload_blob(b"x", tags={"a": "b"})
        with store.read("tagged") as stream:
            assert stream.entry.envelope is None
        facts = store.stat("tagged")
        assert facts.envelope is not None
        assert facts.envelope.tags == (("a", "b"),)

    def test_a_stream_left_unread_frees_its_connection(
        self, azurite: Running, lane: str, sdk: BlobServiceClient, container: str
    ) -> None:
        """Closing before the first byte, and in the middle, leaves a pool of one connection usable."""
        sdk.get_blob_client(container, "big").upload_blob(PatternBody(8 * MIB).open(), length=8 * MIB)
        with _open(azurite, lane=lane, pool_connections=1) as provider:
            store = provider.objects(container)
            for _ in range(5):
                store.read("big").close()
                with store.read("big") as stream:
                    assert len(next(stream.chunks())) <= MIB


def test_both_lanes_see_the_same(azurite: Running, sdk: BlobServiceClient, container: str) -> None:
    """Listings, facts, answers to reads and bytes are equal, whatever the name and whatever is around it."""
    content = ContentSettings("text/plain", "gzip", "nl", "inline", "no-store")
    for key in ("plain", "a//b/", "caf\u00e9 +%&?#", "\U0001f680/.x", " ", "tagged", "empty"):
        client = sdk.get_blob_client(container, key)
        client.upload_blob(
            b"" if key == "empty" else key.encode() * 999,
            metadata={"CaseId": "Z 17", "a_b": "%41"},
            tags={"a b": "c+d=e"} if key == "tagged" else None,
            content_settings=content,
        )

    def seen(lane: str) -> list[object]:
        with _open(azurite, lane=lane) as provider:
            store = provider.objects(container)
            return [
                (entry, store.stat(entry.key), *store.read_small(entry.key, size=entry.size, etag=entry.etag))
                for entry in store.list()
            ]

    assert len(seen("lean")) == 7
    assert seen("lean") == seen("sdk")


class TestWriting:
    @pytest.mark.parametrize("size", [0, 1, 512, 5 * MIB, 9 * MIB])
    @pytest.mark.parametrize("kind", ["AppendBlob", "PageBlob"])
    def test_other_kinds(
        self, sdk: BlobServiceClient, store: AzureObjectStore, container: str, kind: str, size: int
    ) -> None:
        """Append and page blobs come back as what they were; a page blob of odd size becomes a block blob, declared."""
        body = PatternBody(size)
        envelope = Envelope(content_type="x/y", user=pairs({"a": "b"}), kind=kind)
        receipt = store.write(WriteRequest("it", body, envelope, body.digests()))
        client = sdk.get_blob_client(container, "it")
        properties: Any = client.get_blob_properties()
        odd = kind == "PageBlob" and size % 512 != 0
        assert properties.blob_type == ("BlockBlob" if odd else kind)
        assert [loss.field for loss in receipt.losses] == (["kind"] if odd else [])
        assert client.download_blob().readall() == b"".join(body.open())
        assert properties.metadata == {"a": "b"}
        assert receipt.entry.etag == properties.etag.strip('"')

    def test_sparse_pages_are_not_sent(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """Stretches of zeros cost no request and read as zeros."""
        data = bytes(8 * MIB) + b"\x01" * 512 + bytes(4 * MIB)
        store.write(WriteRequest("disk", BytesBody(data), Envelope(kind="PageBlob"), digests_of(data)))
        client = sdk.get_blob_client(container, "disk")
        assert client.download_blob().readall() == data
        ranges = [(page.start or 0, page.end or 0) for page in client.list_page_ranges()]
        assert 0 < sum(end - start + 1 for start, end in ranges) <= 4 * MIB

    @pytest.mark.parametrize("kind", ["AppendBlob", "PageBlob"])
    def test_a_failed_append_is_taken_back(self, store: AzureObjectStore, kind: str) -> None:
        """Bytes that turn out wrong leave no half-written blob behind."""
        body = PatternBody(5 * MIB)
        wrong = digests_of(b"other")
        with pytest.raises(DigestError):
            store.write(WriteRequest("half", body, Envelope(kind=kind), wrong))
        with pytest.raises(NotFoundError):
            store.stat("half")

    def test_a_blob_left_behind_is_said(
        self, proxied: tuple[AzureProvider, FaultProxy], container: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If taking back fails too, the first error comes out and the log names what is left."""
        provider, proxy = proxied
        proxy.program(Fault(FaultKind.STATUS, method="DELETE", count=None, status=403))
        body = PatternBody(5 * MIB)
        with pytest.raises(DigestError):
            provider.objects(container).write(
                WriteRequest("half", body, Envelope(kind="AppendBlob"), digests_of(b"other"))
            )
        assert "an unfinished blob is left behind" in caplog.text

    def test_a_conditional_append_that_broke(self, proxied: tuple[AzureProvider, FaultProxy], container: str) -> None:
        """A try that broke half-way does not stand in the way of the next one."""
        provider, proxy = proxied
        proxy.program(Fault(FaultKind.CLOSE, method="PUT", path=".*comp=appendblock.*"))
        body = PatternBody(5 * MIB)
        store = provider.objects(container)
        request = WriteRequest("log", body, Envelope(kind="AppendBlob"), body.digests(), only_if_absent=True)
        store.write(request)
        assert digests_of(store.read("log").read_all()) == body.digests()
        with pytest.raises(ConflictError):
            store.write(WriteRequest("log", BytesBody(b"x"), Envelope(kind="AppendBlob"), only_if_absent=True))
        assert store.stat("log").size == body.size

    def test_an_upload_goes_on_where_it_broke(
        self, proxied: tuple[AzureProvider, FaultProxy], store: AzureObjectStore, container: str
    ) -> None:
        """After a crash only the blocks the service does not have are sent again."""
        provider, proxy = proxied
        body, memory = PatternBody(6 * MIB), _Memory()
        through = provider.objects(container)
        request = WriteRequest("parts", body, digests=body.digests(), memory=memory)
        proxy.program(Fault(FaultKind.CLOSE, method="PUT", path=".*comp=block&.*", skip=3, count=None))
        with pytest.raises(TransientError):
            through.write(request)
        assert memory.state
        with pytest.raises(NotFoundError):
            store.stat("parts")
        proxy.program()
        through.write(request)
        assert proxy.requests == 1 + 3 + 1, "one list of blocks, three blocks, one commit"
        assert memory.state == {}
        assert digests_of(store.read("parts").read_all()) == body.digests()

    def test_blocks_of_other_bytes_are_not_reused(
        self, proxied: tuple[AzureProvider, FaultProxy], store: AzureObjectStore, container: str
    ) -> None:
        """A block left over from other bytes of the same size is not taken for ours."""
        provider, proxy = proxied
        through, memory = provider.objects(container), _Memory()
        first, second = PatternBody(3 * MIB, b"first"), PatternBody(3 * MIB, b"second")
        proxy.program(Fault(FaultKind.STATUS, method="PUT", path=".*comp=blocklist.*", count=None, status=500))
        with pytest.raises(TransientError):
            through.write(WriteRequest("mix", first, digests=first.digests(), memory=memory))
        proxy.program()
        through.write(WriteRequest("mix", second, digests=second.digests(), memory=memory))
        assert digests_of(store.read("mix").read_all()) == second.digests()

    @pytest.mark.parametrize("size", [1000, 3 * MIB])
    def test_a_digest_wrong_among_right_ones(self, store: AzureObjectStore, size: int) -> None:
        """Each digest known is checked, also where the service can be told only one of them."""
        body = PatternBody(size)
        right, wrong = body.digests(), digests_of(b"other")
        for digests in (
            Digests(crc64nvme=right.crc64nvme, md5=wrong.md5),
            Digests(crc64nvme=wrong.crc64nvme, md5=right.md5),
            Digests(crc64nvme=right.crc64nvme, crc32c=wrong.crc32c),
        ):
            with pytest.raises(DigestError):
                store.write(WriteRequest("wrong", body, digests=digests))
            with pytest.raises(NotFoundError):
                store.stat("wrong")

    def test_a_body_of_another_length(self, store: AzureObjectStore) -> None:
        """A body shorter or longer than it says never becomes an object."""
        for size in (99, 101):
            with pytest.raises(DigestError, match="bytes"):
                store.write(WriteRequest("short", _Lying(size), digests=Digests.NONE))
            with pytest.raises(NotFoundError):
                store.stat("short")

    def test_the_receipt_carries_the_services_digest(self, store: AzureObjectStore) -> None:
        """Put Blob answers with a digest it computed; that one is in the receipt."""
        receipt = store.write(WriteRequest("r", BytesBody(b"bytes"), digests=digests_of(b"bytes")))
        assert receipt.entry.digests.kinds
        assert receipt.entry.digests == digests_of(b"bytes").only(receipt.entry.digests.kinds)

    def test_tiers_go_by_table(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """Known classes of other clouds become Azure's; offline and unknown ones are declared."""
        for tier, expected, lost in (
            ("Hot", "Hot", False),
            ("STANDARD", "Hot", False),
            ("STANDARD_IA", "Cool", False),
            ("GLACIER_IR", "Cold", False),
            ("Archive", "Cold", True),
            ("DEEP_ARCHIVE", "Cold", True),
            ("nearline", "Hot", True),
        ):
            receipt = store.write(WriteRequest("t", BytesBody(b"x"), Envelope(tier=tier)))
            assert sdk.get_blob_client(container, "t").get_blob_properties().blob_tier == expected
            assert [loss.field for loss in receipt.losses] == (["tier"] if lost else [])

    def test_what_no_blob_can_hold_is_declared(self, store: AzureObjectStore) -> None:
        """Names that differ in case only, tags with other characters, headers beyond ASCII: losses, no failure."""
        envelope = Envelope(
            content_disposition='attachment; filename="caf\u00e9"',
            user=(("Name", "1"), ("name", "2")),
            tags=(("bad", "a&b"), ("good", "a b/c"), ("l" * 129, "x")),
        )
        receipt = store.write(WriteRequest("e", BytesBody(b"x"), envelope))
        assert sorted(loss.field for loss in receipt.losses) == [
            "content_disposition",
            "tags.bad",
            "tags." + "l" * 129,
            "user.name",
        ]
        back = store.stat("e").envelope
        assert back is not None
        assert (back.user, back.tags) == ((("Name", "1"),), (("good", "a b/c"),))

    def test_eleven_tags(self, store: AzureObjectStore) -> None:
        """More tags than a blob can have are all declared lost, and the blob is written."""
        tags = pairs({f"t{number}": "v" for number in range(11)})
        receipt = store.write(WriteRequest("many", BytesBody(b"x"), Envelope(tags=tags)))
        assert [loss.field for loss in receipt.losses] == [f"tags.{name}" for name, _ in tags]

    def test_a_lease_is_respected(self, sdk: BlobServiceClient, store: AzureObjectStore, container: str) -> None:
        """A blob somebody holds a lease on is not overwritten."""
        client = sdk.get_blob_client(container, "held")
        client.upload_blob(b"theirs")
        client.acquire_lease()
        with pytest.raises(ConflictError, match="lease"):
            store.write(WriteRequest("held", BytesBody(b"ours")))


class TestAccount:
    def test_containers_are_made_once_and_removed_empty(
        self, provider: AzureProvider, sdk: BlobServiceClient, unique: Unique
    ) -> None:
        """Making says who made it; removing refuses what still holds something, an uncommitted block included."""
        name = unique("made")
        assert provider.ensure_container(name) is True
        assert provider.ensure_container(name) is False
        sdk.get_blob_client(name, "x").stage_block("MDAx", b"x")
        with pytest.raises(ConflictError, match="not empty"):
            provider.remove_container(name)
        provider.objects(name).write(WriteRequest("x", BytesBody(b"")))
        with pytest.raises(ConflictError, match="not empty"):
            provider.remove_container(name)
        provider.objects(name).delete("x")
        provider.remove_container(name)
        provider.remove_container(name)
        with pytest.raises(InvalidKeyError):
            provider.ensure_container("x")

    def test_the_services_clock(self, provider: AzureProvider) -> None:
        """The Date header of an authenticated request."""
        moment = provider.server_time()
        assert moment is not None
        assert abs(datetime.now(UTC) - moment) < timedelta(seconds=10)

    def test_a_wrong_key(self, azurite: Running, lane: str, container: str) -> None:
        """The message names the place and says what to check; the key is nowhere in it."""
        wrong = base64.b64encode(b"a secret that is wrong").decode()
        with _open(azurite, lane=lane, key=wrong) as provider:
            for action in (provider.server_time, lambda: list(provider.objects(container).list())):
                with pytest.raises(AuthenticationError, match=r"azure.*key") as caught:
                    action()
                assert wrong not in "".join(traceback.format_exception(caught.value))

    def test_a_container_signature(self, azurite: Running, lane: str, sdk: BlobServiceClient, container: str) -> None:
        """A signature for one container lists, reads, and tells the time, though it may not list containers."""
        sdk.get_blob_client(container, "a b/\u00e9").upload_blob(b"x")
        signature = generate_container_sas(
            azurite.settings["account"],
            container,
            account_key=azurite.settings["key"],
            permission="rl",
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        with _open(azurite, lane=lane, key=None, sas=signature) as provider:
            store = provider.objects(container)
            (entry,) = store.list()
            assert store.read(entry.key, etag=entry.etag).read_all() == b"x"
            assert provider.ensure_container(container) is False
            with pytest.raises(PermissionDeniedError):
                store.write(WriteRequest("new", BytesBody(b"x")))

    def test_signatures_do_not_leak(
        self, proxied: tuple[AzureProvider, FaultProxy], azurite: Running, lane: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither an error's whole traceback nor the debug log holds a signature."""
        signature = generate_account_sas(
            azurite.settings["account"],
            azurite.settings["key"],
            resource_types="sco",
            permission="rl",
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        secret = signature.partition("sig=")[2].partition("&")[0]
        proxy = proxied[1]
        caplog.set_level(logging.DEBUG)
        with _open(azurite, lane=lane, key=None, sas=signature, endpoint=proxy.url) as provider:
            assert provider.server_time() is not None
            proxy.close()
            with pytest.raises(TransientError) as caught:
                provider.server_time()
        assert secret not in "".join(traceback.format_exception(caught.value))
        assert secret not in repr(caught.value.__cause__)
        assert ("sig=REDACTED" in caplog.text) == (lane == "sdk"), (
            "the SDK's libraries log whole URLs, the lean lane none"
        )
        assert secret not in caplog.text

    def test_a_blob_signature_for_something_else(self, azurite: Running, lane: str, container: str) -> None:
        """A signature that does not allow it is a permission error or an authentication error, not a crash."""
        signature = generate_blob_sas(
            azurite.settings["account"],
            container,
            "other",
            account_key=azurite.settings["key"],
            permission="r",
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        with (
            _open(azurite, lane=lane, key=None, sas=signature) as provider,
            pytest.raises((PermissionDeniedError, AuthenticationError)),
        ):
            list(provider.objects(container).list())


class _Memory:
    def __init__(self) -> None:
        self.state: dict[str, str] = {}

    def load(self) -> dict[str, str]:
        return self.state

    def save(self, state: dict[str, str]) -> None:
        self.state = state


class _Lying:
    """A body that promises 100 bytes."""

    size = 100

    def __init__(self, given: int) -> None:
        self._given = given

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        assert (offset, length) == (0, None)
        yield bytes(self._given)


def test_crc64_is_little_endian_on_the_wire() -> None:
    """The check value of CRC-64/NVME, as Azure writes it."""
    hasher = Hasher()
    hasher.update(b"123456789")
    assert hasher.digests().crc64nvme == bytes.fromhex("AE8B14860A799888")
