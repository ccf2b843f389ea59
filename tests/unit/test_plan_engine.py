"""``engine:`` of a drill file: what a good one becomes, and what is said of a bad one."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from exitdrill.errors import DefinitionError
from exitdrill.flow.compose import load
from exitdrill.plan import from_json
from exitdrill.plan.drill import DrillPlan, Engine, EngineKind

_DRILL = """\
exitdrill: 1
name: spread
playbook: {playbook}
mode: rehearsal
places:
  here: {{connector: local, path: ./here{more}}}
  vault: {{connector: local, path: ./vault}}
  there: {{connector: local, path: ./there}}
route: {{source: here, vault: vault, target: there}}
assets:
  - {{name: files, kind: objects, source: {{container: c}}, target: {{bucket: b}}}}
{engine}
"""
_GOOD = 'engine: {kind: dask, address: "tls://[::1]:8786", claims: "${env:CLAIMS}", workers: 48, lease: 90s}'


def _load(folder: Path, engine: str, more: str = "") -> DrillPlan:
    playbook = Path(__file__).parents[2] / "playbooks" / "plan-b.yaml"
    path = folder / "drill.yaml"
    path.write_text(_DRILL.format(playbook=playbook, engine=engine, more=more))
    return load(path)


def _complaint(folder: Path, engine: str, more: str = "") -> str:
    with pytest.raises(DefinitionError) as caught:
        _load(folder, engine, more)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_drill_is_carried_out_here_unless_told_otherwise(tmp_path: Path) -> None:
    """No engine, and a local one, are the same; neither is spread."""
    assert _load(tmp_path, "").engine == _load(tmp_path, "engine: {kind: local}").engine == Engine()
    assert not Engine().spread


def test_a_cluster(tmp_path: Path) -> None:
    """All fields arrive, the secret stays a reference, and the plan can be written down and read again."""
    plan = _load(tmp_path, _GOOD)
    expected = Engine(EngineKind.DASK, "tls://[::1]:8786", "${env:CLAIMS}", 48, timedelta(seconds=90))
    assert plan.engine == expected
    assert plan.engine.spread
    data = json.loads(json.dumps(plan.to_json()))
    assert data["engine"]["claims"] == "${env:CLAIMS}"
    again = from_json(data)
    assert again.engine == expected
    assert again.digest == plan.digest


@pytest.mark.parametrize(
    "secret", ["postgresql://user:very-secret@host/db", "host=x password=very-secret", "x${env:A}"]
)
def test_a_literal_claims_url_is_refused_and_not_shown(tmp_path: Path, secret: str) -> None:
    """Also without a password in it, or with a reference in the middle: it holds one reference and nothing else."""
    said = _complaint(tmp_path, f'engine: {{kind: dask, address: "tcp://a:1", claims: "{secret}"}}')
    assert "engine.claims: a literal secret; expected a reference" in said
    assert "${env:EXITDRILL_CLAIMS}" in said
    assert "very-secret" not in said


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("engine: {kind: dask}", "engine.address: missing"),
        ("engine: {kind: dask}", "engine.claims: missing"),
        (_GOOD.replace("tls://[::1]:8786", "10.0.0.1:8786"), "expected tcp://HOST:PORT or tls://HOST:PORT"),
        (_GOOD.replace("tls://[::1]:8786", "tcp://user:pw@host:1"), "engine.address"),
        (_GOOD.replace("90s", "1s"), "engine.lease: found '1s'; expected 2s to 1h"),
        (_GOOD.replace("48", "0"), "engine.workers"),
        (_GOOD.replace("dask", "ray"), "engine.kind"),
        (_GOOD.replace("workers", "wrokers"), "engine.wrokers"),
        ('engine: {kind: local, address: "tcp://a:1"}', "engine.address: only a cluster has this"),
        ('engine: {claims: "${env:A}"}', "engine.claims: only a cluster has this"),
    ],
)
def test_what_cannot_be(tmp_path: Path, engine: str, expected: str) -> None:
    """Each is named with its field, and what would be right."""
    said = _complaint(tmp_path, engine)
    assert expected in said
    assert "pw@" not in said


def test_no_emulator_on_a_cluster(tmp_path: Path) -> None:
    """It would run where the cluster's machines do not reach it."""
    assert "an emulator in a drill on a cluster" in _complaint(tmp_path, _GOOD, ", emulator: azurite")
