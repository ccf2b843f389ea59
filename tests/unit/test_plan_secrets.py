"""References to secrets: what they are replaced by, and what is said where there is nothing to replace them by."""

import os
from pathlib import Path

import pytest

from exitdrill.errors import AuthenticationError
from exitdrill.plan.secrets import has_reference, is_reference, malformed, references, resolve


def test_references_are_replaced_wherever_they_stand(tmp_path: Path) -> None:
    """Alone, within a text, several to a text, in maps and lists; nothing else changes."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "the key").write_text(" päss\r\n")
    settings = {
        "key": "${file:secrets/the key}",
        "endpoint": "https://${env:HOST}:${env:PORT}/",
        "nested": {"list": ["${env:HOST}", 5, None, True], "plain": "a $HOST ${HOST}"},
        "page_size": 7,
    }
    found = resolve(settings, {"HOST": "h", "PORT": "1"}, tmp_path)  # type: ignore[arg-type]  # dict is invariant
    assert found == {
        "key": " päss",
        "endpoint": "https://h:1/",
        "nested": {"list": ["h", 5, None, True], "plain": "a $HOST ${HOST}"},
        "page_size": 7,
    }
    assert references(settings) == {"HOST", "PORT"}  # type: ignore[arg-type]  # as above


def test_what_a_reference_stands_for_is_not_looked_into_again(tmp_path: Path) -> None:
    """A value that looks like a reference is a value."""
    assert resolve({"a": "${env:A}"}, {"A": "${env:B}", "B": "x"}, tmp_path) == {"a": "${env:B}"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${env:NOT_SET}", "environment variable NOT_SET is not set (set the environment variable NOT_SET)"),
        ("x${env:EMPTY}", "environment variable EMPTY is empty (set the environment variable EMPTY)"),
        ("${file:none}", "file none: cannot be read: No such file or directory"),
        ("${file:.}", "file .: is not a regular file"),
        ("${file:pipe}", "file pipe: is not a regular file"),
        (
            "${file:~nobody-of-that-name/x}",
            "file ~nobody-of-that-name/x: cannot be read: Could not determine home directory.",
        ),
        ("${file:empty}", "file empty: is empty"),
        ("${file:long}", "file long: larger than 65536 bytes"),
        ("${file:binary}", "file binary: is not UTF-8 text"),
    ],
)
def test_a_missing_secret_is_named(tmp_path: Path, value: str, said: str) -> None:
    """The error names the variable or file, says what to do, ends in "not ready", and shows no secret."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_text("hunter2 " * 10_000)
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(AuthenticationError) as caught:
        resolve({"a": {"b": [value]}}, {"EMPTY": ""}, tmp_path)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("text", "has", "whole", "bad"),
    [
        ("${env:A}", True, True, False),
        ("${file:a b/c.txt}", True, True, False),
        ("x${env:A}", True, False, False),
        ("${env:A}${env:B}", True, False, False),
        ("${env:A}\n", True, False, False),
        ("${env:1A}", False, False, True),
        ("${env:}", False, False, True),
        ("${A}", False, False, True),
        ("${env:A}${", True, False, True),
        ("$A {b}", False, False, False),
    ],
)
def test_what_is_a_reference(text: str, has: bool, whole: bool, bad: bool) -> None:
    """Anywhere in a text, the whole of it, or something that was meant to be one."""
    assert (has_reference(text), is_reference(text), malformed(text)) == (has, whole, bad)
