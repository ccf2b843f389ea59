"""Schedules: a drill as a Prefect deployment, served from this machine or put into a work pool.

Rules. A cron line and a zone are checked before a server is asked for anything. A deployment holds names and
paths, no credentials: whoever runs the drill brings theirs in the environment. It names the flow by its
module, so that a worker needs exitdrill installed and the drill's files, and no image.
"""

import asyncio
import re
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from exitdrill.errors import NotReadyError, UsageError
from exitdrill.flow.compose import load

if TYPE_CHECKING:
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

__all__ = ["Timetable", "deploy_to_pool", "serve_schedule"]

T = TypeVar("T")

_CRON_FIELDS = 5
_NAME = re.compile(r"[^/%&><\x00-\x1f]{1,200}")
_POLL_SECONDS = 0.5
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Timetable:
    """Which drill runs when."""

    drill: Path
    """The drill file."""
    runs: Path
    """The folder of all runs."""
    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""
    timezone: str = "UTC"
    """An IANA zone, such as ``Europe/Amsterdam``."""
    name: str | None = None
    """The deployment's name; the drill's where none is given."""
    approvals: Mapping[str, str] = field(default_factory=dict)
    """Step id to the name of the person who approved it beforehand."""


def serve_schedule(timetable: Timetable, stop: threading.Event) -> None:
    """Register the deployment, then run its drills on this machine, one at a time, until told to stop.

    A drill under way when it stops is cancelled: it stops cleanly and can be resumed.

    Args:
        timetable: Which drill, when.
        stop: Ends it.

    Raises:
        UsageError: Cron line, zone or name cannot be; or the drill file.
        NotReadyError: The Prefect server does not do it.
    """
    from prefect.runner import Runner

    deployment = _deployment(timetable, None)
    runner = Runner(name=deployment.name, pause_on_shutdown=False, limit=1)
    errors: list[BaseException] = []
    ended = threading.Event()  # because a join that was interrupted takes the thread for ended (python/cpython#90882)

    def work() -> None:
        try:
            asyncio.run(_serve(runner, deployment, stop))
        except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(exc)
        finally:
            ended.set()

    # In the main thread, Prefect's runner would take SIGTERM from whoever set `stop` up.
    thread = threading.Thread(target=work, name="exitdrill-schedule", daemon=True)
    thread.start()
    try:
        ended.wait()
    except BaseException:
        stop.set()
        ended.wait(_STOP_SECONDS)
        raise
    if errors:
        raise errors[0]


async def _serve(runner: "Runner", deployment: "RunnerDeployment", stop: threading.Event) -> None:
    await _asked(runner.aadd_deployment(deployment))
    serving = asyncio.ensure_future(_asked(runner.start(webserver=False)))
    while not stop.is_set() and not serving.done():
        await asyncio.wait([serving], timeout=_POLL_SECONDS)
    if not serving.done() and runner.started:
        await runner.astop()
    elif not serving.done():
        serving.cancel()
    (ended,) = await asyncio.gather(serving, return_exceptions=True)
    if isinstance(ended, Exception) and not stop.is_set():
        raise ended


def deploy_to_pool(timetable: Timetable, work_pool: str) -> UUID:
    """Put the deployment into a work pool, whose workers then run its drills; its id.

    Raises:
        UsageError: Cron line, zone or name cannot be; or the drill file.
        NotReadyError: The Prefect server does not do it, or has no such pool.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    deployment = _deployment(timetable, work_pool)

    async def put() -> UUID:
        async with get_client() as client:
            try:
                await client.read_work_pool(work_pool)
            except ObjectNotFound as exc:
                raise NotReadyError(
                    "the Prefect server has no such work pool",
                    resource=f"work pool {work_pool}",
                    hint=f"make one: prefect work-pool create --type process {work_pool}",
                ) from exc
        return await deployment.aapply()

    return asyncio.run(_asked(put()))


def _deployment(timetable: Timetable, work_pool: str | None) -> "RunnerDeployment":
    schedule = _schedule(timetable)
    plan = load(timetable.drill)
    name = timetable.name or plan.name
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a deployment", expected="at most 200 characters without / % & < >")
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from exitdrill.flow.drill import scheduled_drill

    parameters: dict[str, Any] = {
        "drill": str(timetable.drill.resolve()),
        "runs": str(timetable.runs.resolve()),
        "approvals": dict(timetable.approvals),
    }
    return RunnerDeployment.from_flow(
        scheduled_drill,
        name=name,
        schedules=[schedule],
        parameters=parameters,
        description=plan.description or f"exit drill {plan.name}",
        work_pool_name=work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _schedule(timetable: Timetable) -> "CronSchedule":
    """Cron line and zone, checked. Raises UsageError."""
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        ZoneInfo(timetable.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise UsageError(
            f"no time zone is called {timetable.timezone!r}",
            resource="--timezone",
            expected="a name of the IANA database, such as Europe/Amsterdam or UTC",
        ) from exc
    error: Exception | None = None
    if len(timetable.cron.split()) == _CRON_FIELDS:
        try:
            return CronSchedule(cron=timetable.cron, timezone=timetable.timezone)
        except ValidationError as exc:
            error = exc
    raise UsageError(
        f"{timetable.cron!r} is no cron line",
        resource="--cron",
        expected='five fields: minute hour day month weekday, such as "0 6 1 1,4,7,10 *"',
    ) from error


async def _asked(asking: Coroutine[Any, Any, T]) -> T:
    """What the Prefect server answers. Raises NotReadyError where it does not."""
    import httpx
    from prefect.exceptions import PrefectException
    from prefect.settings import PREFECT_API_URL

    try:
        return await asking
    except (httpx.HTTPError, PrefectException, ExceptionGroup) as exc:
        raise NotReadyError(
            f"did not do it: {type(exc).__name__}: {exc}",
            resource=f"Prefect server {PREFECT_API_URL.value()}",
            hint="check that it runs, and that its version fits: exitdrill version tells ours",
        ) from exc
