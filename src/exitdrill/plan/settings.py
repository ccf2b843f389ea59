"""Checks the settings of one place against its connector's model, with references unresolved.

Rules: field names and literal values are checked now; a value with a reference is let through, and checked
when it is resolved. A secret field holds one reference and nothing else, or is left out. No value of a secret
field, and no value of a field its connector does not know, is ever shown. An emulator supplies what is missing.

The model is not imported here: a caller hands in `ConnectorSettings`, because connectors are a higher floor.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol, get_args, get_origin

from pydantic import BaseModel, JsonValue, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from exitdrill.plan.explain import annotations_at, arms, explain, field_names, in_own_words, located
from exitdrill.plan.files import PlaceFile
from exitdrill.plan.problems import KeyPath, Problem, Problems, show_path
from exitdrill.plan.secrets import has_reference, is_reference, malformed
from exitdrill.plan.source import Node

__all__ = ["COMMON", "ConnectorSettings", "check_settings"]

COMMON = frozenset(PlaceFile.model_fields)
"""The fields of every place, which are not its connector's."""


class ConnectorSettings(Protocol):
    """What the plan needs to know of the connectors that are installed."""

    @property
    def names(self) -> Collection[str]:
        """Their names, as drills write them."""

    def __call__(self, name: str) -> type[BaseModel] | None:
        """The model of that connector's settings; None if there is no such connector.

        Raises an `exitdrill.errors.ExitdrillError` where it is installed and cannot be loaded.
        """

    def roles(self, name: str) -> Collection[str]:
        """Which of ``source``, ``vault``, ``target`` that connector's places can take."""


def check_settings(
    file: str, place: Node, path: KeyPath, model: type[BaseModel], problems: Problems, *, emulated: bool
) -> None:
    """Check one place's settings.

    Args:
        file: The file's name in messages.
        place: The place's map.
        path: Where it is in the file.
        model: What its connector takes.
        problems: Takes what is wrong.
        emulated: Whether an emulator supplies what is missing.
    """
    fields = {name: node for name, node in place.map.items() if name not in COMMON}
    own = Node(place.line, place.column, fields, "", place.key_line, place.key_column)
    secret = dict(_secrets(model, own, ()))
    literal = {where for where, node in secret.items() if not _is_reference_or_absent(node)}
    for where in literal:
        node, shown = secret[where], show_path(path + where)
        last = where[-1] if isinstance(where[-1], int) else show_path(where[-1:])  # a key may hold a line break
        hint = f'write ${{env:NAME}} or ${{file:PATH}}; e.g. {last}: "${{env:{_variable(path, where)}}}"'
        problems.add(Problem(file, node.line, node.column, shown, "a literal secret", "a reference", hint))
    for where, node in own.scalars():
        if where not in literal and node.text is not None and malformed(node.text):
            shown = show_path(path + where)
            expected = "${env:NAME} or ${file:PATH}"
            problems.add(Problem(file, node.line, node.column, shown, "a '${' that begins no reference", expected))

    def hidden(where: KeyPath) -> bool:
        return any(_holds_secret(annotation, set()) for annotation in annotations_at(model, where))

    for error in _errors(model, own, emulated=emulated):
        where = located(own, error["loc"])[0]
        if where in literal or (literal and not in_own_words(error["type"])):
            continue  # it was named above; and a connector's own message might repeat what it was given
        problem = explain(file, own, model, error, base=path, names=COMMON, is_secret=hidden)
        if problem is not None:
            problems.add(problem)


def _variable(path: KeyPath, where: KeyPath) -> str:
    """A name for an environment variable that a secret could have."""
    text = "_".join(str(part) for part in (path[-1], *where))
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text).upper()


def _is_reference_or_absent(node: Node) -> bool:
    return node.broken or (node.value is None and not node.raw) or (node.text is not None and is_reference(node.text))


def _secrets(annotation: object, node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    """Every scalar below a node that its model declares secret, with its path."""
    for arm in arms(annotation):
        origin, inner = get_origin(arm), get_args(arm)
        if arm in (SecretStr, SecretBytes):
            yield from ((path + below, scalar) for below, scalar in node.scalars())
        elif isinstance(arm, type) and origin is None and issubclass(arm, BaseModel):
            for written, name in field_names(arm).items():
                if (child := node.map.get(written)) is not None:
                    yield from _secrets(arm.model_fields[name].annotation, child, (*path, written))
        elif isinstance(origin, type) and issubclass(origin, Mapping) and inner:
            for name, child in node.map.items():
                yield from _secrets(inner[1], child, (*path, name))
        elif isinstance(origin, type) and issubclass(origin, Iterable) and inner:
            for index, child in enumerate(node.items):
                yield from _secrets(inner[0], child, (*path, index))


def _holds_secret(annotation: object, seen: set[object]) -> bool:
    """Whether what is annotated is a secret or has one in it; `seen` ends the search in models of themselves."""
    for arm in arms(annotation):
        if arm in (SecretStr, SecretBytes):
            return True
        inner = list(get_args(arm))
        if isinstance(arm, type) and get_origin(arm) is None and issubclass(arm, BaseModel) and arm not in seen:
            seen.add(arm)
            inner = [field.annotation for field in arm.model_fields.values()]
        if any(_holds_secret(part, seen) for part in inner):
            return True
    return False


def _errors(model: type[BaseModel], own: Node, *, emulated: bool) -> Iterator[ErrorDetails]:
    """What pydantic says, less those that come from a value not known yet or supplied by an emulator."""
    values = own.map
    for error in _validate(model, {name: node.plain() for name, node in values.items()}):
        loc = error["loc"]
        if not loc:  # a rule about several fields together
            if not emulated and _stands(model, values, error):
                yield error
        elif error["type"] == "missing" and len(loc) == 1:
            if not emulated:
                yield error
        elif not _refers(located(own, loc)[1]) or error["type"] == "extra_forbidden":
            yield error


def _stands(model: type[BaseModel], values: Mapping[str, Node], error: ErrorDetails) -> bool:
    """Whether a rule about several fields is broken whatever the references stand for.

    It is if it stays broken with the fields left out that were looked into; a secret is only looked for.
    """
    secret = {str(path[0]) for path, _ in _secrets(model, Node(0, 0, dict(values)), ())}
    known = {name: node.plain() for name, node in values.items() if name in secret or not _refers(node)}
    return any(not again["loc"] and again["msg"] == error["msg"] for again in _validate(model, known))


def _refers(node: Node) -> bool:
    return any(scalar.text is not None and has_reference(scalar.text) for _, scalar in node.scalars())


def _validate(model: type[BaseModel], values: Mapping[str, JsonValue]) -> list[ErrorDetails]:
    try:
        model.model_validate(dict(values))
    except ValidationError as exc:
        return exc.errors(include_url=False, include_input=False)
    return []
