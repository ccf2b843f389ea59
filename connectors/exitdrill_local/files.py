"""The file system: directories by descriptor, durability in groups, errors in our words.

Every name below the vault is opened relative to its directory's descriptor and without following a symbolic
link, so nothing in the vault can lead out of it. `Durability` collects what was written and makes it durable
in one go, because an fsync an object costs more than the object.
"""

import ctypes
import errno
import os
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from exitdrill.errors import (
    ConnectorError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyError,
    TransientError,
)

__all__ = [
    "CREATE",
    "READ",
    "Durability",
    "directory",
    "fsync_path",
    "guarded",
    "made_directory",
    "sweep",
    "sync_file_system",
    "temporary_name",
    "unlink",
    "write_all",
]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_CLASSES: dict[int, tuple[type[ConnectorError], str]] = {
    errno.ENOSPC: (NoSpaceError, "make room, or choose another path for the vault"),
    errno.EDQUOT: (NoSpaceError, "this user's quota is used up: free some of it, or have it raised"),
    errno.EFBIG: (NoSpaceError, "no file of that size is allowed here: choose another file system, or raise ulimit -f"),
    errno.EROFS: (ReadOnlyError, "mount it writable, or choose another path"),
    errno.EACCES: (PermissionDeniedError, "check the owner and mode of the directory"),
    errno.EPERM: (PermissionDeniedError, "check the owner and attributes of the directory"),
    errno.ENOENT: (NotFoundError, ""),
    errno.ENOTDIR: (NotFoundError, "a directory was expected"),
    errno.ELOOP: (PermissionDeniedError, "symbolic links in a vault are not followed"),
    errno.EMFILE: (TransientError, "too many open files: raise the limit (ulimit -n)"),
    errno.ENFILE: (TransientError, "the system has too many open files"),
    errno.EINTR: (TransientError, ""),
    errno.EAGAIN: (TransientError, ""),
    errno.ESTALE: (TransientError, "a network file system lost track of the file"),
    errno.ETIMEDOUT: (TransientError, "a network file system does not answer"),
}


@contextmanager
def guarded(resource: str, where: Path) -> Iterator[None]:
    """Turn an `OSError` into ours, naming the object and the path."""
    try:
        yield
    except OSError as exc:
        raise as_error(exc, resource, where) from exc


def as_error(exc: OSError, resource: str, where: Path) -> ConnectorError:
    """Our error for the operating system's."""
    cls, hint = _CLASSES.get(exc.errno or 0, (ConnectorError, ""))
    if cls is TransientError:
        return TransientError(f"{os.strerror(exc.errno or 0)} at {where}", resource=resource, hint=hint)
    what = f"{os.strerror(exc.errno)} at {where}" if exc.errno else f"{exc} at {where}"
    return cls(what, resource=resource, hint=hint)


@contextmanager
def directory(path: str | Path, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a directory, below another one if given. Raises OSError."""
    fd = os.open(path, DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def made_directory(name: str, parent: int) -> Iterator[tuple[int, bool]]:
    """As `directory`, made if it is not there; and whether it was made. Raises OSError."""
    made = False
    try:
        fd = os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        made = True
        fd = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield fd, made
    finally:
        os.close(fd)


def unlink(name: str, folder: int) -> None:
    """Remove a name if it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def write_all(fd: int, data: bytes) -> None:
    """Every byte; the system may take fewer at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fsync_path(path: Path) -> None:
    """Make a directory's names durable. Raises OSError."""
    with directory(path) as fd:
        os.fsync(fd)


def sync_file_system(fd: int) -> None:
    """Make everything on the file system of that descriptor durable (Linux, ``syncfs``). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_HOST = "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:64]


def temporary_name() -> str:
    """A name for a file in the making that says which process makes it."""
    return f"{_HOST}-{os.getpid()}-{secrets.token_hex(8)}"


def sweep(tmp: int) -> None:
    """Remove what processes of this machine that are gone have left in a ``tmp`` directory. Raises OSError."""
    for name in os.listdir(tmp):
        host, _, rest = name.rpartition("-")[0].rpartition("-")
        if host == _HOST and rest.isdigit() and not _alive(int(rest)):
            os.unlink(name, dir_fd=tmp)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Durability:
    """Remembers what was written and makes it durable together. Thread-safe.

    After `flush` returns, every file and every directory added before it was called survives a power failure.
    What was added and never flushed may be gone after one, in any part; the reader sees that by the size.
    """

    LIMIT = 4096
    """So many files are remembered before they are flushed unasked: memory stays bounded."""
    _THREADS = 8

    def __init__(self) -> None:
        """Nothing to do yet."""
        self._lock = Lock()
        self._flushing = Lock()
        self._failed: OSError | None = None
        self._files: list[tuple[Path, str]] = []
        self._directories: set[Path] = set()

    def add(self, folder: Path, *names: str) -> bool:
        """Files of a folder, and the folder itself; no names if one was only removed. True when it is time to flush."""
        with self._lock:
            self._files.extend((folder, name) for name in names)
            self._directories.add(folder)
            return len(self._files) >= self.LIMIT

    def flush(self) -> None:
        """Files first, directories after them: a name that is durable leads to bytes that are.

        Raises OSError; and from then on at every call, because a kernel reports a lost write only once, and an
        fsync that succeeds after one that failed proves nothing.
        """
        with self._flushing:  # whoever finds nothing left to do waits for whoever is doing it
            if self._failed is not None:
                raise self._failed
            with self._lock:
                files, self._files = self._files, []
                folders, self._directories = self._directories, set()
            try:
                with ThreadPoolExecutor(self._THREADS) as pool:
                    for _ in pool.map(_fsync_file, files):
                        pass
                    for _ in pool.map(_fsync_folder, folders):
                        pass
            except OSError as exc:
                self._failed = exc
                raise


def _fsync_file(file: tuple[Path, str]) -> None:
    folder, name = file
    try:
        fd = os.open(folder / name, READ)
    except FileNotFoundError:
        return  # replaced or deleted since
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fsync_folder(folder: Path) -> None:
    try:
        fsync_path(folder)
    except FileNotFoundError:
        return  # the container was removed since
