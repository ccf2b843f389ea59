"""The bench's endpoints answer clients as the real ones do: what they get wrong, they would hide or invent."""

import hashlib
import io
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import ContainerClient
from botocore.config import Config
from botocore.exceptions import ClientError
from minio import Minio

from bench.corpus import Stored
from bench.fixtures.delay import ceiling
from bench.fixtures.listing import page
from bench.peers import rclone
from bench.places import Places, far
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.registry import connector
from exitdrill.errors import ChangedError, ConnectorError
from exitdrill.model.digests import DigestKind, Hasher

_KEY = "d00000/f00000007.bin"
_LIMIT_SECONDS = 60


def _container(fast: Places, name: str) -> ContainerClient:
    credential = {"account_name": fast.azure["account"], "account_key": fast.azure["key"]}
    return ContainerClient(fast.azure["endpoint"], name, credential=credential)


def _provider(kind: str, settings: Mapping[str, str]) -> Provider:
    chosen = connector(kind)
    return chosen.open(kind, chosen.settings.model_validate(settings))


def _rclone(fast: Places, *arguments: str) -> str:
    command = [str(rclone.binary()), *arguments, "--config=", "--retries=1", "--low-level-retries=1"]
    environ = rclone.environ(fast.azure, fast.s3)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_listing_has_every_key_once_with_size_etag_and_md5(fast: Places, files: Path) -> None:
    """Azure's SDK lists in pages what lies on disk: names in order, sizes, MD5s, and the ETag that a read has."""
    with _container(fast, "tiny") as client:
        pages = [list(one) for one in client.list_blobs(results_per_page=400).by_page()]
        blobs = [blob for one in pages for blob in one]
        assert [len(one) for one in pages] == [400, 400, 300]
        there = sorted(str(path.relative_to(files / "tiny")) for path in (files / "tiny").rglob("*.bin"))
        assert [blob.name for blob in blobs] == there
        one = next(blob for blob in blobs if blob.name == _KEY)
        data = (files / "tiny" / _KEY).read_bytes()
        assert one.size == len(data)
        assert bytes(one.content_settings.content_md5 or b"") == hashlib.md5(data, usedforsecurity=False).digest()
        properties = client.get_blob_client(_KEY).get_blob_properties()
        assert properties.etag.strip('"') == one.etag.strip('"')


def test_a_listing_by_folder_or_prefix_is_part_of_the_whole(fast: Places, stored: Mapping[str, Stored]) -> None:
    """By delimiter the folders come, with a prefix what is in one; a page that ends between folders goes on there."""
    with _container(fast, "tiny") as client:
        assert [item.name for item in client.walk_blobs()] == ["d00000/", "d00001/", "d00002/"]
        assert len(list(client.list_blobs(name_starts_with="d00001/"))) == 500
        assert [b.name for b in client.list_blobs(name_starts_with="d00002/f0000109")] == [
            f"d00002/f0000109{digit}.bin" for digit in range(10)
        ]
    first = page(stored["tiny"], {"delimiter": "/", "maxresults": "2"})
    marker = first.partition("<NextMarker>")[2].partition("<")[0]
    assert "d00002/" in page(stored["tiny"], {"delimiter": "/", "marker": marker})


def test_reads_are_pinned_and_in_ranges(fast: Places, files: Path) -> None:
    """If-Match with another ETag is a 412 with Azure's code; a range gives those bytes, however it is asked for."""
    data = (files / "some" / "d00000/f00000001.bin").read_bytes()
    with _container(fast, "some") as client:
        blob = client.get_blob_client("d00000/f00000001.bin")
        assert blob.download_blob().readall() == data
        assert blob.download_blob(offset=70_000, length=1000).readall() == data[70_000:71_000]
        with pytest.raises(ResourceModifiedError) as refused:
            blob.download_blob(etag="0x1", match_condition=MatchConditions.IfNotModified)
        assert "ErrorCode:ConditionNotMet" in str(refused.value)
        for name in ("nothing", "d00000", "d00000/"):
            with pytest.raises(ResourceNotFoundError) as missing:
                client.get_blob_client(name).download_blob()
            assert "ErrorCode:BlobNotFound" in str(missing.value)


def test_our_own_connector_lists_and_reads_it(fast: Places, files: Path) -> None:
    """The connector ``azure`` finds every object with its MD5, reads it pinned, and refuses another version."""
    with _provider("azure", fast.azure) as provider, provider.objects("tiny") as store:
        entries = {entry.key: entry for entry in store.list()}
        assert len(entries) == 1100
        data = (files / "tiny" / _KEY).read_bytes()
        assert entries[_KEY].digests.md5 == hashlib.md5(data, usedforsecurity=False).digest()
        with store.read(_KEY, etag=entries[_KEY].etag) as stream:
            assert stream.read_all() == data
        with pytest.raises(ChangedError):
            store.read(_KEY, etag="0x1")


def test_rclone_copies_from_one_to_the_other_and_finds_no_difference(
    fast: Places, rclone_installed: None, files: Path, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    """Rclone's whole sequence works: its MD5 check of the source, an upload, and a comparison of every byte."""
    with fast.bucket(unique("rclone")) as bucket:
        _rclone(fast, "copy", "az:tiny", str(tmp_path / "vault"))
        _rclone(fast, "copy", str(tmp_path / "vault"), f"s3:{bucket}")
        assert "1100 matching files" in _rclone(fast, "check", "--download", str(files / "tiny"), f"s3:{bucket}")
        assert fast.objects(bucket) == 1100


def test_the_target_keeps_what_it_was_given(fast: Places, unique: Callable[[str], str]) -> None:
    """boto3 and minio write small and large, in one request and in parts, and read the same back, in ranges too."""
    body = os.urandom(12 * 1024 * 1024)
    s3 = fast.s3
    client = boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        region_name=s3["region"],
        aws_access_key_id=s3["access_key_id"],
        aws_secret_access_key=s3["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}),
    )
    with fast.bucket(unique("sdk")) as bucket:
        client.put_object(Bucket=bucket, Key="a b+c", Body=b"small", Metadata={"k": "v"})
        found = client.get_object(Bucket=bucket, Key="a b+c")
        assert (found["Body"].read(), found["Metadata"]) == (b"small", {"k": "v"})
        client.put_object(Bucket=bucket, Key="large", Body=body)
        assert (
            client.get_object(Bucket=bucket, Key="large", Range="bytes=9000000-9000009")["Body"].read()
            == (body[9_000_000:9_000_010])
        )
        netloc = urlsplit(s3["endpoint"]).netloc
        minio = Minio(netloc, s3["access_key_id"], s3["secret_access_key"], secure=False, region=s3["region"])
        minio.put_object(bucket, "parts", io.BytesIO(body), len(body), part_size=5 * 1024 * 1024)
        answer = minio.get_object(bucket, "parts")
        assert answer.read() == body
        answer.close()
        answer.release_conn()
        assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [
            "a b+c",
            "large",
            "parts",
        ]
        with pytest.raises(ClientError, match="NoSuchKey"):
            client.get_object(Bucket=bucket, Key="nothing")
    client.close()


def test_the_target_refuses_a_wrong_crc64_and_reports_the_right_one(fast: Places, unique: Callable[[str], str]) -> None:
    """So preflight finds that it attests by CRC-64/NVME, and a drill can be verified as ``attested``."""
    hasher = Hasher({DigestKind.CRC64NVME})
    hasher.update(b"right")
    digests = hasher.digests()
    with fast.bucket(unique("crc")) as bucket, _provider("s3", fast.s3) as provider, provider.objects(bucket) as store:
        store.write(WriteRequest("k", BytesBody(b"right"), digests=digests))
        assert store.stat("k").digests.crc64nvme == digests.crc64nvme
        with pytest.raises(ConnectorError):
            store.write(WriteRequest("l", BytesBody(b"wrong"), digests=digests))
        assert [entry.key for entry in store.list()] == ["k"]


def test_the_proxy_holds_back_and_lets_much_through(fast: Places, tmp_path: Path, files: Path) -> None:
    """A round trip takes the delay and little more; bytes come unchanged, at hundreds of megabytes a second."""
    rate, trip = ceiling(tmp_path / "ceiling", 0.04, 1 << 26)
    assert 0.04 <= trip < 0.08
    assert rate > 20e6
    with far(fast, tmp_path, 10) as away, _container(away, "some") as client:
        data = (files / "some" / "d00000/f00000002.bin").read_bytes()
        assert client.download_blob("d00000/f00000002.bin").readall() == data
