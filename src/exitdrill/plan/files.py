"""What a drill file and a playbook file look like: their fields, types and JSON Schemas.

Rules: fields not named here are refused, except in a place, where the rest belongs to its connector. Nothing
is converted: text is text, and a number is no duration. What one field says about another (a place in the
route, a cycle) is checked in `exitdrill.plan.checks`.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from exitdrill.model.limits import EVERY_DAY
from exitdrill.plan.drill import EngineKind, Level, Mode
from exitdrill.plan.evidence import EvidenceFile
from exitdrill.plan.limits import RATE_PATTERN, TIME_PATTERN, parse_days, parse_minute, parse_rate, parse_timezone
from exitdrill.plan.parts import Duration, Name, Part, Text, parsed
from exitdrill.plan.policy import FindingsFile, OwnershipFile, PolicyFile, SealFile, WaiverFile
from exitdrill.plan.sovereignty import Classification

__all__ = [
    "ADDRESS_PATTERN",
    "VERSION",
    "AssetFile",
    "BandwidthFile",
    "DrillFile",
    "EngineFile",
    "LimitsFile",
    "LocationFile",
    "PhaseFile",
    "PlaceFile",
    "PlaybookFile",
    "ReportsFile",
    "SourceFile",
    "StepFile",
    "json_schema",
]

VERSION = 1
"""Of the files, as ``exitdrill:`` says it."""

ADDRESS_PATTERN = r"^(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):[0-9]{1,5}$"
"""Of a Dask scheduler."""


def _list_of_one(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _rate_or_table(value: object) -> object:
    """A rate alone is a timetable of one line, and so is a line alone."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else [{"rate": value}]


_RATE_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": RATE_PATTERN,
    "examples": ["50MB/s", "400Mbit/s", "unlimited"],
}
Rate = Annotated[float | None, BeforeValidator(parsed("rate", parse_rate)), WithJsonSchema(_RATE_SCHEMA)]
TimeOfDay = Annotated[
    int,
    BeforeValidator(parsed("time of day", parse_minute)),
    WithJsonSchema({"type": "string", "pattern": TIME_PATTERN, "examples": ["08:00", "24:00"]}),
]
Days = Annotated[
    tuple[int, ...],
    BeforeValidator(parsed("days", parse_days)),
    WithJsonSchema({"type": "string", "examples": ["mon-fri", "sat,sun"]}),
]
TimeZone = Annotated[
    str,
    BeforeValidator(parsed("time zone", parse_timezone)),
    WithJsonSchema({"type": "string", "examples": ["Europe/Amsterdam"]}),
]


class ObjectivesFile(Part):
    """``objectives:`` of a drill or an asset."""

    rto: Duration | None = Field(None, description="How long recovery may take, from the declaration.")
    rpo: Duration | None = Field(None, description="How much may be lost, as time before the source is cut off.")


class SeedFile(Part):
    """What an emulator's container is filled with; fields left out have `exitdrill.emulator.seed`'s defaults."""

    container: Text = Field(description="The container to fill.")
    objects: Annotated[StrictInt, Field(ge=0, le=100_000_000)] = Field(500, description="How many objects.")
    bytes_max: Annotated[StrictInt, Field(ge=0, le=5 * 1024**4)] = Field(
        4_000_000, description="The largest, in bytes."
    )
    random: StrictInt = Field(1, description="Another number gives other objects.")
    hostile: StrictBool = Field(default=False, description="Add keys that are legal and yet break tools.")
    prefix: str = Field("", description="Before every key.")


class BandwidthFile(Part):
    """One line of a timetable of bandwidth."""

    days: Days = Field(
        EVERY_DAY, description="On which days of the week it begins.", json_schema_extra={"default": "mon-sun"}
    )
    start: TimeOfDay = Field(
        0, alias="from", description="When it begins, local time.", json_schema_extra={"default": "00:00"}
    )
    end: TimeOfDay = Field(
        24 * 60,
        alias="to",
        description="When it ends; a time before its beginning is on the day after.",
        json_schema_extra={"default": "24:00"},
    )
    rate: Rate = Field(description="How many bytes a second: 50MB/s, 400Mbit/s, or unlimited.")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.start == self.end:
            raise ValueError("it ends when it begins: leave out from and to for the whole day")
        return self


class LimitsFile(Part):
    """``limits:`` of a place: how much a run may ask of it, over all its worker processes."""

    concurrency: Annotated[StrictInt, Field(ge=1, le=1024)] | None = Field(
        None, description="How many objects a worker process has under way at most; found by trying below it."
    )
    requests_per_second: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="How many requests a second."
    )
    bandwidth: Annotated[
        list[BandwidthFile],
        Field(min_length=1),
        BeforeValidator(
            _rate_or_table,
            json_schema_input_type=Annotated[str, WithJsonSchema(_RATE_SCHEMA)] | BandwidthFile | list[BandwidthFile],
        ),
    ] = Field(
        default_factory=list, description="A rate, or a timetable: the first line that matches the local time wins."
    )
    timezone: TimeZone = Field("UTC", description="The time zone of the timetable.")

    @model_validator(mode="after")
    def _reached(self) -> Self:
        lines = self.bandwidth
        for number, line in enumerate(lines[:-1], 1):
            if set(line.days) == set(EVERY_DAY) and line.end - line.start == 24 * 60:
                raise ValueError(f"bandwidth: line {number} matches at any time, so the lines after it are never used")
        return self


class PlaceFile(BaseModel):
    """One of ``places:``. Fields beside these are its connector's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    connector: Text = Field(description="Which connector reaches it; see: exitdrill connectors.")
    emulator: Text | None = Field(
        None, description="Started for the run in place of the real thing: azurite, seaweedfs, moto."
    )
    seed: (
        Annotated[
            list[SeedFile],
            Field(min_length=1),
            BeforeValidator(_list_of_one, json_schema_input_type=SeedFile | list[SeedFile]),
        ]
        | None
    ) = Field(None, description="What the emulator is filled with before the drill.")
    jurisdiction: Text | None = Field(None, description='Under whose law it is: "NL", "US", "NO".')
    legal_entity: Text | None = Field(None, description="With whom the contract is.")
    ownership: OwnershipFile | None = Field(None, description="In whose hands its provider is.")
    certifications: list[Text] = Field(
        default_factory=list, description="What it is certified for, as policies say it."
    )
    seal: SealFile | None = Field(None, description="Its level in the EU Cloud Sovereignty Framework.")
    limits: LimitsFile | None = Field(None, description="How much a run may ask of it.")


class RouteFile(Part):
    """``route:``, naming places."""

    source: Text = Field(description="The place everything leaves.")
    vault: Text = Field(description="Storage of one's own, in the middle.")
    target: Text = Field(description="The place everything comes up at.")


class LocationFile(Part):
    """Where objects are: an asset's ``source:`` or ``target:``."""

    container: Text | None = Field(None, description="The container; bucket means the same.")
    bucket: Text | None = Field(None, description="The bucket; container means the same.")
    prefix: str = Field("", description="Only keys that begin so; replaced at the target by the target's prefix.")


class ReportsFile(Part):
    """``report:`` of an inventory: where the place writes reports of what it holds."""

    container: Text | None = Field(None, description="The container they are in; bucket means the same.")
    bucket: Text | None = Field(None, description="The bucket they are in; container means the same.")
    prefix: str = Field("", description="What the keys of reports begin with.")
    rule: Text | None = Field(None, description="The rule or configuration that writes them, if there are several.")
    manifest: Text | None = Field(None, description="The key of one report's manifest; the newest complete one if not.")


class InventoryFile(Part):
    """``inventory:`` of an asset's source."""

    report: ReportsFile = Field(description="Azure Blob Inventory or S3 Inventory.")
    delta: Literal["listing", "none"] = Field(
        "listing", description="Whether a listing brings the report up to date; none: changes are found when copying."
    )


class SourceFile(LocationFile):
    """Where objects are: an asset's ``source:``."""

    inventory: InventoryFile | None = Field(None, description="Take the inventory from reports of the place's own.")


_LOCATION: dict[str, JsonValue] = {
    "container": {"type": "string", "description": "For objects: the container; bucket means the same."},
    "bucket": {"type": "string", "description": "For objects: the bucket; container means the same."},
    "prefix": {"type": "string", "default": "", "description": "For objects: only keys that begin so."},
}
_INVENTORY: dict[str, JsonValue] = {
    "type": "object",
    "description": "For objects: take the inventory from reports of the place's own.",
    "required": ["report"],
    "additionalProperties": False,
    "properties": {
        "report": {
            "type": "object",
            "description": "Where Azure Blob Inventory or S3 Inventory writes.",
            "additionalProperties": False,
            "properties": {
                "container": {"type": "string", "description": "The container; bucket means the same."},
                "bucket": {"type": "string", "description": "The bucket; container means the same."},
                "prefix": {"type": "string", "default": "", "description": "What the keys of reports begin with."},
                "rule": {"type": "string", "description": "The rule or configuration, if there are several."},
                "manifest": {"type": "string", "description": "The key of one report's manifest."},
            },
        },
        "delta": {"enum": ["listing", "none"], "default": "listing"},
    },
}
_Source = Annotated[
    dict[str, JsonValue],
    WithJsonSchema({"type": "object", "properties": {**_LOCATION, "inventory": _INVENTORY}}),
]
_Target = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object", "properties": _LOCATION})]


class AssetFile(Part):
    """One of ``assets:``."""

    name: Name = Field(description="Its name, once in a drill.")
    kind: Text = Field(description="objects, or another kind that is installed.")
    source: _Source = Field(description="Where it is at the source.")
    target: _Target = Field(description="Where it must come up at the target.")
    verify: Level = Field(Level.ATTESTED, description="How it is proven; each level includes those before it.")
    classification: Classification = Field(Classification.ORDINARY, description="What would be at stake with it.")
    owner: Text | None = Field(None, description="Who answers for it.")
    objectives: ObjectivesFile = Field(ObjectivesFile(), description="Its own objectives, beside the drill's.")
    depends_on: list[Text] = Field(default_factory=list, description="Assets that must be up before it.")
    critical: StrictBool = Field(default=True, description="The clock runs until every critical asset is proven.")
    rename: Literal["none", "percent"] = Field("none", description="How keys the target cannot hold are written there.")
    sample: Annotated[StrictInt, Field(ge=1, le=10_000_000)] = Field(300, description="How many objects sampled reads.")


class EngineFile(Part):
    """``engine:``: where the legs are carried out."""

    kind: EngineKind = Field(
        EngineKind.LOCAL, description="local: on the machine that conducts; dask: on a Dask cluster."
    )
    address: Annotated[str, Field(pattern=ADDRESS_PATTERN)] | None = Field(
        None, description="For dask: the scheduler, tcp://HOST:PORT, or tls://HOST:PORT where others share the network."
    )
    claims: Text | None = Field(
        None, description="For dask: a reference to the URL of the Postgres database that holds the claims on parts."
    )
    workers: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        1, description="For dask: how many workers there must be for the drill to be ready."
    )
    lease: Duration = Field(
        timedelta(seconds=60),
        description="For dask: how long a part stays with a worker that says nothing.",
        json_schema_extra={"default": "60s"},
    )


class DrillFile(Part):
    """A drill: a playbook bound to places, assets and objectives."""

    model_config = ConfigDict(title="exitdrill drill")

    exitdrill: Literal[1] = Field(description="The version of this format.")
    name: Name = Field(description="The drill's name.")
    description: str = Field("", description="What it is for.")
    playbook: Text = Field(description="The playbook's file, from this file's folder.")
    mode: Mode = Field(description="rehearsal: emulators or made-up data; sample: part of the data; full: all of it.")
    objectives: ObjectivesFile = Field(ObjectivesFile(), description="What the drill as a whole must reach.")
    places: Annotated[dict[Name, PlaceFile], Field(min_length=1)] = Field(description="Where assets live, by name.")
    route: RouteFile = Field(description="Which place takes which role.")
    assets: Annotated[list[AssetFile], Field(min_length=1)] = Field(description="What must survive the exit.")
    keep: StrictBool = Field(default=False, description="Teardown leaves what the run made.")
    overlap: StrictBool = Field(
        default=False,
        description="Rebuild each part as soon as it is evacuated: faster, and before the source is cut off.",
    )
    engine: EngineFile = Field(EngineFile(), description="Where the legs are carried out.")
    evidence: EvidenceFile = Field(EvidenceFile(), description="Who vouches for a run: keys, timestamps, approvers.")
    policy: Text | None = Field(
        None, description="The file, from this file's folder, that says which places may hold what."
    )
    waivers: list[WaiverFile] = Field(default_factory=list, description="Breaches of the policy that somebody accepts.")
    findings: FindingsFile = Field(FindingsFile(), description="Terms for what a run finds.")


class StepFile(Part):
    """One step of a playbook."""

    id: Name = Field(description="Its name, once in a playbook.")
    uses: Text = Field(description="The action that carries it out, or manual: a person does.")
    why: Text = Field(description="Why the step is there.")
    by_hand: Text = Field(description="How a person does it without exitdrill.")
    critical: StrictBool = Field(default=True, description="If it fails, the drill ends (teardown still runs).")
    timeout: Duration = Field(
        timedelta(hours=24), description="How long it may take.", json_schema_extra={"default": "24h"}
    )
    retries: Annotated[StrictInt, Field(ge=0, le=100)] = Field(0, description="How often it is tried again.")
    approval: StrictBool = Field(default=False, description="A named person must approve before it runs.")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, alias="with", description="The action's arguments.")


class PhaseFile(Part):
    """A named group of steps."""

    name: Name = Field(
        description="declare, preflight, inventory, evacuate, sever, rebuild, verify, seal, teardown, or its own."
    )
    steps: Annotated[list[StepFile], Field(min_length=1)] = Field(description="Carried out in order.")


class PlaybookFile(Part):
    """A playbook: the method, provider-neutral."""

    model_config = ConfigDict(title="exitdrill playbook")

    exitdrill: Literal[1] = Field(description="The version of this format.")
    name: Name = Field(description="The playbook's name.")
    description: str = Field("", description="What it is for.")
    phases: Annotated[list[PhaseFile], Field(min_length=1)] = Field(description="Carried out in order.")


def json_schema(kind: Literal["drill", "playbook", "policy"]) -> dict[str, JsonValue]:
    """The JSON Schema (draft 2020-12) of a file, for editors and for checking without exitdrill."""
    models: dict[str, type[BaseModel]] = {"drill": DrillFile, "playbook": PlaybookFile, "policy": PolicyFile}
    schema: dict[str, Any] = models[kind].model_json_schema(by_alias=True, mode="validation")
    return cast("dict[str, JsonValue]", {"$schema": GenerateJsonSchema.schema_dialect, **schema})
