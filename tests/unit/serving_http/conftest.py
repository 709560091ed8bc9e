import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # app_clients
sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # tiny_bundle

from app_clients import client_of
from fake_live import FakeLive

from twotower.serving.http.api_keys import Keys

Ask = Callable[..., httpx.Response]


@pytest.fixture
def live() -> FakeLive:
    return FakeLive()


@pytest.fixture
def ask(live: FakeLive) -> Callable[..., Ask]:
    """Ask the application in this process: ask(keys, **settings)(method, path, **as httpx has it)."""

    def with_settings(keys: Keys | None = None, **settings: Any) -> Ask:
        def asked(method: str, path: str, **arguments: Any) -> httpx.Response:
            async def call() -> httpx.Response:
                async with client_of(live, keys, **settings) as client:
                    live.retriever.batches.clear()  # of the warm-up
                    return await client.request(method, path, **arguments)

            return asyncio.run(call())

        return asked

    return with_settings
