"""Both legs at once, on real servers: killed and resumed, and a target that reaches for the source."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from drilling import Field
from exitdrill.emulator import Running
from exitdrill.evidence.journal import read_journal

_PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "plan-b.yaml"
_OBJECTS, _LARGEST = "150", "2000000"
_PART_ROWS = 15
_START_SECONDS = 120


def _book(there: Field) -> str:
    """The playbook that comes with exitdrill, with an inventory in small parts."""
    text = _PLAYBOOK.read_text()
    step = "        uses: assets.inventory\n"
    assert text.count(step) == 1
    (there.folder / "book.yaml").write_text(text.replace(step, f"{step}        with: {{part_rows: {_PART_ROWS}}}\n"))
    return "book.yaml"


def _source(there: Field) -> str:
    return urlsplit(there.environ["AZURE_ENDPOINT"]).netloc


@pytest.mark.timeout(420)
def test_a_drill_whose_legs_overlap_is_killed_and_resumed(
    field: Callable[[Running], Field], seaweedfs: Running
) -> None:
    """SIGKILL when the first part is rebuilt, before the cut: resumed, all is there, proven, and told apart."""
    there = field(seaweedfs)
    there.write(extra="keep: true\noverlap: true", playbook=_book(there), asset="rename: percent")
    assert there.outsider("fill", there.container, _OBJECTS, _LARGEST).code == 0

    process = subprocess.Popen(
        there.command("run", "drill.yaml", "--no-prefect"),
        cwd=there.folder,
        env=dict(there.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not list(there.runs.glob("*/ledger/*/rebuild-*.parquet")) and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before a part was rebuilt"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait(timeout=30)
    assert not (there.run / "cut.json").exists()
    assert (there.run / "early-cut.json").exists()
    evacuated = len(list(there.run.glob("ledger/*/evacuate-*.parquet")))
    assert evacuated < int(_OBJECTS) // _PART_ROWS, "part of the evacuation is left"

    ended = there.exitdrill("resume", "last", "--no-prefect")
    assert ended.code == 0, ended.out + ended.err
    compared = there.outsider("compare", there.container, there.bucket, "percent")
    assert compared.code == 0, compared.out + compared.err

    record, verdict = there.read("record.json"), there.read("verdict.json")
    (asset,) = record["assets"]
    first, second = asset["evacuate"]["spans"], asset["rebuild"]["spans"]
    assert second[0][0] < first[-1][1] < record["severance"]["severed_elapsed_ns"]
    assert asset["rebuild"]["outcomes"]["copied"]["objects"] == asset["listed"]["objects"] == int(_OBJECTS)
    assert record["early_cut"]["probed"] == [_source(there)] == record["severance"]["probed"]
    assert record["early_cut"]["holds"] is True
    assert {"AZURE_ACCOUNT", "AZURE_ENDPOINT", "AZURE_KEY"} <= set(record["early_cut"]["removed_variables"])
    assert record["early_cut"]["attempts"] == []
    (found,) = [f["text"] for f in verdict["findings"] if "overlapped the evacuation" in f["text"]]
    assert f"{_source(there)} probed, 0 attempts refused" in found
    assert "one after the other, computed" in ended.out
    assert sum(event["event"] == "declared" for event in read_journal(there.run / "journal.jsonl")) == 1


_LEAKY = '''
"""A connector whose target looks at the source at every write, and does not mind when it cannot."""

import os
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from exitdrill_local import connector
from exitdrill_local.store import LocalStore


class Store(LocalStore):
    def _write(self, request, envelope):
        address = os.environ.get("LEAK_TO", "")
        where = urlsplit(f"//{address}")
        with suppress(Exception):
            socket.create_connection((where.hostname, where.port), 5).close()
        return super()._write(request, envelope)


class Provider(connector.LocalProvider):
    def _objects(self, container, capabilities):
        return Store(f"{self.place}:{container}", self._folder(container), capabilities, self.retry)


class Leaky(connector.LocalConnector):
    name = "leaky"

    def open(self, place, settings, retry=None):
        return Provider(place, settings.path, retry)
'''


@pytest.mark.timeout(300)
def test_a_rebuild_that_reaches_for_the_source_before_the_cut_is_found_out(
    field: Callable[[Running], Field], moto: Running, tmp_path: Path
) -> None:
    """Each attempt of a worker that rebuilds beside the evacuation is refused and counted: severance is missed."""
    there = field(moto)
    site = tmp_path / "site"
    info = site / "leaky-1.dist-info"
    info.mkdir(parents=True)
    (site / "leaky_connector.py").write_text(_LEAKY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[exitdrill.connectors]\nleaky = leaky_connector:Leaky\n")
    there = replace(there, environ={**there.environ, "PYTHONPATH": str(site), "LEAK_TO": _source(there)})
    there.write(level="full", extra="overlap: true", playbook=_book(there))
    text = there.drill.read_text()
    begin, end = text.index("  aws:\n"), text.index("route:")
    there.drill.write_text(text[:begin] + "  aws: {connector: leaky, path: ./there}\n" + text[end:])
    assert there.outsider("fill", there.container, "60", "60000").code == 0

    ended = there.exitdrill("run", "drill.yaml", "--no-prefect")
    assert ended.code == 1, ended.out + ended.err
    record, verdict = there.read("record.json"), there.read("verdict.json")
    early = record["assets"][0]["rebuilt_early"]["objects"]
    assert 0 < early < 60
    tried = {(a["address"], a["during"]): a["count"] for a in record["early_cut"]["attempts"]}
    assert tried == {(_source(there), "rebuild before the cut"): early}
    later = {a["during"]: a["count"] for a in record["severance"]["attempts"]}
    assert later["rebuild"] == 60 - early
    found = [f["text"] for f in verdict["findings"] if f["severity"] == "critical"]
    assert any("the rebuild before the cut tried to reach" in text for text in found)
    assert json.dumps(record).count(there.environ["AZURE_KEY"]) == 0
