"""A migrated Prefect database, kept to start servers faster.

Building the schema takes a third of a server's start, and the result is the same every time. The first server
leaves a copy of its empty database in the user's cache, under Prefect's version; later ones begin with a copy
of that. A copy that SQLite finds damaged is thrown away, and made again.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["begin_with", "forget", "keep", "template_path"]


def template_path(cache: Path | None = None) -> Path:
    """Where the template of the installed Prefect is kept."""
    folder = cache if cache is not None else user_cache_path("exitdrill")
    return folder / f"prefect-{version('prefect')}.db"


def begin_with(template: Path, database: Path) -> bool:
    """Copy the template to a server's database. False if there is no good one; a bad one is removed."""
    try:
        shutil.copyfile(template, database)
    except FileNotFoundError:
        return False
    except OSError:
        database.unlink(missing_ok=True)
        return False
    if _sound(database):
        return True
    database.unlink(missing_ok=True)
    forget(template)
    return False


def keep(database: Path, template: Path) -> bool:
    """Copy a server's database, in use or not, to the template, at once or not at all. Whether it was done."""
    try:
        template.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=template.parent, prefix=template.name)
    except OSError:
        return False  # a cache that cannot be written costs seconds, not the drill
    os.close(handle)
    made = Path(name)
    try:
        with closing(sqlite3.connect(database, timeout=10)) as source, closing(sqlite3.connect(made)) as target:
            source.backup(target)
        if not _sound(made):
            return False
        made.replace(template)
    except (OSError, sqlite3.Error):
        return False
    finally:
        made.unlink(missing_ok=True)
    return True


def forget(template: Path) -> None:
    """Remove the template, if it can be: the next server makes another."""
    with suppress(OSError):
        template.unlink(missing_ok=True)


def _sound(database: Path) -> bool:
    """Whether SQLite finds the file whole and Prefect's migrations left their mark in it."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            whole = connection.execute("PRAGMA quick_check(1)").fetchone()
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return False
    return whole == ("ok",) and revision is not None
