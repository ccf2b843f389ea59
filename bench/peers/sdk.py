"""The plain SDKs, as a short script with a pool of threads would use them: ``python -m bench.peers.sdk WHAT …``.

``azure WORK FOLDER`` downloads a container, ``boto3 FOLDER BUCKET`` and ``minio FOLDER BUCKET`` upload a folder.
Addresses and keys come in the variables `environ` makes. Nothing is digested beyond what the SDK does by itself.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

__all__ = ["command", "environ"]

T = TypeVar("T")
_ROOT = Path(__file__).parents[2]
_MIB = 1024 * 1024


def command(what: str, *arguments: str, threads: int) -> list[str]:
    """The script's command line."""
    return [sys.executable, "-m", "bench.peers.sdk", what, *arguments, str(threads)]


def environ(azure: Mapping[str, str], s3: Mapping[str, str]) -> dict[str, str]:
    """Addresses and keys."""
    return {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        **{f"BENCH_AZURE_{name.upper()}": value for name, value in azure.items()},
        **{f"BENCH_S3_{name.upper()}": value for name, value in s3.items()},
    }


def _side_by_side(function: Callable[[T], None], items: Iterable[T], threads: int) -> None:
    """Like map, but without a future for each of a million items at once."""
    with ThreadPoolExecutor(threads) as pool:
        open_: set[Future[None]] = set()
        for item in items:
            open_.add(pool.submit(function, item))
            if len(open_) >= 4 * threads:
                done, open_ = wait(open_, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
        for one in open_:
            one.result()


def _azure(work: str, folder: Path, threads: int) -> None:
    from azure.storage.blob import ContainerClient

    url, key = os.environ["BENCH_AZURE_ENDPOINT"], os.environ["BENCH_AZURE_KEY"]
    client = ContainerClient(
        url, work, credential={"account_name": os.environ["BENCH_AZURE_ACCOUNT"], "account_key": key}
    )

    def one(name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            client.download_blob(name, max_concurrency=4).readinto(file)

    _side_by_side(one, client.list_blob_names(), threads)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _boto3(folder: Path, bucket: str, threads: int) -> None:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=os.environ["BENCH_S3_ENDPOINT"],
        region_name=os.environ["BENCH_S3_REGION"],
        aws_access_key_id=os.environ["BENCH_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["BENCH_S3_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=2 * threads, request_checksum_calculation="when_required"),
    )
    transfer = TransferConfig(multipart_threshold=64 * _MIB, multipart_chunksize=16 * _MIB, max_concurrency=4)

    def one(path: Path) -> None:
        client.upload_file(str(path), bucket, str(path.relative_to(folder)), Config=transfer)

    _side_by_side(one, _files(folder), threads)


def _minio(folder: Path, bucket: str, threads: int) -> None:
    from minio import Minio

    client = Minio(
        urlsplit(os.environ["BENCH_S3_ENDPOINT"]).netloc,
        os.environ["BENCH_S3_ACCESS_KEY_ID"],
        os.environ["BENCH_S3_SECRET_ACCESS_KEY"],
        secure=False,
        region=os.environ["BENCH_S3_REGION"],
    )

    def one(path: Path) -> None:
        client.fput_object(bucket, str(path.relative_to(folder)), str(path), part_size=16 * _MIB)

    _side_by_side(one, _files(folder), threads)


if __name__ == "__main__":
    what, first, second, count = sys.argv[1:]
    if what == "azure":
        _azure(first, Path(second), int(count))
    else:
        {"boto3": _boto3, "minio": _minio}[what](Path(first), second, int(count))
