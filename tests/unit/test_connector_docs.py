"""What ``docs/writing-a-connector.md`` says is so."""

import re
import tomllib
from pathlib import Path

import yaml

from exitdrill import errors
from exitdrill.connector import objects
from exitdrill.connector.registry import connector_names

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "writing-a-connector.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
    return [re.sub(f"(?m)^{indent}", "", code) for indent, code in blocks]


def test_the_code_is_code() -> None:
    """Python compiles, and the packaging shown is the example's own."""
    assert len(_blocks("python")) == 2
    for code in _blocks("python"):
        compile(code, "docs", "exec")
    (shown,) = _blocks("toml")
    real = tomllib.loads((ROOT / "tests/thirdparty/pyproject.toml").read_text())["project"]
    for name, value in tomllib.loads(shown)["project"].items():
        assert real[name] == value
    (place,) = _blocks("yaml")
    assert yaml.safe_load(place)["places"]["archive"]["connector"] == "shelf"


def test_every_error_has_its_row() -> None:
    """A connector's author finds every error there is to raise; the cut itself raises the one that is not there."""
    named = set(re.findall(r"`(\w+Error)", TEXT))
    classes = [name for name in errors.__all__ if name.endswith("Error") and name != "ConnectorError"]
    known = {name for name in classes if issubclass(getattr(errors, name), errors.ConnectorError)}
    assert known - named == {"SeveredError"}
    assert named <= set(errors.__all__) | {"ConnectorError"}


def test_every_hook_is_described() -> None:
    """Each abstract hook of an object store is explained by name."""
    for hook in objects.ObjectStore.__abstractmethods__:
        assert f"**`{hook}(" in TEXT


def test_links_lead_somewhere() -> None:
    """Every relative link in the two documents exists, and every connector of ours is in the table."""
    readme = (ROOT / "connectors" / "README.md").read_text(encoding="utf-8")
    for folder, text in ((ROOT / "docs", TEXT), (ROOT / "connectors", readme)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (folder / link).exists(), link
    for name in connector_names():
        assert f"`exitdrill_{name}`" in readme
