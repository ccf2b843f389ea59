"""What the shelf's own author would run: the shipped suite, with two fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exitdrill.connector.provider import Provider
from exitdrill.connector.registry import connector, connector_names
from exitdrill.testing.conformance import MIB, ObjectStoreSuite, fresh_container


class TestShelf(ObjectStoreSuite):
    large_bytes = 4 * MIB
    listing_objects = 520

    @pytest.fixture
    def provider(self, tmp_path: Path) -> Iterator[Provider]:
        shelf = connector("shelf")
        with shelf.open("shelf", shelf.settings.model_validate({"path": tmp_path / "shelf.db"})) as provider:
            yield provider

    @pytest.fixture
    def container(self, provider: Provider) -> Iterator[str]:
        with fresh_container(provider) as name:
            yield name


def test_is_found_by_its_entry_point() -> None:
    """The registry finds it beside ours, and loads it from where it was installed."""
    assert {"shelf", "local"} <= set(connector_names())
    assert type(connector("shelf")).__module__ == "exitdrill_shelf"
