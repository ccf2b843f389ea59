"""Made-up objects: the same each time, written once, within bounds."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from exitdrill.connector.provider import Provider
from exitdrill.connector.registry import connector
from exitdrill.emulator import Running
from exitdrill.emulator.seed import MadeUpBody, Seed, fill, parse_seeds
from exitdrill.errors import DefinitionError, PermissionDeniedError
from exitdrill.model.objects import ObjectEntry
from exitdrill.testing.memory import HONEST, MemoryProvider

_SEED = Seed("case-files", objects=120, bytes_max=50_000)


def _listed(provider: Provider, container: str = "case-files") -> dict[str, ObjectEntry]:
    with provider.objects(container) as store:
        return {entry.key: entry for entry in store.list()}


def test_the_same_seed_gives_the_same_objects_whatever_the_threads() -> None:
    """Keys, sizes and bytes follow from the seed alone."""
    one, two = MemoryProvider(), MemoryProvider()
    (filled,) = fill(one, [_SEED], threads=1)
    fill(two, [_SEED], threads=16)
    first, second = _listed(one), _listed(two)
    assert len(first) == filled.objects == filled.written == 120
    assert filled.bytes == sum(entry.size for entry in first.values())
    assert {k: (e.size, e.digests.md5) for k, e in first.items()} == {
        k: (e.size, e.digests.md5) for k, e in second.items()
    }


def test_another_number_or_container_gives_other_objects() -> None:
    """So two containers of one drill do not hold the same."""
    provider = MemoryProvider()
    fill(provider, [_SEED, replace(_SEED, container="other"), replace(_SEED, container="third", random=2)])
    keys = [frozenset(_listed(provider, name)) for name in ("case-files", "other", "third")]
    assert len(set(keys)) == 3


def test_filling_again_writes_nothing_and_changes_no_etag() -> None:
    """A resumed run may fill again."""
    provider = MemoryProvider()
    fill(provider, [_SEED])
    before = _listed(provider)
    (again,) = fill(provider, [_SEED])
    assert (again.objects, again.written) == (120, 0)
    assert _listed(provider) == before


def test_filling_goes_on_after_a_failure() -> None:
    """An error stops every thread and comes out as it is; the next call writes what is missing."""
    calls = 0

    def refuse_after_fifty(hook: str, _key: str) -> None:
        nonlocal calls
        calls += hook == "write"
        if hook == "write" and calls == 50:
            raise PermissionDeniedError("no more writes today")

    provider = MemoryProvider(before=refuse_after_fifty)
    with pytest.raises(PermissionDeniedError, match="no more writes"):
        fill(provider, [_SEED], threads=4)
    assert 0 < len(_listed(provider)) < 60
    (rest,) = fill(provider, [_SEED], threads=4)
    assert len(_listed(provider)) == 120
    assert 60 < rest.written < 120


def test_objects_look_like_an_offices() -> None:
    """Long-tailed sizes with empty ones and one of the largest; folders, spaces, letters; envelopes on some."""
    provider = MemoryProvider()
    fill(provider, [Seed("big", objects=600, bytes_max=200_000)])
    entries = _listed(provider, "big")
    sizes = sorted(entry.size for entry in entries.values())
    assert sizes[0] == 0
    assert sizes[-1] == 200_000
    assert 1000 < sizes[300] < 4000
    assert not all(key.isascii() for key in entries)
    assert all(key.count("/") == 3 and "//" not in key for key in entries)
    with provider.objects("big") as store:
        envelopes = [entry.envelope for key in entries if (entry := store.stat(key))]
    assert sum(bool(e and e.user) for e in envelopes) > 100
    assert sum(bool(e and e.tags) for e in envelopes) > 20
    assert len({e.content_type for e in envelopes if e}) >= 8


def test_hostile_keys_come_only_when_asked_for_and_only_where_they_are_legal() -> None:
    """A place that declares it cannot hold a key is not given it."""
    seed = replace(_SEED, objects=0, hostile=True)
    provider = MemoryProvider()
    fill(provider, [seed])
    everything = set(_listed(provider))
    assert {"hostile/a//b", "hostile/a/b", "hostile/a", "hostile/a/", "hostile/Case", "hostile/case"} <= everything
    strict = replace(HONEST, keys=replace(HONEST.keys, empty_segments=False, max_segment_bytes=255))
    other = MemoryProvider(claims=strict)
    fill(other, [seed])
    assert {key for key in everything if not strict.keys.violations(key)} == set(_listed(other))
    assert "hostile/a//b" not in _listed(other)


def test_a_body_can_be_read_from_anywhere_again() -> None:
    """Ranges are those of the whole; the sizes of blocks do not show."""
    body = MadeUpBody("x", 2_500_000)
    whole = b"".join(body.open())
    assert len(whole) == body.size
    assert b"".join(body.open(1_048_570, 12)) == whole[1_048_570:1_048_582]
    assert b"".join(body.open(2_400_000)) == whole[2_400_000:]
    assert b"".join(MadeUpBody("y", 2_500_000).open()) != whole
    assert list(MadeUpBody("z", 0).open()) == []


def test_a_large_body_takes_no_memory() -> None:
    """300 MB pass in blocks of one."""
    tracemalloc.start()
    try:
        total = sum(len(chunk) for chunk in MadeUpBody("large", 300_000_000).open())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 300_000_000
    assert peak_bytes < 8_000_000


def test_what_a_drill_says_is_understood() -> None:
    """Nothing, one map, or a list of maps."""
    one = {"container": "a", "objects": 3, "bytes_max": 10, "random": 9, "hostile": True, "prefix": "p/"}
    assert parse_seeds(None) == ()
    assert parse_seeds(one) == (Seed("a", 3, 10, 9, hostile=True, prefix="p/"),)  # type: ignore[arg-type]
    assert [seed.container for seed in parse_seeds([{"container": "a"}, {"container": "b"}])] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"objects": 3}, "names no container"),
        ({"container": "a", "object": 3}, "no field 'object'"),
        ({"container": "a", "objects": "3"}, "of type int"),
        ({"container": "a", "objects": True}, "of type int"),
        ({"container": "a", "objects": -1}, "not negative"),
        ({"container": ""}, "needs a container"),
        (["a"], "a seed is a map"),
        ("a", "a seed is a map"),
    ],
)
def test_what_it_cannot_mean_is_refused(said: object, message: str) -> None:
    """Each mistake in a seed is named."""
    with pytest.raises(DefinitionError, match=message):
        parse_seeds(said)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["azurite", "seaweedfs", "moto"])
def test_real_servers_are_filled_twice_with_one_result(
    server: str, request: pytest.FixtureRequest, unique: Callable[[str], str]
) -> None:
    """Through the shipped connectors, tags, metadata and keys included; the second time changes nothing."""
    running: Running = request.getfixturevalue(server)
    kind = connector("azure" if server == "azurite" else "s3")
    seed = Seed(unique("seed"), objects=60, bytes_max=300_000, hostile=server != "seaweedfs")
    with kind.open("place", kind.settings.model_validate(dict(running.settings))) as provider:
        (filled,) = fill(provider, [seed])
        before = _listed(provider, seed.container)
        assert len(before) == filled.objects >= 60
        assert sum(entry.size for entry in before.values()) == filled.bytes
        assert fill(provider, [seed])[0].written == 0
        assert _listed(provider, seed.container) == before
