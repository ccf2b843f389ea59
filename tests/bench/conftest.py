"""The fast endpoints of the bench, with a little data."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.corpus import Corpus, Stored, store
from bench.fixtures.azure import azure_server, missing
from bench.fixtures.s3 import FastS3
from bench.peers import rclone
from bench.places import Places
from exitdrill.errors import NotReadyError


@pytest.fixture(scope="session")
def nginx_installed() -> None:
    """Skips where nginx is not installed."""
    if lacks := missing():
        pytest.skip(f"not installed: apt-get install {lacks}")


@pytest.fixture(scope="session")
def rclone_installed() -> None:
    """Skips where rclone is not installed."""
    try:
        rclone.binary()
    except NotReadyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Stored]:
    """Eleven hundred small objects in three folders, and three of 100 kB."""
    root = tmp_path_factory.mktemp("data")
    works = (Corpus("tiny", 1100, 300), Corpus("some", 3, 100_000))
    return {corpus.name: store(corpus, root) for corpus in works}


@pytest.fixture(scope="session")
def fast(
    nginx_installed: None, stored: Mapping[str, Stored], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Places]:
    """Both endpoints."""
    with (
        azure_server(stored.values(), tmp_path_factory.mktemp("azure")) as azure,
        FastS3().start(tmp_path_factory.mktemp("s3")) as s3,
    ):
        yield Places(azure, s3.settings, s3.settings)


@pytest.fixture
def files(stored: Mapping[str, Stored]) -> Path:
    """The folder that the endpoint serves as the account."""
    return next(iter(stored.values())).root / "benchaccount"
