"""Who works on which part.

On one machine the conductor gives each part to one job, and that is all (`LocalClaims`). On several, a job may be
carried out again elsewhere while its first worker is not dead but only slow, paused or cut off from the others. There
a part is claimed in Postgres (`PostgresClaims`): the claim is a lease that its holder renews and a token that grows
with every taker. A holder whose lease was taken is refused at the border that counts, in front of the part's name in
the ledger, and may keep nothing there. `for_each_part` carries a job's parts out under either.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from exitdrill.errors import ClaimLostError, ExitdrillError, SeveredError, StoppedError, TransientError
from exitdrill.plan.drill import DrillPlan, EngineKind
from exitdrill.plan.secrets import resolve
from exitdrill.transfer.cut import load_cut
from exitdrill.transfer.layout import RunDirectory
from exitdrill.transfer.postgres import ClaimTable, Key, address_of, holder_name

__all__ = [
    "Claims",
    "Fence",
    "LocalClaims",
    "PostgresClaims",
    "claim_table",
    "claimed_elsewhere",
    "for_each_part",
    "open_claims",
]

Counts = tuple[int, int, int]
"""Objects, bytes, errors of one part so far."""

_RENEW_SECONDS = 2.0
_RENEWALS_A_LEASE = 4
_WAIT_SECONDS = 0.5
_HELD_SECONDS = 600.0
"""How long a job waits for parts that others hold, without one of them becoming done or free."""


class Fence:
    """One holder's claim on one part. This one, of a machine that works alone, always holds."""

    token: int = 0
    """Grows with every taker of the part; 0 where there is one only."""
    lost: bool = False
    """Whether it is known that another has taken the part."""

    def check(self) -> None:
        """Raise ClaimLostError if another has taken the part. True for a whole lease to come, if it does not."""

    def finish(self) -> None:
        """Note that the part is done, for good. Raises ClaimLostError."""

    @property
    def guard(self) -> Callable[[], None] | None:
        """What to call in front of the part's name in the ledger; None where nobody else could be there."""
        return None

    def stopping(self, stopped: Callable[[], bool]) -> Callable[[], bool]:
        """Whether to stop working on the part: asked to, or another has it."""
        return lambda: self.lost or stopped()


class Claims(Protocol):
    """Gives parts to workers."""

    @property
    def stopped(self) -> bool:
        """Whether somebody asked, through it, to stop."""

    @contextmanager
    def hold(self, leg: str, asset: str, part: int) -> Iterator[Fence | None]:
        """Have a part while the context lasts; None if it is done, or another has it."""

    def done(self, leg: str, asset: str, part: int) -> bool:
        """Whether the part is done."""

    def close(self) -> None:
        """Let go of all."""


class LocalClaims:
    """One machine: the conductor gives each part to one job, and a lock keeps the same job from running twice."""

    stopped = False

    @contextmanager
    def hold(self, leg: str, asset: str, part: int) -> Iterator[Fence | None]:  # noqa: ARG002 - as `Claims`
        """Always."""
        yield Fence()

    def done(self, leg: str, asset: str, part: int) -> bool:  # noqa: ARG002 - as `Claims`
        """The ledger knows."""
        return False

    def close(self) -> None:
        """Nothing to let go of."""


class _Lease(Fence):
    """A claim in Postgres, renewed by a thread until it is closed or lost."""

    def __init__(
        self, table: ClaimTable, key: Key, token: int, lease_seconds: float, counts: Callable[[], Counts]
    ) -> None:
        self.token = token
        self._table, self._key, self._lease_seconds, self._counts = table, key, lease_seconds, counts
        self._ended = threading.Event()
        self.stop_asked = False
        self.finished = False
        self._problem: ExitdrillError | None = None
        self._thread = threading.Thread(target=self._keep, name="exitdrill-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._renew()
        if self.lost:
            raise self._taken()

    def finish(self) -> None:
        if not self._table.finish(self._key, self.token, self._counts()):
            self.lost = True
            raise self._taken()
        self.finished = True

    @property
    def guard(self) -> Callable[[], None] | None:
        return self.check

    def close(self) -> None:
        """End the thread, and let the part go if it is not done: the next need not wait for the lease to run out."""
        self._ended.set()
        self._thread.join()
        if not self.finished and not self.lost:
            with suppress(TransientError):  # then it runs out by itself
                self._table.release(self._key, self.token)

    def _keep(self) -> None:
        pause = min(_RENEW_SECONDS, self._lease_seconds / _RENEWALS_A_LEASE)
        while not self.lost and not self._ended.wait(pause):
            try:
                self._renew()
            except TransientError:
                continue  # while nobody can claim, nobody can take it; `check` has the last word
            except ExitdrillError as error:
                self._problem = error
                self.lost = True

    def _renew(self) -> None:
        stop = self._table.renew(self._key, self.token, self._lease_seconds, self._counts())
        if stop is None:
            self.lost = not self.finished
        elif stop:
            self.stop_asked = True

    def _taken(self) -> ClaimLostError:
        what = f"another worker has taken over part {self._key.part} of {self._key.leg}"
        return ClaimLostError(what, resource=self._key.asset)


class PostgresClaims:
    """Several machines: parts are claimed in a table that all of them reach.

    Args:
        table: The table.
        run: The run's id.
        lease_seconds: How long a part stays with a holder that says nothing.
        counts: Objects, bytes and errors of this process so far, shown to who conducts.
        holder: This holder's name, no other's.
    """

    def __init__(
        self,
        table: ClaimTable,
        run: str,
        lease_seconds: float,
        counts: Callable[[], Counts] = lambda: (0, 0, 0),
        holder: str | None = None,
    ) -> None:
        """See the class."""
        self._table, self._run, self._lease_seconds, self._counts = table, run, lease_seconds, counts
        self._holder = holder or holder_name()
        self._stopped = False
        self._held: tuple[_Lease, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether a holder was told, at a renewal, that its leg is asked to stop."""
        return self._stopped or any(lease.stop_asked for lease in self._held)

    @contextmanager
    def hold(self, leg: str, asset: str, part: int) -> Iterator[Fence | None]:
        """As `Claims.hold`. Raises TransientError if Postgres does not answer for a while."""
        if self._table.stopped(self._run, leg, asset):
            self._stopped = True
            raise StoppedError("stopped", resource=asset)
        key = Key(self._run, leg, asset, part)
        token = self._table.claim(key, self._holder, self._lease_seconds)
        if token is None:
            yield None
            return
        base = self._counts()
        lease = _Lease(self._table, key, token, self._lease_seconds, lambda: _since(self._counts(), base))
        self._held = (*self._held, lease)
        try:
            yield lease
        finally:
            lease.close()
            self._stopped = self._stopped or lease.stop_asked
            self._held = tuple(other for other in self._held if other is not lease)

    def done(self, leg: str, asset: str, part: int) -> bool:
        """As `Claims.done`."""
        return self._table.done(Key(self._run, leg, asset, part))

    def close(self) -> None:
        """Let go of the connection."""
        self._table.close()


def _since(now: Counts, base: Counts) -> Counts:
    return now[0] - base[0], now[1] - base[1], now[2] - base[2]


def for_each_part(
    claims: Claims,
    leg: str,
    asset: str,
    parts: Sequence[int],
    do: Callable[[int, Fence], None],
    stopped: Callable[[], bool],
    *,
    limit_seconds: float = _HELD_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Carry out parts, each by whoever may; return when all are done, by whomever.

    Args:
        claims: Who gives them out.
        leg: ``evacuate`` or ``rebuild``.
        asset: Whose.
        parts: Their numbers.
        do: Carries one out. Raises ClaimLostError, or StoppedError, when another has taken the part meanwhile.
        stopped: Whether to stop.
        limit_seconds: How long to wait for parts that others hold while none of them becomes done or free.
        sleep: Waits.

    Raises:
        StoppedError: Somebody stopped it.
        TransientError: Others hold parts for too long.
        ExitdrillError: What ``do`` raised.
    """
    left = tuple(parts)
    moved = time.monotonic()
    while left:
        held = tuple(part for part in left if not _one(claims, leg, asset, part, do, stopped))
        if len(held) < len(left):
            moved = time.monotonic()
        elif time.monotonic() - moved > limit_seconds:
            what = f"{len(held)} parts of {leg} are held by other workers, and nothing moves"
            raise TransientError(what, resource=asset, hint="see what they do, then: exitdrill resume")
        left = held
        if left:
            sleep(_WAIT_SECONDS)


def _one(
    claims: Claims, leg: str, asset: str, part: int, do: Callable[[int, Fence], None], stopped: Callable[[], bool]
) -> bool:
    """Whether the part is done, by us or by others."""
    if stopped():
        raise StoppedError("stopped", resource=asset)
    with claims.hold(leg, asset, part) as fence:
        if fence is None:
            return claims.done(leg, asset, part)
        try:
            do(part, fence)
            fence.finish()
        except ClaimLostError:
            return False
        except StoppedError:
            if not fence.lost or stopped():
                raise
            return False
    return True


def claimed_elsewhere(directory: RunDirectory) -> bool:
    """Whether this run's parts are claimed in a database, so that a lock of this machine says nothing."""
    try:
        engine = json.loads(directory.plan.read_bytes())["engine"]
        return EngineKind(engine["kind"]) is not EngineKind.LOCAL
    except (OSError, ValueError, KeyError, TypeError):
        return False  # there is no plan, or not one of ours: what reads it next says so


def claim_table(
    plan: DrillPlan, directory: RunDirectory, environ: Mapping[str, str], base: Path, patience_seconds: float = 60.0
) -> ClaimTable:
    """The table of claims that a drill names.

    Args:
        plan: The drill; its engine is spread.
        directory: The run's: once it is cut, the database may not be at the source.
        environ: Where ``${env:…}`` is looked up.
        base: Where a relative ``${file:…}`` starts.
        patience_seconds: As `ClaimTable`.

    Raises:
        AuthenticationError: The reference leads nowhere.
        DefinitionError: It leads to something that is no Postgres URL.
        SeveredError: The database is at the source, which is cut off. psycopg connects by itself, unseen by the
            hook that enforces the cut, so it is asked here.
    """
    url = str(resolve({"claims": plan.engine.claims}, environ, base)["claims"])
    cut = load_cut(directory.cut)
    if cut is not None:
        for host, port in address_of(url):
            if cut.refuses(host, port):
                raise SeveredError("the claims are at the source, which is cut off", resource=f"{host}:{port}")
    return ClaimTable(url, patience_seconds)


def open_claims(
    plan: DrillPlan, directory: RunDirectory, environ: Mapping[str, str], base: Path, counts: Callable[[], Counts]
) -> Claims:
    """What gives parts out in this drill; arguments and errors as `claim_table`."""
    if not plan.engine.spread:
        return LocalClaims()
    table = claim_table(plan, directory, environ, base)
    return PostgresClaims(table, directory.id, plan.engine.lease.total_seconds(), counts)
