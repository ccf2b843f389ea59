"""What a machine of a cluster sees: looked at from there, for preflight.

The functions run on a Dask worker, in its own process, before the cut. They answer with words and never raise: each
answer maps what was looked at to what is wrong with it, empty where nothing is. `exitdrill.playbook.cluster` asks.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from exitdrill import plan as plans
from exitdrill.errors import ExitdrillError
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.layout import RunDirectory, write_atomic
from exitdrill.transfer.places import Places

__all__ = ["FILE", "LOCK", "FolderProbe", "look_before", "look_closely", "read_from_vault"]

FILE, LOCK = "hello", "lock"
_ROLES = ("source", "vault", "target")

Plan = Mapping[str, object]


class FolderProbe:
    """A folder in which machines leave files for one another.

    Args:
        folder: It; made by who conducts.
    """

    def __init__(self, folder: Path) -> None:
        """See the class."""
        self.folder = folder

    def look_before(self) -> str:
        """Look for what is not there yet, so that a cache that keeps such answers is found out."""
        if not self.folder.is_dir():
            return f"does not see {self.folder}"
        return f"sees {FILE} before it is there" if self.folder.joinpath(FILE).exists() else ""

    def look_closely(self, word: str, answer: str) -> str:
        """Read what was written meanwhile, try its lock, give a file a second name, and leave an answer."""
        try:
            if self.folder.joinpath(FILE).read_text(encoding="utf-8") != word:
                return "reads something else than was written"
            with self.folder.joinpath(LOCK).open("r+b") as file:
                if _lockable(file.fileno()):
                    return "gets a lock that another machine holds: mount it with locks"
            write_atomic(self.folder / f"{answer}.0", word.encode())
            os.link(self.folder / f"{answer}.0", self.folder / answer)
        except FileNotFoundError:
            return "does not see what another machine just wrote: mount it with lookupcache=none,actimeo=0, or so"
        except OSError as exc:
            return f"cannot write, link and lock there: {exc.strerror}"
        return ""


def _lockable(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.lockf(fd, fcntl.LOCK_UN)
    return True


def look_before(folder: str) -> dict[str, str]:
    """The first look at the run's folder."""
    return _answers({"runs folder": lambda: FolderProbe(Path(folder)).look_before()})


def look_closely(folder: str, word: str, answer: str, data: Plan, directory: str, base: str) -> dict[str, str]:
    """The second look at the run's folder, and one at every place and at the claims.

    Args:
        folder: Of the probe.
        word: What the conductor has written there meanwhile.
        answer: The name of the file to leave.
        data: The plan as JSON; its secrets are references, resolved here.
        directory: The run's.
        base: Where relative paths of the drill start.
    """
    plan = plans.from_json(data)
    places = Places(plan, Path(base))

    def reach(role: str) -> str:
        with places.open(role) as provider:
            provider.server_time()
        return ""

    def claims() -> str:
        with claim_table(plan, RunDirectory(Path(directory)), os.environ, Path(base), patience_seconds=0) as table:
            table.stopped("", "", "")
        return ""

    looks: dict[str, Callable[[], str]] = {
        "runs folder": lambda: FolderProbe(Path(folder)).look_closely(word, answer),
        "claims": claims,
    }
    for role in _ROLES:
        looks[role] = lambda role=role: reach(role)  # type: ignore[misc]  # bound at once
    return _answers(looks)


def read_from_vault(data: Plan, base: str, container: str, key: str, word: bytes) -> dict[str, str]:
    """Whether this machine reads from the vault what another wrote into it."""

    def read() -> str:
        with ExitStack() as stack:
            vault = stack.enter_context(Places(plans.from_json(data), Path(base)).open("vault"))
            store = stack.enter_context(vault.objects(container))
            with store.read(key) as stream:
                return "" if stream.read_all() == word else "reads other bytes than another machine wrote"

    return _answers({"vault": read})


def _answers(looks: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    found = {}
    for what, look in looks.items():
        try:
            found[what] = look()
        except ExitdrillError as error:
            found[what] = str(error)
        except Exception as exc:  # noqa: BLE001 - a machine's border: what is wrong there is told in words
            found[what] = f"{type(exc).__name__}: {exc}"
    return {"host": socket.gethostname(), **found}
