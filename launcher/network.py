"""Addresses, interfaces and ports of this machine. Standard library, but for the names of interfaces."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Sequence

PORTS = range(20000, 30000)
"""Rendezvous ports: below Linux's ephemeral range."""
STRIDE = 3331
"""From a port that is taken to the next to try: jobs that start together have neighbouring ones, and would meet at the next."""


def resolve(host: str) -> str | None:
    """The first address of a host, IPv4 or IPv6, or None."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None


def gloo_interface(addresses: Sequence[str]) -> str | None:
    """The interface that gloo must be told, or None where it finds one by this host's name.

    Where the name is an alias of loopback (Debian writes `127.0.1.1 NAME` into /etc/hosts) or unknown, gloo would
    offer loopback to the other nodes, which then wait for ever.
    """
    own = resolve(socket.gethostname())
    if own is not None and not _is_loopback(own):
        return None
    target = resolve(addresses[-1])
    if target is None or _is_loopback(target):
        return "lo"
    return _interface_of(_source_address(target))


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _source_address(target: str) -> str:
    """The address of this machine from which `target` is reached; nothing is sent."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])


def _interface_of(address: str) -> str | None:
    import psutil

    for name, found in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address for entry in found):
            return name
    return None


def free_port(preferred: int) -> int:
    """A port of PORTS on which nothing listens here, the first to try made from a job id."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for offset in range(len(PORTS)):
        port = PORTS[(preferred + STRIDE * offset) % len(PORTS)]
        with socket.socket(family) as probe:
            # As the store does: connections that linger in TIME_WAIT are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                probe.listen(1)
                return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop - 1}")
