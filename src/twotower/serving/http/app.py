"""The application: endpoints behind their gate, with what they share."""

import asyncio
import contextlib
import importlib.metadata
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp

from twotower.config.errors import InputError
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.connections import VERSION
from twotower.serving.http.errors import HttpError, error_response, from_details, from_input, without_folders
from twotower.serving.http.gate import VERSION_HEADER, Gate, version_header
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.http.page_routes import add_page
from twotower.serving.http.routes import BATCH_SIZE, add_routes, answer, weight
from twotower.serving.http.security import Hosts, Keys, RateLimit
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.service import LiveService
from twotower.serving.live.store import StoreFailed
from twotower.serving.requests import Request

MOST_WAITING = 2048
WATCH_SECONDS = 2.0


def create_app(
    live: LiveService,
    config: ServiceConfig,
    keys: Keys | None = None,
    hosts: Hosts | None = None,
    bundle_changed: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """Return the service as an ASGI application; its lifespan closes `live`.

    Without keys everybody may do everything; None for `hosts` answers for this machine. `bundle_changed` is
    called at the start, and soon after another bundle is in use.
    """
    metrics, log = Metrics(live), AccessLog(config.console, sys.stdout)
    batcher = Batcher(
        answer,
        name="answer",
        size=BATCH_SIZE,
        most_waiting=MOST_WAITING,
        weight=weight,
        observe=metrics.batch,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await batcher.do([(live.retriever, Request())])  # the first answer is slower than those after it
        await asyncio.to_thread(bundle_changed)
        watch = asyncio.create_task(_watch(live, bundle_changed))
        yield {VERSION: lambda: version_header(live.retriever.version)}
        watch.cancel()
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(live.close)
        await asyncio.to_thread(log.close)

    endpoints = FastAPI(
        title="twotower",
        summary="Recommendations from two towers and an index.",
        version=importlib.metadata.version("twotower"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    direct = add_routes(endpoints, live, batcher, metrics, config.max_batch)
    _add_errors(endpoints, live.root)
    add_page(endpoints, live)
    gate = Gate(
        app=endpoints,
        direct=direct,
        live=live,
        hosts=hosts or Hosts(),
        keys=keys or Keys(),
        rate=RateLimit(config.rate_limit_per_second),
        max_body_bytes=config.max_body_bytes,
        metrics=metrics,
        log=log,
    )
    return _with_origins(gate, config.cors_origins)


def _with_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "DELETE"),
        allow_headers=("Authorization", "Content-Type"),
        expose_headers=(VERSION_HEADER,),
    )


def _add_errors(app: FastAPI, root: Path) -> None:

    async def told(_: HttpRequest, error: Any) -> Response:
        return error_response(_as_http(error, root))

    for kind in (HttpError, InputError, StoreFailed, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, told)


def _as_http(error: Exception, root: Path) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, InputError):
        found = from_input(error)
        found.message = without_folders(found.message, root)
        return found
    if isinstance(error, StoreFailed):
        return HttpError(503, without_folders(str(error), root), headers={"Retry-After": "5"})
    if isinstance(error, RequestValidationError):
        return from_details(error.errors())
    assert isinstance(error, HTTPException)
    return HttpError(error.status_code, str(error.detail), headers=error.headers)


async def _watch(live: LiveService, bundle_changed: Callable[[], None]) -> None:
    known = live.retriever
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        await asyncio.to_thread(live.rebuild_if_needed)
        if live.retriever is not known:
            known = live.retriever
            await asyncio.to_thread(bundle_changed)
