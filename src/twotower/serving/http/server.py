"""From the settings of scripts/serve.py to a service that runs until it is told to stop."""

import contextlib
import functools
import gc
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from twotower.bundle.export import EXPORTED, exported_beside
from twotower.config.exits import DONE
from twotower.serving.http.app import create_app
from twotower.serving.http.connections import Connections, Limits
from twotower.serving.http.security import Hosts, Keys
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.service import LiveService

STORE = "live.sqlite"
MOST_FILES, OTHER_FILES = 65_536, 256
IDLE_SECONDS, STOP_SECONDS, SWITCH_SECONDS = 30, 20, 0.002


def serve(settings: Mapping[str, Any]) -> int:
    """Serve a bundle until SIGTERM or SIGINT, then finish requests in flight, or raise InputError."""
    config = ServiceConfig.of(settings)
    keys, hosts = Keys.read(config.api_keys_file), Hosts(config.allowed_hosts, config.host)
    # So long the loop may wait for the thread that answers: less than the default of 5 ms, since large
    # answers take their time; a quarter of this cost 8 % of the requests a second at 64 connections.
    sys.setswitchinterval(SWITCH_SECONDS)
    bundle_of = functools.partial(exported_beside, trusted_packages=config.trusted_packages)
    bundle = bundle_of(Path(config.bundle))
    root, store = places(bundle, config.bundles_root, config.store)
    live = LiveService(root, bundle, store, bundle_of, config.trusted_packages)
    with contextlib.closing(live):
        _tell(config, live, bool(keys))
        return _run(config, create_app(live, config, keys, hosts, set_aside))


def places(bundle: Path, bundles_root: str | None, store: str | None) -> tuple[Path, Path | None]:
    """Return the folder of the bundles that may be switched to, and the file of live changes, None for none.

    Unless said, these are the folder of the run's folder (of a bundle in no run, its own), and in its folder.
    """
    home = bundle.parent
    root = home.parent if bundle.name == EXPORTED else home
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


def set_aside() -> None:
    """Keep the collector of garbage from walking over what stays as long as a bundle does.

    It would again and again, stopping everything: p99 at 64 connections was 130 ms and is 35 ms without.
    """
    gc.unfreeze()  # so that the bundle before is collected
    gc.collect()
    gc.freeze()


def _run(config: ServiceConfig, application: Any) -> int:
    limits = connection_limits(most_connections(), config.max_connections_per_client)
    connections = Connections(application, limits)
    of_uvicorn = uvicorn.Config(
        connections,
        host=config.host,
        port=config.port,
        http=connections.protocol,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(of_uvicorn)
    # Also of use when it runs: once it has stopped in good order, it raises the signal that stopped it again.
    signal.signal(signal.SIGTERM, server.handle_exit)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return DONE


def _tell(config: ServiceConfig, live: LiveService, has_keys: bool) -> None:
    url = f"http://{config.host}:{config.port}"
    retriever = live.retriever
    facts = {"url": url, "version": retriever.version, "items": retriever.num_items, "api_keys": has_keys}
    if config.console == "jsonl":
        print(orjson.dumps(facts).decode(), flush=True)
    elif config.console == "rich":
        print(f"{retriever.version}: {retriever.num_items:,} items at {url} (API: {url}/docs)", flush=True)
    if not has_keys and config.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"warning: {url} is open to whoever can reach it; see api_keys_file", file=sys.stderr)
