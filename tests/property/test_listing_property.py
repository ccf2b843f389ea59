"""Listing in pieces loses nothing and doubles nothing, whatever the keys are."""

from hypothesis import given, settings
from hypothesis import strategies as st

from exitdrill.connector.levels import Level, divide
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.model.objects import ObjectEntry
from exitdrill.testing.keys import HOSTILE_KEYS, keys
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider
from exitdrill.transfer.listing import listed_batches

_SEGMENTS = st.lists(st.sampled_from(["", "a", "b", "ab", "a-", "a0", "é", "\U0001f680", "."]), min_size=1, max_size=4)
_KEYS = st.sets(st.one_of(_SEGMENTS.map("/".join), keys(), st.sampled_from(HOSTILE_KEYS)).filter(bool), max_size=40)


@settings(deadline=None, max_examples=60)
@given(written=_KEYS, page=st.integers(1, 7), prefix=st.sampled_from(["", "a", "a/", "/", "a/b"]), data=st.data())
def test_side_by_side_is_one_after_the_other(written: set[str], page: int, prefix: str, data: st.DataObject) -> None:
    """Pieces listed by several threads give what one flat listing gives, in that order, after any key too."""
    provider = MemoryProvider(claims=HONEST, behaviour=Behaviour(page_objects=page))
    provider.ensure_container("c")
    store = provider.objects("c")
    for key in written:
        store.write(WriteRequest(key, BytesBody(b"")))
    flat = [entry.key for entry in store.list(prefix)]
    last = data.draw(st.none() | st.sampled_from(sorted(written)) if written else st.none())
    found = listed_batches(store, prefix, last, data.draw(st.integers(1, 4)), lambda: None)
    got = [key for batch in found for key in batch.column("key").to_pylist()]
    assert got == [key for key in flat if last is None or key > last]


@settings(deadline=None, max_examples=200)
@given(written=_KEYS, most=st.integers(1, 6), page=st.integers(1, 50))
def test_every_key_is_in_exactly_one_piece(written: set[str], most: int, page: int) -> None:
    """Pieces do not overlap, come in key order, and are never more prefixes than asked for."""

    def look(prefix: str, token: str | None) -> Level:
        names: set[str] = set()
        for key in written:
            if key.startswith(prefix):
                first, slash, _ = key[len(prefix) :].partition("/")
                names.add(prefix + first + slash)
        chosen = sorted(name for name in names if token is None or name > token)
        below = [name for name in chosen[:page] if name not in written or "/" in name[len(prefix) :]]
        here = [ObjectEntry(name, 0) for name in chosen[:page] if name not in below]
        return Level(here, below, chosen[page - 1] if len(chosen) > page else None)

    pieces = divide(look, "", most)
    assert sum(isinstance(piece, str) for piece in pieces) <= most
    found: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            found += sorted(key for key in written if key.startswith(piece))
        else:
            found += [entry.key for entry in piece]
    assert found == sorted(written)
