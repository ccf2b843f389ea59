"""Timestamps: tokens of a real authority (openssl), checked by us and by openssl; answers that are none; bounds."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authority import LocalAuthority, authority, certificates, openssl, openssl_verifies
from exitdrill.clock import SystemClock
from exitdrill.errors import TimestampError
from exitdrill.evidence.timestamps import Authority, Bounds, Token, bounds, load_roots, read_token

_MESSAGE = b"a checkpoint"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    certificates(folder)
    return folder


@pytest.fixture
def local(certified: Path) -> Iterator[LocalAuthority]:
    with authority(certified) as made:
        yield made


def _ask(local: LocalAuthority, *, roots: bool = True, timeout_seconds: float = 10) -> Token:
    trusted = load_roots(local.root) if roots else ()
    return Authority(local.url, timeout_seconds, SystemClock(), trusted).stamp(_MESSAGE)


def test_a_token(tmp_path: Path, local: LocalAuthority) -> None:
    """It is of now, verified against the root, and openssl takes it for the same bytes and no others."""
    token = _ask(local)
    assert abs(token.at - datetime.now(UTC)) < timedelta(seconds=60)
    assert (token.accuracy, token.verified) == (timedelta(seconds=1, milliseconds=500, microseconds=100), True)
    for name, data in (("t.tsr", token.data), ("m", _MESSAGE), ("other", b"another")):
        (tmp_path / name).write_bytes(data)
    assert openssl_verifies(tmp_path / "t.tsr", tmp_path / "m", local.root)
    assert not openssl_verifies(tmp_path / "t.tsr", tmp_path / "other", local.root)
    assert read_token(token.data, _MESSAGE, load_roots(local.root)) == token
    with pytest.raises(TimestampError, match="other bytes"):
        read_token(token.data, b"another", ())


def test_without_a_root_it_is_not_verified(local: LocalAuthority) -> None:
    """It is kept, and said to be so."""
    assert not _ask(local, roots=False).verified


def test_a_root_of_somebody_else(tmp_path: Path, local: LocalAuthority) -> None:
    """A token that leads to another root is refused."""
    certificates(tmp_path)
    token = _ask(local)
    with pytest.raises(TimestampError, match="does not verify"):
        read_token(token.data, _MESSAGE, load_roots(tmp_path / "ca.pem"))


def _signed_by(folder: Path, usage: str, local: LocalAuthority) -> bytes:
    """An authority's statement of time, by a key whose certificate has another use, and is older than that time."""
    certificates(folder, usage)
    token = _ask(local)
    (folder / "good.tsr").write_bytes(token.data)
    openssl("ts", "-reply", "-in", folder / "good.tsr", "-token_out", "-out", folder / "good.der")
    openssl("cms", "-verify", "-noverify", "-inform", "DER", "-in", folder / "good.der", "-out", folder / "info.der")
    openssl("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-econtent_type", "1.2.840.113549.1.9.16.1.4",
            "-in", folder / "info.der", "-signer", folder / "tsa.pem", "-inkey", folder / "tsa.key",
            "-out", folder / "forged.der")  # fmt: skip
    inner = bytes.fromhex("3003020100") + (folder / "forged.der").read_bytes()
    return b"\x30\x82" + len(inner).to_bytes(2, "big") + inner


@pytest.mark.parametrize(
    ("usage", "said"),
    [("critical,timeStamping", ""), ("critical,serverAuth", "does not verify"), ("timeStamping", "does not verify")],
)
def test_a_certificate_for_something_else(tmp_path: Path, local: LocalAuthority, usage: str, said: str) -> None:
    """A key whose certificate is not for timestamps alone vouches for no time, though its root is trusted."""
    forged = _signed_by(tmp_path, usage, local)
    roots = load_roots(tmp_path / "ca.pem")
    if not said:  # the way of making it is good: with the right use it is taken
        assert read_token(forged, _MESSAGE, roots).verified
        return
    with pytest.raises(TimestampError, match=said):
        read_token(forged, _MESSAGE, roots)


def test_each_changed_byte_of_a_token(local: LocalAuthority) -> None:
    """Each 7th byte flipped: the token is refused, or says the same time as before."""
    token, roots = _ask(local), load_roots(local.root)
    refused = 0
    for place in range(0, len(token.data), 7):
        changed = bytearray(token.data)
        changed[place] ^= 0xFF
        try:
            found = read_token(bytes(changed), _MESSAGE, roots)
        except TimestampError:
            refused += 1
        else:
            assert (found.at, found.accuracy) == (token.at, token.accuracy)
    assert refused > len(token.data) // 7 * 0.8


def _old(local: LocalAuthority, _query: bytes) -> tuple[int, bytes]:
    return 200, local.sign(local.asked[0])


def _slow(_local: LocalAuthority, _query: bytes) -> tuple[int, bytes]:
    time.sleep(3)
    return 200, b""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _local, _query: (503, b"later"), "answers 503"),
        (lambda _local, _query: (200, b""), "not a timestamp response"),
        (lambda _local, _query: (200, b"<html>"), "not a timestamp response"),
        (lambda _local, _query: (200, b"x" * 70_000), "more than 65536 bytes"),
        (lambda local, query: (200, local.sign(query)[:-40]), "not a timestamp response"),
        # status 2, rejection, with a text
        (lambda _local, _query: (200, bytes.fromhex("300d300b02010230060c0462757379")), "no token was granted: busy"),
        (_old, "another nonce"),
        (_slow, "does not answer"),
    ],
)
def test_answers_that_are_no_tokens(
    local: LocalAuthority, answer: Callable[[LocalAuthority, bytes], tuple[int, bytes]], said: str
) -> None:
    """Errors, noise, floods, refusals, answers to another question and silence are told apart."""
    _ask(local)
    local.answer = answer
    with pytest.raises(TimestampError, match=said):
        _ask(local, timeout_seconds=1)


def test_nobody_is_there() -> None:
    """A closed port is an error at once."""
    with pytest.raises(TimestampError, match="does not answer"):
        Authority("http://127.0.0.1:9/", 1, SystemClock()).stamp(_MESSAGE)


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", "takes longer than 1 s"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", "no answer within 3 s"),
    ],
)
def test_a_trickle_is_cut_off(begins: bytes, said: str) -> None:
    """An authority that sends a byte now and then does not hold the thread for longer than about its limit."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(begins)
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(TimestampError, match=said):
            Authority(f"http://127.0.0.1:{listener.getsockname()[1]}/", 1, SystemClock()).stamp(_MESSAGE)
    finally:
        stop.set()
        thread.join()
        listener.close()
    assert time.monotonic() - began < 10


def test_roots_that_are_none(tmp_path: Path) -> None:
    """A file that is not there, or has no certificate in it."""
    with pytest.raises(TimestampError, match="cannot be read"):
        load_roots(tmp_path / "none")
    (tmp_path / "r").write_text("nothing")
    with pytest.raises(TimestampError, match="no certificates"):
        load_roots(tmp_path / "r")


def _token(second: float, off: float) -> Token:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return Token(b"", at, timedelta(seconds=off), verified=True)


def test_bounds() -> None:
    """The time between two tokens, give or take both accuracies; a claim outside it is not allowed."""
    found = bounds(_token(10, 1), _token(110, 0.5))
    assert found == Bounds(timedelta(seconds=98.5), timedelta(seconds=101.5))
    slack = timedelta(seconds=2)
    assert found.allows(timedelta(seconds=100), slack)
    assert not found.allows(timedelta(seconds=96), slack)
    assert not found.allows(timedelta(seconds=104), slack)
    assert bounds(_token(10, 1), _token(9, 1)).at_least == timedelta(0)
    with pytest.raises(TimestampError, match="older"):
        bounds(_token(10, 1), _token(7, 1))
