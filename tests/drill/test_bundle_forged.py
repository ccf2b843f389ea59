"""What those who hold a run's keys could tell otherwise afterwards: what shows it, or is not claimed."""

import time
import tracemalloc
from typing import Any

import pytest

from exitdrill.errors import EvidenceError
from exitdrill.evidence import dsse
from exitdrill.evidence.checking import Report, Result
from exitdrill.evidence.index import INDEX, INDEX_MAX_BYTES
from exitdrill.evidence.opened import OpenBundle
from forged import Told, forged
from sealed import Sealed, apart, failed, together, zipped


def _verified(sealed: Sealed, bundle: bytes) -> Report:
    return sealed.verify(bundle, sealed.given(approvers=(), roots=()))


def _said(report: Report, name: str) -> tuple[Result, str]:
    return next((row.result, row.said) for row in report.rows if row.id == name)


def _facts_of_places(told: Told) -> None:
    told.record["places"][1]["jurisdiction"] = "NL"


def _role_of_a_place(told: Told) -> None:
    told.record["places"][1]["role"] = "target"


def _mode(told: Told) -> None:
    told.event("declared")["mode"] = told.record["mode"] = "full"


def _recovered_at_once(told: Told) -> None:
    told.event("asset verified")["recovered_elapsed_ns"] = 1
    told.record["recovered_elapsed_ns"] = told.record["assets"][0]["recovered_elapsed_ns"] = 1


def _nobody_asked(told: Told) -> None:
    told.without("person asked", "person answered")
    told.record["laps"] = [lap for lap in told.record["laps"] if not lap["name"].startswith("waiting")]
    for step in told.record["steps"]:
        step["approved_by"] = None


def _a_check_more(told: Told) -> None:
    told.record["checks"].append({**told.record["checks"][0], "name": "penetration test"})


def _a_step_less(told: Told) -> None:
    def about(event: dict[str, Any]) -> bool:
        return event.get("step") == "last-look"

    kept = [not about(event) for event in told.events]
    told.checkpoints = [sum(kept[:size]) for size in told.checkpoints]
    told.events = [event for event in told.events if not about(event)]
    told.record["steps"] = [step for step in told.record["steps"] if step["id"] != "last-look"]
    told.record["laps"] = [lap for lap in told.record["laps"] if "last-look" not in lap["name"]]


def _refused_more(told: Told) -> None:
    told.record["severance"]["refused"] = ["*.example.com"]


def _taken_more(told: Told) -> None:
    told.record["severance"]["removed_variables"] = ["AZURE_KEY"]


def _kept(told: Told) -> None:
    told.event("torn down")["event"] = "kept"
    told.record["teardown"] = {**told.record["teardown"], "kept": True}


def test_told_the_same_again(sealed: Sealed) -> None:
    """The helper of these tests makes a bundle in which nothing fails: what fails below is what was changed."""
    assert failed(_verified(sealed, forged(sealed, lambda _told: None))) == []


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (_facts_of_places, "plan"),
        (_role_of_a_place, "plan"),
        (_mode, "plan"),
        (_recovered_at_once, "rta"),
        (_nobody_asked, "approvals"),
        (_a_check_more, "steps"),
        (_a_step_less, "steps"),
        (_refused_more, "cut"),
        (_taken_more, "cut"),
        (_kept, "teardown"),
    ],
)
def test_told_otherwise(sealed: Sealed, change: Any, row: str) -> None:
    """What plan, journal and files say of one another shows it, whoever signed."""
    assert row in failed(_verified(sealed, forged(sealed, change)))


def test_another_end(sealed: Sealed) -> None:
    """The day on which it ended is the one that its duration leads to."""

    def later(told: Told) -> None:
        told.record["ended_utc"] = str(int(told.record["ended_utc"][:4]) + 1) + told.record["ended_utc"][4:]

    assert failed(_verified(sealed, forged(sealed, later))) == ["times"]


def test_seeds_that_nothing_signed_before_the_first_step(sealed: Sealed) -> None:
    """One checkpoint at the end covers the seeds, too: that they were fixed beforehand is then not claimed."""

    def signed_late(told: Told) -> None:
        told.checkpoints = told.checkpoints[-1:]

    result, said = _said(_verified(sealed, forged(sealed, signed_late)), "seeds")
    assert result is Result.NOT_CHECKED
    assert "after that step began" in said


def test_a_cut_without_anything_to_probe(sealed: Sealed) -> None:
    """A directory has no address: no row says that a probe was refused."""
    result, said = _said(sealed.verify(sealed.bundle), "cut")
    assert result is Result.CHECKED
    assert "held when probed" not in said
    assert "no address of the source to probe" in said


def test_who_approved_is_named(sealed: Sealed) -> None:
    """A key of another step's approver would be taken, too: the auditor sees which key answered what."""
    from exitdrill.evidence.publickey import PublicKey

    ada = PublicKey.load(sealed.folder / "ada.pem.pub")
    assert f"sever by {ada.id[:16]}" in _said(sealed.verify(sealed.bundle), "approvals")[1]


def test_what_rests_on_the_programs_word_is_not_checked(sealed: Sealed) -> None:
    """How much was read back, and how fast it went, may be told otherwise: rows that are not checked say so."""

    def more(told: Told) -> None:
        told.record["assets"][0]["verification"]["reread_bytes"] += 1
        told.record["assets"][0]["rebuild"]["throttled"] += 1

    report = _verified(sealed, forged(sealed, more))
    assert failed(report) == []
    assert {_said(report, name)[0] for name in ("compared", "pace")} == {Result.NOT_CHECKED}


# by whoever has no key


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"ab",', b"1,"])
def test_an_envelope_of_many_small_values(sealed: Sealed, piece: bytes) -> None:
    """Nobody has signed for it yet: it is refused in little memory and time."""
    many = piece * (16 * 1024 * 1024 // len(piece))
    envelope = b'{"payload":[' + many + b'0],"payloadType":"x","signatures":[]}'
    assert len(envelope) < INDEX_MAX_BYTES
    run, members = apart(sealed.bundle)
    made = zipped(run, [(name, envelope if name == INDEX else data) for name, data in members.items()])
    tracemalloc.start()
    began = time.monotonic()
    report = sealed.verify(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert failed(report) == ["index"]
    assert peak < 4 * len(envelope)
    assert time.monotonic() - began < 10


def test_an_envelope_as_large_as_they_get(sealed: Sealed) -> None:
    """All signatures that are taken, each with its key's id: not too many values."""
    made = dsse.sign("x", b"y" * 1000, sealed.signers * 8)
    assert len(dsse.key_ids(made, "x")) == 16


def test_offsets_beyond_any_file() -> None:
    """Sizes that add up to more than a file can have: EvidenceError, not the error of the system."""
    from exitdrill.evidence.zipped import Stored, _end

    one = Stored("r/data/a", 2**63, 0, 0)
    two = Stored("r/data/b", 1, 0, one.end)
    directory = one.entry + two.entry
    data = one.header + directory + _end(2, len(directory), len(one.header))
    with pytest.raises(EvidenceError):
        OpenBundle.of(data)


def test_together_is_what_forged_makes(sealed: Sealed) -> None:
    """Nothing of the bundle is lost when it is told again but the tokens."""
    _, before = apart(sealed.bundle)
    run, after = apart(forged(sealed, lambda _told: None))
    assert {name for name in before if not name.endswith(".tsr")} == set(after)
    assert together(run, after) == zipped(run, list(after.items()))
