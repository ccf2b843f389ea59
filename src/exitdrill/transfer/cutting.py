"""Cutting a stream of Arrow batches of inventory rows, in key order, into parts."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from exitdrill.errors import RunError
from exitdrill.model import human

__all__ = ["Cutter", "once"]


def once(source: Iterable[pa.RecordBatch], resource: str) -> Iterator[pa.RecordBatch]:
    """The same batches. Raises RunError where a key comes twice in the same version."""
    last: tuple[str, str | None] | None = None
    for batch in source:
        keys, versions = batch.column("key"), batch.column("version")
        pairs = [0] if last is not None and keys[0].as_py() == last[0] else []
        same = pc.equal(keys[1:], keys[:-1])
        if pc.any(same).as_py():
            pairs += [n + 1 for n, twin in enumerate(same.to_pylist()) if twin]
        for n in pairs:
            before = last if n == 0 else (keys[n - 1].as_py(), versions[n - 1].as_py())
            if (keys[n].as_py(), versions[n].as_py()) == before:
                raise RunError(f"the listing gives {human.key(keys[n].as_py(), limit=100)} twice", resource=resource)
        last = keys[-1].as_py(), versions[-1].as_py()
        yield batch


class Cutter(Iterator[pa.RecordBatch]):
    """Takes batches from a stream until a part is full; again for the next part.

    All versions of a key stay in one part.

    Args:
        source: Batches of inventory rows in key order, none empty.
        also: Facts beside the counts.
    """

    def __init__(self, source: Iterable[pa.RecordBatch], also: Mapping[str, object]) -> None:
        """See the class."""
        self._source, self._also = iter(source), also
        self._ahead: pa.RecordBatch | None = None
        self._rows = self._bytes = 0
        self._count = self._taken_bytes = 0
        self._first = self._last = ""

    def more(self, rows: int, size_bytes: int) -> bool:
        """Whether there is another part; makes ready for it, of at most so many rows and bytes."""
        self._rows, self._bytes = rows, size_bytes
        self._count = self._taken_bytes = 0
        self._fill()
        return self._ahead is not None

    def __next__(self) -> pa.RecordBatch:
        """The part's next rows."""
        self._fill()
        batch = self._ahead
        if batch is None:
            raise StopIteration
        taken = self._room(batch)
        if taken == 0:
            raise StopIteration
        part = batch.slice(0, taken)
        self._ahead = batch.slice(taken) if taken < batch.num_rows else None
        keys = part.column("key")
        self._first = keys[0].as_py() if self._count == 0 else self._first
        self._last = keys[-1].as_py()
        self._count += taken
        self._taken_bytes += pc.sum(part.column("size")).as_py()
        return part

    def _fill(self) -> None:
        if self._ahead is None:
            self._ahead = next(self._source, None)

    def _room(self, batch: pa.RecordBatch) -> int:
        """How many of these rows still belong to the part."""
        sizes: list[int] = batch.column("size").to_pylist()  # type: ignore[assignment]  # never null
        sums = list(accumulate(sizes))
        taken = min(self._rows - self._count, bisect_right(sums, self._bytes - self._taken_bytes))
        taken = max(taken, 1 if self._count == 0 else 0)
        keys = batch.column("key")
        if taken < batch.num_rows:
            last = keys[taken - 1].as_py() if taken else self._last
            while taken < batch.num_rows and keys[taken].as_py() == last:
                taken += 1
        return min(taken, batch.num_rows)

    def facts(self) -> dict[str, object]:
        """Of the part that has ended."""
        return {
            "rows": self._count,
            "bytes": self._taken_bytes,
            "first": self._first,
            "last": self._last,
            **self._also,
        }
