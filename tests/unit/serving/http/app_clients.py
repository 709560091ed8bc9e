"""The application in this process, and clients of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
from starlette.types import ASGIApp

from twotower.serving.http.api_keys import Keys
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig

Ask = Callable[..., httpx.Response]


@contextlib.asynccontextmanager
async def app_of(
    live: Any,
    keys: Keys | None = None,
    on_bundle_change: Callable[[], None] = lambda: None,
    **settings: Any,
) -> AsyncIterator[ASGIApp]:
    """The application, whose threads end with it."""
    app = create_app(
        live, ServiceConfig(**{"bundle": "run", "console": "quiet"} | settings), keys, on_bundle_change
    )
    told: asyncio.Queue[Any] = asyncio.Queue()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, told.get, answers.put))
    await told.put({"type": "lifespan.startup"})
    assert await answers.get() == {"type": "lifespan.startup.complete"}
    yield app
    await told.put({"type": "lifespan.shutdown"})
    assert await answers.get() == {"type": "lifespan.shutdown.complete"}
    await lifespan


@contextlib.asynccontextmanager
async def client_of(live: Any, *given: Any, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application in this process; see `app_of`."""
    async with app_of(live, *given, **settings) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@contextlib.contextmanager
def asking(live: Any, *given: Any, **settings: Any) -> Iterator[Ask]:
    """A function that sends requests to the application: asked(method, path, **as httpx has it)."""
    with asyncio.Runner() as runner:
        clients = contextlib.AsyncExitStack()
        client = runner.run(clients.enter_async_context(client_of(live, *given, **settings)))
        yield lambda method, path, **arguments: runner.run(client.request(method, path, **arguments))
        runner.run(clients.aclose())
