"""``overlap: true`` in a drill file: what it becomes, and what it cannot stand beside."""

from pathlib import Path

import pytest

from exitdrill.errors import DefinitionError
from exitdrill.flow.compose import load

_DRILL = """\
exitdrill: 1
name: small
playbook: book.yaml
mode: rehearsal
overlap: {overlap}
places:
  here: {{connector: local, path: ./here}}
  vault: {{connector: local, path: ./vault}}
  there: {{connector: local, path: ./there}}
route: {{source: here, vault: vault, target: there}}
assets:
  - {{name: files, kind: objects, source: {{container: c}}, target: {{bucket: b}}}}
"""
_STEP = "  - {{name: {0}, steps: [{{id: {0}, uses: {1}, why: w, by_hand: h{2}}}]}}\n"
_LEGS = (("evacuate", "assets.evacuate", ""), ("sever", "source.sever", ""), ("rebuild", "assets.rebuild", ""))


def _load(folder: Path, steps: tuple[tuple[str, str, str], ...], overlap: str = "true") -> bool:
    (folder / "book.yaml").write_text(
        "exitdrill: 1\nname: book\nphases:\n" + "".join(_STEP.format(*step) for step in steps)
    )
    (folder / "drill.yaml").write_text(_DRILL.format(overlap=overlap))
    return load(folder / "drill.yaml").overlap


def test_overlap_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    """True and false arrive; the digest of the plan tells them apart."""
    assert _load(tmp_path, _LEGS)
    assert not _load(tmp_path, _LEGS, "false")
    text = (tmp_path / "drill.yaml").read_text()
    without = load(tmp_path / "drill.yaml")
    (tmp_path / "drill.yaml").write_text(text.replace("overlap: false\n", ""))
    assert load(tmp_path / "drill.yaml").digest == without.digest
    (tmp_path / "drill.yaml").write_text(text.replace("overlap: false", "overlap: true"))
    assert load(tmp_path / "drill.yaml").digest != without.digest


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ((*_LEGS[:1], ("sever", "source.sever", ", approval: true"), *_LEGS[2:]), "step 'sever' waits for a person"),
        ((*_LEGS[:2], ("rebuild", "assets.rebuild", ", approval: true")), "step 'rebuild' waits for a person"),
        ((*_LEGS[:1], ("look", "manual", ""), *_LEGS[1:]), "step 'look' waits for a person"),
        (_LEGS[:2], "no step that uses assets.rebuild"),
        (_LEGS[1:], "no step that uses assets.evacuate"),
        ((("x", "assets.rebuild", ""), ("y", "assets.evacuate", "")), "the rebuild stands before the evacuation"),
    ],
)
def test_what_overlap_contradicts(tmp_path: Path, steps: tuple[tuple[str, str, str], ...], line: str) -> None:
    """Somebody to ask between the legs, or a leg that is not there: a definition error at its line; not without."""
    with pytest.raises(DefinitionError) as caught:
        _load(tmp_path, steps)
    (said,) = str(caught.value).splitlines()
    assert f"{tmp_path}/drill.yaml:5:10: overlap: " in said
    assert line in said
    assert f"{tmp_path}/book.yaml" in said
    assert not _load(tmp_path, steps, "false")


@pytest.mark.parametrize(("name", "uses"), [("evacuate", "assets.evacuate"), ("verify", "assets.verify")])
def test_who_is_asked_before_or_after_both_legs_is_no_contradiction(tmp_path: Path, name: str, uses: str) -> None:
    """An approval of the evacuation, or of the verification, comes when it did."""
    asked = (name, uses, ", approval: true")
    steps = (asked, *_LEGS[1:]) if name == "evacuate" else (*_LEGS, asked)
    assert _load(tmp_path, steps)
