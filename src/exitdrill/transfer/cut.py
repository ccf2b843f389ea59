"""The cut: from here on, for this process, the source does not exist.

`make_cut` writes down what is refused. It does so for the run, and with ``overlap`` before that for the workers
that rebuild beside the evacuation (`cut_for`). A worker that comes after it starts with `enforce`: an audit hook
(PEP 578) that sees each name looked up and each connection made through Python's sockets in this process,
refuses those that lead to the source, and counts them. It cannot be taken out again. Its environment lacks
the source's credentials (`scrubbed`). What it does not see: connections that native code makes by itself,
and other programs; the connectors exitdrill ships do neither after the cut. A proxy would hide where a connection
leads, so workers after the cut are told to go to the source's names without one.
"""

import fnmatch
import ipaddress
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exitdrill.connector.provider import Endpoint
from exitdrill.errors import RunError, SeveredError
from exitdrill.transfer.job import Job
from exitdrill.transfer.layout import RunDirectory, write_atomic

__all__ = ["Cut", "Refuser", "cut_for", "load_cut", "make_cut", "probe", "scrubbed"]

_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cut:
    """What is refused since the cut, and what was taken away."""

    severed_utc: str
    severed_elapsed_ns: int
    hosts: tuple[tuple[str, int | None], ...]
    """Names (``*.`` for any below) and addresses, each with a port or None for all."""
    removed_variables: tuple[str, ...]
    probes: tuple[tuple[str, int], ...]
    """Host and port to try as proof of the cut; each answered before it."""
    variable_patterns: tuple[str, ...] = ()
    """What names of the source's variables look like: other machines have variables that the one which conducts,
    and wrote ``removed_variables``, has not."""
    spared_variables: tuple[str, ...] = ()
    """Variables that match and stay, because another place of the drill needs them."""

    def taken(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the variables that an environment must not have after the cut."""
        patterns = (*self.removed_variables, *self.variable_patterns)
        return tuple(name for name in scrubbed(environ, patterns)[1] if name not in self.spared_variables)

    def scrub(self, environ: Mapping[str, str]) -> dict[str, str]:
        """An environment without what the cut takes away."""
        taken = self.taken(environ)
        return {name: value for name, value in environ.items() if name not in taken}

    def refuses(self, host: str, port: int | None) -> bool:
        """Whether a connection there leads to the source. No port: any of them."""
        name = _canonical(host)
        return any(_match(pattern, name) and (port is None or p is None or p == port) for pattern, p in self.hosts)

    def refuses_name(self, host: str, port: int | None = None) -> bool:
        """Whether looking up this name is refused: if all its ports are the source's, or the one it is for is."""
        name = _canonical(host)
        return any(_match(pattern, name) and p in (None, port) for pattern, p in self.hosts)


def _canonical(host: str) -> str:
    """One spelling for a name or address: ``127.1`` and ``::ffff:127.0.0.1`` are ``127.0.0.1``."""
    name = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        with suppress(OSError):  # not an address in any of C's spellings either: a name
            return socket.inet_ntoa(socket.inet_aton(name))
        return name
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _port(port: object) -> int | None:
    text = _text(port)
    return int(text) if text.isdecimal() else None


def _match(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) if pattern.startswith("*.") else name == pattern


def _addresses(endpoint: Endpoint) -> set[str]:
    if endpoint.host.startswith("*."):
        return set()
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        return set()  # a name that does not resolve needs no address refused; the name itself is
    return {str(info[4][0]) for info in found}


def make_cut(
    path: Path,
    endpoints: Iterable[Endpoint],
    removed_variables: Iterable[str],
    keep: Iterable[Endpoint],
    severed_utc: str,
    severed_elapsed_ns: int,
    variable_patterns: Iterable[str] = (),
    spared_variables: Iterable[str] = (),
) -> Cut:
    """Decide what is refused, write it down, and return it.

    Args:
        path: The file to write.
        endpoints: The source's network addresses.
        removed_variables: Names of environment variables to take away.
        keep: The other places' network addresses: an address they share with the source is refused by name
            only, since one front end can serve several accounts.
        severed_utc: Now.
        severed_elapsed_ns: Now, in drill time.
        variable_patterns: What names of the source's variables look like, on any machine.
        spared_variables: Those that match and stay.
    """
    keep = tuple(keep)
    needed = {(_canonical(address), e.port) for e in keep for address in _addresses(e)}
    shared = {e.host for e in keep}
    hosts: set[tuple[str, int | None]] = set()
    probes: set[tuple[str, int]] = set()
    for endpoint in endpoints:
        if endpoint.why != "data" and endpoint.host in shared:
            continue  # one metadata address, 169.254.169.254, serves every provider's machines
        hosts.add((_canonical(endpoint.host), endpoint.port))
        addresses = {_canonical(address) for address in _addresses(endpoint)}
        hosts |= {(a, endpoint.port) for a in addresses if not _shared(a, endpoint.port, needed)}
        if endpoint.why == "data" and addresses:
            probes.add((endpoint.host, endpoint.port or 443))
    cut = Cut(
        severed_utc,
        severed_elapsed_ns,
        tuple(sorted(hosts, key=str)),
        tuple(sorted(removed_variables)),
        tuple(sorted(probes)),
        tuple(sorted(variable_patterns)),
        tuple(sorted(spared_variables)),
    )
    write_atomic(path, json.dumps(asdict(cut), indent=1).encode() + b"\n")
    return cut


def _shared(address: str, port: int | None, needed: Iterable[tuple[str, int | None]]) -> bool:
    return any(a == address and (p is None or port is None or p == port) for a, p in needed)


def load_cut(path: Path) -> Cut | None:
    """The cut of a run, or None if it is not cut yet."""
    if not path.exists():
        return None
    data = json.loads(path.read_bytes())
    return Cut(
        data["severed_utc"],
        data["severed_elapsed_ns"],
        tuple((str(host), port) for host, port in data["hosts"]),
        tuple(data["removed_variables"]),
        tuple((str(host), int(port)) for host, port in data["probes"]),
        tuple(data.get("variable_patterns", ())),
        tuple(data.get("spared_variables", ())),
    )


def cut_for(directory: RunDirectory, job: Job) -> Cut | None:
    """The cut that holds for a job: the run's, and before that its own where it must have one; None for none.

    Raises RunError for a job that must be cut off when nothing says from what.
    """
    cut = load_cut(directory.cut)
    if cut is None and job.cut_early:
        cut = load_cut(directory.early_cut)
        if cut is None:
            raise RunError(f"{job.task} must be cut off from the source, and is not", resource=str(directory.path))
    return cut


def scrubbed(environ: Mapping[str, str], patterns: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """An environment without the variables that match, and the names of those."""
    wanted = tuple(patterns)
    removed = tuple(sorted(name for name in environ if any(fnmatch.fnmatchcase(name, p) for p in wanted)))
    return {name: value for name, value in environ.items() if name not in removed}, removed


class Refuser:
    """Refuses and counts, in this process, from `enforce` on.

    Args:
        cut: What to refuse.
        told: Called with ``host:port`` at each attempt, so that a crash loses none.
    """

    def __init__(self, cut: Cut, told: Callable[[str], None]) -> None:
        """See the class."""
        self._cut, self._told = cut, told
        self.attempts: Counter[str] = Counter()

    def enforce(self) -> None:
        """From now on and for good."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = args[1]
            if isinstance(address, tuple) and len(address) >= 2:  # noqa: PLR2004 - host, port
                host, port = _text(address[0]), _port(address[1])
                if self._cut.refuses(host, port):
                    self._refuse(f"{host}:{port}")
        elif event == "socket.getaddrinfo" and args[0] is not None:
            host, port = _text(args[0]), _port(args[1])
            if self._cut.refuses_name(host, port):
                self._refuse(host if port is None else f"{host}:{port}")
        elif event in ("socket.gethostbyname", "socket.gethostbyaddr") and self._cut.refuses_name(_text(args[0])):
            self._refuse(_text(args[0]))

    def _refuse(self, address: str) -> None:
        self.attempts[address] += 1
        self._told(address)
        raise SeveredError("the source is cut off", resource=address, hint="something still depends on it: find it")


def probe(cut: Cut) -> tuple[str, ...]:
    """Try to reach the source; must fail. Run in a worker after `Refuser.enforce`.

    Returns:
        The addresses that were refused.

    Raises:
        SeveredError: One was reached, or a variable that was to be taken away is still there.
    """
    left = cut.taken(os.environ)
    if left:
        raise SeveredError(f"credentials of the source are still there: {', '.join(left)}")
    for host, port in cut.probes:
        try:
            socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
        except SeveredError:
            continue
        except OSError as exc:
            raise SeveredError(f"not refused by the cut, but unreachable: {exc}", resource=f"{host}:{port}") from exc
        raise SeveredError("reached in spite of the cut", resource=f"{host}:{port}")
    return tuple(f"{host}:{port}" for host, port in cut.probes)
