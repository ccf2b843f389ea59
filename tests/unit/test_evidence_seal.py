"""The journal as a signed log: consistent with every checkpoint, whatever crashed, failed or was changed."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from authority import LocalAuthority, authority, openssl_verifies
from exitdrill.clock import DrillClock, SystemClock
from exitdrill.errors import EvidenceError, NoSpaceError, SigningError
from exitdrill.evidence import seal as seals
from exitdrill.evidence.checkpoint import origin
from exitdrill.evidence.checkpoints import keep_public, public_keys, roots, stored_checkpoints
from exitdrill.evidence.journal import Journal, read_journal, read_tree
from exitdrill.evidence.merkle import Frontier, consistency_ranges, hash_ranges, leaf_hash, verify_consistency
from exitdrill.evidence.note import verify_note
from exitdrill.evidence.seal import KeySlot, Seal
from exitdrill.evidence.sealed import seal_state, stored_token
from exitdrill.evidence.signers import Signer, open_pem
from exitdrill.evidence.timestamps import Authority, bounds, load_roots
from exitdrill.transfer.layout import RunDirectory, RunFacts


def _signer() -> Signer:
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return open_pem(data, "k")


def _slot(signer: Signer) -> KeySlot:
    return KeySlot("k", lambda: signer)


class Flaky:
    """A key that fails as often as it is told to."""

    def __init__(self) -> None:
        self.signer, self.failures = _signer(), 0
        self.slot = KeySlot("token", lambda: Signer(self.sign, self.signer.key, "token"))

    def sign(self, message: bytes) -> bytes:
        if self.failures > 0:
            self.failures -= 1
            raise OSError("the token was pulled out")
        return self.signer.sign(message)


def _clock() -> DrillClock:
    return DrillClock(SystemClock(), datetime.now(UTC))


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path, "r1")
    made.write_facts(RunFacts("r1", "2026-01-01T00:00:00Z", str(tmp_path), "1"))
    return made


@contextmanager
def _opened(directory: RunDirectory, session: int = 1) -> Iterator[Journal]:
    journal = Journal(directory.journal, _clock(), session, roots(directory.checkpoints, "r1"))
    try:
        yield journal
    finally:
        journal.close()


def _events(directory: RunDirectory) -> list[str]:
    return [str(e["event"]) for e in read_journal(directory.journal)]


def _sealed(directory: RunDirectory, slots: list[KeySlot], lines: int = 3) -> None:
    """A small run with a checkpoint after every line."""
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, slots, None)
        seal.announce(1)
        for number in range(lines):
            journal.record("event", number=number, text="x" * number)
            seal.checkpoint()
        seal.close(lambda: journal.record("closed"))
        seal.end()


# the log


def test_the_root_is_that_of_the_lines(directory: RunDirectory) -> None:
    """Each line without its line end is a leaf: anybody who hashes the file's lines gets the root."""
    _sealed(directory, [_slot(_signer())])
    leaves = directory.journal.read_bytes().split(b"\n")[:-1]
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    newest = stored_checkpoints(directory.checkpoints)[-1].checkpoint
    assert (newest.size, newest.root) == (len(leaves), tree.root())
    assert newest.origin == "exitdrill/run/r1"


def test_checkpoints_are_signed_and_consistent(directory: RunDirectory) -> None:
    """Each is signed by the key whose public half is in the directory, and each tree begins with the one before."""
    signer = _signer()
    _sealed(directory, [_slot(signer)], lines=9)
    assert public_keys(directory.path) == [signer.key]
    leaves = [leaf_hash(leaf) for leaf in directory.journal.read_bytes().split(b"\n")[:-1]]
    stored = stored_checkpoints(directory.checkpoints)
    assert [s.number for s in stored] == list(range(1, len(stored) + 1))
    for one in stored:
        assert verify_note(one.note, origin("r1"), [signer.key]) == (signer.key,)
    for first, second in pairwise(stored):
        a, b = first.checkpoint, second.checkpoint
        proof = hash_ranges(leaves, consistency_ranges(a.size, b.size))
        verify_consistency(a.size, b.size, a.root, b.root, proof)


def test_names_of_files(directory: RunDirectory) -> None:
    """A checkpoint's name has its number and its size; nothing else in the folder is taken for one."""
    _sealed(directory, [_slot(_signer())], lines=1)
    (directory.checkpoints / "note.txt").write_text("mine")
    (directory.checkpoints / "0009-1.txt.new").write_text("half written")
    assert [s.path.name for s in stored_checkpoints(directory.checkpoints)] == ["0001-3.txt", "0002-4.txt"]


# crashes and changes


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, bytes, list[tuple[str, bytes, int]]]:
    """A sealed run, its journal's bytes, and its checkpoints with their sizes."""
    directory = RunDirectory.create(tmp_path_factory.mktemp("runs"), "r1")
    _sealed(directory, [_slot(_signer())], lines=2)
    points = [(s.path.name, s.data, s.checkpoint.size) for s in stored_checkpoints(directory.checkpoints)]
    return directory, directory.journal.read_bytes(), points


def _there_was(sealed: tuple[RunDirectory, bytes, list[tuple[str, bytes, int]]], data: bytes, points: int) -> None:
    """Put the directory into the state that a crash left: this much of the journal, the first so many checkpoints."""
    directory, _, stored = sealed
    directory.journal.write_bytes(data)
    for path in directory.checkpoints.iterdir():
        path.unlink()
    for name, note, _ in stored[:points]:
        (directory.checkpoints / name).write_bytes(note)


def test_a_crash_at_any_byte(
    sealed: tuple[RunDirectory, bytes, list[tuple[str, bytes, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off anywhere, with the checkpoints that a crash there leaves, a journal is taken up again and goes on.

    What is cut off is said; a journal that lacks lines which a checkpoint covers was altered, and is left as it is.
    """
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # nothing is lost here but what the test takes away
    directory, whole, stored = sealed
    altered = resumed = 0
    for at in range(len(whole) + 1):
        lines = whole[:at].count(b"\n")
        written = sum(size <= lines for _, _, size in stored)
        for points in {written, max(0, written - 1)}:  # killed between a line and the checkpoint over it
            _there_was(sealed, whole[:at], points)
            with _opened(directory, 2) as journal:
                journal.record("goes on")
                size, root = journal.head()
            torn = at - (whole[:at].rfind(b"\n") + 1)
            assert _events(directory)[lines:] == (["journal repaired"] if torn else []) + ["goes on"]
            tree = read_tree(directory.journal, roots(directory.checkpoints, "r1"))
            assert (tree.size, tree.root()) == (size, root)
            resumed += 1
        if written < len(stored):
            _there_was(sealed, whole[:at], written + 1)
            with pytest.raises(EvidenceError, match="the journal was altered"), _opened(directory, 2):
                pass
            assert directory.journal.read_bytes() == whole[:at]
            altered += 1
    assert resumed > len(whole)
    assert altered > len(whole) // 2


@settings(max_examples=60)
@given(data=st.data())
def test_each_changed_byte_is_found(
    sealed: tuple[RunDirectory, bytes, list[tuple[str, bytes, int]]], data: st.DataObject
) -> None:
    """A byte of the journal that was changed, removed or added is found by the checkpoints, and nothing is written."""
    directory, whole, stored = sealed
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    how = data.draw(st.sampled_from(["changed", "removed", "added"]))
    changed = {
        "changed": whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :],
        "removed": whole[:at] + whole[at + 1 :],
        "added": whole[:at] + bytes([other]) + whole[at:],
    }[how]
    if changed == whole:
        return  # a byte beside its twin was removed
    _there_was(sealed, changed, len(stored))
    with pytest.raises(EvidenceError), _opened(directory, 2):
        pass
    assert directory.journal.read_bytes() == changed


def test_lines_that_change_places(sealed: tuple[RunDirectory, bytes, list[tuple[str, bytes, int]]]) -> None:
    """A line that reads well, but is not the one that was signed, is found."""
    directory, whole, stored = sealed
    _there_was(sealed, whole.replace(b'"number":1', b'"number":3', 1), len(stored))
    with pytest.raises(EvidenceError, match="are not those that a checkpoint covers"), _opened(directory, 2):
        pass


def test_checkpoints_of_another_run(directory: RunDirectory, tmp_path: Path) -> None:
    """A checkpoint that names another log, or contradicts another, is refused."""
    signer = _signer()
    _sealed(directory, [_slot(signer)])
    with pytest.raises(EvidenceError, match="another run"):
        roots(directory.checkpoints, "r2")
    other = RunDirectory.create(tmp_path / "other", "r1")
    _sealed(other, [_slot(signer)], lines=3)
    stray = stored_checkpoints(other.checkpoints)[1]
    (directory.checkpoints / f"0099-{stray.checkpoint.size}.txt").write_bytes(stray.data)
    with pytest.raises(EvidenceError, match="contradicts"):
        roots(directory.checkpoints, "r1")
    (directory.checkpoints / "0100-1.txt").write_bytes(b"nonsense")
    with pytest.raises(EvidenceError, match=r"0100-1\.txt"):
        stored_checkpoints(directory.checkpoints)


# keys


def test_a_key_that_fails_does_not_end_it(directory: RunDirectory) -> None:
    """The others sign; it is said; every later checkpoint asks it again."""
    steady, flaky = _signer(), Flaky()
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(steady), flaky.slot], None)
        seal.announce(2)
        flaky.failures = 1
        seal.checkpoint()
        seal.checkpoint()
    keys = [steady.key, flaky.signer.key]
    first, second = stored_checkpoints(directory.checkpoints)
    assert verify_note(first.note, origin("r1"), keys) == (steady.key,)
    assert verify_note(second.note, origin("r1"), keys, 2) == tuple(keys)
    (said,) = [e for e in read_journal(directory.journal) if e["event"] == "signing failed"]
    assert "pulled out" in str(said["error"])
    assert public_keys(directory.path) == keys


@pytest.mark.parametrize(("failures", "signed"), [(1, 1), (5, 0)])
def test_the_end_tries_again(directory: RunDirectory, failures: int, signed: int) -> None:
    """Where the only key fails there is no checkpoint, the journal says so, and the close asks once more."""
    flaky = Flaky()
    flaky.failures = failures
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [flaky.slot], None)
        assert seal.close(lambda: journal.record("closed")) == signed
    stored = stored_checkpoints(directory.checkpoints)
    assert len(stored) == signed
    assert _events(directory).count("signing failed") == min(failures, 2)
    if signed:
        assert stored[-1].checkpoint.size == len(_events(directory))


def test_a_key_that_cannot_be_opened_yet(directory: RunDirectory) -> None:
    """It is said at the start; once it can be opened it signs, and its public half is put into the directory."""
    signer, there = _signer(), list[bool]()

    def opening() -> Signer:
        if not there:
            raise SigningError("no token found")
        return signer

    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [KeySlot("k", opening)], None)
        seal.announce(1)
        assert seal.checkpoint() is None
        there.append(True)
        assert seal.checkpoint() is not None
    assert public_keys(directory.path) == [signer.key]
    assert _events(directory) == ["signers", "signing failed", "not timestamped", "signing failed", "signers added"]


def test_a_public_key_that_was_damaged_ends_nothing(directory: RunDirectory) -> None:
    """What stands in the directory is for convenience: checkpoints are signed all the same, and the journal says it."""
    (directory.path / "signer.pub").write_bytes(b"not a key")
    _sealed(directory, [_slot(_signer())])
    (failed,) = (e for e in read_journal(directory.journal) if e["event"] == "signing failed")
    assert "signer.pub" in str(failed["error"])
    assert stored_checkpoints(directory.checkpoints)[-1].checkpoint.size == len(_events(directory))


def test_another_key_in_another_process(directory: RunDirectory) -> None:
    """A run taken up with another key keeps both public halves, and goes on counting."""
    one, two = _signer(), _signer()
    _sealed(directory, [_slot(one)], lines=1)
    before = len(stored_checkpoints(directory.checkpoints))
    with _opened(directory, 2) as journal:
        Seal("r1", directory, journal, [_slot(two)], None).checkpoint()
    assert public_keys(directory.path) == [one.key, two.key]
    assert [p.name for p in sorted(directory.path.glob("*.pub"))] == ["signer-2.pub", "signer.pub"]
    assert stored_checkpoints(directory.checkpoints)[-1].number == before + 1
    keep_public(directory.path, [one.key])
    assert len(public_keys(directory.path)) == 2
    assert seal_state(directory.path).keys == (two.key.id,)


# timestamps


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture
def local(certified: Path) -> Iterator[LocalAuthority]:
    with authority(certified) as made:
        yield made


def _asked(local: LocalAuthority, timeout_seconds: float = 10) -> Authority:
    return Authority(local.url, timeout_seconds, SystemClock(), load_roots(local.root))


def test_first_and_last_are_timestamped(directory: RunDirectory, local: LocalAuthority) -> None:
    """Openssl takes each token for its checkpoint's file; both bound what our own clock says."""
    signer = _signer()
    began = time.monotonic()
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(signer)], _asked(local))
        seal.announce(1)
        seal.checkpoint(timestamp=True)
        seal.wait()
        time.sleep(1.2)
        seal.checkpoint()
        assert seal.close(lambda: journal.record("closed"))
    claimed = timedelta(seconds=time.monotonic() - began)
    stored = stored_checkpoints(directory.checkpoints)
    stamped = [one for one in stored if one.token_path.exists()]
    assert [one.number for one in stamped] == [1, 3]
    for one in stamped:
        assert openssl_verifies(one.token_path, one.path, local.root)
    assert stored[-1].checkpoint.size == len(_events(directory))
    said = [e for e in read_journal(directory.journal) if e["event"] == "timestamped"]
    assert [(e["checkpoint"], e["verified"]) for e in said] == [(1, True), (3, True)]
    first, last = (stored_token(one) for one in stamped)
    assert first is not None
    assert last is not None
    assert bounds(first, last).allows(claimed, timedelta(seconds=5))
    state = seal_state(directory.path)
    assert (state.tokens, state.first_token, state.last_token) == (2, first.at, last.at)
    assert (state.covered, state.keys) == (state.lines, (signer.key.id,))


def test_an_authority_that_is_silent(directory: RunDirectory, local: LocalAuthority) -> None:
    """Nobody waits for it while the drill runs; at the end once, no longer than its limit; the journal says why."""
    local.answer = lambda _local, _query: (time.sleep(6), (200, b""))[1]  # type: ignore[func-returns-value]
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(_signer())], _asked(local, timeout_seconds=2))
        seal.announce(1)
        began = time.monotonic()
        for _ in range(5):
            seal.checkpoint(timestamp=True)
        assert time.monotonic() - began < 5  # asked one after the other it would be ten
        assert seal.close(lambda: journal.record("closed"))
        assert time.monotonic() - began < 10
        seal.end()
    said = [e for e in read_journal(directory.journal) if e["event"] == "not timestamped"]
    assert sorted(e["checkpoint"] for e in said) == [1, 2, 3, 4, 5, 6]
    assert all("does not answer" in str(e["reason"]) for e in said)
    assert stored_checkpoints(directory.checkpoints)[-1].checkpoint.size == len(_events(directory))


def test_a_token_that_comes_too_late(
    directory: RunDirectory, local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there at the end is given up, said once, and never written into a journal that is closed."""
    monkeypatch.setattr(seals, "_MORE_SECONDS", -0.9)
    local.answer = lambda local, query: (time.sleep(0.8), (200, local.sign(query)))[1]  # type: ignore[func-returns-value]
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(_signer())], _asked(local, timeout_seconds=1))
        seal.checkpoint(timestamp=True)
        (asking,) = seal._asking
        seal.wait()
        seal.end()
        data = directory.journal.read_bytes()
    asking.thread.join(20)
    assert not asking.thread.is_alive()
    assert directory.journal.read_bytes() == data
    (event,) = read_journal(directory.journal)
    assert event["reason"] == "no answer before the end of the drill"


def _full(*_arguments: object, **_facts: object) -> None:
    raise NoSpaceError("the disk is full")


def _odd(*_arguments: object) -> None:
    raise KeyError("surprise")


@pytest.mark.parametrize(("fails", "said"), [(_full, "cannot be kept"), (_odd, "unexpected KeyError")])
def test_a_token_that_cannot_be_kept(
    directory: RunDirectory,
    local: LocalAuthority,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., None],
    said: str,
) -> None:
    """Whatever keeps it from being written is said, and the drill goes on."""
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(_signer())], _asked(local))
        monkeypatch.setattr(seals, "write_atomic", fails)
        seal.checkpoint(timestamp=True)
        seal.wait()
    (event,) = read_journal(directory.journal)
    assert said in str(event["reason"])


def test_a_full_disk_while_an_answer_is_noted(directory: RunDirectory, local: LocalAuthority) -> None:
    """It is noted by who waits, and the error is heard there."""
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(_signer())], _asked(local))
        record = journal.record
        journal.record = _full  # type: ignore[method-assign]
        seal.checkpoint(timestamp=True)
        with pytest.raises(NoSpaceError):
            seal.wait()
        journal.record = record  # type: ignore[method-assign]
        seal.wait()
    (event,) = read_journal(directory.journal)
    assert event["event"] == "not timestamped"


def test_a_token_beside_another_checkpoint(directory: RunDirectory, local: LocalAuthority) -> None:
    """A token that was moved is found to be about something else."""
    with _opened(directory) as journal:
        seal = Seal("r1", directory, journal, [_slot(_signer())], _asked(local))
        seal.checkpoint(timestamp=True)
        seal.wait()
        seal.checkpoint()
    first, second = stored_checkpoints(directory.checkpoints)
    first.token_path.rename(second.token_path)
    with pytest.raises(EvidenceError, match="other bytes"):
        seal_state(directory.path)
