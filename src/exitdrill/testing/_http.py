"""HTTP/1.1 messages on a socket, as far as a proxy must understand them (RFC 9112).

Heads are kept as received. Bodies come in pieces of bounded size with their chunk framing, so that what is
sent on is what came in. Nothing here decides anything.
"""

import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Connection", "Frame", "Head", "ProtocolError"]

_MAX_HEAD_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024


class ProtocolError(Exception):
    """This is not HTTP/1.1, or more of it than fits."""


class Frame(bytes):
    """Bytes of chunk framing, which are no part of the payload."""

    __slots__ = ()


@dataclass(frozen=True)
class Head:
    """The head of a request or an answer."""

    raw: bytes
    """As received, with the empty line at its end."""

    @cached_property
    def _start(self) -> list[str]:
        parts = self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if len(parts) < 2:
            raise ProtocolError(self.raw[:80])
        return parts

    @property
    def method(self) -> str:
        """Of a request."""
        return self._start[0]

    @property
    def target(self) -> str:
        """Path and query of a request, as sent."""
        return self._start[1]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self._start[1])

    @cached_property
    def headers(self) -> dict[str, str]:
        """By lower-case name; the last of each."""
        lines = self.raw.decode("latin-1").split("\r\n")[1:]
        return {
            name.strip().lower(): value.strip() for name, sep, value in (line.partition(":") for line in lines) if sep
        }

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length_bytes(self) -> int | None:
        """``Content-Length``."""
        text = self.headers.get("content-length")
        return None if text is None else int(text)

    @property
    def keep_alive(self) -> bool:
        """Whether the sender means to go on with this connection."""
        old = self.raw.split(b"\r\n", 1)[0].find(b"HTTP/1.0") >= 0
        said = self.headers.get("connection", "").lower()
        return said == "keep-alive" if old else said != "close"

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"

    def bodiless(self, request_method: str) -> bool:
        """Whether an answer to that method has no body whatever its headers say."""
        return request_method == "HEAD" or self.status < 200 or self.status in (204, 304)

    def until_close(self, request_method: str) -> bool:
        """Whether an answer's body ends where the connection does."""
        return not self.bodiless(request_method) and not self.chunked and self.length_bytes is None


class Connection:
    """One side of the proxy."""

    def __init__(self, sock: socket.socket) -> None:
        """Works on the socket; does not own it."""
        self._socket = sock
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        """All of it. Raises OSError."""
        self._socket.sendall(data)

    def readable(self, timeout_seconds: float) -> bool:
        """Whether something has come within that time."""
        return bool(self._buffer) or bool(select.select([self._socket], [], [], timeout_seconds)[0])

    def reset_on_close(self) -> None:
        """Make the next close a reset (RST) instead of an orderly end (FIN)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def read_head(self) -> Head | None:
        """The next head; None when the connection ended between messages. Raises OSError, ProtocolError."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                msg = "a head too long"
                raise ProtocolError(msg)
            if not self._fill():
                if self._buffer:
                    msg = "the connection ended within a head"
                    raise ProtocolError(msg)
                return None
        return Head(self._take(end + 4))

    def read_final_head(self) -> Head:
        """The next head that is not an interim one. Raises OSError, ProtocolError."""
        while (head := self.read_head()) is not None:
            if head.status >= 200:
                return head
        msg = "the upstream closed without an answer"
        raise ProtocolError(msg)

    def body(self, head: Head, request_method: str | None = None) -> Iterator[bytes]:
        """The body that goes with a head, in pieces; framing as `Frame`.

        Args:
            head: Of the request, or of the answer.
            request_method: For an answer, what was asked.
        """
        if request_method is not None and head.bodiless(request_method):
            return
        if head.chunked:
            yield from self._chunks()
        elif head.length_bytes is not None:
            yield from self._exactly(head.length_bytes)
        elif request_method is not None:
            while self._buffer or self._fill():
                yield self._take(_PIECE_BYTES)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            yield Frame(line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            yield from self._exactly(size)
            yield Frame(self._line())
        while True:
            trailer = self._line()
            yield Frame(trailer)
            if trailer == b"\r\n":
                return

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer and not self._fill():
                msg = f"{count} bytes missing"
                raise ProtocolError(msg)
            piece = self._take(min(count, _PIECE_BYTES))
            count -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES or not self._fill():
                msg = "no end of line"
                raise ProtocolError(msg)
        return self._take(end + 2)

    def _fill(self) -> bool:
        data = self._socket.recv(_PIECE_BYTES)
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece
