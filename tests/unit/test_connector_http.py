"""The lean HTTP client against servers that say exactly these bytes, at exactly this point."""

import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certificates import make_certificate
from exitdrill.connector.http import CHUNK_BYTES, Headers, HttpAnswer, HttpPool, proxied
from exitdrill.errors import ConnectorError, DigestError, TransientError
from rawserver import Peer, RawServer, Script, answers

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LARGE = bytes(32 * 1024 * 1024)


_pools: list[HttpPool] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Every pool a test made is closed behind it."""
    yield
    while _pools:
        _pools.pop().close()


def _pool(server: RawServer, **more: object) -> HttpPool:
    _pools.append(HttpPool(server.url, "place", **{"read_seconds": 10.0, **more}))  # type: ignore[arg-type]
    return _pools[-1]


def _get(pool: HttpPool, target: str = "/", **more: object) -> HttpAnswer:
    return pool.send("GET", target, [], **{"action": "get it", "resource": "place:it", **more})  # type: ignore[arg-type]


def _chunks(*parts: bytes, trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailer + b"\r\n"


class TestFraming:
    @pytest.mark.parametrize(
        ("method", "answer", "body"),
        [
            ("GET", _OK, b"ok"),
            ("GET", b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", b""),
            ("GET", _chunks(b"one", b"two" * 10_000), b"one" + b"two" * 10_000),
            ("GET", _chunks(b"x", trailer=b"Checksum: 1\r\nOther: 2\r\n"), b"x"),
            (
                "GET",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA;n=v\r\n0123456789\r\n000\r\n\r\n",
                b"0123456789",
            ),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b""),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
            ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b""),
            ("PUT", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _OK, b"ok"),
            ("GET", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        ],
    )
    def test_answers_that_leave_the_connection_usable(self, method: str, answer: bytes, body: bytes) -> None:
        """However the end of an answer is told, the next one on the same connection begins right behind it."""
        with RawServer(answers(answer, answer, _OK)) as server:
            pool = _pool(server)
            for _ in range(2):
                found = pool.send(method, "/", [], action="try", resource="it")
                assert found.read() == body
                found.close()
            assert _get(pool).read() == b"ok"
            pool.close()
        assert server.accepted == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ],
    )
    def test_answers_after_which_a_connection_is_not_used_again(self, answer: bytes) -> None:
        """One that says so, one of the old protocol, and one with bytes behind it that belong to nobody."""
        with RawServer(answers(answer)) as server:
            pool = _pool(server)
            assert [_get(pool).read() for _ in range(3)] == [b"ok"] * 3
            pool.close()
        assert server.accepted == 3

    def test_a_body_that_ends_with_the_connection(self) -> None:
        """Without a length the body is all that comes; whole by `read` and in chunks."""

        def script(peer: Peer) -> None:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 700_000)

        with RawServer(script) as server:
            pool = _pool(server)
            assert _get(pool).read() == b"x" * 700_000
            chunks = list(_get(pool).chunks())
            assert b"".join(chunks) == b"x" * 700_000
            assert max(map(len, chunks)) <= CHUNK_BYTES
        assert server.accepted == 2

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: \u00b2\r\n\r\nok".encode("latin-1"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded: too\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\n: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + _OK,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + _OK,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        ],
    )
    def test_what_is_ambiguous_is_refused(self, answer: bytes) -> None:
        """Two lengths, folded lines, blanks before colons, bare line ends, other protocols: none is an answer."""
        expected = r"place:it: could not get it: ValueError"
        with RawServer(answers(answer)) as server, pytest.raises(TransientError, match=expected):
            _get(_pool(server))
        assert server.accepted == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"0x2\r\nok\r\n0\r\n\r\n",
            b"-2\r\nok\r\n0\r\n\r\n",
            b"\r\nok\r\n0\r\n\r\n",
            b"2 2\r\nok\r\n0\r\n\r\n",
            b"1_0\r\nok\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
            b"1\r\nok\r\n0\r\n\r\n",
            b"2\nok\r\n0\r\n\r\n",
            b"2" + b";" * 20_000 + b"\r\nok\r\n0\r\n\r\n",
            b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        ],
    )
    def test_chunks_that_are_none(self, body: bytes) -> None:
        """A chunk's size is hexadecimal digits and nothing else; a chunk is as long as it says; trailers end."""
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        expected = "place:it: the answer broke off"
        with RawServer(answers(answer)) as server, pytest.raises(TransientError, match=expected):
            _get(_pool(server)).read()

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsho",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
        ],
    )
    @pytest.mark.parametrize("whole", [False, True])
    def test_a_body_that_ends_early(self, answer: bytes, whole: bool) -> None:
        """Fewer bytes than announced are an error that may be tried again, never the end."""

        def script(peer: Peer) -> None:
            peer.request()
            peer.send(answer)

        with RawServer(script) as server:
            pool = _pool(server)
            found = _get(pool)
            with pytest.raises(TransientError, match="broke off"):
                found.read() if whole else list(found.chunks())
            found.close()
            assert found.length != 0 or found.headers.lower.get("transfer-encoding")

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", _chunks(b"x" * 101)])
    def test_more_than_one_would_hold(self, answer: bytes) -> None:
        """`read` has a limit."""
        with RawServer(answers(answer + b"x" * 101)) as server, pytest.raises(ConnectorError, match="more than 100"):
            _get(_pool(server)).read(100)

    def test_headers_as_they_came(self) -> None:
        """Looked up in any case, iterated in their own, several of one name joined, blanks at the ends gone."""
        headers = Headers(["x-ms-meta-CaseId: \t Z 17\t", "Via: a", "X-Empty:", "via: b"])
        assert dict(headers) == {"x-ms-meta-CaseId": "Z 17", "Via": "a, b", "X-Empty": ""}
        assert (headers["X-MS-META-CASEID"], headers.lower["via"], len(headers)) == ("Z 17", "a, b", 3)
        assert dict(Headers(["x-ms-meta-CaseId: 1"])) == {"x-ms-meta-CaseId": "1"}
        assert "nothing" not in headers
        with pytest.raises(ValueError, match="no header"):
            Headers(["Via"])  # a name seen before, without a colon

    def test_a_head_of_many_headers(self) -> None:
        """A head of 200 KB is read whole, wherever it is cut."""
        many = b"".join(b"x-ms-meta-n%d: %d\r\n" % (number, number) for number in range(8000))
        with RawServer(answers(b"HTTP/1.1 200 OK\r\n" + many + b"Content-Length: 2\r\n\r\nok")) as server:
            found = _get(_pool(server))
            assert found.read() == b"ok"
            assert found.headers["X-MS-Meta-N7999"] == "7999"
            assert len(found.headers) == 8001


class TestConnections:
    def test_what_nobody_asked_for_is_no_answer(self) -> None:
        """Bytes that come on an idle connection are not taken for the next answer."""

        def pushes(peer: Peer) -> None:
            peer.request()
            peer.send(_OK)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            peer.request()

        with RawServer(pushes, answers(_OK)) as server:
            pool = _pool(server)
            first = _get(pool)
            assert first.read() == b"ok"
            time.sleep(0.1)
            assert _get(pool).read() == b"ok"
            pool.close()
        assert server.accepted == 2

    @pytest.mark.parametrize("replay", [False, True])
    def test_a_connection_closed_while_idle_is_noticed(self, replay: bool) -> None:
        """The next request goes out on another, whether or not it may be sent twice."""

        def closes(peer: Peer) -> None:
            peer.request()
            peer.send(_OK)

        with RawServer(closes) as server:
            pool = _pool(server)
            for _ in range(3):
                assert _get(pool, replay=replay).read() == b"ok"
                time.sleep(0.05)
        assert server.accepted == 3

    def test_a_request_is_sent_again_only_where_that_is_allowed(self) -> None:
        """A kept connection that closes upon the request: a read is asked again, a write and a stream fail."""

        def closes_on_the_second(peer: Peer) -> None:
            peer.request()
            peer.send(_OK)
            peer.request()

        with RawServer(closes_on_the_second) as server:
            pool = _pool(server)
            assert _get(pool).read() == b"ok"
            assert _get(pool).read() == b"ok"
            assert server.accepted == 2
            with pytest.raises(TransientError, match="closed without an answer"):
                pool.send("PUT", "/", [("Content-Length", "1")], b"x", action="put", resource="it", replay=False)
            assert server.accepted == 2
            assert _get(pool).read() == b"ok"
            assert server.accepted == 3
            with pytest.raises(TransientError):
                pool.send("PUT", "/", [("Content-Length", "1")], iter([b"x"]), action="put", resource="it")
        assert server.accepted == 3

    def test_a_new_connection_that_closes_is_not_tried_twice(self) -> None:
        """Trying again is the caller's business, who counts it."""
        with RawServer(lambda _: None) as server, pytest.raises(TransientError, match="place:it"):
            _get(_pool(server))
        assert server.accepted == 1

    @pytest.mark.parametrize("chunked", [False, True])
    def test_an_answer_before_the_body_was_taken(self, chunked: bool) -> None:
        """A server that refuses a large body and closes is heard out."""

        def refuses(peer: Peer) -> None:
            peer.socket.recv(1000)
            peer.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")
            peer.socket.shutdown(socket.SHUT_WR)
            time.sleep(0.2)

        with RawServer(refuses) as server:
            pool = _pool(server)
            body = (_LARGE[:1_000_000] for _ in range(32)) if chunked else _LARGE
            head = [("Content-Length", str(len(_LARGE)))]
            found = pool.send("PUT", "/", head, body, action="put", resource="it", replay=False)
            assert (found.status, found.headers["retry-after"], found.read()) == (503, "7", b"busy")
            found.close()
            assert not pool._idle

    @pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
    @pytest.mark.parametrize("kind", ["bytes", "view", "chunks"])
    def test_bodies_arrive(self, size: int, kind: str) -> None:
        """In one piece, as a view of something larger, or in chunks, small ones and large."""
        got: list[bytes] = []

        def takes(peer: Peer) -> None:
            while peer.request():
                got.append(peer.body)
                peer.send(_OK)

        data = bytes(range(256)) * (size // 256 + 1)
        bodies: dict[str, bytes | memoryview | Iterable[bytes]] = {
            "bytes": data[:size],
            "view": memoryview(data)[:size],
            "chunks": (data[start : min(size, start + 70_001)] for start in range(0, size, 70_001)),
        }
        body = bodies[kind]
        with RawServer(takes) as server:
            pool = _pool(server)
            found = pool.send("PUT", "/", [("Content-Length", str(size))], body, action="put", resource="it")
            assert found.read() == b"ok"
            pool.close()
        assert got == [data[:size]]

    @pytest.mark.parametrize("error", [ValueError("theirs"), ConnectionResetError("theirs"), DigestError("theirs")])
    def test_what_the_body_raises_comes_out(self, error: Exception) -> None:
        """A body that cannot be read is no fault of the connection; the connection is not used again."""

        def breaks() -> Iterator[bytes]:
            yield b"half"
            raise error

        with RawServer(answers(_OK)) as server:
            pool = _pool(server)
            with pytest.raises(type(error), match="theirs") as caught:
                pool.send("PUT", "/", [("Content-Length", "8")], breaks(), action="put", resource="it")
            assert caught.value is error
            assert not pool._idle

    def test_closing_never_waits(self) -> None:
        """An answer let go half read: kept if the rest is little and here, closed if it is not here or is much."""

        def script(peer: Peer) -> None:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + bytes(10000))
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nsome")
            peer.request()

        def much(peer: Peer) -> None:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n" + _LARGE)

        with RawServer(script, much) as server:
            pool = _pool(server)
            first = _get(pool)
            time.sleep(0.05)
            first.close()
            first.close()
            second = _get(pool)
            assert server.accepted == 1
            began = time.monotonic()
            second.close()
            third = _get(pool)
            assert len(next(third.chunks())) > 0
            third.close()
            assert third.read() == b""
            assert time.monotonic() - began < 5
            assert not pool._idle
        assert server.accepted == 2

    def test_no_more_idle_connections_than_wanted(self) -> None:
        """What is above the limit, or comes back after the end, is closed."""
        with RawServer(answers(_OK, _OK)) as server:
            pool = _pool(server, connections=2)
            open_ones = [_get(pool) for _ in range(5)]
            last = open_ones.pop()
            assert [found.read() for found in open_ones] == [b"ok"] * 4
            assert len(pool._idle) == 2
            pool.close()
            assert not pool._idle
            assert last.read() == b"ok"
            assert not pool._idle

    def test_threads_get_their_own_answers(self) -> None:
        """Sixteen threads over one pool: each has the answer to its own request."""

        def echoes(peer: Peer) -> None:
            while head := peer.request():
                target = head.split(b" ")[1]
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

        with RawServer(echoes) as server:
            pool = _pool(server)
            with ThreadPoolExecutor(16) as threads:
                found = list(threads.map(lambda n: _get(pool, f"/{n}").read(), range(800)))
            pool.close()
        assert found == [b"/%d" % n for n in range(800)]
        assert server.accepted <= 16


class TestLimits:
    def _slow(self, before: bytes) -> Script:
        def script(peer: Peer) -> None:
            peer.request()
            peer.send(before)
            peer.request()

        return script

    @pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nConte"])
    def test_no_answer_in_time(self, before: bytes) -> None:
        """A server that says nothing more is given up, and the message says so."""
        with RawServer(self._slow(before)) as server:
            began = time.monotonic()
            with pytest.raises(TransientError, match="place:it: could not get it: no answer in time"):
                _get(_pool(server, read_seconds=0.2))
            assert 0.15 < time.monotonic() - began < 5

    def test_a_body_that_stalls(self) -> None:
        """The limit holds for each receive."""
        with RawServer(self._slow(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as server:
            found = _get(_pool(server, read_seconds=0.2))
            with pytest.raises(TransientError, match="no answer in time"):
                found.read()

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_server_that_takes_nothing(self, chunked: bool) -> None:
        """The limit holds for each send."""

        def ignores(peer: Peer) -> None:
            server.stopped.wait(10)

        with RawServer(ignores) as server:
            began = time.monotonic()
            with pytest.raises(TransientError, match="no answer in time"):
                _pool(server, read_seconds=0.2).send(
                    "PUT",
                    "/",
                    [("Content-Length", str(len(_LARGE)))],
                    iter([_LARGE]) if chunked else _LARGE,
                    action="put",
                    resource="it",
                )
            assert time.monotonic() - began < 5
            server.stopped.set()

    def test_nobody_there(self) -> None:
        """A port nobody listens on, and a name nobody has."""
        with RawServer(answers(_OK)) as server:
            url = server.url
        with pytest.raises(TransientError, match="ConnectionRefusedError"):
            _get(HttpPool(url, "place"))
        with pytest.raises(TransientError, match="gaierror"):
            _get(HttpPool("http://nobody.invalid", "place", connect_seconds=2))


class TestRequests:
    def test_a_request_goes_out_as_it_is_written(self) -> None:
        """The target byte for byte, the host with its port, the common headers and the given ones."""
        seen: list[bytes] = []

        def records(peer: Peer) -> None:
            seen.append(peer.request())
            peer.send(_OK)

        target = "/c/%2E%2E//a%20b/?x=%2F&sig=%3D"
        with RawServer(records) as server:
            pool = _pool(server, headers={"User-Agent": "me"})
            pool.send("GET", target, [("X-Caf\u00e9", "\u00e9")], action="get", resource="it").close()
            pool.close()
        authority = server.url.removeprefix("http://")
        assert seen[0].decode("latin-1").split("\r\n") == [
            f"GET {target} HTTP/1.1",
            f"Host: {authority}",
            "User-Agent: me",
            "X-Caf\u00e9: \u00e9",
        ]

    @pytest.mark.parametrize(
        ("target", "value"),
        [
            ("/a b", "x"),
            ("/a\r\nX: y", "x"),
            ("/", "x\r\nX-Evil: 1"),
            ("/", "x\nX-Evil: 1"),
            ("/", "x\r"),
            ("/", "x\0"),
            ("/", "\u20ac"),
        ],
    )
    def test_what_would_break_a_request_is_not_sent(self, target: str, value: str) -> None:
        """No line breaks in targets or headers, nothing outside Latin-1; and the error holds no credentials."""
        secret = "s3cr3t"
        headers = [("Authorization", secret), ("X", value)]
        with RawServer(answers(_OK)) as server, pytest.raises(ConnectorError, match="cannot be sent") as caught:
            _pool(server).send("GET", target, headers, action="get", resource="it")
        assert not caught.value.transient
        assert secret not in "".join(traceback.format_exception(caught.value))
        assert (caught.value.__cause__, repr(caught.value.__context__)) == (None, "None")
        assert server.accepted == 0

    def test_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether the environment names a proxy for a URL, for its scheme or for all, with its exceptions."""
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        assert not proxied("https://a.example")
        monkeypatch.setenv("https_proxy", "http://proxy:3128")
        assert proxied("https://a.example")
        assert not proxied("http://a.example")
        monkeypatch.setenv("no_proxy", "a.example,127.0.0.1")
        assert not proxied("https://a.example")
        assert not proxied("https://127.0.0.1:10000")
        monkeypatch.setenv("all_proxy", "http://proxy:3128")
        assert proxied("http://b.example")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[ssl.SSLContext, Path]]:
    """A server's context with a certificate for an address, and that certificate."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(address: str) -> tuple[ssl.SSLContext, Path]:
        certificate, private = folder / f"{address}.pem", folder / f"{address}.key"
        make_certificate(certificate, private, address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private)
        return context, certificate

    return make


class TestTls:
    def test_a_certificate_that_is_trusted(self, certificates: Callable[[str], tuple[ssl.SSLContext, Path]]) -> None:
        """Small and large bodies both ways, over one connection."""
        context, certificate = certificates("127.0.0.1")

        def echoes(peer: Peer) -> None:
            while peer.request():
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(peer.body) + peer.body)

        with RawServer(echoes, tls=context) as server:
            pool = _pool(server, ca_bundle=str(certificate))
            for size in (0, 5, 100_000, 3_000_000):
                data = bytes(range(250)) * (size // 250)
                head = [("Content-Length", str(len(data)))]
                assert pool.send("PUT", "/", head, data, action="put", resource="it").read() == data
                found = pool.send("PUT", "/", head, iter([data]), action="put", resource="it")
                assert b"".join(found.chunks()) == data
            pool.close()
        assert server.accepted == 1

    def test_certificates_that_are_not(self, certificates: Callable[[str], tuple[ssl.SSLContext, Path]]) -> None:
        """One nobody vouches for, and one for another address: refused for good, with the setting to look at."""
        for address, trusted in (("127.0.0.1", False), ("127.0.0.2", True)):
            context, certificate = certificates(address)
            with RawServer(answers(_OK), tls=context) as server:
                pool = _pool(server, ca_bundle=str(certificate) if trusted else None)
                with pytest.raises(ConnectorError, match="ca_bundle") as caught:
                    _get(pool)
                assert not caught.value.transient

    def test_a_connection_closed_while_idle(self, certificates: Callable[[str], tuple[ssl.SSLContext, Path]]) -> None:
        """Noticed before the next request, as without TLS; leftovers too."""
        context, certificate = certificates("127.0.0.1")

        def closes(peer: Peer) -> None:
            peer.request()
            peer.send(_OK)

        def pushes(peer: Peer) -> None:
            peer.request()
            peer.send(_OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            peer.request()

        with RawServer(closes, pushes, answers(_OK), tls=context) as server:
            pool = _pool(server, ca_bundle=str(certificate))
            for _ in range(3):
                assert _get(pool, replay=False).read() == b"ok"
                time.sleep(0.05)
            pool.close()
        assert server.accepted == 3

    def test_a_stall(self, certificates: Callable[[str], tuple[ssl.SSLContext, Path]]) -> None:
        """Limits hold under TLS, and in the middle of agreeing on it."""
        context, certificate = certificates("127.0.0.1")

        def silent(peer: Peer) -> None:
            peer.request()
            peer.request()

        with (
            RawServer(silent, tls=context) as server,
            pytest.raises(TransientError, match="no answer in time"),
        ):
            _get(_pool(server, ca_bundle=str(certificate), read_seconds=0.2))
        with RawServer(silent) as server:
            url = server.url.replace("http:", "https:")
            pool = HttpPool(url, "place", connect_seconds=0.2, ca_bundle=str(certificate))
            with pytest.raises(TransientError, match="no answer in time"):
                _get(pool)

    def test_certificates_from_a_folder_and_from_nowhere(self, tmp_path: Path) -> None:
        """A folder of certificates is as good as a file; one that cannot be read is told at once."""
        HttpPool("https://a.example", "place", ca_bundle=str(tmp_path))
        with pytest.raises(ConnectorError, match="place: certificates cannot be read"):
            HttpPool("https://a.example", "place", ca_bundle=str(tmp_path / "none.pem"))


def test_the_cut_sees_its_connections(tmp_path: Path) -> None:
    """After the cut the client's connections are refused, by address and by name, and counted; nothing leaks."""
    program = """
import sys
from exitdrill.connector.http import HttpPool
from exitdrill.errors import SeveredError
from exitdrill.transfer.cut import Cut, Refuser
port = int(sys.argv[1])
pools = [HttpPool(f"http://{host}:{port}", "source") for host in ("127.0.0.1", "localhost")]
print(pools[0].send("GET", "/", [], action="get", resource="it").read())
pools[0].close()
told = []
Refuser(Cut("", 0, (("127.0.0.1", port), ("localhost", port)), (), ()), told.append).enforce()
for pool in pools:
    try:
        pool.send("GET", "/", [], action="get", resource="it")
    except SeveredError as error:
        print(type(error).__name__)
print(*told)
"""
    with RawServer(answers(_OK)) as server:
        port = server.url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, port], capture_output=True, text=True, timeout=60, check=True
        )
    lines = done.stdout.splitlines()
    assert lines == ["b'ok'", "SeveredError", "SeveredError", f"127.0.0.1:{port} localhost:{port}"]
    assert done.stderr == ""
    assert server.accepted == 1
