"""A server of scripted bytes: what comes over each connection, and when it closes, the test says."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._held = b""

    def request(self) -> bytes:
        """The next request's head, its body (of Content-Length) read too; empty at the end of the connection."""
        while b"\r\n\r\n" not in self._held:
            data = self.socket.recv(65536)
            if not data:
                return b""
            self._held += data
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")
        ]
        left = lengths[0] if lengths else 0
        while len(self._held) < left:
            data = self.socket.recv(1024 * 1024)
            if not data:
                return b""
            self._held += data
        self.body, self._held = self._held[:left], self._held[left:]
        return head

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


Script = Callable[[Peer], None]


def answers(*texts: bytes) -> Script:
    """Each request gets the next of these; after the last the connection is held until the client closes it."""

    def run(peer: Peer) -> None:
        for text in texts:
            if not peer.request():
                return
            peer.send(text)
        peer.request()

    return run


class RawServer:
    """Serves each connection by the next script, the last one for all that follow; a context manager."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self._threads: list[Thread] = []
        self.accepted = 0
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.stopped = Event()

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._threads):
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
                self.accepted += 1
                self._peers.append(sock)
                thread = Thread(target=self._serve, args=(sock, script), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, script: Script) -> None:
        with suppress(OSError):  # the client went away, as it may
            served = sock if self._tls is None else self._tls.wrap_socket(sock, server_side=True)
            with served:
                script(Peer(served))
        sock.close()
