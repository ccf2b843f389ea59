"""The journal: in order, on disk before anything is done, readable whatever happened to the last line."""

import os
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitdrill.clock import DrillClock, SystemClock
from exitdrill.errors import EvidenceError, NoSpaceError, ReadOnlyError
from exitdrill.evidence import journal as evidence_journal
from exitdrill.evidence.journal import Journal, read_journal


def _clock() -> DrillClock:
    return DrillClock(SystemClock(), datetime(2026, 1, 1, tzinfo=UTC))


def _events(path: Path) -> list[str]:
    return [str(line["event"]) for line in read_journal(path)]


def test_lines_are_numbered_and_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is written before it is fsynced, and fsynced before `record` returns."""
    done: list[str] = []
    write, fsync = os.write, os.fsync

    def noted_write(fd: int, data: bytes) -> int:
        done.append("write")
        return write(fd, data)

    def noted_fsync(fd: int) -> None:
        done.append("fsync")
        fsync(fd)

    monkeypatch.setattr(os, "write", noted_write)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    journal = Journal(tmp_path / "j", _clock(), 3)
    done.clear()
    journal.record("a", x=[1, {"y": None}])
    done.append("returned")
    journal.record("b")
    journal.close()
    assert done == ["write", "fsync", "returned", "write", "fsync"]
    first, second = read_journal(tmp_path / "j")
    assert (first["n"], first["session"], first["x"]) == (0, 3, [1, {"y": None}])
    assert (second["n"], second["event"]) == (1, "b")
    assert second["elapsed_ns"] >= first["elapsed_ns"]


def test_numbers_are_exact(tmp_path: Path) -> None:
    """Whole numbers that a double cannot hold are written as digits, at any depth."""
    journal = Journal(tmp_path / "j", _clock())
    journal.record("a", small=2**53 - 1, large=2**53, deep={"x": [-(2**60)]}, yes=True)
    journal.close()
    (line,) = read_journal(tmp_path / "j")
    assert (line["small"], line["large"]) == (2**53 - 1, str(2**53))
    assert (line["deep"], line["yes"]) == ({"x": [str(-(2**60))]}, True)


@pytest.mark.parametrize("torn", [b'{"event":"c","n":2', b"x" * 200_000])
def test_a_torn_line_is_cut_off_and_said(tmp_path: Path, torn: bytes) -> None:
    """What a crash left of the last line is not read, is cut off by the next process, which says how much it was."""
    path = tmp_path / "j"
    journal = Journal(path, _clock())
    journal.record("a")
    journal.record("b")
    journal.close()
    with path.open("ab") as file:
        file.write(torn)
    assert _events(path) == ["a", "b"]
    journal = Journal(path, _clock(), 2)
    journal.record("c")
    journal.close()
    lines = list(read_journal(path))
    assert [line["event"] for line in lines] == ["a", "b", "journal repaired", "c"]
    assert (lines[2]["torn_bytes"], lines[3]["n"]) == (len(torn), 3)


def test_a_journal_that_is_only_a_torn_line(tmp_path: Path) -> None:
    """Nothing whole was ever written: it begins anew, and says so."""
    (tmp_path / "j").write_bytes(b"{")
    journal = Journal(tmp_path / "j", _clock())
    journal.close()
    assert _events(tmp_path / "j") == ["journal repaired"]


@pytest.mark.parametrize("data", [b"nonsense\n", b"[]\n", b'{"n":1}\n', b'{"n":0}\n{"n":0}\n'])
def test_a_changed_journal_is_refused(tmp_path: Path, data: bytes) -> None:
    """A line that is none, or not the next, is an error with its number."""
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(EvidenceError, match="line"):
        list(read_journal(tmp_path / "j"))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 2,000 bytes: the kernel writes what fits, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_journal_readable(tmp_path: Path, small_files: None) -> None:
    """A line that did not fit is taken back whole; when there is room, the journal goes on with the same number."""
    path = tmp_path / "j"
    journal = Journal(path, _clock())
    while path.stat().st_size < 1700:
        journal.record("event", text="x" * 100)
    whole = path.read_bytes()
    with pytest.raises(NoSpaceError):
        journal.record("event", text="x" * 1000)
    assert path.read_bytes() == whole
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    journal.record("room again")
    journal.close()
    assert _events(path)[-1] == "room again"


def test_a_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    """A place where nothing can be written is an error of ours."""
    with pytest.raises((ReadOnlyError, OSError)):
        Journal(tmp_path / "none" / "j", _clock())


def test_texts_that_are_no_unicode(tmp_path: Path) -> None:
    """Half of a surrogate pair, from a provider's JSON or a file's name, is written out and ends nothing."""
    journal = Journal(tmp_path / "j", _clock())
    journal.record("failed", error="no such \udcff", left=["\ud800"], names={"\udc80": 1})
    journal.close()
    (line,) = read_journal(tmp_path / "j")
    assert (line["error"], line["left"], line["names"]) == ("no such \\udcff", ["\\ud800"], {"\\udc80": 1})


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that somebody made one line of is refused, and not read into memory."""
    monkeypatch.setattr(evidence_journal, "_LINE_MAX_BYTES", 1000)
    (tmp_path / "j").write_bytes(b" " * 5000)
    with pytest.raises(EvidenceError, match="too long for a line"):
        list(read_journal(tmp_path / "j"))
