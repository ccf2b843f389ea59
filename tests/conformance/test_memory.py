"""The suite against a place in memory: it passes honest ones and fails every lie."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Provider
from exitdrill.model.digests import ALL_KINDS, DigestKind
from exitdrill.testing.conformance import MIB, ObjectStoreSuite, fresh_container
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider


class _MemorySuite(ObjectStoreSuite):
    large_bytes = 3 * MIB

    @pytest.fixture
    def container(self, provider: Provider) -> Iterator[str]:
        with fresh_container(provider) as name:
            yield name


class TestHonest(_MemorySuite):
    @pytest.fixture
    def provider(self) -> Iterator[Provider]:
        with MemoryProvider() as provider:
            yield provider


class TestModest(_MemorySuite):
    """A place that can do little, says so, and is used through narrowed capabilities."""

    capabilities = Capabilities(
        keys=KeyRule(
            max_bytes=200,
            max_segment_bytes=100,
            empty_segments=False,
            dot_segments=False,
            trailing_slash=False,
            trailing_dot=False,
            backslash=False,
            control_characters=False,
            non_characters=False,
            case_sensitive=False,
            normalisation_sensitive=False,
            object_and_prefix=False,
        ),
        envelope=EnvelopeRule(
            headers=frozenset({"content_type"}),
            user_max_bytes=100,
            user_lower_case=True,
            user_identifiers_only=True,
        ),
        sorted_listing=False,
        start_after=False,
        changing_etags=False,
        max_object_bytes=10 * MIB,
    )

    @pytest.fixture
    def provider(self) -> Iterator[Provider]:
        behaviour = Behaviour(
            collapses_slashes=True,
            accepts_wrong_digests=True,
            attests=frozenset({DigestKind.SHA256}),
            lower_cases_user_metadata=True,
            constant_etags=True,
            ignores_conditions=True,
            shuffles_listings=True,
            page_objects=7,
        )
        with MemoryProvider(behaviour=behaviour) as provider:
            yield provider


LIES = {
    "collapses slashes": (Behaviour(collapses_slashes=True), "test_hostile_keys"),
    "folds case": (Behaviour(folds_case=True), "test_hostile_keys"),
    "folds Unicode": (Behaviour(folds_unicode=True), "test_hostile_keys"),
    "hides an object": (Behaviour(hides_every=500), "test_listings_are_complete"),
    "forgets a prefix": (Behaviour(forgets_prefixes=True), "test_a_listing_by_levels"),
    "lists out of order": (Behaviour(shuffles_listings=True), "test_listings_are_complete"),
    "stores too little": (Behaviour(loses_bytes=1), "test_an_overwrite_replaces"),
    "keeps its ETag": (Behaviour(constant_etags=True), "test_pinned_reads"),
    "ignores a pin": (Behaviour(ignores_pins=True), "test_pinned_reads"),
    "ignores a condition": (Behaviour(ignores_conditions=True), "test_conditional_writes"),
    "drops metadata": (Behaviour(drops_user_metadata=True), "test_the_envelope_comes_back"),
    "changes metadata": (Behaviour(lower_cases_user_metadata=True), "test_the_envelope_comes_back"),
    "attests nothing": (Behaviour(attests=frozenset()), "test_claimed_digests_are_reported"),
    "takes wrong digests": (Behaviour(accepts_wrong_digests=True), "test_wrong_digests"),
}


class TestLies:
    """Each lie is caught by the test that is there for it."""

    @pytest.mark.parametrize("lie", LIES)
    def test_is_caught(self, lie: str) -> None:
        """A place that claims to be honest and is not fails the suite."""
        behaviour, test = LIES[lie]
        provider = MemoryProvider(claims=HONEST, behaviour=behaviour)
        provider.ensure_container("c")
        suite, store = ObjectStoreSuite(), provider.objects("c")
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            _run(suite, test, provider, store)

    def test_echoed_digests_are_caught(self) -> None:
        """A place that reports a client's digest as its own is found out even if it never claimed to check."""
        claims = replace(HONEST, refuses_wrong=frozenset())
        behaviour = Behaviour(accepts_wrong_digests=True, echoes_digests=True)
        provider = MemoryProvider(claims=claims, behaviour=behaviour)
        provider.ensure_container("c")
        for kind in ALL_KINDS:
            with pytest.raises(AssertionError, match="client's word"):
                ObjectStoreSuite().test_wrong_digests(provider.objects("c"), kind)


def _run(suite: ObjectStoreSuite, test: str, provider: Provider, store: ObjectStore) -> None:
    if test == "test_a_listing_by_levels":
        suite.test_a_listing_by_levels(provider, store.capabilities)
    elif test == "test_hostile_keys":
        suite.test_hostile_keys(provider, store.capabilities)
    elif test == "test_wrong_digests":
        suite.test_wrong_digests(store, DigestKind.SHA256)
    elif test == "test_the_envelope_comes_back":
        from exitdrill.testing.conformance._envelopes import _AWKWARD

        suite.test_the_envelope_comes_back(store, _AWKWARD)
    else:
        getattr(suite, test)(store)
