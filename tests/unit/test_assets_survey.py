"""What preflight finds out by trying, and what an inventory means for the target."""

from dataclasses import replace
from pathlib import Path

import pytest

from exitdrill.assets.preflight import describe_survey
from exitdrill.assets.probing import probe_store
from exitdrill.assets.survey import Survey, survey
from exitdrill.connector.capabilities import Capabilities, KeyRule
from exitdrill.errors import ConnectorError, PermissionDeniedError
from exitdrill.model.digests import ALL_KINDS, DigestKind
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.testing.memory import HONEST, Behaviour, MemoryProvider
from exitdrill.testing.runs import make_asset
from exitdrill.transfer.rows import InventoryRow


def _survey(tmp_path: Path, keys: list[str], rule: KeyRule, mapping: str = "none") -> Survey:
    rows = [InventoryRow(key, 1, None, None, None, "{}", None) for key in sorted(keys)]
    return survey(lambda: iter(rows), Capabilities(keys=rule), "", "", mapping, tmp_path)


@pytest.mark.parametrize(
    ("keys", "rule", "refused"),
    [
        (["a", "a//b", "/x"], KeyRule(empty_segments=False), {"a//b", "/x"}),
        (["A", "a", "B"], KeyRule(case_sensitive=False), {"a"}),
        (["caf\u00e9", "cafe\u0301", "x"], KeyRule(normalisation_sensitive=False), {"caf\u00e9"}),
        (["a", "a-", "a/", "a/b", "a/b/c", "b/c"], KeyRule(object_and_prefix=False), {"a/", "a/b", "a/b/c"}),
        (["a", "b"], KeyRule(), set()),
    ],
)
def test_keys_the_target_cannot_hold(tmp_path: Path, keys: list[str], rule: KeyRule, refused: set[str]) -> None:
    """Each key that cannot be there, alone or beside another, is counted and named with the reason."""
    seen = _survey(tmp_path, keys, rule)
    assert seen.unholdable == len(refused)
    assert {example.partition(":")[0] for example in seen.examples} == refused
    assert seen.objects == len(keys)


def test_a_mapping_makes_them_fit(tmp_path: Path) -> None:
    """With percent encoding, keys with empty segments fit; an object below another one still does not."""
    assert (
        _survey(tmp_path, ["a//b", "a."], KeyRule(empty_segments=False, trailing_dot=False), "percent").unholdable == 0
    )
    assert _survey(tmp_path, ["a", "a/b"], KeyRule(object_and_prefix=False), "percent").unholdable == 1


def test_long_keys_are_shortened_in_messages(tmp_path: Path) -> None:
    """A thousand keys of a thousand bytes make a message that a person can read."""
    seen = _survey(tmp_path, [f"{n:04d}" + "k" * 1000 for n in range(1000)], KeyRule(max_bytes=100))
    (check, *_) = describe_survey(make_asset(), seen, None)
    assert (check.ready, seen.unholdable) == (False, 1000)
    assert len(check.found) < 4000
    assert "rename: percent" in check.action


def test_sizes_tiers_stubs_and_room(tmp_path: Path) -> None:
    """Too large, offline, directory stubs and too little room: each is counted and, where it matters, not ready."""
    envelopes = (Envelope(tier="Archive"), Envelope(user=(("hdi_isfolder", "true"),)), Envelope(tier="Hot"))
    rows = [
        InventoryRow.of(ObjectEntry(f"k{n}", size, envelope=envelope))
        for n, (size, envelope) in enumerate(zip((5, 0, 5_000), envelopes, strict=True))
    ]
    seen = survey(lambda: iter(rows), Capabilities(max_object_bytes=1000), "", "", "none", tmp_path)
    assert (seen.offline, seen.stubs, seen.too_large, seen.largest_bytes) == (1, 1, 1, 5000)
    checks = {c.name: c for c in describe_survey(make_asset(), seen, 5100)}
    assert {name for name, c in checks.items() if not c.ready} == {"tiers", "sizes", "space"}
    assert all(c.action for c in checks.values() if not c.ready)
    assert "space" not in {c.name for c in describe_survey(make_asset(), seen, None)}


def _probed(behaviour: Behaviour, claims: Capabilities = HONEST) -> tuple[Capabilities, tuple[str, ...]]:
    provider = MemoryProvider("m", claims, behaviour)
    provider.ensure_container("c")
    with provider.objects("c") as store:
        found = probe_store(store, "in/")
        assert list(store.list()) == []
    return found.capabilities, found.notes


def test_an_honest_place_keeps_its_claims() -> None:
    """Nothing that is true is taken away, nothing is noted, and nothing is left behind."""
    found, notes = _probed(Behaviour())
    assert (found, notes) == (HONEST, ())


@pytest.mark.parametrize(
    ("behaviour", "changes"),
    [
        (Behaviour(collapses_slashes=True), {"empty_segments"}),
        (Behaviour(folds_case=True), {"case_sensitive"}),
        (Behaviour(folds_unicode=True), {"normalisation_sensitive"}),
    ],
)
def test_key_rules_are_found_out(behaviour: Behaviour, changes: set[str]) -> None:
    """A place that rewrites keys without a word loses exactly those claims."""
    found, notes = _probed(behaviour)
    fields = KeyRule.__dataclass_fields__
    assert {n for n in fields if getattr(found.keys, n) != getattr(HONEST.keys, n)} >= changes
    assert notes


def test_digests_that_prove_nothing_are_found_out() -> None:
    """A place that takes wrong digests and repeats them attests nothing; one that reports none neither."""
    found, notes = _probed(Behaviour(accepts_wrong_digests=True, echoes_digests=True))
    assert found.refuses_wrong == frozenset()
    assert notes
    found, _ = _probed(Behaviour(attests=frozenset({DigestKind.MD5})))
    assert (found.attests, found.refuses_wrong) == (frozenset({DigestKind.MD5}), ALL_KINDS)
    assert not _probed(Behaviour(constant_etags=True))[0].changing_etags


def test_a_claim_never_grows() -> None:
    """What a connector does not claim is not given to it, whatever the place would do."""
    modest = replace(HONEST, attests=frozenset(), refuses_wrong=frozenset(), keys=KeyRule(empty_segments=False))
    found, _ = _probed(Behaviour(), modest)
    assert found.attests == frozenset()
    assert not found.keys.empty_segments


@pytest.mark.parametrize("behaviour", [Behaviour(loses_bytes=1), Behaviour(hides_every=1)])
def test_a_place_that_cannot_hold_a_plain_object(behaviour: Behaviour) -> None:
    """Bytes that do not come back, or an object that is not listed, end the probe with an error."""
    with pytest.raises(ConnectorError):
        _probed(behaviour)


def test_a_place_that_may_not_be_written() -> None:
    """Missing permission comes out as it is."""

    def before(hook: str, _key: str) -> None:
        if hook == "write":
            raise PermissionDeniedError("read only")

    provider = MemoryProvider("m", before=before)
    provider.ensure_container("c")
    with provider.objects("c") as store, pytest.raises(PermissionDeniedError):
        probe_store(store, "")
