"""Keys: made once, kept to one person, named by what anybody can compute, and never signing for another."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from exitdrill.cli.main import run
from exitdrill.errors import EvidenceError, SigningError
from exitdrill.evidence import signers
from exitdrill.evidence.keys import machine_key_path, machine_signer, new_key, public_path
from exitdrill.evidence.publickey import KeyKind, PublicKey
from exitdrill.evidence.signers import Signer, open_key, open_pem, open_signer
from exitdrill.plan.drill import SigningKey

_PLAIN = NoEncryption()


def _pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption = _PLAIN) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _file(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


_KINDS = [
    (Ed25519PrivateKey.generate, KeyKind.ED25519),
    (lambda: ec.generate_private_key(ec.SECP256R1()), KeyKind.ECDSA_P256),
    (lambda: ec.generate_private_key(ec.SECP384R1()), KeyKind.ECDSA_P384),
    (lambda: rsa.generate_private_key(65537, 2048), KeyKind.RSA),
]


def test_a_new_key_pair(tmp_path: Path) -> None:
    """The private half is for its owner alone, openssl reads both, and the id is what openssl and sha256sum say."""
    path = tmp_path / "k.pem"
    key = new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert PublicKey.load(public_path(path)) == key
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public_path(path), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert key.id == sha256(der).hexdigest()
    assert key.fingerprint.replace(" ", "") == key.id
    derived = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], capture_output=True, check=True).stdout
    assert derived == key.pem
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.pem", "k.pem.pub"]


@pytest.mark.parametrize("taken", ["k.pem", "k.pem.pub"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    """Where one of the two files is there, neither is written."""
    (tmp_path / taken).write_text("mine")
    with pytest.raises(SigningError, match="is there already"):
        new_key(tmp_path / "k.pem")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(taken, "mine")]


def test_where_no_key_can_be_written(tmp_path: Path) -> None:
    """A folder that is not there is an error of ours."""
    with pytest.raises(SigningError, match="cannot be written"):
        new_key(tmp_path / "none" / "k.pem")


@pytest.mark.parametrize(("make", "kind"), _KINDS)
def test_each_kind_signs_and_is_verified(make: object, kind: KeyKind) -> None:
    """A signature is good for its message and its key, and for no other."""
    private = make()  # type: ignore[operator]
    signer = open_pem(_pem(private), "k")
    assert signer.key.kind is kind
    signature = signer.sign(b"message")
    signer.key.verify(signature, b"message")
    other = open_pem(_pem(make()), "o")  # type: ignore[operator]
    for key, signed, message in (
        (signer.key, signature, b"massage"),
        (signer.key, signature[:-1] + bytes([signature[-1] ^ 1]), b"message"),
        (other.key, signature, b"message"),
        (signer.key, b"", b"message"),
    ):
        with pytest.raises(EvidenceError, match="not good"):
            key.verify(signed, message)


@pytest.mark.parametrize(("make", "kind"), _KINDS)
def test_securesystemslib_signs_the_same(tmp_path: Path, make: object, kind: KeyKind) -> None:
    """Its signer for files reads our files and makes signatures we take, and takes ours."""
    pytest.importorskip("securesystemslib", reason="securesystemslib: make setup")
    from securesystemslib.signer import Signature, SSlibKey
    from securesystemslib.signer import Signer as AnySigner

    path = _file(tmp_path / "k.pem", _pem(make()))  # type: ignore[operator]
    ours = open_key(str(path), tmp_path)
    public = SSlibKey.from_crypto(ours.key.crypto, ours.key.id)
    theirs = AnySigner.from_priv_key_uri(f"file2:{path}", public)
    ours.key.verify(bytes.fromhex(theirs.sign(b"message").signature), b"message")
    public.verify_signature(Signature(ours.key.id, ours.sign(b"message").hex()), b"message")


def test_keys_that_are_not_taken(tmp_path: Path) -> None:
    """Weak or unusual kinds, keys with a passphrase, public ones for private ones and the other way round."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
    odd = dsa.generate_private_key(2048)
    curve = ec.generate_private_key(ec.SECP521R1())
    locked = _pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    for data in (_pem(weak), _pem(odd), _pem(curve), locked, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"):
        with pytest.raises(SigningError):
            open_pem(data, "k")
    public = weak.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data in (public, b"nonsense", b"x" * 20_000):
        with pytest.raises(SigningError):
            PublicKey.load(_file(tmp_path / "p", data))
    with pytest.raises(SigningError, match="a private key where a public one is wanted"):
        PublicKey.load(_file(tmp_path / "q", _pem(Ed25519PrivateKey.generate())))
    with pytest.raises(SigningError, match="cannot be read"):
        PublicKey.load(tmp_path / "none")
    with pytest.raises(SigningError):
        PublicKey.from_der(b"nonsense")


@pytest.mark.parametrize(
    ("mode", "taken"), [(0o600, True), (0o400, True), (0o640, True), (0o644, False), (0o660, False)]
)
def test_a_key_that_others_can_read(tmp_path: Path, mode: int, taken: bool) -> None:
    """A file that everybody reads, or that others change, signs nothing; a group may read (mounted secrets)."""
    path = _file(tmp_path / "k.pem", _pem(Ed25519PrivateKey.generate()), mode)
    if taken:
        assert open_key("k.pem", tmp_path).sign(b"m")
        return
    with pytest.raises(SigningError, match="others may read or change it") as caught:
        open_key(str(path), tmp_path)
    assert "chmod 600" in str(caught.value)


def test_references_of_a_drill(tmp_path: Path) -> None:
    """A key is a path from the drill's folder, a variable with the PEM text, or a file with it; no error shows it."""
    data = _pem(Ed25519PrivateKey.generate())
    path = _file(tmp_path / "k.pem", data)
    public = open_key(str(path), tmp_path).key
    _file(tmp_path / "k.pub", public.pem)
    environ = {"KEY": data.decode(), "PATH_OF_KEY": "k.pem", "BAD": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"}
    for text in ("k.pem", "file:k.pem", f"file2:{path}", "${env:KEY}", "${env:PATH_OF_KEY}", "${file:k.pem}"):
        assert open_signer(SigningKey(text, "k.pub"), environ, tmp_path).key == public, text
    with pytest.raises(SigningError, match="environment variable NONE is not set"):
        open_signer(SigningKey("${env:NONE}"), environ, tmp_path)
    with pytest.raises(SigningError) as caught:
        open_signer(SigningKey("${env:BAD}"), environ, tmp_path)
    assert "c2VjcmV0" not in str(caught.value)
    other = new_key(tmp_path / "other.pem")
    assert other != public
    with pytest.raises(SigningError, match="not the other half"):
        open_signer(SigningKey("k.pem", "other.pem.pub"), environ, tmp_path)


def test_a_key_not_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs is said: its public half, its PIN, the token's library, and which extra to install."""
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    new_key(tmp_path / "k.pem")
    with pytest.raises(SigningError, match="needs its public half"):
        open_signer(SigningKey("awskms:alias/x"), {}, tmp_path)
    with pytest.raises(SigningError, match="needs a PIN"):
        open_signer(SigningKey("hsm:2", "k.pem.pub"), {}, tmp_path)
    with pytest.raises(SigningError, match="PYKCS11LIB"):
        open_signer(SigningKey("hsm:2", "k.pem.pub", "${env:PIN}"), {"PIN": "1234"}, tmp_path)
    with pytest.raises(SigningError, match=r"securesystemslib\[crypto,gcpkms\]"):
        open_signer(SigningKey("gcpkms:projects/x", "k.pem.pub"), {}, tmp_path)
    for module in ("securesystemslib", "securesystemslib.signer", "securesystemslib.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SigningError, match=r"pip install 'exitdrill\[awskms\]'"):
        open_signer(SigningKey("awskms:alias/x", "k.pem.pub"), {}, tmp_path)


def test_a_signer_that_fails_or_lies() -> None:
    """Whatever a token's library raises is an error of ours, and so is a signature that another key made."""
    key = open_pem(_pem(Ed25519PrivateKey.generate()), "k").key
    stranger = open_pem(_pem(Ed25519PrivateKey.generate()), "s")

    def broken(_message: bytes) -> bytes:
        raise KeyError

    with pytest.raises(SigningError, match="does not sign: KeyError"):
        Signer(broken, key, "token").sign(b"m")
    with pytest.raises(SigningError, match="does not verify"):
        Signer(stranger.sign, key, "token").sign(b"m")


def test_the_machines_key_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first need, in a folder for its owner alone; found again afterwards, its public half with it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    first, made = machine_signer()
    path = machine_key_path()
    assert (made, path.parent.parent) == (True, tmp_path / "c")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    public_path(path).unlink()
    again, made = machine_signer()
    assert (made, again.key, PublicKey.load(public_path(path))) == (False, first.key, first.key)


def test_two_processes_make_one_machine_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that need it at once all sign with the same key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    program = (
        "import sys; from exitdrill.evidence.keys import machine_signer; sys.stdin.readline();"
        "signer, made = machine_signer(); print(signer.key.id, made)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert len({key for key, _ in said}) == 1
    assert [made for _, made in said].count("True") == 1
    assert sorted(p.name for p in (tmp_path / "exitdrill").iterdir()) == ["machine.pem", "machine.pem.pub"]


def test_no_room_for_a_machines_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration folder that cannot be made is said, with the way out."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(SigningError, match=r"evidence\.signers"):
        machine_signer()


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`keys new` says what to do with both files, `keys show` what to compare; neither shows the private half."""
    path = tmp_path / "k.pem"
    assert run(["keys", "new", str(path)]) == 0
    said = capsys.readouterr()
    key = PublicKey.load(public_path(path))
    assert said.out.strip() == key.id
    assert "Keep it" in said.err
    assert "Give it to auditors" in said.err
    assert run(["keys", "show", str(public_path(path))]) == 0
    said = capsys.readouterr()
    assert key.id in said.out
    assert key.fingerprint in said.out
    assert run(["keys", "show", str(path)]) == 3
    assert run(["keys", "new", str(path)]) == 3
    said = capsys.readouterr()
    assert path.read_text().splitlines()[1] not in said.err + said.out
    assert run(["keys", "show", str(public_path(path)), "--json"]) == 0
    assert key.id in capsys.readouterr().out


def test_a_service_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a drill its limit once: while it has not answered it is not asked again, and once it has, it is."""
    new_key(tmp_path / "k.pem")
    real = open_key("k.pem", tmp_path)
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME

    answer = threading.Event()
    asked: list[bytes] = []

    class Slow:
        @classmethod
        def from_priv_key_uri(cls, *_arguments: object) -> "Slow":
            return cls()

        def sign(self, message: bytes) -> SimpleNamespace:
            asked.append(message)
            assert answer.wait(20)
            return SimpleNamespace(signature=real.sign(message).hex())

    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "awskms", Slow)
    monkeypatch.setattr(signers, "_LIMIT_SECONDS", 0.2)
    signer = open_signer(SigningKey("awskms:x", "k.pem.pub"), {}, tmp_path)
    for said in ("no answer within 0.2 s", "has not returned yet"):
        with pytest.raises(SigningError, match=said):
            signer.sign(b"one")
    assert asked == [b"one"]
    answer.set()
    for _ in range(100):
        with suppress(SigningError):
            real.key.verify(signer.sign(b"two"), b"two")
            break
        time.sleep(0.05)
    assert asked[-1] == b"two"
