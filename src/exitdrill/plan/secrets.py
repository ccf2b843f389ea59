"""References to secrets: ``${env:NAME}`` and ``${file:PATH}``, resolved at the last moment.

They stand in the settings of a place, alone or within a text. What a reference stands for is not looked into
again. A message names the variable or the file, never what is in it. Which settings must be references is
the business of `exitdrill.plan.settings`.
"""

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from exitdrill.errors import AuthenticationError
from exitdrill.plan.drill import Json

__all__ = ["has_reference", "is_reference", "malformed", "references", "resolve"]

_REFERENCE = re.compile(r"\$\{(?:env:([A-Za-z_][A-Za-z0-9_]*)|file:([^{}\0\r\n]+))\}")
_SECRET_MAX_BYTES = 64 * 1024


def has_reference(text: str) -> bool:
    """Whether there is a reference anywhere in a text."""
    return _REFERENCE.search(text) is not None


def is_reference(text: str) -> bool:
    """Whether a text is one reference and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def malformed(text: str) -> bool:
    """Whether a text has a ``${`` that begins no reference."""
    return "${" in _REFERENCE.sub("", text)


def references(settings: Mapping[str, Json]) -> frozenset[str]:
    """Names of the environment variables that settings refer to, at any depth."""
    return frozenset(name for value in settings.values() for name in _names(value))


def _names(value: Json) -> list[str]:
    if isinstance(value, str):
        return [match[1] for match in _REFERENCE.finditer(value) if match[1]]
    if isinstance(value, Mapping):
        return [name for item in value.values() for name in _names(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in _names(item)]
    return []


def resolve(settings: Mapping[str, Json], environ: Mapping[str, str], base_dir: Path) -> dict[str, Json]:
    """Settings with every reference replaced by what it stands for.

    Args:
        settings: A place's settings.
        environ: Where ``${env:NAME}`` is looked up.
        base_dir: Where a relative path in ``${file:PATH}`` starts.

    Raises:
        AuthenticationError: A variable is not set or empty; a file is not there, empty, or cannot be read.
    """

    def one(match: re.Match[str]) -> str:
        return _variable(match[1], environ) if match[1] else _file(match[2], base_dir)

    def walk(value: Json) -> Json:
        if isinstance(value, str):
            return _REFERENCE.sub(one, value)
        if isinstance(value, Mapping):
            return {name: walk(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item) for item in value]
        return value

    return {name: walk(value) for name, value in settings.items()}


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if not value:
        what = f"environment variable {name} is {'not set' if value is None else 'empty'}"
        raise AuthenticationError(what, hint=f"set the environment variable {name}")
    return value


def _file(name: str, base_dir: Path) -> str:
    """Its text without the line end that editors add."""
    hint = f"put the value into the file {name}, readable for the user who runs the drill"
    try:
        path = base_dir / Path(name).expanduser()
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, and empty the second time
            raise AuthenticationError("is not a regular file", resource=f"file {name}", hint=hint)
        with path.open("rb") as file:
            data = file.read(_SECRET_MAX_BYTES + 1)
    except (OSError, RuntimeError) as exc:  # RuntimeError: ~ of a user there is not
        reason = getattr(exc, "strerror", None) or exc
        raise AuthenticationError(f"cannot be read: {reason}", resource=f"file {name}", hint=hint) from exc
    if len(data) > _SECRET_MAX_BYTES:
        raise AuthenticationError(f"larger than {_SECRET_MAX_BYTES} bytes", resource=f"file {name}", hint=hint)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Not chained: the exception holds the file's bytes.
        raise AuthenticationError("is not UTF-8 text", resource=f"file {name}", hint=hint) from None
    text = text.rstrip("\r\n")
    if not text:
        raise AuthenticationError("is empty", resource=f"file {name}", hint=hint)
    return text
