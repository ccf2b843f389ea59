"""A drill plan and the record of a run that meets all of it, to change one thing of in a test.

For tests of the verdict and of report formats, ours and anybody's. Everything is made up; nothing ran.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from exitdrill.clock import Lap
from exitdrill.model.objects import Outcome
from exitdrill.model.record import (
    AssetRecord,
    Attempt,
    Check,
    Counts,
    LegRecord,
    PlaceRecord,
    RunRecord,
    RunStatus,
    SeveranceRecord,
    StepRecord,
    StepStatus,
    TeardownRecord,
    VerificationRecord,
)
from exitdrill.plan.drill import Asset, DrillPlan, Mode, Objectives, Phase, Place, Playbook, Route, Step

__all__ = ["SEVERED", "T0", "make_asset", "make_measured", "make_plan", "make_record"]

T0 = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
"""When the made-up drill was declared."""

SEVERED = T0 + timedelta(minutes=60)
"""When its source was cut off."""

_NS = 1_000_000_000
_PHASES = ("declare", "preflight", "inventory", "evacuate", "sever", "rebuild", "verify", "seal", "teardown")


def make_asset(name: str = "case-files", **changes: object) -> Asset:
    """An asset of kind ``objects``; ``changes`` are fields of `Asset`."""
    asset = Asset(name, "objects", {"container": name, "prefix": ""}, {"bucket": name}, owner="records office")
    return replace(asset, **changes)  # type: ignore[arg-type]  # replace checks the names at run time


def make_plan(*assets: Asset, **changes: object) -> DrillPlan:
    """A full drill of 24 hours and an RPO of 4 between real places; ``changes`` are fields of `DrillPlan`."""
    steps = {name: Step(name, name, f"why {name}", f"do {name} by hand") for name in _PHASES}
    plan = DrillPlan(
        name="plan-b-24h",
        mode=Mode.FULL,
        objectives=Objectives(timedelta(hours=24), timedelta(hours=4)),
        places={
            "azure": Place("azure", "azure", {"account": "records"}, jurisdiction="US"),
            "vault": Place("vault", "local", {"path": "./vault"}, jurisdiction="NL"),
            "aws": Place("aws", "s3", {"region": "eu-central-1"}, jurisdiction="US"),
        },
        route=Route("azure", "vault", "aws"),
        assets=assets or (make_asset(),),
        playbook=Playbook("plan-b", tuple(Phase(name, (step,)) for name, step in steps.items())),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]  # as above


def make_measured(name: str = "case-files", objects: int = 1000, **changes: object) -> AssetRecord:
    """An asset all of which arrived and was attested; ``changes`` are fields of `AssetRecord`."""
    listed = Counts(objects, objects * 4096)
    measured = AssetRecord(
        name,
        "objects",
        listed=listed,
        evacuate=LegRecord("evacuate", {Outcome.COPIED: listed}, duration_ns=1800 * _NS),
        rebuild=LegRecord("rebuild", {Outcome.COPIED: listed}, duration_ns=1200 * _NS),
        verification=VerificationRecord("attested", equal=objects, attested_by={"crc64nvme": objects}),
        recovered_elapsed_ns=7200 * _NS,
        last_look_utc=SEVERED - timedelta(minutes=5),
    )
    return replace(measured, **changes)  # type: ignore[arg-type]  # as above


def make_record(plan: DrillPlan, *assets: AssetRecord, **changes: object) -> RunRecord:
    """The record of a run of ``plan`` in which all went well; ``changes`` are fields of `RunRecord`."""
    laps = tuple(
        Lap(name, T0 + timedelta(minutes=15 * index), 900 * index * _NS, 900 * _NS)
        for index, name in enumerate(_PHASES)
    )
    record = RunRecord(
        run_id="20260105-060000-abcd",
        drill=plan.name,
        mode=plan.mode,
        plan_digest=plan.digest,
        tool_version="0.1.0",
        status=RunStatus.COMPLETED,
        t0_utc=T0,
        ended_utc=T0 + timedelta(minutes=135),
        ended_elapsed_ns=8100 * _NS,
        recovered_elapsed_ns=7200 * _NS,
        places=(
            PlaceRecord("azure", "source", "azure", "cloud", endpoints=("records.example:443",), jurisdiction="US"),
            PlaceRecord("vault", "vault", "local", "private", jurisdiction="NL"),
            PlaceRecord("aws", "target", "s3", "cloud", clock_offset_seconds=0.4, jurisdiction="US"),
        ),
        checks=(Check("credentials", "azure", ready=True, found="accepted"),),
        steps=tuple(StepRecord(step.id, step.id, StepStatus.DONE) for step in plan.playbook.steps),
        laps=laps,
        assets=assets or tuple(make_measured(asset.name) for asset in plan.assets),
        severance=SeveranceRecord(
            SEVERED,
            3600 * _NS,
            refused=("*.records.example",),
            removed_variables=("AZURE_STORAGE_KEY",),
            probed=("records.example:443",),
            attempts=(Attempt("records.example:443", 2, "probe"),),
            holds=True,
        ),
        teardown=TeardownRecord(deleted_objects=2000, removed_containers=("case-files",), complete=True),
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # as above
