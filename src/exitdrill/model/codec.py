r"""Frozen values to JSON and back, by their type hints.

Texts from outside (a provider's message, a file's name, a name given on the command line) can have halves of
surrogate pairs in them, which no file in UTF-8 holds: they are written out as ``\udcff``, so that what was measured
can be written down whatever somebody said.
"""

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from exitdrill.errors import RunError

__all__ = ["dump", "load", "utf8"]

T = TypeVar("T")


def dump(value: object) -> bytes:
    """A value of `exitdrill.model` as indented JSON in UTF-8, ending in a newline."""
    adapter = TypeAdapter(type(value))
    try:
        return adapter.dump_json(value, indent=2) + b"\n"
    except PydanticSerializationError:
        plain = _encodable(adapter.dump_python(value, mode="json"))
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def utf8(text: str) -> str:
    """A text that UTF-8 can hold: the same one, unless it has halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {utf8(name): _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return utf8(value) if isinstance(value, str) else value


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
