"""What a policy file looks like, and what goes with it in a drill: facts of places, waivers, terms of findings.

A policy is a file of its own, because it is the organisation's and not the drill's: many drills name one. What its
rules mean, `exitdrill.plan.placing` says.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, model_validator

from exitdrill.plan.parts import Date, Duration, Name, Part, Text
from exitdrill.plan.problems import KeyPath, Problem, Problems, closest, one_of, quoted, show_path
from exitdrill.plan.source import Node
from exitdrill.plan.sovereignty import (
    Classification,
    Ownership,
    Policy,
    PolicyRule,
    Seal,
    SealLevel,
    Unknown,
    Waiver,
)

__all__ = [
    "CODE_PATTERN",
    "FindingsFile",
    "OwnershipFile",
    "PolicyFile",
    "SealFile",
    "WaiverFile",
    "check_policy",
    "check_waivers",
    "frozen_ownership",
    "frozen_policy",
    "frozen_seal",
    "frozen_waiver",
]

CODE_PATTERN = r"^([A-Z]{2}|EEA)$"
"""Of a jurisdiction."""

_Code = Annotated[str, Field(pattern=CODE_PATTERN)]
_Codes = Annotated[list[_Code], Field(min_length=1)]
_Role = Literal["source", "vault", "target"]


class SealFile(Part):
    """``seal:`` of a place."""

    level: SealLevel = Field(description="SEAL-0 to SEAL-4, of its weakest objective.")
    assessed_by: Text | None = Field(None, description="Who assessed it; left out: it is declared, and shown as that.")
    assessed_on: Date | None = Field(None, description="When.")
    reference: Text | None = Field(None, description="Where the assessment can be read.")

    @model_validator(mode="after")
    def _by_somebody(self) -> Self:
        if self.assessed_by is None and (self.assessed_on or self.reference):
            raise ValueError("an assessment by nobody: add assessed_by, or leave out assessed_on and reference")
        return self


class OwnershipFile(Part):
    """``ownership:`` of a place: in whose hands its provider is."""

    owner: Text = Field(description="Who owns the provider.")
    jurisdiction: _Code = Field(description='Under whose law the owner is: "NL", "US".')
    controller: Text | None = Field(None, description="Who has the last word over the owner, if that is another.")
    controller_jurisdiction: _Code | None = Field(None, description="Under whose law the controller is.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.controller is None) != (self.controller_jurisdiction is None):
            raise ValueError("controller and controller_jurisdiction belong together: give both or neither")
        return self


class PolicyRuleFile(Part):
    """One of ``rules:``."""

    id: Name = Field(description="Its name, once in a policy; waivers and findings call it so.")
    why: Text = Field(description="Why the rule is there.")
    classifications: Annotated[list[Classification], Field(min_length=1)] = Field(
        description="To which assets it applies."
    )
    roles: Annotated[list[_Role], Field(min_length=1)] = Field(
        default_factory=lambda: list[_Role](("source", "vault", "target")), description="To which places it applies."
    )
    jurisdictions: _Codes | None = Field(None, description="One of these must be the place's; EU and EEA: any in it.")
    ownership: _Codes | None = Field(None, description="Owner and controller must be under one of these.")
    seal: SealLevel | None = Field(None, description="The lowest SEAL level.")
    assessed: StrictBool = Field(default=False, description="A level that is only declared does not count.")
    certifications: Annotated[list[Text], Field(min_length=1)] | None = Field(None, description="All of these.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not (self.jurisdictions or self.ownership or self.seal or self.certifications):
            raise ValueError("it asks for nothing: give it jurisdictions, ownership, seal or certifications")
        if self.assessed and self.seal is None:
            raise ValueError("assessed is about seal: give it a level")
        return self


class PolicyFile(Part):
    """A policy: which places may hold what."""

    model_config = ConfigDict(title="exitdrill policy")

    exitdrill: Literal[1] = Field(description="The version of this format.")
    name: Name = Field(description="The policy's name.")
    description: str = Field("", description="What it is for.")
    unknown: Unknown = Field(Unknown.WARN, description="What to make of a fact that a drill does not state.")
    rules: Annotated[list[PolicyRuleFile], Field(min_length=1)] = Field(description="All that apply must hold.")


class WaiverFile(Part):
    """One of ``waivers:`` of a drill."""

    asset: Text = Field(description="The asset.")
    place: Text = Field(description="The place.")
    rule: Text = Field(description="The rule's id in the policy.")
    by: Text = Field(description="Who accepts the breach: a person's name.")
    reason: Text = Field(description="Why.")
    until: Date = Field(description="The last day on which it counts (UTC).")


class DueFile(Part):
    """``due:`` of ``findings:``."""

    critical: Duration | None = Field(None, description="How long there is to put a critical finding right.")
    warning: Duration | None = Field(None, description="How long there is for a warning.")


class FindingsFile(Part):
    """``findings:`` of a drill."""

    due: DueFile = Field(DueFile(), description="Until when findings are to be put right, from the declaration.")


def frozen_policy(file: PolicyFile) -> Policy:
    """As the plan has it."""
    rules = tuple(
        PolicyRule(
            rule.id,
            rule.why.strip(),
            tuple(dict.fromkeys(rule.classifications)),
            tuple(dict.fromkeys(rule.roles)),
            tuple(rule.jurisdictions or ()),
            tuple(rule.ownership or ()),
            rule.seal,
            rule.assessed,
            tuple(rule.certifications or ()),
        )
        for rule in file.rules
    )
    return Policy(file.name, rules, file.description.strip(), file.unknown)


def frozen_seal(file: SealFile | None) -> Seal | None:
    """As the plan has it."""
    return None if file is None else Seal(file.level, file.assessed_by, file.assessed_on, file.reference)


def frozen_ownership(file: OwnershipFile | None) -> Ownership | None:
    """As the plan has it."""
    if file is None:
        return None
    return Ownership(file.owner, file.jurisdiction, file.controller, file.controller_jurisdiction)


def frozen_waiver(file: WaiverFile) -> Waiver:
    """As the plan has it."""
    return Waiver(file.asset, file.place, file.rule, file.by.strip(), file.reason.strip(), file.until)


def check_policy(file: str, root: Node, problems: Problems) -> None:
    """Check that each rule's id is there once."""
    rules = root.at("rules")
    seen: dict[str, Node] = {}
    for index, rule in enumerate(rules.items if rules else []):
        node = rule.at("id")
        if node is None or node.text is None:
            continue
        if node.text in seen:
            what = f"the id {quoted(node.text)} is given twice, first in line {seen[node.text].line}"
            path = show_path(("rules", index, "id"))
            problems.add(Problem(file, node.line, node.column, path, what, "each id once"))
        seen.setdefault(node.text, node)


def check_waivers(file: str, root: Node, policy: Node | None, problems: Problems) -> None:
    """Check that waivers are about assets, places and rules there are, and each about something else.

    Args:
        file: The drill file.
        root: Its root.
        policy: The root of the policy's file; None if the drill names none, or none that can be read.
        problems: What is found is added.
    """
    waivers = root.at("waivers")
    if waivers is None or not waivers.items:
        return
    if root.at("policy") is None:
        what, hint = "waivers without a policy", "there is nothing to waive"
        problems.add(
            Problem(file, waivers.key_line, waivers.key_column, "waivers", what, "policy: FILE, or no waivers", hint)
        )
        return
    known = {"asset": _names(root.at("assets"), "name"), "place": _places(root)}
    if policy is not None:
        known["rule"] = _names(policy.at("rules"), "id")
    seen: dict[tuple[str | None, ...], int] = {}
    for index, waiver in enumerate(waivers.items):
        for name, names in known.items():
            _named(file, waiver.at(name), ("waivers", index, name), name, names, problems)
        about = tuple(node.text if (node := waiver.at(name)) else None for name in ("asset", "place", "rule"))
        if None not in about and about in seen:
            what = f"the same asset, place and rule as waivers[{seen[about]}]"
            path = show_path(("waivers", index))
            problems.add(Problem(file, waiver.line, waiver.column, path, what, "one waiver for each"))
        seen.setdefault(about, index)


def _names(node: Node | None, field: str) -> list[str]:
    named = [item.at(field) for item in (node.items if node else [])]
    return [one.text for one in named if one is not None and one.text is not None]


def _places(root: Node) -> list[str]:
    route = root.at("route")
    return [node.text for node in (route.map if route else {}).values() if node.text is not None]


def _named(file: str, node: Node | None, path: KeyPath, what: str, known: list[str], problems: Problems) -> None:
    if node is None or node.text is None or node.text in known:
        return
    where = " in the route" if what == "place" else " in the policy" if what == "rule" else ""
    text = f"no {what}{where} is called {quoted(node.text)}"
    problems.add(Problem(file, node.line, node.column, show_path(path), text, one_of(known), closest(node.text, known)))
