"""An S3 place: its buckets, its clock, its addresses.

Rules: opening makes no request; a bucket is removed only when it was seen to be empty, because not every server
refuses to remove a full one.

Source: S3 API reference, CreateBucket, DeleteBucket, ListBuckets; AWS general reference, "Amazon S3 endpoints".
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Endpoint, Environment, Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ConflictError, NotFoundError, PermissionDeniedError, UnsupportedError
from exitdrill.model.digests import DigestKind
from exitdrill_s3.client import open_api
from exitdrill_s3.errors import code_of, date_of
from exitdrill_s3.parts import OpenUploads
from exitdrill_s3.settings import S3Settings
from exitdrill_s3.store import S3Store

if TYPE_CHECKING:
    from exitdrill.connector.reports import InventoryReport, ReportSource

__all__ = ["S3Provider"]

_HOME_REGION = "us-east-1"
_PORTS = {"http": 80, "https": 443}
_MACHINE_IDENTITY = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")


class S3Provider(Provider):
    """One opened S3 place.

    Args:
        place: Its name in the drill.
        settings: Where it is and who asks.
        retry: How its stores try again.
    """

    def __init__(self, place: str, settings: S3Settings, retry: RetryPolicy | None = None) -> None:
        """See the class."""
        super().__init__(place, retry)
        self._settings = settings
        self._api = open_api(place, settings)
        self._uploads = OpenUploads()

    @property
    def environment(self) -> Environment:
        """Cloud for Amazon S3, private for any other server."""
        return self._settings.environment

    @property
    def lane(self) -> str:
        """How requests go out: ``lean`` or ``sdk``."""
        return self._api.lane

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()

    def _objects(self, container: str, capabilities: Capabilities | None) -> ObjectStore:
        return S3Store(
            self._api,
            container,
            self._name(container),
            capabilities or self._claim(),
            self._settings,
            self.retry,
            self._uploads,
            proven=capabilities is not None,
        )

    def _claim(self) -> Capabilities:
        """What Amazon S3 does; the most that any server of its protocol can do, for preflight to narrow."""
        checked = frozenset(DigestKind)
        amazon = self.environment is Environment.CLOUD
        return Capabilities(
            # Amazon refuses keys whose ".." segments outnumber the others so far ("Naming Amazon S3 objects").
            keys=KeyRule(max_bytes=1024, dot_segments=not amazon),
            envelope=EnvelopeRule(user_max_bytes=2048, user_lower_case=True, tags_max=10),
            attests=frozenset({DigestKind.CRC64NVME, DigestKind.MD5}),
            refuses_wrong=checked,
            listing_digests=frozenset({DigestKind.MD5}),
            multipart_attests=frozenset({DigestKind.CRC64NVME}),
            # Elsewhere a listing may be a walk through folders: "a/b" before "a-b", and no place to begin again.
            sorted_listing=amazon,
            start_after=amazon,
            delimited_listing=True,
            conditional_writes=True,
        )

    def _inventory_report(self, container: str, prefix: str, source: ReportSource) -> InventoryReport:
        del prefix  # a manifest does not say what its configuration leaves out
        from exitdrill_s3.inventory_report import newest_report  # few drills need it

        return newest_report(self._objects(source.container, None), container, source)

    def _ensure_container(self, container: str) -> bool:
        resource = self._name(container)
        try:
            self._api.call("head_bucket", resource, Bucket=container)
        except NotFoundError:
            return self._create(container)
        except PermissionDeniedError as error:
            raise self._refusal(container) from error
        return False

    def _refusal(self, container: str) -> ConflictError:
        """Why a bucket that exists cannot be used: HEAD does not say, so ask in a way that does.

        Raises AuthenticationError where the credentials are the reason.
        """
        resource = self._name(container)
        hint = "choose another name, or get s3:ListBucket on it"
        try:
            self._api.call("list_objects_v2", resource, Bucket=container, MaxKeys=1)
        except PermissionDeniedError:
            return ConflictError(
                "exists, but belongs to somebody else or is closed to us", resource=resource, hint=hint
            )
        return ConflictError("can be listed, but its head is refused", resource=resource, hint=hint)

    def _create(self, container: str) -> bool:
        resource, region = self._name(container), self._api.region
        place = None if region == _HOME_REGION else {"LocationConstraint": region}
        try:
            try:
                self._api.call("create_bucket", resource, Bucket=container, CreateBucketConfiguration=place)
            except UnsupportedError as error:
                if place is None or code_of(error) != "InvalidLocationConstraint":
                    raise
                # Servers of one's own know no such region and take a bucket without one.
                self._api.call("create_bucket", resource, Bucket=container)
        except ConflictError as error:
            if code_of(error) == "BucketAlreadyOwnedByYou":
                return False
            msg = "the name belongs to somebody else"
            raise ConflictError(msg, resource=resource, hint="choose another bucket name") from error
        return True

    def _remove_container(self, container: str) -> None:
        resource = self._name(container)
        try:
            for upload_id, key in self._uploads.of(container):
                self._abort(container, key, upload_id)
            if self._holds_something(container):
                raise ConflictError("is not empty", resource=resource, expected="no object and no version in it")
            self._api.call("delete_bucket", resource, Bucket=container)
        except NotFoundError:
            return

    def _abort(self, container: str, key: str, upload_id: str) -> None:
        try:
            self._api.call(
                "abort_multipart_upload", self._name(container), Bucket=container, Key=key, UploadId=upload_id
            )
        except NotFoundError as error:
            if code_of(error) == "NoSuchBucket":
                raise
        self._uploads.discard(upload_id)

    def _holds_something(self, container: str) -> bool:
        resource = self._name(container)
        if self._api.call("list_objects_v2", resource, Bucket=container, MaxKeys=1).get("Contents"):
            return True
        if self.environment is Environment.CLOUD:
            return False  # Amazon itself refuses to remove a bucket that holds versions.
        try:
            answer = self._api.call("list_object_versions", resource, Bucket=container, MaxKeys=1)
        except UnsupportedError:
            return False
        return bool(answer.get("Versions") or answer.get("DeleteMarkers"))

    def _server_time(self) -> datetime | None:
        try:
            return date_of(self._api.call("list_buckets", self.place))
        except PermissionDeniedError as error:
            # Keys may be good for one bucket only; the refusal proves them, and carries the clock as well.
            if code_of(error) != "AccessDenied":
                raise
            return date_of(error)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        identity = tuple(Endpoint(host, None, "identity") for host in _MACHINE_IDENTITY)
        address = self._settings.address
        if address is not None and address.hostname is not None:
            port = address.port or _PORTS[address.scheme]
            names = (address.hostname, f"*.{address.hostname}")
            return (*(Endpoint(name, port) for name in names), *(identity if self._chained else ()))
        region, suffix = self._api.region, self._suffix()
        data = (
            f"*.{region}.{suffix}",
            f"s3.{suffix}",
            f"*.s3.{suffix}",
            f"s3-{region}.{suffix}",
            f"*.s3-{region}.{suffix}",
        )
        modern = (f"*.{region}.api.aws", f"*.{region}.on.aws")
        return (
            *(Endpoint(host) for host in data),
            *(Endpoint(host, None, "management") for host in modern),
            *(Endpoint(f"{service}.{suffix}", None, "identity") for service in ("sts", "iam")),
            *identity,
        )

    @property
    def _chained(self) -> bool:
        """Whether the keys come from the SDK's own chain, which asks the machine it runs on."""
        return self._settings.access_key_id is None

    def _suffix(self) -> str:
        """The partition's domain, from the SDK's own table, as ``amazonaws.com``."""
        host = self._api.endpoint.split("//", 1)[-1].split("/", 1)[0]
        return host.split(f".{self._api.region}.", 1)[-1].removeprefix("s3.")

    def _name(self, container: str) -> str:
        return f"{self.place}:{container}"
