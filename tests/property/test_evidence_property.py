"""What an attacker may hand over: each parser of the evidence takes it or refuses it, and ends in no other way."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from authority import authority
from exitdrill.clock import SystemClock
from exitdrill.errors import EvidenceError, SigningError, TimestampError
from exitdrill.evidence import dsse
from exitdrill.evidence.checkpoint import Checkpoint, origin, parse_checkpoint
from exitdrill.evidence.note import parse_note, sign_note, verify_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer, open_pem
from exitdrill.evidence.timestamps import Authority, Token, load_roots, read_token

_MESSAGE = b"a checkpoint"


def _signer() -> Signer:
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return open_pem(data, "k")


_SIGNER = _signer()
_NOTE = sign_note(Checkpoint(origin("r"), 5, bytes(32)).text, origin("r"), [_SIGNER])[0].to_bytes()
_ENVELOPE = dsse.sign("t/x", b"payload", [_SIGNER])


@st.composite
def _changed(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with a piece replaced, removed or put in."""
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(st.binary(max_size=40)) + data[stop:]


@given(st.one_of(st.binary(max_size=300), _changed(_NOTE)))
def test_notes(data: bytes) -> None:
    """A note has one form; a changed one is refused, by its form or by its signature."""
    try:
        note = parse_note(data)
        assert note.to_bytes() == data
        parse_checkpoint(note.text)
        verify_note(note, origin("r"), [_SIGNER.key])
    except EvidenceError:
        assert data != _NOTE
    else:
        assert note.text == parse_note(_NOTE).text


@given(
    st.one_of(
        st.binary(max_size=300), _changed(_ENVELOPE), st.from_type(dict[str, str]).map(lambda d: json.dumps(d).encode())
    )
)
def test_envelopes(data: bytes) -> None:
    """Whatever is taken says what was signed."""
    try:
        found = dsse.verify(data, [_SIGNER.key], 1, "t/x")
    except EvidenceError:
        assert data != _ENVELOPE
    else:
        assert found.payload == b"payload"


@given(st.one_of(st.binary(max_size=300), _changed(_SIGNER.key.pem)))
def test_public_keys(data: bytes) -> None:
    """A public key, or an error of ours; another key has another id."""
    try:
        key = PublicKey.from_pem(data)
    except SigningError:
        return
    assert (key.id == _SIGNER.key.id) == (key.der == _SIGNER.key.der)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Token, Path]:
    with authority(tmp_path_factory.mktemp("authority")) as local:
        made = Authority(local.url, 10, SystemClock(), load_roots(local.root)).stamp(_MESSAGE)
        return made, local.root


@settings(max_examples=300)
@given(data=st.data())
def test_tokens(token: tuple[Token, Path], data: st.DataObject) -> None:
    """A changed token is refused, or says the same time as before."""
    made, root = token
    changed = data.draw(st.one_of(st.binary(max_size=300), _changed(made.data)))
    try:
        found = read_token(changed, _MESSAGE, load_roots(root))
    except TimestampError:
        assert changed != made.data
    else:
        assert (found.at, found.accuracy) == (made.at, made.accuracy)
