"""Keys that have broken other tools, and hypothesis strategies for more.

Each of `HOSTILE_KEYS` is a key that some object store accepts and some other store, file system or SDK
skips, rewrites or takes for another one.
"""

import unicodedata

from hypothesis import strategies as st

__all__ = ["HOSTILE_KEYS", "keys", "segments"]

_LONG_SEGMENT = "s" * 256

HOSTILE_KEYS: tuple[str, ...] = (
    # objects that cannot live in one directory tree
    "a",
    "a/",
    "a//",
    "a//b",
    "a/b",
    "a/b/c",
    "/lead",
    "//lead",
    "/",
    "tail/",
    # paths that climb
    "../x",
    "../../etc/passwd",
    "x/../y",
    "./y",
    "a/./b",
    "..",
    ".",
    "~",
    "~/x",
    ".hidden",
    # names other systems cut or forbid
    "trailing-dot.",
    "dot./b",
    "trailing-space ",
    " leading-space",
    "two  spaces",
    "back\\slash",
    "..\\x",
    "C:\\x",
    "CON",
    "nul.txt",
    "colon:name",
    'star*pipe|less<greater>quote"',
    # what URLs and signatures get wrong
    "100%",
    "%2F",
    "a%2Fb",
    "%41",
    "%25",
    "plus+plus",
    "question?mark",
    "hash#mark",
    "amp&er=sand",
    "semi;colon,comma",
    "tilde~bang!at@dollar$apostrophe'paren()",
    "[bracket]{brace}^caret`tick",
    "a?versionId=1",
    # Unicode
    "caf\u00e9-composed",
    unicodedata.normalize("NFD", "caf\u00e9-composed"),
    "\u212bngstrom",
    "Case-Pair",
    "case-pair",
    "stra\u00dfe",
    "strasse",
    "emoji-\U0001f680/\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u65e5\u672c\u8a9e/\u30ad\u30fc",
    "rtl-\u202e-mark",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "zero\u200bwidth",
    "bom-\ufeff",
    "no-break\u00a0space",
    "line\u2028separator",
    "noncharacter-\ufffe",
    "noncharacter-\uffff",
    "private-\ue000",
    # the order of code points is not the order of UTF-16 units
    "order-\uff5e",
    "order-\U00010000",
    # control characters
    "new\nline",
    "carriage\rreturn",
    "tab\ttab",
    "bell\x07",
    "first-control-\x01",
    "unit-\x1f",
    "delete-\x7f",
    # what reports and spreadsheets run
    "<script>alert(1)</script>",
    "]]>",
    "=1+1",
    "@SUM(A1)",
    "-dash",
    "--option",
    "$(id)",
    "`id`",
    "{{7*7}}",
    "%s%n",
    # lengths
    "l" * 255,
    _LONG_SEGMENT,
    f"{_LONG_SEGMENT}/x",
    "/".join(["deep"] * 200),
    "m" * 1024,
    "\u00e9" * 512,
)
"""Byte-exact keys of 1 to 1,024 bytes in UTF-8, all different."""

_AWKWARD = "/.\\%+?#&=~ :*\"'<>|\n\t\x01\x7f\u00e9e\u0301\u202e\ufffe\U0001f680"


def segments() -> st.SearchStrategy[str]:
    """What can stand between two slashes: plain, empty, dots, awkward characters."""
    plain = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), max_size=12)
    awkward = st.text(st.sampled_from(_AWKWARD.replace("/", "") + "aA"), max_size=6)
    return st.one_of(plain, awkward, st.sampled_from(["", ".", "..", "a", "A", "s" * 256]))


def keys(max_bytes: int = 1024) -> st.SearchStrategy[str]:
    """Any key of 1 to ``max_bytes`` bytes in UTF-8, without U+0000; awkward ones often."""
    joined = st.lists(segments(), min_size=1, max_size=6).map("/".join)
    return st.one_of(st.sampled_from(HOSTILE_KEYS), joined).filter(lambda key: 0 < len(key.encode()) <= max_bytes)
