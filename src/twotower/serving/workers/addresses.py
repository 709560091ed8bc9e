"""The port that several processes listen at, each on its own socket; the system hands connections out."""

import socket
import sys
from collections.abc import Sequence
from typing import Any

from twotower.config.errors import InputError

Address = tuple[int, tuple[Any, ...]]
"""Family, and what `bind` takes."""


def reserved(host: str, port: int) -> list[socket.socket]:
    """Return sockets that hold a host's port for those who `bound` shares it with; they do not listen.

    Raises InputError: somebody else has it, or this system shares none.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InputError(
            f"workers: several need SO_REUSEPORT, which {sys.platform} has not; set workers=1, or start "
            "services of one process at several ports"
        )
    found: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            free = (address[0], port or (found[0].getsockname()[1] if found else 0), *address[2:])
            with _new(family) as alone:  # fails where others listen, those that would share it too
                alone.bind(free)
            found.append(_shared((family, free)))
    except OSError as error:
        for each in found:
            each.close()
        raise InputError(f"port: {host}:{port} cannot be listened at ({error}); choose another") from error
    return found


def addresses_of(sockets: Sequence[socket.socket]) -> list[Address]:
    """Return where sockets are bound."""
    return [(int(each.family), each.getsockname()) for each in sockets]


def bound(addresses: Sequence[Address]) -> list[socket.socket]:
    """Return sockets at addresses that somebody reserved."""
    return [_shared(address) for address in addresses]


def _shared(address: Address) -> socket.socket:
    made = _new(address[0])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(tuple(address[1]))
    return made


def _new(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
