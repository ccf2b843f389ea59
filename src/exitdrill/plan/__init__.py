"""Drill and playbook files -> `DrillPlan`. The only YAML parser; exports the JSON Schemas."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from exitdrill.plan.drill import DrillPlan


def from_json(data: Mapping[str, object]) -> DrillPlan:
    return TypeAdapter(DrillPlan).validate_python(data)
