"""What the ledger says is in the vault: rows by key and by prefix, over parts and groups of rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exitdrill.errors import NotFoundError
from exitdrill.model.objects import Outcome
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.rows import LedgerRow, part_path, write_part
from exitdrill.transfer.vault import VaultView

_KEYS = sorted(
    [f"case/{n:05d}" for n in range(9_000)] + ["", "case", "case/", "dé/\U00010000", "dé/\uff5e", "z" * 5000]
)


def _row(key: str) -> LedgerRow:
    outcome = Outcome.CHANGED if key == "case/" else Outcome.COPIED
    return LedgerRow(key, 1, None, None, None, outcome, "why" if key == "case/" else "")


@pytest.fixture
def view(tmp_path: Path) -> VaultView:
    """Three parts, of more than one group of rows each; a fourth is not done yet."""
    directory = RunDirectory(tmp_path)
    for number, begin in enumerate(range(0, len(_KEYS), 4500), 1):
        rows = (_row(key) for key in _KEYS[begin : begin + 4500])
        write_part(part_path(directory.ledger("files"), "evacuate", number), rows, LedgerRow)
    folder = directory.inventory("files")
    folder.mkdir(parents=True)
    for number in range(1, 5):
        part_path(folder, "part", number).touch()
    none: Any = None  # no place is opened for what the ledger knows
    return VaultView(directory, none, none, cast("Any", SimpleNamespace(name="files")))


def test_rows_by_prefix(view: VaultView) -> None:
    """Exactly the rows whose key begins so, in order, wherever they lie; an empty prefix is all of them."""
    for prefix in (
        "",
        "case",
        "case/",
        "case/0409",
        "case/04",
        "case/04500",
        "case/08999",
        "d",
        "dé/\uff5e",
        "zz",
        "zzy",
    ):
        assert [row.key for row in view.rows(prefix)] == [key for key in _KEYS if key.startswith(prefix)]


def test_one_row(view: VaultView) -> None:
    """A key is found exactly, and not for its beginning or end; what never arrived says why."""
    for key in (_KEYS[0], "case", "case/00000", "case/04495", "case/08999", "dé/\U00010000", "z" * 5000):
        assert view.find(key).key == key
    for key in ("cas", "case/0000", "case/000000", "a", "zz"):
        with pytest.raises(NotFoundError, match="3 of 4 parts"):
            view.find(key)
    with pytest.raises(NotFoundError, match=r"did not reach the vault: changed during copy .why"):
        view.find("case/")
    assert view.parts == (3, 4)
