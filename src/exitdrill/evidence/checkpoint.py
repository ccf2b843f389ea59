"""Checkpoints (https://c2sp.org/tlog-checkpoint): how large a log is and what its root is, in three lines.

The origin names the log: ``exitdrill/run/`` and the run's id. It is also the name by which the signing keys go in
the note. We write no extension lines, and take none.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from exitdrill.errors import EvidenceError
from exitdrill.evidence.merkle import HASH_BYTES

__all__ = ["Checkpoint", "origin", "parse_checkpoint"]

_ORIGIN = "exitdrill/run/"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


def origin(run_id: str) -> str:
    """The name of a run's log."""
    return _ORIGIN + run_id


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log as it was at one moment."""

    origin: str
    size: int
    """How many lines of the journal it covers."""
    root: bytes
    """RFC 6962, over the lines without their line ends."""

    @property
    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str, resource: str = "checkpoint") -> Checkpoint:
    """Read a note's text. Raises EvidenceError for what is none of ours."""

    def refused(what: str) -> EvidenceError:
        return EvidenceError(what, resource=resource, expected="a checkpoint (c2sp.org/tlog-checkpoint)")

    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:  # noqa: PLR2004 - origin, size, root, and nothing after the line end
        raise refused("not three lines")
    if not _SIZE.fullmatch(lines[1]):
        raise refused("its second line is no size")
    try:
        root = b64decode(lines[2], validate=True)
    except ValueError as exc:
        raise refused("its third line is no root") from exc
    if len(root) != HASH_BYTES or b64encode(root).decode() != lines[2]:
        raise refused("its third line is no root")
    return Checkpoint(lines[0], int(lines[1]), root)
