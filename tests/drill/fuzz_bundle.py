"""A fuzz target: the reader of bundles, led by coverage (atheris). Run by `test_bundle_fuzz.py`, or by hand for longer.

    python tests/drill/fuzz_bundle.py FOLDER -runs=1000000

FOLDER has ``key.pub`` and files to begin with. Whatever the bytes are, a report or nothing comes out, never an error.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exitdrill.evidence"]):
    from exitdrill.evidence.checking import Given, verify_bundle
    from exitdrill.evidence.opened import OpenBundle
    from exitdrill.evidence.publickey import PublicKey

_FOLDER = Path(sys.argv[1])
_GIVEN = Given([PublicKey.load(_FOLDER / "key.pub")], 1)


def one(data: bytes) -> None:
    """Verify what is no bundle, or one that was changed."""
    report = verify_bundle(lambda: OpenBundle.of(data), _GIVEN)
    assert report.rows, "a report without a row"
    if any("cannot be read: " in row.said for row in report.rows):
        raise AssertionError(report.rows)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], str(_FOLDER / "corpus"), *sys.argv[2:]], one)
    atheris.Fuzz()
