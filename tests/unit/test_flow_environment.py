"""What Prefect is told, which server is found, and the template database; no Prefect is imported."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from exitdrill.errors import NotReadyError, UsageError
from exitdrill.flow import template
from exitdrill.flow.environment import client_environment, configured_url, server_environment
from exitdrill.flow.server import PrefectServer

_PROFILES = """
active = "office"
[profiles.office]
PREFECT_API_URL = "http://prefect.test:4200/api/"
[profiles.laptop]
PREFECT_LOGGING_LEVEL = "DEBUG"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "profiles.toml").write_text(_PROFILES)
    return tmp_path


def test_the_variable_comes_before_the_profile(home: Path) -> None:
    """PREFECT_API_URL wins, without its trailing slash."""
    environ = {"PREFECT_HOME": str(home), "PREFECT_API_URL": "http://127.0.0.1:1/api/"}
    assert configured_url(environ) == "http://127.0.0.1:1/api"


def test_the_active_profile_is_read(home: Path) -> None:
    """Without the variable, the active profile's server is used."""
    assert configured_url({"PREFECT_HOME": str(home)}) == "http://prefect.test:4200/api"


@pytest.mark.parametrize("profile", ["laptop", "no such profile"])
def test_a_profile_without_a_server_configures_none(home: Path, profile: str) -> None:
    """PREFECT_PROFILE chooses the profile; one without an address means that a server is started."""
    assert configured_url({"PREFECT_HOME": str(home), "PREFECT_PROFILE": profile}) is None


def test_no_profiles_file_configures_none(tmp_path: Path) -> None:
    """The usual case on an empty machine."""
    assert configured_url({"PREFECT_HOME": str(tmp_path)}) is None


def test_a_broken_profiles_file_is_a_usage_error(tmp_path: Path) -> None:
    """It is named, not passed over: the user believes a server is configured."""
    (tmp_path / "profiles.toml").write_text("active = ")
    with pytest.raises(UsageError, match="profiles cannot be read"):
        configured_url({"PREFECT_HOME": str(tmp_path)})


def test_an_address_that_cannot_be_one_is_a_usage_error() -> None:
    """Only http and https are asked."""
    server = PrefectServer(environ={"PREFECT_API_URL": "ftp://prefect.test/api"})
    with pytest.raises(UsageError, match=r"ftp://prefect\.test/api"):
        server.start()


def test_a_configured_server_that_does_not_answer_is_named() -> None:
    """Not ready, with its address and what to do; nothing is started in its place."""
    environ = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    with PrefectServer(environ=environ) as server:
        assert not server.own
        with pytest.raises(NotReadyError, match=r"http://127\.0\.0\.1:9/api.*does not answer") as caught:
            server.wait_ready(0.3)
    assert "PREFECT_API_URL" in caught.value.hint


def test_nothing_phones_home_in_client_or_server(tmp_path: Path) -> None:
    """Analytics and tracking are off in whatever imports Prefect, with or without a server of our own."""
    server = server_environment(tmp_path, migrate=False, scheduler=True)
    for environ in (client_environment("http://x/api", None, verbose=True), server):
        assert environ["DO_NOT_TRACK"] == "1"
        assert environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_the_server_sees_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in this process's environment stays there."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", "planted")
    assert "planted" not in server_environment(tmp_path, migrate=True, scheduler=False).values()


def test_importing_the_server_module_does_not_import_prefect() -> None:
    """Prefect reads its settings while it is imported, so the server's address must be there first."""
    modules = "exitdrill.flow.server, exitdrill.flow.compose, exitdrill.flow.deploy"
    code = f"import sys, {modules}; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    path = tmp_path / "migrated.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('abc')")
        connection.execute("CREATE TABLE flow (id TEXT)")
        connection.executemany("INSERT INTO flow VALUES (?)", [("x" * 500,)] * 200)
        connection.commit()
    return path


def test_a_template_is_kept_and_used(tmp_path: Path, migrated: Path) -> None:
    """What one server leaves, the next begins with; nobody else can read it."""
    kept = template.template_path(tmp_path / "cache")
    assert template.keep(migrated, kept)
    assert template.begin_with(kept, tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        assert connection.execute("SELECT count(*) FROM flow").fetchone() == (200,)
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize("offset", [0, 4096])
def test_a_damaged_template_is_thrown_away(tmp_path: Path, migrated: Path, offset: int) -> None:
    """SQLite finds the damage; no server starts on it, and the next one makes another."""
    kept = template.template_path(tmp_path / "cache")
    template.keep(migrated, kept)
    data = bytearray(kept.read_bytes())
    data[offset : offset + 4096] = b"\xff" * 4096
    kept.write_bytes(data)
    assert not template.begin_with(kept, tmp_path / "new.db")
    assert not kept.exists()
    assert not (tmp_path / "new.db").exists()


def test_a_database_without_migrations_is_no_template(tmp_path: Path) -> None:
    """One that was never brought up to date is not kept."""
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    kept = template.template_path(tmp_path / "cache")
    assert not template.keep(empty, kept)
    assert not kept.exists()


def test_a_cache_that_cannot_be_made_costs_nothing_else(tmp_path: Path, migrated: Path) -> None:
    """A file stands where the cache should be: no template, no error."""
    (tmp_path / "cache").write_text("")
    kept = template.template_path(tmp_path / "cache")
    assert not template.keep(migrated, kept)
    assert not template.begin_with(kept, tmp_path / "new.db")
