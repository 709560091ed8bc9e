"""The port that several processes listen at, each on its own socket; the system hands connections out."""

import socket
import sys
from collections.abc import Sequence

from twotower.config.errors import InputError
from twotower.serving.http.sockets import Address, bound_alone, new_socket, reserved


def shared_by_many(host: str, port: int) -> list[socket.socket]:
    """Return sockets that hold a host's port for those who `bound` shares it with; they do not listen.

    Raises InputError: see `reserved`, or this system shares none.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InputError(
            f"workers: several need SO_REUSEPORT, which {sys.platform} has not; set workers=1, or start "
            "services of one process at several ports"
        )
    return reserved(host, port, _free_and_shared)


def addresses_of(sockets: Sequence[socket.socket]) -> list[Address]:
    """Return where sockets are bound."""
    return [(int(each.family), each.getsockname()) for each in sockets]


def bound(addresses: Sequence[Address]) -> list[socket.socket]:
    """Return sockets at addresses that somebody reserved."""
    return [_shared(address) for address in addresses]


def _free_and_shared(address: Address) -> socket.socket:
    with bound_alone(address):  # fails where others listen, those that would share it too
        pass
    return _shared(address)


def _shared(address: Address) -> socket.socket:
    made = new_socket(address[0])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(tuple(address[1]))
    return made
