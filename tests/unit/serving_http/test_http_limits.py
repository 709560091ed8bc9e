"""The limit on bodies."""

from collections.abc import AsyncIterator, Callable

import pytest
from app_clients import Ask

JSON = {"Content-Type": "application/json"}


def test_a_body_is_refused_while_it_arrives(ask: Callable[..., Ask]) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    asked = ask(max_body_bytes=1000)
    answer = asked("POST", "/recommend", content=endless(), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert sent <= 1200


@pytest.mark.parametrize("path", ["/recommend", "/reload"])
def test_the_length_of_a_body_is_limited(ask: Callable[..., Ask], path: str) -> None:
    asked = ask(max_body_bytes=1000)
    for length in ("1001", "9" * 40):
        answer = asked("POST", path, content=b"{}", headers=JSON | {"Content-Length": length})
        assert answer.status_code == 413
    content = b'{"k":1}' if path == "/recommend" else b'{"bundle":"run-2"}'
    assert asked("POST", path, content=content.ljust(1000), headers=JSON).status_code == 200
    assert asked("POST", path, content=content.ljust(1001), headers=JSON).status_code == 413
