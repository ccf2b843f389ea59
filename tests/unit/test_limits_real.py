"""Limits on real sockets, files and worker processes: what a place asks for, and what a drill allows itself."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exitdrill.clock import SystemClock, format_utc
from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.connector.provider import Provider
from exitdrill.connector.registry import connector
from exitdrill.connector.retry import RetryPolicy, Tally
from exitdrill.connector.window import Slots
from exitdrill.emulator import Running
from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.plan.drill import Asset, DrillPlan, Level, Mode, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.testing._http import Head
from exitdrill.testing.conformance import fresh_container
from exitdrill.testing.faults import Fault, FaultKind, FaultProxy
from exitdrill.testing.memory import HONEST, MemoryProvider
from exitdrill.transfer.client import run_job
from exitdrill.transfer.copying import Evacuation
from exitdrill.transfer.job import Job, Result
from exitdrill.transfer.layout import RunDirectory, RunFacts, write_atomic
from exitdrill.transfer.limits import Pace
from exitdrill.transfer.partrun import Meter, PartRun
from exitdrill.transfer.places import vault_container
from exitdrill.transfer.rows import InventoryRow, LedgerRow, read_rows, write_part

_OBJECTS = 150


class _Watched(FaultProxy):
    """Writes down when each PUT came, and which ones it refused itself."""

    def __init__(self, host: str, port: int, *faults: Fault) -> None:
        self.puts: list[float] = []
        self.refused: list[float] = []
        super().__init__(host, port, *faults)

    def _choose(self, head: Head) -> Fault | None:
        fault = super()._choose(head)
        if head.method == "PUT":
            self.puts.append(time.monotonic())
            self.refused += self.puts[-1:] if fault else []
        return fault


class _Copy:
    """Objects in memory, copied to a bucket behind a proxy at a pace."""

    def __init__(self, folder: Path, source: ObjectStore, target: ObjectStore, pace: Pace) -> None:
        self.folder, self.source, self.target, self.pace = folder, source, target, pace
        self.sizes: list[int] = []
        self.began: list[float] = []
        self.ended: list[float] = []

    def run(self, threads: int) -> list[LedgerRow]:
        part, ledger = self.folder / "part.parquet", self.folder / "ledger.parquet"
        write_part(part, [InventoryRow.of(entry) for entry in self.source.list()], InventoryRow)
        copy = Evacuation(self.source, self.target, frozenset(), lambda: False, self._moved)
        slots = Slots(self.pace.window)
        PartRun(
            part, InventoryRow, ledger, self.folder / "work", "evacuate", copy, lambda: None, threads,
            lambda: False, Meter(), slots=slots,
        ).run()  # fmt: skip
        return list(read_rows(ledger, LedgerRow))

    def _moved(self, size_bytes: int) -> None:
        self.sizes.append(self.pace.window.size)
        self.began.append(time.monotonic())
        self.pace.moved(size_bytes)
        self.ended.append(time.monotonic())


def _memory(count: int, size: int, retry: RetryPolicy | None = None) -> ObjectStore:
    provider = MemoryProvider("source", HONEST, None, retry)
    provider.ensure_container("c")
    store = provider.objects("c")
    for number in range(count):
        store.write(WriteRequest(f"{number:04d}", BytesBody(bytes([number % 256]) * size)))
    return store


def _through(moto: Running, proxy: FaultProxy, retry: RetryPolicy | None) -> Provider:
    s3 = connector("s3")
    return s3.open("target", s3.settings.model_validate({**moto.settings, "endpoint": proxy.url}), retry)


@pytest.fixture
def bucket(moto: Running) -> Iterator[str]:
    s3 = connector("s3")
    with s3.open("moto", s3.settings.model_validate(moto.settings)) as provider, fresh_container(provider) as name:
        yield name


def _proxy(moto: Running, *faults: Fault) -> _Watched:
    address = urlsplit(moto.settings["endpoint"])
    return _Watched(str(address.hostname), int(address.port or 0), *faults)


def test_a_place_that_asks_to_wait_is_left_alone(tmp_path: Path, moto: Running, bucket: str) -> None:
    """After a 503 with Retry-After: 1 nobody sends for a second, the window halves and recovers, and all arrive."""
    tally, clock = Tally(), SystemClock()
    pace = Pace(Limits(8), 8, tally, clock, lambda: False)
    fault = Fault(FaultKind.STATUS, method="PUT", skip=40, count=1, status=503, retry_after_seconds=1)
    with ExitStack() as stack:
        proxy = stack.enter_context(_proxy(moto, fault))
        target = stack.enter_context(_through(moto, proxy, pace.retry)).objects(bucket)
        copy = _Copy(tmp_path, _memory(_OBJECTS, 100), target, pace)
        rows = copy.run(threads=8)
        assert [entry.key for entry in target.list()] == [f"{number:04d}" for number in range(_OBJECTS)]
    assert len([row for row in rows if row.evacuated]) == _OBJECTS
    (refused,) = proxy.refused
    # what was on its way when the answer came is let be
    assert not [put for put in proxy.puts if refused + 0.5 < put < refused + 0.99]
    assert [put for put in proxy.puts if put > refused + 0.99]
    assert (pace.window.decreases, pace.window.smallest) == (1, 4)
    assert pace.window.size > 4
    assert max(copy.sizes[copy.sizes.index(4) :]) > 4
    assert tally.throttled == 1
    assert tally.waited_ns > 1e9
    assert tally.limited_ns == 0


def test_a_request_rate_holds(tmp_path: Path, moto: Running, bucket: str) -> None:
    """At 40 requests a second, 60 objects in 8 threads take a second and a half."""
    tally, clock = Tally(), SystemClock()
    pace = Pace(Limits(None, 40), 8, tally, clock, lambda: False)
    with _proxy(moto) as proxy, _through(moto, proxy, pace.retry) as provider:
        began = time.monotonic()
        _Copy(tmp_path, _memory(60, 100), provider.objects(bucket), pace).run(threads=8)
    assert len(proxy.puts) == 60
    assert proxy.puts[-1] - began > 57 / 40
    assert tally.limited_ns > 0


def test_a_bandwidth_holds_on_files(tmp_path: Path) -> None:
    """4 MB to a directory at 4 MB/s take a second, within a tenth; up to three times where the machine is busy."""
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        took, limited = _timed_copy(folder, 4_000_000.0)
        assert took > 0.9
        assert limited > 0.5
        if took < 1.1:
            return
    raise AssertionError(took)


def _timed_copy(folder: Path, rate: float) -> tuple[float, float]:
    """Copy 4 MB; how long that took and how long the limit was waited for, over all threads, in seconds."""
    tally = Tally()
    pace = Pace(Limits(None, None, (BandwidthLine(rate),)), 8, tally, SystemClock(), lambda: False)
    local = connector("local")
    with local.open("vault", local.settings.model_validate({"path": str(folder)}), pace.retry) as vault:
        vault.ensure_container("c")
        with vault.objects("c") as target:
            (folder / "run").mkdir()
            copy = _Copy(folder / "run", _memory(80, 50_000), target, pace)
            rows = copy.run(threads=8)
    took = max(copy.ended) - min(copy.began)  # making and closing files of the run's own is not of the copy
    assert sum(row.size for row in rows if row.evacuated) == 4_000_000
    return took, tally.limited_ns / 1e9


# worker processes


def _plan(**limits: Limits) -> DrillPlan:
    places = {n: Place(n, "local", {"path": f"./{n}"}, limits=limits.get(n, Limits())) for n in ("a", "v", "b")}
    asset = Asset("files", "objects", {"container": "c"}, {"bucket": "t"}, Level.FULL)
    step = Step("declare", "drill.declare", "why", "hand")
    return DrillPlan(
        "d", Mode.REHEARSAL, Objectives(), places, Route("a", "v", "b"), (asset,),
        Playbook("p", (Phase("declare", (step,)),)),
    )  # fmt: skip


def _run(folder: Path, plan: DrillPlan) -> RunDirectory:
    """A run on three directories, with 40 objects of 50 kB at the source."""
    made = RunDirectory.create(folder / "runs", "20260101-000000-abcdef")
    write_atomic(made.plan, json.dumps(plan.to_json()).encode())
    made.write_facts(RunFacts(made.id, format_utc(datetime(2026, 1, 1, tzinfo=UTC)), str(folder), "0"))
    local = connector("local")
    for place, container in (("a", "c"), ("v", vault_container(made.id, plan, plan.assets[0])), ("b", "t")):
        (folder / place).mkdir()
        with local.open(place, local.settings.model_validate({"path": str(folder / place)})) as provider:
            provider.ensure_container(container)
            with provider.objects(container) as store:
                for number in range(40 if place == "a" else 0):
                    store.write(WriteRequest(f"{number:02d}", BytesBody(bytes([number]) * 50_000)))
    return made


def _timed(run: RunDirectory, task: str, *parts: int, **options: object) -> tuple[float, Result]:
    began = time.monotonic()
    result = run_job(Job(task, str(run.path), "files", parts, options))
    return time.monotonic() - began, result


def test_workers_keep_to_their_share_of_both_places(tmp_path: Path) -> None:
    """Each leg keeps to its own places' limits, verification too; the answer tells what was waited, by place."""
    source = Limits(None, None, (BandwidthLine(4_000_000),))
    target = Limits(4, None, (BandwidthLine(2_000_000),))
    run = _run(tmp_path, _plan(a=source, b=target))
    _timed(run, "inventory")
    alone, result = _timed(run, "evacuate", 1, share=2)  # one of two workers: 2 MB at 2 MB/s
    assert alone > 0.9
    pace = result.facts["pace"]
    assert set(pace) == {"a", "v"}
    assert pace["a"]["waited_for_bandwidth_ns"] == result.limited_ns > 0
    assert pace["v"]["waited_for_bandwidth_ns"] == 0
    (back, result), (read, _) = _timed(run, "rebuild", 1), _timed(run, "read back", 1)
    assert back > 0.9
    assert read > 0.9
    assert result.facts["pace"]["b"]["window"] == 4
    assert result.facts["pace"]["b"]["waited_for_bandwidth_ns"] == result.limited_ns > 0
    checked, result = _timed(run, "verify", seed="00" * 32)
    assert result.facts["verification"]["equal"] == 40
    assert checked < read  # what was read back before is not read again


@pytest.mark.parametrize("pack_bytes", [0, 32_000_000])
def test_a_vault_is_written_and_read_at_its_pace(tmp_path: Path, pack_bytes: int) -> None:
    """Packs go in and come out as slowly as objects do that are files of their own."""
    run = _run(tmp_path, _plan(v=Limits(None, None, (BandwidthLine(2_000_000),))))
    _timed(run, "inventory")
    for leg in ("evacuate", "rebuild"):
        took, result = _timed(run, leg, 1, pack_bytes=pack_bytes)
        assert took > 0.9
        assert result.facts["pace"]["v"]["waited_for_bandwidth_ns"] == result.limited_ns > 0


def test_a_drill_without_limits_waits_for_nothing(tmp_path: Path) -> None:
    """No limit, no wait, and nothing to tell."""
    run = _run(tmp_path, _plan())
    run_job(Job("inventory", str(run.path), "files"))
    result = run_job(Job("evacuate", str(run.path), "files", (1,), {"share": 2}))
    assert (result.limited_ns, result.waited_ns) == (0, 0)
    assert all(facts["decreases"] == 0 for facts in result.facts["pace"].values())
    assert replace(result, facts={}, busy_ns=0) == Result({})
