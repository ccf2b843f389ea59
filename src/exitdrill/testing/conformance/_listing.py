"""Listings: complete, each object once, in the order claimed, over pages, next to hostile neighbours."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.errors import ConnectorError, InvalidKeyError, NotFoundError, UnsupportedError
from exitdrill.testing import keys as hostile
from exitdrill.testing.conformance._base import Suite, digests_of, fresh_container, new_key, put, put_many

__all__ = ["KeyTests", "ListingTests"]


class ListingTests(Suite):
    """What `ObjectStore.list` promises."""

    def test_an_empty_container_lists_nothing(self, provider: Provider, claims: Capabilities | None) -> None:
        """No objects, no error."""
        with fresh_container(provider) as name, provider.objects(name, claims) as store:
            assert list(store.list()) == []
            assert list(store.list("any/")) == []

    def test_listings_are_complete(self, store: ObjectStore) -> None:
        """More than a page of objects: each once, in the order claimed; prefixes and starting points hold."""
        base = new_key("listing")
        written = {f"{base}/{number % 7}/{number:05d}" for number in range(self.listing_objects)}
        put_many(store, sorted(written), self.threads)
        listed = [entry.key for entry in store.list(f"{base}/")]
        assert len(listed) == len(set(listed)), "an object was listed twice"
        assert set(listed) == written
        if store.capabilities.sorted_listing:
            assert listed == sorted(listed, key=str.encode)
        assert {entry.key for entry in store.list(f"{base}/3/")} == {k for k in written if k.startswith(f"{base}/3/")}
        assert {entry.key for entry in store.list(f"{base}/3/0000")} == {
            k for k in written if k.startswith(f"{base}/3/0000")
        }
        self._starting_points(store, base, sorted(written))

    def _starting_points(self, store: ObjectStore, base: str, written: list[str]) -> None:
        if not store.capabilities.start_after:
            with pytest.raises(UnsupportedError):
                list(store.list(f"{base}/", start_after=written[3]))
            return
        for index in (0, len(written) // 2, len(written) - 2, len(written) - 1):
            after = [entry.key for entry in store.list(f"{base}/", start_after=written[index])]
            assert after == written[index + 1 :], "exactly the keys after that one"
        between = f"{written[5]}!"
        assert next(iter(store.list(f"{base}/", start_after=between))).key == written[6], "it need not exist"

    def test_a_listing_by_levels(self, provider: Provider, claims: Capabilities | None) -> None:
        """Claimed: each level has its keys and the prefixes of those below, and pieces hold each key once, in order.

        Not claimed: refused, and the one piece is the whole.
        """
        with fresh_container(provider) as name, provider.objects(name, claims) as store:
            if not store.capabilities.delimited_listing:
                with pytest.raises(UnsupportedError):
                    next(store.level())
                assert store.pieces("any/") == ("any/",)
                return
            written = sorted({key for key in (*_held(store), *_NESTED) if not store.capabilities.keys.violations(key)})
            put_many(store, written, self.threads)
            for prefix in ("", "a", "a/", "nest/", "nest/1", "nest/1/", "none/", "caf"):
                _check_level(store, written, prefix)
                for most in (1, 2, 5, 64):
                    _check_pieces(store, written, prefix, most)

    def test_a_prefix_is_not_a_folder(self, store: ObjectStore) -> None:
        """A prefix ends anywhere in a key; no character in it is special."""
        base = new_key("prefix")
        written = [f"{base}-a", f"{base}-ab/c", f"{base}-abc", f"{base}-b", f"{base}-a+b c"]
        put_many(store, written, self.threads)
        assert {entry.key for entry in store.list(f"{base}-a")} == set(written) - {f"{base}-b"}
        assert {entry.key for entry in store.list(f"{base}-ab")} == {f"{base}-ab/c", f"{base}-abc"}
        assert {entry.key for entry in store.list(f"{base}-a+b ")} == {f"{base}-a+b c"}

    def test_a_listing_agrees_with_stat(self, store: ObjectStore) -> None:
        """Size, ETag and time in a listing are those of the object; digests in it are the ones claimed, and right."""
        key = new_key()
        data = key.encode() * 50
        put(store, key, data)
        (entry,) = store.list(key)
        facts = store.stat(key)
        assert (entry.key, entry.size, entry.etag) == (key, len(data), facts.etag)
        assert entry.modified is None or entry.modified.tzinfo is not None
        assert (
            entry.modified is None
            or facts.modified is None
            or entry.modified.replace(microsecond=0) == facts.modified.replace(microsecond=0)
        )
        claimed = store.capabilities.listing_digests
        assert claimed <= store.capabilities.attests
        assert claimed <= entry.digests.kinds
        assert entry.digests == digests_of(data).only(entry.digests.kinds)

    def test_a_listing_can_be_left(self, store: ObjectStore) -> None:
        """Whoever stops reading a listing leaves the store able to work."""
        base = new_key("left")
        put_many(store, [f"{base}/{number}" for number in range(5)], self.threads)
        for _ in range(20):
            next(iter(store.list(f"{base}/")))
        assert len(list(store.list(f"{base}/"))) == 5


_NESTED = ("nest/1/a", "nest/1/b/c", "nest/10/a", "nest/2/a", "nest/2a", "nest/3", "nest/1-a", "nest2/1", "nes")


def _check_level(store: ObjectStore, written: list[str], prefix: str) -> None:
    entries: list[str] = []
    prefixes: set[str] = set()
    for page in store.level(prefix):
        entries += [entry.key for entry in page.entries]
        prefixes |= set(page.prefixes)
    rest = {key: key[len(prefix) :].partition("/") for key in written if key.startswith(prefix)}
    assert sorted(entries) == sorted(key for key, (_, slash, _) in rest.items() if not slash)
    assert prefixes == {f"{prefix}{first}/" for first, slash, _ in rest.values() if slash}


def _check_pieces(store: ObjectStore, written: list[str], prefix: str, most: int) -> None:
    pieces = store.pieces(prefix, most=most)
    assert sum(isinstance(piece, str) for piece in pieces) <= most
    found: list[str] = []
    for piece in pieces:
        entries = store.list(piece) if isinstance(piece, str) else piece
        found += sorted(entry.key for entry in entries)
    assert found == sorted(key for key in written if key.startswith(prefix)), "the pieces are not the whole, in order"


class KeyTests(Suite):
    """Keys are byte-exact, or refused beforehand."""

    def test_hostile_keys(self, provider: Provider, claims: Capabilities | None) -> None:
        """Each hostile key is refused as the key rule says, or round-trips next to all the others."""
        with fresh_container(provider) as name, provider.objects(name, claims) as store:
            held = _held(store)
            refused = [key for key in hostile.HOSTILE_KEYS if store.capabilities.keys.violations(key)]
            for key in refused:
                with pytest.raises(InvalidKeyError):
                    put(store, key, b"must not arrive")
            with ThreadPoolExecutor(self.threads) as pool:
                problems = [text for text in pool.map(lambda key: _round_trip(store, key), held) if text]
            assert problems == [], "the key rule promises what the place does not do"
            listed = [entry.key for entry in store.list()]
            assert sorted(listed) == sorted(held), "the listing has other keys than were written"
            if store.capabilities.sorted_listing:
                assert listed == sorted(listed, key=str.encode), "the order is not that of the UTF-8 bytes"
            for key in held:
                with store.read(key) as stream:
                    assert stream.read_all() == key.encode(), f"{key!r} was taken for another key"

    def test_a_key_is_a_prefix_of_itself(self, store: ObjectStore) -> None:
        """A hostile key as prefix finds the object of that name."""
        rule = store.capabilities.keys
        held = [
            key
            for key in ("100%-x", "plus+x", "a&b=c x", "caf\u00e9/\U0001f680", "quote'\"x")
            if not rule.violations(key)
        ]
        for key in held:
            put(store, key, b"x")
            assert key in [entry.key for entry in store.list(key)]

    def test_what_is_no_key_is_refused(self, store: ObjectStore) -> None:
        """The empty key, lone surrogates and keys too long are refused by name."""
        for key in ("", "lone-\ud800", "k" * (store.capabilities.keys.max_bytes + 1)):
            with pytest.raises(InvalidKeyError):
                put(store, key, b"")

    def test_deleting_one_key_leaves_its_neighbours(self, store: ObjectStore) -> None:
        """Keys that look alike are deleted one at a time."""
        base = new_key("near")
        rule = store.capabilities.keys
        near = [base, f"{base}/", f"{base}//", f"{base}.", f"{base} ", f"{base}%20", f"{base}+"]
        held = [key for key in near if not rule.violations(key)]
        if not rule.object_and_prefix:
            held = [key for key in held if "/" not in key]
        put_many(store, held, self.threads)
        store.delete(base)
        assert sorted(entry.key for entry in store.list(base)) == sorted(held[1:])

    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(key=hostile.keys())
    def test_any_key(self, store: ObjectStore, key: str) -> None:
        """Whatever the key: refused as the key rule says, or byte-exact."""
        if store.capabilities.keys.violations(key):
            with pytest.raises(InvalidKeyError):
                put(store, key, b"")
            return
        assert _round_trip(store, key) == ""
        assert key in [entry.key for entry in store.list(key)]
        store.delete(key)
        with pytest.raises(NotFoundError):
            store.stat(key)


def _held(store: ObjectStore) -> list[str]:
    """The hostile keys this place says it can hold next to one another."""
    rule = store.capabilities.keys
    held: dict[str, str] = {}
    for key in hostile.HOSTILE_KEYS:
        if not rule.violations(key):
            held.setdefault(rule.fold(key), key)
    keys = list(held.values())
    if rule.object_and_prefix:
        return keys
    folders = {key[:end] for key in keys for end, letter in enumerate(key) if letter == "/"}
    return [key for key in keys if key not in folders]


def _round_trip(store: ObjectStore, key: str) -> str:
    try:
        receipt = put(store, key, key.encode())
        if receipt.entry.key != key:
            return f"{key!r}: the receipt is about {receipt.entry.key!r}"
        if store.stat(key).size != len(key.encode()):
            return f"{key!r}: another size"
        with store.read(key) as stream:
            return "" if stream.read_all() == key.encode() else f"{key!r}: other bytes"
    except ConnectorError as error:
        return f"{key!r}: {type(error).__name__}: {error}"
