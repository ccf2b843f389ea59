"""A YAML file -> nodes that know their line and column. The only place that parses YAML.

Rules: what a file can say is JSON: maps with text for keys, lists, text, numbers, true, false and null. Anchors,
aliases, tags, merge keys, duplicate keys, a second document and numbers JSON cannot hold exactly are problems.
A date is text. A file has 1 MiB, 50 levels and 50,000 keys and values at most, so reading one is bounded in time
and memory. Whether what a file says makes sense is the business of others.

YAML 1.1 as PyYAML reads it (https://yaml.org/spec/1.1/): an unquoted ``no`` is false; the node remembers how
it was written, so that a message can say so.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import JsonValue

from exitdrill.plan.problems import KeyPath, Problem, Problems, quoted, show_path

__all__ = ["DEPTH_MAX", "NODES_MAX", "SIZE_MAX_BYTES", "Node", "read"]

SIZE_MAX_BYTES = 1024 * 1024
DEPTH_MAX = 50
NODES_MAX = 50_000

_WHOLE_MAX = 2**53 - 1  # RFC 8785 and RFC 7493: beyond it, JSON numbers lose digits
_TAG = "tag:yaml.org,2002:"
_TYPED = frozenset(_TAG + name for name in ("int", "float", "bool", "null"))
_AS_TEXT = frozenset(_TAG + name for name in ("str", "timestamp", "value", "merge"))
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a file and where it stands."""

    line: int
    """From 1."""
    column: int
    """In characters, from 1."""
    value: "Scalar | list[Node] | dict[str, Node]"
    raw: str = ""
    """A scalar as it was written, without its quotes."""
    key_line: int = 0
    """Where the key stands that names it, or the value itself in a list."""
    key_column: int = 0
    broken: bool = False
    """A problem was reported for it already; its value means nothing."""

    @property
    def map(self) -> "dict[str, Node]":
        """Its entries; none if it is no map."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "list[Node]":
        """Its items; none if it is no list."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str | None:
        """Its text, if it is text."""
        return self.value if isinstance(self.value, str) else None

    def at(self, *path: str | int) -> "Node | None":
        """The node at a path below this one, if there is one."""
        node: Node | None = self
        for part in path:
            if node is None:
                return None
            if isinstance(part, int):
                node = node.items[part] if part < len(node.items) else None
            else:
                node = node.map.get(part)
        return node

    def plain(self) -> JsonValue:
        """Its value without positions."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def scalars(self, path: KeyPath = ()) -> "Iterator[tuple[KeyPath, Node]]":
        """Every scalar at or below this node, with its path."""
        if isinstance(self.value, dict):
            for name, node in self.value.items():
                yield from node.scalars((*path, name))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.scalars((*path, index))
        else:
            yield path, self

    def found(self) -> str:
        """What stands there, in words, for a message."""
        if isinstance(self.value, str):
            return f"found {quoted(self.value)}"
        if isinstance(self.value, bool):
            word = str(self.value).lower()
            return f"found {word}" if self.raw.lower() == word else f"found {self.raw}, which YAML reads as {word}"
        if isinstance(self.value, int | float):
            return f"found the number {self.raw}"
        if self.value is None:
            return "found nothing"
        return "found a map" if isinstance(self.value, dict) else "found a list"

    def quote_hint(self) -> str:
        """What to do where text was wanted and an unquoted scalar is something else; else empty."""
        return f'write "{self.raw}" in quotes' if not isinstance(self.value, str | dict | list) and self.raw else ""


def read(path: Path, shown: str, problems: Problems) -> Node | None:
    """The root of a YAML file, a map.

    Args:
        path: The file.
        shown: Its name in messages.
        problems: Takes what is wrong.

    Returns:
        The root, or None where there is nothing to go on with; then a problem was added.
    """
    data = _bytes(path, shown, problems)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Decoded again without the byte order mark's special case, which would shift the position.
        bad = _first_bad_byte(data)
        line, column = _position(data[:bad].decode())
        what = f"byte 0x{data[bad]:02x} is not UTF-8"
        problems.add(Problem(shown, line, column, "", what, "", "save the file as UTF-8"))
        return None
    root = _Builder(shown, problems).build(text)
    if root is None or root.broken:
        return None
    if not isinstance(root.value, dict):
        problems.add(Problem(shown, root.line, root.column, "", root.found(), "a map of fields: 'name: value' lines"))
        return None
    return root


def _first_bad_byte(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    raise AssertionError("called only for what cannot be decoded")  # pragma: no cover


def _mark(mark: object) -> tuple[int, int]:
    """Line and column, both from 1; 0 where PyYAML does not say, which its own parser always does."""
    return (mark.line + 1, mark.column + 1) if isinstance(mark, yaml.Mark) else (0, 0)


def _position(before: str) -> tuple[int, int]:
    """Line and column, both from 1, of what comes after a text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _bytes(path: Path, shown: str, problems: Problems) -> bytes | None:
    hint = ""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX_BYTES + 1)
    except FileNotFoundError:
        what, hint = "there is no such file", _near(path)
    except IsADirectoryError:
        what, hint = "this is a directory", "name a file in it"
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the name
        what = f"cannot be read: {getattr(exc, 'strerror', None) or exc}"
    else:
        if len(data) <= SIZE_MAX_BYTES:
            return data
        what = f"larger than {SIZE_MAX_BYTES} bytes; no drill needs that"
    problems.add(Problem(shown, 0, 0, "", what, "", hint))
    return None


def _near(path: Path) -> str:
    """A file of the same name but for the ending."""
    for ending in (".yaml", ".yml"):
        other = path.with_suffix(ending)
        if other.is_file():
            return f"did you mean {other.name!r}?"
    return ""


class _StopError(Exception):
    """Nothing more can be read; the problem was added. Never leaves this module."""


class _Builder:
    """Builds nodes from PyYAML's events, collecting problems."""

    def __init__(self, shown: str, problems: Problems) -> None:
        self._shown = shown
        self._problems = problems
        self._loader = yaml.SafeLoader("")
        self._nodes = 0

    def build(self, text: str) -> Node | None:
        try:
            return self._document(yaml.parse(text, yaml.SafeLoader))
        except _StopError:
            return None
        except yaml.reader.ReaderError as exc:
            line, column = _position(text[: exc.position])
            self._add(line, column, (), f"character U+{ord(text[exc.position]):04X} cannot stand in YAML")
        except yaml.MarkedYAMLError as exc:
            self._syntax(exc)
        except (yaml.YAMLError, ValueError, OverflowError) as exc:  # the last two: an escape beyond Unicode
            self._add(0, 0, (), f"not YAML: {exc}")
        return None

    def _add(self, line: int, column: int, path: KeyPath, what: str, expected: str = "", hint: str = "") -> None:
        self._problems.add(Problem(self._shown, line, column, show_path(path), what, expected, hint))

    def _syntax(self, exc: yaml.MarkedYAMLError) -> None:
        opened = exc.context_mark
        line, column = _mark(exc.problem_mark or opened)
        problem = str(exc.problem or "it cannot be parsed")
        if "'\\t'" in problem:
            self._add(line, column, (), "a tab, where YAML wants spaces", "", "indent with spaces")
            return
        since = f" ({exc.context}, from line {opened.line + 1})" if exc.context and opened else ""
        self._add(line, column, (), f"not YAML: {problem}{since}")

    def _document(self, events: Iterator[yaml.Event]) -> Node | None:
        next(events)  # the stream begins
        if isinstance(next(events), yaml.StreamEndEvent):
            self._add(0, 0, (), "the file is empty")
            return None
        root = self._node(events, next(events), (), 1)
        next(events)  # the document ends
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            line, column = _mark(after.start_mark)
            self._add(line, column, (), "a second document begins here", "one to a file")
            return None
        if root.value is None and not root.broken and not root.raw:
            self._add(0, 0, (), "the file is empty")
            return None
        return root

    def _node(self, events: Iterator[yaml.Event], event: yaml.Event, path: KeyPath, depth: int) -> Node:
        line, column = _mark(event.start_mark)
        at = Node(line, column, None, "", line, column)
        if depth > DEPTH_MAX:
            self._add(line, column, (), f"nested more than {DEPTH_MAX} levels deep")
            raise _StopError
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._add(line, column, (), f"more than {NODES_MAX} keys and values; no drill needs that")
            raise _StopError
        if isinstance(event, yaml.AliasEvent):
            self._add(line, column, path, f"an alias, *{event.anchor}", "", "write the value out")
            return replace(at, broken=True)
        if anchor := getattr(event, "anchor", None):
            self._add(
                line, column, path, f"an anchor, &{anchor}", "", "values are written out; nothing can refer to it"
            )
        if isinstance(event, yaml.MappingStartEvent):
            self._untagged(event.tag, "map", at, path)
            return replace(at, value=self._map(events, path, depth))
        if isinstance(event, yaml.SequenceStartEvent):
            self._untagged(event.tag, "seq", at, path)
            items: list[Node] = []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                items.append(self._node(events, item, (*path, len(items)), depth + 1))
            return replace(at, value=items)
        assert isinstance(event, yaml.ScalarEvent)  # noqa: S101 - the grammar has no other
        return self._scalar(event, at, path)

    def _untagged(self, tag: str | None, kind: str, at: Node, path: KeyPath) -> None:
        if tag not in (None, "!", _TAG + kind):
            self._add(at.line, at.column, path, f"a tag, {_short(tag)}", "", "leave it out; values are plain")

    def _map(self, events: Iterator[yaml.Event], path: KeyPath, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(events, event, path, depth + 1)
            name = key.text
            value = self._node(events, next(events), (*path, key.raw if name is None else name), depth + 1)
            if name is None:
                if not key.broken:
                    found = key.found().removeprefix("found ")
                    self._add(key.line, key.column, path, f"a key is {found}", "text", key.quote_hint())
            elif name == "<<":
                self._add(key.line, key.column, path, "a merge key, <<", "", "write the fields out")
            elif name in entries:
                first = entries[name].key_line
                self._add(key.line, key.column, (*path, name), f"given twice, first in line {first}", "each key once")
            else:
                entries[name] = replace(value, key_line=key.line, key_column=key.column)
        return entries

    def _scalar(self, event: yaml.ScalarEvent, at: Node, path: KeyPath) -> Node:
        raw, tag = event.value, event.tag
        if tag is None or tag == "!":
            implicit = event.implicit if tag is None else (False, True)
            tag = str(self._loader.resolve(yaml.ScalarNode, raw, implicit))  # type: ignore[no-untyped-call]  # stubs lack it
        elif tag != _TAG + "str":
            self._add(at.line, at.column, path, f"a tag, {_short(tag)}", "", "leave it out; values are plain")
            return replace(at, broken=True)
        if tag in _AS_TEXT:
            if any("\ud800" <= character <= "\udfff" for character in raw):
                self._add(at.line, at.column, path, "half of a surrogate pair in a text", "whole characters")
                return replace(at, broken=True)
            return replace(at, value=raw, raw=raw)
        assert tag in _TYPED  # noqa: S101 - implicit resolution knows no other
        return self._typed(tag.removeprefix(_TAG), replace(at, raw=raw), path)

    def _typed(self, kind: str, at: Node, path: KeyPath) -> Node:
        """A scalar that YAML reads as something other than text; implicit resolution vouches for its form."""
        if kind == "null":
            return at
        if kind == "bool":
            return replace(at, value=_BOOLEANS[at.raw.lower()])
        number = self._number(kind, at.raw)
        if number is None:
            shown = quoted(at.raw)[1:-1]
            what, hint = f"a number JSON cannot hold: {shown}", "write it in quotes if it is text"
            self._add(at.line, at.column, path, what, "", hint)
            return replace(at, broken=True)
        return replace(at, value=number)

    def _number(self, kind: str, raw: str) -> int | float | None:
        """A number of YAML 1.1, or None where JSON cannot hold it exactly."""
        node = yaml.ScalarNode(_TAG + kind, raw)
        try:
            if kind == "int":
                whole = int(self._loader.construct_yaml_int(node))
                return whole if abs(whole) <= _WHOLE_MAX else None
            number = float(self._loader.construct_yaml_float(node))
        except (ValueError, OverflowError):  # more digits than Python converts
            return None
        return number if math.isfinite(number) else None


def _short(tag: str | None) -> str:
    return quoted(str(tag).replace(_TAG, "!!"))[1:-1]
