"""Several processes that serve one bundle on one port; uvicorn starts them, and again if one of them ends."""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import orjson
import uvicorn
from starlette.types import ASGIApp

from twotower.bundle.notices import find_bundle
from twotower.config.errors import InputError
from twotower.config.exits import DONE, when_parent_ends
from twotower.config.working_folder import import_from_working_folder
from twotower.serving.http import server
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.metrics import MULTIPROCESS_FOLDER
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.change_store import STORE, ChangeStore, lock_store

SETTINGS = "TWOTOWER_SERVE"
"""Environment variable of a worker: JSON of the settings, with the paths that all workers share."""
HEALTHCHECK_SECONDS = 60
STOP_SECONDS = 2


def serve_by_workers(settings: Mapping[str, Any]) -> int:
    """Serve with several processes until SIGTERM or SIGINT; return the exit status, or raise InputError.

    All workers follow the store of live changes, and each of them writes to it.
    """
    config = ServiceConfig.from_settings(settings)
    Keys.read(config.api_keys_file)
    with server.bind(config.host, config.port) as bound:
        port = bound.getsockname()[1]
    bundle = find_bundle(Path(config.bundle), config.allow_rejected_index)
    root, store = server.find_paths(bundle, config.bundles_root, config.store)
    with tempfile.TemporaryDirectory(prefix="twotower-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        store = store or folder / STORE
        with contextlib.closing(ChangeStore(store)) as opened, opened.transaction():
            opened.use_bundle(None)  # of an earlier service
        stack.enter_context(lock_store(store, is_shared=True))
        shared = {"bundle": str(bundle), "bundles_root": str(root), "store": str(store), "port": port}
        environment = {SETTINGS: orjson.dumps({**settings, **shared}).decode(), MULTIPROCESS_FOLDER: name}
        os.environ.update(environment)
        stack.callback(lambda: [os.environ.pop(variable) for variable in environment])
        uvicorn.run(
            f"{__name__}:create_worker_app",
            factory=True,
            host=config.host,
            port=port,
            workers=config.workers,
            timeout_worker_healthcheck=HEALTHCHECK_SECONDS,
            **server.uvicorn_options(config),
        )
        failure = folder / "failure"
        if failure.exists():
            raise InputError(failure.read_text(encoding="utf-8"))
    return DONE


def create_worker_app() -> ASGIApp:
    """Return the application of one worker."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until uvicorn handles it
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    import_from_working_folder()
    config = ServiceConfig.from_settings(orjson.loads(os.environ[SETTINGS]))
    keys = Keys.read(config.api_keys_file)
    assert config.bundles_root is not None
    root, bundle, store = map(Path, (config.bundles_root, config.bundle, str(config.store)))
    folder = Path(os.environ[MULTIPROCESS_FOLDER])
    try:
        live = server.open_service(config, bundle, root, store, is_shared=True)
    except InputError as error:
        (folder / "failure").write_text(str(error), encoding="utf-8")
        _stop_service()
    with contextlib.suppress(FileExistsError):
        (folder / "started").touch(exist_ok=False)  # by the first worker only
        server.print_start(config, live, bool(keys))
    return server.create_app(live, config, keys, server.gc_freeze)


def _stop_service() -> NoReturn:
    """Tell uvicorn to stop all workers; exit when it has had time to stop this one.

    A worker that exits at once may leave uvicorn waiting `HEALTHCHECK_SECONDS` for its answer. A worker that
    only waits may wait forever: uvicorn sends SIGTERM once, perhaps while this worker was still importing.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)
