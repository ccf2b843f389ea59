"""What is moved: named sets of made-up objects, on disk once, the same at every run.

Keys follow from the number of an object and sort like it, so a listing of a million needs no memory. Files lie
below ``<root>/<ACCOUNT>/<name>/<key>`` and all have one modification time, from which nginx makes their ETag. A
corpus that is `shared` is one file, and every key gives its bytes.
"""

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ACCOUNT", "KEYS", "MODIFIED", "WORKS", "Corpus", "Stored", "store"]

ACCOUNT = "benchaccount"
MODIFIED = 1_700_000_000
"""When every object was changed last, in seconds since 1970."""
KEYS = r"d\d{5}/f\d{8}\.bin"
"""A pattern of all keys and nothing else."""
KIB, MIB = 1024, 1024 * 1024
_IN_A_FOLDER = 500
_CHUNK_BYTES = 16 * MIB
_MD5_BYTES = 16


@dataclass(frozen=True, slots=True)
class Corpus:
    """So many objects of such sizes."""

    name: str
    """Also the container's name."""
    objects: int
    size_bytes: int
    """Of each; of a mix, the median."""
    largest_bytes: int = 0
    """Not 0: a mix, with a long tail up to here."""
    shared: bool = False
    """Every key has the same bytes, which are stored once."""

    def key(self, number: int) -> str:
        """The key of an object, 0 the first. Sorted as the numbers are."""
        return f"d{number // _IN_A_FOLDER:05d}/f{number:08d}.bin"

    def sizes(self) -> Iterator[int]:
        """The size of every object in bytes, in order of keys."""
        if not self.largest_bytes:
            yield from (self.size_bytes for _ in range(self.objects))
            return
        dice = random.Random(self.name)  # noqa: S311 - made-up data
        for _ in range(self.objects):
            # log-normal, as sizes of files are: most are small, most bytes are in a few
            yield min(self.largest_bytes, int(self.size_bytes * math.exp(dice.gauss(0, 2.2))))


def _works(small: int, medium: int, large: int, mix: int) -> tuple[Corpus, ...]:
    return (
        Corpus("small", small, 10 * KIB),
        Corpus("medium", medium, MIB),
        Corpus("large", large, 256 * MIB),
        Corpus("mix", mix, 20 * KIB, 64 * MIB),
    )


WORKS = {"full": _works(20_000, 2_000, 8, 6_000), "short": _works(3_000, 150, 2, 600)}
"""The works of the comparison, by mode."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A corpus on disk."""

    corpus: Corpus
    root: Path
    """Below it: the account, the container, the keys."""
    sizes: tuple[int, ...]
    """Of each object; of a shared corpus, the one."""
    md5s: bytes
    """Sixteen bytes an object, one after the other."""

    @property
    def size_bytes(self) -> int:
        """Of all objects."""
        return self.sizes[0] * self.corpus.objects if self.corpus.shared else sum(self.sizes)

    def size(self, number: int) -> int:
        """Of one object, in bytes."""
        return self.sizes[0 if self.corpus.shared else number]

    def md5(self, number: int) -> bytes:
        """Of one object."""
        at = 0 if self.corpus.shared else number * _MD5_BYTES
        return self.md5s[at : at + _MD5_BYTES]

    def etag(self, number: int) -> str:
        """As nginx makes it of a file's time and size."""
        return f"{MODIFIED:x}-{self.size(number):x}"


def store(corpus: Corpus, root: Path) -> Stored:
    """The corpus on disk: as it lies there from an earlier run if it is the same, else made anew."""
    index = root / f"{corpus.name}.json"
    container = root / ACCOUNT / corpus.name
    made = {"corpus": asdict(corpus), "modified": MODIFIED}
    if index.exists() and (facts := json.loads(index.read_text()))["made"] == made:
        return Stored(corpus, root, tuple(facts["sizes"]), (root / f"{corpus.name}.md5").read_bytes())
    index.unlink(missing_ok=True)
    shutil.rmtree(container, ignore_errors=True)
    sizes = tuple(corpus.sizes())[: 1 if corpus.shared else None]
    md5s = b"".join(_write(container / corpus.key(n), f"{corpus.name} {n}", size) for n, size in enumerate(sizes))
    (root / f"{corpus.name}.md5").write_bytes(md5s)
    index.write_text(json.dumps({"made": made, "sizes": sizes}))
    return Stored(corpus, root, sizes, md5s)


def _write(path: Path, seed: str, size: int) -> bytes:
    """One file of bytes that cannot be compressed; its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)  # noqa: S311 - made-up data
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for at in range(0, size, _CHUNK_BYTES):
            chunk = dice.randbytes(min(_CHUNK_BYTES, size - at))
            digest.update(chunk)
            file.write(chunk)
    os.utime(path, (MODIFIED, MODIFIED))
    return digest.digest()
