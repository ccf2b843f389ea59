"""However the network cuts an answer into pieces, the lean HTTP client reads the same answer."""

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, repeat

from hypothesis import given
from hypothesis import strategies as st

from exitdrill.connector.http import HttpAnswer, HttpPool
from exitdrill.connector.wire import Connection

_TOKEN = st.text("abcXYZ019-_.!", min_size=1, max_size=12)
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


class _Dripping(socket.socket):
    """A socket that gives no more at a time than it is told."""

    sizes: Iterator[int]

    def recv_into(self, buffer: object, nbytes: int = 0, flags: int = 0) -> int:
        room = memoryview(buffer)  # type: ignore[arg-type]
        return super().recv_into(room[: min(len(room), next(self.sizes))], nbytes, flags)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return super().recv(min(bufsize, next(self.sizes)), flags)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[bytes, int, dict[str, str], bytes]:
    """An answer's bytes, and its status, headers and body."""
    status = draw(st.sampled_from([200, 206, 404, 503]))
    names = draw(st.lists(_TOKEN, unique_by=str.lower, max_size=5))
    headers = {f"X-{name}": draw(_VALUE).strip() for name in names}
    body = draw(st.binary(max_size=500)) * draw(st.sampled_from([1, 1, 200]))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    if draw(st.booleans()):
        framed, rest = b"", body
        while rest:
            size = draw(st.integers(max(1, len(rest) // 8), len(rest)))
            extension = draw(st.sampled_from([b"", b";a", b" ; a=b"]))
            framed += b"%x%b\r\n%b\r\n" % (size, extension, rest[:size])
            rest = rest[size:]
        framed += b"0\r\n" + draw(st.sampled_from([b"", b"Trailer: x\r\n"])) + b"\r\n"
        framing = {"Transfer-Encoding": "chunked"}
    else:
        framed, framing = body, {"Content-Length": str(len(body))}
    lines = "".join(f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}\r\n" for name, value in headers.items())
    lines += "".join(f"{name}: {value}\r\n" for name, value in framing.items())
    head = f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1")
    return interim + head + framed, status, {**headers, **framing}, body


@given(_answers(), st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100_000), st.booleans(), st.booleans())
def test_cuts_change_nothing(
    answer: tuple[bytes, int, dict[str, str], bytes], first: list[int], later: int, chunks: bool, leftover: bool
) -> None:
    """Status, headers and body are the same for every cut; the connection is kept unless bytes are left over."""
    raw, status, headers, body = answer
    ours, theirs = socket.socketpair()
    dripping = _Dripping(fileno=ours.detach())
    dripping.sizes = chain(first, repeat(later))
    pool = HttpPool("http://127.0.0.1:1", "place")
    with theirs, closing(pool), closing(dripping):
        theirs.sendall(raw + b"H" * leftover)
        connection = Connection(dripping)
        found = HttpAnswer(pool, connection, connection.head(), "it", method="GET", reusable=True)
        got = b"".join(found.chunks()) if chunks else found.read()
        assert (found.status, dict(found.headers), got) == (status, headers, body)
        kept = pool._kept()
        assert (kept is None) == leftover
