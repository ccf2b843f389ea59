"""Bytes on their way: hashed while they pass, checked before they are let through.

Both bodies can be read again by a writer that tries again: reading begins anew at 0 or at an offset where
it began before. The state of the digests is kept for those offsets, so that no byte is hashed twice into
the same sum and none is left out.
"""

from collections.abc import Callable, Iterable, Iterator

from exitdrill.errors import ConnectorError, DigestError
from exitdrill.model.digests import Comparison, DigestKind, Digests, Hasher

__all__ = ["HashingBody"]

Open = Callable[[int, int | None], Iterator[bytes]]


class HashingBody:
    """A body that hashes what passes and remembers why reading failed.

    SDKs wrap what goes wrong while they read a body in errors of their own; `failure` has the true cause.

    Args:
        size: In bytes.
        source: Gives the bytes from an offset, so many or to the end.
        kinds: Which digests to compute.
        expected: If given, the last bytes are held back until the digests of all of them agree; DigestError
            otherwise. So bytes that went bad never make a whole object.
        resource: What the bytes are, for messages.
    """

    def __init__(
        self,
        size: int,
        source: Open,
        kinds: Iterable[DigestKind] = Hasher.DEFAULT,
        expected: Digests | None = None,
        resource: str = "",
    ) -> None:
        """See the class."""
        self._size, self._source, self._expected, self._resource = size, source, expected, resource
        self._hasher = Hasher(kinds)
        self._marks: dict[int, Hasher] = {0: self._hasher.copy()}
        self.failure: ConnectorError | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return self._size

    @property
    def complete(self) -> bool:
        """Whether every byte has passed."""
        return self._hasher.length_bytes == self._size

    def digests(self) -> Digests:
        """Of all bytes. Raises DigestError if not all have passed."""
        if not self.complete:
            msg = f"{self._hasher.length_bytes} of {self._size} bytes were read"
            raise DigestError(msg, resource=self._resource)
        return self._hasher.digests()

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `exitdrill.connector.objects.Body.open`."""
        self.failure = None
        try:
            self._rewind(offset)
            yield from self._pass(self._source(offset, length))
        except ConnectorError as error:
            self.failure = error
            raise

    def _rewind(self, offset: int) -> None:
        if offset != self._hasher.length_bytes:
            nearest = max(mark for mark in self._marks if mark <= offset)
            self._hasher = self._marks[nearest].copy()
            if nearest < offset:  # a part sent before a crash: hashed here, not sent again
                for chunk in self._source(nearest, offset - nearest):
                    self._hasher.update(chunk)
        self._marks = {0: self._marks[0], offset: self._hasher.copy()}

    def _pass(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._hasher.update(chunk)
            if self.complete and self._expected is not None:
                self._check(self._expected)
            yield chunk
        if self._size == 0 and self._expected is not None:
            self._check(self._expected)

    def _check(self, expected: Digests) -> None:
        if self._hasher.digests().compare(expected) is not Comparison.EQUAL:
            raise DigestError("the bytes are not those that were put there", resource=self._resource)
