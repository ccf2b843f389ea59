"""Noise against the reader of bundles: led by coverage where atheris is installed, by hypothesis everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exitdrill.evidence.checking import Given, verify_bundle
from exitdrill.evidence.index import INDEX
from exitdrill.evidence.opened import OpenBundle
from sealed import Sealed, apart, failed, together

_TARGET = Path(__file__).with_name("fuzz_bundle.py")


def test_led_by_coverage(sealed: Sealed, tmp_path: Path) -> None:
    """Some thousand runs from a bundle, from one with few members, and from nothing: only reports come out."""
    if subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode:
        if os.environ.get("EXITDRILL_REQUIRE_ALL"):
            pytest.fail("atheris is missing: make setup")
        pytest.skip("atheris has no wheel for this Python or machine")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (tmp_path / "whole.zip").write_bytes(sealed.bundle)
    for suffix in ("", ".pub"):
        (tmp_path / f"key{suffix}").write_bytes((sealed.folder / f"a.pem{suffix}").read_bytes())
    (tmp_path / "key").chmod(0o600)
    run, members = apart(sealed.bundle)
    few = {name: data for name, data in members.items() if name in (INDEX, "data/plan.json", "data/run.json")}
    (corpus / "few.zip").write_bytes(together(run, few, sealed.signers))
    (corpus / "whole.zip").write_bytes(sealed.bundle)
    for number in range(len(members)):  # a member of this number, a piece of it overwritten
        (corpus / f"{number}").write_bytes(bytes([1, number, number * 5 % 256]) + b'{"a":[1,"x",null]}')
    words = ["-runs=6000", "-max_total_time=30", "-max_len=200000", "-seed=7", "-rss_limit_mb=2000"]
    done = subprocess.run(
        [sys.executable, str(_TARGET), str(tmp_path), *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "DONE" in done.stderr or "Done" in done.stderr, done.stderr[-2000:]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pieces_put_together_otherwise(sealed: Sealed, data: st.DataObject) -> None:
    """A bundle cut, doubled, overwritten: never an error, never taken."""
    whole = sealed.bundle
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    noise = data.draw(st.binary(max_size=64) | st.sampled_from([whole[begin:end], whole[-200:], whole[:200]]))
    made = whole[:begin] + noise + whole[end:]
    report = verify_bundle(lambda: OpenBundle.of(made), Given(sealed.keys, 1))
    assert report.rows
    assert made == whole or failed(report)
