"""The sockets that a service listens at, taken before it says where it is."""

import errno
import socket
from collections.abc import Callable
from typing import Any

from twotower.config.errors import InputError

Address = tuple[int, tuple[Any, ...]]
"""Family, and what `bind` takes."""


def new_socket(family: int) -> socket.socket:
    """Return a socket of TCP that nothing holds yet."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def bound_alone(address: Address) -> socket.socket:
    """Return a socket at an address that nobody else has."""
    made = new_socket(address[0])
    try:
        made.bind(address[1])
    except OSError:
        made.close()
        raise
    return made


def reserved(
    host: str, port: int, bind: Callable[[Address], socket.socket] = bound_alone
) -> list[socket.socket]:
    """Return sockets that hold a host's port, on each of its addresses; they do not listen yet.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.
        bind: an address -> a socket at it.

    Raises:
        InputError: the host is not of this machine, or somebody else has the port.
    """
    found: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            free = (address[0], port or (found[0].getsockname()[1] if found else 0), *address[2:])
            found.append(bind((family, free)))
    except OSError as error:
        for each in found:
            each.close()
        key, remedy = "port", "choose another"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            key, remedy = "host", "name an address of this machine, or 0.0.0.0 for all that it has"
        raise InputError(f"{key}: {host}:{port} cannot be listened at ({error}); {remedy}") from error
    return found
