"""The application, and from the settings of twotower serve a process that serves it until told to stop."""

import asyncio
import contextlib
import gc
import importlib.metadata
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
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
from twotower.serving.http.answers import VERSION_HEADER
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.bundle_finder import bundle_finder
from twotower.serving.http.http_errors import HttpError, as_http, error_response
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.http.middleware import JsonBodies, Observed, TrustedHosts
from twotower.serving.http.page_routes import add_page
from twotower.serving.http.recommend_routes import BATCH_SIZE, answer_batch
from twotower.serving.http.routes import TAGS, add_routes
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.change_store import STORE, StoreFailed
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request

MAX_WAITING = 2048
WATCH_SECONDS = 2.0
SWITCH_SECONDS = 0.002
WILDCARDS = ("0.0.0.0", "::")


def create_app(
    live: LiveService,
    config: ServiceConfig,
    keys: Keys | None = None,
    on_bundle_change: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """Return the service as an ASGI application, whose lifespan closes `live`.

    Without keys everything is allowed. `on_bundle_change` is called at the start, and soon after another
    bundle is in use.
    """
    keys = keys or Keys()
    metrics, log = Metrics(live), AccessLog(config.console, sys.stdout)
    batcher = Batcher(answer_batch, BATCH_SIZE, MAX_WAITING, metrics.batch)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await batcher.do([(live.retriever, Request())])  # the first answer is slower than later ones
        await asyncio.to_thread(on_bundle_change)
        watch = asyncio.create_task(_watch(live, on_bundle_change))
        yield
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
    direct = add_routes(endpoints, live, batcher, metrics, config.max_batch, keys)
    _add_errors(endpoints, live.root)
    add_page(endpoints, live, keys)
    app: ASGIApp = JsonBodies(endpoints, config.max_body_bytes, keys, direct, live.root)
    if config.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=config.cors_origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=(VERSION_HEADER,),
        )
    own_name = socket.gethostname() if config.host in WILDCARDS else config.host
    app = TrustedHosts(app, ["localhost", own_name, *config.allowed_hosts], www_redirect=False)
    return Observed(app, live, metrics, log, direct)


def _add_errors(app: FastAPI, root: Path) -> None:
    async def answer_error(_: HttpRequest, error: Any) -> Response:
        return error_response(as_http(error, root))

    for kind in (HttpError, InputError, StoreFailed, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)


async def _watch(live: LiveService, on_bundle_change: Callable[[], None]) -> None:
    known = live.retriever
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        await asyncio.to_thread(live.rebuild_if_needed)
        if live.retriever is not known:
            known = live.retriever
            await asyncio.to_thread(on_bundle_change)


def serve(settings: Mapping[str, Any]) -> int:
    """Serve a bundle until SIGTERM or SIGINT, then finish requests in flight; or raise InputError."""
    config = ServiceConfig.from_settings(settings)
    keys = Keys.read(config.api_keys_file)
    # The event loop waits at most this long for the thread that answers; large answers take longer than the
    # default of 5 ms allows.
    sys.setswitchinterval(SWITCH_SECONDS)
    find_bundle = bundle_finder(config)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind(config.host, config.port)]
        bundle = find_bundle(Path(config.bundle))
        root, store = find_paths(bundle, config.bundles_root, config.store)
        live = LiveService(root, bundle, store, find_bundle, config.trusted_packages)
        stack.callback(live.close)
        print_start(config, live, bool(keys))
        server = uvicorn.Server(
            uvicorn.Config(create_app(live, config, keys, gc_freeze), **uvicorn_options(config))
        )
        # uvicorn raises the signal that stopped it again at its end, which then has no effect.
        signal.signal(signal.SIGTERM, server.handle_exit)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=sockets)
    return DONE


def uvicorn_options(config: ServiceConfig) -> dict[str, Any]:
    """Return the settings of uvicorn for one process, or each of several."""
    return {
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "limit_concurrency": config.max_connections,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": 20,
    }


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to a port on each address of a host; they do not listen yet.

    Raises:
        InputError: the host is not of this machine, or the port is in use.
    """
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(address)
    except OSError as error:
        for each in sockets:
            each.close()
        raise InputError(
            f"host, port: {host}:{port} cannot be bound ({error}); choose a free port, and an address of "
            "this machine, or 0.0.0.0 for all of them"
        ) from error
    return sockets


def find_paths(bundle: Path, bundles_root: str | None, store: str | None) -> tuple[Path, Path | None]:
    """Return the root folder of bundles for `/reload`, and the file of live changes (None = not stored).

    Defaults: the folder that holds the folder of the run (or of a bundle without a run), and a file in the
    folder of the run.
    """
    home = bundle.parent
    root = home.parent if bundle.name == BUNDLE else home
    file = home / STORE if store is None else Path(store)
    return Path(bundles_root or root), None if store == "" else file


def gc_freeze() -> None:
    """Keep the collector of garbage from walking over what stays as long as a bundle does.

    It would again and again, stopping everything: p99 at 64 connections was 130 ms and is 35 ms without.
    """
    gc.unfreeze()  # so that the bundle before is collected
    gc.collect()
    gc.freeze()


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
