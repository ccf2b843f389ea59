"""What is particular to a directory: layout, crashes, durability, links, room, permissions."""

import errno
import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.connector.provider import Environment
from exitdrill.errors import (
    ConflictError,
    ConnectorError,
    DigestError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyError,
    UsageError,
)
from exitdrill.model.digests import DigestKind, Digests
from exitdrill.model.objects import Envelope, ObjectEntry, pairs
from exitdrill.testing.conformance import digests_of, put
from exitdrill.testing.keys import keys
from exitdrill.testing.memory import MemorySettings
from exitdrill_local import LocalConnector, LocalProvider, LocalSettings, LocalStore
from exitdrill_local.layout import Sidecar

KEY = "../reports/2024 Q4.pdf"
MIB = 1024 * 1024


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    provider = LocalConnector().open("vault", LocalSettings(path=tmp_path / "vault"))
    provider.ensure_container("case-files")
    return provider


@pytest.fixture
def store(provider: LocalProvider) -> LocalStore:
    store = provider.objects("case-files")
    assert isinstance(store, LocalStore)
    return store


@pytest.fixture
def root(provider: LocalProvider) -> Path:
    return provider.path / hashlib.sha256(b"case-files").hexdigest()


def _files(root: Path, key: str = KEY) -> tuple[Path, Path]:
    """Sidecar and data file of an object, found the way README.txt says."""
    name = hashlib.sha256(key.encode()).hexdigest()
    sidecar = root / name[:2] / f"{name}.json"
    return sidecar, sidecar.parent / json.loads(sidecar.read_bytes())["data"]


def _regular(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def test_the_vault_can_be_read_without_exitdrill(provider: LocalProvider, store: LocalStore, root: Path) -> None:
    """The commands in README.txt find an object by its key, its facts and its bytes."""
    put(store, KEY, b"the bytes", Envelope(content_type="application/pdf", user=(("owner", "records"),)))
    assert json.loads((root / "container.json").read_text())["container"] == "case-files"
    text, packs, _ = (provider.path / "README.txt").read_text().partition("Small objects of a drill")
    assert packs  # the commands for those are tried on a drill's vault
    commands = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    script = "\n".join(line for line in commands if line[:2] in ("c=", "k=", "ca", "sh", "fi", '"$'))
    script = script.replace("reports/2024 Q4.pdf", KEY).replace("sha256sum\n", "sha256sum ")
    done = subprocess.run(["sh", "-euc", script], cwd=provider.path, capture_output=True, text=True, check=True)
    sidecar, digest, listed = done.stdout.splitlines()
    facts = json.loads(sidecar)
    assert facts == json.loads(listed)
    assert (facts["key"], facts["size"], facts["format"]) == (KEY, 9, 1)
    assert facts["sha256"] == hashlib.sha256(b"the bytes").hexdigest() == digest.split()[0]
    assert facts["envelope"] == {"content_type": "application/pdf", "user": {"owner": "records"}}


def test_modes(provider: LocalProvider, store: LocalStore) -> None:
    """Nobody else can read a vault."""
    put(store, KEY, b"x")
    for path in (provider.path, *provider.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_key_leaves_the_vault(provider: LocalProvider, store: LocalStore, tmp_path: Path) -> None:
    """Every file made is under the container, whatever the key."""
    for key in ("../../../escape", "/etc/passwd", "..", "a/../../../../x", "\x00nul"):
        put(store, key, b"x")
        assert store.read(key).read_all() == b"x"
    assert {path.name for path in tmp_path.iterdir()} == {"vault"}
    names = {path.name for path in _regular(provider.path)} - {"README.txt", "container.json"}
    assert all(len(name.split(".")[0]) == 64 for name in names)


def test_an_overwrite_leaves_one_data_file(store: LocalStore, root: Path) -> None:
    """The old bytes go when the new ones count; deleting leaves nothing; nothing stays in tmp."""
    put(store, KEY, b"old")
    put(store, KEY, b"new")
    assert len(list(_regular(root))) == 3
    store.delete(KEY)
    assert [path.name for path in _regular(root)] == ["container.json"]


@pytest.mark.parametrize(
    "damage", ["no data", "short data", "long data", "no sidecar", "half a sidecar", "empty sidecar"]
)
def test_half_an_object_is_not_there(store: LocalStore, root: Path, damage: str) -> None:
    """What a power failure before a flush can leave is not taken for an object, and gives way to a new write."""
    put(store, KEY, b"whole bytes")
    put(store, "neighbour", b"x")
    sidecar, data = _files(root)
    if damage == "no data":
        data.unlink()
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage in ("short data", "long data"):
        data.write_bytes(b"whole" if damage == "short data" else b"whole bytes and more")
    else:
        sidecar.write_bytes(sidecar.read_bytes()[:40] if damage == "half a sidecar" else b"")
    for action in (store.stat, lambda key: store.read(key).read_all()):
        with pytest.raises(NotFoundError):
            action(KEY)
    assert [entry.key for entry in store.list()] == ["neighbour"]
    store.write(WriteRequest(KEY, BytesBody(b"again"), only_if_absent=True))
    assert store.read(KEY).read_all() == b"again"


@pytest.mark.parametrize(
    ("old", "new"), [(b'"size":11', b'"size":"x"'), (b'"format":1', b'"format":2'), (b"reports", b"repprts")]
)
def test_a_damaged_sidecar_is_named(store: LocalStore, root: Path, old: bytes, new: bytes) -> None:
    """A complete sidecar that is not right is an error, never an absence; it can be replaced and deleted."""
    put(store, KEY, b"whole bytes")
    sidecar, data = _files(root)
    sidecar.write_bytes(sidecar.read_bytes().replace(old, new))
    for action in (lambda: store.stat(KEY), lambda: store.read(KEY), lambda: list(store.list())):
        with pytest.raises(DigestError, match=sidecar.name):
            action()
    put(store, KEY, b"replaced")
    assert store.read(KEY).read_all() == b"replaced"
    assert not data.exists()
    sidecar.write_bytes(b"{}\n")
    store.delete(KEY)
    assert [path.name for path in _regular(root)] == ["container.json"]


def test_killed_while_writing(provider: LocalProvider, store: LocalStore, root: Path) -> None:
    """Killed at any moment, a writer leaves whole objects only; what it left in tmp is swept up by the next."""
    program = (
        "import sys, itertools; from pathlib import Path; from exitdrill_local import *;"
        "from exitdrill.connector.objects import *;"
        "store = LocalConnector().open('v', LocalSettings(path=Path(sys.argv[1]))).objects('case-files');"
        "print('ready', flush=True);"
        "[store.write(WriteRequest(f'k{n % 7}', BytesBody(bytes([n % 251]) * 3_000_000))) for n in itertools.count()]"
    )
    for turn in range(4):
        child = subprocess.Popen([sys.executable, "-c", program, str(provider.path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.2 + turn * 0.037)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    listed = list(store.list())
    assert listed
    for entry in listed:
        data = store.read(entry.key, etag=entry.etag).read_all()
        assert len(set(data)) == 1
        assert digests_of(data).sha256 == entry.digests.sha256
    provider.ensure_container("case-files")
    assert list((root / "tmp").iterdir()) == []


def test_flush_makes_files_then_directories_durable(
    provider: LocalProvider, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When flush returns, every file and every directory that changed was synced, files before directories."""
    synced: list[Path] = []
    real = os.fsync

    def recording(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    monkeypatch.setattr(os, "fsync", recording)
    keys = [f"key-{number}" for number in range(40)]
    for key in keys:
        put(store, key, key.encode())
    assert synced == []
    store.flush()
    files = {path.resolve() for key in keys for path in _files(root, key)}
    folders = {path.parent for path in files} | {root.resolve()}
    assert set(synced) == files | folders
    assert min(synced.index(folder) for folder in folders) >= len(files)
    synced.clear()
    store.flush()
    assert synced == []
    store.delete(keys[0])
    store.flush()
    assert [path.parent for path in synced] == [root.resolve()]


def test_a_flush_waits_for_the_one_under_way(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever flushes while another thread does returns only when his files are durable, too."""
    put(store, KEY, b"x")
    begun, go_on, done = Event(), Event(), list[str]()
    real = os.fsync

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(20)
        real(fd)

    def flush() -> None:
        store.flush()
        done.append("flushed")

    monkeypatch.setattr(os, "fsync", slow)
    threads = [Thread(target=flush), Thread(target=flush)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    threads[1].join(0.2)
    assert done == []
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert done == ["flushed", "flushed"]


def test_many_writes_flush_unasked(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered for a flush is bounded, however long nobody asks for one."""
    monkeypatch.setattr(store._durability, "LIMIT", 10)
    for number in range(23):
        put(store, f"key-{number}", b"x")
        assert len(store._durability._files) < 10


def test_what_a_killed_process_wrote_becomes_durable(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes after a process that never flushed syncs the file system once, before relying on what is there."""
    synced: list[int] = []
    monkeypatch.setattr("exitdrill_local.connector.sync_file_system", synced.append)
    assert provider.ensure_container("new")
    assert synced == []
    assert not provider.ensure_container("new")
    assert len(synced) == 1


def test_a_failed_flush_is_never_forgotten(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel reports a lost write once; the vault goes on reporting it."""
    put(store, KEY, b"x")

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "lost")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(ConnectorError, match="Input/output error"):
            store.flush()
    with pytest.raises(ConnectorError, match="Input/output error"):
        store.flush()


def test_links_are_not_followed(store: LocalStore, root: Path, tmp_path: Path) -> None:
    """A symbolic link planted in a vault leads nowhere: not to be read, not to be written through."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"the bytes")
    put(store, KEY, b"the bytes")
    sidecar, data = _files(root)
    data.unlink()
    data.symlink_to(secret)
    with pytest.raises(ConnectorError):
        store.read(KEY).read_all()
    outside = tmp_path / "outside"
    outside.mkdir()
    sidecar.unlink()
    data.unlink()
    sidecar.parent.rmdir()
    sidecar.parent.symlink_to(outside)
    with pytest.raises(ConnectorError):
        put(store, KEY, b"through the link")
    assert list(outside.iterdir()) == []
    assert list((root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EROFS, ReadOnlyError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EIO, ConnectorError),
    ],
)
@pytest.mark.parametrize("call", ["write", "rename", "open"])
def test_what_the_system_refuses(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[ConnectorError], call: str
) -> None:
    """Each refusal is the right error, names the path, leaves no file behind and the old object in place."""
    put(store, KEY, b"old")
    before = sorted(_regular(root))
    real = getattr(os, call)

    def refusing(*args: object, **more: object) -> object:
        if call == "open" and not (isinstance(args[1], int) and args[1] & os.O_CREAT):
            return real(*args, **more)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refusing)
        with pytest.raises(error) as caught:
            put(store, KEY, b"new")
    assert type(caught.value) is error
    assert str(root) in str(caught.value)
    assert sorted(_regular(root)) == before
    assert store.read(KEY).read_all() == b"old"


def test_a_limit_of_the_system_in_the_middle_of_a_write(provider: LocalProvider, root: Path) -> None:
    """A real refusal by the kernel, half-way through the bytes: no space, nothing left, the rest unharmed."""
    program = (
        "import resource, sys; from pathlib import Path; from exitdrill_local import *; from exitdrill.errors import *;"
        "from exitdrill.connector.objects import *; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "store = LocalConnector().open('v', LocalSettings(path=Path(sys.argv[1]))).objects('case-files');\n"
        "store.write(WriteRequest('small', BytesBody(b'x')))\n"
        "try: store.write(WriteRequest('large', BytesBody(bytes(3 << 20))))\n"
        "except NoSpaceError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(provider.path)], capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20
    assert [entry.key for entry in provider.objects("case-files").list()] == ["small"]
    assert len(list(_regular(root))) == 3


def test_descriptors_do_not_leak(store: LocalStore) -> None:
    """Reads left unread, listings left half-way and failures give back what they opened."""
    put(store, KEY, bytes(3 * MIB))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        store.read(KEY).close()
        next(iter(store.list()))
        with pytest.raises(ConnectorError):
            store.read(KEY, etag="other")
        with pytest.raises(ConnectorError):
            store.read("missing")
        with pytest.raises(ConflictError):
            store.write(WriteRequest(KEY, BytesBody(b""), only_if_absent=True))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_body_of_another_size_is_refused(store: LocalStore, root: Path) -> None:
    """A body that gives fewer bytes than it promised leaves nothing."""

    class Short:
        size = 10

        def open(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            yield b"four"[offset:length]

    with pytest.raises(DigestError, match="gave 4 bytes, not the 10"):
        store.write(WriteRequest(KEY, Short()))
    assert [path.name for path in _regular(root)] == ["container.json"]


def test_a_body_that_digests_less_than_is_promised(store: LocalStore) -> None:
    """What is promised and not computed by the body is computed here: it is held against the bytes all the same."""

    class Digesting(BytesBody):
        def digests(self) -> Digests:
            return digests_of(data).only({DigestKind.SHA256})

    data = b"rebuilt"
    promised = digests_of(data).only({DigestKind.SHA256, DigestKind.CRC64NVME, DigestKind.MD5})
    receipt = store.write(WriteRequest(KEY, Digesting(data), digests=promised))
    assert receipt.entry.size == len(data)
    wrong = replace(promised, crc64nvme=bytes(8))
    with pytest.raises(DigestError, match="the bytes do not have the crc64nvme promised"):
        store.write(WriteRequest(KEY, Digesting(data), digests=wrong))


def test_the_place(provider: LocalProvider, tmp_path: Path) -> None:
    """Facts of the place; a home directory is expanded; opening touches nothing; other settings are refused."""
    assert provider.environment is Environment.PRIVATE
    assert provider.endpoints() == ()
    assert provider.server_time() is None
    assert (provider.space().free_bytes or 0) > 0
    unopened = LocalConnector().open("v", LocalSettings(path=Path("~/no-such-folder-of-exitdrill")))
    assert unopened.path == Path.home() / "no-such-folder-of-exitdrill"
    assert not unopened.path.exists()
    assert (unopened.space().total_bytes or 0) > 0
    assert unopened.server_time() is None
    with pytest.raises(UsageError):
        LocalConnector().open("v", MemorySettings())
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(ConnectorError, match="file"):
        LocalConnector().open("v", LocalSettings(path=blocked / "vault")).ensure_container("c")


def test_removing_a_container_takes_left_overs_along(provider: LocalProvider, store: LocalStore, root: Path) -> None:
    """Bytes that nothing names do not keep a container alive; a file that is not ours does."""
    put(store, KEY, b"x")
    sidecar, _ = _files(root)
    sidecar.unlink()
    (root / "mine.txt").write_text("somebody's")
    with pytest.raises(ConnectorError, match="not empty"):
        provider.remove_container("case-files")
    assert (root / "mine.txt").read_text() == "somebody's"
    (root / "mine.txt").unlink()
    provider.remove_container("case-files")
    assert not root.exists()


@given(
    key=keys(),
    size=st.integers(0, 2**60),
    user=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    created=st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_sidecars_round_trip(key: str, size: int, user: dict[str, str], created: datetime | None) -> None:
    """One line of sorted JSON that reads back as it was."""
    envelope = Envelope(content_type="a/b", user=pairs(user), tier="Hot", kind="PageBlob", created=created)
    entry = ObjectEntry(key, size, "e" * 32, None, datetime(2031, 1, 2, tzinfo=UTC), digests_of(b"x"), envelope)
    sidecar = Sidecar(entry, f"{'0' * 64}.{'e' * 32}")
    raw = sidecar.to_bytes()
    assert raw.count(b"\n") == 1
    assert Sidecar.from_bytes(raw) == sidecar


def test_other_json_is_no_sidecar() -> None:
    """Each is a ValueError that says what is wrong."""
    with pytest.raises(ValueError, match="format 1"):
        Sidecar.from_bytes(b"[]\n")
    with pytest.raises(ValueError, match="field missing"):
        Sidecar.from_bytes(b'{"format":1}\n')
    good = Sidecar(ObjectEntry("k", 1, "e", None, datetime(2031, 1, 2, tzinfo=UTC)), f"{'0' * 64}.{'e' * 32}")
    with pytest.raises(ValueError, match="no name of a data file"):
        Sidecar.from_bytes(good.to_bytes().replace(b"0000.eeee", b"/../x"))
