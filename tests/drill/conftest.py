"""Fixtures of the drills under test."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drilling import Field
from exitdrill.emulator import Running
from sealed import Sealed, make_sealed


@pytest.fixture
def field(tmp_path: Path, azurite: Running, unique: Callable[[str], str]) -> Callable[[Running], Field]:
    """A folder for a drill from the Azurite of these tests to an S3 server."""

    def make(s3: Running) -> Field:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_"))}
        environ |= {
            "AZURE_ACCOUNT": azurite.settings["account"],
            "AZURE_ENDPOINT": azurite.settings["endpoint"],
            "AZURE_KEY": azurite.settings["key"],
            "S3_ENDPOINT": s3.settings["endpoint"],
            "S3_KEY_ID": s3.settings["access_key_id"],
            "S3_SECRET": s3.settings["secret_access_key"],
        }
        return Field(tmp_path, environ, unique("source"), unique("target"))

    return make


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A drill from directory to directory: two signers, a timestamp authority, a signed approval."""
    return make_sealed(tmp_path_factory.mktemp("sealed"), tmp_path_factory.mktemp("tsa"))
