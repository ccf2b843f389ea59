"""Fills a source place with made-up objects, the same ones each time.

What a drill says under ``seed:`` is a map, or a list of them::

    seed: {container: case-files, objects: 2000, bytes_max: 20000000, random: 7}

Sizes have the long tail of real stores: half are below 2 KiB, some are empty, the first is ``bytes_max``.
Keys look like an office's: folders, spaces, letters outside ASCII, characters a URL must escape. With
``hostile: true`` come keys that are legal and yet break tools: ``a//b``, ``a/`` beside ``a``, names that
differ in case or in Unicode form only, long segments; those the place itself refuses are left out.

Rules: object number *i* depends on the seed's fields and *i* alone; an object that is there already is left
as it is, so that filling again changes no ETag; memory depends on neither number nor size. It writes through
the connector's public interface. Starting emulators is not its business.
"""

import hashlib
import random
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Self

from exitdrill.connector.objects import ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.errors import ConflictError, DefinitionError, NotFoundError
from exitdrill.model.objects import Envelope, pairs
from exitdrill.plan.drill import Json

__all__ = ["Filled", "MadeUpBody", "Seed", "fill", "parse_seeds"]

_THREADS = 16
_BLOCK_BYTES = 1024 * 1024
_MEDIAN_BYTES = 2048
_SIGMA = 1.9
_EMPTY_SHARE = 0.01

_OFFICES = ("Archief", "Bezwaar & Beroep", "Personeel", "Förderung", "Зарплата", "法務", "IT-beheer", "Zaken #1")
_WORDS = (
    "besluit",
    "brief",
    "factuur (kopie)",
    "nota 100%",
    "Übersicht",
    "plan+bijlage",
    "d'accord",
    "скан",
    "rapport",
)
_CONTENT_TYPES = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xml": "application/xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain",
    ".jpg": "image/jpeg",
    ".bin": "application/octet-stream",
    "": "application/octet-stream",
}
_LANGUAGES = ("nl", "de", "fr", None)

_HOSTILE = (
    *("hostile/a//b", "hostile/a/b", "hostile/a", "hostile/a/", "hostile//", "hostile/Case", "hostile/case"),
    *("hostile/" + unicodedata.normalize(form, "é") for form in ("NFC", "NFD")),
    *("hostile/trailing.", "hostile/trailing./x", "hostile/ space ", "hostile/a%2Fb", "hostile/a+b", "hostile/a b"),
    *("hostile/back\\slash", "hostile/tab\there", "hostile/?query=1&x#frag", "hostile/…/\U0001f4c1", "hostile/~"),
    *("hostile/" + "s" * 300, "hostile/" + "ü/" * 250 + "deep"),
)


@dataclass(frozen=True, slots=True)
class Seed:
    """What one container is filled with."""

    container: str
    objects: int = 500
    """How many, beside the hostile ones."""
    bytes_max: int = 4_000_000
    """The size of the largest."""
    random: int = 1
    """Another number gives other objects."""
    hostile: bool = False
    """Add keys that break tools."""
    prefix: str = ""
    """Before every key."""

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        if not self.container or self.objects < 0 or self.bytes_max < 0:
            raise DefinitionError(
                "a seed needs a container, and numbers that are not negative", resource=f"seed of {self.container!r}"
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Self:
        """From a drill file's map. Raises DefinitionError."""
        known = {field.name: field.type for field in fields(cls)}
        kinds = {"container": str, "prefix": str, "hostile": bool}
        for name, value in data.items():
            if name not in known:
                raise DefinitionError(f"a seed has no field {name!r}", expected=f"one of {', '.join(known)}")
            kind = kinds.get(name, int)
            if type(value) is not kind:
                raise DefinitionError(
                    f"field {name!r} of a seed is {value!r}", expected=f"a value of type {kind.__name__}"
                )
        if "container" not in data:
            raise DefinitionError("a seed names no container", expected="container: NAME")
        return cls(**data)  # type: ignore[arg-type] # each checked above


@dataclass(frozen=True, slots=True)
class Filled:
    """What `fill` did in one container."""

    container: str
    objects: int
    """Made up for it, whether written now or there already."""
    bytes: int
    """In all of them."""
    written: int
    """Written by this call."""


def parse_seeds(value: Json | Mapping[str, Json]) -> tuple[Seed, ...]:
    """What a drill says under ``seed:``: a map, a list of maps, or nothing. Raises DefinitionError."""
    items = value if isinstance(value, list | tuple) else [value] if value is not None else []
    seeds = []
    for item in items:
        if not isinstance(item, Mapping):
            raise DefinitionError(f"a seed is a map, not {item!r}", expected="{container: NAME, objects: 500}")
        seeds.append(Seed.from_json(item))
    return tuple(seeds)


def fill(
    provider: Provider,
    seeds: Iterable[Seed],
    *,
    threads: int = _THREADS,
    on_written: Callable[[int], None] = lambda _bytes: None,
) -> tuple[Filled, ...]:
    """Make sure the place holds every object of the seeds.

    Args:
        provider: The place.
        seeds: What to fill which container with.
        threads: Writers at a time, 16 at most.
        on_written: Called from those threads with the size, in bytes, of each object written.

    Raises:
        ConnectorError: The place did not take an object. The rest may be there; filling again goes on.
    """
    workers = max(1, min(threads, _THREADS))
    return tuple(_fill(provider, seed, workers, on_written) for seed in seeds)


def _fill(provider: Provider, seed: Seed, threads: int, on_written: Callable[[int], None]) -> Filled:
    new = provider.ensure_container(seed.container)
    failed = threading.Event()
    with provider.objects(seed.container) as store:

        def share(worker: int) -> tuple[int, int, int]:
            objects = size = written = 0
            for request in _requests(seed, store, worker, threads):
                if failed.is_set():
                    break
                try:
                    wrote = _write(store, request, new=new)
                except BaseException:
                    failed.set()
                    raise
                objects, size, written = objects + 1, size + request.body.size, written + wrote
                if wrote:
                    on_written(request.body.size)
            return objects, size, written

        with ThreadPoolExecutor(threads, thread_name_prefix="seed") as pool:
            totals = list(pool.map(share, range(threads)))
        store.flush()
    objects, size, written = (sum(column) for column in zip(*totals, strict=True))
    return Filled(seed.container, objects, size, written)


def _write(store: ObjectStore, request: WriteRequest, *, new: bool) -> bool:
    """Whether it had to be written."""
    if not new:
        try:
            store.stat(request.key)
        except NotFoundError:
            pass
        else:
            return False
    try:
        store.write(request)
    except ConflictError:  # a write tried again, of which only the answer was lost
        return False
    return True


def _requests(seed: Seed, store: ObjectStore, worker: int, workers: int) -> Iterator[WriteRequest]:
    """Every ``workers``-th object, beginning at number ``worker``."""
    for number in range(worker, seed.objects, workers):
        yield _made_up(seed, store, number)
    hostile = (
        [key for key in _HOSTILE if not store.capabilities.keys.violations(seed.prefix + key)] if seed.hostile else []
    )
    for key in hostile[worker::workers]:
        body = MadeUpBody(f"{seed.random}/{key}", 64)
        yield WriteRequest(seed.prefix + key, body, Envelope(content_type="application/octet-stream"))


def _made_up(seed: Seed, store: ObjectStore, number: int) -> WriteRequest:
    dice = random.Random(f"{seed.random}/{seed.container}/{number}")  # noqa: S311 - the same each time, on purpose
    suffix = dice.choice(tuple(_CONTENT_TYPES))
    folder = f"{dice.choice(_OFFICES)}/{2015 + dice.randrange(11)}/{dice.randrange(40):02}"
    key = f"{seed.prefix}{folder}/{dice.choice(_WORDS)} {number:07}{suffix}"
    size = min(seed.bytes_max, int(dice.lognormvariate(0, _SIGMA) * _MEDIAN_BYTES))
    if dice.random() < _EMPTY_SHARE:
        size = 0
    if number == 0:
        size = seed.bytes_max
    envelope = _envelope(dice, suffix, number, tags=store.capabilities.envelope.tags_max > 0)
    return WriteRequest(key, MadeUpBody(f"{seed.random}/{key}", size), envelope)


def _envelope(dice: random.Random, suffix: str, number: int, *, tags: bool) -> Envelope:
    language, described, labelled = dice.choice(_LANGUAGES), dice.random() < 0.3, dice.random() < 0.1  # noqa: PLR2004 - shares
    user = {"case_number": f"Z-{number:07}", "retention_years": str(dice.choice((5, 7, 20)))} if described else {}
    return Envelope(
        content_type=_CONTENT_TYPES[suffix],
        content_language=language,
        content_disposition=f'attachment; filename="{number}{suffix}"' if described else None,
        cache_control="no-cache" if labelled else None,
        user=pairs(user),
        tags=pairs({"class": dice.choice(("ordinary", "sensitive"))}) if labelled and tags else (),
    )


class MadeUpBody:
    """Bytes that follow from a name and a size, made as they are read.

    Args:
        name: Other names, other bytes.
        size: How many, in bytes.
    """

    def __init__(self, name: str, size: int) -> None:
        """See the class."""
        self._name = name
        self._size = size

    @property
    def size(self) -> int:
        """In bytes."""
        return self._size

    def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `exitdrill.connector.objects.Body.open`."""
        end = self._size if length is None else min(self._size, offset + length)
        while offset < end:
            block, skip = divmod(offset, _BLOCK_BYTES)
            data = self._block(block)[skip : skip + end - offset]
            offset += len(data)
            yield data

    def _block(self, number: int) -> bytes:
        """SHAKE-128 (FIPS 202) of name and number; half a GB a second, and the same on every Python."""
        size = min(_BLOCK_BYTES, self._size - number * _BLOCK_BYTES)
        return hashlib.shake_128(f"{number}/{self._name}".encode()).digest(size)
