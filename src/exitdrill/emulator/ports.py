"""Free ports on the loopback interface.

A port is free when it was asked for, not when it is used: whoever starts a server on it must be ready to try
others. To make that rare, ports come from below the range the kernel hands out to outgoing connections; a
busy client would otherwise take them within seconds.
"""

import secrets
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

__all__ = ["HOST", "free_ports", "is_taken"]

HOST = "127.0.0.1"
_LOWEST = 12_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES_A_PORT = 200


def free_ports(count: int) -> tuple[int, ...]:
    """That many different TCP ports that nobody on this machine listens on now.

    Raises:
        OSError: The kernel has no port left.
    """
    first_ephemeral = _first_ephemeral()
    with ExitStack() as held:
        return tuple(_hold(held, first_ephemeral) for _ in range(count))


def is_taken(ports: Iterable[int]) -> bool:
    """Whether somebody listens on one of them."""
    with ExitStack() as held:
        for port in ports:
            sock = held.enter_context(socket.socket())
            # without this, connections that were closed a moment ago would count
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((HOST, port))
            except OSError:
                return True
    return False


def _hold(held: ExitStack, first_ephemeral: int) -> int:
    for _ in range(_TRIES_A_PORT if first_ephemeral > _LOWEST + 1000 else 0):
        sock = held.enter_context(socket.socket())
        port = _LOWEST + secrets.randbelow(first_ephemeral - _LOWEST)
        try:
            sock.bind((HOST, port))
        except OSError:
            continue
        return port
    sock = held.enter_context(socket.socket())
    sock.bind((HOST, 0))
    return int(sock.getsockname()[1])


def _first_ephemeral() -> int:
    """Where outgoing connections' ports begin; Linux says so, others begin at 49152 (RFC 6335)."""
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 49_152
