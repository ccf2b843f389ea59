"""Frozen values to JSON and back, by their type hints."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from exitdrill.errors import RunError

__all__ = ["dump", "load"]

T = TypeVar("T")


def dump(value: object) -> bytes:
    """A value of `exitdrill.model` as indented JSON in UTF-8, ending in a newline."""
    return TypeAdapter(type(value)).dump_json(value, indent=2) + b"\n"


def load(cls: type[T], data: bytes, resource: str) -> T:
    """The inverse of `dump`.

    Args:
        cls: What is expected.
        data: JSON in UTF-8.
        resource: Where it came from, for the message.

    Raises:
        RunError: It is not that, or was written by another version.
    """
    try:
        return TypeAdapter(cls).validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"not readable as {cls.__name__}: {where}: {first['msg']}",
            resource=resource,
            hint="it may have been written by another version of exitdrill, or be damaged",
        ) from exc
