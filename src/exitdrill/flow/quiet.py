"""What every worker of a cluster is told before it imports Prefect: nothing phones home. Does not import Prefect."""

import os

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from exitdrill.flow.environment import QUIET

__all__ = ["Quiet"]


class Quiet(WorkerPlugin):
    """Set on workers that are there, and by the scheduler on those that come later."""

    name = "exitdrill-quiet"
    idempotent = True

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - as the base
        """Called in the worker's process."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
