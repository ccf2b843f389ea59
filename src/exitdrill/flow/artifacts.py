"""What Prefect shows of a drill while it runs: a progress artifact, one step a phase.

Rules. Showing never fails a drill, and never holds it up twice: after the first call that fails, no other is
made.
"""

import re
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from exitdrill.playbook.run import Progress
from exitdrill.transfer.job import Tick

__all__ = ["ProgressArtifact", "artifact_key"]


def artifact_key(drill: str, what: str) -> str:
    """The key under which Prefect keeps a drill's artifacts, one version a run: lowercase letters, digits, dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", drill.lower()).strip("-")
    return "-".join(part for part in ("exitdrill", name[:60].strip("-"), what) if part)


class ProgressArtifact:
    """A `Progress` that also shows phases in Prefect.

    Args:
        inner: Who else follows the run.
        drill: The drill's name.
        run_id: The run's.
        phases: Their names, in order.
    """

    def __init__(self, inner: Progress, drill: str, run_id: str, phases: tuple[str, ...]) -> None:
        """See the class."""
        self._inner, self._drill, self._run_id, self._phases = inner, drill, run_id, phases
        self._artifact: UUID | None = None
        self._failed = False

    def phase(self, name: str) -> None:
        """A phase begins."""
        self._inner.phase(name)
        before = self._phases.index(name) if name in self._phases else 0
        self._show(100.0 * before / max(1, len(self._phases)), name)

    def done(self) -> None:
        """No phase is left."""
        self._show(100.0, "ended")

    def tick(self, tick: Tick) -> None:
        """A worker is this far. Not for Prefect: there are many."""
        self._inner.tick(tick)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._inner.note(text)

    def _show(self, percent: float, what: str) -> None:
        if self._failed:
            return
        text = f"{what} of run {self._run_id}"
        try:
            if self._artifact is None:
                key = artifact_key(self._drill, "progress")
                self._artifact = cast("UUID", create_progress_artifact(percent, key=key, description=text))
            else:
                update_progress_artifact(self._artifact, percent, description=text)
        except Exception as exc:  # noqa: BLE001 - see the rules
            self._failed = True
            self._inner.note(f"Prefect shows no progress: {type(exc).__name__}: {exc}")
