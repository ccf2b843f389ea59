"""Fixtures every test may ask for: real servers, started when first asked for and shared by one xdist worker.

A test makes containers of its own (`unique`), so that tests of one worker never meet. A test that cannot run
here says what is missing and is skipped; with ``EXITDRILL_REQUIRE_ALL=1``, as in CI, it fails instead.
"""

import os
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from exitdrill.emulator import Running, emulator
from exitdrill.emulator.install import azurite_js, node
from exitdrill.errors import NotReadyError
from postgres import postgres_server

_REQUIRE_ALL = "EXITDRILL_REQUIRE_ALL"

# How long an example takes says more about the machine's other work than about the code; pytest-timeout bounds a test.
settings.register_profile("exitdrill", deadline=None)
settings.load_profile("exitdrill")


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The machine's key of these tests, and of the commands they start, is not that of whoever runs them."""
    folder = tmp_path_factory.mktemp("configuration")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder


def _required() -> bool:
    return os.environ.get(_REQUIRE_ALL, "") not in {"", "0"}


def _as_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: {reason}\n{_REQUIRE_ALL} is set: a test that does not run is a failure"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _required() and report.skipped and not hasattr(report, "wasxfail"):
        _as_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _required() and report.skipped:
        _as_failure(report)
    return report


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names no other test uses, good for containers and buckets anywhere."""
    return lambda prefix: f"{prefix}-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def azurite_installed() -> None:
    """Skips where Azurite is not and cannot be installed."""
    try:
        node()
        azurite_js()
    except NotReadyError as error:
        pytest.skip(f"Azurite: {error}")


@pytest.fixture(scope="session")
def azurite(azurite_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Azurite; its settings are those of a place with ``connector: azure``."""
    with emulator("azurite").start(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """SeaweedFS, which checks signatures and checksums and rewrites some keys; settings for ``connector: s3``."""
    with emulator("seaweedfs").start(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """moto, which keeps keys byte-exact and checks nothing; settings for ``connector: s3``."""
    with emulator("moto").start(tmp_path_factory.mktemp("moto")) as running:
        yield running
