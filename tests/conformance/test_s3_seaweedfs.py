"""The S3 connector against SeaweedFS: signatures and checksums checked, keys turned into paths."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from exitdrill.assets.probing import probe_store
from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.model.digests import DigestKind
from exitdrill.testing.conformance import DeniedSuite, FaultSuite, ObjectStoreSuite, fresh_container
from exitdrill.testing.faults import FaultProxy
from exitdrill_s3 import S3Connector
from exitdrill_s3.settings import MEBIBYTE, S3Settings

_FOUND = Capabilities(
    keys=KeyRule(
        max_segment_bytes=255, empty_segments=False, dot_segments=False, trailing_slash=False, backslash=False
    ),
    envelope=EnvelopeRule(user_lower_case=True, user_empty=False, tags_max=10),
    attests=frozenset({DigestKind.CRC64NVME, DigestKind.MD5}),
    refuses_wrong=frozenset(DigestKind),
    listing_digests=frozenset({DigestKind.MD5}),
    multipart_attests=frozenset({DigestKind.CRC64NVME}),
    sorted_listing=False,
    start_after=False,
    delimited_listing=True,
    conditional_writes=True,
)


def _open(server: Running, retry: RetryPolicy | None = None, **more: str) -> Provider:
    settings = {**server.settings, "multipart_threshold": 8 * MEBIBYTE, "part_size": 5 * MEBIBYTE, **more}
    return S3Connector().open("seaweedfs", S3Settings.model_validate(settings), retry)


@pytest.fixture(scope="module", params=["lean", "sdk"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def provider(seaweedfs: Running, lane: str) -> Iterator[Provider]:
    with _open(seaweedfs, lane=lane) as provider:
        assert provider.lane == lane
        yield provider


@pytest.fixture(scope="module")
def container(provider: Provider) -> Iterator[str]:
    with fresh_container(provider) as name:
        yield name


@pytest.fixture
def proxied(seaweedfs: Running, lane: str) -> Iterator[tuple[Provider, FaultProxy]]:
    address = urlsplit(seaweedfs.settings["endpoint"])
    retry = RetryPolicy(attempts=4, base_seconds=0.01)
    with (
        FaultProxy(str(address.hostname), int(address.port or 0)) as proxy,
        _open(seaweedfs, retry, endpoint=proxy.url, lane=lane) as through,
    ):
        yield through, proxy


@pytest.fixture(params=[{"secret_access_key": "wrong"}, {"access_key_id": "nobody"}], ids=["secret", "key"])
def denied(seaweedfs: Running, lane: str, request: pytest.FixtureRequest) -> Iterator[Provider]:
    with _open(seaweedfs, lane=lane, **request.param) as refused:
        yield refused


class TestSeaweedFS(ObjectStoreSuite):
    """Large objects go in parts, with a CRC-64/NVME for the whole that the server computes."""

    capabilities = _FOUND


class TestSeaweedFSFaults(FaultSuite):
    """The same through a network that misbehaves."""

    capabilities = _FOUND


class TestSeaweedFSDenied(DeniedSuite):
    """The same with credentials that are wrong."""

    capabilities = _FOUND


@pytest.mark.parametrize("lane", ["lean"], indirect=True, scope="module")
def test_probing_finds_what_seaweedfs_does(provider: Provider, container: str) -> None:
    """Preflight narrows the claims for Amazon S3 to what the suite above holds SeaweedFS to."""
    found = probe_store(provider.objects(container), "probe/").capabilities
    assert (found.attests, found.refuses_wrong, found.multipart_attests, found.listing_digests) == (
        _FOUND.attests,
        _FOUND.refuses_wrong,
        _FOUND.multipart_attests,
        _FOUND.listing_digests,
    )
    assert found.keys == _FOUND.keys
