"""Limits on what one client may do to the others: size and duration of a body, requests a second."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Receive

from twotower.serving.http.errors import HttpError

MAX_CLIENTS = 10_000
BODY_SECONDS = 10.0
CLOSE = {"Connection": "close"}
"""The rest of such a body is not read."""


async def read_body(receive: Receive, most_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """Read a whole body.

    Args:
        most_bytes: refused while it arrives, whatever its Content-Length says.

    Raises:
        HttpError: 413 too large, 408 too slow, 400 the client left.
    """
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
    """A bucket of tokens for each client: a second's worth at first, refilled steadily.

    Args:
        per_second: requests; 0 for no limit.
    """

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
