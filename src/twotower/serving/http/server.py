"""The application, and from the settings of twotower serve a process that serves it until told to stop."""

import asyncio
import contextlib
import gc
import importlib.metadata
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import enclosing_run
from twotower.bundle.notices import bundle_warnings, known_until
from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.serving.http.access_control import VERSION_HEADER, AccessControl, version_header
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.bundle_finder import bundle_finder
from twotower.serving.http.connections import VERSION, Connections, Limits
from twotower.serving.http.http_errors import HttpError, as_http, error_response
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.http.page_routes import add_page
from twotower.serving.http.recommend_routes import BATCH_SIZE, answer, weight
from twotower.serving.http.routes import TAGS, add_routes
from twotower.serving.http.security import Hosts, Keys, RateLimit
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.http.sockets import reserved
from twotower.serving.live.change_store import STORE, StoreFailed
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request

MOST_WAITING = 2048
WATCH_SECONDS = 2.0


def create_app(
    live: LiveService,
    config: ServiceConfig,
    keys: Keys | None = None,
    hosts: Hosts | None = None,
    bundle_changed: Callable[[], None] = lambda: None,
    metrics: Metrics | None = None,
) -> ASGIApp:
    """Return the service as an ASGI application; its lifespan closes `live`.

    Without keys everybody may do everything; None for `hosts` answers for this machine. `bundle_changed` is
    called at the start, and soon after another bundle is in use.
    """
    metrics, log = metrics or Metrics(live), AccessLog(config.console, sys.stdout)
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
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    direct = add_routes(endpoints, live, batcher, metrics, config.max_batch)
    _add_errors(endpoints, live.root)
    add_page(endpoints, live)
    access_control = AccessControl(
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
    return _with_origins(access_control, config.cors_origins)


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

    async def answer_error(_: HttpRequest, error: Any) -> Response:
        return error_response(as_http(error, root))

    for kind in (HttpError, InputError, StoreFailed, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer_error)


async def _watch(live: LiveService, bundle_changed: Callable[[], None]) -> None:
    known = live.retriever
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        await asyncio.to_thread(live.rebuild_if_needed)
        if live.retriever is not known:
            known = live.retriever
            await asyncio.to_thread(bundle_changed)


MOST_FILES, OTHER_FILES = 65_536, 256
SWITCH_SECONDS = 0.002
UVICORN: dict[str, Any] = {
    "ws": "none",
    "lifespan": "on",
    "log_config": None,
    "log_level": "error",
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": 20,
}


def serve(settings: Mapping[str, Any]) -> int:
    """Serve a bundle until SIGTERM or SIGINT, then finish requests in flight, or raise InputError."""
    config = ServiceConfig.from_settings(settings)
    keys, hosts = Keys.read(config.api_keys_file), Hosts(config.allowed_hosts, config.host)
    # So long the loop may wait for the thread that answers: less than the default of 5 ms, since large
    # answers take their time; a quarter of this cost 8 % of the requests a second at 64 connections.
    sys.setswitchinterval(SWITCH_SECONDS)
    bundle_of = bundle_finder(config)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in reserved(config.host, config.port)]
        bundle = bundle_of(Path(config.bundle))
        root, store = find_paths(bundle, config.bundles_root, config.store)
        live = LiveService(root, bundle, store, bundle_of, config.trusted_packages)
        stack.callback(live.close)
        print_start(config, live, bool(keys))
        return run(config, create_app(live, config, keys, hosts, gc_freeze), sockets)


def find_paths(bundle: Path, bundles_root: str | None, store: str | None) -> tuple[Path, Path | None]:
    """Return the root folder of bundles for `/reload`, and the file of live changes (None = not stored).

    Defaults: the folder that holds the folder of the run (or of a bundle without a run), and a file in the
    folder of the run.
    """
    home = bundle.parent
    root = home.parent if bundle.name == BUNDLE else home
    file = home / STORE if store is None else Path(store)
    return Path(bundles_root or root), None if store == "" else file


def most_connections() -> int:
    """Return how many connections there may be at once, having raised the limit on open files.

    The usual one is 1024; where it is reached, not even a file of a bundle can be opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [MOST_FILES if each == resource.RLIM_INFINITY else each for each in (soft, hard)]
    files = max(limits[0], min(limits[1], MOST_FILES))
    if files > limits[0]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, min(files, MOST_FILES) - OTHER_FILES)


def connection_limits(connections: int, of_one: int | None) -> Limits:
    """Return the limits of so many connections; of one address None is a quarter of all, 0 no limit."""
    return Limits(connections, max(1, connections // 4) if of_one is None else of_one)


def gc_freeze() -> None:
    """Keep the collector of garbage from walking over what stays as long as a bundle does.

    It would again and again, stopping everything: p99 at 64 connections was 130 ms and is 35 ms without.
    """
    gc.unfreeze()  # so that the bundle before is collected
    gc.collect()
    gc.freeze()


def run(config: ServiceConfig, application: Any, sockets: list[socket.socket]) -> int:
    """Serve an application on sockets that are bound; return the exit status."""
    limits = connection_limits(most_connections(), config.max_connections_per_client)
    connections = Connections(application, limits)
    of_uvicorn = uvicorn.Config(connections, http=connections.protocol, **UVICORN)  # type: ignore[arg-type]
    server = uvicorn.Server(of_uvicorn)
    # Also of use when it runs: once it has stopped in good order, it raises the signal that stopped it again.
    signal.signal(signal.SIGTERM, server.handle_exit)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    return DONE


def print_start(config: ServiceConfig, live: LiveService, has_keys: bool) -> None:
    """Print the URL, the bundle and warnings."""
    url = f"http://{config.host}:{config.port}"
    retriever = live.retriever
    bundle = retriever.bundle
    until, warnings = (
        known_until(bundle.manifest),
        bundle_warnings(bundle.manifest, enclosing_run(bundle.folder)),
    )
    facts = {"url": url, "version": retriever.version, "items": retriever.num_items, "api_keys": has_keys}
    if config.console == "jsonl":
        facts |= {"known_until": until, "warnings": warnings}
        print(orjson.dumps(facts).decode(), flush=True)
    elif config.console == "rich":
        print(f"{retriever.version}: {retriever.num_items:,} items at {url} (API: {url}/docs)", flush=True)
        if until:
            print(f"users are known up to {until} UTC", flush=True)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not has_keys and config.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"warning: {url} is open to whoever can reach it; see api_keys_file", file=sys.stderr)
