"""HTTP/1.1 on one connection: heads, and the bytes behind them. `http` makes requests of it.

Rules: framing as RFC 9112 has it, and what is ambiguous is refused with ValueError: folded lines, bare line ends,
names that are no tokens, heads without end. A reader that guesses takes one answer's bytes for another's.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

__all__ = ["CHUNK_BYTES", "GONE", "Connection", "Headers"]

CHUNK_BYTES = 512 * 1024
GONE = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What sending raises where the far end has closed."""
_HEAD_BYTES, _HEAD_MAX_BYTES = 32 * 1024, 256 * 1024
_LINE_MAX_BYTES = 8 * 1024
_JOINED_BYTES = 128 * 1024
_INTERIM_MAX = 16
_NAMES_MAX = 4096
_HEAD_END, _CRLF = b"\r\n\r\n", b"\r\n"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_MSG_MORE = getattr(socket, "MSG_MORE", 0)

_lower_names: dict[str, str] = {}
"""Names seen, all of them tokens, in lower case: a server sends the same ones every time."""


class Headers(Mapping[str, str]):
    """An answer's headers: looked up whatever their case, iterated in the case they came in.

    A name that came several times has its values joined by a comma (RFC 9110, section 5.3).
    """

    __slots__ = ("_lines", "lower")

    def __init__(self, lines: Sequence[str]) -> None:
        """From the lines of a head after the first. Raises ValueError for a line that is no header."""
        self._lines = lines
        parts = [line.partition(":") for line in lines]
        try:  # the common case, and cheaper: names seen before, each once
            values = {_lower_names[name]: value.strip(" \t") for name, colon, value in parts if colon}
        except KeyError:
            values = {}
        if len(values) != len(lines):
            values = _joined(lines)
        self.lower: Mapping[str, str] = values
        """The same by lower-case name: the fast way."""

    def __getitem__(self, name: str) -> str:
        return self.lower[name.lower()]

    def __iter__(self) -> Iterator[str]:
        names: dict[str, str] = {}
        for line in self._lines:
            name = line.partition(":")[0]
            names.setdefault(name.lower(), name)
        return iter(names.values())

    def __len__(self) -> int:
        return len(self.lower)


def _joined(lines: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN(name):
            msg = f"no header: {line[:80]!r}"
            raise ValueError(msg)
        low, text = name.lower(), value.strip(" \t")
        if len(_lower_names) < _NAMES_MAX:
            _lower_names[name] = low
        values[low] = f"{values[low]}, {text}" if low in values else text
    return values


class Connection:
    """One connection, and the bytes received beyond what was asked for."""

    __slots__ = ("_buffer", "_end", "_poll", "_start", "_tls", "_view", "socket", "used")

    def __init__(self, sock: socket.socket) -> None:
        """Owns the socket from here on."""
        self.socket = sock
        self.used = False
        """Whether an answer has come over it before."""
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._buffer = bytearray(_HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def close(self) -> None:
        """Close it."""
        with suppress(OSError):
            self.socket.close()

    @property
    def quiet(self) -> bool:
        """Whether nothing is there to be read: no bytes that belong to nobody, and no end of the connection."""
        return self._start == self._end and not self._poll.poll(0) and (self._tls is None or not self._tls.pending())

    def send(self, head: bytes, body: bytes | bytearray | memoryview | None) -> None:
        """The head, and the body with it."""
        if not body:
            self.socket.sendall(head)
        elif len(body) <= _JOINED_BYTES:
            self.socket.sendall(head + body)
        elif self._tls is not None:
            self.socket.sendall(head)
            self.socket.sendall(body)
        else:
            self.socket.sendall(head, _MSG_MORE)
            self.socket.sendall(body)

    def head(self) -> tuple[int, Headers, bool]:
        """The next answer's status, headers, and whether it is HTTP/1.1. EOFError if there is none."""
        for _ in range(_INTERIM_MAX):
            end = self._head_end()
            status, headers, modern = _parsed(str(self._view[self._start : end], "latin-1"))
            self._start = end + len(_HEAD_END)
            if status >= 200:  # noqa: PLR2004 - RFC 9110, section 15.2: before it, 1xx are interim
                return status, headers, modern
            if status == 101:  # noqa: PLR2004 - nobody asked to switch protocols
                break
        msg = "interim answers without end"
        raise ValueError(msg)

    def _head_end(self) -> int:
        """Where the next head ends, received as far as it takes."""
        if self._start == self._end:
            self._start = self._end = 0
        looked = self._start
        while True:
            found = self._buffer.find(_HEAD_END, looked, self._end)
            if found >= 0:
                return found
            looked = max(self._start, self._end - 3)
            if self._end == len(self._buffer):
                looked -= self._start
                self._make_room()
            # The whole room: an answer to a small request is here after one call.
            count = self.socket.recv_into(self._view[self._end :])
            if not count:
                if self._end > self._start:
                    msg = "the answer ended in its head"
                    raise ConnectionError(msg)
                raise EOFError
            self._end += count

    def _make_room(self) -> None:
        held = self._view[self._start : self._end]
        if len(held) >= _HEAD_MAX_BYTES:
            msg = f"a head of more than {_HEAD_MAX_BYTES} bytes"
            raise ValueError(msg)
        buffer = bytearray(max(_HEAD_BYTES, 2 * len(held)))
        buffer[: len(held)] = held
        self._start, self._end = 0, len(held)
        self._buffer, self._view = buffer, memoryview(buffer)

    def take(self, most: int) -> bytes:
        """Some of the next bytes, at most so many; empty at the end of the connection."""
        if self._start < self._end:
            end = min(self._end, self._start + most)
            data = bytes(self._view[self._start : end])
            self._start = end
            return data
        return self.socket.recv(min(most, CHUNK_BYTES))

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes. ConnectionError if there are fewer."""
        have = self._end - self._start
        if have >= count:
            return self.take(count)
        data = bytearray(count)
        with memoryview(data) as view:
            view[:have] = self._view[self._start : self._end]
            self._start = self._end
            while have < count:
                got = self.socket.recv_into(view[have:])
                if not got:
                    msg = f"the answer ended {count - have} bytes early"
                    raise ConnectionError(msg)
                have += got
        return bytes(data)

    def discard(self, count: int) -> bool:
        """Throw away the next ``count`` bytes if they are here already; False if they are not."""
        held = min(count, self._end - self._start)
        self._start += held
        count -= held
        with suppress(BlockingIOError):
            while count and self._tls is None:
                got = len(self.socket.recv(min(count, CHUNK_BYTES), socket.MSG_DONTWAIT))
                if not got:
                    break
                count -= got
        return count == 0

    def line(self) -> bytes:
        """The next line, without its end: of the chunked framing."""
        while True:
            found = self._buffer.find(_CRLF, self._start, self._end)
            if (self._end if found < 0 else found) - self._start > _LINE_MAX_BYTES:
                msg = f"a line of more than {_LINE_MAX_BYTES} bytes"
                raise ValueError(msg)
            if found >= 0:
                line = bytes(self._view[self._start : found])
                self._start = found + len(_CRLF)
                return line
            held = bytes(self._view[self._start : self._end])
            self._view[: len(held)] = held
            self._start, self._end = 0, len(held)
            count = self.socket.recv_into(self._view[self._end :])
            if not count:
                msg = "the answer ended between two chunks"
                raise ConnectionError(msg)
            self._end += count


def _parsed(head: str) -> tuple[int, Headers, bool]:
    first, *lines = head.split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not _is_status(code) or rest[3:4] not in ("", " "):
        msg = f"no status line: {first[:80]!r}"
        raise ValueError(msg)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
        msg = "a head with line ends, or a NUL, in the middle of a line"
        raise ValueError(msg)
    return int(code), Headers(lines), version == "HTTP/1.1"


def _is_status(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isdecimal() and "1" <= code[0] <= "5"  # noqa: PLR2004 - RFC 9112
