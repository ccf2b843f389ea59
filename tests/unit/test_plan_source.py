"""Reading a YAML file: what a node knows, and every way in which a file cannot be read."""

from pathlib import Path

import pytest

from exitdrill.plan.problems import Problems
from exitdrill.plan.source import SIZE_MAX_BYTES, Node, read


def parse(folder: Path, data: bytes) -> tuple[Node | None, list[str]]:
    path = folder / "x.yaml"
    path.write_bytes(data)
    problems = Problems()
    return read(path, "x.yaml", problems), [str(problem) for problem in problems]


def test_a_node_knows_what_was_written_and_where(tmp_path: Path) -> None:
    """Lines and columns count from 1, in characters; values are what YAML 1.1 says, dates excepted."""
    text = "# é\nä: {b: [1, 0x10, 1:30, 1.5, yes, Off, ~, 2026-01-05, \"no\", '5', !!str 6, a b, =]}\n"
    text += "long: |\n  two\n  lines\n"
    root, said = parse(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert said == []
    assert root is not None
    assert root.plain() == {
        "ä": {"b": [1, 16, 90, 1.5, True, False, None, "2026-01-05", "no", "5", "6", "a b", "="]},
        "long": "two\nlines\n",
    }
    node = root.at("ä", "b", 5)
    assert node is not None
    assert (node.line, node.column, node.raw, node.found()) == (2, 34, "Off", "found Off, which YAML reads as false")
    assert [root.at("ä", "b", 99), root.at("x", "y"), root.at("long", 0)] == [None, None, None]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x.yaml: the file is empty"),
        (b"# nothing\n", "x.yaml: the file is empty"),
        (b"---\n", "x.yaml: the file is empty"),
        (b"\xef\xbb\xbf\n", "x.yaml: the file is empty"),
        (b"~", "x.yaml:1:1: found nothing; expected a map of fields: 'name: value' lines"),
        (b"- a\n", "x.yaml:1:1: found a list; expected a map of fields: 'name: value' lines"),
        (b"text", "x.yaml:1:1: found 'text'; expected a map of fields: 'name: value' lines"),
        (b"a: 1\n\tb: 2\n", "x.yaml:2:1: a tab, where YAML wants spaces (indent with spaces)"),
        (b"a: 1\nb: \xff\n", "x.yaml:2:4: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"\xef\xbb\xbfa: \xc3\xa9\xff\n", "x.yaml:1:6: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"\xff\xfea\0:\0", "x.yaml:1:1: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"a: 1\nb: \x07\n", "x.yaml:2:4: character U+0007 cannot stand in YAML"),
        (
            b"a: {b: 1\nc: 2\n",
            "x.yaml:2:2: not YAML: expected ',' or '}', but got ':' (while parsing a flow mapping, from line 1)",
        ),
        (
            b"a: @b\n",
            "x.yaml:1:4: not YAML: found character '@' that cannot start any token",
        ),
        (b'a: "\\U00FFFFFF"\n', None),
        (b"a: 1\n---\nb: 2\n", "x.yaml:2:1: a second document begins here; expected one to a file"),
        (b"a: 1\nb:\n  c: 2\n  c: 3\n", "x.yaml:4:3: b.c: given twice, first in line 3; expected each key once"),
        (b"no: 1\n", 'x.yaml:1:1: a key is no, which YAML reads as false; expected text (write "no" in quotes)'),
        (b"a: {5: 1}\n", 'x.yaml:1:5: a: a key is the number 5; expected text (write "5" in quotes)'),
        (b"? [a]\n: 1\n", "x.yaml:1:3: a key is a list; expected text"),
        (b"a: &x 1\n", "x.yaml:1:4: a: an anchor, &x (values are written out; nothing can refer to it)"),
        (b"b: *x\n", "x.yaml:1:4: b: an alias, *x (write the value out)"),
        (b"*x : b\n", "x.yaml:1:1: an alias, *x (write the value out)"),
        (b"<<: {a: 1}\n", "x.yaml:1:1: a merge key, << (write the fields out)"),
        (b"a: !!int '5'\n", "x.yaml:1:4: a: a tag, !!int (leave it out; values are plain)"),
        (
            b"a: !!python/object:os.system {}\n",
            "x.yaml:1:4: a: a tag, !!python/object:os.system (leave it out; values are plain)",
        ),
        (b"a: !mine [1]\n", "x.yaml:1:4: a: a tag, !mine (leave it out; values are plain)"),
        (b"!x y", "x.yaml:1:1: a tag, !x (leave it out; values are plain)"),
        (b"a: .inf\n", "x.yaml:1:4: a: a number JSON cannot hold: .inf (write it in quotes if it is text)"),
        (
            b"a: 9007199254740992\n",
            "x.yaml:1:4: a: a number JSON cannot hold: 9007199254740992 (write it in quotes if it is text)",
        ),
        (
            b"a: " + b"9" * 5000,
            f"x.yaml:1:4: a: a number JSON cannot hold: {'9' * 60}… (write it in quotes if it is text)",
        ),
        (b'a: "\\ud800"\n', "x.yaml:1:4: a: half of a surrogate pair in a text; expected whole characters"),
        (b"a: " + b"[" * 50 + b"]" * 50, "x.yaml:1:53: nested more than 50 levels deep"),
        (b"a: " + b"[" * 100_000, "x.yaml:1:53: nested more than 50 levels deep"),
        (b"a: [" + b"1," * 60_000 + b"]", "x.yaml:1:99999: more than 50000 keys and values; no drill needs that"),
        (b"# " + b"x" * SIZE_MAX_BYTES, "x.yaml: larger than 1048576 bytes; no drill needs that"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, data: bytes, said: str | None) -> None:
    """One line says where and what; nothing that PyYAML raises gets out."""
    _, found = parse(tmp_path, data)
    assert len(found) == 1
    assert said is None or found == [said]


def test_an_aliases_bomb_is_refused_at_its_first_anchor(tmp_path: Path) -> None:
    """Nine lines that would become a billion items take no memory: no alias is ever followed."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    _, found = parse(tmp_path, "\n".join(lines).encode())
    assert found[0] == "x.yaml:1:5: a0: an anchor, &a0 (values are written out; nothing can refer to it)"
    assert len(found) == 9 + 80


def test_several_problems_of_a_file_are_all_found(tmp_path: Path) -> None:
    """What can be read is read on."""
    root, found = parse(tmp_path, b"a: 1\na: 2\nb: !x 3\nc: *d\n5: 6\n")
    assert [line.split(":")[1] for line in found] == ["2", "3", "4", "5"]
    assert root is not None
    assert root.plain() == {"a": 1, "b": None, "c": None}


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file, one with another ending, a directory, a name no file can have, and a file one may not read."""

    def said(path: Path) -> str:
        problems = Problems()
        assert read(path, "shown", problems) is None
        return str(next(iter(problems)))

    (tmp_path / "b.yml").write_text("a: 1")
    assert said(tmp_path / "a.yaml") == "shown: there is no such file"
    assert said(tmp_path / "b.yaml") == "shown: there is no such file (did you mean 'b.yml'?)"
    assert said(tmp_path) == "shown: this is a directory (name a file in it)"
    assert said(tmp_path / "a\0b") == "shown: cannot be read: embedded null byte"
    assert said(tmp_path / "b.yml" / "c.yaml") == "shown: cannot be read: Not a directory"
    assert said(tmp_path / ("n" * 300)) == "shown: cannot be read: File name too long"
