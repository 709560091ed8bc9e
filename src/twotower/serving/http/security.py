"""Who may ask what: keys with a scope, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from twotower.config.errors import InputError
from twotower.serving.http.errors import HttpError

READ, WRITE = "read", "write"
MIN_LENGTH = 16
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/"})
"""What anybody may get: no user, no item. The page asks for a key itself."""
OPEN_FILES = (".css", ".js", ".svg")
OPEN_FOLDERS = ("/page/", "/docs/")
READING_POSTS = frozenset({"/recommend", "/recommend/batch"})


class Keys:
    """Keys and what each may do; without any, everybody may do everything.

    Only hashes are kept, so a key is in no log, traceback or dump of this object.

    Args:
        lines: `read <key>` or `write <key>`; empty ones and those that begin with # count for nothing.

    Raises:
        InputError: names the line that cannot be read, never its key.
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
        """Read a file of keys; none for an empty name.

        Raises:
            InputError: it cannot be read, or holds no key.
        """
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
        """Check that a request may be made with a known key, or with none.

        Raises:
            HttpError: 401 without a known key, 403 where the key may only read.
        """
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
