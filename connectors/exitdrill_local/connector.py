"""The place: a directory of one's own, opened by its path."""

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.provider import Connector, Endpoint, Environment, Provider, Settings, Space
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import ConflictError, UsageError
from exitdrill_local.files import (
    CREATE,
    directory,
    fsync_path,
    guarded,
    sweep,
    sync_file_system,
    temporary_name,
    unlink,
    write_all,
)
from exitdrill_local.layout import CONTAINER_FILE, FORMAT, README, TMP, hashed, is_shard
from exitdrill_local.store import LocalStore

__all__ = ["LocalConnector", "LocalProvider", "LocalSettings"]


class LocalSettings(Settings):
    """Where the directory is."""

    path: Path
    """The vault's root; ``~`` is the home directory. Made when the first container is."""

    @field_validator("path")
    @classmethod
    def _expand(cls, path: Path) -> Path:
        return path.expanduser()


class LocalProvider(Provider):
    """A directory that holds containers.

    Args:
        place: Its name in the drill.
        path: The root. Symbolic links on the way to it are followed, below it none is.
        retry: How its stores try again.
    """

    def __init__(self, place: str, path: Path, retry: RetryPolicy | None = None) -> None:
        """See the class. Touches nothing."""
        super().__init__(place, retry)
        self.path = path.absolute()

    @property
    def environment(self) -> Environment:
        """Storage of one's own."""
        return Environment.PRIVATE

    def space(self) -> Space:
        """What the file system has left for this user, reserved blocks not counted. Raises ConnectorError."""
        with guarded(self.place, self.path):
            facts = os.statvfs(next(folder for folder in (self.path, *self.path.parents) if folder.exists()))
        return Space(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)

    def containers(self) -> tuple[str, ...]:
        """The names in the ``container.json`` of each, sorted. Raises ConnectorError."""
        found = []
        with guarded(self.place, self.path):
            for file in sorted(self.path.glob(f"*/{CONTAINER_FILE}")):
                name = _container(file.read_bytes())
                if file.parent.name == hashed(name):
                    found.append(name)
        return tuple(sorted(found))

    def _objects(self, container: str, capabilities: Capabilities | None) -> LocalStore:
        return LocalStore(f"{self.place}:{container}", self._folder(container), capabilities, self.retry)

    def _folder(self, container: str) -> Path:
        return self.path / hashed(container)

    def _ensure_container(self, container: str) -> bool:
        folder = self._folder(container)
        with guarded(f"{self.place}:{container}", folder):
            if not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                fsync_path(self.path.parent.resolve())
            _write_once(self.path, "README.txt", README.encode())
            try:
                folder.mkdir(mode=0o700)
                made = True
            except FileExistsError:
                made = False
            with directory(folder) as opened:
                facts = json.dumps({"container": container, "format": FORMAT}, ensure_ascii=False, sort_keys=True)
                _write_once(folder, CONTAINER_FILE, facts.encode() + b"\n")
                (folder / TMP).mkdir(mode=0o700, exist_ok=True)
                with directory(TMP, opened) as tmp:
                    sweep(tmp)
                if not made:
                    # A process that was killed may have written what it never flushed; nobody else knows which.
                    sync_file_system(opened)
            fsync_path(folder)
            fsync_path(self.path.resolve())
        return made

    def _remove_container(self, container: str) -> None:
        folder = self._folder(container)
        resource = f"{self.place}:{container}"
        with guarded(resource, folder):
            if not folder.is_dir():
                return
            if any(True for _ in self._objects(container, None).list()):
                raise ConflictError("the container is not empty", resource=resource)
            # Nothing below is anybody's object: data files without a sidecar are left over from interrupted writes.
            for child in list(folder.iterdir()):
                if child.name in (TMP, CONTAINER_FILE) or is_shard(child.name):
                    shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
            folder.rmdir()
            fsync_path(self.path.resolve())

    def _server_time(self) -> None:
        """A disk has no clock of its own; this only proves that the root can be reached, if there is one yet."""
        with guarded(self.place, self.path):
            if self.path.exists():
                with directory(self.path.resolve()):
                    return

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return ()


def _container(raw: bytes) -> str:
    """A container's name; one that is no container's if the file is damaged."""
    try:
        facts = json.loads(raw)
        return str(facts["container"])
    except (ValueError, KeyError, TypeError):
        return ""


def _write_once(folder: Path, name: str, data: bytes) -> None:
    if (folder / name).exists():
        return
    temporary = temporary_name()
    with directory(folder.resolve()) as opened:
        fd = os.open(temporary, CREATE, 0o600, dir_fd=opened)
        try:
            write_all(fd, data)
            os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=opened, dst_dir_fd=opened)
        except BaseException:
            unlink(temporary, opened)
            raise
        finally:
            os.close(fd)


class LocalConnector(Connector):
    """Opens a directory."""

    name = "local"
    title = "A directory on a disk of your own"
    roles: ClassVar[frozenset[str]] = frozenset({"source", "vault", "target"})
    settings = LocalSettings

    def open(self, place: str, settings: Settings, retry: RetryPolicy | None = None) -> LocalProvider:
        """The directory as a place. Touches nothing. Raises UsageError for another connector's settings."""
        if not isinstance(settings, LocalSettings):
            raise UsageError("these are not the settings of a local place", resource=place)
        return LocalProvider(place, settings.path, retry)
