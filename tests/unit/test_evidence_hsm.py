"""Keys that are not in a file: on a PKCS#11 token (SoftHSM), in a key service (moto), by securesystemslib's signers."""

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from exitdrill.emulator import Running
from exitdrill.errors import SigningError
from exitdrill.evidence.keys import new_key
from exitdrill.evidence.publickey import KeyKind, PublicKey
from exitdrill.evidence.signers import open_signer
from exitdrill.plan.drill import SigningKey

_LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
_PIN = "471147"
_URI = "hsm:2?label=drill"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublicKey:
    """A token with an ECDSA key on P-256 under id 2; its public half is in ``token.pub``."""
    library = next((path for path in _LIBRARIES if Path(path).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM: apt-get install softhsm2")
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11: make setup")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", library)
    init = ["softhsm2-util", "--init-token", "--free", "--label", "drill", "--so-pin", "0815", "--pin", _PIN]
    subprocess.run(init, check=True, capture_output=True, timeout=60)
    loaded = pkcs11.lib(library)
    loaded.reinitialize()  # one process has one library: another test may have loaded it with another token
    with loaded.get_token(token_label="drill").open(user_pin=_PIN, rw=True) as session:
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, _ = parameters.generate_keypair(mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN, store=True, id=b"\x02")
        key = PublicKey.from_der(pkcs11.util.ec.encode_ec_public_key(public))
    (tmp_path / "token.pub").write_bytes(key.pem)
    return key


def test_a_token_signs(tmp_path: Path, token: PublicKey) -> None:
    """Its signature is good, and the PIN comes from a reference."""
    signer = open_signer(SigningKey(_URI, "token.pub", "${env:HSM_PIN}"), {"HSM_PIN": _PIN}, tmp_path)
    assert signer.key.kind is KeyKind.ECDSA_P256
    token.verify(signer.sign(b"message"), b"message")


def test_what_a_token_refuses(tmp_path: Path, token: PublicKey) -> None:
    """A wrong PIN, a token that is not there, and a public half of another key are errors of ours without the PIN."""
    new_key(tmp_path / "other.pem")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "p256"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["openssl", "pkey", "-in", tmp_path / "p256", "-pubout", "-out", tmp_path / "p256.pub"], check=True)
    environ = {"HSM_PIN": _PIN, "WRONG": "999999"}
    for uri, public, pin, said in (
        (_URI, "token.pub", "${env:WRONG}", "does not sign: PinIncorrect"),
        ("hsm:2?label=none", "token.pub", "${env:HSM_PIN}", "No PKCS#11 token found"),
        ("hsm:7?label=drill", "token.pub", "${env:HSM_PIN}", "could not find ECDSA private key"),
        (_URI, "p256.pub", "${env:HSM_PIN}", "does not verify"),
    ):
        with pytest.raises(SigningError, match=said) as caught:
            open_signer(SigningKey(uri, public, pin), environ, tmp_path).sign(b"message")
        assert _PIN not in str(caught.value)
        assert "999999" not in str(caught.value)
    with pytest.raises(SigningError, match="cannot be opened"):
        open_signer(SigningKey(_URI, "other.pem.pub", "${env:HSM_PIN}"), environ, tmp_path)
    assert os.environ.get("HSM_PIN") is None


def test_a_key_service_signs(tmp_path: Path, moto: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in AWS KMS is asked to sign a digest. moto's KMS hashes that once more: a fault which we find out at once.

    Undone by hand, its signature is good: key, request and answer are as they should be.
    """
    boto3 = pytest.importorskip("boto3", reason="boto3: make setup")
    settings = {name: str(value) for name, value in moto.settings.items()}
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", settings["endpoint"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", settings["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", settings["secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    client = boto3.client("kms")
    made = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    key = PublicKey.from_der(client.get_public_key(KeyId=made)["PublicKey"])
    client.close()
    (tmp_path / "kms.pub").write_bytes(key.pem)
    signer = open_signer(SigningKey(f"awskms:{made}", "kms.pub"), {}, tmp_path)
    key.verify(signer._make(b"message"), sha256(b"message").digest())
    with pytest.raises(SigningError, match="does not verify"):
        signer.sign(b"message")
    with pytest.raises(SigningError, match=r"awskms:00000000"):
        open_signer(SigningKey(f"awskms:{'0' * 8}", "kms.pub"), {}, tmp_path).sign(b"message")
