"""A lean HTTP/1.1 client for the bytes: pooled keep-alive connections, nothing rewritten on the way.

What general clients do and this one does not, on purpose: no redirects, no cookies, no decompression, no retries
of its own (but one: a kept connection that the server had closed), no change to the request target, which
goes out byte for byte as it was signed. What it keeps to: RFC 9112 for framing, refusing what is ambiguous
(two lengths, a folded line, a length beside chunks), because a reader that guesses takes one answer's bytes for
another's. Every connect, send and receive has a time limit. Connections are made by Python's own sockets, so that the
cut (`exitdrill.transfer.cut`) sees each of them. Answers are read by the thread that asked.

Measured against the alternatives in ``docs/adr/0011-the-lean-lane.md``.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from exitdrill.errors import ConnectorError, TransientError

__all__ = ["Headers", "HttpAnswer", "HttpPool", "proxied"]

CHUNK_BYTES = 256 * 1024
_HEAD_BYTES, _HEAD_MAX_BYTES = 32 * 1024, 256 * 1024
_LINE_MAX_BYTES = 8 * 1024
_DRAIN_BYTES = 64 * 1024
"""So much of an unread answer is read to keep its connection; more is not worth it."""
_JOINED_BYTES = 128 * 1024
_PORTS = {"http": 80, "https": 443}
_NO_BODY = frozenset({204, 304})
_CRLF = b"\r\n"


def proxied(url: str) -> bool:
    """Whether this machine's settings send requests for that URL through a proxy; this client speaks to none."""
    parts = urlsplit(url)
    return bool(getproxies().get(parts.scheme)) and not proxy_bypass(parts.hostname or "")


class Headers(Mapping[str, str]):
    """An answer's headers: looked up whatever their case, iterated in the case they came in.

    A name that came several times has its values joined by a comma (RFC 9110, section 5.3).
    """

    __slots__ = ("_names", "_values")

    def __init__(self, lines: Sequence[str]) -> None:
        """From the lines of a head after the first. Raises ValueError for a line that is no header."""
        self._values: dict[str, str] = {}
        self._names: dict[str, str] = {}
        values = self._values
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name[-1] in " \t" or name[0] in " \t":
                msg = f"no header: {line[:80]!r}"
                raise ValueError(msg)
            low = name.lower()
            if low in values:
                values[low] += ", " + value.strip(" \t")
            else:
                values[low] = value.strip(" \t")
                self._names[low] = name

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._values)

    @property
    def lower(self) -> Mapping[str, str]:
        """The same by lower-case name: the fast way."""
        return self._values


class _Connection:
    """One connection and the bytes that were received beyond what was asked for."""

    __slots__ = ("_buffer", "_end", "_start", "_tls", "socket", "used")

    def __init__(self, sock: socket.socket, tls: bool) -> None:
        self.socket = sock
        self.used = False
        self._tls = tls
        self._buffer = bytearray(_HEAD_BYTES)
        self._start = self._end = 0

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()

    def send(self, head: bytes, body: bytes | bytearray | memoryview | None) -> None:
        """The head, and the body with it if it is at hand."""
        if not body:
            self.socket.sendall(head)
        elif len(body) <= _JOINED_BYTES or self._tls:
            self.socket.sendall(head + body)
        else:
            self.socket.sendall(head, socket.MSG_MORE)
            self.socket.sendall(body)

    def head(self) -> tuple[int, Headers, bool]:
        """The next answer's status, headers, and whether it is HTTP/1.1. EOFError if there is none."""
        self._start = self._end = 0
        while True:
            if self._end == len(self._buffer):
                self._grow()
            # recv_into a slice of the buffer: an answer to a small request is here after one call
            count = self.socket.recv_into(memoryview(self._buffer)[self._end :])
            if not count:
                if self._end:
                    msg = "the answer ended in its head"
                    raise ConnectionError(msg)
                raise EOFError
            found = self._buffer.find(b"\r\n\r\n", max(0, self._end - 3), self._end + count)
            self._end += count
            if found < 0:
                continue
            status, headers, modern = _parsed(self._buffer[:found].decode("latin-1"))
            self._start = found + 4
            if 100 <= status < 200:  # noqa: PLR2004 - RFC 9110, section 15.2: informational, another follows
                self._shift()
                if self._end and (again := self._buffered_head()) is not None:
                    return again
                continue
            return status, headers, modern

    def _buffered_head(self) -> tuple[int, Headers, bool] | None:
        found = self._buffer.find(b"\r\n\r\n", 0, self._end)
        if found < 0:
            return None
        answer = _parsed(self._buffer[:found].decode("latin-1"))
        self._start = found + 4
        return answer

    def _shift(self) -> None:
        rest = self._buffer[self._start : self._end]
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _grow(self) -> None:
        if len(self._buffer) >= _HEAD_MAX_BYTES:
            msg = f"a head of more than {_HEAD_MAX_BYTES} bytes"
            raise ValueError(msg)
        self._buffer += bytes(len(self._buffer))

    def take(self, most: int) -> bytes:
        """Some of the next bytes, at most so many; empty at the end of the connection."""
        if self._start < self._end:
            end = min(self._end, self._start + most)
            data = bytes(memoryview(self._buffer)[self._start : end])
            self._start = end
            return data
        return self.socket.recv(min(most, CHUNK_BYTES))

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes. ConnectionError if there are fewer."""
        have = self._end - self._start
        if have >= count:
            return self.take(count)
        data = bytearray(count)
        view = memoryview(data)
        view[:have] = memoryview(self._buffer)[self._start : self._end]
        self._start = self._end
        while have < count:
            got = self.socket.recv_into(view[have:])
            if not got:
                msg = f"the answer ended {count - have} bytes early"
                raise ConnectionError(msg)
            have += got
        return bytes(data)

    def line(self) -> bytes:
        """The next line, without its end: of the chunked framing."""
        out = bytearray()
        while not out.endswith(_CRLF):
            if len(out) > _LINE_MAX_BYTES:
                msg = f"a line of more than {_LINE_MAX_BYTES} bytes"
                raise ValueError(msg)
            out += self.exactly(1) if self._start < self._end else self._more()
        return bytes(out[:-2])

    def _more(self) -> bytes:
        count = self.socket.recv_into(self._buffer)
        if not count:
            msg = "the answer ended between two chunks"
            raise ConnectionError(msg)
        self._start, self._end = 0, count
        return self.exactly(1)

    @property
    def spent(self) -> bool:
        """Whether nothing is left over: bytes after the end of an answer belong to nobody."""
        return self._start == self._end

    @property
    def alive(self) -> bool:
        """Whether the server has not closed it and has not sent what nobody asked for."""
        if self._tls:
            return True  # a peek would see a session ticket; a closed one fails on use
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _parsed(head: str) -> tuple[int, Headers, bool]:
    first, *lines = head.split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if (
        version not in ("HTTP/1.1", "HTTP/1.0")
        or not (code.isdecimal() and code.isascii())
        or rest[3:4] not in ("", " ")
    ):
        msg = f"no status line: {first[:80]!r}"
        raise ValueError(msg)
    return int(code), Headers(lines), version == "HTTP/1.1"


class HttpAnswer:
    """An answer whose body is still to be read: all of it at once, or in chunks, once."""

    __slots__ = ("_chunked", "_connection", "_left", "_pool", "_reusable", "headers", "status")

    def __init__(
        self, pool: HttpPool, connection: _Connection, status: int, headers: Headers, *, bodiless: bool, reusable: bool
    ) -> None:
        """Made by `HttpPool.send`. Raises ValueError for a body whose length is not clear."""
        self.status, self.headers = status, headers
        self._pool = pool
        self._connection: _Connection | None = connection
        low = headers.lower
        coding, length = low.get("transfer-encoding"), low.get("content-length")
        self._chunked = False
        self._left: int | None = None
        if bodiless:
            self._left = 0
        elif coding is not None:
            if length is not None or coding.lower() != "chunked":
                msg = f"an answer framed by {coding!r} and a length of {length!r}"
                raise ValueError(msg)
            self._chunked = True
        elif length is not None:
            if not (length.isdecimal() and length.isascii()):
                msg = f"a length of {length[:40]!r}"
                raise ValueError(msg)
            self._left = int(length)
        self._reusable = reusable and (self._chunked or self._left is not None)
        if self._left == 0:
            self._done()

    @property
    def length(self) -> int | None:
        """Bytes still to be read, where the answer says so."""
        return self._left

    def read(self, most_bytes: int = 64 * 1024 * 1024) -> bytes:
        """The whole body, or what is left of it. Raises TransientError if it ends early, ConnectorError if too long."""
        if self._left is not None and not self._chunked:
            if self._left > most_bytes:
                raise self._too_long(most_bytes)
            if self._connection is None:
                return b""
            try:
                data = self._connection.exactly(self._left)
            except (OSError, ValueError) as exc:
                raise self._broken(exc) from exc
            self._left = 0
            self._done()
            return data
        out = bytearray()
        for chunk in self.chunks():
            out += chunk
            if len(out) > most_bytes:
                raise self._too_long(most_bytes)
        return bytes(out)

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, in chunks of at most `CHUNK_BYTES`. Raises TransientError if it breaks off."""
        try:
            yield from self._framed() if self._chunked else self._plain()
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from exc

    def _plain(self) -> Iterator[bytes]:
        while self._connection is not None and self._left != 0:
            data = self._connection.take(CHUNK_BYTES if self._left is None else self._left)
            if not data:
                if self._left is None:  # framed by the end of the connection
                    self.close()
                    return
                msg = f"the answer ended {self._left} bytes early"
                raise ConnectionError(msg)
            if self._left is not None:
                self._left -= len(data)
                if self._left == 0:
                    self._done()
            yield data

    def _framed(self) -> Iterator[bytes]:
        while self._connection is not None:
            text = self._connection.line().partition(b";")[0].strip()
            size = int(text, 16) if text.isalnum() else -1
            if size < 0:
                msg = f"no chunk size: {text[:40]!r}"
                raise ValueError(msg)
            if size == 0:
                while self._connection.line():
                    pass  # trailers say nothing that is used here
                self._done()
                return
            while size:
                data = self._connection.take(size)
                if not data:
                    msg = "the answer ended in a chunk"
                    raise ConnectionError(msg)
                size -= len(data)
                yield data
            if self._connection.line():
                msg = "a chunk is longer than it says"
                raise ValueError(msg)

    def close(self) -> None:
        """Release the connection: kept if little is unread, else closed."""
        if self._connection is None:
            return
        if self._reusable and self._left is not None and self._left <= _DRAIN_BYTES:
            with suppress(OSError, ValueError):
                self._connection.exactly(self._left)
                self._done()
                return
        self._reusable = False
        self._done()

    def _done(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection, reusable=self._reusable and connection.spent)

    def _broken(self, exc: Exception) -> TransientError:
        self._reusable = False
        self._done()
        return TransientError(f"the answer broke off: {_short(exc)}", resource=self._pool.name)

    def _too_long(self, most_bytes: int) -> ConnectorError:
        self._reusable = False
        self._done()
        return ConnectorError(f"an answer of more than {most_bytes} bytes", resource=self._pool.name)


class HttpPool:
    """Connections to one server, for any number of threads.

    Args:
        url: Scheme, host and port; a path is not looked at.
        name: How messages name the server: the place.
        connect_seconds: Limit for connecting, TLS included.
        read_seconds: Limit for each send and each receive.
        connections: How many idle ones are kept.
        ca_bundle: Certificates to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        connect_seconds: float = 10.0,
        read_seconds: float = 60.0,
        connections: int = 256,
        ca_bundle: str | None = None,
    ) -> None:
        """See the class. Makes no connection. Raises ConnectorError for certificates that cannot be read."""
        parts = urlsplit(url)
        self.name = name
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self.authority = parts.netloc.rpartition("@")[2]
        """What the ``Host`` header says."""
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._idle: deque[_Connection] = deque(maxlen=None)
        self._keep = connections
        self._closed = False
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_bundle)
            except (OSError, ssl.SSLError) as exc:
                raise ConnectorError(f"certificates cannot be read: {exc}", resource=name) from exc

    def send(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | bytearray | memoryview | Iterable[bytes] | None = None,
        *,
        action: str,
        resource: str,
        replay: bool = True,
    ) -> HttpAnswer:
        """One request; the answer's body is not read yet.

        Args:
            method: As HTTP has it.
            target: Path and query, percent-encoded; sent as it is.
            headers: All of them but ``Host``; ``Content-Length`` included where there is a body.
            body: At once, or in chunks (then sent once only).
            action: What is tried, for messages: ``read the blob``.
            resource: What on, for messages.
            replay: Whether the request may go out again when a kept connection turns out to be closed.

        Raises:
            TransientError: No connection, no answer in time, or one that is not HTTP.
            ConnectorError: The server's certificate cannot be trusted, or a header cannot be sent.
        """
        head = self._head(method, target, headers)
        whole = body is None or isinstance(body, bytes | bytearray | memoryview)
        try:
            return self._exchange(method, head, body, replay=replay and whole)
        except (OSError, EOFError, ValueError) as exc:
            raise self._failed(exc, action, resource) from exc

    def close(self) -> None:
        """Let go of every idle connection; those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def give(self, connection: _Connection, *, reusable: bool) -> None:
        """Take a connection back."""
        if reusable and not self._closed and len(self._idle) < self._keep:
            connection.used = True
            self._idle.append(connection)
        else:
            connection.close()

    def _head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"{method} {target} HTTP/1.1\r\nHost: {self.authority}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        text = "".join(lines)
        if text.count("\n") != len(lines) + 1 or text.count("\r") != len(lines) + 1 or "\0" in text:
            raise ConnectorError("a header or a target with a line break cannot be sent", resource=self.name)
        try:
            return (text + "\r\n").encode("latin-1")
        except UnicodeEncodeError as exc:
            raise ConnectorError("a header with a letter outside Latin-1 cannot be sent", resource=self.name) from exc

    def _exchange(
        self, method: str, head: bytes, body: bytes | bytearray | memoryview | Iterable[bytes] | None, *, replay: bool
    ) -> HttpAnswer:
        connection = self._kept(sure=not replay) or self._connected()
        try:
            return self._ask(connection, method, head, body)
        except (ConnectionError, EOFError):
            connection.close()
            if not (connection.used and replay):
                raise
        except BaseException:
            connection.close()
            raise
        connection = self._connected()
        try:
            return self._ask(connection, method, head, body)
        except BaseException:
            connection.close()
            raise

    def _ask(
        self,
        connection: _Connection,
        method: str,
        head: bytes,
        body: bytes | bytearray | memoryview | Iterable[bytes] | None,
    ) -> HttpAnswer:
        sent = True
        try:
            if body is None or isinstance(body, bytes | bytearray | memoryview):
                connection.send(head, body)
            else:
                connection.send(head, None)
                for chunk in body:
                    connection.socket.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a large body may answer and close without reading it: hear it out.
            sent = False
        status, headers, modern = connection.head()
        keep = headers.lower.get("connection", "keep-alive" if modern else "close").lower()
        bodiless = method == "HEAD" or status in _NO_BODY
        return HttpAnswer(self, connection, status, headers, bodiless=bodiless, reusable=sent and "close" not in keep)

    def _kept(self, *, sure: bool) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not sure or connection.alive:
                return connection
            connection.close()

    def _connected(self) -> _Connection:
        sock = socket.create_connection((self._host, self._port), self._connect_seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
                sock.settimeout(self._read_seconds)
            else:
                # The kernel's own limits: Python's would cost one more system call for each send and receive.
                limit = struct.pack("ll", int(self._read_seconds), int(self._read_seconds % 1 * 1e6))
                sock.settimeout(None)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except BaseException:
            sock.close()
            raise
        return _Connection(sock, self._tls is not None)

    def _failed(self, exc: Exception, action: str, resource: str) -> ConnectorError:
        if isinstance(exc, ssl.SSLCertVerificationError):
            hint = "name the certificates to trust in ca_bundle, or find out who answers there"
            return ConnectorError(f"could not {action}: {exc.verify_message}", resource=resource, hint=hint)
        return TransientError(f"could not {action}: {_short(exc)}", resource=resource)


def _short(exc: Exception) -> str:
    if isinstance(exc, BlockingIOError | TimeoutError):
        return "no answer in time"
    if isinstance(exc, EOFError):
        return "the connection was closed without an answer"
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
