"""Capabilities, key and envelope rules, retry policy, errors and the registry."""

import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill import errors
from exitdrill.clock import Clock
from exitdrill.connector import registry
from exitdrill.connector.capabilities import Capabilities, EnvelopeRule, KeyRule
from exitdrill.connector.retry import RetryPolicy
from exitdrill.model.digests import ALL_KINDS
from exitdrill.model.objects import Envelope, Loss, pairs
from exitdrill.testing.keys import HOSTILE_KEYS, keys

FIELDS = tuple(KeyRule.__dataclass_fields__)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (KeyRule(max_bytes=3), ["abcd", "\u00e9\u00e9"], ["abc", "\u00e9"]),
        (KeyRule(max_segment_bytes=2), ["abc", "a/bcd/e"], ["ab/cd/", "//"]),
        (KeyRule(empty_segments=False), ["a//b", "/a", "/", "a//"], ["a/", "a/b/"]),
        (KeyRule(dot_segments=False), [".", "..", "a/./b", "../x", "a/.."], [".a", "a..b", "...", "a."]),
        (KeyRule(trailing_slash=False), ["a/", "/"], ["a", "a/b"]),
        (KeyRule(trailing_dot=False), ["a.", "a./b", "a.."], ["a.b", "..", "."]),
        (KeyRule(backslash=False), ["a\\b"], ["a/b"]),
        (KeyRule(control_characters=False), ["\x01", "a\nb", "\x7f"], ["\x80", "\u2028"]),
        (KeyRule(non_characters=False), ["\ufffe", "a\uffff"], ["\ufeff", "\ufffd"]),
        (KeyRule(), ["", "\ud800", "x" * 1025], ["x" * 1024, "/", "..", "\x01\ufffe\\"]),
    ],
)
def test_key_rules(rule: KeyRule, bad: list[str], good: list[str]) -> None:
    """Each rule refuses what it is about, and nothing else."""
    assert [key for key in bad if not rule.violations(key)] == []
    assert [(key, rule.violations(key)) for key in good if rule.violations(key)] == []


def test_folding() -> None:
    """Two keys that a place takes for one fold to one name; elsewhere they do not."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert KeyRule().fold(composed) != KeyRule().fold(decomposed)
    assert not KeyRule().folds
    unicode, case = KeyRule(normalisation_sensitive=False), KeyRule(case_sensitive=False)
    assert unicode.fold(composed) == unicode.fold(decomposed)
    assert case.fold("Ab") == case.fold("aB")
    assert unicode.folds
    assert case.folds


@given(key=keys())
def test_stricter_rules_never_allow_more(key: str) -> None:
    """A key that the strictest place can hold, every place can hold; folding is stable."""
    switches = {name: False for name in FIELDS if name not in ("max_bytes", "max_segment_bytes")}
    strict = KeyRule(max_bytes=300, max_segment_bytes=100, **switches)
    if not strict.violations(key):
        assert KeyRule().violations(key) == ()
    assert strict.fold(strict.fold(key)) == strict.fold(key)


def test_hostile_keys_are_different_and_allowed_somewhere() -> None:
    """The list has no duplicates, and every key of it is one that S3 and Azure accept by their rules of length."""
    assert len(set(HOSTILE_KEYS)) == len(HOSTILE_KEYS)
    assert all(KeyRule().violations(key) == () for key in HOSTILE_KEYS)
    assert max(len(key.encode()) for key in HOSTILE_KEYS) == 1024


MOMENT = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "envelope", "lost"),
    [
        (EnvelopeRule(headers=frozenset()), Envelope(cache_control="no-store"), {"cache_control"}),
        (EnvelopeRule(user=False), Envelope(user=pairs({"a": "1"})), {"user.a"}),
        (EnvelopeRule(user_max_bytes=10), Envelope(user=pairs({"a": "x" * 10, "b": "1", "c": "2"})), {"user.a"}),
        (EnvelopeRule(user_identifiers_only=True), Envelope(user=pairs({"a-b": "1", "a_b": "2"})), {"user.a-b"}),
        (EnvelopeRule(), Envelope(user=pairs({"a": "\u00e9", "b": "x\ny", "c": " x", "d e": "1"})), {
            "user.a", "user.b", "user.c", "user.d e"}),
        (EnvelopeRule(user_ascii_only=False), Envelope(user=pairs({"a": " \u00e9\n", "d e": "1"})), set()),
        (EnvelopeRule(tags_max=1), Envelope(tags=pairs({"a": "1", "b": "2"})), {"tags.a", "tags.b"}),
        (EnvelopeRule(tags_max=2), Envelope(tags=pairs({"a": "1", "b": "2"})), set()),
        (EnvelopeRule(), Envelope(created=MOMENT), {"created"}),
        (EnvelopeRule(created=True), Envelope(created=MOMENT), set()),
        (EnvelopeRule(), Envelope(kind="PageBlob"), {"kind"}),
        (EnvelopeRule(), Envelope(kind="BlockBlob"), set()),
        (EnvelopeRule(kinds=frozenset({"PageBlob"})), Envelope(kind="PageBlob"), set()),
    ],
)  # fmt: skip
def test_envelope_rules(rule: EnvelopeRule, envelope: Envelope, lost: set[str]) -> None:
    """Each rule takes away what it is about, says so with the value it had, and keeps the rest."""
    kept, losses = rule.split(envelope)
    assert {loss.field for loss in losses} == lost
    assert all(loss.reason and loss.value for loss in losses)
    assert rule.split(kept) == (kept, ()), "what is kept once is kept always"
    if not lost:
        assert kept == envelope


def test_names_that_change_case_are_declared() -> None:
    """Lower case is a loss of the name, not of the value; a second name that becomes the same is lost."""
    kept, losses = EnvelopeRule(user_lower_case=True).split(Envelope(user=pairs({"Owner": "a", "OWNER": "b"})))
    assert kept.user == (("owner", "b"),)
    assert losses == (
        Loss("user.OWNER", "OWNER", "the name comes back as owner"),
        Loss("user.Owner", "a", "another name differs only in case"),
    )


_KINDS = st.frozensets(st.sampled_from(sorted(ALL_KINDS)))


@given(
    attests=_KINDS,
    multipart=_KINDS,
    headers=st.frozensets(st.sampled_from(Envelope.HEADERS)),
    flags=st.dictionaries(st.sampled_from(FIELDS[2:]), st.booleans()),
    limit=st.none() | st.integers(1, 10**6),
)
def test_capabilities_survive_json(
    attests: frozenset[str],
    multipart: frozenset[str],
    headers: frozenset[str],
    flags: dict[str, bool],
    limit: int | None,
) -> None:
    """What was probed is read back as it was written."""
    value = Capabilities(
        keys=replace(KeyRule(), max_segment_bytes=limit, **flags),
        envelope=EnvelopeRule(headers=headers, kinds=frozenset({"PageBlob"})),
    ).narrowed(attests=attests, multipart_attests=multipart, sorted_listing=False)
    assert Capabilities.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize("data", [{}, {"keys": 1, "envelope": {}}, {"keys": {"unknown": 1}, "envelope": {}}])
def test_capabilities_refuse_other_json(data: dict[str, object]) -> None:
    """Something else is a ValueError or TypeError, never a KeyError."""
    with pytest.raises((ValueError, TypeError)):
        Capabilities.from_json(data)


class _FakeClock(Clock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    def utc_now(self) -> datetime:
        return MOMENT + timedelta(seconds=sum(self.slept))

    def monotonic_ns(self) -> int:
        return int(sum(self.slept) * 1e9)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def _call(policy: RetryPolicy, *raised: Exception) -> str:
    left = list(raised)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return policy.call(action)


def test_waits_double_up_to_a_ceiling() -> None:
    """The ceiling of each wait is twice the last one's, never over the cap."""
    clock = _FakeClock()
    policy = RetryPolicy(6, base_seconds=1, cap_seconds=5, clock=clock, jitter=lambda: 1.0)
    assert _call(policy, *[errors.TransientError("x")] * 5) == "done"
    assert clock.slept == [1, 2, 4, 5, 5]
    assert (policy.tally.retries, policy.tally.throttled, policy.tally.waited_ns) == (5, 0, 17_000_000_000)


def test_retry_after_is_a_floor_under_the_cap() -> None:
    """What the place asks for is waited at least, but never longer than the cap."""
    clock = _FakeClock()
    policy = RetryPolicy(4, base_seconds=1, cap_seconds=10, clock=clock, jitter=lambda: 0.0)
    throttled = [errors.ThrottledError("x", retry_after_seconds=seconds) for seconds in (3, 60, None)]
    assert _call(policy, *throttled) == "done"
    assert clock.slept == [3, 10, 0]
    assert policy.tally.throttled == 3


def test_attempts_are_all_tries() -> None:
    """The last error comes out when they are used up; what is not transient comes out at once; foreign errors too."""
    policy = RetryPolicy(3, clock=_FakeClock())
    with pytest.raises(errors.TransientError, match="third"):
        _call(policy, *[errors.TransientError(text) for text in ("first", "second", "third", "fourth")])
    with pytest.raises(errors.NotFoundError):
        _call(policy, errors.NotFoundError("gone"))
    with pytest.raises(KeyError):
        _call(policy, KeyError("a bug"))
    assert policy.tally.retries == 2
    assert not RetryPolicy(10_000, clock=_FakeClock()).wait(errors.NotFoundError("x"), 5000)
    assert RetryPolicy(10_000, clock=_FakeClock()).wait(errors.TransientError("x"), 5000)


def _every_error() -> list[type[errors.ExitdrillError]]:
    return [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("cls", _every_error(), ids=lambda cls: cls.__name__)
def test_errors_cross_borders(cls: type[errors.ExitdrillError]) -> None:
    """Pickled or written as JSON, an error keeps class, text, hint, exit code and what it carries."""
    if issubclass(cls, errors.ThrottledError):
        error: errors.ExitdrillError = cls("what", retry_after_seconds=2.5, resource="r")
    else:
        error = cls("what", resource="r", expected="e", hint="h")
    for back in (pickle.loads(pickle.dumps(error)), errors.from_json(json.loads(json.dumps(error.to_json())))):  # noqa: S301 - our own
        assert type(back) is cls
        assert str(back) == str(error)
        assert back.__dict__ == error.__dict__
        assert (back.exit_code, back.transient) == (error.exit_code, error.transient)


def test_an_unknown_error_becomes_a_run_error() -> None:
    """What another version or a third party wrote down is still an error of ours with its text."""
    back = errors.from_json({"class": "SomebodyElsesError", "what": "it broke"})
    assert type(back) is errors.RunError
    assert str(back) == "it broke"


def _with(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(registry, "_entry_points", lambda: {"odd": EntryPoint("odd", value, registry.GROUP)})


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("no_such_module_anywhere:Thing", errors.MissingExtraError, "cannot be loaded"),
        ("exitdrill_local:NoSuchThing", errors.ConnectorError, "names nothing"),
        ("exitdrill_local:LocalSettings", errors.ConnectorError, "no Connector class"),
        ("exitdrill.connector.provider:Connector", errors.ConnectorError, "no Connector class"),
    ],
)
def test_entry_points_that_lead_nowhere(
    monkeypatch: pytest.MonkeyPatch, value: str, error: type[Exception], text: str
) -> None:
    """Each is an error of ours that names the entry point."""
    _with(monkeypatch, value)
    with pytest.raises(error, match=text):
        registry.connector("odd")


def test_the_registry_knows_ours() -> None:
    """The connectors of this distribution are found like anybody's; an unknown name is answered with the known ones."""
    assert {"azure", "local", "s3"} <= set(registry.connector_names())
    assert registry.connector("local").name == "local"
    with pytest.raises(errors.DefinitionError, match="azure, local, s3"):
        registry.connector("gcs")
