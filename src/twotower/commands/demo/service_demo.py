"""Demo of the service on a trained bundle, with kill -9."""

import json
import os
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twotower.commands.demo.bundle_demo import NEW_ID, NEW_ITEM, fitting_items, fitting_users, title
from twotower.commands.demo.serve_process import SERVE, free_port, wait_until_ready
from twotower.runs.run_files import newest_run
from twotower.serving.live_items import UserId
from twotower.serving.retriever import Retriever

NEAR_ITS_PRICE = {"price": {"min": 1.6, "max": 1.7}}


class Client:
    """A client of one service, which prints its requests.

    Args:
        url: address of the service.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the answer."""
        print(f"  {method} {path}  {json.dumps(body) if body else ''}")
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: dict[str, Any] = json.load(answer)
            return content

    def recommend(self, user: UserId, k: int, where: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the recommendations of a user."""
        body = {"user_id": user, "k": k} | ({"where": where} if where else {})
        items: list[dict[str, Any]] = self.ask("POST", "/recommend", body)["items"]
        return items


@contextmanager
def served(run: Path, store: Path) -> Iterator[Client]:
    """Serve a run until kill -9."""
    port = free_port()
    command = [
        *SERVE,
        f"bundle='{run}'",
        f"port={port}",
        f"store='{store}'",
        "console=quiet",
    ]
    with subprocess.Popen(command) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}")
            yield Client(f"http://127.0.0.1:{port}")
        finally:
            os.kill(process.pid, signal.SIGKILL)


def _show(found: list[dict[str, Any]], most: int = 3) -> None:
    for place, each in enumerate(found[:most], start=1):
        print(f"  {place:>2}  {each['item_id']!s:>8}  {each['score']:6.2f}  {each['label']}")


def _place_of_new(found: list[dict[str, Any]]) -> str:
    ids = [each["item_id"] for each in found]
    return f"place {ids.index(NEW_ID) + 1} of {len(ids):,}" if NEW_ID in ids else f"not among {len(ids):,}"


def day(folder: Path) -> None:
    """Serve the newest finished run in a folder, add an item, kill the service, and repeat the requests."""
    run = newest_run(folder, with_bundle=True)
    retriever = Retriever.open(run / "bundle")
    user = fitting_users(retriever, fitting_items(retriever))[0]
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "live.sqlite"
        title("the service: the user tower, the index, and live changes in a file")
        with served(run, store) as client:
            _show(client.recommend(user, 3))
            title(f"a new item for user {user}, whose history it fits: {NEW_ITEM['description']!r}")
            client.ask("PUT", f"/items/{NEW_ID}", {"features": NEW_ITEM})
            print(f"      it is at {_place_of_new(client.recommend(user, 100))}")
            _show(near := client.recommend(user, 10, NEAR_ITS_PRICE), 10)
            print(f"      of what costs about as much it is at {_place_of_new(near)}")
            client.ask("POST", f"/users/{user}/events", {"item_id": near[0]["item_id"]})
        title("kill -9, and a new start")
        with served(run, store) as client:
            print(f"      it is still there, at {_place_of_new(client.recommend(user, 100))}")
            _show(client.recommend(user, 10, NEAR_ITS_PRICE), 10)
            client.ask("DELETE", f"/items/{NEW_ID}")
            print(f"      and now {_place_of_new(client.recommend(user, 100))}")
    title("next")
    print(f"  serve it, with a page        twotower serve bundle={run}")
    print(f"  look at the run              tensorboard --logdir {folder.parent}")
    print("  change something             twotower train embedding_dim=128 loss.temperature=0.1")
    print(f"  another index, no training   twotower reindex run={run} index=ivf_flat")
    print("  your own data                twotower init log.csv --name shop")
