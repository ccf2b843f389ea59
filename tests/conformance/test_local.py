"""The suite against a directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exitdrill.connector.provider import Provider
from exitdrill.testing.conformance import ObjectStoreSuite, fresh_container
from exitdrill_local import LocalConnector, LocalSettings


class TestLocal(ObjectStoreSuite):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> Iterator[Provider]:
        with LocalConnector().open("vault", LocalSettings(path=tmp_path / "vault")) as provider:
            yield provider

    @pytest.fixture
    def container(self, provider: Provider) -> Iterator[str]:
        with fresh_container(provider) as name:
            yield name
