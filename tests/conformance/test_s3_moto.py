"""The S3 connector against moto: keys byte-exact, checksums unchecked, so that only an MD5 ETag attests."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from exitdrill.assets.probing import probe_store
from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.model.digests import DigestKind
from exitdrill.testing.conformance import FaultSuite, ObjectStoreSuite, fresh_container
from exitdrill.testing.faults import FaultProxy
from exitdrill_s3 import S3Connector
from exitdrill_s3.settings import MEBIBYTE, S3Settings

_FOUND = Capabilities(
    keys=KeyRule(control_characters=False),
    envelope=EnvelopeRule(user_lower_case=True, tags_max=10),
    attests=frozenset({DigestKind.MD5}),
    listing_digests=frozenset({DigestKind.MD5}),
    delimited_listing=True,
    conditional_writes=True,
    max_single_put_bytes=16 * MEBIBYTE,
)


def _open(moto: Running, lane: str, endpoint: str | None = None, retry: RetryPolicy | None = None) -> Provider:
    settings = dict(moto.settings) | {"lane": lane} | ({} if endpoint is None else {"endpoint": endpoint})
    return S3Connector().open("moto", S3Settings.model_validate(settings), retry)


@pytest.fixture(scope="module", params=["lean", "sdk"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def provider(moto: Running, lane: str) -> Iterator[Provider]:
    with _open(moto, lane) as provider:
        assert provider.lane == lane
        yield provider


@pytest.fixture(scope="module")
def container(provider: Provider) -> Iterator[str]:
    with fresh_container(provider) as name:
        yield name


@pytest.fixture
def proxied(moto: Running, lane: str) -> Iterator[tuple[Provider, FaultProxy]]:
    address = urlsplit(moto.settings["endpoint"])
    retry = RetryPolicy(attempts=4, base_seconds=0.01)
    with (
        FaultProxy(str(address.hostname), int(address.port or 0)) as proxy,
        _open(moto, lane, proxy.url, retry) as through,
    ):
        yield through, proxy


class TestMoto(ObjectStoreSuite):
    """Larger objects go in one request while one may hold them: there is no attestation in parts to gain."""

    capabilities = _FOUND


@pytest.mark.parametrize("lane", ["lean"], indirect=True, scope="module")
class TestMotoFaults(FaultSuite):
    """The same through a network that misbehaves; the SDK's lane against SeaweedFS alone."""

    capabilities = _FOUND


@pytest.mark.parametrize("lane", ["lean"], indirect=True, scope="module")
def test_probing_finds_what_moto_does_not_do(provider: Provider, container: str) -> None:
    """Preflight narrows the claims for Amazon S3 to what the suite above holds moto to."""
    store: ObjectStore = provider.objects(container)
    found = probe_store(store, "probe/").capabilities
    assert (found.attests, found.refuses_wrong, found.multipart_attests) == (
        _FOUND.attests,
        frozenset(),
        frozenset(),
    )
    assert not found.keys.control_characters
    assert found.keys.empty_segments
