"""Fills an Azure container and later compares it with a bucket, byte for byte. Shares no code with exitdrill.

    outsider.py fill CONTAINER COUNT LARGEST_BYTES
    outsider.py compare CONTAINER BUCKET [percent]

Where the servers are stands in the environment: AZURE_ACCOUNT, AZURE_ENDPOINT, AZURE_KEY, S3_ENDPOINT,
S3_KEY_ID, S3_SECRET. ``compare`` prints one line a difference and ends with 1 if there is any. It keeps what it
filled in mind by nothing but the source itself, so it is run while the source is still there.
"""

import hashlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import boto3
from azure.storage.blob import BlobServiceClient, ContentSettings
from botocore.config import Config

HOSTILE = [
    "a",
    "a-b",
    "a//b",
    "b/",
    "tail//",
    "back/trailing-dot.",
    "UPPER",
    "upper",
    "caf\u00e9",
    "cafe\u0301",
    "100%",
    "%2F",
    "x%2Fy",
    "plus+plus",
    "question?mark",
    "hash#mark",
    "amp&er=sand",
    "quote'\"s",
    "space  two",
    " lead",
    "emoji \U0001f600.txt",
    "\u202ertl.txt",
    "<script>alert(1)</script>",
    "=1+1",
    "semi;colon,comma",
    "tab\u00a0nbsp",
    "s" * 256,
    "/".join(["d" * 100] * 10),
    "z" * 1000,
]


def source() -> BlobServiceClient:
    return BlobServiceClient(
        os.environ["AZURE_ENDPOINT"],
        credential={"account_name": os.environ["AZURE_ACCOUNT"], "account_key": os.environ["AZURE_KEY"]},
    )


def target() -> Any:
    return boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        region_name="eu-central-1",
        aws_access_key_id=os.environ["S3_KEY_ID"],
        aws_secret_access_key=os.environ["S3_SECRET"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
    )


def sizes(count: int, largest: int) -> list[int]:
    dice = random.Random(20)
    fixed = [0, 1, largest, largest // 4, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1]
    return fixed + [int(dice.paretovariate(0.9) * 900) % 1_500_000 for _ in range(count - len(fixed))]


def fill(container: str, count: int, largest: int) -> None:
    client = source().get_container_client(container)
    client.create_container()
    names = HOSTILE + [f"Zaken/{n // 100:04d}/stuk {n}.bin" for n in range(count - len(HOSTILE))]

    def put(item: tuple[int, tuple[str, int]]) -> None:
        number, (name, size) = item
        dice = random.Random(number)
        block = dice.randbytes(min(size, 1_000_003))  # a prime: no two parts of a large one are alike
        data = (block * (size // 1_000_003 + 1))[:size]
        settings = ContentSettings(content_type=["text/plain", "application/pdf", "image/png"][number % 3])
        meta = {"owner": f"team{number % 7}", "Case_Nr": str(number)} if number % 5 == 0 else None
        if number % 11 == 0:
            settings.content_encoding, settings.cache_control = "gzip", "max-age=60"
            settings.content_language, settings.content_disposition = "nl-NL", 'attachment; filename="x.bin"'
        client.upload_blob(name, data, content_settings=settings, metadata=meta, max_concurrency=1)
        if number % 13 == 0:
            client.get_blob_client(name).set_blob_tags({"dossier": str(number), "soort": "a b"})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(put, enumerate(zip(names, sizes(count, largest), strict=True))))


def back(key: str, mapping: str) -> str:
    return unquote(key.replace("%/", ""), errors="strict") if mapping == "percent" else key


def describe_blob(client: Any, name: str) -> tuple[object, ...]:
    blob = client.get_blob_client(name)
    stream = blob.download_blob(decompress=False)
    digest, size = hashlib.sha256(), 0
    for chunk in stream.chunks():
        digest.update(chunk)
        size += len(chunk)
    p = stream.properties
    c = p.content_settings
    tags = blob.get_blob_tags() if p.get("tag_count") else {}
    meta = {k.lower(): v for k, v in p.metadata.items()}
    return (
        size,
        digest.hexdigest(),
        c.content_type,
        c.content_encoding,
        c.content_language,
        c.content_disposition,
        c.cache_control,
        sorted(meta.items()),
        sorted(tags.items()),
    )


def describe_object(client: Any, bucket: str, key: str) -> tuple[object, ...]:
    got = client.get_object(Bucket=bucket, Key=key)
    digest, size = hashlib.sha256(), 0
    for chunk in iter(lambda: got["Body"]._raw_stream.read(1 << 20, decode_content=False), b""):
        digest.update(chunk)
        size += len(chunk)
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return (
        size,
        digest.hexdigest(),
        got.get("ContentType"),
        got.get("ContentEncoding") or None,
        got.get("ContentLanguage") or None,
        got.get("ContentDisposition") or None,
        got.get("CacheControl") or None,
        sorted(got["Metadata"].items()),
        sorted((t["Key"], t["Value"]) for t in tags),
    )


def compare(container: str, bucket: str, mapping: str = "none") -> int:
    blobs, objects = source().get_container_client(container), target()
    pages = objects.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    there = {back(o["Key"], mapping): o["Key"] for page in pages for o in page.get("Contents", [])}
    names = {b.name for b in blobs.list_blobs()}
    problems = [f"missing {n!r}" for n in names - set(there)] + [f"extra {n!r}" for n in set(there) - names]

    def check(name: str) -> list[str]:
        a, b = describe_blob(blobs, name), describe_object(objects, bucket, there[name])
        return [f"{name!r}: {x!r} != {y!r}" for x, y in zip(a, b, strict=True) if x != y]

    with ThreadPoolExecutor(12) as pool:
        for found in pool.map(check, sorted(names & set(there))):
            problems += found
    print(f"{len(names)} blobs, {len(there)} objects, {len(problems)} differences")
    for problem in problems[:50]:
        print(problem)
    return 1 if problems or not names else 0


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(compare(*sys.argv[2:]))
