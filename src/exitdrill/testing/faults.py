"""A network that misbehaves on purpose: an HTTP/1.1 proxy on the loopback interface.

It stands in front of one upstream and forwards byte for byte. The request's head is passed on as the client
sent it, ``Host`` included, so that signatures over it stay valid. What goes wrong, when and how often is a list
of `Fault` values; what did go wrong is counted. Bodies stream through in bounded memory. Plain HTTP only: it
is for emulators. Framing of messages is left to `exitdrill.testing._http`.
"""

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from exitdrill.testing._http import Connection, Frame, Head, ProtocolError

__all__ = ["Fault", "FaultKind", "FaultProxy"]

_TIMEOUT_SECONDS = 60.0
_CONTINUE_WAIT_SECONDS = 1.0


class FaultKind(StrEnum):
    """What goes wrong."""

    DELAY = "delay"
    """The answer comes ``seconds`` late."""
    RESET = "reset"
    """After ``at_byte`` bytes of the answer's body the connection is reset."""
    TRUNCATE = "truncate"
    """After ``at_byte`` bytes of the answer's body the connection is closed in an orderly way."""
    CORRUPT = "corrupt"
    """The byte at ``at_byte`` of the answer's body arrives with one bit flipped."""
    CORRUPT_REQUEST = "corrupt request"
    """The byte at ``at_byte`` of the request's body goes on with one bit flipped."""
    STATUS = "status"
    """The proxy answers ``status`` itself, ``seconds`` late; the upstream sees nothing."""
    CLOSE = "close"
    """The connection is closed without an answer; the upstream sees nothing."""
    LOSE_ANSWER = "lose answer"
    """The upstream does what it was asked to; the connection is closed before its answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: FaultKind
    method: str = ".*"
    """Which methods, as a regular expression for the whole of it."""
    path: str = ".*"
    """Which request targets (path and query, as sent), as a regular expression for the whole of it."""
    skip: int = 0
    """How many matching requests are let through first."""
    count: int | None = 1
    """How many it then hits; None for all."""
    seconds: float = 0.0
    """How late an answer is."""
    at_byte: int = 0
    """Where in the body, in bytes from its start; chunk framing does not count."""
    status: int = 503
    """What is answered."""
    retry_after_seconds: int | None = None
    """The answer's ``Retry-After``."""
    body: bytes = b""
    """The answer's body."""

    def matches(self, head: Head) -> bool:
        """Whether it is about such a request."""
        return bool(re.fullmatch(self.method, head.method) and re.fullmatch(self.path, head.target, re.DOTALL))


@dataclass(slots=True)
class _Slot:
    fault: Fault
    seen: int = 0
    """How many requests it was about so far."""


class _CutError(Exception):
    """The connection to the client ends here."""


class FaultProxy:
    """The proxy; a context manager. Listens as soon as it is made.

    Args:
        host: The upstream's address.
        port: The upstream's port.
        faults: What goes wrong, first match first.
    """

    def __init__(self, host: str, port: int, *faults: Fault) -> None:
        """See the class."""
        self._upstream = (host, port)
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self.program(*faults)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True, name="fault-proxy").start()

    @property
    def url(self) -> str:
        """Where to send requests."""
        return f"http://127.0.0.1:{self.port}"

    def program(self, *faults: Fault) -> None:
        """Replace the list of faults and set every count to zero."""
        with self._lock:
            self._slots = [_Slot(fault) for fault in faults]
            self.requests = 0
            self.done: Counter[FaultKind] = Counter()

    def close(self) -> None:
        """Stop listening and break every connection."""
        with self._lock:
            self._closed = True
            victims = list(self._open)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for victim in victims:
            with suppress(OSError):
                victim.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client_socket: socket.socket) -> None:
        """One client connection, with an upstream connection of its own, until either side ends."""
        with ExitStack() as stack:
            stack.enter_context(suppress(OSError, ProtocolError, _CutError))
            client = Connection(self._adopt(client_socket, stack))
            upstream = Connection(self._adopt(socket.create_connection(self._upstream, _TIMEOUT_SECONDS), stack))
            while (head := client.read_head()) is not None and self._exchange(head, client, upstream):
                pass

    def _adopt(self, sock: socket.socket, stack: ExitStack) -> socket.socket:
        sock.settimeout(_TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(sock)
        stack.callback(self._drop, sock)
        return sock

    def _drop(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.discard(sock)
        sock.close()

    def _choose(self, head: Head) -> Fault | None:
        """The fault that hits this request, if any; counted where it is certain to take place."""
        with self._lock:
            self.requests += 1
            for slot in self._slots:
                fault, seen = slot.fault, slot.seen
                if not fault.matches(head):
                    continue
                slot.seen += 1
                if seen >= fault.skip and (fault.count is None or seen < fault.skip + fault.count):
                    return fault
            return None

    def _count(self, fault: Fault) -> None:
        with self._lock:
            self.done[fault.kind] += 1

    def _exchange(self, request: Head, client: Connection, upstream: Connection) -> bool:
        """One request and its answer; whether the connection stays open."""
        fault = self._choose(request)
        kind = fault.kind if fault else None
        if fault and kind in (FaultKind.CLOSE, FaultKind.STATUS):
            time.sleep(fault.seconds)
            self._answer_alone(fault, request, client)
            return False
        early = self._forward(request, client, upstream, fault)
        answer = early or upstream.read_final_head()
        if fault and kind is FaultKind.LOSE_ANSWER:
            for _ in upstream.body(answer, request.method):
                pass
            self._count(fault)
            raise _CutError
        if fault and kind is FaultKind.DELAY:
            time.sleep(fault.seconds)
            self._count(fault)
        client.send(answer.raw)
        for piece in self._damaged(fault, upstream.body(answer, request.method), client):
            client.send(piece)
        return early is None and request.keep_alive and answer.keep_alive and not answer.until_close(request.method)

    def _answer_alone(self, fault: Fault, request: Head, client: Connection) -> None:
        # The body is read first: an answer to a half-sent request, then a close, reaches some clients as a reset.
        if request.expects_continue:
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        for _ in client.body(request):
            pass
        self._count(fault)
        if fault.kind is FaultKind.CLOSE:
            raise _CutError
        lines = [f"HTTP/1.1 {fault.status} Fault", f"Content-Length: {len(fault.body)}", "Connection: close"]
        if fault.retry_after_seconds is not None:
            lines.append(f"Retry-After: {fault.retry_after_seconds}")
        body = b"" if request.method == "HEAD" else fault.body
        client.send("\r\n".join([*lines, "", ""]).encode() + body)

    def _forward(self, request: Head, client: Connection, upstream: Connection, fault: Fault | None) -> Head | None:
        """Pass a request on. Returns the answer's head if the upstream answered before it had the body."""
        upstream.send(request.raw)
        if request.expects_continue:
            if upstream.readable(_CONTINUE_WAIT_SECONDS):
                head = upstream.read_head()
                if head is None:
                    raise _CutError
                if head.status >= 200:
                    return head
                client.send(head.raw)
            else:
                client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces = client.body(request)
        if fault and fault.kind is FaultKind.CORRUPT_REQUEST:
            pieces = self._flip(fault, pieces)
        try:
            for piece in pieces:
                upstream.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            # The upstream has made up its mind without the rest; its answer may be there to read.
            return upstream.read_final_head()
        return None

    def _damaged(self, fault: Fault | None, pieces: Iterator[bytes], client: Connection) -> Iterator[bytes]:
        if fault is None or fault.kind not in (FaultKind.RESET, FaultKind.TRUNCATE, FaultKind.CORRUPT):
            yield from pieces
        elif fault.kind is FaultKind.CORRUPT:
            yield from self._flip(fault, pieces)
        else:
            left = fault.at_byte
            for piece in pieces:
                if isinstance(piece, Frame):
                    yield piece
                    continue
                if len(piece) > left:
                    yield piece[:left]
                    self._count(fault)
                    if fault.kind is FaultKind.RESET:
                        client.reset_on_close()
                    raise _CutError
                left -= len(piece)
                yield piece

    def _flip(self, fault: Fault, pieces: Iterator[bytes]) -> Iterator[bytes]:
        offset = 0
        for piece in pieces:
            if isinstance(piece, Frame):
                yield piece
                continue
            place = fault.at_byte - offset
            offset += len(piece)
            if 0 <= place < len(piece):
                self._count(fault)
                yield piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
            else:
                yield piece
