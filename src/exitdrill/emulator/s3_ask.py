"""The question an S3 server is asked before a drill relies on it."""

import secrets
from collections.abc import Mapping

from exitdrill.emulator.interface import NotYetError
from exitdrill.errors import NotReadyError

__all__ = ["ask_s3"]

_ASK_SECONDS = 5.0
_BODY = b"ready?"


def ask_s3(settings: Mapping[str, str]) -> None:
    """Make a bucket, write, read and delete an object in it, and delete the bucket.

    SeaweedFS lists buckets seconds before it can store anything, so only storing proves it. Nothing stays.

    Raises:
        NotYetError: It does not serve yet.
        NotReadyError: boto3 is not installed.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as exc:
        raise NotReadyError("boto3 is not installed", hint="pip install 'exitdrill[emulators]'") from exc
    limits = Config(connect_timeout=_ASK_SECONDS, read_timeout=_ASK_SECONDS, retries={"total_max_attempts": 1})
    client = boto3.client(
        "s3",
        endpoint_url=settings["endpoint"],
        region_name=settings["region"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_access_key"],
        config=limits.merge(Config(s3={"addressing_style": "path"})),
    )
    bucket = f"exitdrill-ready-{secrets.token_hex(4)}"
    try:
        # not every region may be named here, and the default one must not be
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        client.put_object(Bucket=bucket, Key="ready", Body=_BODY)
        answer = client.get_object(Bucket=bucket, Key="ready")["Body"].read()
        client.delete_object(Bucket=bucket, Key="ready")
        client.delete_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as exc:
        raise NotYetError(f"{type(exc).__name__}: {exc}") from exc
    finally:
        client.close()
    if answer != _BODY:
        raise NotYetError(f"wrote {len(_BODY)} bytes, read {len(answer)} others")
