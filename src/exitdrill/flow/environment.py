"""What Prefect is told by environment variables, before it is imported.

Rules. Nothing phones home: analytics and telemetry are off in the client and in every server started here.
The server that the user configured is used as it is; without one, Prefect may not start one behind our back.
Does not import Prefect, because Prefect reads all of this while it is imported.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from exitdrill.errors import UsageError

__all__ = ["OWN", "QUIET", "client_environment", "configured_url", "database", "server_environment"]

OWN = "EXITDRILL_PREFECT_OWN"
"""Set where the server was started by exitdrill, so that nobody looks at it; scheduled drills inherit it."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SHOW_TELEMETRY_NOTICE": "false",
}
"""Set for every process that imports Prefect."""

_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


def configured_url(environ: Mapping[str, str]) -> str | None:
    """The API address of the Prefect server that the user configured, None if there is none.

    ``PREFECT_API_URL`` comes first, then the active profile.

    Raises:
        UsageError: The profiles file cannot be read.
    """
    if url := environ.get("PREFECT_API_URL", "").strip():
        return url.rstrip("/")
    home = Path(environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    path = Path(environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"Prefect's profiles cannot be read: {exc}", resource=str(path), hint="put it right, or set PREFECT_API_URL"
        ) from exc
    active = environ.get("PREFECT_PROFILE") or data.get("active")
    profiles = data.get("profiles")
    profile = profiles.get(active) if isinstance(profiles, dict) else None
    found = profile.get("PREFECT_API_URL") if isinstance(profile, dict) else None
    return found.strip().rstrip("/") if isinstance(found, str) and found.strip() else None


def client_environment(url: str, home: Path | None, *, verbose: bool) -> dict[str, str]:
    """What this process must have in its environment when it imports Prefect.

    Args:
        url: The server's API address.
        home: Where Prefect's client keeps its files; None where the user has their own set-up.
        verbose: Let Prefect say on stderr what it does; without it, warnings alone.
    """
    out = QUIET | {
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "WARNING",
        # what fails is told by the drill; Prefect would add a traceback for each task
        "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_LOGGING_LOG_PRINTS": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLIENT_METRICS_ENABLED": "false",
    }
    if home is not None:
        # Nobody reads the logs in a server that ends with the drill, and a dead one must not hold the drill up.
        out |= {
            OWN: "1",
            "PREFECT_HOME": str(home),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_CLIENT_MAX_RETRIES": "2",
            "PREFECT_API_REQUEST_TIMEOUT": "30",
        }
    return out


def server_environment(home: Path, *, migrate: bool, scheduler: bool) -> dict[str, str]:
    """The whole environment of a server started here: paths and Prefect's settings, no credentials.

    Args:
        home: The server's own folder, with its database.
        migrate: Bring the database up to date first.
        scheduler: It runs schedules, not a single drill: all its services are on.
    """
    out = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    out |= QUIET | {
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database(home)}",
        "PREFECT_API_DATABASE_MIGRATE_ON_START": "true" if migrate else "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    if not scheduler:
        out |= {
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
        }
    return out


def database(home: Path) -> Path:
    """The SQLite file of the server in that folder."""
    return home / "prefect.db"
