"""The application of the service, and the process that serves it."""

import asyncio
import contextlib
import gc
import importlib.metadata
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
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
from twotower.bundle.notices import bundle_warnings, find_bundle, known_until
from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.header_limit import LimitedHeaders
from twotower.serving.http.http_errors import HttpError, as_http, error_response
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.http.middleware import VERSION_HEADER, JsonBodies, Observed, TrustedHosts
from twotower.serving.http.page_routes import add_page
from twotower.serving.http.routes import BATCH_SIZE, TAGS, add_routes, answer_batch
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
    add_page(endpoints, live, keys)

    async def answer_error(_: HttpRequest, error: Any) -> Response:
        return error_response(as_http(error, live.root))

    for kind in (HttpError, InputError, StoreFailed, RequestValidationError, HTTPException, Exception):
        endpoints.add_exception_handler(kind, answer_error)
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
    app = TrustedHosts(
        app, [name.lower() for name in ("localhost", own_name, *config.allowed_hosts)], www_redirect=False
    )
    return Observed(app, live, metrics, log, direct)


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
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(bind(config.host, config.port))
        config = config.model_copy(update={"port": bound.getsockname()[1]})
        bundle = find_bundle(Path(config.bundle), config.allow_rejected_index)
        live = open_service(config, bundle, *find_paths(bundle, config.bundles_root, config.store))
        stack.callback(live.close)
        print_start(config, live, bool(keys))
        server = uvicorn.Server(
            uvicorn.Config(create_app(live, config, keys, gc_freeze), **uvicorn_options(config))
        )
        # uvicorn raises the signal that stopped it again at its end, which then has no effect.
        signal.signal(signal.SIGTERM, server.handle_exit)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[bound])
    return DONE


def open_service(
    config: ServiceConfig, bundle: Path, root: Path, store: Path | None, is_shared: bool = False
) -> LiveService:
    """Open a bundle and its live changes in this process; see `LiveService`."""
    # The event loop waits at most this long for the thread that answers; large answers take longer than the
    # default of 5 ms allows.
    sys.setswitchinterval(SWITCH_SECONDS)
    if not root.is_dir():
        raise InputError(f"bundles_root={root}: there is no such folder")
    find = partial(find_bundle, allow_rejected_index=config.allow_rejected_index)
    return LiveService(root, bundle, store, find, config.trusted_packages, is_shared)


def uvicorn_options(config: ServiceConfig) -> dict[str, Any]:
    """Return the settings of uvicorn for one process, or each of several."""
    return {
        "http": LimitedHeaders,
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


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; it does not listen yet.

    Raises:
        InputError: the host is not of this machine, or the port is in use.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(
            f"host, port: {host}:{port} cannot be bound ({error}); choose a free port, and an address of "
            "this machine, or 0.0.0.0 for all of them"
        ) from error
    return bound


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
    """Exclude all current objects from garbage collection, which would pause requests to traverse them."""
    gc.unfreeze()  # so that the previous bundle is collected
    gc.collect()
    gc.freeze()


def print_start(config: ServiceConfig, live: LiveService, has_keys: bool) -> None:
    """Print the URL, the bundle and warnings."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    url, retriever = f"http://{host}:{config.port}", live.retriever
    bundle = retriever.bundle
    until = known_until(bundle.manifest)
    warnings = bundle_warnings(bundle.manifest, enclosing_run(bundle.folder))
    if config.console == "jsonl":
        fields = {"url": url, "version": retriever.version, "items": retriever.num_items}
        fields |= {"api_keys": has_keys, "known_until": until, "warnings": warnings}
        print(orjson.dumps(fields).decode(), flush=True)
    elif config.console == "full":
        print(f"{retriever.version}: {retriever.num_items:,} items at {url} (API: {url}/docs)", flush=True)
        if until:
            print(f"users are known up to {until} UTC", flush=True)
    if not has_keys and config.host not in ("127.0.0.1", "localhost", "::1"):
        warnings = [*warnings, f"{url} is open to all clients that can reach it; see api_keys_file"]
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
