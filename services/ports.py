"""Ports on the loopback interface: finding free ones, and one clear sentence about a taken one."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence

import psutil

LOOPBACK = "127.0.0.1"
# Linux takes the ports of outgoing connections from 32768 up; the largest offset of a group stays below that.
GROUP_RANGE = range(10240, 22000)


class PortTaken(RuntimeError):
    """A server's port belongs to another process."""


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def free_group(offsets: Sequence[int]) -> int:
    """A port p, chosen at random, for which p + offset is free for each of `offsets`.

    Raises:
        PortTaken: none was found in a thousand tries.
    """
    for _ in range(1000):
        port = random.choice(GROUP_RANGE)
        if all(is_free(port + offset) for offset in offsets):
            return port
    raise PortTaken(f"no group of {len(offsets)} free ports in {GROUP_RANGE}; stop some servers of this machine")


def require_free(ports: Mapping[str, int], setting: str) -> None:
    """Make sure that every one of `ports` (what for → number) is free.

    Raises:
        PortTaken: naming each taken port, who holds it where that can be known, and the `setting` that changes it.
    """
    holders: dict[str, list[str]] = {}
    for purpose, port in ports.items():
        if not is_free(port):
            holders.setdefault(_holder(port), []).append(f"{port} ({purpose})")
    if holders:
        taken = "; ".join(f"port {', '.join(named)} is taken by {holder}" for holder, named in holders.items())
        raise PortTaken(f"{taken}; stop it or change {setting}")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "a process that cannot be seen from here"
