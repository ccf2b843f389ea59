"""A run's keys, authority and approvers: tried before it costs something, and what each leaves in the journal."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from authority import LocalAuthority, authority
from exitdrill.errors import EvidenceError, NotReadyError, StoppedError
from exitdrill.evidence.approval import open_approval
from exitdrill.evidence.checkpoint import origin
from exitdrill.evidence.checkpoints import stored_checkpoints
from exitdrill.evidence.journal import read_journal, read_tree
from exitdrill.evidence.keys import machine_key_path, new_key
from exitdrill.evidence.note import verify_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.sealed import seal_state
from exitdrill.model.record import Check
from exitdrill.plan.drill import (
    Asset,
    DrillPlan,
    Evidence,
    Mode,
    Objectives,
    Phase,
    Place,
    Playbook,
    Route,
    SigningKey,
    Step,
    Timestamps,
)
from exitdrill.playbook.actions.signing import signing_checks
from exitdrill.playbook.asking import ask
from exitdrill.playbook.conductor import Answer, LocalConductor
from exitdrill.playbook.engine import execute, finish
from exitdrill.playbook.run import Run, RunOptions, declare, reopen


class Notes:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def phase(self, name: str) -> None:
        """Nothing."""

    def tick(self, tick: object) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        self.said.append(text)


_DECLARE = Phase("declare", (Step("declare", "drill.declare", "why", "by hand"),))
_LOOK = Phase("look", (Step("look", "manual", "why", "by hand"),))


def _plan(tmp_path: Path, evidence: Evidence | None = None, *phases: Phase) -> DrillPlan:
    places = {name: Place(name, "local", {"path": f"./{name}"}) for name in ("here", "vault", "there")}
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "b"})
    return DrillPlan(
        "d", Mode.REHEARSAL, Objectives(), places, Route("here", "vault", "there"), (asset,),
        Playbook("p", phases or (_DECLARE,)), path=str(tmp_path / "d.yaml"), evidence=evidence or Evidence(),
    )  # fmt: skip


def _events(run: Run, event: str) -> list[dict[str, object]]:
    return [dict(e) for e in read_journal(run.directory.journal) if e["event"] == event]


def _checks(run: Run) -> list[Check]:
    return list(signing_checks(run))


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def conductor() -> Iterator[LocalConductor]:
    made = LocalConductor(lambda _question: Answer("Ada"))
    yield made
    made.close()


@pytest.fixture
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAuthority]:
    with authority(tmp_path_factory.getbasetemp()) as made:
        yield made


# keys


def test_the_machines_key_signs_from_start_to_close(tmp_path: Path, conductor: LocalConductor) -> None:
    """Made by the first run and said once; the first checkpoint covers plan, seeds and key, the last everything."""
    notes = Notes()
    run = declare(_plan(tmp_path), tmp_path / "runs", RunOptions(progress=notes))
    first = stored_checkpoints(run.directory.checkpoints)[0].checkpoint
    covered = [str(e["event"]) for e in read_journal(run.directory.journal)][: first.size]
    assert {"declared", "sample seed", "signers"} <= set(covered)
    execute(run, conductor)
    finish(run)
    assert len([text for text in notes.said if "made a key for this machine" in text]) == 1
    key = PublicKey.load(run.directory.path / "signer.pub")
    assert key == PublicKey.load(machine_key_path().with_name("machine.pem.pub"))
    assert _events(run, "signers")[0]["keys"] == [{"id": key.id, "kind": "ed25519"}]
    stored = stored_checkpoints(run.directory.checkpoints)
    for one in stored:
        assert verify_note(one.note, origin(run.id), [key]) == (key,)
    assert stored[-1].checkpoint.size == read_tree(run.directory.journal).size
    again = Notes()
    run = declare(_plan(tmp_path), tmp_path / "runs2", RunOptions(progress=again))
    execute(run, conductor)
    finish(run)
    assert again.said == []


def test_the_last_words_bind_record_and_verdict(tmp_path: Path, conductor: LocalConductor) -> None:
    """``closed`` has the digests of both files."""
    from hashlib import sha256

    run = declare(_plan(tmp_path), tmp_path / "runs")
    execute(run, conductor)
    finish(run)
    (closed,) = _events(run, "closed")
    digests = {p.name: sha256(p.read_bytes()).hexdigest() for p in (run.directory.record, run.directory.verdict)}
    assert closed["sha256"] == digests


def test_a_run_that_was_altered_is_not_taken_up(tmp_path: Path, conductor: LocalConductor) -> None:
    """A resume refuses a journal that its checkpoints do not cover, and lets go of the run."""
    run = declare(_plan(tmp_path), tmp_path / "runs")
    execute(run, conductor)
    finish(run)
    data = run.directory.journal.read_bytes()
    run.directory.journal.write_bytes(data.replace(b'"drill":"d"', b'"drill":"e"'))
    for _ in range(2):
        with pytest.raises(EvidenceError, match="the journal was altered"):
            reopen(run.directory.path)
    run.directory.journal.write_bytes(data)
    finish(reopen(run.directory.path))


def test_a_refused_run_is_left_as_it_is(tmp_path: Path, conductor: LocalConductor) -> None:
    """Neither a journal nor a plan that was altered is taken up, and the try changes nothing in the run's memory."""
    run = declare(_plan(tmp_path), tmp_path / "runs")
    execute(run, conductor)
    finish(run)
    plan, journal = run.directory.plan.read_bytes(), run.directory.journal.read_bytes()
    run.directory.plan.write_bytes(plan.replace(b'"there"', b'"where"'))
    with pytest.raises(EvidenceError, match="not the plan that was declared"):
        reopen(run.directory.path)
    run.directory.plan.write_bytes(plan)
    run.directory.journal.write_bytes(journal.replace(b'"drill":"d"', b'"drill":"e"'))
    with pytest.raises(EvidenceError, match="the journal was altered"):
        reopen(run.directory.path)
    run.directory.journal.write_bytes(journal)
    again = reopen(run.directory.path)
    assert again.session == 2
    finish(again)


def test_a_key_that_does_not_sign_is_not_ready(tmp_path: Path) -> None:
    """Each of the drill's keys is tried; one that is missing, and one that is named twice, say so."""
    new_key(tmp_path / "a.pem")
    signers = (SigningKey("a.pem"), SigningKey("b.pem"), SigningKey("file:a.pem"))
    run = declare(_plan(tmp_path, Evidence(signers, 2)), tmp_path / "runs")
    good, missing, twice = _checks(run)
    assert (good.ready, missing.ready, twice.ready) == (True, False, False)
    assert "cannot be read" in missing.found
    assert "the same key as a.pem" in twice.found
    assert len(_events(run, "signing failed")) == 2  # at the start, and at its checkpoint
    run.close()


def test_preflight_ends_a_drill_that_cannot_be_signed(tmp_path: Path, conductor: LocalConductor) -> None:
    """Before anything is listed or moved."""
    check = Phase("preflight", (Step("check", "preflight.check", "why", "by hand"),))
    run = declare(_plan(tmp_path, Evidence((SigningKey("none.pem"),)), check), tmp_path / "runs")
    with pytest.raises(NotReadyError, match=r"signing none\.pem"):
        execute(run, conductor)
    finish(run)
    assert seal_state(run.directory.path).checkpoints == 0


def test_too_few_signatures_are_said_at_the_end(tmp_path: Path, conductor: LocalConductor) -> None:
    """A key that is gone by then ends nothing; whoever runs the drill is told that its evidence is too weak."""
    notes = Notes()
    for name in ("a", "b"):
        new_key(tmp_path / f"{name}.pem")
    evidence = Evidence((SigningKey("a.pem"), SigningKey("b.pem")), 2)
    run = declare(_plan(tmp_path, evidence), tmp_path / "runs", RunOptions(progress=notes))
    finish(run)
    assert notes.said == []
    (tmp_path / "b.pem").unlink()
    run = reopen(run.directory.path, RunOptions(progress=notes))
    execute(run, conductor)
    finish(run)
    assert [text for text in notes.said if "1 keys signed the end of this run, 2 must have" in text]


def test_looking_makes_no_key_and_signs_nothing(tmp_path: Path) -> None:
    """`exitdrill check` changes nothing that stays."""
    run = declare(_plan(tmp_path), tmp_path / "runs", RunOptions(looking=True))
    (check,) = _checks(run)
    assert check.ready
    assert "the first run makes one" in check.found
    assert not machine_key_path().exists()
    assert not list(run.directory.checkpoints.iterdir())
    run.close()


# the authority


def _stamped(local: LocalAuthority, root: str | None = None) -> Evidence:
    return Evidence(timestamps=Timestamps(local.url, root or str(local.root)))


def test_an_authority_is_asked_at_start_phases_and_end(
    tmp_path: Path, local: LocalAuthority, conductor: LocalConductor
) -> None:
    """Its answer in preflight is seen; each token is noted; the run reads as closed."""
    from exitdrill.cli.stored import stored

    run = declare(_plan(tmp_path, _stamped(local)), tmp_path / "runs")
    check = _checks(run)[-1]
    assert check.ready
    assert "verified" in check.found
    execute(run, conductor)
    finish(run)
    assert len(_events(run, "timestamped")) == 3
    state = seal_state(run.directory.path)
    assert (state.tokens, state.covered) == (3, state.lines)
    assert stored(run.directory.path).status in {"completed", "stopped"}


def test_an_authority_that_does_not_answer_is_a_warning(
    tmp_path: Path, local: LocalAuthority, conductor: LocalConductor
) -> None:
    """The drill is ready, goes on, and its evidence says: not timestamped, and why."""
    local.answer = lambda _local, _query: (500, b"")
    run = declare(_plan(tmp_path, _stamped(local)), tmp_path / "runs")
    check = _checks(run)[-1]
    assert check.ready
    assert "answers 500" in check.found
    assert "not timestamped" in check.action
    execute(run, conductor)
    finish(run)
    assert [("answers 500" in str(e["reason"])) for e in _events(run, "not timestamped")] == [True] * 3


def test_roots_that_cannot_be_read_are_not_ready(tmp_path: Path, local: LocalAuthority) -> None:
    """What is wrong on this side is put right first."""
    run = declare(_plan(tmp_path, _stamped(local, root="none.pem")), tmp_path / "runs")
    check = _checks(run)[-1]
    assert not check.ready
    assert "none.pem" in check.found
    assert "none.pem" in str(_events(run, "not timestamped")[0]["reason"])
    run.close()


# answers


def _asked(tmp_path: Path, options: RunOptions, *, listed: bool = True) -> Run:
    ada = new_key(tmp_path / "ada.pem")
    assert ada
    new_key(tmp_path / "eve.pem")
    evidence = Evidence(approvers={"look": ("ada.pem.pub",)} if listed else {})
    return declare(_plan(tmp_path, evidence, _LOOK), tmp_path / "runs", options)


def test_a_signed_answer(tmp_path: Path) -> None:
    """It is over the plan, run, step and the signed journal as it was when the question was put; verified, and kept."""
    run = _asked(tmp_path, RunOptions({"look": "Ada"}, {"Ada": str(tmp_path / "ada.pem")}))
    assert [c.ready for c in _checks(run)] == [True, True]
    execute(run, LocalConductor())
    finish(run)
    (answer,) = _events(run, "person answered")
    key = PublicKey.load(tmp_path / "ada.pem.pub")
    approval, signed_by = open_approval(str(answer["signature"]), [key], "x")
    assert signed_by == key
    assert (approval.run, approval.step, approval.name) == (run.id, "look", "Ada")
    assert (approval.plan_digest, approval.kind) == (run.plan.digest, "manual")
    points = {s.checkpoint.size: s.checkpoint.root.hex() for s in stored_checkpoints(run.directory.checkpoints)}
    assert points[approval.journal_size] == approval.journal_root
    assert [e["n"] for e in _events(run, "person asked")] == [approval.journal_size - 1]


def test_an_answer_in_the_runs_memory_alone_is_none(tmp_path: Path) -> None:
    """Who can write the run's directory cannot approve: the journal must have the answer, signed by one who may."""
    run = _asked(tmp_path, RunOptions())
    run.state.put("approvals", "look", "Ada")
    run.journal.record("person answered", step="look", name="Ada", signature="{}")
    with pytest.raises(NotReadyError, match="waits for a person"):
        execute(run, LocalConductor())
    finish(run)


def test_a_signed_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    """A process that ended between the answer and its step: the next one finds the answer in the journal."""
    run = _asked(tmp_path, RunOptions({"look": "Ada"}, {"Ada": str(tmp_path / "ada.pem")}))
    (step,) = _LOOK.steps
    assert [ask(run, LocalConductor(), step).name for _ in range(2)] == ["Ada", "Ada"]
    assert len(_events(run, "person asked")) == 1
    finish(run)


def test_an_answer_needs_no_key_where_none_is_listed(tmp_path: Path) -> None:
    """A name is taken as before; a key that is given signs all the same."""
    run = _asked(tmp_path, RunOptions({"look": "Bob"}), listed=False)
    execute(run, LocalConductor())
    finish(run)
    (answer,) = _events(run, "person answered")
    assert answer["signature"] is None


@pytest.mark.parametrize("key", [None, "eve.pem", "none.pem"])
def test_an_answer_of_nobody_who_may(tmp_path: Path, key: str | None) -> None:
    """Unsigned, signed by another, or with no key to be had: it is refused, said, and can be given again."""
    keys = {} if key is None else {"Ada": str(tmp_path / key)}
    run = _asked(tmp_path, RunOptions({"look": "Ada"}, keys))
    assert [c.ready for c in _checks(run)] == [True, False]
    with pytest.raises(StoppedError, match="not answered by one who may"):
        execute(run, LocalConductor())
    finish(run)
    assert len(_events(run, "answer refused")) == 1
    assert not _events(run, "person answered")
    run = reopen(run.directory.path)
    execute(run, LocalConductor(lambda q: Answer("Ada", key=str(tmp_path / "ada.pem")) if q.signed else Answer("?")))
    finish(run)
    assert len(_events(run, "person answered")) == 1


def test_approvers_whose_keys_are_not_there(tmp_path: Path) -> None:
    """Preflight says so."""
    run = declare(_plan(tmp_path, Evidence(approvers={"look": ("none.pub",)}), _LOOK), tmp_path / "runs")
    check = _checks(run)[-1]
    assert (check.name, check.ready) == ("approvers", False)
    run.close()


def test_the_plan_names_the_keys(tmp_path: Path) -> None:
    """Who may sign and approve is part of the plan's digest."""
    plan = _plan(tmp_path)
    assert replace(plan, evidence=Evidence((SigningKey("a.pem"),))).digest != plan.digest
    assert replace(plan, evidence=Evidence(approvers={"look": ("a",)})).digest != plan.digest
