"""pydantic's complaints about a file -> problems with line, column, found and expected.

Rules: what was found is taken from the file's own nodes, never from pydantic; of a field that a caller calls
secret nothing is shown. The position is the value's, or the key's for a field that should not be there, or
its map's for one that should.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from exitdrill.plan.evidence import URL_PATTERN
from exitdrill.plan.files import ADDRESS_PATTERN
from exitdrill.plan.parts import NAME_PATTERN
from exitdrill.plan.policy import CODE_PATTERN
from exitdrill.plan.problems import KeyPath, Problem, closest, one_of, quoted, show_path, without_url_secrets
from exitdrill.plan.source import Node

__all__ = ["annotations_at", "arms", "explain", "field_names", "in_own_words", "located", "model_at"]

_EXPECTED = {
    "string_type": "text",
    "path_type": "text",
    "url_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "mapping_type": "a map",
    "none_required": "nothing",
}
_CHOICES = frozenset({"enum", "literal_error"})
_PARSED = frozenset({"date", "duration", "rate", "time of day", "days", "time zone"})
"""Text that a parser of this package reads, which says itself what it expects."""
_PATTERNS = {
    NAME_PATTERN: "1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
    ADDRESS_PATTERN: "tcp://HOST:PORT or tls://HOST:PORT",
    CODE_PATTERN: "a code of two capital letters (ISO 3166-1), EU or EEA",
    URL_PATTERN: "http://HOST or https://HOST, without a user",
    r"\S": "text that is not blank",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} at most"),
    "less_than": ("lt", "less than {}"),
    "too_short": ("min_length", "{} or more of them"),
    "too_long": ("max_length", "{} of them at most"),
    "string_too_short": ("min_length", "{} or more characters"),
    "string_too_long": ("max_length", "{} characters at most"),
}


def arms(annotation: object) -> tuple[object, ...]:
    """The types an annotation stands for: a union's members, without None and without what annotates them."""
    if get_origin(annotation) is Annotated:
        return arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(arm for part in get_args(annotation) for arm in arms(part))
    return () if annotation is NoneType else (annotation,)


def field_names(model: type[BaseModel]) -> dict[str, str]:
    """A model's fields as a file writes them, to their names in Python."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _below(annotation: object, part: str | int) -> list[object]:
    """The annotations one step further down."""
    found: list[object] = []
    for arm in arms(annotation):
        origin, inner = get_origin(arm), get_args(arm)
        if isinstance(arm, type) and origin is None and issubclass(arm, BaseModel):
            name = field_names(arm).get(str(part))
            found += [] if name is None else [arm.model_fields[name].annotation]
        elif isinstance(origin, type) and issubclass(origin, Mapping) and inner:
            found.append(inner[1])
        elif isinstance(origin, type) and issubclass(origin, Iterable) and inner:
            found.append(inner[0])
    return found


def annotations_at(annotation: object, path: Sequence[str | int]) -> list[object]:
    """What a path below an annotation is annotated with; several for a union, none where nothing is known."""
    reached = [annotation]
    for part in path:
        reached = [inner for outer in reached for inner in _below(outer, part)]
    return reached


def model_at(annotation: object, path: Sequence[str | int]) -> type[BaseModel] | None:
    """The pydantic model of the map at a path below an annotation, if that is what is there."""
    for annotated in annotations_at(annotation, path):
        for arm in arms(annotated):
            if isinstance(arm, type) and get_origin(arm) is None and issubclass(arm, BaseModel):
                return arm
    return None


def located(root: Node, loc: Sequence[str | int]) -> tuple[KeyPath, Node, bool]:
    """The nearest node to where pydantic says an error is.

    Returns:
        Its path, the node, and whether the whole of ``loc`` led to it. Parts that name no key (the arm of a
        union, the index of a map that stands for a list of one) are passed over.
    """
    path: KeyPath = ()
    node = root
    whole = True
    for part in loc:
        below = node.at(part)
        whole = below is not None
        if below is not None:
            path, node = (*path, part), below
    return path, node, whole


def explain(
    file: str,
    root: Node,
    model: type[BaseModel],
    error: ErrorDetails,
    *,
    base: KeyPath = (),
    names: Iterable[str] = (),
    is_secret: Callable[[KeyPath], bool] = lambda _path: False,
) -> Problem | None:
    """One of pydantic's errors as a problem of a file; None where the parser reported that spot already.

    Args:
        file: Its name in messages.
        root: The node that was validated.
        model: Against what.
        error: pydantic's.
        base: Where the node is in its file.
        names: More words that could have been meant by an unknown field of the root.
        is_secret: Whether nothing of the value at a path below the root may be shown.
    """
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    path, node, _ = located(root, loc)
    if node.broken:
        return None
    if kind == "extra_forbidden":
        known = set(field_names(found)) if (found := model_at(model, loc[:-1])) else set()
        known |= set(names) if len(loc) == 1 else set()
        hint = closest(str(loc[-1]), known)
        return Problem(
            file, node.key_line, node.key_column, show_path(base + path), "unknown field", one_of(known), hint
        )
    if kind == "missing":
        missing = show_path((*base, *path, str(loc[-1])))
        return Problem(file, node.line, node.column, missing, "missing", _description(model, loc))
    if loc and loc[-1] == "[key]":  # a key of a map, as pydantic writes it
        name = str(loc[-2])
        named = node if path and path[-1] == name else node.map.get(name, node)
        expected = _expected(kind, context)
        where = show_path(base + path)
        return Problem(file, named.key_line, named.key_column, where, f"found the name {quoted(name)}", expected)
    secret = is_secret(path)
    what = "found something else" if secret else node.found()
    if in_own_words(kind):
        return Problem(
            file,
            node.line,
            node.column,
            show_path(base + path),
            what,
            _expected(kind, context),
            "" if secret else _hint(kind, node, context),
        )
    said = without_url_secrets(error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "))
    what = said if isinstance(node.value, dict | list) else f"{what}: {said}"
    return Problem(file, node.line, node.column, show_path(base + path), what)


def _description(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    """What a missing field is for, in the model's own words."""
    owner = model_at(model, loc[:-1])
    name = field_names(owner).get(str(loc[-1])) if owner else None
    text = (owner.model_fields[name].description or "") if owner and name else ""
    return text[:1].lower() + text[1:].rstrip(".") if text[1:2].islower() else text.rstrip(".")


def in_own_words(kind: str) -> bool:
    """Whether the text of this type of error is ours alone; of others it is a validator's, which may repeat values."""
    return kind in {
        *_EXPECTED,
        *_BOUNDS,
        *_CHOICES,
        *_PARSED,
        "extra_forbidden",
        "missing",
        "string_pattern_mismatch",
    }


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return words.format(context[name])
    if kind in _CHOICES:
        choices = _choices(context)
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    return str(context["expected"])  # a parser's


def _hint(kind: str, node: Node, context: Mapping[str, Any]) -> str:
    if kind in _CHOICES:
        choices = _choices(context)
        return node.quote_hint() if node.raw in choices else closest(node.raw, choices)
    # YAML 1.1 reads an unquoted 18:00 as a number to the base 60.
    return node.quote_hint() if _EXPECTED.get(kind) == "text" or kind == "time of day" else ""


def _choices(context: Mapping[str, Any]) -> list[str]:
    """What pydantic lists as ``'a', 'b' or 'c'``."""
    return str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
