"""Serve a bundle over HTTP: recommendations, similar items, live items and events.

  twotower serve bundle=latest                                 then see http://127.0.0.1:8080/docs
  twotower serve bundle=outputs/default/<time> port=9000 console=jsonl
  twotower serve bundle=outputs/default/<time> host=0.0.0.0 api_keys_file=keys.txt

Live items and events are kept in <run>/live.sqlite and are there again after any end of the process. SIGTERM
finishes the requests in flight; before there are any, it ends the process at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Serve until a signal stops the process."""
    from twotower.bundle.notices import find_bundle

    # Report a wrong folder before torch is loaded.
    find_bundle(Path(settings["bundle"]), settings["allow_rejected_index"])
    # Read by Faiss and torch when they are loaded, and then by every thread: a later call sets one thread's.
    os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
    if settings["workers"] > 1:
        from twotower.serving.http.workers import serve_by_workers

        return serve_by_workers(settings)
    from twotower.serving.http.server import serve

    return serve(settings)
