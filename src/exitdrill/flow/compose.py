"""Reads a drill with everything that is installed here: connectors, actions, kinds of assets, emulators.

`exitdrill.plan` knows none of them by itself, because it lies below them. The commands and scheduled runs both
read drills through this. Does not import Prefect.
"""

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel

from exitdrill.assets.interface import kind_names
from exitdrill.connector.registry import connector, connector_names
from exitdrill.emulator import NAMES
from exitdrill.plan import load_plan
from exitdrill.plan.drill import DrillPlan
from exitdrill.playbook.action import action_names

__all__ = ["load"]


class _Connectors:
    """The installed connectors, as `exitdrill.plan.ConnectorSettings` asks for them."""

    @property
    def names(self) -> Collection[str]:
        return connector_names()

    def __call__(self, name: str) -> type[BaseModel] | None:
        return connector(name).settings if name in connector_names() else None

    def roles(self, name: str) -> Collection[str]:
        return connector(name).roles


def load(path: Path) -> DrillPlan:
    """The drill of that file, checked against what is installed.

    Args:
        path: The drill file.

    Raises:
        DefinitionError: It, or its playbook, says something that cannot be.
        UsageError: It cannot be read.
    """
    return load_plan(path, connectors=_Connectors(), actions=action_names(), kinds=kind_names(), emulators=NAMES)
