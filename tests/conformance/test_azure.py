"""The Azure connector against Azurite, over both its lanes: the suite every connector passes."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from exitdrill.connector.provider import Provider
from exitdrill.connector.retry import RetryPolicy
from exitdrill.emulator import Running
from exitdrill.testing.conformance import MIB, DeniedSuite, FaultSuite, ObjectStoreSuite, Suite, fresh_container
from exitdrill.testing.faults import FaultProxy
from exitdrill_azure import AzureConnector, AzureSettings

_WRONG_KEY = "bm90IHRoZSBhY2NvdW50J3Mga2V5"


def _settings(azurite: Running, **more: object) -> AzureSettings:
    small = {"single_put_bytes": 4 * MIB, "block_bytes": MIB, "page_size": 500, "read_timeout_seconds": 20}
    return AzureSettings.model_validate({**azurite.settings, **small, **more})


class _AzureSuite(Suite):
    large_bytes = 6 * MIB

    @pytest.fixture(params=["lean", "sdk"])
    def lane(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def provider(self, azurite: Running, lane: str) -> Iterator[Provider]:
        with AzureConnector().open("azure", _settings(azurite, lane=lane)) as provider:
            assert provider.lane == lane
            yield provider

    @pytest.fixture
    def container(self, provider: Provider) -> Iterator[str]:
        with fresh_container(provider) as name:
            yield name


class TestObjects(_AzureSuite, ObjectStoreSuite):
    pass


class TestFaults(_AzureSuite, FaultSuite):
    @pytest.fixture
    def proxied(self, azurite: Running, lane: str) -> Iterator[tuple[Provider, FaultProxy]]:
        upstream = urlsplit(azurite.settings["endpoint"])
        with FaultProxy(str(upstream.hostname), int(upstream.port or 0)) as proxy:
            settings = _settings(azurite, endpoint=proxy.url, lane=lane)
            with AzureConnector().open("azure", settings, RetryPolicy(5, 0.01, 2.0)) as provider:
                yield provider, proxy


class TestDenied(_AzureSuite, DeniedSuite):
    @pytest.fixture
    def denied(self, azurite: Running, lane: str) -> Iterator[Provider]:
        with AzureConnector().open("azure", _settings(azurite, key=_WRONG_KEY, lane=lane)) as provider:
            yield provider
