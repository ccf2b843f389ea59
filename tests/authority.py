"""A timestamp authority on loopback: openssl signs what is asked for, a small HTTP server hands it over."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["LocalAuthority", "authority", "certificates", "openssl", "openssl_verifies"]

_CONFIG = """\
[ tsa ]
default_tsa = one
[ one ]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha512
accuracy = secs:1, millisecs:500, microsecs:100
ordering = yes
tsa_name = yes
ess_cert_id_alg = sha256
"""


@dataclass
class LocalAuthority:
    """An authority that answers at ``url``."""

    folder: Path
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    """What it was asked, in order."""
    answer: Callable[["LocalAuthority", bytes], tuple[int, bytes]] = lambda self, query: (200, self.sign(query))
    """What it answers: status and body. A test may put another in its place."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def root(self) -> Path:
        """The certificate its tokens lead to."""
        return self.folder / "ca.pem"

    def sign(self, query: bytes) -> bytes:
        """A token from openssl."""
        with self.lock:
            (self.folder / "query").write_bytes(query)
            openssl("ts", "-reply", "-config", self.folder / "tsa.cnf", "-queryfile", self.folder / "query",
                    "-out", self.folder / "reply")  # fmt: skip
            return (self.folder / "reply").read_bytes()


def openssl(*arguments: object) -> bytes:
    """What openssl prints."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    return done.stdout


def openssl_verifies(token: Path, data: Path, root: Path) -> bool:
    """Whether openssl takes a token for a timestamp of that file."""
    words = ["openssl", "ts", "-verify", "-data", str(data), "-in", str(token), "-CAfile", str(root)]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    return done.returncode == 0 and b"Verification: OK" in done.stdout


def certificates(folder: Path, usage: str = "critical,timeStamping") -> None:
    """A root, and an authority's certificate under it."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=Root of tests")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr",
            "-subj", "/CN=Authority of tests")  # fmt: skip
    (folder / "extensions").write_text(f"extendedKeyUsage={usage}\nkeyUsage=critical,digitalSignature\n")
    openssl("x509", "-req", "-in", folder / "tsa.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-days", "30", "-extfile", folder / "extensions",
            "-out", folder / "tsa.pem")  # fmt: skip
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))


@contextmanager
def authority(folder: Path) -> Iterator[LocalAuthority]:
    """An authority that runs while the context lasts; its certificates are made in a folder unless they are there."""
    if not (folder / "tsa.pem").exists():
        certificates(folder)
    made = LocalAuthority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.append(query)
            status, body = made.answer(made, query)
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nothing: the test says what it wants to know."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that has had enough closes."""

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/tsa"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
