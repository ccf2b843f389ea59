"""What a run measured: facts, no judgement. `exitdrill.assess` judges them.

``record.json`` is this, written at the end of every run, also of one that failed or was stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from exitdrill.clock import Lap
from exitdrill.model.findings import PreviousRun
from exitdrill.model.objects import Outcome
from exitdrill.model.placement import PlacementRecord
from exitdrill.model.spans import Span, common_ns

__all__ = [
    "DISAGREES",
    "EARLY_REBUILD",
    "FORMAT",
    "AssetRecord",
    "Attempt",
    "Check",
    "Counts",
    "EarlyCutRecord",
    "LegRecord",
    "LossCount",
    "ManifestRoot",
    "ManifestRoots",
    "Mishap",
    "PlaceRecord",
    "RunRecord",
    "RunStatus",
    "SeveranceRecord",
    "StepRecord",
    "StepStatus",
    "TeardownRecord",
    "Throughput",
    "VerificationRecord",
]

FORMAT = 1
"""Version of everything in a run's directory. Another number: made by another version."""

DISAGREES = "digest disagrees"
"""The `Mishap.problem` of an object that was copied, though the source's own digest says other bytes."""


EARLY_REBUILD = "rebuild before the cut"
"""The `Attempt.during` of a rebuild that ran beside the evacuation."""


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Every critical step was carried out; whether the objectives were met, the verdict says."""
    STOPPED = "stopped"
    """Somebody stopped it; it can be resumed."""
    FAILED = "failed"
    """A critical step failed."""


class StepStatus(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_ATTEMPTED = "not attempted"
    """Something it depends on failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of preflight."""

    name: str
    """What was checked: ``credentials``, ``clock``, ``space``, ``keys``, ``attestation`` …"""
    resource: str
    """Which place, asset or container."""
    ready: bool
    found: str
    """What was found."""
    action: str = ""
    """What to do when not ready, or a warning when ready."""


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """A place as it was in this run."""

    name: str
    role: str
    connector: str
    environment: str
    """``cloud``, ``private`` or ``emulator``."""
    emulator: str | None = None
    jurisdiction: str | None = None
    """As the drill states it, like the facts at the end."""
    endpoints: tuple[str, ...] = ()
    """``host:port`` of each."""
    clock_offset_seconds: float | None = None
    """Its clock minus ours; None where it has none."""
    legal_entity: str | None = None
    ownership: str | None = None
    """Owner and controller, for people."""
    certifications: tuple[str, ...] = ()
    seal: str | None = None
    """SEAL level and by whose word, for people."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects, how many bytes."""

    objects: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(self.objects + other.objects, self.size_bytes + other.size_bytes)


@dataclass(frozen=True, slots=True)
class Mishap:
    """One object that did not go the plain way."""

    key: str
    problem: str
    """An `Outcome`, `DISAGREES`, or what verification found: ``different``, ``missing``, ``extra``, ``unattested``."""
    where: str
    """``evacuate``, ``rebuild``, ``verify``, ``last look``."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a leg moved when, in spans of equal length that follow one another."""

    start_elapsed_ns: int
    """Drill time at which the first span begins."""
    span_ns: int
    objects: tuple[int, ...]
    """How many objects went through in each span."""
    size_bytes: tuple[int, ...]
    """How many bytes; as long as ``objects``."""


@dataclass(frozen=True, slots=True)
class LegRecord:
    """One leg of one asset."""

    leg: str
    outcomes: Mapping[Outcome, Counts] = field(default_factory=dict)
    retries: int = 0
    throttled: int = 0
    waited_ns: int = 0
    """Over all threads, time slept before another try, or because the place had asked to wait."""
    limited_ns: int = 0
    """Over all threads, time waited for the drill's own limits, of requests and of bandwidth."""
    duration_ns: int = 0
    """Wall time during which any of its jobs was under way."""
    spans: tuple[Span, ...] = ()
    """When any of its jobs was under way, in drill time and in order. A crash leaves out what was under way then."""
    busy_ns: int = 0
    """Time of its jobs, added up: each from when it was asked for to its answer. Of jobs that ended well only."""
    longest_ns: int = 0
    """The longest of those jobs."""
    throughput: Throughput | None = None
    """As its workers said on the way: what was moved again after a failure is in it twice. None before any."""

    @property
    def began_elapsed_ns(self) -> int | None:
        """Drill time at which its first job began; None before it."""
        return self.spans[0][0] if self.spans else None

    @property
    def ended_elapsed_ns(self) -> int | None:
        """Drill time at which its last job ended."""
        return self.spans[-1][1] if self.spans else None


@dataclass(frozen=True, slots=True)
class LossCount:
    """One kind of metadata that the target could not hold."""

    field: str
    reason: str
    objects: int
    example_key: str


@dataclass(frozen=True, slots=True)
class VerificationRecord:
    """What comparing ledger and target found."""

    level: str
    """The level that was carried out."""
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    unattested: int = 0
    """Name and size agree, but no digest that the target itself computed was to be had."""
    reread_objects: int = 0
    reread_bytes: int = 0
    attested_by: Mapping[str, int] = field(default_factory=dict)
    """How many objects each kind of digest attested."""


@dataclass(frozen=True, slots=True)
class ManifestRoot:
    """What one place holds of an asset, as the root of a Merkle tree; `exitdrill.evidence.manifest` has the leaves."""

    root: str = ""
    """64 hexadecimal digits; empty where there is none."""
    objects: int = 0
    """How many leaves the tree has."""
    why_not: str = ""
    """Why there is no root."""


@dataclass(frozen=True, slots=True)
class ManifestRoots:
    """An asset at its three places: the same root thrice where nothing was lost or altered."""

    source: ManifestRoot
    vault: ManifestRoot
    target: ManifestRoot

    @property
    def same(self) -> bool:
        """Whether all three places have one and the same root."""
        return bool(self.source.root) and self.source.root == self.vault.root == self.target.root


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """What was measured of one asset."""

    name: str
    kind: str
    listed: Counts = Counts()
    evacuate: LegRecord = LegRecord("evacuate")
    rebuild: LegRecord = LegRecord("rebuild")
    verification: VerificationRecord | None = None
    exceptions: tuple[Mishap, ...] = ()
    """The first of them; ``exceptions_total`` counts all."""
    exceptions_total: int = 0
    losses: tuple[LossCount, ...] = ()
    source_digests: Mapping[str, int] = field(default_factory=dict)
    """How the digests that the source itself reports compare with ours, of the objects copied: ``equal``,
    ``different``, ``absent``."""
    recovered_elapsed_ns: int | None = None
    """Drill time at which it was proven at the target; None if it was not."""
    last_look_utc: datetime | None = None
    """When the source was listed for the last time before the cut."""
    lost_changes: int = 0
    """Objects at the source, at the last look, whose newest state did not reach the vault."""
    oldest_lost_change_utc: datetime | None = None
    """The oldest of their modification times: the recovery point lies just before it."""
    error: str = ""
    """What ended it, if something did."""
    rebuilt_early: Counts = Counts()
    """What of it was rebuilt before the cut."""
    overlap_ended: str = ""
    """Why rebuilding beside the evacuation was given up; the rest was then left to the time after the cut."""
    roots: ManifestRoots | None = None
    """Computed when the run is sealed; None before, and where there was no inventory."""

    @property
    def both_legs_ns(self) -> int:
        """Wall time during which jobs of both legs were under way; none without ``overlap``."""
        return common_ns(self.evacuate.spans, self.rebuild.spans)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection to the source after the cut, refused."""

    address: str
    """``host:port``."""
    count: int
    during: str
    """``probe`` for our own proof of the cut; `EARLY_REBUILD`; otherwise the leg that tried."""


@dataclass(frozen=True, slots=True)
class SeveranceRecord:
    """The cut, and the proof of it."""

    severed_utc: datetime
    severed_elapsed_ns: int
    refused: tuple[str, ...] = ()
    """What is refused: ``host:port`` or ``*.domain``."""
    removed_variables: tuple[str, ...] = ()
    """Environment variables taken away, by name."""
    probed: tuple[str, ...] = ()
    """Addresses that the probe tried and could not reach."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts other than the probe's: hidden dependencies on the source."""
    holds: bool = False
    """The probe was refused everywhere, before the rebuild and after the verification."""


@dataclass(frozen=True, slots=True)
class EarlyCutRecord:
    """How the workers that rebuilt before the cut were kept from the source, and the proof of it."""

    cut_utc: datetime
    """From when on each of them started without the source."""
    cut_elapsed_ns: int
    refused: tuple[str, ...] = ()
    """As `SeveranceRecord.refused`."""
    removed_variables: tuple[str, ...] = ()
    """As `SeveranceRecord.removed_variables`."""
    probed: tuple[str, ...] = ()
    """Addresses that a worker started like them tried and could not reach, while others could."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts of theirs: hidden dependencies on the source."""
    holds: bool = False
    """The probe was refused everywhere, before the first of them and after the last."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step as it went."""

    id: str
    phase: str
    status: StepStatus
    asset: str | None = None
    attempts: int = 1
    error: str = ""
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class TeardownRecord:
    """What was taken away at the end, and what is left."""

    kept: bool = False
    """The drill asked to keep everything."""
    deleted_objects: int = 0
    removed_containers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """What this run made and could not remove, with the reason."""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything one run measured."""

    run_id: str
    drill: str
    mode: str
    plan_digest: str
    tool_version: str
    status: RunStatus
    t0_utc: datetime
    """When the drill was declared: the clock's start."""
    ended_utc: datetime | None = None
    ended_elapsed_ns: int = 0
    recovered_elapsed_ns: int | None = None
    """Drill time at which the last critical asset was proven at the target; None if one was not."""
    places: tuple[PlaceRecord, ...] = ()
    checks: tuple[Check, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    laps: tuple[Lap, ...] = ()
    assets: tuple[AssetRecord, ...] = ()
    severance: SeveranceRecord | None = None
    early_cut: EarlyCutRecord | None = None
    """Of a drill with ``overlap``."""
    teardown: TeardownRecord | None = None
    clock_steps_ns: tuple[int, ...] = ()
    """Jumps of the wall clock seen while the drill ran; negative is backwards."""
    sessions: int = 1
    """How many processes worked on it, one after the other."""
    orchestrator: str = ""
    """Which Prefect ran it, and where."""
    width: int = 0
    """How many jobs ran side by side at most; 0 where that is not known."""
    error: str = ""
    placements: tuple[PlacementRecord, ...] = ()
    """How the assets' places stand against the drill's policy; nothing without one."""
    previous: PreviousRun | None = None
    """The run of the same drill before this one, as it stood when this one was declared."""
    format: int = FORMAT
