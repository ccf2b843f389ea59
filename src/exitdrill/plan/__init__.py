"""Drill, playbook and policy files -> `DrillPlan`. The only YAML parser; exports the JSON Schemas.

`load_plan` reads a drill with its playbook and policy, `from_json` a plan written down before, `schema` is for editors.
The values are in `exitdrill.plan.drill`, references to secrets in `exitdrill.plan.secrets`. What is installed
(connectors, actions, kinds, emulators) is handed in: those are higher floors.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from exitdrill.plan.drill import DrillPlan
from exitdrill.plan.stored import from_json

if TYPE_CHECKING:
    from exitdrill.plan.load import load_plan
    from exitdrill.plan.settings import ConnectorSettings

__all__ = ["ConnectorSettings", "DrillPlan", "from_json", "load_plan", "schema"]


def __getattr__(name: str) -> object:
    """What only reading files needs loads when used: a worker process starts in half the time without it."""
    if name == "load_plan":
        from exitdrill.plan.load import load_plan

        return load_plan
    if name == "ConnectorSettings":
        from exitdrill.plan.settings import ConnectorSettings

        return ConnectorSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def schema(kind: Literal["drill", "playbook", "policy"]) -> dict[str, JsonValue]:
    """The JSON Schema (draft 2020-12) of a drill, playbook or policy file.

    It knows shapes; what one field says about another, and connectors' own fields, only `load_plan` checks.
    """
    from exitdrill.plan.files import json_schema

    return json_schema(kind)
