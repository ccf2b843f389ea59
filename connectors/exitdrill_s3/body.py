"""A body as the SDK wants it: a file of known length, with its payload hash known beforehand.

The SDK would read a body twice on plain HTTP, once to sign it. Whoever knows the SHA-256 says so here and the
bytes are read once. Nothing is ever sent in chunks with trailers (``aws-chunked``): several S3-compatible
servers store those as part of the object.
"""

from collections.abc import Iterator

from botocore.auth import AUTH_TYPE_MAPS, UNSIGNED_PAYLOAD, S3SigV4Auth
from botocore.awsrequest import AWSRequest

from exitdrill.connector.objects import Body
from exitdrill.errors import DigestError

__all__ = ["SIGNATURE", "UNSIGNED_PAYLOAD", "BodyReader"]

SIGNATURE = "exitdrill-s3v4"
"""Name of the signer that takes a body's word for its hash."""


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
            data = self._take(want)
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

    def _take(self, want: int) -> bytes:
        if want <= 0:
            return b""
        if self._chunks is None:
            begin = self._offset + self._position
            left = self._length - self._position
            # Asked for all that is left, a body that streams from elsewhere need not open a range of it.
            self._chunks = self._body.open(begin, None if begin + left == self._body.size else left)
        out: list[memoryview] = []
        while want > 0:
            if not self._rest:
                self._rest = memoryview(self._next(self._length - self._position - sum(map(len, out))))
            out.append(self._rest[:want])
            self._rest = self._rest[want:]
            want -= len(out[-1])
        return b"".join(out)

    def _next(self, left: int) -> bytes:
        chunks = self._chunks or iter(())
        chunk = next((c for c in chunks if c), b"")
        if not chunk or len(chunk) > left:
            gave = "more" if chunk else "fewer"
            msg = f"the body gave {gave} bytes than the {self._length} promised"
            raise DigestError(msg)
        return chunk


class _PromisedPayloadAuth(S3SigV4Auth):
    """Signature version 4 with the payload hash a `BodyReader` brings along."""

    def payload(self, request: AWSRequest) -> str:
        """The hash to sign: the body's own word, or what the SDK finds."""
        promised: str | None = getattr(request.body, "payload_sha256", None)
        return promised if promised is not None else str(super().payload(request))


# Signers are looked up by name in this map; the name is ours alone, so no other client in the process changes.
AUTH_TYPE_MAPS[SIGNATURE] = _PromisedPayloadAuth
