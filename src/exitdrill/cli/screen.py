"""Shows a run while it goes on: a live display on a terminal, plain lines elsewhere. All of it on stderr.

On a terminal, what is over scrolls away as a log, and what goes on stands below it: phase, time left against
the RTO, and one line a leg. Elsewhere a leg gets a line at most every few seconds.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from exitdrill.cli.console import err, harmless, on_terminal, terminal
from exitdrill.cli.progress import Follower, Leg, at, left
from exitdrill.model.human import bytes_, duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from exitdrill.model.record import AssetRecord
    from exitdrill.playbook.run import Run
    from exitdrill.transfer.job import Tick

__all__ = ["LiveScreen", "PlainScreen", "Screen", "screen"]

_EVERY_SECONDS = 5.0
_NS = 1_000_000_000
_REFRESH = 4
_NARROW = 100
_BAR = 20
_LINES_BESIDE_LEGS = 6


class Screen(ABC):
    """A run's `exitdrill.playbook.run.Progress`, and the place where people are asked."""

    def __init__(self) -> None:
        """Shows nothing until `attach`."""
        self._run: Run | None = None
        self._follower = Follower()
        self._phase: str | None = None
        self._began_ns = 0
        self._check = False

    def attach(self, run: "Run", *, check: bool = False) -> None:
        """The run is declared: show it; ``check`` for one that only looks, and has no clock to beat."""
        self._run, self._check = run, check
        if check:
            self._say(f"checking {run.plan.name}")
            return
        rto = run.plan.objectives.rto
        goal = "no RTO" if rto is None else f"RTO {duration(rto.total_seconds())}"
        word = "declared" if run.session == 1 else f"taken up again (process {run.session})"
        self._say(f"run {run.id} {word}: {run.plan.name}, {run.plan.mode.value}, {goal}")

    def phase(self, name: str) -> None:
        """A phase begins."""
        self._close_phase("done")
        self._follower.begin(self._records(), time.monotonic())
        self._phase, self._began_ns = name, self._elapsed_ns
        self._phase_begins(name)

    def tick(self, tick: "Tick") -> None:
        """A worker is this far."""
        if tick.asset:  # the probe of the cut moves nothing
            self._leg(self._follower.tick(tick, time.monotonic()))

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._say(text)

    def phase_over(self) -> None:
        """The phase is done, and no other begins yet."""
        self._close_phase("done")

    def end(self, how: str) -> None:
        """Nothing more comes; the last phase ended like this: ``done``, ``stopped``, ``failed``."""
        self._close_phase(how)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question."""
        yield

    @property
    def _elapsed_ns(self) -> int:
        return 0 if self._run is None else self._run.clock.elapsed_ns

    @property
    def left(self) -> str:
        """How much of the RTO is left; empty for a check."""
        if self._check:
            return ""
        rto = None if self._run is None else self._run.plan.objectives.rto
        return left(rto, self._elapsed_ns / _NS)

    def _records(self) -> "dict[str, AssetRecord]":
        from exitdrill.assets.interface import asset_kind
        from exitdrill.errors import ExitdrillError

        found: dict[str, AssetRecord] = {}
        if self._run is None:
            return found
        for asset in self._run.plan.assets:
            try:
                found[asset.name] = asset_kind(asset.kind).record(self._run.asset_context(asset, None))
            except ExitdrillError:
                continue  # shown without a total; what is wrong there, the drill itself will say
        return found

    def _close_phase(self, how: str) -> None:
        if self._phase is not None:
            self._phase_ends(self._phase, how, (self._elapsed_ns - self._began_ns) / _NS)
            self._phase = None

    @abstractmethod
    def _say(self, text: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def _phase_begins(self, name: str) -> None:
        """Show that a phase begins."""

    @abstractmethod
    def _phase_ends(self, name: str, how: str, seconds: float) -> None:
        """Show how a phase ended."""

    @abstractmethod
    def _leg(self, leg: Leg) -> None:
        """Show how far a leg is."""


class PlainScreen(Screen):
    """Lines for a log, each with the drill's time.

    Args:
        every_seconds: How often a leg gets a line at most.
    """

    def __init__(self, every_seconds: float = _EVERY_SECONDS) -> None:
        """See the class."""
        super().__init__()
        self._every, self._lock = every_seconds, Lock()
        self._shown: dict[tuple[str, str], float] = {}

    def _say(self, text: str) -> None:
        err(f"{at(self._elapsed_ns / _NS)}  {text}")

    def _phase_begins(self, name: str) -> None:
        self._shown.clear()
        self._say("; ".join(word for word in (f"{name} begins", self.left) if word))

    def _phase_ends(self, name: str, how: str, seconds: float) -> None:
        for leg in self._follower.finished():
            self._say(leg.line())
        self._say(f"{name} {how} after {duration(seconds)}")

    def _leg(self, leg: Leg) -> None:
        now, key = time.monotonic(), (leg.task, leg.asset)
        with self._lock:
            if now - self._shown.setdefault(key, now) < self._every:
                return
            self._shown[key] = now
        self._say("; ".join(word for word in (leg.line(), self.left) if word))


class LiveScreen(Screen):
    """A display that is drawn anew four times a second."""

    def __init__(self) -> None:
        """See the class. Draws nothing until `attach`."""
        super().__init__()
        self._console = terminal(sys.stderr)
        self._live = self._new_live()

    def _new_live(self) -> "Live":
        from rich.live import Live

        return Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESH,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def attach(self, run: "Run", *, check: bool = False) -> None:
        """As `Screen.attach`."""
        super().attach(run, check=check)
        self._live.start()

    def end(self, how: str) -> None:
        """As `Screen.end`."""
        super().end(how)
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """As `Screen.paused`."""
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._new_live()  # a stopped one would draw over the question
            self._live.start()

    def _say(self, text: str) -> None:
        self._console.print(harmless(text), style="", soft_wrap=False)

    def _phase_begins(self, name: str) -> None:  # noqa: ARG002 - the display knows it
        self._live.refresh()

    def _phase_ends(self, name: str, how: str, seconds: float) -> None:
        from rich.text import Text

        style = {"done": "green", "failed": "bold red"}.get(how, "yellow")
        self._console.print(Text.assemble((f"{how:>7}", style), f"  {name:<12} {duration(seconds):>9}"))
        for leg in self._follower.finished():
            self._console.print(Text(f"         {harmless(leg.line())}", style="dim"))

    def _leg(self, leg: Leg) -> None:
        """The next drawing shows it."""

    def _draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        run = self._run
        if run is None:
            return Text()
        names = [phase.name for phase in run.plan.playbook.phases]
        where = f"{names.index(self._phase) + 1} of {len(names)}" if self._phase in names else ""
        rto = run.plan.objectives.rto
        late = rto is not None and self._elapsed_ns / _NS > rto.total_seconds()
        stopping = run.stop.is_set()
        head = Text.assemble(
            (self._phase or "getting ready", "bold"),
            (f"  {where}   " if where else "   ", "dim"),
            f"elapsed {at(self._elapsed_ns / _NS)}   ",
            (self.left, "bold red" if late else "bold green"),
        )
        hint = (
            "stopping: work under way is brought to a safe point; Ctrl-C again exits at once"
            if stopping
            else "Ctrl-C stops the check; what it made is removed"
            if self._check
            else "Ctrl-C stops it cleanly, to be resumed; the clock runs on"
        )
        foot = Text(hint, style="yellow" if stopping else "dim")
        return Group(Text(), head, *self._legs(), foot)

    def _legs(self) -> "list[RenderableType]":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        legs = self._follower.legs()
        room = max(1, self._console.height - _LINES_BESIDE_LEGS)
        if not legs:
            return []
        wide = self._console.width >= _NARROW
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(overflow="ellipsis", no_wrap=True, max_width=28 if wide else 18)
        for _ in range(7 if wide else 6):
            grid.add_column(justify="right", no_wrap=True)
        titles = ["leg", *([""] if wide else []), "", "objects", "bytes", "rate", "errors", "to go"]
        grid.add_row(*(Text(title, style="dim") for title in titles))
        for leg in legs[-room:]:
            share, rest = leg.share, leg.remaining_seconds
            grid.add_row(
                Text(harmless(f"{leg.task} {leg.asset}")),
                *([ProgressBar(1.0, share or 0.0, width=_BAR, pulse=share is None)] if wide else []),
                Text("" if share is None else f"{int(share * 100)} %"),
                Text(f"{leg.objects:,}"),
                Text(bytes_(leg.size_bytes)),
                Text(f"{bytes_(leg.bytes_per_second)}/s"),
                Text(f"{leg.errors:,}", style="bold red" if leg.errors else ""),
                Text("-" if rest is None else at(rest)),
            )
        hidden = len(legs) - room
        return [grid, *([Text(f"and {hidden} more", style="dim")] if hidden > 0 else [])]


def screen() -> Screen:
    """The one that suits stderr."""
    return LiveScreen() if on_terminal(sys.stderr) else PlainScreen()
