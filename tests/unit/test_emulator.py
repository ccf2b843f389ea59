"""Emulators: they start, serve, stop, keep their data, and are never left behind."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from exitdrill.emulator import NAMES, Running, emulator
from exitdrill.emulator.interface import Emulator, Launch, NotYetError
from exitdrill.emulator.moto import Moto
from exitdrill.emulator.ports import free_ports
from exitdrill.emulator.seaweedfs import SeaweedFS
from exitdrill.errors import DefinitionError, NotReadyError

_DATA = b"bytes that must survive"


def _put(running: Running, key: str) -> None:
    if running.name == "azurite":
        with _azure(running.settings) as service:
            container = service.get_container_client("kept")
            if not container.exists():
                container.create_container()
            container.upload_blob(key, _DATA)
    else:
        with _s3(running) as client:
            if not any(bucket["Name"] == "kept" for bucket in client.list_buckets()["Buckets"]):
                client.create_bucket(Bucket="kept")
            client.put_object(Bucket="kept", Key=key, Body=_DATA)


def _get(running: Running, key: str) -> bytes:
    if running.name == "azurite":
        with _azure(running.settings) as service:
            return service.get_blob_client("kept", key).download_blob().readall()
    with _s3(running) as client:
        return bytes(client.get_object(Bucket="kept", Key=key)["Body"].read())


def _azure(known: Mapping[str, str]) -> BlobServiceClient:
    credential = {"account_name": known["account"], "account_key": known["key"]}
    return BlobServiceClient(known["endpoint"], credential=credential, connection_timeout=5, read_timeout=30)


@contextmanager
def _s3(running: Running) -> Iterator["S3Client"]:
    known = running.settings
    client = boto3.client(
        "s3",
        endpoint_url=known["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=known["access_key_id"],
        aws_secret_access_key=known["secret_access_key"],
        config=Config(connect_timeout=5, read_timeout=30),
    )
    try:
        yield client
    finally:
        client.close()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a zombie whose new parent has not reaped it is gone all the same
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _gone(pid: int, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while _exists(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _refused(running: Running) -> bool:
    url = urlsplit(running.settings["endpoint"])
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex((url.hostname, url.port)) != 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("azurite_installed")
def test_serves_stops_and_keeps_its_data(name: str, tmp_path: Path) -> None:
    """What was written is read back; stopping leaves no process and no port; a persistent one remembers."""
    running = emulator(name).start(tmp_path / "with space")
    with running:
        assert running.alive
        assert _exists(running.pid)
        _put(running, "a/b c")
        assert _get(running, "a/b c") == _DATA
    assert not _exists(running.pid)
    assert "stopped" in repr(running)
    assert _refused(running)
    assert running.log.exists()
    running.stop()
    if running.persistent:
        with emulator(name).start(tmp_path / "with space") as again:
            assert _get(again, "a/b c") == _DATA
            _put(again, "written after the restart")
            assert _get(again, "written after the restart") == _DATA


_STARTS_AND_WAITS = """
import json, sys
from pathlib import Path
from exitdrill.emulator import emulator
running = emulator(sys.argv[1]).start(Path(sys.argv[2]))
pids = {"server": running.pid, "supervisor": running._process.pid}
print(json.dumps([pids, dict(running.settings)]), flush=True)
sys.stdin.read()
"""


_Other = tuple["subprocess.Popen[str]", dict[str, int], dict[str, str]]
"""A program, the processes it started, the settings it got."""


@contextmanager
def _other_program(name: str, directory: Path) -> Iterator[_Other]:
    command = [sys.executable, "-c", _STARTS_AND_WAITS, name, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            pids, settings = json.loads(process.stdout.readline())
            yield process, pids, settings
        finally:
            process.kill()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("azurite_installed")
def test_no_orphan_when_the_program_is_killed(name: str, tmp_path: Path) -> None:
    """SIGKILL to the program that started it ends the server and its supervisor within seconds."""
    with _other_program(name, tmp_path) as (process, pids, _):
        assert _exists(pids["server"])
        process.kill()
        process.wait(10)
        assert _gone(pids["server"])
        assert _gone(pids["supervisor"])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("azurite_installed")
def test_no_orphan_when_the_supervisor_is_killed(name: str, tmp_path: Path) -> None:
    """SIGKILL to the supervisor ends the server too, and the program sees that it is not alive."""
    with emulator(name).start(tmp_path) as running:
        running._process.kill()
        assert _gone(running.pid)
        assert not running.alive
    assert not any(Path(path).exists() for path in running._leftovers)


@pytest.mark.usefixtures("azurite_installed")
def test_azurite_loses_nothing_when_the_program_is_killed(tmp_path: Path) -> None:
    """A blob written just before SIGKILL is there when a resumed run starts Azurite again at once."""
    with _other_program("azurite", tmp_path) as (process, _, known):
        with _azure(known) as service:
            service.create_container("kept").upload_blob("last", _DATA)
        process.kill()
        with emulator("azurite").start(tmp_path) as again:
            assert _get(again, "last") == _DATA


def test_ctrl_c_of_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    """The server is in another session than the program."""
    with emulator("moto").start(tmp_path) as running:
        assert os.getsid(running.pid) != os.getsid(0)
        assert os.getpgid(running.pid) == running.pid


class _Impatient(Moto):
    lock_seconds = 1.0


def test_two_at_once_in_two_folders_one_at_a_time_in_one(tmp_path: Path) -> None:
    """Two servers of one kind run side by side; a folder in use is refused by name."""
    with emulator("moto").start(tmp_path / "a") as first, emulator("moto").start(tmp_path / "b") as second:
        assert first.settings["endpoint"] != second.settings["endpoint"]
        _put(first, "only here")
        with pytest.raises(Exception, match="NoSuchBucket"):
            _get(second, "only here")
        with pytest.raises(NotReadyError, match="another moto is at work") as caught:
            _Impatient().start(tmp_path / "a")
        assert str(tmp_path / "a") in str(caught.value)


def _ports_first_taken(taken: int) -> Callable[[int], tuple[int, ...]]:
    answers: list[int] = []

    def ports(count: int) -> tuple[int, ...]:
        fresh = free_ports(count)
        answers.append(count)
        # the last one: SeaweedFS opens it seconds after its start
        return (*fresh[:-1], taken) if len(answers) == 1 else fresh

    return ports


@pytest.mark.parametrize("cls", [Moto, SeaweedFS])
def test_begins_again_when_a_port_was_taken(cls: type[Emulator], tmp_path: Path) -> None:
    """A port that somebody took in between costs one more try, not the drill."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with cls(ports=_ports_first_taken(taken)).start(tmp_path) as running:
            assert urlsplit(running.settings["endpoint"]).port != taken
            _put(running, "x")


@pytest.mark.usefixtures("azurite_installed")
def test_gives_up_when_every_port_is_taken(tmp_path: Path) -> None:
    """After three tries the error names the emulator, quotes its log, says where that is, and exits with 3."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        cls = type(emulator("azurite"))
        with pytest.raises(NotReadyError, match="emulator azurite") as caught:
            cls(ports=lambda count: (taken,) * count).start(tmp_path)
    assert "EADDRINUSE" in str(caught.value)
    assert str(tmp_path / "azurite.log") in str(caught.value)
    assert caught.value.exit_code == 3
    assert (tmp_path / "azurite.log").read_text().count("listen EADDRINUSE") == 3


class _Silent(Emulator):
    """Runs what the test says and never answers."""

    name = "silent"
    persistent = False
    ready_seconds = 0.5
    command: tuple[str, ...] = (sys.executable, "-c", "print('I am up', flush=True); import time; time.sleep(60)")

    def _launch(self, directory: Path, ports: tuple[int, ...]) -> Launch:  # noqa: ARG002 - a hook
        return Launch(self.command, {"key": "very-secret"}, {"SECRET": "very-secret"}, grace_seconds=0.5)

    def _ask(self, settings: object) -> None:  # noqa: ARG002 - a hook
        raise NotYetError("nobody home")


class _Stubborn(_Silent):
    command = (
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('no', flush=True); time.sleep(60)",
    )


class _Missing(_Silent):
    command = ("/nonexistent/server",)


def _unlocked(directory: Path) -> bool:
    """Whether neither server nor supervisor is left: both hold the lock."""
    with (directory / "silent.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("cls", [_Silent, _Stubborn])
def test_a_server_that_never_answers_is_ended_and_named(cls: type[Emulator], tmp_path: Path) -> None:
    """The limit holds even if it ignores SIGTERM; the error quotes the last answer and no secret."""
    with pytest.raises(NotReadyError, match=r"no good answer .* nobody home") as caught:
        cls().start(tmp_path)
    assert "very-secret" not in str(caught.value)
    assert _unlocked(tmp_path)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """What the system said of it is in the error."""
    with pytest.raises(NotReadyError, match="/nonexistent/server"):
        _Missing().start(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the way is no traceback."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotReadyError, match="no folder for moto"):
        emulator("moto").start(tmp_path / "file")


class _Interrupted(_Silent):
    def _ask(self, settings: object) -> None:  # noqa: ARG002 - a hook
        raise KeyboardInterrupt


def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while it starts stops the server before it goes on."""
    with pytest.raises(KeyboardInterrupt):
        _Interrupted().start(tmp_path)
    assert _unlocked(tmp_path)


def test_keys_are_new_each_time_and_not_shown(seaweedfs: Running) -> None:
    """The secret is in no command line and not in the representation."""
    secret = seaweedfs.settings["secret_access_key"]
    assert secret not in repr(seaweedfs)
    assert secret.encode() not in Path(f"/proc/{seaweedfs.pid}/cmdline").read_bytes()


def test_azurite_key_is_in_no_command_line(azurite: Running) -> None:
    """It goes by the environment, which other users cannot read."""
    assert azurite.settings["key"].encode() not in Path(f"/proc/{azurite.pid}/cmdline").read_bytes()


def test_seaweedfs_listens_on_loopback_alone_and_on_named_ports(seaweedfs: Running) -> None:
    """None of the fixed ports it opens by itself (9101, 8181, port + 10000) is open."""
    inodes = set()
    for link in Path(f"/proc/{seaweedfs.pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                address, port = columns[1].split(":")
                assert address == "0100007F"
                listening.add(int(port, 16))
    command = Path(f"/proc/{seaweedfs.pid}/cmdline").read_bytes().split(b"\0")
    named = {int(part.partition(b"=")[2]) for part in command if b".port" in part and not part.endswith(b"=0")}
    assert listening == named
    assert len(named) == 8


def test_an_unknown_emulator_is_named_with_those_there_are() -> None:
    """The error says what a place may say."""
    with pytest.raises(DefinitionError, match=r"'minio'.*azurite, moto, seaweedfs"):
        emulator("minio")


def test_free_ports_differ_and_can_be_bound() -> None:
    """Asked for fifty at once, all are different and free."""
    ports = free_ports(50)
    assert len(set(ports)) == 50
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
