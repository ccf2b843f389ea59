"""Opening the places of a drill, with references to secrets resolved at the last moment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError

from exitdrill.connector.capabilities import Capabilities
from exitdrill.connector.objects import ObjectStore
from exitdrill.connector.provider import Connector, Provider, Settings
from exitdrill.connector.registry import connector
from exitdrill.connector.reports import ReportSource
from exitdrill.connector.retry import RetryPolicy
from exitdrill.errors import DefinitionError
from exitdrill.plan.drill import Asset, DrillPlan, Json, Place
from exitdrill.plan.secrets import resolve
from exitdrill.transfer.layout import RunDirectory

__all__ = ["EMULATED", "Places", "container_of", "prefix_of", "report_of", "vault_container"]

EMULATED = "EXITDRILL_EMULATED"
"""The environment variable that tells workers how to reach the emulators of this run (JSON)."""


def emulated(environ: Mapping[str, str]) -> dict[str, dict[str, Json]]:
    """What the emulators of this run supply, by place."""
    return dict(json.loads(environ.get(EMULATED, "{}")))


def vault_container(run_id: str, plan: DrillPlan, asset: Asset) -> str:
    """The vault's container of one asset in one run; suits every provider's rules for names."""
    return f"exitdrill-{run_id}-{plan.assets.index(asset) + 1:02d}"


def container_of(place: Mapping[str, Json]) -> str:
    """The container an asset names; ``bucket`` means the same. Raises DefinitionError."""
    name = place.get("container") or place.get("bucket")
    if not isinstance(name, str):
        raise DefinitionError(
            "an asset of kind objects names no container", expected="container: NAME (or bucket: NAME)"
        )
    return name


def prefix_of(place: Mapping[str, Json]) -> str:
    """The prefix an asset names, or none."""
    return str(place.get("prefix") or "")


def report_of(place: Mapping[str, Json]) -> tuple[ReportSource, bool] | None:
    """The inventory reports an asset's source names, and whether a listing brings them up to date; None without."""
    inventory = place.get("inventory")
    if not isinstance(inventory, Mapping):
        return None
    report = inventory.get("report")
    if not isinstance(report, Mapping):
        return None
    texts = {name: None if value is None else str(value) for name, value in report.items()}
    source = ReportSource(container_of(report), texts.get("prefix") or "", texts.get("rule"), texts.get("manifest"))
    return source, inventory.get("delta", "listing") == "listing"


class Places:
    """The three places of a drill, opened on demand.

    Args:
        plan: The drill.
        base: The folder relative paths start at.
        environ: Where ``${env:…}`` is looked up.
    """

    def __init__(self, plan: DrillPlan, base: Path, environ: Mapping[str, str] | None = None) -> None:
        """See the class."""
        self._plan, self._base = plan, base
        self._environ = os.environ if environ is None else environ

    def connector(self, role: str) -> Connector:
        """The connector of the place in that role."""
        return connector(self.place(role).connector)

    def place(self, role: str) -> Place:
        """The place in that role."""
        return self._plan.places[getattr(self._plan.route, role)]

    def settings(self, role: str) -> Settings:
        """The settings of the place in that role, resolved.

        Raises AuthenticationError for a reference to nothing, DefinitionError for values that do not fit.
        """
        place = self.place(role)
        values = {**place.settings, **emulated(self._environ).get(place.name, {})}
        resolved = dict(resolve(values, self._environ, self._base))
        path = resolved.get("path")
        if isinstance(path, str):
            resolved["path"] = str(self._base / Path(path).expanduser())
        try:
            return self.connector(role).settings.model_validate(resolved)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DefinitionError(f"{where}: {first['msg']}", resource=f"place {place.name}") from exc

    def open(self, role: str, retry: RetryPolicy | None = None) -> Provider:
        """The place in that role. Makes no request. Raises as `settings`, and what the connector raises."""
        return self.connector(role).open(self.place(role).name, self.settings(role), retry)

    def secrets(self, role: str) -> tuple[str, ...]:
        """The secret values in the settings of that place, for redaction."""
        values = self.settings(role).__dict__.values()
        return tuple(v.get_secret_value() for v in values if isinstance(v, SecretStr))


def narrowed(provider: Provider, directory: RunDirectory, role: str, asset: str, container: str) -> ObjectStore:
    """A container's store with the capabilities that preflight found, where it looked."""
    path = directory.capabilities(role, asset)
    found = Capabilities.from_json(json.loads(path.read_bytes())) if path.exists() else None
    return provider.objects(container, found)
