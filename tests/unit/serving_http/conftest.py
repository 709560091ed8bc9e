import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # fake_live

from fake_live import FakeLive

from twotower.serving.http.app import Settings, create_app

Asked = Callable[..., httpx.Response]


@pytest.fixture
def live() -> FakeLive:
    return FakeLive()


@pytest.fixture
def ask(live: FakeLive) -> Callable[..., Asked]:
    """Ask the application in this process: ask(settings)(method, path, **as httpx has it)."""

    def with_settings(**settings: Any) -> Asked:
        def asked(method: str, path: str, **arguments: Any) -> httpx.Response:
            async def call() -> httpx.Response:
                app = create_app(live, Settings(**settings))  # type: ignore[arg-type]
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                    return await client.request(method, path, **arguments)

            return asyncio.run(call())

        return asked

    return with_settings
