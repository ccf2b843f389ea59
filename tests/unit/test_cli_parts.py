"""What the command line adds up, words and redacts, without a process around it."""

import io
import json
import logging
import os
import pty
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from exitdrill.assets.interface import Forecast
from exitdrill.cli import console, main, options
from exitdrill.cli.about import connectors
from exitdrill.cli.asking import TerminalAsker
from exitdrill.cli.forecast import bounds, chain, show_plan, to_json
from exitdrill.cli.limited import floor, says
from exitdrill.cli.progress import Follower, at, left
from exitdrill.cli.readiness import Readiness, only
from exitdrill.cli.screen import LiveScreen, PlainScreen
from exitdrill.errors import NotFoundError, StoppedError, UsageError
from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.model.objects import Outcome
from exitdrill.model.record import AssetRecord, Counts, LegRecord
from exitdrill.plan.drill import Evidence, Level, Objectives, Playbook
from exitdrill.playbook.conductor import Answer, Question
from exitdrill.testing.runs import make_asset, make_plan
from exitdrill.transfer.job import Tick


@pytest.fixture
def nothing_hidden() -> Iterator[None]:
    """A process that hides nothing yet."""
    before = list(console._secrets)
    console._secrets.clear()
    yield
    console._secrets[:] = before


def _record(listed: Counts, moved: Counts) -> AssetRecord:
    return AssetRecord("files", "objects", listed, LegRecord("evacuate", {Outcome.COPIED: moved}))


class TestFollower:
    def test_workers_of_one_leg_add_up_to_what_was_there_before(self) -> None:
        """A resumed leg begins with what is done; two workers' counts are summed, and each replaces its own."""
        follower = Follower()
        follower.begin({"files": _record(Counts(100, 1000), Counts(40, 400))}, 0.0)
        follower.tick(Tick("evacuate", "files", 5, 50, 0, (1,)), 1.0)
        follower.tick(Tick("evacuate", "files", 10, 100, 1, (2,)), 2.0)
        leg = follower.tick(Tick("evacuate", "files", 10, 100, 0, (1,)), 4.0)
        assert (leg.objects, leg.size_bytes, leg.errors) == (60, 600, 1)
        assert leg.share == 0.6
        assert (leg.objects_per_second, leg.bytes_per_second) == (5.0, 50.0)
        assert leg.remaining_seconds == 8.0
        assert leg.line() == "evacuate files: 60 of 100 objects, 600 B of 1.0 kB, 50 B/s, 1 error"

    def test_the_rate_is_of_the_last_seconds_and_at_the_end_of_all(self) -> None:
        """While it goes on, the rate follows; what is finished shows its average."""
        follower = Follower()
        follower.begin({}, 0.0)
        for second in range(1, 41):
            follower.tick(Tick("inventory", "files", min(second, 20) * 100, 0, 0), float(second))
        assert follower.legs()[0].objects_per_second == 0
        assert follower.finished()[0].objects_per_second == 50
        assert follower.legs()[0].total is None
        assert follower.legs()[0].remaining_seconds is None

    def test_time_left_never_looks_longer_than_it_is(self) -> None:
        """Seconds that have begun are gone; a missed RTO says by how much."""
        assert left(timedelta(hours=1), 0.4) == "0:59:59 left"
        assert left(timedelta(hours=1), 3601) == "RTO missed by 0:00:01.0"
        assert left(None, 5) == "no RTO set"
        assert at(3725.9) == "1:02:05"


class TestForecast:
    def test_the_critical_path_is_the_longest_chain(self) -> None:
        """The chain of a and b is longer than c alone, though c is the longest asset."""
        assets = (make_asset("a"), make_asset("b", depends_on=("a",)), make_asset("c"))
        assert chain(assets, {"a": 3, "b": 4, "c": 5}) == (("a", "b"), 7)
        assert chain((), {}) == ((), 0.0)

    def test_best_is_the_chain_and_worst_the_sum(self) -> None:
        """Side by side at best, over one line at worst; looking counts as it was measured."""
        phases = (*only("preflight.check").phases, *only("assets.evacuate").phases)
        phases = (replace(phases[0], name="preflight"), phases[1])
        plan = replace(make_plan(), assets=(make_asset("a"), make_asset("b")), playbook=Playbook("p", phases))
        forecasts = {"a": Forecast(1, 1, 10, 20, 1), "b": Forecast(1, 1, 30, 5, 1)}
        rows = {r.phase: r for r in bounds(plan, Readiness((), {"preflight": 2.0}, {}, forecasts))}
        assert (rows["evacuate"].best_seconds, rows["evacuate"].worst_seconds) == (30, 40)
        assert rows["evacuate"].chain == ("b",)
        assert rows["preflight"].worst_seconds == 2
        assert bounds(plan, Readiness(())) == []

    def test_limits_hold_at_best_and_at_worst_and_can_put_the_rto_out_of_reach(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Assets share a place's bandwidth; a timetable counts from when the leg begins; it is said, with the place."""
        day = BandwidthLine(1_000_000, from_minute=480, to_minute=1080)
        assets = (make_asset("a"), make_asset("b", verify=Level.FULL))
        phases = tuple(replace(only(f"assets.{leg}").phases[0], name=leg) for leg in ("evacuate", "rebuild", "verify"))
        plan = make_plan(*assets, playbook=Playbook("p", phases))
        places = dict(plan.places)
        places["azure"] = replace(places["azure"], limits=Limits(bandwidth=(day, BandwidthLine(10_000_000))))
        places["aws"] = replace(places["aws"], limits=Limits(requests_per_second=10))
        plan = replace(plan, places=places, objectives=Objectives(timedelta(hours=2)))
        listed = {"a": Counts(1000, 4_000_000_000), "b": Counts(8000, 2_000_000_000)}
        found = Readiness((), {}, listed, {"a": Forecast(1, 1, 10, 10, 10), "b": Forecast(1, 1, 10, 10, 10)})
        start = datetime(2026, 1, 5, 7, 58, 20, tzinfo=UTC)  # 1 GB before 8 o'clock, 5 GB after
        rows = {row.phase: row for row in bounds(plan, found, start)}
        assert (rows["evacuate"].best_seconds, rows["evacuate"].worst_seconds) == (5100, 5100)
        assert (rows["rebuild"].best_seconds, rows["rebuild"].worst_seconds) == (900, 900)
        assert (rows["verify"].best_seconds, rows["verify"].worst_seconds) == (10, 20)
        floors = [least for row in rows.values() for least in row.floors]
        lines = says(plan, floors)
        assert lines[0].startswith("evacuate takes 1:25:00 at least, if begun now: place azure is limited, bandwidth")
        assert lines[1].endswith("place aws is limited, 10 requests a second.")
        assert len(lines) == 2  # 1:40 of 2:00
        short = replace(plan, objectives=Objectives(timedelta(hours=1)))
        assert says(short, floors)[-1] == (
            "The limits put the RTO of 1:00:00 out of reach: because of them alone the drill takes 1:40:00."
        )
        show_plan(short, found)
        assert "out of reach" in capsys.readouterr().out
        json.dumps(to_json(short, found), allow_nan=False)

    def test_a_limit_that_takes_years_is_still_a_number(self) -> None:
        """More than a timetable is looked ahead for is said as what was looked at."""
        lines = (BandwidthLine(1_000, from_minute=0, to_minute=60), BandwidthLine(1_001))
        places = dict(make_plan().places)
        places["azure"] = replace(places["azure"], limits=Limits(bandwidth=lines))
        plan = make_plan(places=places)
        least = floor(plan, "evacuate", {"case-files": Counts(1, 10**18)}, datetime(2026, 1, 5, tzinfo=UTC))
        assert least.seconds == 3 * 365 * 86400
        assert "out of reach" in says(plan, [least])[-1]


class TestConsole:
    @pytest.mark.usefixtures("nothing_hidden")
    def test_secrets_are_hidden_in_every_form(self, capsys: pytest.CaptureFixture[str]) -> None:
        """As they are, in a URL, in JSON, in a header; in results, messages and logs alike."""
        secret = 'a/b+c="d"é'
        console.hide([secret, "short"])
        console.out(f"plain {secret}")
        console.err(f"url {quote(secret, safe='')}")
        console.out_json({"json": secret})
        console.out("short")
        captured = capsys.readouterr()
        assert captured.out.count("[secret]") == 2
        assert captured.err == "url [secret]\n"
        assert "short" in captured.out
        record = logging.LogRecord("x", logging.INFO, "", 1, "said %s", (secret,), None)
        assert options._Redacting("%(message)s").format(record) == "said [secret]"

    def test_a_hostile_key_moves_no_cursor(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Control characters in an error arrive as text."""
        console.say_error(NotFoundError("no \x1b[2Jobject", resource="a\rb", hint="look"))
        assert capsys.readouterr().err == "error: a\\rb: no \\x1b[2Jobject\n  to do     look\n"

    def test_tables_without_a_terminal_are_aligned_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whole, however wide; numbers to the right."""
        console.table(("name", "n"), [("a" * 200, "1"), ("b", "20")], right=(1,))
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "name" + " " * 198 + " n"
        assert lines[2] == "b" + " " * 199 + "  20"


class TestErrors:
    def test_what_was_not_foreseen_is_a_message_and_4(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No traceback but with --verbose."""

        def broken() -> tuple[str, ...]:
            raise KeyError("gone")

        monkeypatch.setattr("exitdrill.cli.about._names", broken)
        assert main.run(["connectors"]) == 4
        said = capsys.readouterr().err
        assert said.startswith("error: unexpected KeyError: 'gone'\n")
        assert "Traceback" not in said

    def test_an_extra_that_is_missing_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The table of connectors says what to install."""
        monkeypatch.setattr("exitdrill.cli.about._missing", lambda _name, extra: ["x"] if extra else [])
        assert connectors(json=True) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["s3"]["install"] == "pip install 'exitdrill[s3]'"
        assert rows["local"]["installed"] is True

    def test_an_approval_must_name_step_and_person(self) -> None:
        """Only steps that ask can be approved."""
        with pytest.raises(UsageError, match="asks for a person"):
            options.approvals(["evacuate=Anna"], make_plan())

    def test_a_key_must_name_person_and_path(self) -> None:
        """An answer that must be signed and cannot be is found before the clock starts."""
        plan = replace(make_plan(), evidence=Evidence(approvers={"sever": ("anna.pub",)}))
        for given in ("Anna", "=k.pem", "Anna="):
            with pytest.raises(UsageError, match="names no key"):
                options.approver_keys([given], plan, {})
        with pytest.raises(UsageError, match="takes a signed answer only"):
            options.approver_keys(["Bob=k.pem"], plan, {"sever": "Anna"})
        assert options.approver_keys(["Anna=a=b.pem"], plan, {"sever": "Anna"}) == {"Anna": "a=b.pem"}
        assert options.approver_keys([], plan, {"look": "Anna"}) == {}


class TestAsking:
    QUESTION = Question("sever", "approval", "from here on the source is gone", "ask the duty officer")

    def _ask(self, monkeypatch: pytest.MonkeyPatch, typed: bytes, stop: threading.Event) -> str:
        return self._answer(monkeypatch, typed, stop, self.QUESTION).name

    def _answer(
        self, monkeypatch: pytest.MonkeyPatch, typed: bytes, stop: threading.Event, question: Question
    ) -> Answer:
        master, slave = pty.openpty()
        with os.fdopen(slave, "r", buffering=1) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            os.write(master, typed)
            try:
                return TerminalAsker(PlainScreen(), stop)(question)
            finally:
                os.close(master)

    def test_a_name_is_an_answer(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """The question says why, and how by hand."""
        assert self._ask(monkeypatch, b"Anna de Vries\n", threading.Event()) == "Anna de Vries"
        said = capsys.readouterr().err
        assert "from here on the source is gone" in said
        assert "ask the duty officer" in said

    def test_a_signed_answer_names_a_key(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where the drill wants it signed, the key is asked for, too; nothing: an option named it."""
        signed = replace(self.QUESTION, signed=True)
        for typed, key in ((b"Anna\nkeys/anna.pem\n", "keys/anna.pem"), (b"Anna\n\n", None)):
            answer = self._answer(monkeypatch, typed, threading.Event(), signed)
            assert (answer.name, answer.key) == ("Anna", key)
        assert "path of your private key" in capsys.readouterr().err

    def test_nothing_means_no(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty line stops the drill, to be resumed."""
        with pytest.raises(StoppedError, match="not approved"):
            self._ask(monkeypatch, b"\n", threading.Event())

    def test_a_stop_ends_the_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody has to answer before Ctrl-C takes effect."""
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(StoppedError, match="while a person was asked"):
            self._ask(monkeypatch, b"", stop)


class TestLiveScreen:
    def test_its_legs_fit_a_small_terminal(self) -> None:
        """At 80 columns, every line of it fits."""
        from rich.console import Console

        drawn = io.StringIO()
        screen = LiveScreen()
        screen._console = Console(file=drawn, width=80, height=24, markup=False, highlight=False)
        screen._follower.begin({"files": _record(Counts(9_999_999, 10**13), Counts())}, 0.0)
        for second in range(1, 5):
            screen._follower.tick(Tick("evacuate", "files", second * 100_000, second * 10**9, 7), float(second))
        screen._console.print(*screen._legs())
        lines = drawn.getvalue().splitlines()
        assert "evacuate files" in lines[1]
        assert "400,000" in lines[1]
        assert "1.0 GB/s" in lines[1]
        assert max(map(len, lines)) <= 80


def test_signals_are_given_back() -> None:
    """After a run, Ctrl-C does again what it did before."""
    from exitdrill.cli.interrupts import interrupts

    before = signal.getsignal(signal.SIGINT)
    stop = threading.Event()
    said: list[str] = []
    with interrupts(stop, said.append):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGINT) is before
