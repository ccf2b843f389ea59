"""Claims on parts: leases and fencing tokens in a real PostgreSQL."""

import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from exitdrill.errors import (
    ClaimLostError,
    DefinitionError,
    PermissionDeniedError,
    RunError,
    StoppedError,
    TransientError,
)
from exitdrill.model.objects import Outcome
from exitdrill.transfer.claims import Fence, LocalClaims, PostgresClaims, for_each_part
from exitdrill.transfer.postgres import ClaimTable, Key, address_of
from exitdrill.transfer.rows import LedgerRow, read_rows, write_part
from exitdrill.transfer.takeover import forget_work, take_over, work_files, work_path
from exitdrill.transfer.work import PartWork
from postgres import URL_PASSWORD, free_port

LEG, ASSET = "evacuate", "case-files"


def _nothing(part: int, fence: Fence) -> None:
    pass


def _told(claims: PostgresClaims) -> bool:
    return claims.stopped


def _row(key: str) -> LedgerRow:
    return LedgerRow(key, 1, None, None, None, Outcome.COPIED)


@pytest.fixture
def table(postgres: str) -> Iterator[ClaimTable]:
    with ClaimTable(postgres) as made:
        made.prepare()
        yield made


@pytest.fixture
def run() -> str:
    return f"run-{secrets.token_hex(4)}"


@pytest.fixture
def claims(postgres: str, table: ClaimTable, run: str) -> Iterator[Callable[..., PostgresClaims]]:
    """Holders of one run's parts, each with a connection of its own as on a machine of its own."""
    made: list[PostgresClaims] = []

    def make(
        lease_seconds: float = 60.0, counts: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0)
    ) -> PostgresClaims:
        made.append(PostgresClaims(ClaimTable(postgres), run, lease_seconds, counts))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_table_is_made_once(postgres: str, table: ClaimTable) -> None:
    """Where it is there already, nothing is made."""
    assert table.prepare() is False


def test_one_holder_at_a_time_and_what_is_let_go_is_free_at_once(claims: Callable[..., PostgresClaims]) -> None:
    """A second claimer gets nothing while the first holds; let go unfinished, the part is free without a wait."""
    one, two = claims(), claims()
    with one.hold(LEG, ASSET, 1) as mine:
        assert mine is not None
        with two.hold(LEG, ASSET, 1) as theirs:
            assert theirs is None
        assert not two.done(LEG, ASSET, 1)
        with two.hold(LEG, ASSET, 2) as another:
            assert another is not None
    with two.hold(LEG, ASSET, 1) as theirs:
        assert theirs is not None
        assert theirs.token == mine.token + 1


def test_a_renewed_lease_outlives_its_length(claims: Callable[..., PostgresClaims]) -> None:
    """A holder that is alive keeps the part for longer than one lease."""
    one, two = claims(lease_seconds=0.4), claims()
    with one.hold(LEG, ASSET, 1) as mine:
        time.sleep(1.2)
        with two.hold(LEG, ASSET, 1) as theirs:
            assert theirs is None
        assert mine is not None
        mine.check()


def test_a_paused_holder_is_refused(table: ClaimTable, run: str) -> None:
    """Once another took the part, renewing, finishing and releasing with the old token do nothing."""
    key = Key(run, LEG, ASSET, 1)
    assert table.claim(key, "one", 0.2) == 1
    assert table.claim(key, "two", 60.0) is None
    time.sleep(0.3)
    assert table.renew(key, 1, 0.2, (0, 0, 0)) is False, "ran out, but nobody took it: still the first one's"
    time.sleep(0.3)
    assert table.claim(key, "two", 60.0) == 2
    assert table.renew(key, 1, 60.0, (9, 9, 9)) is None
    assert table.finish(key, 1, (9, 9, 9)) is False
    table.release(key, 1)
    assert table.claim(key, "three", 60.0) is None, "the old token could release the new one's claim"
    (standing,), _ = table.standing(run)
    assert (standing.token, standing.done, standing.objects) == (2, False, 0)


def test_done_stays_done(claims: Callable[..., PostgresClaims], table: ClaimTable, run: str) -> None:
    """A finished part is given to nobody, not even when its lease is long over."""
    with claims(lease_seconds=0.2).hold(LEG, ASSET, 1) as mine:
        assert mine is not None
        mine.finish()
    time.sleep(0.4)
    late = claims()
    with late.hold(LEG, ASSET, 1) as theirs:
        assert theirs is None
    assert late.done(LEG, ASSET, 1)
    assert table.claim(Key(run, LEG, ASSET, 1), "x", 60.0) is None


def test_an_answer_that_was_lost_can_be_asked_for_again(table: ClaimTable, run: str) -> None:
    """The same holder claims what it holds again with a newer token, and finishes twice without harm."""
    key = Key(run, LEG, ASSET, 1)
    assert [table.claim(key, "one", 60.0), table.claim(key, "one", 60.0)] == [1, 2]
    assert [table.finish(key, 2, (1, 2, 3)), table.finish(key, 2, (1, 2, 3))] == [True, True]


def test_many_claimers_never_share_a_part(postgres: str, table: ClaimTable, run: str) -> None:
    """Sixteen claimers race for 40 parts: each part goes to exactly one, with token 1."""
    start = threading.Barrier(16)

    def race(n: int) -> list[tuple[int, int]]:
        with ClaimTable(postgres) as mine:
            mine.done(Key(run, LEG, ASSET, 1))  # connected before the race begins
            start.wait(30)
            taken = [(part, mine.claim(Key(run, LEG, ASSET, part), f"h{n}", 60.0)) for part in range(1, 41)]
        return [(part, token) for part, token in taken if token is not None]

    with ThreadPoolExecutor(16) as pool:
        won = [pair for pairs in pool.map(race, range(16)) for pair in pairs]
    assert sorted(won) == [(part, 1) for part in range(1, 41)]


def test_many_claimers_take_over_one_dead_part_once(postgres: str, table: ClaimTable, run: str) -> None:
    """When a lease runs out, one of many who wait gets the part."""
    key = Key(run, LEG, ASSET, 1)
    assert table.claim(key, "dead", 0.3) == 1

    def wait(n: int) -> int | None:
        with ClaimTable(postgres) as mine:
            for _ in range(12):
                if (token := mine.claim(key, f"h{n}", 60.0)) is not None:
                    return token
                time.sleep(0.1)
        return None

    with ThreadPoolExecutor(8) as pool:
        assert [token for token in pool.map(wait, range(8)) if token is not None] == [2]


def test_only_the_servers_clock_counts(table: ClaimTable, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claimer whose own clocks run a day ahead cannot take a part that is held."""
    key = Key(run, LEG, ASSET, 1)
    assert table.claim(key, "one", 60.0) == 1
    ahead, now = time.time() + 86_400, time.monotonic() + 86_400
    monkeypatch.setattr(time, "time", lambda: ahead)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert table.claim(key, "two", 60.0) is None


def test_all_parts_are_done_once_by_whoever(claims: Callable[..., PostgresClaims]) -> None:
    """Three workers with the same parts: each part is done by one; all return when all are done."""
    done: list[int] = []

    def do(part: int, fence: Fence) -> None:
        time.sleep(0.02)
        done.append(part)

    workers = [claims() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda c: for_each_part(c, LEG, ASSET, range(1, 13), do, lambda: False), workers))
    assert sorted(done) == list(range(1, 13))


def test_a_worker_waits_for_a_dead_one_and_takes_over(
    claims: Callable[..., PostgresClaims], table: ClaimTable, run: str
) -> None:
    """A part whose holder died is done when its lease is over; the other parts do not wait for it."""
    assert table.claim(Key(run, LEG, ASSET, 1), "dead", 1.0) == 1
    order: list[tuple[int, int]] = []
    for_each_part(claims(), LEG, ASSET, (1, 2), lambda n, f: order.append((n, f.token)), lambda: False)
    assert order == [(2, 1), (1, 2)]


def test_a_worker_that_lost_its_part_does_it_again_or_finds_it_done(
    claims: Callable[..., PostgresClaims], table: ClaimTable, run: str
) -> None:
    """Taken over in the middle, the first holder keeps nothing, and returns only when the second is done."""
    key, tries = Key(run, LEG, ASSET, 1), []

    def do(part: int, fence: Fence) -> None:
        tries.append(fence.token)
        with psycopg.connect(table._url, autocommit=True) as db:  # as if the lease had run out while it was paused
            db.execute("UPDATE exitdrill_claims SET until = '-infinity' WHERE run = %s", (run,))
        token = table.claim(key, "other", 60.0)
        assert token is not None
        with pytest.raises(ClaimLostError):
            fence.check()
        assert fence.stopping(lambda: False)()
        threading.Timer(0.7, table.finish, (key, token, (0, 0, 0))).start()
        raise StoppedError("what a copying loop says that is told to stop")

    for_each_part(claims(), LEG, ASSET, (1,), do, lambda: False)
    assert tries == [1]
    assert table.done(key)


def test_parts_held_for_ever_are_not_waited_for_for_ever(
    claims: Callable[..., PostgresClaims], table: ClaimTable, run: str
) -> None:
    """When nothing moves for the limit, the job ends with an error that a resume puts right."""
    table.claim(Key(run, LEG, ASSET, 1), "alive", 60.0)
    with pytest.raises(TransientError, match="held by other workers"):
        for_each_part(claims(), LEG, ASSET, (1,), _nothing, lambda: False, limit_seconds=0.2)


def test_a_wish_to_stop_reaches_holders_and_beginners(
    claims: Callable[..., PostgresClaims], table: ClaimTable, run: str
) -> None:
    """A holder hears of it at a renewal, a beginner before it begins, another leg never; it can be taken back."""
    holder, other = claims(lease_seconds=0.4), claims()
    with holder.hold(LEG, ASSET, 1):
        assert not _told(holder)
        table.ask_stop(run, LEG, ASSET, stop=True)
        deadline = time.monotonic() + 5
        while not _told(holder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _told(holder)
    with pytest.raises(StoppedError), other.hold(LEG, ASSET, 2):
        pass
    with other.hold("rebuild", ASSET, 2) as fence:
        assert fence is not None
    table.ask_stop(run, LEG, ASSET, stop=False)
    with claims().hold(LEG, ASSET, 2) as fence:
        assert fence is not None


def test_how_far_parts_are_is_seen(claims: Callable[..., PostgresClaims], table: ClaimTable, run: str) -> None:
    """Counts are the part's, not the process's; what did not move is not told again; a run is forgotten."""
    counts = [(100, 1000, 1)]
    one = claims(counts=lambda: counts[-1])
    with one.hold(LEG, ASSET, 7) as fence:
        assert fence is not None
        counts.append((103, 1500, 2))
        fence.check()
        (standing,), since = table.standing(run)
        assert (standing.part, standing.objects, standing.size_bytes, standing.errors) == (7, 3, 500, 1)
        fence.finish()
    (standing,), since = table.standing(run, since)
    assert standing.done
    assert table.standing(run, since + 3600) == ([], since + 3600)
    assert table.forget(run) == 1
    assert table.standing(run) == ([], 0.0)


def test_a_lost_connection_is_made_again(table: ClaimTable, run: str) -> None:
    """A server that ends our sessions, as at a restart, costs no claim."""
    key = Key(run, LEG, ASSET, 1)
    assert table.claim(key, "one", 60.0) == 1
    with psycopg.connect(table._url, autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'exitdrill'")
    assert table.renew(key, 1, 60.0, (0, 0, 0)) is False


def test_what_postgres_refuses_is_told_without_the_password(postgres: str, table: ClaimTable) -> None:
    """A wrong password, a closed port, no URL, missing rights, no table: each an error of ours."""
    for url in (
        postgres.replace(URL_PASSWORD, "wrong-secret"),
        postgres.replace(f":{_port(postgres)}/", f":{free_port()}/"),
    ):
        with pytest.raises(TransientError) as failed, ClaimTable(url, patience_seconds=0) as there:
            there.done(Key("r", "l", "a", 1))
        assert "secret" not in str(failed.value)
        assert URL_PASSWORD not in str(failed.value)
        assert "127.0.0.1" in str(failed.value)
    with pytest.raises(DefinitionError) as failed_:
        ClaimTable("postgres//user:very-secret@host")
    assert "very-secret" not in str(failed_.value)
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS reader")
        db.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
        db.execute("DROP DATABASE IF EXISTS elsewhere")
        db.execute("CREATE DATABASE elsewhere")
    reader = postgres.replace(f"exitdrill:{URL_PASSWORD}", "reader:r")
    with (
        pytest.raises(PermissionDeniedError, match="CREATE TABLE"),
        ClaimTable(reader.replace("/postgres", "/elsewhere")) as there,
    ):
        there.prepare()
    with pytest.raises(PermissionDeniedError), ClaimTable(reader) as there:
        there.claim(Key("r", "l", "a", 1), "x", 1.0)
    with pytest.raises(RunError, match="no table"), ClaimTable(postgres.replace("/postgres", "/elsewhere")) as there:
        there.done(Key("r", "l", "a", 1))


def _port(url: str) -> int:
    return address_of(url)[0][1]


def test_addresses_of_a_url() -> None:
    """Hosts and ports, the usual port where none is named, and none for a socket."""
    assert address_of("postgresql://a:b@one:1,two:2/db") == (("one", 1), ("two", 2))
    assert address_of("host=db.example dbname=x") == (("db.example", 5432),)
    assert address_of("postgresql:///db?host=/run/postgresql") == ()
    assert socket.gethostname()


def test_one_machine_needs_no_claims() -> None:
    """Each part is given, in order, with a claim that always holds and no guard."""
    seen = []
    for_each_part(LocalClaims(), LEG, ASSET, (3, 1), lambda n, f: seen.append((n, f.token, f.guard)), lambda: False)
    assert seen == [(3, 0, None), (1, 0, None)]
    with pytest.raises(StoppedError):
        for_each_part(LocalClaims(), LEG, ASSET, (1,), _nothing, lambda: True)


def test_a_guarded_part_is_never_replaced(tmp_path: Path) -> None:
    """What a successor wrote stays, whoever comes late; a guard that refuses leaves nothing; nothing is left beside."""
    path = tmp_path / "evacuate-000001.parquet"

    def refuse() -> None:
        raise ClaimLostError("too late")

    with pytest.raises(ClaimLostError):
        write_part(path, [_row("late")], LedgerRow, guard=refuse)
    assert list(tmp_path.iterdir()) == []
    write_part(path, [_row("successor")], LedgerRow, guard=lambda: None)
    write_part(path, [_row("woken")], LedgerRow, guard=lambda: None)
    assert [row.key for row in read_rows(path, LedgerRow)] == ["successor"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_successor_begins_with_what_was_proven(tmp_path: Path) -> None:
    """Rows and uploads of the last holder that can be read go over, while it has the file open still."""
    first = PartWork(take_over(tmp_path, LEG, 1, 1), shared=True)
    first.commit([(0, _row("a")), (1, _row("b"))])
    first.save_upload(2, {"id": "u"})
    second = PartWork(take_over(tmp_path, LEG, 1, 2), shared=True)
    assert second.done() == {0, 1}
    assert second.load_upload(2) == {"id": "u"}
    first.commit([(2, _row("c"))])
    assert second.done() == {0, 1}, "two workers share no file"
    second.commit([(3, _row("d"))])
    first.close()
    second.close()
    assert [p.name for p in work_files(tmp_path, LEG, 1)] == [work_path(tmp_path, LEG, 1, t).name for t in (1, 2)]
    ledger = tmp_path / "ledger" / "evacuate-000001.parquet"
    ledger.parent.mkdir()
    (ledger.parent / f"{ledger.name}.abcd.new").touch()
    forget_work(tmp_path, ledger, LEG, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["ledger"]
    assert list(ledger.parent.iterdir()) == []


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file, and one that somebody paused holds: the part begins with an older one, or anew."""
    monkeypatch.setattr("exitdrill.transfer.takeover._BUSY_SECONDS", 0.5)
    old = PartWork(take_over(tmp_path, LEG, 1, 1), shared=True)
    old.commit([(0, _row("a"))])
    old.close()
    work_path(tmp_path, LEG, 1, 2).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    third = take_over(tmp_path, LEG, 1, 3)
    with closing(sqlite3.connect(third, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        work = PartWork(take_over(tmp_path, LEG, 1, 4), shared=True)
        assert work.done() == {0}
        work.close()
    for token in (1, 3, 4):
        work_path(tmp_path, LEG, 1, token).write_bytes(b"not SQLite at all")
    anew = PartWork(take_over(tmp_path, LEG, 1, 5), shared=True)
    assert anew.done() == set()
    anew.close()
