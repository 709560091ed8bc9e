"""Who may ask what, and how much: names of the service, keys with a scope, limits on one client."""

import asyncio
import hashlib
import hmac
import ipaddress
import math
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from starlette.types import Receive

from twotower.config.errors import InputError
from twotower.serving.http.http_errors import HttpError

MAX_CLIENTS = 10_000
BODY_SECONDS = 10.0
CLOSE = {"Connection": "close"}
"""The rest of such a body is not read."""


async def read_body(receive: Receive, most_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """Read a body. Raises HttpError: 413 too large, whatever its Content-Length, 408 slow, 400 broken off."""
    try:
        async with asyncio.timeout(seconds):
            body = bytearray()
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HttpError(400, "the client left before its body ended")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most_bytes:
                    raise too_large(most_bytes)
            return bytes(body)
    except TimeoutError as error:
        raise HttpError(408, f"the body took longer than {seconds:g} seconds", headers=CLOSE) from error


def too_large(most_bytes: int) -> HttpError:
    """Return the refusal of a body."""
    return HttpError(413, f"body: expected at most {most_bytes:,} bytes", "body", CLOSE)


class RateLimit:
    """A bucket of tokens for each client: a second's worth at first, refilled steadily; 0 is no limit."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_second, clock
        self._most = max(1.0, per_second)
        self._buckets: OrderedDict[str | bytes, tuple[float, float]] = OrderedDict()

    def take(self, client: str | bytes) -> None:
        """Take a token of a client. Raises HttpError: 429, with the seconds until there is one again."""
        if not self._rate:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = math.ceil((1 - tokens) / self._rate)
            raise HttpError(
                429, f"more than {self._rate:g} requests a second; wait", headers={"Retry-After": str(wait)}
            )


ANY = "*"
LOCAL = "localhost"
MAX_HOSTS = 100
WILDCARDS = frozenset({"0.0.0.0", "::"})
HEADER = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{0,5})?")


class Hosts:
    """Refuses requests in the name of another host.

    Whoever owns a name may have it stand for this machine (DNS rebinding): for the browsers here their page
    is then of the same origin as the service, and may ask and read everything. A browser tells the name in
    `Host`. Addresses stand for nothing but themselves, so they are always answered for, as `localhost` is and
    the host that the service listens on: of all of the machine's, its own name. `*` stands for every name.

    Raises InputError: an allowed name is none.
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
        self._answered: set[bytes] = set()  # headers that were looked at: reading an address takes long

    def check(self, given: list[bytes], http_version: str) -> None:
        """Check the `Host` headers of a request. Raises HttpError: 400 not one to be read, 421 another."""
        if len(given) == 1 and given[0] in self._answered:
            return
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
        if len(self._answered) < MAX_HOSTS:
            self._answered.add(given[0])


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


READ, WRITE = "read", "write"
MIN_LENGTH = 16
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/"})
"""What anybody may get: no user, no item. The page asks for a key itself."""
OPEN_FILES = (".css", ".js", ".svg")
OPEN_FOLDERS = ("/page/", "/docs/")
READING_POSTS = frozenset({"/recommend", "/recommend/batch"})


class Keys:
    """Keys and what each may do; without any, everybody may do everything.

    Only hashes are kept, so a key is in no log, traceback or dump of this object. Lines are `read <key>` or
    `write <key>`; empty ones and those that begin with # count for nothing.

    Raises InputError: names the line that cannot be read, never its key.
    """

    def __init__(self, lines: Iterable[str] = (), source: str = "api_keys_file") -> None:
        self._scopes: dict[bytes, str] = {}
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or words[0] not in (READ, WRITE):
                raise InputError(f"{source}: line {number}: expected `read <key>` or `write <key>`")
            if len(words[1]) < MIN_LENGTH or not words[1].isascii():
                raise InputError(
                    f"{source}: line {number}: a key has {MIN_LENGTH} or more ASCII characters; "
                    "`openssl rand -hex 32` makes one"
                )
            self._scopes[_hash(words[1].encode())] = words[0]

    @classmethod
    def read(cls, path: str) -> "Keys":
        """Read a file of keys; none for an empty name. Raises InputError: it is unreadable or empty."""
        if not path:
            return cls()
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"api_keys_file: {path} cannot be read ({error})") from error
        keys = cls(lines, f"api_keys_file {path}")
        if not keys:
            raise InputError(f"api_keys_file: {path} has no key; write `read <key>` or `write <key>` a line")
        return keys

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def known(self, authorization: bytes | None) -> bytes | None:
        """Return the hash of the key in a header `Authorization: Bearer <key>`; None if it is not known."""
        if authorization is None or not self._scopes:
            return None
        kind, _, key = authorization.partition(b" ")
        given = _hash(key.strip())
        found = None
        for each in self._scopes:  # all of them, so that time tells nothing
            if hmac.compare_digest(each, given):
                found = each
        return found if kind.lower() == b"bearer" else None

    def check(self, method: str, path: str, key: bytes | None) -> None:
        """Raise HttpError: 401 without a known key, 403 where the key may only read and needs to write."""
        if not self._scopes or is_open(method, path):
            return
        if key is None:
            raise HttpError(
                401,
                "Authorization: expected `Bearer <key>` with a key of this service",
                "Authorization",
                {"WWW-Authenticate": "Bearer"},
            )
        if self._scopes[key] == READ and needs_write(method, path):
            raise HttpError(403, "Authorization: this key may only read", "Authorization")


def is_open(method: str, path: str) -> bool:
    """Say whether a request needs no key."""
    is_file = path.startswith(OPEN_FOLDERS) and path.count("/") == 2 and path.endswith(OPEN_FILES)
    return method in ("GET", "HEAD") and (path in OPEN or is_file)


def needs_write(method: str, path: str) -> bool:
    """Say whether a request changes something."""
    return method not in ("GET", "HEAD", "OPTIONS") and path not in READING_POSTS


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
