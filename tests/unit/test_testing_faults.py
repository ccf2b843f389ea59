"""The faulty network does what it is programmed to, and nothing else."""

import http.client
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from exitdrill.testing.faults import Fault, FaultKind, FaultProxy

BODY = bytes(range(256)) * 1000


class _Handler(BaseHTTPRequestHandler):
    """Answers every GET with `BODY` (chunked below ``/chunked``), every PUT with what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[str] = []  # noqa: RUF012 - reset by the fixture

    def do_GET(self) -> None:
        self.seen.append(f"{self.command} {self.path} {self.headers['Host']}")
        self.send_response(200)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(BODY), 1000):
                piece = BODY[at : at + 1000]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(BODY)

    do_HEAD = do_GET  # noqa: N815 - the base class calls it by the method

    def do_PUT(self) -> None:
        self.seen.append(f"PUT {self.path} {self.headers['Host']}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Quiet."""


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    _Handler.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
            yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    yield connection
    connection.close()


def _ask(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    client.request(method, path, body, headers={"Host": "signed.example:9"})
    answer = client.getresponse()
    return answer.status, answer.read()


def test_passes_everything_through(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """One connection carries many exchanges; the head, Host included, arrives as the client sent it."""
    for _ in range(3):
        assert _ask(client, "GET", "/a%2Fb?x=1&y=%20") == (200, BODY)
        assert _ask(client, "HEAD", "/a") == (200, b"")
        assert _ask(client, "GET", "/chunked") == (200, BODY)
        assert _ask(client, "PUT", "/p", BODY) == (201, BODY)
    assert _Handler.seen[0] == "GET /a%2Fb?x=1&y=%20 signed.example:9"
    assert proxy.requests == 12
    assert not proxy.done


def test_chunked_requests(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """A body of unknown length goes through with its framing; a corrupted byte is one of the payload."""
    client.request("PUT", "/c", iter([b"one", b"two" * 5000]), encode_chunked=True)
    assert client.getresponse().read() == b"one" + b"two" * 5000
    proxy.program(Fault(FaultKind.CORRUPT_REQUEST, at_byte=3))
    client.request("PUT", "/c", iter([b"one", b"two"]), encode_chunked=True)
    assert client.getresponse().read() == b"oneuwo"


def test_expect_100_continue(proxy: FaultProxy) -> None:
    """A client that waits before it sends the body is told to go on, once."""
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as sock:
        sock.sendall(b"PUT /e HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"body")
        answer = b""
        while not answer.endswith(b"\r\n\r\nbody"):
            piece = sock.recv(1000)
            assert piece
            answer += piece
        assert answer.startswith(b"HTTP/1.1 201")


def test_status_with_retry_after(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """The first k matching requests get the status; the upstream does not see them."""
    proxy.program(Fault(FaultKind.STATUS, "PUT", "/busy.*", count=2, status=429, retry_after_seconds=7, body=b"slow"))
    for _ in range(2):
        client.request("PUT", "/busy/x", b"data")
        answer = client.getresponse()
        assert (answer.status, answer.getheader("Retry-After"), answer.read()) == (429, "7", b"slow")
    assert _Handler.seen == []
    assert _ask(client, "PUT", "/busy/x", b"data") == (201, b"data")
    assert proxy.done == {FaultKind.STATUS: 2}


def test_truncate_and_reset(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """The body ends early: in an orderly way, or by a reset."""
    proxy.program(Fault(FaultKind.TRUNCATE, path="/t", at_byte=1000), Fault(FaultKind.RESET, path="/r", at_byte=1000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        _ask(client, "GET", "/t")
    assert caught.value.partial == BODY[:1000]
    client.close()
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        _ask(client, "GET", "/r")
    client.close()
    assert _ask(client, "GET", "/r") == (200, BODY)
    assert proxy.done == {FaultKind.TRUNCATE: 1, FaultKind.RESET: 1}


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_corrupt(proxy: FaultProxy, client: http.client.HTTPConnection, path: str) -> None:
    """Exactly one bit of one byte differs, at the place asked for, in the request asked for."""
    proxy.program(Fault(FaultKind.CORRUPT, path=path, skip=1, at_byte=123_456))
    assert _ask(client, "GET", path) == (200, BODY)
    _, got = _ask(client, "GET", path)
    assert [(at, a ^ b) for at, (a, b) in enumerate(zip(got, BODY, strict=True)) if a != b] == [(123_456, 1)]
    assert _ask(client, "GET", path) == (200, BODY)
    assert proxy.done == {FaultKind.CORRUPT: 1}


def test_close_and_lost_answer(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """Closed before the upstream saw the request, or after it carried it out."""
    for kind, reached in ((FaultKind.CLOSE, 0), (FaultKind.LOSE_ANSWER, 1)):
        proxy.program(Fault(kind))
        with pytest.raises(http.client.RemoteDisconnected):
            _ask(client, "PUT", f"/{kind}".replace(" ", ""), b"x")
        client.close()
        assert len(_Handler.seen) == reached
        assert proxy.done == {kind: 1}


def test_delay(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """The answer comes later."""
    proxy.program(Fault(FaultKind.DELAY, seconds=0.3))
    began = time.monotonic()
    assert _ask(client, "GET", "/d") == (200, BODY)
    assert time.monotonic() - began >= 0.3


def test_a_closed_proxy_refuses(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    """After `close` nothing is answered any more, on old connections or new ones; closing twice is fine."""
    assert _ask(client, "GET", "/x") == (200, BODY)
    proxy.close()
    proxy.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        _ask(client, "GET", "/x")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", proxy.port), 5)
