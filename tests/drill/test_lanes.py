"""The same drill over the lean lane and over the vendors' SDKs: the same objects, the same ledger."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from drilling import Field
from exitdrill.emulator import Running
from exitdrill.transfer.rows import LedgerRow, part_numbers, part_path, read_rows

_BY_CHANCE = frozenset({"vault_key", "vault_etag", "vault_offset", "target_etag", "target_version", "target_key"})
"""What names this run's own packs, or is another at every write."""


def _rows(field: Field) -> Iterator[dict[str, Any]]:
    folder = field.run / "ledger" / "case-files"
    for number in part_numbers(folder, "readback"):
        for row in read_rows(part_path(folder, "readback", number), LedgerRow):
            yield {name: value for name, value in asdict(row).items() if name not in _BY_CHANCE}


@pytest.mark.timeout(600)
def test_both_lanes_end_in_the_same_ledger(field: Callable[[Running], Field], moto: Running) -> None:
    """Hostile keys, metadata, tags, objects in packs and one of several parts: no row differs between the lanes."""
    there = field(moto)
    filled = there.outsider("fill", there.container, "150", "20000000")
    assert filled.code == 0, filled.err
    ledgers: dict[str, list[dict[str, Any]]] = {}
    for lane in ("lean", "sdk"):
        there.write(level="full")
        text = there.drill.read_text()
        there.drill.write_text(text.replace("    connector: azure\n", f"    connector: azure\n    lane: {lane}\n"))
        text = there.drill.read_text()
        there.drill.write_text(text.replace("    connector: s3\n", f"    connector: s3\n    lane: {lane}\n"))
        ended = there.exitdrill("run", "drill.yaml", "--no-prefect")
        assert ended.code == 0, ended.out + ended.err
        ledgers[lane] = list(_rows(there))
    assert len(ledgers["lean"]) == 150
    assert {row["read_back"] for row in ledgers["lean"]} == {"equal"}
    assert ledgers["lean"] == ledgers["sdk"]
