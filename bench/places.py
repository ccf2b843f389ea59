"""The servers of a comparison, as clients reach them, and emptying a bucket between runs."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.corpus import Stored
from bench.fixtures.azure import azure_server
from bench.fixtures.delay import DelayProxy
from bench.fixtures.s3 import FastS3
from bench.fixtures.s3_rclone import RcloneS3
from exitdrill.emulator.interface import Emulator
from exitdrill.emulator.ports import HOST
from exitdrill.emulator.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3_SERVERS", "Places", "far", "places"]

S3_SERVERS: Mapping[str, type[Emulator]] = {"fast": FastS3, "rclone": RcloneS3, "seaweedfs": SeaweedFS}


@dataclass(frozen=True, slots=True)
class Places:
    """Where clients find the source and the target."""

    azure: Mapping[str, str]
    """Settings of a place with ``connector: azure``."""
    s3: Mapping[str, str]
    """Settings of a place with ``connector: s3``."""
    s3_near: Mapping[str, str]
    """The same target without the delay, for what is not timed."""
    folders: Path | None = None
    """Where the target keeps its buckets as folders; emptying one by its API can take minutes."""
    round_trip_ms: float = 0.0

    @contextmanager
    def bucket(self, name: str) -> Iterator[str]:
        """A bucket for the length of the context, under a name that was not used before."""
        client = self._client()
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        try:
            yield name
        finally:
            if self.folders is not None:
                shutil.rmtree(self.folders / name)
            else:
                _remove(client, name)
            client.close()

    def objects(self, bucket: str) -> int:
        """How many objects are in a bucket."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sum(len(page.get("Contents", ())) for page in pages)

    def _client(self) -> "S3Client":
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.s3_near["endpoint"],
            region_name=self.s3_near["region"],
            aws_access_key_id=self.s3_near["access_key_id"],
            aws_secret_access_key=self.s3_near["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}),
        )


def _remove(client: "S3Client", bucket: str) -> None:
    while there := client.list_objects_v2(Bucket=bucket).get("Contents"):
        keys: Any = [{"Key": item["Key"]} for item in there]
        client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    client.delete_bucket(Bucket=bucket)


@contextmanager
def places(works: Iterable[Stored], directory: Path, s3: str = "fast", *, log: bool = False) -> Iterator[Places]:
    """Start the servers. Raises NotReadyError if one does not start.

    Args:
        works: What the source holds.
        directory: For the servers' own files.
        s3: Which target, of `S3_SERVERS`.
        log: Whether the source notes every request.
    """
    with ExitStack() as stack:
        azure = stack.enter_context(azure_server(works, directory / "azure", log=log))
        target = stack.enter_context(S3_SERVERS[s3]().start(directory / "s3"))
        folders = directory / "s3" / "data" if s3 == "rclone" else None
        yield Places(azure, target.settings, target.settings, folders)


@contextmanager
def far(near: Places, directory: Path, round_trip_ms: float) -> Iterator[Places]:
    """The same servers, so much further away."""
    with ExitStack() as stack:

        def behind(name: str, url: str) -> str:
            parts = urlsplit(url)
            proxy = DelayProxy(parts.port or 80, round_trip_ms / 1000)
            port = stack.enter_context(proxy.start(directory / name)).settings["port"]
            return f"http://{HOST}:{port}{parts.path}"

        azure = {**near.azure, "endpoint": behind("delay-azure", near.azure["endpoint"])}
        s3 = {**near.s3, "endpoint": behind("delay-s3", near.s3["endpoint"])}
        yield replace(near, azure=azure, s3=s3, round_trip_ms=round_trip_ms)
