"""Demo of a trained bundle and of its service: a known user, a new user, a new item, `kill -9`."""

import contextlib
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twotower.serving.live_items import Recommendation, UserId
from twotower.serving.retriever import Retriever

NEW_ID = "NEW-1"
DESCRIPTION = "LUNCH BAG PINK RETROSPOT"
NEW_ITEM = {"description": DESCRIPTION, "price": 1.65}
READY_SECONDS = 600.0


def show_bundle(retriever: Retriever) -> UserId:
    """Print recommendations for a known and a new user, and of a new item; return a user whom it suits."""
    known = [each for each in retriever.user_ids if len(retriever.history(each)) >= 5]
    user = random.Random(0).choice(known)
    print(f"\n--- a known user, drawn at random: {user}, whose latest items are")
    _print_items(retriever, retriever.history(user)[-5:])
    print("  is recommended (score, the dot product of two embeddings)")
    _print_ranking(retriever.recommend(user, k=5))

    words = {
        item: set(re.findall("[A-Z]{3,}", (retriever.label(item) or "").upper()))
        for item in retriever.item_ids
    }
    basket = [item for item in retriever.item_ids if {"CHRISTMAS", "DECORATION"} <= words[item]][:3]
    print("\n--- a brand-new user from Germany, with these items in the basket")
    _print_items(retriever, basket)
    print("  is recommended")
    _print_ranking(retriever.recommend_new({"country": "Germany"}, basket, k=5))
    print("\n--- items similar to the first of them")
    _print_ranking(retriever.similar(basket[0], k=5))

    suitable = {item for item, found in words.items() if len(found & set(DESCRIPTION.split())) >= 2}

    def share(user: UserId) -> tuple[float, int]:
        history = retriever.history(user)
        number = len(suitable.intersection(history))
        return (number / len(history), number) if number >= 3 else (0.0, 0)

    user = max(sorted(retriever.user_ids, key=str), key=share)
    print(f"\n--- a brand-new item: {DESCRIPTION!r} at {NEW_ITEM['price']}, never sold to anybody")
    print(f"  shown to user {user}, who of all users has the largest share of items with two of its words:")
    _print_items(retriever, [item for item in retriever.history(user) if item in suitable][-5:])
    print(f"  before it is added  {_rank(retriever.recommend(user, retriever.num_items))}")
    retriever.add_item(NEW_ID, NEW_ITEM)
    print(f"  once it is added    {_rank(retriever.recommend(user, retriever.num_items))}")
    _print_ranking(retriever.recommend(user, k=5))
    retriever.remove_item(NEW_ID)
    return user


def show_service(run: Path, user: UserId) -> None:
    """Serve a run, add an item and an event, kill the service, start it again, and repeat the request."""
    body = {"user_id": user, "k": 100}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "live.sqlite"
        print("\n--- the service: the user tower, the index, and live changes in a file")
        with _served(run, store) as url:
            _print_ranking(_request(url, "POST", "/recommend", {"user_id": user, "k": 3}))
            _request(url, "PUT", f"/items/{NEW_ID}", {"features": NEW_ITEM})
            found = _request(url, "POST", "/recommend", body)
            print(f"      the new item: {_rank(found)}")
            _request(url, "POST", f"/users/{user}/events", {"item_id": found[0].item_id})
        print("\n--- kill -9, and a new start")
        with _served(run, store) as url:
            print(f"      it is still there: {_rank(_request(url, 'POST', '/recommend', body))}")


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until a service answers. Raises SystemExit: it ended, or did not answer in time."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the service ended with {process.returncode}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/readyz", timeout=5)
            return
        time.sleep(0.1)
    raise SystemExit(f"the service was not ready within {READY_SECONDS:g} seconds")


@contextlib.contextmanager
def _served(run: Path, store: Path) -> Iterator[str]:
    """Serve a run until kill -9; yield the address."""
    port = free_port()
    settings = [f"bundle='{run}'", f"port={port}", f"store='{store}'", "console=quiet"]
    with subprocess.Popen([sys.executable, "-m", "twotower", "serve", *settings]) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _request(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> list[Recommendation]:
    """Print and send a request; return the recommended items of the answer."""
    text = json.dumps(body) if body else ""
    print(f"  {method} {path}  {text}")
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}{path}", text.encode() or None, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [Recommendation(**item) for item in json.load(answer).get("items", ())]


def _rank(ranking: Sequence[Recommendation]) -> str:
    ids = [each.item_id for each in ranking]
    return f"rank {ids.index(NEW_ID) + 1} of {len(ids):,}" if NEW_ID in ids else "not found"


def _print_items(retriever: Retriever, items: Iterable[int | str]) -> None:
    for item in items:
        print(f"    {item!s:>8}  {retriever.label(item)}")


def _print_ranking(ranking: Sequence[Recommendation]) -> None:
    for rank, each in enumerate(ranking, start=1):
        print(f"  {rank:>2}  {each.item_id!s:>8}  {each.score:6.2f}  {each.label}")
