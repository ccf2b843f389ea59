"""Manifest roots of an asset: seconds a root. The figures of ADR 17.

    python bench/manifest.py [--objects 1000000] [--metadata created|user|none] [--folder DIR] [--json FILE]

Writes the parts of an asset of that many made-up objects as a run has them, and computes the roots of its three places
one after the other, on one core. ``created`` gives each object a creation time of its own, as Azure does; ``user`` user
metadata of its own besides, which is the worst case; ``none`` lets all have the same envelope.
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from exitdrill.evidence.manifest import Place, RunLedgers, manifest_roots
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, Counts, VerificationRecord
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.rows import InventoryRow, LedgerRow, part_path, write_part

_ASSET, _PART_ROWS = "case-files", 50_000


def _envelope(number: int, metadata: str) -> str:
    found: dict[str, object] = {"content_type": "application/pdf", "kind": "BlockBlob"}
    if metadata == "user":
        found["user"] = {"case": f"2026-{number:08}", "department": "civil registry"}
    if metadata != "none":
        found["created"] = f"2026-01-01T00:00:{number % 60:02}.{number:06}Z"
    return json.dumps(found)


def _rows(first: int, last: int, metadata: str) -> Iterator[LedgerRow]:
    for number in range(first, last):
        key = f"case-files/2026/{number // 1000:06}/document-{number:09}.pdf"
        digest = hashlib.sha256(key.encode()).digest()
        row = LedgerRow(key, number, f'"{number:x}"', None, None, Outcome.COPIED, sha256=digest, crc64nvme=digest[:8])
        yield replace(row, envelope=_envelope(number, metadata))


def _write(directory: RunDirectory, objects: int, metadata: str) -> None:
    names = []
    for number, first in enumerate(range(0, objects, _PART_ROWS), 1):
        rows = list(_rows(first, min(objects, first + _PART_ROWS), metadata))
        listed = (InventoryRow(row.key, row.size, row.etag, None, None, "{}", row.envelope) for row in rows)
        path = part_path(directory.inventory(_ASSET), "part", number)
        write_part(path, listed, InventoryRow)
        names.append(path.name)
        write_part(part_path(directory.ledger(_ASSET), "evacuate", number), rows, LedgerRow)
        rebuilt = (row.at_target(row.key, Outcome.COPIED) for row in rows)
        write_part(part_path(directory.ledger(_ASSET), "rebuild", number), rebuilt, LedgerRow)
    (directory.inventory(_ASSET) / "complete.json").write_text(json.dumps({"parts": names}))


def main(arguments: list[str]) -> int:
    """Write, compute, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--metadata", choices=("created", "user", "none"), default="created")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        directory = RunDirectory(Path(folder))
        _write(directory, options.objects, options.metadata)
        checked = VerificationRecord("attested", equal=options.objects)
        measured = AssetRecord(_ASSET, "objects", listed=Counts(options.objects), verification=checked)
        began = time.process_time()
        roots = manifest_roots(RunLedgers(directory), measured)
        seconds = (time.process_time() - began) / len(Place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "objects": options.objects,
        "metadata": options.metadata,
        "cpu_seconds_a_root": round(seconds, 2),
        "peak_kib": peak,
        "same": roots.same,
        "root": roots.source.root,
    }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if roots.same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
