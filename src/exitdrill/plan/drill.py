"""What a drill file and its playbook say, checked and frozen.

Everything after the parser works with these values. References to secrets (``${env:…}``, ``${file:…}``) stay
references here: a plan can be written down, digested and shown.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from enum import StrEnum

import rfc8785
from pydantic import JsonValue

from exitdrill.model.limits import Limits
from exitdrill.plan.sovereignty import Classification, Ownership, Policy, Seal, Waiver

__all__ = [
    "Asset",
    "Classification",
    "DrillPlan",
    "Engine",
    "EngineKind",
    "Evidence",
    "Level",
    "Mode",
    "Objectives",
    "Phase",
    "Place",
    "Playbook",
    "Route",
    "SigningKey",
    "Step",
    "Timestamps",
]

Json = JsonValue


class Mode(StrEnum):
    """How much a run proves."""

    REHEARSAL = "rehearsal"
    """On emulators or with made-up data: proves the method."""
    SAMPLE = "sample"
    """Real places, part of the data."""
    FULL = "full"
    """Real places, everything."""


class Level(StrEnum):
    """How an asset is verified at the target; each includes the ones before it."""

    LISTED = "listed"
    """Name and size, from the target's own listing."""
    ATTESTED = "attested"
    """The target itself reports a whole-object digest that equals ours."""
    SAMPLED = "sampled"
    """A random sample is read back; its seed was journalled before the first byte moved."""
    FULL = "full"
    """Every byte is read back."""

    @property
    def rank(self) -> int:
        """0 for the weakest."""
        return list(Level).index(self)


class EngineKind(StrEnum):
    """Where the legs are carried out."""

    LOCAL = "local"
    """In worker processes of the machine that conducts the drill."""
    DASK = "dask"
    """In worker processes on the machines of a Dask cluster."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What carries out the legs."""

    kind: EngineKind = EngineKind.LOCAL
    address: str | None = None
    """The Dask scheduler: ``tcp://HOST:PORT`` or ``tls://HOST:PORT``."""
    claims: str | None = None
    """A reference to the URL of the Postgres database in which parts are claimed, unresolved."""
    workers: int = 1
    """How many Dask workers there must be for the drill to be ready."""
    lease: timedelta = timedelta(seconds=60)
    """How long a part stays with a worker that says nothing."""

    @property
    def spread(self) -> bool:
        """Whether parts are carried out on several machines, and must be claimed."""
        return self.kind is EngineKind.DASK


@dataclass(frozen=True, slots=True)
class Objectives:
    """What the drill must reach. None: not set here."""

    rto: timedelta | None = None
    rpo: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where assets live, as the drill declares it."""

    name: str
    connector: str
    settings: Mapping[str, Json]
    """The connector's own fields, references unresolved."""
    emulator: str | None = None
    """``azurite``, ``seaweedfs`` or ``moto``: started for the run."""
    seed: Mapping[str, Json] | Json = None
    """What an emulator is filled with: ``{container: case-files, objects: 2000, …}`` or a list of those; see
    `exitdrill.emulator.seed`."""
    jurisdiction: str | None = None
    """Under whose law it is: ``NL``, ``US``."""
    limits: Limits = field(default_factory=Limits)
    """How much a run may ask of it."""
    legal_entity: str | None = None
    """With whom the contract is."""
    ownership: Ownership | None = None
    certifications: tuple[str, ...] = ()
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Which place takes which role."""

    source: str
    vault: str
    target: str


@dataclass(frozen=True, slots=True)
class Asset:
    """One named thing that must survive the exit."""

    name: str
    kind: str
    source: Mapping[str, Json]
    """``container`` and ``prefix`` for objects."""
    target: Mapping[str, Json]
    """``bucket`` (or ``container``) and ``prefix`` for objects."""
    verify: Level = Level.ATTESTED
    classification: Classification = Classification.ORDINARY
    owner: str | None = None
    objectives: Objectives = Objectives()
    depends_on: tuple[str, ...] = ()
    critical: bool = True
    """The drill's clock runs until every critical asset is proven at the target."""
    rename: str = "none"
    """``none`` or ``percent``: how keys the target cannot hold are written there."""
    sample: int = 300
    """How many objects ``sampled`` reads back."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a playbook."""

    id: str
    uses: str
    """The action's name, or ``manual``."""
    why: str
    by_hand: str
    """How a person does it without this program."""
    critical: bool = True
    """A critical step that fails ends the drill (teardown still runs)."""
    timeout: timedelta = timedelta(hours=24)
    retries: int = 0
    approval: bool = False
    """A named person must approve before it runs."""
    arguments: Mapping[str, Json] = field(default_factory=dict)
    """``with`` in the file."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named group of steps, run in order."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Playbook:
    """The method, provider-neutral."""

    name: str
    phases: tuple[Phase, ...]
    description: str = ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return tuple(step for phase in self.phases for step in phase.steps)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs the evidence."""

    key: str
    """A path, a URI (``hsm:…``, ``awskms:…``), or a reference to one of them or to the key's PEM text, unresolved."""
    public: str | None = None
    """The path of its public half; a key in a file has it in itself."""
    pin: str | None = None
    """A reference to a token's PIN, unresolved."""


@dataclass(frozen=True, slots=True)
class Timestamps:
    """Whose clock vouches for when the evidence was there."""

    url: str
    """Of an authority that speaks RFC 3161 over HTTP."""
    root: str | None = None
    """The path of the certificates its tokens must lead to, as PEM; None: tokens are kept and not judged here."""
    timeout: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who vouches for a run."""

    signers: tuple[SigningKey, ...] = ()
    """None: the machine's own key."""
    threshold: int = 1
    """How many of the signers must have signed for the evidence to count."""
    timestamps: Timestamps | None = None
    approvers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Step id to the paths of the public keys of those who may answer it; a step left out takes a name alone."""


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """A playbook bound to places, assets and objectives."""

    name: str
    mode: Mode
    objectives: Objectives
    places: Mapping[str, Place]
    route: Route
    assets: tuple[Asset, ...]
    """In an order that respects ``depends_on``."""
    playbook: Playbook
    keep: bool = False
    """Teardown leaves what the run made."""
    overlap: bool = False
    """A part is rebuilt as soon as it is evacuated; without, all rebuilding comes after the cut."""
    path: str = ""
    """The drill file, for messages; not part of the digest."""
    description: str = ""
    engine: Engine = Engine()
    evidence: Evidence = Evidence()
    policy: Policy | None = None
    """Which places may hold what."""
    waivers: tuple[Waiver, ...] = ()
    """Breaches of the policy that somebody accepts for a while."""
    due: Mapping[str, timedelta] = field(default_factory=dict)
    """By severity, how long after the declaration a finding is to be put right, where nobody says otherwise."""

    @property
    def source(self) -> Place:
        """The place everything leaves."""
        return self.places[self.route.source]

    @property
    def vault(self) -> Place:
        """The storage in the middle."""
        return self.places[self.route.vault]

    @property
    def target(self) -> Place:
        """The place everything comes up at."""
        return self.places[self.route.target]

    def asset(self, name: str) -> Asset:
        """The asset of that name. Raises KeyError."""
        found = {asset.name: asset for asset in self.assets}
        return found[name]

    def to_json(self) -> dict[str, object]:
        """As JSON values, durations in seconds."""
        out = asdict(self)
        del out["path"]
        plain = _plain(out)
        if not isinstance(plain, dict):  # pragma: no cover - asdict gives a dict
            raise TypeError
        return plain

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's canonical JSON (RFC 8785), as hexadecimal."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()  # type: ignore[arg-type]


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
