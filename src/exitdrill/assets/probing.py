"""What a place really does, found out by trying, in a container of the drill's own.

Three servers out of four that speak S3 take an object with a wrong checksum, and one stores ``a//b`` as
``a/b`` without a word. So before the clock counts, preflight sends what must be refused and reads back what
must be kept. The claim of the connector is narrowed to what proved true; it never grows.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from exitdrill.connector.capabilities import Capabilities, KeyRule
from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.errors import ConnectorError, ThrottledError, TransientError
from exitdrill.model.digests import Comparison, DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope
from exitdrill.transfer.cleanup import clear_probe

__all__ = ["Probed", "probe_store"]

_BYTES = b"exitdrill probe\n"
_OTHER = b"exitdrill probE\n"


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found."""

    capabilities: Capabilities
    notes: tuple[str, ...]
    """What was claimed and is not so, for people."""


_KEY_TRIALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("empty_segments", ("d//b",)),
    ("dot_segments", ("e/./b", "e/../b")),
    ("trailing_slash", ("t/",)),
    ("trailing_dot", ("f.", "f./b")),
    ("backslash", ("g\\b",)),
    ("control_characters", ("h\x01b", "h\nb", "h\x7fb")),
    ("non_characters", ("i\ufffeb", "i\uffffb")),
    ("case_sensitive", ("j", "J")),
    ("normalisation_sensitive", ("k\u00e9", "ke\u0301")),
    ("object_and_prefix", ("m", "m/b")),
)


def probe_store(store: ObjectStore, base: str) -> Probed:
    """Try a container's claims, under keys that begin with ``base``, and remove what was written.

    Args:
        store: An opened container, writable.
        base: What the keys begin with: `exitdrill.transfer.cleanup.probe_base`, the same whenever a run tries.

    Raises:
        ConnectorError: Plain objects cannot be written, read, listed or deleted there.
    """
    clear_probe(store, base)  # an earlier try of this run may have been killed
    try:
        return _Probe(store, base).run()
    finally:
        with suppress(ConnectorError):  # teardown clears it again, and says what it cannot
            clear_probe(store, base)


class _Probe:
    def __init__(self, store: ObjectStore, base: str) -> None:
        self._store, self._base = store, base
        self._claim = store.capabilities
        self._notes: list[str] = []

    def run(self) -> Probed:
        self._plain()
        refuses = frozenset(kind for kind in self._claim.refuses_wrong if self._refuses(kind))
        attests = frozenset(kind for kind in self._claim.attests if self._attests(kind, refuses))
        capabilities = self._claim.narrowed(
            refuses_wrong=refuses,
            attests=attests,
            listing_digests=self._claim.listing_digests & attests,
            multipart_attests=self._claim.multipart_attests & attests & refuses,
            changing_etags=self._claim.changing_etags and self._etag_changes(),
            keys=self._keys(),
            envelope=replace(self._claim.envelope, user_empty=self._keeps_empty()),
        )
        return Probed(capabilities, tuple(self._notes))

    def _put(self, name: str, data: bytes = _BYTES, digests: Digests = Digests.NONE) -> Digests:
        key = self._base + name
        receipt = self._store.write(WriteRequest(key, BytesBody(data), Envelope(content_type="text/plain"), digests))
        return receipt.entry.digests.merged(self._store.stat(key).digests)

    def _plain(self) -> None:
        self._put("plain")
        key = self._base + "plain"
        with self._store.read(key) as stream:
            if stream.read_all() != _BYTES:
                raise ConnectorError(
                    "a plain object does not come back as it was written", resource=self._store.resource
                )
        if key not in {entry.key for entry in self._store.list(self._base)}:
            raise ConnectorError("a plain object is not listed after it was written", resource=self._store.resource)
        self._store.delete(key)

    def _right(self, data: bytes = _BYTES) -> Digests:
        hasher = Hasher(DigestKind)
        hasher.update(data)
        return hasher.digests()

    def _refuses(self, kind: DigestKind) -> bool:
        """Whether an object sent with a wrong digest is turned away."""
        wrong = self._right(_OTHER).only({kind})
        try:
            self._put(f"wrong-{kind}", digests=wrong)
        except (ThrottledError, TransientError):
            raise
        except ConnectorError:
            return True
        self._notes.append(f"takes an object with a wrong {kind}: its {kind} proves nothing")
        return False

    def _attests(self, kind: DigestKind, refuses: frozenset[DigestKind]) -> bool:
        """Whether the server computes this digest by itself.

        It does if it reports the right one without having been told, or turns a wrong one away.
        """
        right = self._right()
        untold = self._put(f"untold-{kind}").only({kind}).compare(right)
        if untold is Comparison.EQUAL:
            return True
        if (
            kind in refuses
            and self._put(f"told-{kind}", digests=right.only({kind})).only({kind}).compare(right) is Comparison.EQUAL
        ):
            return True
        self._notes.append(f"reports no {kind} that it computed itself")
        return False

    def _etag_changes(self) -> bool:
        key = self._base + "etag"
        seen = set()
        for data in (_BYTES, _OTHER):
            self._put("etag", data)
            seen.add(self._store.stat(key).etag)
        if None in seen or len(seen) == 1:
            self._notes.append("gives other bytes the same ETag")
            return False
        return True

    def _keeps_empty(self) -> bool:
        """Whether user metadata with an empty value is kept."""
        rule = self._claim.envelope
        if not (rule.user and rule.user_empty):
            return False
        key = self._base + "empty"
        self._store.write(WriteRequest(key, BytesBody(_BYTES), Envelope(user=(("empty", ""),))))
        envelope = self._store.stat(key).envelope
        if envelope is None or ("empty", "") not in envelope.user:
            self._notes.append("drops user metadata with an empty value")
            return False
        return True

    def _keys(self) -> KeyRule:
        rule = self._claim.keys
        for field, names in _KEY_TRIALS:
            if getattr(rule, field) and not self._holds([self._base + "k-" + field + "/" + n for n in names]):
                rule = replace(rule, **{field: False})
                self._notes.append(f"keys: {field.replace('_', ' ')}: not kept byte-exact")
        if rule.max_segment_bytes is None and not self._holds([self._base + "s" * 300]):
            rule = replace(rule, max_segment_bytes=255)
            self._notes.append("keys: a segment of more than 255 bytes is not kept")
        longest = self._base + "/".join(["l" * 200] * 6)
        longest = longest[: rule.max_bytes]
        if not self._holds([longest]):
            rule = replace(rule, max_bytes=self._longest(rule.max_bytes))
            self._notes.append(f"keys: longer than {rule.max_bytes} bytes are not kept")
        return rule

    def _longest(self, claimed: int) -> int:
        path = self._base + "/".join(["n" * 100] * (claimed // 100))
        return next((n for n in (900, 800, 700, 512, 255, 200) if n < claimed and self._holds([path[:n]])), 128)

    def _holds(self, keys: list[str]) -> bool:
        """Whether these keys can live side by side and all come back byte-exact, with their own bytes."""
        try:
            for key in keys:
                self._store.write(WriteRequest(key, BytesBody(key.encode())))
            common = keys[0][: len(self._base)]
            listed = {entry.key for entry in self._store.list(common)}
            for key in keys:
                with self._store.read(key) as stream:
                    if stream.read_all() != key.encode() or key not in listed:
                        return False
        except ThrottledError:
            raise
        except ConnectorError:
            return False
        finally:
            for key in keys:
                with suppress(ConnectorError):  # what cannot be written cannot always be deleted either
                    self._store.delete(key)
        return True
