"""Signed notes and checkpoints: the forms that C2SP specifies, read strictly, and what others wrote in them."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.errors import EvidenceError, SigningError
from exitdrill.evidence.checkpoint import Checkpoint, origin, parse_checkpoint
from exitdrill.evidence.merkle import EMPTY_ROOT
from exitdrill.evidence.note import Note, key_id, parse_note, sign_note, verify_note
from exitdrill.evidence.publickey import PublicKey
from exitdrill.evidence.signers import Signer, open_pem

# From the documentation of golang.org/x/mod/sumdb/note.
_GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
_GO_NOTE = (
    _GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
_GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
_GO_SKEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
# A tree head of Go's checksum database, and its key as cmd/go has it.
_SUMDB = (
    "go.sum database tree\n15368405\n/g9am3I6YWNKaZX/jkne1fqd9zEyjss+JXyPXG0WfkY=\n\n"
    "— sum.golang.org Az3grqJGUaSGukG9p8nI2vKgiFn7qGHxn0W+mrwyI6Gz3F0t1J3LzmWk/p96Ybf295EjwdSwlzgijq5WA9d1Ded7owM=\n"
)
_SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def _vkey(text: str) -> tuple[str, bytes, PublicKey]:
    name, hint, data = text.split("+", 2)
    return name, bytes.fromhex(hint), PublicKey.of(Ed25519PublicKey.from_public_bytes(b64decode(data)[1:]))


def _signer(private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Signer:
    return open_pem(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "k")


@pytest.fixture(scope="module")
def signers() -> list[Signer]:
    return [
        _signer(Ed25519PrivateKey.generate()),
        _signer(ec.generate_private_key(ec.SECP256R1())),
        _signer(ec.generate_private_key(ec.SECP384R1())),
        _signer(rsa.generate_private_key(65537, 2048)),
    ]


@pytest.mark.parametrize(("note", "vkey"), [(_GO_NOTE, _GO_VKEY), (_SUMDB, _SUMDB_VKEY)])
def test_notes_of_others(note: str, vkey: str) -> None:
    """Published notes verify with their published keys, whose ids are computed as published."""
    name, hint, key = _vkey(vkey)
    assert key_id(name, key) == hint
    parsed = parse_note(note.encode())
    assert verify_note(parsed, name, [key]) == (key,)
    assert parsed.to_bytes() == note.encode()


def test_the_same_note_is_made() -> None:
    """Ed25519 is deterministic: signing the published text with the published key gives the published bytes."""
    signer = _signer(Ed25519PrivateKey.from_private_bytes(b64decode(_GO_SKEY)[1:]))
    note, errors = sign_note(_GO_TEXT, "PeterNeumann", [signer])
    assert (note.to_bytes().decode(), errors) == (_GO_NOTE, [])


def test_a_published_checkpoint() -> None:
    """Go's tree head is a checkpoint."""
    point = parse_checkpoint(parse_note(_SUMDB.encode()).text)
    assert (point.origin, point.size, point.root.hex()[:8]) == ("go.sum database tree", 15368405, "fe0f5a9b")
    assert point.text + "\n" in _SUMDB


def test_every_kind_of_key_signs(signers: list[Signer]) -> None:
    """Each is verified, an ECDSA key's id is that of its SPKI, and too few are too few."""
    note, errors = sign_note("a\n", "x/y", signers)
    assert not errors
    again = parse_note(note.to_bytes())
    keys = [signer.key for signer in signers]
    assert list(verify_note(again, "x/y", keys, 4)) == keys
    assert key_id("x/y", keys[1]) == sha256(keys[1].der).digest()[:4]
    assert len({key_id("x/y", key) for key in keys}) == 4
    with pytest.raises(EvidenceError, match=r"signed by 3 of the known keys.*4"):
        verify_note(Note(again.text, again.signatures[1:]), "x/y", keys, 4)
    with pytest.raises(EvidenceError, match="signed by 0"):
        verify_note(again, "other", keys)
    with pytest.raises(ValueError, match="threshold"):
        verify_note(again, "x/y", keys, 0)


def test_one_key_twice_counts_once(signers: list[Signer]) -> None:
    """Two lines of one key are one signer; an unknown line is passed over; a known one that is bad is not."""
    note, _ = sign_note("a\n", "n", [signers[0], signers[0]])
    with pytest.raises(EvidenceError, match="signed by 1"):
        verify_note(note, "n", [s.key for s in signers], 2)
    stranger, _ = sign_note("a\n", "n", [_signer(Ed25519PrivateKey.generate()), signers[0]])
    assert verify_note(stranger, "n", [signers[0].key]) == (signers[0].key,)
    with pytest.raises(EvidenceError, match="is not good"):
        verify_note(Note("b\n", stranger.signatures), "n", [signers[0].key])


def test_a_signer_that_fails_leaves_the_others(signers: list[Signer]) -> None:
    """What kept a key from signing is returned beside the note of the others."""

    def broken(_message: bytes) -> bytes:
        raise OSError("gone")

    note, errors = sign_note("a\n", "n", [Signer(broken, signers[0].key, "token"), signers[1]])
    assert [type(e) for e in errors] == [SigningError]
    assert verify_note(note, "n", [signers[1].key]) == (signers[1].key,)


_VALUE = _GO_NOTE.split()[-1]
_LINE = f"— a {_VALUE}\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "a\n",
        "a\n\n",
        f"a\n{_LINE}",
        f"\n{_LINE}",
        f"a\n\n{_LINE[:-1]}",
        f"a\n\n{_LINE}\n",
        f"a\n\n{_LINE}x\n",
        f"a\n\n-- a {_VALUE}\n",
        f"a\n\n—a {_VALUE}\n",
        f"a\n\n— {_VALUE}\n",
        f"a\n\n— a+b {_VALUE}\n",
        f"a\n\n— a\u2003b {_VALUE}\n",
        f"a\n\n— a  {_VALUE}\n",
        f"a\n\n— a {_VALUE} \n",
        f"a\r\n\n{_LINE}",
        f"a\x00\n\n{_LINE}",
        f"a\tb\n\n{_LINE}",
        "a\n\n— a AAAA\n",
        "a\n\n— a AAAAAA==\n",
        "a\n\n— a !!!!\n",
        f"a\n\n{_LINE.replace('nAM=', 'nAN=')}",
        f"a\n\n{_LINE * 17}",
        f"{'a' * 70_000}\n\n{_LINE}",
    ],
)
def test_what_is_no_note(note: str) -> None:
    """Anything but text, empty line and signature lines in their one form is refused."""
    with pytest.raises(EvidenceError):
        parse_note(note.encode())


def test_bytes_that_are_no_text() -> None:
    """Not UTF-8, not a note."""
    with pytest.raises(EvidenceError, match="UTF-8"):
        parse_note(b"\xff\n\n" + _LINE.encode())


@pytest.mark.parametrize(("text", "name"), [("a", "n"), ("a\tb\n", "n"), ("a\n", ""), ("a\n", "a b"), ("a\n", "a+b")])
def test_what_cannot_be_signed(text: str, name: str) -> None:
    """A text or name that no parser would take is never signed."""
    with pytest.raises(ValueError, match="note"):
        sign_note(text, name, [])


@given(st.integers(0, 10**18), st.binary(min_size=32, max_size=32), st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True))
def test_checkpoints_read_back(size: int, root: bytes, run_id: str) -> None:
    """What is written is read, and has one form only."""
    point = Checkpoint(origin(run_id), size, root)
    assert parse_checkpoint(point.text) == point
    assert re.fullmatch(r"[^\n]+\n(0|[1-9]\d*)\n[A-Za-z0-9+/]{43}=\n", point.text)


_ROOT = b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"a\n1\n{_ROOT}",
        f"\n1\n{_ROOT}\n",
        f"a\n01\n{_ROOT}\n",
        f"a\n-1\n{_ROOT}\n",
        f"a\n1 \n{_ROOT}\n",
        f"a\n\u0661\n{_ROOT}\n",
        f"a\n{'9' * 30}\n{_ROOT}\n",
        f"a\n1\n{_ROOT}\nextension\n",
        f"a\n1\n{_ROOT}\n\n",
        "a\n1\nAAAA\n",
        f"a\n1\n{_ROOT[:-1]}\n",
        f"a\n1\n{_ROOT[:-2]}V=\n",
        "a\n1\n!\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    """Three lines in their one form, or nothing."""
    with pytest.raises(EvidenceError):
        parse_checkpoint(text)
