"""A program that shares no code with exitdrill fills the source, and compares every byte at the end."""

import os
from collections.abc import Callable

import pytest

from drilling import Field
from exitdrill.emulator import Running

_COUNT = os.environ.get("EXITDRILL_OBJECTS", "2000")
_LARGEST = str(300_000_000)


@pytest.mark.timeout(900)
def test_every_byte_and_all_metadata_arrive_where_keys_are_kept(
    field: Callable[[Running], Field], moto: Running
) -> None:
    """Thousands of objects, hostile keys, 0 bytes to 300 MB: no difference, and the drill is met."""
    there = field(moto)
    there.write(extra="keep: true")
    filled = there.outsider("fill", there.container, _COUNT, _LARGEST)
    assert filled.code == 0, filled.err
    ended = there.exitdrill("run", "drill.yaml", "--no-prefect", limit_seconds=800)
    assert ended.code == 0, ended.out + ended.err
    compared = there.outsider("compare", there.container, there.bucket)
    assert compared.code == 0, compared.out + compared.err
    assert compared.out.startswith(f"{_COUNT} blobs, {_COUNT} objects, 0 differences")


@pytest.mark.timeout(900)
def test_keys_the_target_cannot_hold_are_found_before_the_start_and_a_mapping_makes_them_fit(
    field: Callable[[Running], Field], seaweedfs: Running
) -> None:
    """SeaweedFS stores a//b as a/b without a word: check names such keys, run is not met, `rename: percent` is."""
    there = field(seaweedfs)
    there.write(extra="keep: true")
    filled = there.outsider("fill", there.container, _COUNT, _LARGEST)
    assert filled.code == 0, filled.err

    checked = there.exitdrill("check", "drill.yaml")
    assert checked.code == 3, checked.out + checked.err
    assert "a//b" in checked.out
    assert "rename: percent" in checked.out
    ended = there.exitdrill("run", "drill.yaml", "--no-prefect")
    assert ended.code == 3, ended.out + ended.err
    assert there.read("verdict.json")["judgement"] == "failed"

    there.write(asset="rename: percent", extra="keep: true")
    ready = there.exitdrill("check", "drill.yaml")
    assert ready.code == 0, ready.out + ready.err
    ended = there.exitdrill("run", "drill.yaml", "--no-prefect", limit_seconds=800)
    assert ended.code == 0, ended.out + ended.err
    compared = there.outsider("compare", there.container, there.bucket, "percent")
    assert compared.code == 0, compared.out + compared.err
    assert compared.out.startswith(f"{_COUNT} blobs, {_COUNT} objects, 0 differences")
