"""What the fields of a drill say about one another: names that must exist, roles, cycles, order.

Rules: everything is checked on the file's nodes and passes over what is not of its type, so that these
problems are reported beside those of types. Types and single fields are checked by `exitdrill.plan.files`.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pydantic import ValidationError

from exitdrill.errors import DefinitionError
from exitdrill.plan.drill import EngineKind
from exitdrill.plan.durations import parse_duration
from exitdrill.plan.evidence import check_evidence, takes_reference
from exitdrill.plan.explain import explain
from exitdrill.plan.files import LocationFile, ReportsFile, SourceFile
from exitdrill.plan.problems import KeyPath, Problem, Problems, closest, one_of, quoted, show_path
from exitdrill.plan.secrets import has_reference, is_reference
from exitdrill.plan.settings import COMMON, ConnectorSettings, check_settings
from exitdrill.plan.source import Node

__all__ = ["PHASES", "ROLES", "Known", "check_drill", "check_overlap", "check_playbook", "in_order"]

ROLES = ("source", "vault", "target")
PHASES = ("declare", "preflight", "inventory", "evacuate", "sever", "rebuild", "verify", "seal", "teardown")
"""The phases every playbook's are compared with, in order."""

_MANUAL = "manual"
_OBJECTS = "objects"
_LEGS = ("assets.evacuate", "assets.rebuild")
_CLAIMS: KeyPath = ("engine", "claims")
_RESOLVED = "only a place's settings, engine.claims, and key and pin of evidence.signers are resolved"
_LEASE_SECONDS = (2.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Known:
    """What is installed."""

    connectors: ConnectorSettings
    actions: Collection[str]
    kinds: Collection[str]
    emulators: Collection[str]


@dataclass(frozen=True, slots=True)
class _Report:
    """Adds problems of one file."""

    file: str
    problems: Problems

    def at(self, node: Node, path: KeyPath, what: str, expected: str = "", hint: str = "") -> None:
        self.problems.add(Problem(self.file, node.line, node.column, show_path(path), what, expected, hint))

    def unknown(self, node: Node, path: KeyPath, what: str, known: Collection[str]) -> None:
        """A name that is none of the known ones."""
        name = node.text or ""
        self.at(node, path, f"no {what} is called {quoted(name)}", one_of(known), closest(name, known))


def _texts(node: Node | None) -> Iterator[tuple[int, Node, str]]:
    """The items of a list that are text."""
    for index, item in enumerate(node.items if node else []):
        if item.text is not None:
            yield index, item, item.text


def check_drill(file: str, root: Node, known: Known, problems: Problems) -> None:
    """Check what a drill's fields say about one another and about what is installed."""
    report = _Report(file, problems)
    places = root.at("places")
    for name, place in (places.map if places else {}).items():
        _place(report, root, name, place, known)
    _route(report, root, known)
    _assets(report, root, known)
    _engine(report, root)
    check_evidence(file, root, problems)
    for path, node in root.scalars():
        settings = path[0] == "places" and len(path) > 2 and path[2] not in COMMON  # noqa: PLR2004 - places.NAME.FIELD
        resolved = settings or path == _CLAIMS or takes_reference(path)
        if not resolved and node.text is not None and has_reference(node.text):
            report.at(
                node,
                path,
                "a reference here stays as it is",
                "a plain value",
                _RESOLVED,
            )


def _place(report: _Report, root: Node, name: str, place: Node, known: Known) -> None:
    path: KeyPath = ("places", name)
    emulator = place.at("emulator")
    if emulator is not None and emulator.text is not None:
        _emulator(report, root, name, emulator, known.emulators)
    seed = place.at("seed")
    if seed is not None and seed.value is not None and (emulator is None or emulator.value is None):
        what, hint = "a seed without an emulator", "a real place is never filled with made-up objects"
        report.at(seed, (*path, "seed"), what, f"emulator: {one_of(known.emulators)}", hint)
    connector = place.at("connector")
    if connector is None or connector.text is None:
        return
    if connector.text not in known.connectors.names:
        report.unknown(connector, (*path, "connector"), "connector", known.connectors.names)
        return
    model = known.connectors(connector.text)
    if model is not None:
        emulated = emulator is not None and emulator.value is not None
        check_settings(report.file, place, path, model, report.problems, emulated=emulated)


def _emulator(report: _Report, root: Node, name: str, emulator: Node, emulators: Collection[str]) -> None:
    path: KeyPath = ("places", name, "emulator")
    if emulator.text not in emulators:
        report.unknown(emulator, path, "emulator", emulators)
    mode = root.at("mode")
    if mode is not None and mode.text == "full":
        hint = "mode: rehearsal for a drill on emulators, or name the real place"
        report.at(emulator, path, "an emulator in a drill of mode full", "no emulator", hint)
    route = root.at("route")
    if route is not None and route.map and name not in [node.text for node in route.map.values()]:
        report.at(emulator, path, "an emulator for a place that is not in the route", "a place in the route")


def _route(report: _Report, root: Node, known: Known) -> None:
    route, places = root.at("route"), root.at("places")
    if route is None or places is None or not isinstance(places.value, dict):
        return
    taken: dict[str, str] = {}
    for role in ROLES:
        node = route.at(role)
        if node is None or node.text is None:
            continue
        path, name = ("route", role), node.text
        if name not in places.map:
            report.unknown(node, path, "place", places.map)
            continue
        if name in taken:
            what = f"place {quoted(name)} is the {taken[name]} already"
            report.at(node, path, what, "three places", "what leaves a place cannot come up there")
        taken.setdefault(name, role)
        connector = places.at(name, "connector")
        if connector is None or connector.text is None or connector.text not in known.connectors.names:
            continue
        able = known.connectors.roles(connector.text)
        if role not in able:
            what = f"place {quoted(name)} has connector {connector.text}, which cannot be a {role}"
            report.at(node, path, what, f"a place whose connector can; this one can be {one_of(able)}")


def _engine(report: _Report, root: Node) -> None:
    engine = root.at("engine")
    if engine is None or not isinstance(engine.value, dict):
        return
    kind = engine.at("kind")
    named = EngineKind.LOCAL if kind is None else kind.text
    claims = engine.at("claims")
    if claims is not None and claims.text is not None and not is_reference(claims.text):
        # Not shown: a URL may carry a password.
        hint = 'write ${env:NAME} or ${file:PATH}; e.g. claims: "${env:EXITDRILL_CLAIMS}"'
        report.at(claims, _CLAIMS, "a literal secret", "a reference", hint)
    if named == EngineKind.DASK:
        for name, example in (("address", "tls://scheduler:8786"), ("claims", '"${env:EXITDRILL_CLAIMS}"')):
            if engine.at(name) is None:
                report.at(engine, ("engine", name), "missing", f"{name}: {example}", "a cluster needs it")
        _leases(report, engine)
        _no_emulators(report, root)
    elif named == EngineKind.LOCAL:
        for name in engine.map.keys() & {"address", "claims", "workers", "lease"}:
            report.at(engine.map[name], ("engine", name), "only a cluster has this", "kind: dask", "or leave it out")


def _leases(report: _Report, engine: Node) -> None:
    node = engine.at("lease")
    if node is None or node.text is None:
        return
    with suppress(DefinitionError):  # said with the types
        seconds = parse_duration(node.text).total_seconds()
        if not _LEASE_SECONDS[0] <= seconds <= _LEASE_SECONDS[1]:
            report.at(node, ("engine", "lease"), node.found(), "2s to 1h", "long enough for a pause of the network")


def _no_emulators(report: _Report, root: Node) -> None:
    places = root.at("places")
    for name, place in (places.map if places else {}).items():
        emulator = place.at("emulator")
        if emulator is not None and emulator.value is not None:
            path: KeyPath = ("places", name, "emulator")
            hint = "it runs on the machine that conducts, where the cluster's machines do not reach it"
            report.at(emulator, path, "an emulator in a drill on a cluster", "a place every machine reaches", hint)


def _assets(report: _Report, root: Node, known: Known) -> None:
    assets = root.at("assets")
    nodes = assets.items if assets else []
    first: dict[str, Node] = {}
    folded: dict[str, Node] = {}
    for index, asset in enumerate(nodes):
        name, kind = asset.at("name"), asset.at("kind")
        if name is not None and name.text is not None:
            other = folded.get(name.text.casefold())
            if other is not None:  # on many disks the folders of names that differ in case only are one
                again = "is given twice" if other.text == name.text else "is another's but for its case"
                what = f"the name {quoted(name.text)} {again}, first in line {other.line}"
                report.at(name, ("assets", index, "name"), what, "each name once")
            first.setdefault(name.text, name)
            folded.setdefault(name.text.casefold(), name)
        if kind is not None and kind.text is not None and kind.text not in known.kinds:
            report.unknown(kind, ("assets", index, "kind"), "kind of asset", known.kinds)
        if kind is not None and kind.text == _OBJECTS:
            for end in ("source", "target"):
                if (location := asset.at(end)) is not None:
                    _location(report, location, ("assets", index, end), SourceFile if end == "source" else LocationFile)
    _dependencies(report, nodes, first)
    _targets(report, nodes)


def _location(report: _Report, location: Node, path: KeyPath, model: type[LocationFile]) -> None:
    if location.broken or not isinstance(location.value, dict):
        return
    try:
        model.model_validate(location.plain())
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            if problem := explain(report.file, location, model, error, base=path):
                report.problems.add(problem)
    _container(report, location, path, model.model_fields)
    reports = location.at("inventory", "report")
    if reports is not None and isinstance(reports.value, dict) and model is SourceFile:
        _container(report, reports, (*path, "inventory", "report"), ReportsFile.model_fields)


def _container(report: _Report, location: Node, path: KeyPath, known: Collection[str]) -> None:
    """It is named once."""
    given = [name for name in ("container", "bucket") if name in location.map]
    misspelt = location.map.keys() - set(known)
    if len(given) != 1 and not (misspelt and not given):
        what = "both container and bucket, which mean the same" if given else "no container"
        report.at(location, path, what, "container: NAME, or bucket: NAME")


def _targets(report: _Report, nodes: Sequence[Node]) -> None:
    """No two assets come up at the same keys."""
    seen: list[tuple[str, str, int]] = []
    for index, asset in enumerate(nodes):
        named = asset.at("target", "container") or asset.at("target", "bucket")
        prefix = asset.at("target", "prefix")
        container, start = (named.text if named else None), ((prefix.text or "") if prefix else "")
        if named is None or not container:
            continue
        for other, other_start, other_index in seen:
            if other == container and (start.startswith(other_start) or other_start.startswith(start)):
                what = f"assets[{other_index}] comes up at {quoted(container + '/' + other_start)}, which overlaps"
                report.at(named, ("assets", index, "target"), what, "a container or a prefix of its own")
                break
        seen.append((container, start, index))


def _dependencies(report: _Report, nodes: Sequence[Node], names: Mapping[str, Node]) -> None:
    needs: dict[str, list[str]] = {}
    where: dict[str, tuple[Node, KeyPath]] = {}
    for index, asset in enumerate(nodes):
        name, depends = asset.at("name"), asset.at("depends_on")
        path: KeyPath = ("assets", index, "depends_on")
        for item, node, other in _texts(depends):
            if other not in names:
                report.unknown(node, (*path, item), "asset", names)
        if name is not None and name.text is not None and depends is not None and name.text not in needs:
            needs[name.text] = [other for _, _, other in _texts(depends) if other in names]
            where[name.text] = (depends, path)
    while (cycle := _cycle(needs)) is not None:
        start = min(cycle, key=list(names).index)
        turn = cycle.index(start)
        around = [*cycle[turn:], *cycle[:turn], start]
        node, path = where[start]
        report.at(node, path, f"a cycle: {' -> '.join(around)}", "assets that can be up before it")
        needs[start] = []  # go on and find the others


def _cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """A cycle, each asset before one it depends on; None if there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1][1:]))
    return None


def in_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Names so that each comes after those it depends on, and otherwise in the order given.

    Args:
        needs: What each depends on, without cycles or unknown names.

    Kahn's algorithm (A. B. Kahn, 1962, doi:10.1145/368996.369025), taking the first that is ready.
    """
    place = {name: index for index, name in enumerate(needs)}
    waits = {name: len(set(others)) for name, others in needs.items()}
    followers: dict[str, list[str]] = {name: [] for name in needs}
    for name, others in needs.items():
        for other in set(others):
            followers[other].append(name)
    ready = [place[name] for name, count in waits.items() if count == 0]
    names, ordered = list(needs), list[str]()
    heapq.heapify(ready)
    while ready:
        name = names[heapq.heappop(ready)]
        ordered.append(name)
        for follower in followers[name]:
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(ready, place[follower])
    return ordered


def check_playbook(file: str, root: Node, known: Known, problems: Problems) -> None:
    """Check that names are given once, phases are in order, and every action is installed."""
    report = _Report(file, problems)
    phases = root.at("phases")
    seen: dict[str, Node] = {}
    ids: dict[str, Node] = {}
    actions = {*known.actions, _MANUAL}
    for index, phase in enumerate(phases.items if phases else []):
        name = phase.at("name")
        if name is not None and name.text is not None:
            _phase_name(report, index, name, seen)
        steps = phase.at("steps")
        for number, step in enumerate(steps.items if steps else []):
            path: KeyPath = ("phases", index, "steps", number)
            step_id, uses = step.at("id"), step.at("uses")
            if step_id is not None and step_id.text is not None:
                if step_id.text in ids:
                    what = f"the id {quoted(step_id.text)} is given twice, first in line {ids[step_id.text].line}"
                    report.at(step_id, (*path, "id"), what, "each id once")
                ids.setdefault(step_id.text, step_id)
            if uses is not None and uses.text is not None and uses.text not in actions:
                report.unknown(uses, (*path, "uses"), "action", actions)


def _phase_name(report: _Report, index: int, node: Node, seen: dict[str, Node]) -> None:
    name, path = node.text or "", ("phases", index, "name")
    if name in seen:
        what = f"the phase {quoted(name)} is there twice, first in line {seen[name].line}"
        report.at(node, path, what, "each phase once")
        return
    if name in PHASES:
        late = [other for other in seen if other in PHASES and PHASES.index(other) > PHASES.index(name)]
        if late:
            report.at(node, path, f"phase {name} stands after {late[0]}", f"the order {', '.join(PHASES)}")
    seen[name] = node


def check_overlap(file: str, root: Node, book: str, playbook: Node, problems: Problems) -> None:
    """Check that a drill with ``overlap: true`` has two legs, and that nobody is asked between them.

    Args:
        file: The drill file.
        root: Its root.
        book: The playbook file.
        playbook: Its root.
        problems: What is found is added.
    """
    overlap = root.at("overlap")
    if overlap is None or overlap.value is not True:
        return
    report = _Report(file, problems)
    phases = playbook.at("phases")
    groups = [phase.at("steps") for phase in (phases.items if phases else [])]
    steps = [step for group in groups for step in (group.items if group else [])]
    uses = [node.text if (node := step.at("uses")) else None for step in steps]
    missing = [leg for leg in _LEGS if leg not in uses]
    if missing:
        what = f"{book} has no step that uses {' or '.join(missing)}: there is nothing to overlap"
        report.at(overlap, ("overlap",), what, "overlap: false, or a playbook with both legs")
        return
    first, last = (uses.index(leg) for leg in _LEGS)
    if last < first:
        what = f"in {book} the rebuild stands before the evacuation"
        report.at(overlap, ("overlap",), what, "a playbook that evacuates first")
    for step in steps[first + 1 : last + 1]:
        approval, step_id, used = step.at("approval"), step.at("id"), step.at("uses")
        asked = approval if approval is not None and approval.value is True else None
        if used is not None and used.text == _MANUAL:
            asked = used
        if asked is not None:
            name = quoted(step_id.text or "") if step_id is not None else "a step"
            what = f"step {name} waits for a person ({book}:{asked.line}), and the rebuild would begin before that"
            hint = "who must be asked before the rebuild must be asked before the evacuation, if the two overlap"
            report.at(overlap, ("overlap",), what, "overlap: false, or nobody to ask between the legs", hint)
