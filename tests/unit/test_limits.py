"""Windows, governors and buckets: what a place asks for is heeded, and what it can take is found."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from exitdrill.clock import SystemClock
from exitdrill.connector.limits import TokenBucket
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.retry import RetryPolicy, Tally
from exitdrill.connector.window import AdaptiveWindow, PlaceGovernor, Slots
from exitdrill.errors import StoppedError, ThrottledError
from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.plan.drill import Place
from exitdrill.testing.memory import HONEST, MemoryProvider
from exitdrill.transfer.limits import Pace, limits_for, threads_for
from ticking import SleepClock


def _in_thread(do: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run it beside; what it raised, or None, ends up in the list."""
    ended: list[object] = []

    def run() -> None:
        try:
            do()
        except StoppedError as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, ended


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# buckets


def test_a_bucket_keeps_its_rate_over_many_threads() -> None:
    """Eight threads together get what one would, in time, and each gets its turn."""
    bucket = TokenBucket(2_000, SystemClock())
    taken = [0] * 8
    began = time.monotonic()
    end = began + 1.0

    def take(number: int) -> None:
        while time.monotonic() < end:
            bucket.take(5)
            taken[number] += 5

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    rate = sum(taken) / (time.monotonic() - began)
    assert 0.85 * 2_000 < rate < 1.1 * 2_000
    assert min(taken) > 0.5 * max(taken)


def test_who_waits_for_a_bucket_can_be_stopped() -> None:
    """A thread whose turn is far away ends within a moment of the wish to stop."""
    stop = threading.Event()
    bucket = TokenBucket(1, SystemClock())
    thread, ended = _in_thread(lambda: bucket.take(1000, stop.is_set))
    time.sleep(0.05)
    assert not ended
    stop.set()
    thread.join(5)
    assert isinstance(ended[0], StoppedError)
    assert bucket.waited_ns > 0


def test_who_waits_is_let_through_when_the_limit_ends() -> None:
    """At the end of working hours nobody has to wait for what was asked for before."""
    clock = SleepClock()
    bucket = TokenBucket(lambda: 1.0 if clock.now_ns < 60e9 else None, clock)
    bucket.take(1_000_000)
    assert 60 <= clock.now_ns / 1e9 < 61.5
    assert bucket.rate is None
    assert bucket.take(1_000_000) == 0


# windows


def test_a_window_doubles_until_the_first_throttling_and_then_adds_one() -> None:
    """Slow start adds one a success; a throttled request halves; then a window's worth of successes adds one."""
    clock = SleepClock()
    window = AdaptiveWindow(64, clock, start=4)

    def fill() -> None:
        while window.used < window.size:
            window.acquire()

    def trip() -> None:
        """Every slot's copy ends well, and another takes its place."""
        for _ in range(window.used):
            window.release(ok=True)
            fill()

    fill()
    sizes = [window.size]
    while window.size < 64:
        trip()
        sizes.append(window.size)
    assert sizes == [4, 8, 16, 32, 64]
    trip()
    assert window.size == 64
    assert window.throttled()
    assert (window.size, window.decreases) == (32, 1)
    for _ in range(32):
        window.release(ok=True)
    assert window.size == 32  # successes of those that were under way before are no sign of room
    trip()
    assert window.size == 32  # too soon
    for larger in (33, 34):
        clock.sleep(0.3)
        trip()
        trip()
        assert window.size == larger


def test_a_window_that_is_not_used_up_does_not_grow() -> None:
    """Successes of a few say nothing of many."""
    window = AdaptiveWindow(64, SleepClock(), start=8)
    for _ in range(1000):
        with window.slot():
            pass
    assert window.size == 8


def test_requests_that_were_under_way_together_halve_once() -> None:
    """Of a burst of refusals the first counts; a request that began later counts again."""
    clock = SleepClock()
    window = AdaptiveWindow(16, clock)
    for _ in range(16):
        window.acquire()
    began = clock.monotonic_ns()
    clock.sleep(0.1)
    assert [window.throttled(began) for _ in range(16)] == [True] + [False] * 15
    clock.sleep(0.3)
    assert not window.throttled(clock.monotonic_ns())  # 16 are under way still: the halving has not shown yet
    for _ in range(8):
        window.release(ok=False)
    assert window.throttled(clock.monotonic_ns())
    assert (window.size, window.decreases) == (4, 2)


def test_a_window_never_closes() -> None:
    """However often it is throttled, one slot is left."""
    clock = SleepClock()
    window = AdaptiveWindow(16, clock)
    for _ in range(20):
        clock.sleep(1)
        window.throttled()
    assert window.size == 1


def test_slots_go_to_who_waited_longest_and_the_wait_can_be_stopped() -> None:
    """First come, first served; a thread that gives up takes no slot with it; a new bound opens or closes at once."""
    window = AdaptiveWindow(1, SystemClock())
    window.acquire()
    order: list[int] = []
    stop = threading.Event()

    def wait(number: int) -> None:
        window.acquire(stop.is_set if number == 0 else lambda: False)
        order.append(number)

    threads = []
    for number in range(3):
        threads.append(_in_thread(partial(wait, number))[0])
        _until(lambda: len(window._queue) == len(threads))
    stop.set()
    threads[0].join(5)
    for expected in (1, 2):
        window.release(ok=True)
        _until(lambda: len(order) == expected)  # noqa: B023 - looked at before the loop goes on
    assert order == [1, 2]
    assert window.used == 1
    window.release(ok=True)
    assert window.used == 0
    assert window.waited_ns > 0


def test_a_bound_holds_beside_the_window() -> None:
    """What bandwidth allows bounds the window without changing it, and hands out slots when it is lifted."""
    window = AdaptiveWindow(8, SystemClock())
    window.bound(1)
    window.acquire()
    assert window.size == 1
    thread, ended = _in_thread(window.acquire)
    time.sleep(0.05)
    assert not ended
    window.bound(100)
    thread.join(5)
    assert ended == [None]
    assert (window.size, window.used) == (8, 2)


def test_slots_at_two_places_are_taken_together_or_not_at_all() -> None:
    """Stopped while waiting for the second, the first is given back."""
    first, second = AdaptiveWindow(4, SystemClock()), AdaptiveWindow(1, SystemClock())
    both = Slots(first, second)
    both.acquire()
    with pytest.raises(StoppedError):
        both.acquire(lambda: True)
    assert (first.used, second.used) == (1, 1)
    both.release(ok=True)
    assert (first.used, second.used) == (0, 0)


class _Account:
    """An account that refuses what goes over so many requests a second, in ten windows a second."""

    def __init__(self, per_second: float) -> None:
        self._most = per_second / 10
        self._window, self._seen = -1, 0

    def takes(self, seconds: float) -> bool:
        window = int(seconds * 10)
        if window != self._window:
            self._window, self._seen = window, 0
        self._seen += 1
        return self._seen <= self._most


@pytest.mark.parametrize(("per_second", "trip_seconds"), [(40, 0.1), (200, 0.02), (200, 0.1), (900, 0.02), (900, 0.1)])
def test_the_window_finds_what_an_account_can_take(per_second: int, trip_seconds: float) -> None:
    """Against an account that throttles, most of its rate is used and few requests are refused, at any latency."""
    clock, numbers = SleepClock(), itertools.count()
    account, window = _Account(per_second), AdaptiveWindow(128, clock)
    events: list[tuple[int, int, int, int | None]] = []
    """When, an ordinal, the try, and when it began if this is its end."""
    done = refused = 0
    sizes: list[int] = []

    def push(seconds: float, attempt: int, began: int | None) -> None:
        heapq.heappush(events, (clock.now_ns + int(seconds * 1e9), next(numbers), attempt, began))

    while clock.now_ns < 60e9:
        while window.used < window.size:
            window.acquire()
            push(0, 1, None)
        now, _, attempt, began = heapq.heappop(events)
        clock.now_ns = now
        if began is None:
            push(trip_seconds, attempt, now)
        elif account.takes(now / 1e9):
            window.release(ok=True)
            done += now > 10e9
        else:  # it backs off as `RetryPolicy` does, in its slot
            window.throttled(began)
            push(0.1 * 2 ** min(attempt - 1, 6), attempt + 1, None)
            refused += now > 10e9
        sizes += [window.size] if now > 10e9 else []
    could = min(per_second, 128 / trip_seconds) * 50
    assert done > 0.7 * could
    assert refused < 0.05 * done
    assert max(sizes) < 3 * max(2.0, per_second * trip_seconds)


# governors


def _governed(clock: SleepClock, requests: float | None = None) -> tuple[RetryPolicy, AdaptiveWindow, Tally]:
    tally, window = Tally(), AdaptiveWindow(16, clock)
    bucket = None if requests is None else TokenBucket(requests, clock)
    governor = PlaceGovernor(clock, window, tally, bucket, jitter=lambda: 1.0)
    return RetryPolicy(4, clock=clock, jitter=lambda: 0.0, governor=governor, tally=tally), window, tally


def test_nobody_asks_before_the_time_a_place_named() -> None:
    """One request is told to come again in ten seconds: another does not begin before either, and is tallied."""
    clock = SleepClock()
    policy, window, tally = _governed(clock)
    governor = policy.governor
    assert governor is not None
    governor.throttled(ThrottledError("busy", retry_after_seconds=10), governor.before())
    assert policy.call(clock.monotonic_ns) == pytest.approx(11e9)  # and a spread of a tenth, for this jitter
    assert (window.size, window.decreases) == (8, 1)
    assert tally.waited_ns == pytest.approx(11e9)
    assert (tally.limited_ns, tally.retries) == (0, 0)
    # what is named for the very distant future is heeded for a quarter of an hour
    governor.throttled(ThrottledError("busy", retry_after_seconds=1e9), governor.before())
    began = clock.monotonic_ns()
    assert policy.call(clock.monotonic_ns) - began == pytest.approx(901e9)


def test_the_one_that_was_refused_tries_again_when_it_may() -> None:
    """A try that is told to wait longer than any wait of the policy still begins no earlier."""
    clock = SleepClock()
    policy, window, tally = _governed(clock)
    tries: list[int] = []

    def action() -> str:
        tries.append(clock.monotonic_ns())
        if len(tries) < 3:
            raise ThrottledError("busy", retry_after_seconds=60)
        return "done"

    assert policy.call(action) == "done"
    assert all(later - earlier >= 60e9 for earlier, later in itertools.pairwise(tries))
    assert tally.throttled == 2
    assert tally.waited_ns == clock.now_ns
    assert window.decreases == 2


def test_requests_keep_to_their_rate() -> None:
    """Every try counts, and what is waited is tallied as the drill's own limit."""
    clock = SleepClock()
    policy, _, tally = _governed(clock, 50)
    for _ in range(500):
        policy.call(lambda: None)
    assert clock.now_ns == pytest.approx(10e9, rel=0.02)
    assert tally.limited_ns == clock.now_ns
    assert tally.waited_ns == 0


def test_a_wait_for_a_place_can_be_stopped() -> None:
    """Stopping does not wait for what a place asked for."""
    clock = SystemClock()
    governor = PlaceGovernor(clock, AdaptiveWindow(4, clock), Tally(), stopped=lambda: True)
    governor.throttled(ThrottledError("busy", retry_after_seconds=600), governor.before())
    with pytest.raises(StoppedError):
        governor.before()


# paces


def _place(limits: Limits) -> Place:
    return Place("p", "local", {}, limits=limits)


def test_threads_are_what_the_step_asks_for_and_the_places_allow() -> None:
    """The step's own number, never over a place's; without one the places' smallest; without any the default."""
    free, few, many = (_place(Limits(most)) for most in (None, 8, 64))
    assert threads_for(None, 16, free, free) == 16
    assert threads_for(None, 16, free, many) == 64
    assert threads_for(None, 16, few, many) == 8
    assert threads_for(4, 16, few, many) == 4
    assert threads_for(32, 16, few, many) == 8


def test_a_pace_counts_every_byte_and_request_of_its_share() -> None:
    """Half of the limits of a place hold for one of two workers; what it waited is told apart and journalled."""
    clock, tally = SleepClock(), Tally()
    limits = limits_for(_place(Limits(None, 20, (BandwidthLine(2_000_000),))), 2)
    pace = Pace(limits, 16, tally, clock, lambda: False)
    for _ in range(10):
        pace.moved(1_000_000)
    assert clock.now_ns == pytest.approx(10e9, rel=0.01)
    provider = MemoryProvider("p", HONEST, None, pace.retry)
    provider.ensure_container("c")
    began = clock.now_ns
    with provider.objects("c") as store:
        for number in range(30):
            store.write(WriteRequest(f"{number}", BytesBody(b"x")))
    assert (clock.now_ns - began) == pytest.approx(3e9, rel=0.05)
    facts = pace.facts()
    assert facts["waited_for_bandwidth_ns"] + facts["waited_for_requests_ns"] == tally.limited_ns == clock.now_ns
    assert (facts["decreases"], tally.waited_ns) == (0, 0)


def test_little_bandwidth_is_not_spread_over_many_bodies() -> None:
    """At a slow rate few bodies are under way, so that none stands still until the server hangs up."""
    clock = SleepClock()
    slow = Pace(Limits(64, None, (BandwidthLine(500_000),)), 16, Tally(), clock, lambda: False)
    fast = Pace(Limits(64, None, (BandwidthLine(None),)), 16, Tally(), clock, lambda: False)
    assert slow.window.size == 4
    assert fast.window.size == 16
    assert fast.window.most == 64
