"""Sealing a journal while it is written: signed checkpoints, and timestamps on them.

Rules. A checkpoint is on disk before `checkpoint` returns, and covers every line that was in the journal when it was
called. A key that does not sign is noted in the journal and does not end the drill: the others sign, and every later
checkpoint asks it again; where none signs there is no checkpoint, and the journal says so. An authority is asked on a
thread of its own, so that a drill never waits for it, but for one time limit at its end. Each token's digest goes
into the journal, as does each reason why there is none.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from exitdrill.clock import format_utc
from exitdrill.errors import ExitdrillError, NoSpaceError, SigningError, TimestampError
from exitdrill.evidence.checkpoint import Checkpoint, origin
from exitdrill.evidence.checkpoints import keep_public, stored_checkpoints, write_checkpoint
from exitdrill.evidence.journal import Journal
from exitdrill.evidence.note import key_id, sign_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer
from exitdrill.evidence.timestamps import Authority
from exitdrill.model.journal import Json
from exitdrill.transfer.layout import RunDirectory, write_atomic

__all__ = ["KeySlot", "Seal"]

_MORE_SECONDS = 1.0
"""How much longer than its limit an authority's thread is waited for."""


@dataclass(slots=True)
class KeySlot:
    """A key that is to sign, open or not yet."""

    name: str
    open: Callable[[], Signer]
    """Opens it. Raises SigningError."""
    signer: Signer | None = None

    def get(self) -> Signer:
        """The key, opened. Raises SigningError."""
        if self.signer is None:
            self.signer = self.open()
        return self.signer


@dataclass(slots=True)
class _Asking:
    number: int
    thread: threading.Thread
    done: bool = field(default=False)


class Seal:
    """Seals one run's journal; used from one thread at a time.

    Args:
        run_id: The run's, which names its log.
        directory: The run's.
        journal: Its journal, open.
        slots: The keys that are to sign.
        authority: Who is asked for timestamps; None: nobody.
        why_untimed: What the journal says where there is no authority.
    """

    def __init__(
        self,
        run_id: str,
        directory: RunDirectory,
        journal: Journal,
        slots: Sequence[KeySlot],
        authority: Authority | None,
        why_untimed: str = "the drill names no timestamp authority",
    ) -> None:
        """See the class."""
        self._origin = origin(run_id)
        self._directory, self._journal, self._slots = directory, journal, tuple(slots)
        self._authority, self._why_untimed = authority, why_untimed
        stored = stored_checkpoints(directory.checkpoints)
        self._number = stored[-1].number if stored else 0
        self._signed: tuple[Signer, ...] = ()
        self._head: Checkpoint | None = None
        self._announced: set[str] | None = None
        self._lock = threading.Lock()
        self._asking: list[_Asking] = []
        self._ended = self._said_public = False

    def announce(self, threshold: int) -> None:
        """Say in the journal which keys sign, and whose clock vouches; put their public halves into the directory."""
        signers, errors = self._open()
        keys = [signer.key for signer in signers]
        self._journal.record(
            "signers",
            keys=_listed(keys),
            threshold=threshold,
            timestamps=None if self._authority is None else self._authority.url,
        )
        self._announced = {key.id for key in keys}
        self._keep_public(keys)
        for error in errors:
            self._journal.record("signing failed", error=str(error))
        if self._authority is None:
            self._journal.record("not timestamped", reason=self._why_untimed)

    def _open(self) -> tuple[list[Signer], list[SigningError]]:
        """The keys that can be opened, and what keeps the others from it."""
        signers, errors = [], []
        for slot in self._slots:
            try:
                signers.append(slot.get())
            except SigningError as error:
                errors.append(error)
        return signers, errors

    def checkpoint(self, *, timestamp: bool = False) -> Checkpoint | None:
        """Sign what is in the journal now.

        Args:
            timestamp: Also ask the authority, without waiting for it.

        Returns:
            What was signed; None where no key did.

        Raises:
            NoSpaceError, ReadOnlyError: It cannot be written.
        """
        signers, errors = self._open()
        self._add([signer.key for signer in signers])
        size, root = self._journal.head()
        point = Checkpoint(self._origin, size, root)
        note, refused = sign_note(point.text, point.origin, signers)
        made = {signature.key_id for signature in note.signatures}
        self._signed = tuple(signer for signer in signers if key_id(point.origin, signer.key) in made)
        if note.signatures:
            self._keep_public([signer.key for signer in signers])
            path = write_checkpoint(self._directory.checkpoints, self._number + 1, size, note)
            self._head, self._number = point, self._number + 1
            if timestamp and self._authority is not None:
                self._ask(self._authority, self._number, path, note.to_bytes())
        for failure in [*errors, *refused]:
            self._journal.record("signing failed", size=size, error=str(failure))
        return point if note.signatures else None

    def _add(self, keys: Sequence[PublicKey]) -> None:
        """Say in the journal which keys sign that could not be opened when the others were announced."""
        if self._announced is None:
            return
        late = [key for key in keys if key.id not in self._announced]
        if late:
            self._journal.record("signers added", keys=_listed(late))
            self._announced |= {key.id for key in late}

    def _keep_public(self, keys: Sequence[PublicKey]) -> None:
        """Beside the journal, for convenience: a file there that is no key costs the drill nothing."""
        try:
            keep_public(self._directory.path, keys)
        except SigningError as error:
            if not self._said_public:
                self._said_public = True
                what = f"public keys are not kept in the run's directory: {error}"
                self._journal.record("signing failed", error=what)

    def _ask(self, authority: Authority, number: int, path: Path, message: bytes) -> None:
        def work() -> None:
            self._answer(authority, asking, path, message)

        thread = threading.Thread(target=work, name=f"exitdrill-timestamp-{number}", daemon=True)
        asking = _Asking(number, thread)
        self._asking.append(asking)
        thread.start()

    def _answer(self, authority: Authority, asking: _Asking, path: Path, message: bytes) -> None:
        event, facts = _stamped(authority, path, message)
        with suppress(NoSpaceError):  # `wait` says it, on a thread whose errors are heard
            self._settle(asking, event, facts)

    def _settle(self, asking: _Asking, event: str, facts: Mapping[str, Json]) -> None:
        """Say how one question ended, once, and not in a journal that is closed."""
        with self._lock:
            if asking.done or self._ended:
                return
            self._journal.record(event, checkpoint=asking.number, **facts)
            asking.done = True

    def wait(self) -> None:
        """Wait for what the authority was asked, no longer than its limit; what is not answered then is given up."""
        if self._authority is None or not self._asking:
            return
        watch_ns = self._authority.clock.monotonic_ns
        deadline_ns = watch_ns() + int((self._authority.timeout_seconds + _MORE_SECONDS) * 1_000_000_000)
        for asking in self._asking:
            asking.thread.join(max(0.0, (deadline_ns - watch_ns()) / 1_000_000_000))
            if not asking.done:
                self._settle(asking, *_untimed("no answer before the end of the drill"))
        self._asking.clear()

    def close(self, closed: Callable[[], None]) -> int:
        """The last checkpoints: one that is timestamped, and one over what the authority's answers added.

        Args:
            closed: Writes the journal's last event.

        Returns:
            How many keys signed the end of the run.
        """
        closed()
        covered = self.checkpoint(timestamp=True)
        self.wait()
        if covered is None or self._journal.head()[0] != covered.size:
            # A key that failed is asked again; a last word on the timestamp is itself signed.
            self.checkpoint()
        return len(self._signed)

    @property
    def newest(self) -> tuple[Checkpoint | None, tuple[Signer, ...]]:
        """The newest checkpoint that this process made, and the keys that signed when it last asked them."""
        return self._head, self._signed

    def end(self) -> None:
        """From here on nothing is written to the journal."""
        with self._lock:
            self._ended = True


def _listed(keys: Sequence[PublicKey]) -> list[Json]:
    return [{"id": key.id, "kind": key.kind.value} for key in keys]


def _stamped(authority: Authority, path: Path, message: bytes) -> tuple[str, dict[str, Json]]:
    """Ask for a token, keep it beside its checkpoint; the event that says how it went."""
    try:
        token = authority.stamp(message)
        write_atomic(path.with_suffix(".tsr"), token.data)
    except TimestampError as error:
        return _untimed(str(error))
    except (ExitdrillError, OSError) as exc:
        return _untimed(f"the token cannot be kept: {exc}")
    except Exception as exc:  # noqa: BLE001 - on a thread of its own nobody else would say it
        return _untimed(f"unexpected {type(exc).__name__}: {exc}")
    facts: dict[str, Json] = {
        "at_utc": format_utc(token.at),
        "accuracy_seconds": token.accuracy.total_seconds(),
        "token_sha256": sha256(token.data).hexdigest(),
        "verified": token.verified,
    }
    return "timestamped", facts


def _untimed(reason: str) -> tuple[str, dict[str, Json]]:
    return "not timestamped", {"reason": reason}
