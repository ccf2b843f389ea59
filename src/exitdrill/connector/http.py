"""A lean HTTP/1.1 client for the bytes: pooled keep-alive connections, nothing rewritten on the way.

What general clients do and this one does not, on purpose: no proxies, no redirects, no cookies, no decompression, no
retries of its own (but one: a kept connection that the server closes just then), no change to the request target,
which goes out byte for byte as it was signed. What it keeps to: RFC 9112 for framing, refusing what is ambiguous
(`wire`). Every connect, send and receive has a time limit. Connections are made by Python's own sockets, so that the
cut (`exitdrill.transfer.cut`) sees each of them. Answers are read by the thread that asked.

Measured against the alternatives in ``docs/adr/0011-the-lean-lane.md``.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from exitdrill.connector.wire import CHUNK_BYTES, GONE, Connection, Headers
from exitdrill.errors import ConnectorError, TransientError

__all__ = ["CHUNK_BYTES", "Headers", "HttpAnswer", "HttpPool", "proxied"]

RequestBody = bytes | bytearray | memoryview | Iterable[bytes] | None
"""At once, or in chunks."""

_KEPT_UNREAD_BYTES = 64 * 1024
"""So much of an unread answer may be thrown away to keep its connection."""
_TRAILERS_MAX = 100
_PORTS = {"http": 80, "https": 443}
_NO_BODY = frozenset({204, 304})
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?").fullmatch


def proxied(url: str) -> bool:
    """Whether this machine's settings send requests for that URL through a proxy; this client speaks to none."""
    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


class HttpAnswer:
    """An answer whose body is still to be read: all of it at once, or in chunks, once."""

    __slots__ = ("_chunked", "_connection", "_left", "_pool", "_resource", "_reusable", "headers", "status")

    def __init__(
        self,
        pool: HttpPool,
        connection: Connection,
        head: tuple[int, Headers, bool],
        resource: str,
        *,
        method: str,
        reusable: bool,
    ) -> None:
        """Made by `HttpPool.send`. Raises ValueError for a body whose length is not clear."""
        status, headers, modern = head
        self.status, self.headers = status, headers
        self._pool, self._resource = pool, resource
        self._connection: Connection | None = connection
        low = headers.lower
        coding, length = low.get("transfer-encoding"), low.get("content-length")
        self._chunked = False
        self._left: int | None = None
        if method == "HEAD" or status in _NO_BODY:
            self._left = 0
        elif coding is not None:
            if length is not None or coding.lower() != "chunked" or not modern:
                msg = f"an answer framed by {coding[:40]!r} and a length of {length!r}"
                raise ValueError(msg)
            self._chunked = True
        elif length is not None:
            if not (length.isdecimal() and length.isascii()):
                msg = f"a length of {length[:40]!r}"
                raise ValueError(msg)
            self._left = int(length)
        said = low.get("connection")
        keep = modern if said is None else ("close" not in said.lower() and (modern or "keep-alive" in said.lower()))
        self._reusable = reusable and keep and (self._chunked or self._left is not None)
        if self._left == 0:
            self._done()

    @property
    def length(self) -> int | None:
        """Bytes still to be read, where the answer says so."""
        return self._left

    def read(self, most_bytes: int = 64 * 1024 * 1024) -> bytes:
        """The whole body, or what is left of it. Raises TransientError if it ends early, ConnectorError if too long."""
        if self._left is None:
            out = bytearray()
            for chunk in self.chunks():
                out += chunk
                if len(out) > most_bytes:
                    raise self._too_long(most_bytes)
            return bytes(out)
        if self._left > most_bytes:
            raise self._too_long(most_bytes)
        if self._connection is None:
            return b""
        try:
            data = self._connection.exactly(self._left)
        except OSError as exc:
            raise self._broken(exc) from exc
        self._left = 0
        self._done()
        return data

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, in chunks of at most `CHUNK_BYTES`. Raises TransientError if it breaks off."""
        try:
            yield from self._framed() if self._chunked else self._plain()
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from exc

    def _plain(self) -> Iterator[bytes]:
        while self._connection is not None:
            data = self._connection.take(CHUNK_BYTES if self._left is None else self._left)
            if not data:
                if self._left is None:  # framed by the end of the connection
                    self._done()
                    return
                msg = f"the answer ended {self._left} bytes early"
                raise ConnectionError(msg)
            if self._left is not None:
                self._left -= len(data)
                if self._left == 0:
                    self._done()
            yield data

    def _framed(self) -> Iterator[bytes]:
        connection = self._connection
        while connection is not None:
            size = _chunk_size(connection.line())
            if size == 0:
                self._skip_trailers(connection)
                self._left = 0
                self._done()
                return
            while size:
                data = connection.take(size)
                if not data:
                    msg = "the answer ended in a chunk"
                    raise ConnectionError(msg)
                size -= len(data)
                yield data
                if self._connection is not connection:  # closed meanwhile
                    return
            if connection.line():
                msg = "a chunk is longer than it says"
                raise ValueError(msg)

    @staticmethod
    def _skip_trailers(connection: Connection) -> None:
        """Trailers say nothing that is used here."""
        for _ in range(_TRAILERS_MAX):
            if not connection.line():
                return
        msg = "trailers without end"
        raise ValueError(msg)

    def close(self) -> None:
        """Release the connection: kept if what is unread is little and here already, else closed. Never waits."""
        if self._connection is None:
            return
        few = self._left is not None and self._left <= _KEPT_UNREAD_BYTES
        try:
            self._reusable = self._reusable and few and self._connection.discard(self._left or 0)
        except OSError:
            self._reusable = False
        self._done()

    def _done(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection, reusable=self._reusable)

    def _broken(self, exc: Exception) -> TransientError:
        self._reusable = False
        self._done()
        return TransientError(f"the answer broke off: {_short(exc)}", resource=self._resource)

    def _too_long(self, most_bytes: int) -> ConnectorError:
        self._reusable = False
        self._done()
        return ConnectorError(f"an answer of more than {most_bytes} bytes", resource=self._resource)


class HttpPool:
    """Connections to one server, for any number of threads.

    Args:
        url: Scheme, host and port; a path is not looked at.
        name: How messages name the server: the place.
        connect_seconds: Limit for connecting, and for each step of agreeing on TLS.
        read_seconds: Limit for each send and each receive.
        connections: How many idle ones are kept.
        headers: Sent with every request.
        ca_bundle: A file or folder of certificates to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        connect_seconds: float = 10.0,
        read_seconds: float = 60.0,
        connections: int = 256,
        headers: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        """See the class. Makes no connection. Raises ConnectorError for certificates that cannot be read."""
        parts = urlsplit(url)
        self.name = name
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self.authority = parts.netloc.rpartition("@")[2]
        """What the ``Host`` header says."""
        lines = [f"{name}: {value}\r\n" for name, value in {"Host": self.authority, **(headers or {})}.items()]
        self._common = f" HTTP/1.1\r\n{''.join(lines)}"
        self._common_lines = len(lines)
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._idle: deque[Connection] = deque()
        self._keep = connections
        self._closed = False
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = _trusting(ca_bundle)
            except OSError as exc:
                raise ConnectorError(f"certificates cannot be read: {exc}", resource=name) from exc

    def send(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: RequestBody = None,
        *,
        action: str,
        resource: str,
        replay: bool = True,
    ) -> HttpAnswer:
        """One request; the answer's body is not read yet.

        Args:
            method: As HTTP has it.
            target: Path and query, percent-encoded; sent as it is.
            headers: Beside ``Host`` and those of every request; ``Content-Length`` included where there is a body.
            body: At once, or in chunks (then sent once only); what the chunks' iterator raises comes out as it is.
            action: What is tried, for messages: ``read the blob``.
            resource: What on, for messages.
            replay: Whether the request may go out again when a kept connection turns out to be closed.

        Raises:
            TransientError: No connection, no answer in time, or one that is not HTTP.
            ConnectorError: The server's certificate cannot be trusted, or a header cannot be sent.
        """
        head = self._head(method, target, headers)
        theirs: list[Exception] = []
        if not (body is None or isinstance(body, bytes | bytearray | memoryview)):
            body, replay = _noting(body, theirs), False
        try:
            return self._exchange(method, head, body, resource, replay=replay)
        except (OSError, EOFError, ValueError) as exc:
            if exc in theirs:
                raise
            raise self._failed(exc, action, resource) from exc

    def close(self) -> None:
        """Let go of every idle connection; those in use are closed when they come back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def give(self, connection: Connection, *, reusable: bool) -> None:
        """Take a connection back."""
        if reusable and len(self._idle) < self._keep:
            connection.used = True
            self._idle.append(connection)
            if self._closed:
                self.close()
        else:
            connection.close()

    def _head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers]
        text = f"{method} {target}{self._common}{''.join(lines)}\r\n"
        breaks = len(lines) + self._common_lines + 2
        if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text or " " in target:
            raise ConnectorError("a target or a header that would break the request cannot be sent", resource=self.name)
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            pass
        # Not from that error, which holds the whole head: credentials stand in it.
        raise ConnectorError("a header with a letter outside Latin-1 cannot be sent", resource=self.name)

    def _exchange(self, method: str, head: bytes, body: RequestBody, resource: str, *, replay: bool) -> HttpAnswer:
        connection = self._kept() or self._connected()
        try:
            return self._ask(connection, method, head, body, resource)
        except (EOFError, ConnectionError, ssl.SSLEOFError):
            if not (connection.used and replay):
                raise
        return self._ask(self._connected(), method, head, body, resource)

    def _ask(self, connection: Connection, method: str, head: bytes, body: RequestBody, resource: str) -> HttpAnswer:
        try:
            sent = _sent(connection, head, body)
            return HttpAnswer(self, connection, connection.head(), resource, method=method, reusable=sent)
        except BaseException:
            connection.close()
            raise

    def _kept(self) -> Connection | None:
        """An idle connection on which nothing has come since: neither its end, nor what nobody asked for."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if connection.quiet:
                return connection
            connection.close()
        return None

    def _connected(self) -> Connection:
        sock = self._dialled()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
                sock.settimeout(self._read_seconds)
            else:
                # The kernel's own limits: Python's would cost one more system call for each send and receive.
                whole, rest = divmod(max(1, int(self._read_seconds * 1e6)), 1_000_000)
                limit = struct.pack("ll", whole, rest)
                sock.settimeout(None)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except BaseException:
            sock.close()
            raise
        return Connection(sock)

    def _dialled(self) -> socket.socket:
        """A connected socket, of the first of the host's addresses that takes it."""
        failure = OSError(f"{self._host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self._connect_seconds)
                sock.connect(address)
            except OSError as exc:
                sock.close()
                failure = exc
            except BaseException:  # the cut's refusal
                sock.close()
                raise
            else:
                return sock
        raise failure

    def _failed(self, exc: Exception, action: str, resource: str) -> ConnectorError:
        if isinstance(exc, ssl.SSLCertVerificationError):
            hint = "name the certificates to trust in ca_bundle, or find out who answers there"
            return ConnectorError(f"could not {action}: {exc.verify_message}", resource=resource, hint=hint)
        return TransientError(f"could not {action}: {_short(exc)} ({self.authority})", resource=resource)


def _sent(connection: Connection, head: bytes, body: RequestBody) -> bool:
    """Send a request. False if the server closed meanwhile.

    A server that refuses a large body may answer and close without reading it: its answer is heard out.
    """
    try:
        if body is None or isinstance(body, bytes | bytearray | memoryview):
            connection.send(head, body)
            return True
        connection.send(head, None)
    except GONE:
        return False
    for chunk in body:
        try:
            connection.socket.sendall(chunk)
        except GONE:
            return False
    return True


def _noting(body: Iterable[bytes], theirs: list[Exception]) -> Iterator[bytes]:
    """The same chunks; what their iterator raises is noted, so that it is not taken for the connection's."""
    try:
        yield from body
    except Exception as exc:
        theirs.append(exc)
        raise


def _chunk_size(line: bytes) -> int:
    found = _CHUNK_SIZE(line)
    if found is None:
        msg = f"no chunk size: {line[:40]!r}"
        raise ValueError(msg)
    return int(found[1], 16)


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """A context that verifies, by these certificates or the system's; where it has none, by certifi's if installed."""
    if ca_bundle is not None:
        folder = Path(ca_bundle).is_dir()
        context = ssl.create_default_context(cafile=None if folder else ca_bundle, capath=ca_bundle if folder else None)
    else:
        context = ssl.create_default_context()
        folder_path = ssl.get_default_verify_paths().capath
        if not context.cert_store_stats()["x509_ca"] and not (folder_path and any(Path(folder_path).iterdir())):
            with suppress(ImportError):
                import certifi

                context.load_verify_locations(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _short(exc: Exception) -> str:
    if isinstance(exc, BlockingIOError | TimeoutError):
        return "no answer in time"
    if isinstance(exc, EOFError):
        return "the connection was closed without an answer"
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
