"""A body as the lanes want it: of known length, with its payload hash known beforehand where somebody knows it.

Nothing is ever sent in chunks with trailers (``aws-chunked``): several S3-compatible servers store those as part of
the object.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from exitdrill.connector.objects import Body, BytesBody
from exitdrill.errors import DigestError
from exitdrill_s3.settings import MEBIBYTE

__all__ = ["BodyReader", "PiecesBody"]

_AT_ONCE_BYTES = MEBIBYTE
"""Bodies of at most so many bytes are sent in one piece."""


@dataclass(frozen=True)
class PiecesBody:
    """Bytes in memory, in pieces: what a part was read as, never joined."""

    pieces: Sequence[memoryview]

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.pieces))

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `Body.open`; gives the pieces themselves, which are buffers though not ``bytes``."""
        left = self.size - offset if length is None else length
        for piece in self.pieces:
            if offset >= len(piece):
                offset -= len(piece)
                continue
            given = piece[offset : offset + left]
            offset, left = 0, left - len(given)
            if given:
                yield given  # type: ignore[misc]


class BodyReader:
    """A stretch of a `Body` as a file that can begin again.

    Args:
        body: Where the bytes come from.
        offset: Where the stretch begins, in bytes.
        length: How long it is, in bytes.
        payload_sha256: Hexadecimal SHA-256 of it, ``UNSIGNED-PAYLOAD``, or None to have it read and hashed.
    """

    def __init__(self, body: Body, offset: int, length: int, payload_sha256: str | None = None) -> None:
        """See the class."""
        self._body, self._offset, self._length = body, offset, length
        self.payload_sha256 = payload_sha256
        self.failure: Exception | None = None
        """What reading the body raised: the SDK wraps it, and it must come out as it went in."""
        self._position = 0
        self._chunks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def __len__(self) -> int:
        """In bytes."""
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; empty at the end. DigestError if the body is not as long as it said."""
        want = self._length - self._position if size < 0 else min(size, self._length - self._position)
        try:
            data = b"".join(self._take(want))
        except Exception as exc:
            self.failure = exc
            raise
        self._position += len(data)
        return data

    def tell(self) -> int:
        """The position, in bytes from the stretch's beginning."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position; reading there opens the body again."""
        target = position + (0, self._position, self._length)[whence]
        if target != self._position:
            self.close()
            self._position = target
        return target

    def close(self) -> None:
        """Let go of the body's chunks."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks, self._rest = None, memoryview(b"")

    def content(self) -> bytes | bytearray | memoryview | Iterator[bytes]:
        """All that is left: at once if it is little or in memory already, else in chunks. Raises as `read`."""
        if type(self._body) is BytesBody:
            begin, end = self._offset + self._position, self._offset + self._length
            self._position = self._length
            data = self._body.data
            return data if (begin, end) == (0, len(data)) else memoryview(data)[begin:end]
        if self._length - self._position <= _AT_ONCE_BYTES:
            return self.read()
        return self._chunked()

    def pieces(self, size: int) -> PiecesBody:
        """The next ``size`` bytes, or all that are left, held in memory as they come. Raises as `read`."""
        want = min(size, self._length - self._position)
        try:
            out = self._take(want)
        except Exception as exc:
            self.failure = exc
            raise
        self._position += want
        return PiecesBody(out)

    def _chunked(self) -> Iterator[bytes]:
        while self._position < self._length:
            yield from self.pieces(MEBIBYTE).open()

    def _take(self, want: int) -> list[memoryview]:
        out: list[memoryview] = []
        if want > 0 and self._chunks is None:
            begin = self._offset + self._position
            left = self._length - self._position
            # Asked for all that is left, a body that streams from elsewhere need not open a range of it.
            self._chunks = self._body.open(begin, None if begin + left == self._body.size else left)
        taken = 0
        while taken < want:
            if not self._rest:
                self._rest = memoryview(self._next(self._length - self._position - taken))
            out.append(self._rest[: want - taken])
            self._rest = self._rest[len(out[-1]) :]
            taken += len(out[-1])
        return out

    def _next(self, left: int) -> bytes:
        chunks = self._chunks or iter(())
        chunk = next((c for c in chunks if c), b"")
        if not chunk or len(chunk) > left:
            gave = "more" if chunk else "fewer"
            msg = f"the body gave {gave} bytes than the {self._length} promised"
            raise DigestError(msg)
        return chunk
