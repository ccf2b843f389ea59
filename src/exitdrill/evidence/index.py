"""A bundle's index: every member with its size and SHA-256, signed once; and the BagIt files that follow from it.

The signed payload is canonical JSON (RFC 8785) in a DSSE envelope. It lists all members below ``data/``, in the order
in which they stand in the file. It does not list itself, nor the four tag files of BagIt (RFC 8493): their bytes follow
from it, and a reader makes them anew and compares. So every byte of a bundle is either signed or determined.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import rfc8785

from exitdrill.errors import EvidenceError
from exitdrill.evidence import strict
from exitdrill.evidence.zipped import MEMBERS_MAX, is_path
from exitdrill.model.journal import Json

__all__ = ["FORMAT", "INDEX", "INDEX_MAX_BYTES", "INDEX_TYPE", "PAYLOAD", "TAG_FILES", "Index", "Member", "tag_files"]

INDEX_TYPE = "application/vnd.exitdrill.bundle-index+json"
FORMAT = "exitdrill bundle 1"
INDEX = "index.dsse.json"
PAYLOAD = "data/"
TAG_FILES = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")
INDEX_MAX_BYTES = 64 * 1024 * 1024
_FIELDS = ("format", "run", "made", "tool", "members")
_HEX = re.compile("[0-9a-f]{64}")
_MADE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z")
_WORD = re.compile(r"[A-Za-z0-9._+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a bundle."""

    path: str
    """Begins with ``data/``."""
    size: int
    sha256: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a bundle holds."""

    run: str
    """The run's id, and the name of the one folder in the file."""
    made: str
    """When the run ended, by its machine's clock: RFC 3339."""
    tool: str
    """The version of exitdrill that made the bundle."""
    members: tuple[Member, ...]
    """By path."""

    def to_bytes(self) -> bytes:
        """The payload that is signed."""
        members: list[Json] = [{"path": m.path, "sha256": m.sha256, "size": m.size} for m in self.members]
        whole = {"format": FORMAT, "run": self.run, "made": self.made, "tool": self.tool, "members": members}
        return rfc8785.dumps(whole)

    @classmethod
    def from_bytes(cls, payload: bytes) -> "Index":
        """The inverse of `to_bytes`. Raises EvidenceError for what that does not write."""
        found = strict.exactly(strict.load(payload, INDEX, max_bytes=INDEX_MAX_BYTES, floats=False), _FIELDS, INDEX)
        listed = found["members"]
        if found["format"] != FORMAT:
            hint = "it was made by another version of exitdrill: verify it with that one"
            raise EvidenceError("of another format", resource=INDEX, expected=FORMAT, hint=hint)
        if not isinstance(listed, list) or len(listed) > MEMBERS_MAX:
            raise EvidenceError("not a list of members", resource=INDEX)
        run, made, tool = (
            _text(found[name], rule) for name, rule in (("run", _WORD), ("made", _MADE), ("tool", _WORD))
        )
        index = cls(run, made, tool, tuple(_member(item) for item in listed))
        paths = [member.path for member in index.members]
        if paths != sorted(set(paths)):
            raise EvidenceError("its members are out of order, or there twice", resource=INDEX)
        if not is_path(run) or index.to_bytes() != payload:
            raise EvidenceError("not canonical JSON (RFC 8785)", resource=INDEX)
        return index

    @property
    def by_path(self) -> Mapping[str, Member]:
        """The members by their path."""
        return {member.path: member for member in self.members}


def _text(value: Json, rule: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not rule.fullmatch(value):
        raise EvidenceError("a text that is none", resource=INDEX)
    return value


def _member(item: Json) -> Member:
    found = strict.exactly(item, ("path", "size", "sha256"), INDEX)
    path = found["path"]
    if not isinstance(path, str) or not path.startswith(PAYLOAD) or not is_path(path):
        raise EvidenceError("a path that none may have", resource=INDEX, expected="letters, digits, dots, dashes")
    return Member(path, strict.whole(found["size"], INDEX), _text(found["sha256"], _HEX))


def tag_files(index: Index, envelope: bytes) -> dict[str, bytes]:
    """The BagIt files of a bundle (RFC 8493, 2.1, 2.2), by name.

    Args:
        index: What it holds.
        envelope: The signed index as it is in the file.
    """
    manifest = _lines((member.sha256, member.path) for member in index.members)
    total = sum(member.size for member in index.members)
    info = (
        f"Bag-Software-Agent: exitdrill {index.tool}\n"
        f"Bagging-Date: {index.made[:10]}\n"
        f"External-Identifier: {index.run}\n"
        f"Payload-Oxum: {total}.{len(index.members)}\n"
    )
    files = {
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "bag-info.txt": info.encode(),
        "manifest-sha256.txt": manifest,
    }
    tagged = {**files, INDEX: envelope}
    files["tagmanifest-sha256.txt"] = _lines((sha256(tagged[name]).hexdigest(), name) for name in sorted(tagged))
    return files


def _lines(digests: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{digest}  {path}\n" for digest, path in digests).encode()
