"""API keys and what each of them may do."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from twotower.config.errors import InputError
from twotower.serving.http.http_errors import HttpError

READ, WRITE = "read", "write"
MIN_LENGTH = 16
READING_POSTS = frozenset({"/recommend", "/recommend/batch"})
BEARER = HTTPBearer(auto_error=False)


class Keys:
    """Keys with a scope, read or write; without any key, everything is allowed.

    Only hashes are stored, so that no log or traceback contains a key. Lines are `read <key>` or
    `write <key>`; empty lines and comments (#) are skipped.

    Raises:
        InputError: a line is wrong; the message does not contain the key.
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
            self._scopes[_hash(words[1])] = words[0]

    @classmethod
    def read(cls, path: str) -> "Keys":
        """Read a file of keys; an empty path means no keys. Raises InputError: unreadable, or no key."""
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

    async def check(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
    ) -> None:
        """Raise HttpError: 401 without a known key, 403 if a key for reading is used to write."""
        if not self._scopes:
            return
        # The time of a look-up by hash reveals nothing about the keys.
        scope = None if credentials is None else self._scopes.get(_hash(credentials.credentials))
        if scope is None:
            raise HttpError(
                401,
                "Authorization: expected `Bearer <key>` with a key of this service",
                "Authorization",
                {"WWW-Authenticate": "Bearer"},
            )
        method, path = request.method, request.scope["path"]
        if scope == READ and method not in ("GET", "OPTIONS") and path not in READING_POSTS:
            raise HttpError(403, "Authorization: this key may only read", "Authorization")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
