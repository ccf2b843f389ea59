"""The commands about exitdrill itself: connectors, schema, version."""

import platform
import re
from importlib.metadata import PackageNotFoundError, entry_points, requires
from importlib.metadata import version as version_of
from typing import Annotated, Literal

from cyclopts import Parameter

from exitdrill import __version__
from exitdrill.cli.console import out, out_json, table
from exitdrill.cli.options import AsJson, set_up

__all__ = ["connectors", "schema", "version"]

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def connectors(*, json: AsJson = False) -> int:
    """List the connectors: what each can be in a drill, and whether what it needs is installed."""
    set_up()
    rows = [_connector(name) for name in _names()]
    if json:
        out_json(rows)
        return 0
    cells = [
        (
            str(row["name"]),
            str(row["title"]),
            ", ".join(map(str, _list(row["roles"]))),
            ", ".join(map(str, _list(row["services"]))),
            "installed" if row["installed"] else str(row["install"]),
        )
        for row in rows
    ]
    table(("connector", "what", "roles", "services", "needs"), cells, wide=1)
    return 0


def _names() -> tuple[str, ...]:
    from exitdrill.connector.registry import connector_names

    return connector_names()


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _connector(name: str) -> dict[str, object]:
    from exitdrill.connector.registry import connector
    from exitdrill.errors import ExitdrillError

    row: dict[str, object] = {"name": name, "title": "", "roles": [], "services": [], "installed": False, "install": ""}
    try:
        found = connector(name)
    except ExitdrillError as error:  # one that cannot be loaded is a line of the table, not its end
        return row | {"title": error.what, "install": error.hint or "see its documentation"}
    missing = _missing(name, found.extra)
    order = ("source", "vault", "target")
    return row | {
        "title": found.title,
        "roles": sorted(found.roles, key=order.index),
        "services": sorted(found.services),
        "installed": not missing,
        "install": f"pip install 'exitdrill[{found.extra}]'" if missing else "",
    }


def _missing(name: str, extra: str | None) -> list[str]:
    """Distributions of the connector's extra that are not installed."""
    point = next(p for p in entry_points(group="exitdrill.connectors") if p.name == name)
    if extra is None or point.dist is None:
        return []
    missing = []
    for requirement in requires(point.dist.name) or []:
        wanted, _, marker = requirement.partition(";")
        match = _REQUIREMENT.match(wanted)
        if match is None or not re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            continue
        try:
            version_of(match[1])
        except PackageNotFoundError:
            missing.append(match[1])
    return missing


def schema(what: Annotated[Literal["drill", "playbook", "policy"], Parameter(help="Of which file.")], /) -> int:
    """Print the JSON Schema of drill, playbook or policy files, for editors."""
    set_up()
    from exitdrill.plan.files import json_schema

    out_json(json_schema(what))
    return 0


def version(*, json: AsJson = False) -> int:
    """Print the versions of exitdrill, Python, Prefect and the connectors."""
    set_up()
    points = sorted(entry_points(group="exitdrill.connectors"), key=lambda p: p.name)
    found = {p.name: "" if p.dist is None else f"{p.dist.name} {p.dist.version}" for p in points}
    if json:
        out_json(
            {
                "exitdrill": __version__,
                "python": platform.python_version(),
                "prefect": _prefect(),
                "connectors": found,
            }
        )
        return 0
    out(f"exitdrill  {__version__}")
    out(f"python     {platform.python_version()}")
    out(f"prefect    {_prefect()}")
    for name, where in found.items():
        out(f"connector  {name} (from {where})")
    return 0


def _prefect() -> str:
    try:
        return version_of("prefect")
    except PackageNotFoundError:
        return "not installed"
