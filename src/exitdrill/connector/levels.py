"""Dividing a container by its keys, so that its parts can be listed side by side.

A look at one level (a listing that stops at a slash) gives the keys there and the prefixes of those below. From it
come pieces in key order: prefixes, each to be listed by itself, and entries that the look has given already. Rules:
every key that was there is in exactly one piece; no two pieces overlap, and one ends before the next begins, by the
order of the UTF-8 bytes; where that cannot be had with a few requests, the one piece is the whole.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from exitdrill.model.objects import ObjectEntry

__all__ = ["Level", "Piece", "divide"]

_PAGES = 4
"""Requests at most for one level: a level larger than that is not worth more."""
_DEPTH = 8
"""How many levels that hold a single prefix are gone down at most."""

Piece = str | tuple[ObjectEntry, ...]
"""A prefix to be listed by itself, or entries that are known already."""


@dataclass(frozen=True, slots=True)
class Level:
    """One page of a listing that stops at the first slash behind a prefix."""

    entries: Sequence[ObjectEntry]
    """The keys without a slash there."""
    prefixes: Sequence[str]
    """What the other keys begin with, up to and with that slash."""
    token: str | None
    """Of the next page; None after the last."""


def divide(look: Callable[[str, str | None], Level], prefix: str, most: int) -> tuple[Piece, ...]:
    """The keys that begin with a prefix, as pieces.

    Args:
        look: One page of a level, by prefix and token.
        prefix: Which keys.
        most: How many prefixes at most.
    """
    return _divided(look, prefix, most, _DEPTH)


def _divided(look: Callable[[str, str | None], Level], prefix: str, most: int, depth: int) -> tuple[Piece, ...]:
    found = _level(look, prefix)
    if found is None:
        return (prefix,)
    entries, prefixes = found
    if len(prefixes) == 1 and depth:
        inner = _divided(look, prefixes[0], most, depth - 1)
        return _in_order(prefix, entries, (), inner)
    if len(prefixes) > most:
        entries, prefixes = _coarser(prefix, entries, prefixes, most)
    return _in_order(prefix, entries, prefixes, ())


def _level(look: Callable[[str, str | None], Level], prefix: str) -> tuple[list[ObjectEntry], list[str]] | None:
    """All of a level; None if it is large, holds no prefix on its first page, or makes no sense."""
    entries: list[ObjectEntry] = []
    prefixes: dict[str, None] = {}
    token: str | None = None
    for _ in range(_PAGES):
        page = look(prefix, token)
        entries += page.entries
        prefixes.update(dict.fromkeys(page.prefixes))
        token = page.token
        if token is None:
            break
        if not prefixes:
            return None
    if token is not None or not _sensible(prefix, entries, prefixes):
        return None
    return entries, list(prefixes)


def _sensible(prefix: str, entries: Iterable[ObjectEntry], prefixes: Iterable[str]) -> bool:
    """Whether no key lies below a prefix that was given too, and all is where it was looked for."""
    begins = len(prefix)
    below = [name for name in prefixes if not (name.startswith(prefix) and name.find("/", begins) == len(name) - 1)]
    here = [entry for entry in entries if not entry.key.startswith(prefix) or "/" in entry.key[begins:]]
    return not below and not here


def _coarser(
    prefix: str, entries: Sequence[ObjectEntry], prefixes: Sequence[str], most: int
) -> tuple[list[ObjectEntry], list[str]]:
    """Fewer and shorter prefixes that hold the same keys, and the entries that are below none of them."""
    length, best = len(prefix), {prefix}
    while True:
        longer = [entry.key for entry in entries if len(entry.key) > length + 1]
        shorter = {name[: length + 1] for name in (*prefixes, *longer)}
        if len(shorter) > most:
            return [entry for entry in entries if entry.key[:length] not in best], sorted(best)
        length, best = length + 1, shorter


def _in_order(
    prefix: str, entries: Sequence[ObjectEntry], prefixes: Sequence[str], inner: tuple[Piece, ...]
) -> tuple[Piece, ...]:
    """Entries and pieces put in key order, entries that follow one another as one piece."""
    named: list[tuple[str, Piece]] = [(entry.key, (entry,)) for entry in entries]
    named += [(name, name) for name in prefixes]
    named += [(piece if isinstance(piece, str) else piece[0].key, piece) for piece in inner]
    named.sort(key=lambda pair: pair[0])
    pieces: list[Piece] = []
    run: list[ObjectEntry] = []
    for _, piece in named:
        if not isinstance(piece, str):
            run += piece
            continue
        if run:
            pieces.append(tuple(run))
            run = []
        pieces.append(piece)
    if run:
        pieces.append(tuple(run))
    return tuple(pieces) or (prefix,)
