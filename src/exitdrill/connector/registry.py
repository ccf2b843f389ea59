"""Connectors by entry point: ours and anybody else's alike."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract

from exitdrill.connector.provider import Connector
from exitdrill.errors import ConnectorError, DefinitionError, MissingExtraError

__all__ = ["GROUP", "connector", "connector_names"]

GROUP = "exitdrill.connectors"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def connector_names() -> tuple[str, ...]:
    """The names of every connector installed, without importing any."""
    return tuple(sorted(_entry_points()))


def connector(name: str) -> Connector:
    """The connector of that name.

    Raises DefinitionError if none is installed under it, MissingExtraError if its library is not,
    ConnectorError if what the entry point names is no connector.
    """
    point = _entry_points().get(name)
    if point is None:
        known = ", ".join(connector_names()) or "none"
        raise DefinitionError(f"no connector is called {name!r}", expected=f"one of {known}")
    try:
        cls = point.load()
    except ImportError as exc:
        dist = point.dist.name if point.dist is not None else point.value
        hint = f"pip install 'exitdrill[{name}]'" if dist == "exitdrill" else f"check the installation of {dist}"
        raise MissingExtraError(f"connector {name!r} cannot be loaded: {exc}", hint=hint) from exc
    except AttributeError as exc:
        raise ConnectorError(f"entry point {point.value} of {name!r} names nothing: {exc}") from exc
    if not (isinstance(cls, type) and issubclass(cls, Connector)) or isabstract(cls):
        raise ConnectorError(f"entry point {point.value} of {name!r} is no Connector class")
    return cls()
