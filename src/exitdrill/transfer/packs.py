from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PackFacts:
    key: str
    modified: datetime | None
    etag: str | None
    sha256: bytes | None
    envelope: str


class PackBuilder:
    def __init__(self, limit_bytes: int) -> None:
        self._buf = bytearray()
        self._limit = limit_bytes

    def add(self, data: bytes, facts: PackFacts) -> int:
        at = len(self._buf)
        self._buf += data
        return at

    @property
    def full(self) -> bool:
        return len(self._buf) >= self._limit

    def finish(self) -> bytes:
        return self._buf
