"""Key mappings are one-to-one and leave nothing in the way."""

from hypothesis import given
from hypothesis import strategies as st

from exitdrill.connector.capabilities import KeyRule
from exitdrill.transfer.rename import restored, target_key

_PIECES = [*"a/%.\\\x01é￿", "..", "%2F", "%/", "x" * 150, "é" * 90]
_KEYS = st.lists(st.sampled_from(_PIECES), min_size=1).map("".join) | st.text(min_size=1)

_STRICT = KeyRule(
    max_bytes=10**9,
    max_segment_bytes=255,
    empty_segments=False,
    dot_segments=False,
    trailing_slash=False,
    trailing_dot=False,
    backslash=False,
    control_characters=False,
    non_characters=False,
)


@given(_KEYS, st.sampled_from(["", "p/"]))
def test_percent_can_be_undone_and_suits_the_strictest_target(key: str, prefix: str) -> None:
    """Whatever the key, its mapping suits a target with every rule there is, and leads back to the key."""
    mapped = target_key("percent", prefix, key)
    assert restored("percent", prefix, mapped) == key
    assert _STRICT.violations(mapped) == ()


@given(_KEYS)
def test_none_changes_nothing(key: str) -> None:
    """Without a mapping the key is the key."""
    assert target_key("none", "", key) == key


def test_plain_keys_stay_readable() -> None:
    """Only what is in the way is encoded."""
    assert target_key("percent", "", "2024/Münster/scan 1.pdf") == "2024/Münster/scan 1.pdf"
    assert target_key("percent", "", "a//b") == "a%2F%2Fb"
    assert target_key("percent", "", "../x") == "%2E%2E/x"
