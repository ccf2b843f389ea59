"""What stands where in a vault: names, sidecars, the text that explains them.

::

    <path>/README.txt                                   how to read the vault without exitdrill
    <path>/<sha256 of container>/container.json         the container's name
    <path>/<sha256 of container>/tmp/                   what is being written
    <path>/<sha256 of container>/ab/<sha256 of key>.json        the sidecar: key, size, digests, envelope
    <path>/<sha256 of container>/ab/<sha256 of key>.<etag>      the bytes, named by the sidecar

Rules. No name is made from a key other than by SHA-256. A sidecar names its data file, and data files are never
written twice: replacing an object makes a second data file, and renaming the new sidecar over the old one is the
moment it counts. So the two never disagree, in whatever order a file system remembers things. An object is
there if its sidecar is, and the data file the sidecar names has the size the sidecar says; anything else is the
rest of an interrupted write.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from exitdrill.clock import format_utc, parse_utc
from exitdrill.model.digests import Digests
from exitdrill.model.objects import Envelope, ObjectEntry

__all__ = ["CONTAINER_FILE", "DATA", "FORMAT", "README", "SIDECAR", "TMP", "Sidecar", "hashed", "is_shard"]

FORMAT = 1
"""The version of this layout."""
CONTAINER_FILE = "container.json"
TMP = "tmp"
SIDECAR = re.compile(r"[0-9a-f]{64}\.json")
"""The name of a sidecar."""
_SHARD = re.compile(r"[0-9a-f]{2}")
DATA = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}")
"""The name of a data file."""

README = """\
This directory was written by exitdrill. It can be read without it.

Every container is a directory named by the SHA-256 of its name; container.json in it has the name.
Every object is two files in that directory, below the first two digits of the SHA-256 of its key:

    <sha256 of key>.json      what the object is: key, size, digests, content type, metadata, tags, times,
                              and in "data" the name of the file beside it that holds its bytes
    <sha256 of key>.<etag>    its bytes, exactly as they were at the source

To find the object with the key "reports/2024 Q4.pdf" in the container "case-files":

    c=$(printf %s 'case-files' | sha256sum | cut -c1-64)
    k=$(printf %s 'reports/2024 Q4.pdf' | sha256sum | cut -c1-64)
    cat "$c/$(printf %s "$k" | cut -c1-2)/$k.json"

To check its bytes, compare "sha256" in that file with

    sha256sum "$c/$(printf %s "$k" | cut -c1-2)/$k".????????????????????????????????

To list every key of a container:

    find "$c" -name '????????????????????????????????????????????????????????????????.json' -exec cat {} +

Small objects of a drill do not have files of their own: they are in packs. A pack is an object whose key begins
with "packs/", and a plain tar archive. In it each small object is a file called objects/<sha256 of its key>; what
is known of it stands in the header before it (PAX records EXITDRILL.key, .etag, .sha256, .envelope). The last file,
index.jsonl, has a line for each: key, name, offset, size, sha256.

An object that is in no file of its own is in a pack:

    c=$(printf %s 'case-files' | sha256sum | cut -c1-64)
    k=$(printf %s 'reports/2024 Q4.pdf' | sha256sum | cut -c1-64)
    p=$(grep -rlF "objects/$k" "$c" | head -n 1)
    tar --warning=no-unknown-keyword -xOf "$p" "objects/$k"

To unpack every pack of a container into a folder, and put their indexes together:

    c=$(printf %s 'case-files' | sha256sum | cut -c1-64)
    grep -rl --include='*.json' '"format":1,"key":"packs/' "$c" | while read -r s; do
      p=$(echo "${s%.json}".????????????????????????????????)
      tar --warning=no-unknown-keyword -C /elsewhere -xf "$p" objects
      tar --warning=no-unknown-keyword -xOf "$p" index.jsonl >> /elsewhere/index.jsonl
    done

An object whose own key begins with packs/, keys/ or by-sha256/ and that has a file of its own is kept under that key
with keys/ before it. The tool "exitdrill vault export --vault FOLDER" does all of this, and checks every byte.

The digests are those of the program that wrote the files. A disk attests nothing: read the bytes again
to know that they are still the same.

A data file that no .json names, and everything in tmp/, is left over from an interrupted write.
"""


def hashed(name: str) -> str:
    """The SHA-256 of a key's or container's UTF-8 bytes, in hexadecimal. Raises UnicodeEncodeError."""
    return hashlib.sha256(name.encode()).hexdigest()


def is_shard(name: str) -> bool:
    """Whether a directory of that name holds objects."""
    return _SHARD.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """An object's facts, and which file has its bytes."""

    entry: ObjectEntry
    """Key, size, ETag, time, digests (a client's word), envelope."""
    data: str
    """The name of the data file, in the sidecar's directory."""

    def to_bytes(self) -> bytes:
        """One line of JSON in UTF-8: names sorted, no spaces."""
        entry = self.entry
        facts: dict[str, object] = {
            "format": FORMAT,
            "key": entry.key,
            "size": entry.size,
            "etag": entry.etag,
            "modified": format_utc(entry.modified) if entry.modified is not None else None,
            "data": self.data,
            "envelope": (entry.envelope or Envelope()).to_json(),
            **entry.digests.to_json(),
        }
        return json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Sidecar":
        """The inverse of `to_bytes`. Raises ValueError for anything else, another format version included."""
        facts = json.loads(raw)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            msg = f"not a sidecar of format {FORMAT}"
            raise ValueError(msg)
        try:
            return cls._from_facts(facts)
        except (KeyError, TypeError, AttributeError) as exc:
            msg = f"a sidecar with a field missing or of another type: {exc}"
            raise ValueError(msg) from exc

    @classmethod
    def _from_facts(cls, facts: Mapping[str, object]) -> "Sidecar":
        key, size, etag, data, envelope = (facts[name] for name in ("key", "size", "etag", "data", "envelope"))
        texts = isinstance(key, str) and isinstance(etag, str) and isinstance(data, str)
        if not texts or not isinstance(size, int) or not isinstance(envelope, Mapping):
            msg = "key, etag and data are text, size is a number, envelope is a map"
            raise TypeError(msg)
        if not DATA.fullmatch(str(data)):
            msg = f"{data!r} is no name of a data file"
            raise ValueError(msg)
        digests = {kind: str(facts[kind]) for kind in ("sha256", "crc64nvme", "crc32c", "md5") if kind in facts}
        modified: datetime = parse_utc(str(facts["modified"]))
        entry = ObjectEntry(
            str(key), size, str(etag), None, modified, Digests.from_json(digests), Envelope.from_json(envelope)
        )
        return cls(entry, str(data))
