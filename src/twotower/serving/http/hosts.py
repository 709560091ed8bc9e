"""Which names the service answers for."""

import ipaddress
import re
import socket
from collections.abc import Iterable

from twotower.config.errors import InputError
from twotower.serving.http.errors import HttpError

ANY = "*"
LOCAL = "localhost"
WILDCARDS = frozenset({"0.0.0.0", "::"})
HEADER = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{0,5})?")


class Hosts:
    """Refuses requests in the name of another host.

    Whoever owns a name may have it stand for this machine (DNS rebinding): for the browsers here their page
    is then of the same origin as the service, and may ask and read everything. A browser tells the name in
    `Host`. Addresses stand for nothing but themselves, so they are always answered for.

    Args:
        allowed: names beside `localhost` and what the service is bound to; `*` for every name.
        bound: the host that it listens on; where that is all of the machine's, the machine's own name counts.

    Raises:
        InputError: one of them is no name.
    """

    def __init__(self, allowed: Iterable[str] = (), bound: str = LOCAL) -> None:
        names = [*allowed]
        for name in names:
            found = HEADER.fullmatch(name)
            if name != ANY and (found is None or found["name"] != name):
                raise InputError(
                    f"allowed_hosts: {name!r:.100} is no name of a host; expected such as shop.example, "
                    "without http:// and without a port, or * for every name"
                )
        own = socket.gethostname() if bound in WILDCARDS else bound
        self._names = frozenset(_plain(name) for name in (LOCAL, own, *names))

    def check(self, given: list[bytes], http_version: str) -> None:
        """Check the `Host` headers of a request.

        Raises:
            HttpError: 400 where there is not exactly one that can be read, 421 where it names another host.
        """
        if not given and http_version == "1.0":  # which knows no Host; browsers do not speak it
            return
        found = HEADER.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
        if found is None:
            raise HttpError(400, "Host: expected one name or address of this service", "Host")
        name = _plain(found["name"])
        if not (name in self._names or ANY in self._names or _is_address(name)):
            raise HttpError(
                421, f"Host: this service does not answer for {name[:100]}; see allowed_hosts", "Host"
            )


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
