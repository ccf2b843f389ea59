"""The bundle of a drill that was really carried out: what is in it, what verifies, and what an auditor is told."""

import json
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from authority import authority
from exitdrill.cli import main
from exitdrill.errors import EvidenceError
from exitdrill.evidence.bundle import write_bundle
from exitdrill.evidence.checking import Result
from exitdrill.evidence.checkpoints import stored_checkpoints
from exitdrill.evidence.dsse import sign
from exitdrill.evidence.index import INDEX, INDEX_TYPE
from exitdrill.evidence.keys import new_key
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import open_key
from exitdrill.plan.drill import DrillPlan
from exitdrill.playbook.engine import finish
from exitdrill.playbook.run import Run, RunOptions, declare, reopen
from exitdrill.transfer.layout import RunDirectory
from sealed import Sealed, apart, carry_out, failed, index_of, make_sealed, together


def _words(sealed: Sealed, *more: str) -> list[str]:
    keys = [f"--key={sealed.folder / name}.pem.pub" for name in ("a", "b")]
    return ["verify", str(sealed.run / "evidence.zip"), *keys, *more]


def test_a_run_ends_with_a_bundle_that_verifies(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything an auditor can have is given: only what no evidence can show is not checked."""
    first = sealed.run / "checkpoints" / stored_checkpoints(sealed.run / "checkpoints")[0].path.name
    more = [f"--tsa-root={sealed.root}", f"--approver={sealed.folder / 'ada.pem.pub'}", f"--checkpoint={first}"]
    assert main.run(_words(sealed, *more, "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    results = {row["id"]: row["result"] for row in facts["checks"]}
    beyond = ["previous", "source", "look", "compared", "pace", "metadata"]
    assert [name for name, result in results.items() if result != "checked"] == beyond
    assert (facts["verified"], facts["run"], facts["judgement"]) == (True, sealed.run.name, "met")
    assert facts["signed_by"] == [key.id for key in sealed.keys]
    assert main.run(_words(sealed, *more)) == 0
    said = capsys.readouterr().out
    assert "0 FAILED, 6 not checked" in said
    assert f"run {sealed.run.name}, drill from-disk-to-disk: met, RTA 0:00:0" in said


def test_what_was_not_given_is_not_checked(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    """With keys alone: who stamped, who approved, and whether it was sealed anew is said not to be known."""
    assert main.run(_words(sealed, "--json")) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    for name, option in (("timestamps", "--tsa-root"), ("approvals", "--approver"), ("earlier", "--checkpoint")):
        assert rows[name]["result"] == "not checked"
        assert option in rows[name]["said"]


def test_a_bundle_cannot_vouch_for_itself(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key it is bad usage, and the message says how to get one."""
    assert main.run(["verify", str(sealed.run / "evidence.zip")]) == 2
    said = capsys.readouterr().err
    assert "cannot vouch for itself" in said
    assert "another way" in said


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--threshold", "3"], "--threshold 3, and 2 given"),
        (["--tsa-root", "no/such/file"], "cannot be read"),
        (["--checkpoint", "no/such/file"], "cannot be read"),
        (["--approver", "no/such/file"], "cannot be read"),
        (["--live", "drill.yaml", "--sample", "0"], "above zero"),
    ],
)
def test_bad_usage(sealed: Sealed, more: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and what is wrong."""
    assert main.run(_words(sealed, *more)) == 2
    assert problem in capsys.readouterr().err


def test_fewer_keys_than_the_plan_asks_for(sealed: Sealed) -> None:
    """The plan says two; an auditor who asks for one is told that the plan asks for more."""
    (one, _) = sealed.keys
    assert failed(sealed.verify(sealed.bundle, sealed.given(keys=[one]))) == ["threshold", "checkpoints", "statements"]
    report = sealed.verify(sealed.bundle, sealed.given(keys=[one], threshold=1))
    assert failed(report) == []
    assert "the plan asks for 2" in next(row.said for row in report.rows if row.id == "threshold")


def test_a_strangers_key_opens_nothing(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in the bundle is looked at, and the ids of the keys that are said to have signed are told."""
    new_key(tmp_path / "k")
    words = ["verify", str(sealed.run / "evidence.zip"), "--key", str(tmp_path / "k.pub")]
    assert main.run(words) == 5
    said = capsys.readouterr()
    assert "nothing in it can be relied on" in said.err
    assert sealed.keys[0].id[:16] in said.out
    assert "met" not in said.out.split()


def test_the_same_run_gives_the_same_bytes(sealed: Sealed, tmp_path: Path) -> None:
    """Made again from the directory, by the same keys: bit for bit."""
    copy = tmp_path / sealed.run.name
    shutil.copytree(sealed.run, copy)
    head = stored_checkpoints(copy / "checkpoints")[-1].checkpoint
    path, digest = write_bundle(RunDirectory(copy), sealed.plan, head, sealed.signers)
    assert path.read_bytes() == sealed.bundle
    assert digest == sha256(sealed.bundle).hexdigest()


def test_memory_does_not_depend_on_the_size(sealed: Sealed, tmp_path: Path) -> None:
    """A part of 96 MB is written, read and compared in a few pieces of memory; a link is not followed."""
    copy = tmp_path / sealed.run.name
    shutil.copytree(sealed.run, copy)
    with (copy / "ledger" / "case-files" / "evacuate-000002.parquet").open("wb") as file:
        file.truncate(96 * 1024 * 1024)
    head = stored_checkpoints(copy / "checkpoints")[-1].checkpoint
    tracemalloc.start()
    path, _ = write_bundle(RunDirectory(copy), sealed.plan, head, sealed.signers)
    with OpenBundle.open(path) as opened:
        index, _ = opened.signed_index(sealed.keys, 2)
        opened.check_members(index)
        opened.check_tags(index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 96 * 1024 * 1024
    assert peak < 16 * 1024 * 1024
    (copy / "report-nl.html").symlink_to("/etc/hostname")
    with pytest.raises(EvidenceError, match="cannot be read"):
        write_bundle(RunDirectory(copy), sealed.plan, head, sealed.signers)
    assert path.stat().st_size > 96 * 1024 * 1024  # the one that was there


def test_it_holds_what_it_must_and_nothing_else(sealed: Sealed) -> None:
    """No state, logs, locks or work files; no private key anywhere in it."""
    _, members = apart(sealed.bundle)
    names = {name.removeprefix("data/") for name in members}
    assert {"plan.json", "run.json", "journal.jsonl", "record.json", "verdict.json", "cut.json"} <= names
    assert {"keys/signer.pub", "keys/signer-2.pub", "statements/drill-result.dsse.json"} <= names
    assert not [name for name in names if name.startswith(("state.", "logs", "work", "reserve", "lock"))]
    assert b"PRIVATE KEY" not in sealed.bundle


def test_show_and_the_end_of_a_run_name_it(
    sealed: Sealed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, with the command that checks it; that command works."""
    monkeypatch.chdir(sealed.folder)
    assert main.run(["show", "last"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "bundle" in line]
    command = line.partition("check it with: exitdrill ")[2].split()
    assert main.run(command) == 0


def test_proofs_from_a_bundle_alone(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the run's directory; the root is that of the record, and no key is bad usage."""
    alone = tmp_path / "e.zip"
    alone.write_bytes(sealed.bundle)
    public = [f"--public={sealed.folder / name}.pem.pub" for name in ("a", "b")]
    words = ["prove", str(alone), "--key", "files/03.txt", "-o", str(tmp_path / "p")]
    assert main.run(words) == 2
    assert main.run([*words, *public]) == 0
    root = json.loads((sealed.run / "record.json").read_text())["assets"][0]["roots"]["target"]["root"]
    capsys.readouterr()
    assert main.run(["verify", str(tmp_path / "p"), "--root", root]) == 0
    assert main.run([*words, public[0]]) == 5  # the plan asks for two


# runs that did not end well


def test_a_failed_run_has_a_bundle_too(sealed: Sealed, tmp_path: Path) -> None:
    """A target that cannot hold a key: preflight says no; what is there verifies, and the verdict is failed."""

    def attest(plan: DrillPlan) -> DrillPlan:
        (asset,) = plan.assets
        return replace(plan, assets=(replace(asset, verify=type(asset.verify).ATTESTED),))

    with pytest.raises(Exception, match=r"preflight|checks say no"):
        make_sealed(tmp_path, sealed.root.parent, change=attest)
    (run,) = (tmp_path / "runs").iterdir()
    ended = replace(sealed, folder=tmp_path, run=run)
    report = ended.verify(ended.bundle)
    assert failed(report) == []
    assert report.judgement == "failed"
    assert {row.id for row in report.rows if "no manifest" in row.said or "no roots" in row.said} == {"roots"}


def test_a_run_without_a_key_has_none_and_says_so(sealed: Sealed, tmp_path: Path) -> None:
    """Nothing signs: the run is measured all the same, and a note says that there is no bundle."""
    said: list[str] = []

    class Notes:
        def phase(self, name: str) -> None:
            """Nothing."""

        def tick(self, tick: object) -> None:
            """Nothing."""

        def note(self, text: str) -> None:
            said.append(text)

    plan = replace(sealed.plan, path=str(tmp_path / "drill.yaml"))
    run = declare(plan, tmp_path / "runs", RunOptions(progress=Notes()))
    finish(run)
    assert not (run.directory.path / "evidence.zip").exists()
    assert "no key signed the end of this run: there is no evidence bundle" in said


def test_a_run_that_was_killed_and_gone_on_with(sealed: Sealed, tmp_path: Path) -> None:
    """Twice, once with a torn line: downtime, laps and sessions are as the journal says, and nothing fails."""

    def killed(run: Run) -> Run:
        run = carry_out(run, before="evacuate", ends=False)
        with run.directory.journal.open("ab") as file:
            file.write(b'{"torn":')
        run = carry_out(reopen(run.directory.path, run.options), before="rebuild", ends=False)
        return carry_out(reopen(run.directory.path, run.options))

    made = make_sealed(tmp_path, sealed.root.parent, carried_out=killed)
    report = made.verify(made.bundle)
    assert [row for row in report.rows if row.result is Result.FAILED] == []
    assert report.judgement == "met"
    assert "in 3 processes" in next(row.said for row in report.rows if row.id == "times")


def test_a_run_that_was_stopped(sealed: Sealed, tmp_path: Path) -> None:
    """Its bundle verifies and says that nothing is proven; gone on with, there is another that goes further."""

    def stopped(run: Run) -> Run:
        return carry_out(run, before="sever")

    made = make_sealed(tmp_path, sealed.root.parent, carried_out=stopped)
    report = made.verify(made.bundle)
    assert [row for row in report.rows if row.result is Result.FAILED] == []
    assert report.judgement == "failed"
    old = stored_checkpoints(made.run / "checkpoints")[-1]
    carry_out(reopen(made.run, RunOptions({"sever": "Ada"}, {"Ada": str(tmp_path / "ada.pem")})))
    report = made.verify(made.bundle, made.given(checkpoints=[("old.txt", old.data)]))
    assert [row for row in report.rows if row.result is Result.FAILED] == []
    assert report.judgement == "met"


def test_a_run_that_rebuilt_before_the_cut(sealed: Sealed, tmp_path: Path) -> None:
    """With overlap: the early cut is in the bundle, and nothing fails."""

    def twice(run: Run) -> Run:
        return carry_out(reopen(carry_out(run, before="sever").directory.path, run.options))

    made = make_sealed(tmp_path, sealed.root.parent, change=lambda plan: replace(plan, overlap=True), carried_out=twice)
    report = made.verify(made.bundle)
    assert [row for row in report.rows if row.result is Result.FAILED] == []
    assert "data/early-cut.json" in apart(made.bundle)[1]


def test_hostile_text_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a bundle says is printed as text; in JSON as escapes."""
    from exitdrill.cli.bundles import _facts, _show
    from exitdrill.cli.console import out_json
    from exitdrill.evidence.checking import Report, Row

    hostile = "\x1b[2J\u202e<script>\r\nx"
    report = Report((Row("x", hostile, Result.FAILED, hostile),), hostile, hostile, hostile, 1.0, (hostile,))
    _show(report)
    out_json(_facts(report))
    said = capsys.readouterr().out
    assert not set(said) & set("\x1b\u202e\r")


# sealed anew


def _resealed(sealed: Sealed, folder: Path, change: Callable[[dict[str, Any]], None]) -> Sealed:
    """The run with lines of its journal changed and everything signed anew: what who has the keys can do."""
    import rfc8785

    from exitdrill.evidence.checkpoint import Checkpoint, origin
    from exitdrill.evidence.journal import read_tree
    from exitdrill.evidence.note import sign_note

    shutil.copytree(sealed.run, folder / sealed.run.name)
    directory = RunDirectory(folder / sealed.run.name)
    lines = []
    for line in directory.journal.read_bytes().splitlines():
        event = json.loads(line)
        change(event)
        lines.append(rfc8785.dumps(event) + b"\n")
    directory.journal.write_bytes(b"".join(lines))
    for stored in stored_checkpoints(directory.checkpoints):
        partial_journal = folder / "partial"
        partial_journal.write_bytes(b"".join(lines[: stored.checkpoint.size]))
        point = Checkpoint(origin(directory.id), stored.checkpoint.size, read_tree(partial_journal).root())
        note, _ = sign_note(point.text, point.origin, sealed.signers)
        stored.path.write_bytes(note.to_bytes())
    head = stored_checkpoints(directory.checkpoints)[-1].checkpoint
    write_bundle(directory, sealed.plan, head, sealed.signers)
    return replace(sealed, run=directory.path)


def _another_seed(event: dict[str, Any]) -> None:
    if event["event"] == "sample seed":
        event["seed"] = "00" * 32


def _no_tokens(sealed: Sealed) -> None:
    for token in (sealed.run / "checkpoints").glob("*.tsr"):
        token.unlink()


def test_sealed_anew_with_the_same_keys(sealed: Sealed, tmp_path: Path) -> None:
    """Old tokens and signed answers are about other bytes; without them an old checkpoint shows it."""
    made = _resealed(sealed, tmp_path / "one", _another_seed)
    report = made.verify(made.bundle)
    assert failed(report) == ["timestamps", "bounds", "approvals"]
    assert "the token is about other bytes" in next(row.said for row in report.rows if row.id == "timestamps")

    def untimed(event: dict[str, Any]) -> None:
        _another_seed(event)
        if event["event"] == "timestamped":
            event["event"], event["reason"] = "not timestamped", "the authority did not answer"

    made = _resealed(sealed, tmp_path / "two", untimed)
    _no_tokens(made)
    write_bundle(
        RunDirectory(made.run), made.plan, stored_checkpoints(made.run / "checkpoints")[-1].checkpoint, made.signers
    )
    assert failed(made.verify(made.bundle)) == ["approvals"]
    report = made.verify(made.bundle, made.given(approvers=()))
    assert failed(report) == []  # nothing in the bundle itself can show it …
    assert "the plan names an authority" in next(row.said for row in report.rows if row.id == "timestamps")
    for number in (0, -1):
        old = stored_checkpoints(sealed.run / "checkpoints")[number]
        report = made.verify(made.bundle, made.given(approvers=(), checkpoints=[("kept.txt", old.data)]))
        assert failed(report) == ["earlier"]  # … and what was kept does
        assert "sealed anew" in next(row.said for row in report.rows if row.id == "earlier")


def test_sealed_anew_and_stamped_late(sealed: Sealed, tmp_path: Path) -> None:
    """New tokens on a journal whose clock says another day: the authority's clock gives it away."""

    def earlier(event: dict[str, Any]) -> None:
        for name in ("utc", "t0_utc"):
            if name in event:
                event[name] = event[name].replace("2026-", "2025-", 1)

    made = _resealed(sealed, tmp_path / "one", earlier)
    with authority(sealed.root.parent) as local:
        from exitdrill.clock import SystemClock
        from exitdrill.evidence.timestamps import Authority

        for stored in stored_checkpoints(made.run / "checkpoints"):
            stored.token_path.write_bytes(Authority(local.url, 20, SystemClock()).stamp(stored.data).data)
    write_bundle(
        RunDirectory(made.run), made.plan, stored_checkpoints(made.run / "checkpoints")[-1].checkpoint, made.signers
    )
    rows = {row.id: row.said for row in made.verify(made.bundle).rows}
    assert "the authority says 2026" in rows["timestamps"] or "not the token that the journal has" in rows["timestamps"]


def test_signed_by_another_key(sealed: Sealed, tmp_path: Path) -> None:
    """Where a key was lost: the old one does not open it, and the journal did not announce the new one."""
    new_key(tmp_path / "new")
    run, members = apart(sealed.bundle)
    other = open_key("new", tmp_path)
    made = together(run, members, [other])
    assert failed(sealed.verify(made)) == ["index"]
    rows = sealed.verify(made, sealed.given(keys=[other.key, *sealed.keys], threshold=1))
    assert failed(rows) == ["signers"]
    known = PublicKey.load(tmp_path / "new.pub")
    assert failed(sealed.verify(made, sealed.given(keys=[known], threshold=1))) == [
        "checkpoints",
        "signers",
        "statements",
    ]


# again at the target


def test_live(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample is read again; an object that was altered since is found, and gone is different too."""
    assert main.run(_words(sealed, "--live", str(sealed.drill), "--json")) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert "was taken away" in rows["live case-files"]["said"]
    kept = make_sealed(tmp_path, sealed.root.parent, keep=True)
    words = [*_words(kept), "--live", str(kept.drill)]
    shutil.move(kept.run / "evidence.zip", tmp_path / "e.zip")
    shutil.rmtree(kept.run)  # not needed any more
    words[1] = str(tmp_path / "e.zip")
    assert main.run(words) == 0
    assert "0 of 12 objects differ: all there are" in capsys.readouterr().out
    assert main.run([*words, "--sample", "4", "--fresh"]) == 0
    assert "0 of 4 objects differ: at 95 % confidence at most" in capsys.readouterr().out
    changed = 0
    for path in (tmp_path / "target").rglob("*"):
        if path.is_file() and b"the text of number 7" in path.read_bytes():
            path.chmod(0o644)
            path.write_bytes(path.read_bytes().replace(b"number 7", b"number 8"))
            changed += 1
    assert changed
    assert main.run(words) == 5
    said = capsys.readouterr().out
    assert "1 of 12 objects differ" in said
    assert "files/07.txt: " in said


def test_live_elsewhere_is_bad_usage(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill file whose asset comes up in another bucket is of another run."""
    other = tmp_path / "drill.yaml"
    shutil.copy(sealed.folder / "playbook.yaml", tmp_path)
    other.write_text(sealed.drill.read_text().replace("{bucket: files}", "{bucket: others}"))
    assert main.run(_words(sealed, "--live", str(other))) == 2
    assert "comes up elsewhere" in capsys.readouterr().err


# tools that are not ours


def test_sha256sum_and_a_bagit_validator(sealed: Sealed, tmp_path: Path) -> None:
    """Unzipped by unzip or Python, checked by sha256sum, validated by the Library of Congress's bagit."""
    import bagit

    shutil.unpack_archive(sealed.run / "evidence.zip", tmp_path)
    (bag,) = tmp_path.iterdir()
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        done = subprocess.run(
            ["sha256sum", "--strict", "-c", manifest], cwd=bag, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert bagit.Bag(str(bag)).validate()
    assert sorted(p.name for p in bag.iterdir()) == [
        "bag-info.txt",
        "bagit.txt",
        "data",
        INDEX,
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    ]
    (bag / "data" / "record.json").write_text("{}")
    done = subprocess.run(
        ["sha256sum", "-c", "manifest-sha256.txt"], cwd=bag, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1


def test_dsse_by_plain_cryptography(sealed: Sealed) -> None:
    """From the documentation of DSSE alone: the index and both statements."""
    from base64 import b64decode

    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    _, members = apart(sealed.bundle)
    keys = [load_pem_public_key((sealed.folder / f"{name}.pem.pub").read_bytes()) for name in ("a", "b")]
    for name in (INDEX, "data/statements/drill-result.dsse.json", "data/statements/test-result.dsse.json"):
        envelope = json.loads(members[name])
        kind, payload = envelope["payloadType"].encode(), b64decode(envelope["payload"])
        message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        for key, signature in zip(keys, envelope["signatures"], strict=True):
            key.verify(b64decode(signature["sig"]), message)  # type: ignore[union-attr,call-arg]  # Ed25519; raises
    listed = json.loads(b64decode(json.loads(members[INDEX])["payload"]))["members"]
    assert {one["path"]: one["sha256"] for one in listed} == {
        name: sha256(data).hexdigest() for name, data in members.items() if name.startswith("data/")
    }


def test_openssl_verifies_the_tokens(sealed: Sealed, tmp_path: Path) -> None:
    """Each token out of the bundle, over its checkpoint out of the bundle."""
    from authority import openssl_verifies

    _, members = apart(sealed.bundle)
    tokens = [name for name in members if name.endswith(".tsr")]
    assert len(tokens) > 2
    for name in tokens:
        (tmp_path / "t").write_bytes(members[name])
        (tmp_path / "d").write_bytes(members[name.replace(".tsr", ".txt")])
        assert openssl_verifies(tmp_path / "t", tmp_path / "d", sealed.root)


def test_the_index_says_what_sign_says(sealed: Sealed) -> None:
    """The helper of these tests makes the index that the program made: what they mutate is what there is."""
    run, members = apart(sealed.bundle)
    payload = {name: data for name, data in members.items() if name.startswith("data/")}
    made = sign(INDEX_TYPE, index_of(run, payload, members[INDEX]).to_bytes(), sealed.signers)
    assert made == members[INDEX]
    assert together(run, members) == sealed.bundle
