"""A plan that was written down, read again. Apart from the reading of files: every worker process does this one."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from exitdrill.errors import RunError
from exitdrill.plan.drill import DrillPlan

__all__ = ["from_json", "read_plan"]


def from_json(data: Mapping[str, object]) -> DrillPlan:
    """The plan that `DrillPlan.to_json` wrote down; its ``path`` is empty.

    Raises:
        RunError: It is damaged, or was made by another version.
    """
    try:
        return TypeAdapter(DrillPlan).validate_python(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{where or 'plan'}: {first['msg']}",
            resource="plan.json",
            expected="a plan as this version writes it",
            hint="it is damaged, or was made by another version of exitdrill: use that one",
        ) from exc


def read_plan(file: Path) -> DrillPlan:
    """The plan in a run's directory. Raises RunError if it cannot be read, and as `from_json`."""
    try:
        return from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise RunError(f"plan.json cannot be read: {exc}", resource=str(file.parent)) from exc
