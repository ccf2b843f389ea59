"""A drill file, its playbook and its policy -> `DrillPlan`: reads, checks everything, reports all of it or freezes it.

Rules: no network, no environment variable is read, and nothing is resolved; a plan of an unchanged file is
the same plan everywhere. Whether the places are there is preflight's business.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from exitdrill.model.limits import BandwidthLine, Limits
from exitdrill.plan.checks import Known, check_drill, check_overlap, check_playbook, in_order
from exitdrill.plan.drill import Asset, DrillPlan, Engine, Objectives, Phase, Place, Playbook, Route, Step
from exitdrill.plan.evidence import check_approvers, frozen
from exitdrill.plan.explain import explain
from exitdrill.plan.files import VERSION, AssetFile, DrillFile, LimitsFile, ObjectivesFile, PlaceFile, PlaybookFile
from exitdrill.plan.policy import (
    PolicyFile,
    check_policy,
    check_waivers,
    frozen_ownership,
    frozen_policy,
    frozen_seal,
    frozen_waiver,
)
from exitdrill.plan.problems import Problem, Problems
from exitdrill.plan.settings import ConnectorSettings
from exitdrill.plan.source import Node, read

__all__ = ["load_plan"]

_File = TypeVar("_File", bound=BaseModel)


def load_plan(
    path: Path,
    *,
    connectors: ConnectorSettings,
    actions: Collection[str],
    kinds: Collection[str],
    emulators: Collection[str],
) -> DrillPlan:
    """The plan a drill file, its playbook and its policy describe.

    Args:
        path: The drill file.
        connectors: The connectors installed, and the models of their settings.
        actions: What a step's ``uses`` can name, beside ``manual``.
        kinds: The kinds of asset installed.
        emulators: What a place's ``emulator`` can name.

    Returns:
        The plan, its assets in an order that respects ``depends_on``.

    Raises:
        DefinitionError: A file says something that cannot be: a line for every problem of all files, each
            with file, line, column and field.
        ExitdrillError: A connector the drill names is installed and cannot be loaded.
    """
    known = Known(connectors, actions, kinds, emulators)
    problems = Problems()
    shown = str(path)
    root = read(path, shown, problems)
    drill = playbook = policy = None
    if root is not None and _version(shown, root, problems):
        drill = _validate(shown, root, DrillFile, problems)
        check_drill(shown, root, known, problems)
        playbook = _playbook(path, shown, root, known, problems)
        policy = _policy(path, shown, root, problems)
    problems.check()
    assert drill is not None  # noqa: S101 - or there was a problem
    assert playbook is not None  # noqa: S101 - as above
    return _plan(drill, playbook, policy, shown)


def _version(file: str, root: Node, problems: Problems) -> bool:
    """Whether the file is of this version; of another, nothing else would be worth reporting."""
    node = root.at("exitdrill")
    if node is None:
        problems.add(Problem(file, root.line, root.column, "exitdrill", "missing", f"exitdrill: {VERSION}"))
        return True
    if node.broken:
        return True
    if type(node.value) is int and node.value == VERSION:
        return True
    what, hint = node.found(), "this file was made for another version of exitdrill"
    problems.add(Problem(file, node.line, node.column, "exitdrill", what, f"exitdrill: {VERSION}", hint))
    return False


def _validate(file: str, root: Node, model: type[_File], problems: Problems) -> _File | None:
    try:
        return model.model_validate(root.plain())
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            if error["loc"] == ("exitdrill",):
                continue  # `_version` said so
            problem = explain(file, root, model, error)
            if problem is not None:
                problems.add(problem)
    return None


def _beside(path: Path, file: str, root: Node, field: str, problems: Problems) -> tuple[str, Node] | None:
    """The root of a file that a drill names, and what messages call it; None where there is nothing to go on with."""
    named = root.at(field)
    if named is None or not named.text or not named.text.strip():
        return None
    there = path.parent / named.text
    # The two names may differ behind a symbolic link: one is opened, the other only shown.
    shown = os.path.normpath(there)
    own = Problems()
    found = read(there, shown, own)
    if found is None and own.about_file:
        what = f"{field} {shown}: {own.about_file.what}"
        problems.add(Problem(file, named.line, named.column, field, what, "", own.about_file.hint))
        return None
    problems.take(own)
    if found is None or not _version(shown, found, problems):
        return None
    return shown, found


def _playbook(path: Path, file: str, root: Node, known: Known, problems: Problems) -> PlaybookFile | None:
    beside = _beside(path, file, root, "playbook", problems)
    if beside is None:
        return None
    shown, found = beside
    playbook = _validate(shown, found, PlaybookFile, problems)
    check_playbook(shown, found, known, problems)
    check_overlap(file, root, shown, found, problems)
    check_approvers(file, root, found, problems)
    return playbook


def _policy(path: Path, file: str, root: Node, problems: Problems) -> PolicyFile | None:
    beside = _beside(path, file, root, "policy", problems)
    check_waivers(file, root, beside[1] if beside else None, problems)
    if beside is None:
        return None
    shown, found = beside
    check_policy(shown, found, problems)
    return _validate(shown, found, PolicyFile, problems)


def _plan(drill: DrillFile, playbook: PlaybookFile, policy: PolicyFile | None, path: str) -> DrillPlan:
    assets = {asset.name: asset for asset in drill.assets}
    order = in_order({name: asset.depends_on for name, asset in assets.items()})
    return DrillPlan(
        name=drill.name,
        mode=drill.mode,
        objectives=_objectives(drill.objectives),
        places={name: _place(name, place) for name, place in drill.places.items()},
        route=Route(drill.route.source, drill.route.vault, drill.route.target),
        assets=tuple(_asset(assets[name]) for name in order),
        playbook=_frozen_playbook(playbook),
        keep=drill.keep,
        overlap=drill.overlap,
        path=path,
        description=drill.description,
        engine=Engine(
            drill.engine.kind, drill.engine.address, drill.engine.claims, drill.engine.workers, drill.engine.lease
        ),
        evidence=frozen(drill.evidence),
        policy=None if policy is None else frozen_policy(policy),
        waivers=tuple(frozen_waiver(waiver) for waiver in drill.waivers),
        due={name: value for name, value in drill.findings.due if value is not None},
    )


def _objectives(file: ObjectivesFile) -> Objectives:
    return Objectives(file.rto, file.rpo)


def _place(name: str, file: PlaceFile) -> Place:
    seeds: list[JsonValue] = [seed.model_dump(exclude_unset=True) for seed in file.seed or []]
    return Place(
        name,
        file.connector,
        dict(file.model_extra or {}),
        emulator=file.emulator,
        seed=seeds or None,
        jurisdiction=file.jurisdiction,
        limits=Limits() if file.limits is None else _limits(file.limits),
        legal_entity=file.legal_entity,
        ownership=frozen_ownership(file.ownership),
        certifications=tuple(file.certifications),
        seal=frozen_seal(file.seal),
    )


def _limits(file: LimitsFile) -> Limits:
    lines = tuple(BandwidthLine(line.rate, line.days, line.start, line.end) for line in file.bandwidth)
    return Limits(file.concurrency, file.requests_per_second, lines, file.timezone)


def _asset(file: AssetFile) -> Asset:
    source, target = dict(file.source), dict(file.target)
    if file.kind == "objects":
        source.setdefault("prefix", "")
        target.setdefault("prefix", "")
    return Asset(
        name=file.name,
        kind=file.kind,
        source=source,
        target=target,
        verify=file.verify,
        classification=file.classification,
        owner=file.owner,
        objectives=_objectives(file.objectives),
        depends_on=tuple(dict.fromkeys(file.depends_on)),
        critical=file.critical,
        rename=file.rename,
        sample=file.sample,
    )


def _frozen_playbook(file: PlaybookFile) -> Playbook:
    phases = tuple(
        Phase(
            phase.name,
            tuple(
                Step(
                    id=step.id,
                    uses=step.uses,
                    why=step.why.strip(),
                    by_hand=step.by_hand.strip(),
                    critical=step.critical,
                    timeout=step.timeout,
                    retries=step.retries,
                    approval=step.approval,
                    arguments=step.arguments,
                )
                for step in phase.steps
            ),
        )
        for phase in file.phases
    )
    return Playbook(file.name, phases, file.description.strip())
