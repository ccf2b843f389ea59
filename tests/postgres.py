"""A PostgreSQL server for tests: Debian's package, in a folder of its own, on loopback, as an unprivileged user."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START_SECONDS = 30.0
_PASSWORD = "claims pass/word%"
URL_PASSWORD = "claims%20pass%2Fword%25"


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    return found[-1].parent


def _user() -> str | None:
    """Whom the server runs as: it refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _end_with_us() -> None:
    """Have the kernel stop the server when these tests are killed (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of its database, with a password that must be quoted in one."""
    binaries, user, port = _binaries(), _user(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="exitdrill-postgres-"))
    try:
        secret = folder / "password"
        secret.write_text(_PASSWORD)
        if user:
            entry = pwd.getpwnam(user)
            for path in (folder, secret):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        data = folder / "data"
        arguments = ["-D", str(data), "-U", "exitdrill", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        made = subprocess.run(
            [str(binaries / "initdb"), *arguments, "-E", "UTF8", "--locale=C"],
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "fsync=off", f"unix_socket_directories={folder}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), *(a for s in settings for a in ("-c", s))],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_us,  # noqa: PLW1509 - one call into the kernel, no lock to inherit
            )
        try:
            _wait(server, port, folder / "log")
            yield f"postgresql://exitdrill:{URL_PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(timeout=15)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if b"ready to accept connections" in log.read_bytes():
            return
        time.sleep(0.1)
    raise AssertionError(f"PostgreSQL on port {port} did not start:\n{log.read_text(errors='replace')}")
