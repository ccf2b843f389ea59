"""The Prefect server of a drill: the user's own where one is configured, else one started for the drill.

Rules. `PrefectServer.start` returns at once: a drill's clock never waits for an orchestrator to start. A server
started here listens on loopback alone, keeps everything in one private folder, sends nothing to anybody, and
ends with the process that started it, also when that is killed (`exitdrill.emulator.supervise`). Does not
import Prefect: `PrefectServer.connect` sets the environment that it reads when it is imported.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Self

from exitdrill.clock import Clock, Stopwatch, SystemClock
from exitdrill.emulator import supervise
from exitdrill.errors import NotReadyError, UsageError
from exitdrill.flow import template
from exitdrill.flow.environment import client_environment, configured_url, database, server_environment

__all__ = ["PrefectServer"]

_PORT_SECONDS = 30.0
_POLL_SECONDS = 0.1
_ASK_SECONDS = 5.0
_LOCK_SECONDS = 15.0
_GRACE_SECONDS = 5.0
_STOP_SLACK_SECONDS = 10.0
_LOG_LINES = 12
_LOG_BYTES = 200_000


class PrefectServer:
    """A Prefect server to conduct drills with.

    A context manager: leaving it stops the server, if it was started here.

    Args:
        home: The folder of a server started here; None for a temporary one that goes with it.
        scheduler: It serves schedules, not one drill: it runs all of Prefect's services, and its database is kept.
        environ: The environment to read and to set.
        cache: Where the template database is kept; None for the user's cache.
        clock: Where the waits are taken.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        scheduler: bool = False,
        environ: MutableMapping[str, str] | None = None,
        cache: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """See the class. Starts nothing."""
        self._given_home, self._scheduler = home, scheduler
        self._environ = os.environ if environ is None else environ
        self._template = template.template_path(cache)
        self._clock = clock or SystemClock()
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._templated = False
        self._url: str | None = None
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    @property
    def own(self) -> bool:
        """Whether it was started here, so that nobody else looks at it."""
        return self._home is not None

    @property
    def url(self) -> str:
        """The address of its API. Raises NotReadyError if it ended before it had one."""
        if self._url is None:
            self._url = f"http://127.0.0.1:{self._port()}/api"
        return self._url

    def start(self) -> None:
        """Begin to start a server, or choose the configured one; returns at once.

        Raises:
            UsageError: The configured address cannot be one.
            NotReadyError: No process or folder can be made.
        """
        configured = configured_url(self._environ)
        if configured is not None:
            if not configured.startswith(("http://", "https://")):
                raise UsageError(f"{configured!r} is no address of a Prefect API", expected="http://HOST:PORT/api")
            self._url = configured
            return
        try:
            self._home = self._make_home()
            self._process = self._spawn(self._home)
        except OSError as exc:
            raise NotReadyError(f"cannot be started: {exc}", resource="Prefect server") from exc

    def connect(self, *, verbose: bool = False) -> None:
        """Set this process's environment for Prefect's client. Call it before Prefect is imported.

        Raises:
            NotReadyError: The server ended before it had an address.
        """
        for name, value in client_environment(self.url, self._home, verbose=verbose).items():
            self._before.setdefault(name, self._environ.get(name))
            self._environ[name] = value

    def wait_ready(self, limit_seconds: float = 120.0) -> None:
        """Wait until the server answers. A configured one gets ten seconds at most.

        Raises:
            NotReadyError: It does not, with its address or the end of its log.
        """
        limit_seconds = limit_seconds if self.own else min(limit_seconds, 10.0)
        watch = Stopwatch(self._clock)
        problem = self._ask()
        while problem and watch.elapsed_seconds < limit_seconds:
            if self._process is not None and self._process.poll() is not None:
                problem = "it ended while it started"
                break
            self._clock.sleep(_POLL_SECONDS)
            problem = self._ask()
        if problem:
            raise self._not_ready(problem)
        if self._home is not None and not self._templated:
            self._templated = template.keep(database(self._home), self._template)

    def stop(self) -> None:
        """Stop a server started here, and put the environment back; nothing if that was done."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        for name, value in self._before.items():
            if value is None:
                self._environ.pop(name, None)
            else:
                self._environ[name] = value
        self._before.clear()
        if self._home is not None and self._given_home is None:
            shutil.rmtree(self._home, ignore_errors=True)

    def _make_home(self) -> Path:
        if self._given_home is None:
            return Path(tempfile.mkdtemp(prefix="exitdrill-prefect-"))
        self._given_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._given_home.resolve()

    def _spawn(self, home: Path) -> "subprocess.Popen[bytes]":
        (home / "port").unlink(missing_ok=True)
        if not database(home).exists():
            self._templated = template.begin_with(self._template, database(home))
        order = supervise.Order(
            (sys.executable, "-m", "exitdrill.flow.serving", str(home / "port")),
            str(home / "server.log"),
            str(home / "server.lock"),
            # what a server of one drill holds goes with it; there is nothing to save
            signal.SIGTERM if self._scheduler else signal.SIGKILL,
            _GRACE_SECONDS,
            _LOCK_SECONDS,
        )
        migrate = self._scheduler or not self._templated
        return subprocess.Popen(  # noqa: S603 - an argument vector, no shell
            [sys.executable, "-I", "-S", supervise.__file__, order.dumps()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=server_environment(home, migrate=migrate, scheduler=self._scheduler),
            start_new_session=True,
        )

    def _port(self) -> int:
        if self._home is None or self._process is None:
            raise NotReadyError("was not started", resource="Prefect server")
        path, watch = self._home / "port", Stopwatch(self._clock)
        while not path.exists():
            if self._process.poll() is not None or watch.elapsed_seconds > _PORT_SECONDS:
                raise self._not_ready("it did not get as far as taking a port")
            self._clock.sleep(_POLL_SECONDS / 5)
        return int(path.read_text(encoding="ascii"))

    def _ask(self) -> str:
        """Empty when it answers, else what is wrong."""
        request = urllib.request.Request(f"{self.url}/health")  # noqa: S310 - http or https, checked in start
        if key := self._environ.get("PREFECT_API_KEY"):
            request.add_header("Authorization", f"Bearer {key}")
        handlers = [urllib.request.ProxyHandler({})] if self.own else []
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_ASK_SECONDS) as answer:
                return "" if answer.read(1000).strip() == b"true" else "what answers there is no Prefect server"
        except urllib.error.HTTPError as exc:
            exc.close()
            return f"it answers with HTTP status {exc.code}"
        except OSError as exc:
            reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
            return f"it does not answer: {reason}"
        except ValueError as exc:
            return f"its address cannot be used: {exc}"

    def _not_ready(self, problem: str) -> NotReadyError:
        if not self.own:
            return NotReadyError(
                problem,
                resource=f"Prefect server {self._url}",
                hint="start it; without PREFECT_API_URL and Prefect profile, exitdrill starts one for the drill",
            )
        if self._process is not None and self._process.poll() == supervise.LOCKED:
            return NotReadyError(
                "another Prefect server is at work in this folder",
                resource=str(self._home),
                hint="end it, or run one server for both and set PREFECT_API_URL",
            )
        if self._templated:
            template.forget(self._template)  # in case that is why; it is made again
        log = Path(str(self._home), "server.log")
        said = log.read_bytes()[-_LOG_BYTES:].decode(errors="replace") if log.exists() else ""
        tail = "\n".join(said.splitlines()[-_LOG_LINES:])
        return NotReadyError(f"{problem}. The end of its log:\n{tail or '(empty)'}\n", resource="Prefect server")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Have the supervisor stop the server, by the end of its stdin."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_GRACE_SECONDS + _STOP_SLACK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # the kernel then sends the server its signal
        process.wait()
