"""A fuzz target: the reader of bundles, led by coverage (atheris). Run by `test_bundle_fuzz.py`, or by hand for longer.

    python tests/drill/fuzz_bundle.py FOLDER -runs=1000000

FOLDER has ``key``, ``key.pub``, ``whole.zip`` and files to begin with. Every other input is taken for a piece of a
member of that bundle, which is signed anew by the right key: what an operator could hand over. Whatever the bytes are,
a report comes out, never an error.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["exitdrill.evidence"]):
    from exitdrill.evidence.checking import Given, verify_bundle
    from exitdrill.evidence.opened import OpenBundle
    from exitdrill.evidence.publickey import PublicKey
    from exitdrill.evidence.signers import open_key
    from sealed import apart, together

_FOLDER = Path(sys.argv[1])
_GIVEN = Given([PublicKey.load(_FOLDER / "key.pub")], 1)
_SIGNERS = [open_key("key", _FOLDER)]
_RUN, _MEMBERS = apart((_FOLDER / "whole.zip").read_bytes())
_NAMES = sorted(name for name in _MEMBERS if name.startswith("data/"))
_UNFORESEEN = ("cannot be read: ", "cannot be followed: ")


def one(data: bytes) -> None:
    """Verify what is no bundle, or one with a member that was changed and signed."""
    if len(data) > 2 and data[0] & 1:
        name = _NAMES[data[1] % len(_NAMES)]
        old, at = _MEMBERS[name], data[2] * len(_MEMBERS[name]) // 256
        data = together(_RUN, {**_MEMBERS, name: old[:at] + data[3:] + old[at + len(data) - 3 :]}, _SIGNERS)
    report = verify_bundle(lambda: OpenBundle.of(data), _GIVEN)
    assert report.rows, "a report without a row"
    for row in report.rows:
        if row.said.startswith(_UNFORESEEN) and row.id != "layout":
            raise AssertionError(row)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], str(_FOLDER / "corpus"), *sys.argv[2:]], one)
    atheris.Fuzz()
