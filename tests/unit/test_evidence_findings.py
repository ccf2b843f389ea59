"""What people add to findings: signed, in a row, for one run; what was changed is not believed."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from exitdrill.clock import DrillClock, SystemClock
from exitdrill.errors import UsageError
from exitdrill.evidence import dsse
from exitdrill.evidence.findings import ADDITION_TYPE, Addition, Kind, add, read_additions
from exitdrill.evidence.journal import Journal
from exitdrill.evidence.keys import new_key
from exitdrill.evidence.signers import Signer, open_key
from exitdrill.model.findings import Severity
from exitdrill.transfer.layout import RunDirectory, RunFacts

_NOW = datetime(2026, 1, 6, 9, tzinfo=UTC)
_PLAN = "ab" * 32


def _directory(runs: Path, run_id: str = "20260105-060000-abcd") -> RunDirectory:
    directory = RunDirectory.create(runs, run_id)
    directory.write_facts(RunFacts(run_id, "2026-01-05T06:00:00.000000Z", str(runs), "0"))
    clock = SystemClock()
    journal = Journal(directory.journal, DrillClock(clock, clock.utc_now()))
    for event in ("declared", "closed"):
        journal.record(event)
    journal.close()
    return directory


def _made(number: int, text: str = "found") -> Addition:
    mark = f"{number:016x}"
    facts = (Kind.ADDED, mark, Severity.WARNING, "drill", text, "do it", "A. Jansen", date(2026, 3, 1), ("k/\u202e",))
    return Addition("", "", 0, "", 0, "", "", "B", *facts)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    new_key(tmp_path / "b.pem")
    return open_key(str(tmp_path / "b.pem"), tmp_path)


@pytest.fixture
def two(tmp_path: Path, signer: Signer) -> RunDirectory:
    """A run to which two things were added."""
    directory = _directory(tmp_path / "runs")
    for text in ("one", "two"):
        add(directory, _PLAN, lambda number, text=text: _made(number, text), signer, _NOW)  # type: ignore[misc]
    return directory


def test_what_was_added_is_read_again_with_its_key(two: RunDirectory, signer: Signer) -> None:
    """In order; each over plan, run, place, the file before and the journal; a plain DSSE reader verifies it too."""
    found = read_additions(two, _PLAN)
    assert found.refused == ()
    first, second = (addition for addition, _ in found.believed)
    assert {key for _, key in found.believed} == {signer.key}
    assert (first.number, first.text, first.before_sha256) == (1, "one", "")
    assert (second.number, second.text, len(second.before_sha256)) == (2, "two", 64)
    assert (first.run, first.plan_digest, first.journal_size) == (two.id, _PLAN, 2)
    assert (first.due, first.keys, first.made_utc[:10]) == (date(2026, 3, 1), ("k/\u202e",), "2026-01-06")
    data = (two.findings / "0001.json").read_bytes()
    assert dsse.verify(data, [signer.key], 1, ADDITION_TYPE).payload == first.to_bytes()


def test_any_changed_byte_is_not_believed(two: RunDirectory) -> None:
    """Each byte of the first file flipped, one at a time."""
    path = two.findings / "0001.json"
    good = path.read_bytes()
    for place in range(0, len(good), 3):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert read_additions(two, _PLAN).refused, place


def test_one_taken_out_put_in_or_moved_is_not_believed(two: RunDirectory) -> None:
    """The row has no gaps, and each file is in its own place."""
    first, second = (two.findings / name for name in ("0001.json", "0002.json"))
    data = first.read_bytes(), second.read_bytes()
    first.unlink()
    assert read_additions(two, _PLAN).refused[0] == "0001.json: is missing"
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    assert len(read_additions(two, _PLAN).refused) == 2


def test_another_runs_or_plans_is_not_believed(tmp_path: Path, two: RunDirectory) -> None:
    """A signature is for one run, one plan and one journal."""
    assert len(read_additions(two, "cd" * 32).refused) == 2
    other = _directory(tmp_path / "runs", "20260106-060000-ef01")
    other.findings.mkdir()
    for path in two.findings.iterdir():
        (other.findings / path.name).write_bytes(path.read_bytes())
    assert all("signed for run 20260105" in one for one in read_additions(other, _PLAN).refused)
    two.journal.write_bytes(two.journal.read_bytes().replace(b"closed", b"cl0sed"))
    assert all("another journal" in one for one in read_additions(two, _PLAN).refused)


def test_another_key_or_a_file_without_end_is_not_believed(two: RunDirectory, tmp_path: Path) -> None:
    """Who cannot sign cannot add; and no file is read without a bound."""
    new_key(tmp_path / "other.pem")
    (two.findings / "signer.pub").write_bytes((tmp_path / "other.pem.pub").read_bytes())
    assert len(read_additions(two, _PLAN).refused) == 2
    (two.findings / "0001.json").write_bytes(b"[" * 300_000)
    assert any("too long" in one for one in read_additions(two, _PLAN).refused)
    (two.findings / "signer.pub").write_bytes(b"no key")
    assert read_additions(two, _PLAN).believed == ()


def test_what_is_too_long_is_not_written(tmp_path: Path, signer: Signer) -> None:
    """It would not be read again."""
    directory = _directory(tmp_path / "runs")
    with pytest.raises(UsageError, match="too long"):
        add(directory, _PLAN, lambda number: _made(number, "x" * 300_000), signer, _NOW)
    assert read_additions(directory, _PLAN).believed == ()
