"""Does a service that switches between two bundles under load ever fail, or mix them in one answer?

Both runs lie in one folder. Clients recommend one by one and in batches, ask for similar items, put items and
send events, while POST /reload switches every so many answers. Every answer must succeed, and its
header, its body, its ids and its scores must belong to one version, whose answers were computed before
without a service.
"""

import asyncio
import collections
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from forks import serving

from twotower.bundle.manifest import bundle_in
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

NUM_USERS, K, WORKERS, TOLERANCE = 200, 10, 8, 1e-4
NEW = "swap-test"
Scores = dict[Any, float]


@dataclass
class Outcome:
    """What was seen."""

    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    swaps: list[float] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


def expected_of(run: Path, users: Sequence[Any]) -> tuple[str, dict[Any, Scores]]:
    """Return a run's version, and the scores of all items for some users."""
    retriever = Retriever.open(bundle_in(run))
    requests = [Request(user_id=user, k=retriever.num_items) for user in users]
    found = {}
    for user, result in zip(users, retriever.answer(requests), strict=True):
        assert isinstance(result, list)
        found[user] = {each.item_id: each.score for each in result}
    return retriever.version, found


def mismatch(answer: httpx.Response, lists: Sequence[tuple[Any, Any]], expected: dict[str, Any]) -> str:
    """Say what is wrong with the items of some users in one answer; nothing where all is right."""
    version = answer.json()["version"]
    if answer.headers["x-bundle-version"] != version or version not in expected:
        return f"header {answer.headers['x-bundle-version']}, body {version}"
    for user, items in lists:
        scores = expected[version][user]
        known = [each for each in items if NEW not in str(each["item_id"])]
        if any(abs(scores[each["item_id"]] - each["score"]) > TOLERANCE for each in known):
            return f"scores of {user} are not of {version}: {items}"
        best = sorted(scores.values(), reverse=True)[: len(known)]
        told = [each["score"] for each in known]
        if len(items) != K or any(abs(a - b) > TOLERANCE for a, b in zip(best, told, strict=True)):
            return f"items of {user} are not the best of {version}"
    return ""


async def ask(client: httpx.AsyncClient, expected: dict[str, Any], rng: random.Random, seen: Outcome) -> None:
    """Send one request of a random kind and judge its answer."""
    users = list(next(iter(expected.values())))
    user, other = rng.choice(users), rng.choice(users)
    kind = rng.choices(("one", "batch", "similar", "event", "put"), (70, 10, 10, 5, 5))[0]
    item = next(iter(next(iter(expected.values()))[user]))
    body: dict[str, Any] = {"user_id": user, "k": K}
    if kind == "one":
        answer = await client.post("/recommend", json=body)
    elif kind == "batch":
        answer = await client.post("/recommend/batch", json={"requests": [body, {"user_id": other, "k": K}]})
    elif kind == "similar":
        answer = await client.get(f"/items/{item}/similar")
    elif kind == "event":  # of a user whose recommendations are not looked at
        stranger = f"{NEW}-user" if isinstance(user, str) else 2**40
        answer = await client.post(f"/users/{stranger}/events", json={"item_id": item})
    else:
        new = f"{NEW}-{rng.randrange(20)}" if isinstance(item, str) else 2**40
        answer = await client.put(f"/items/{new}", json={"features": {}})
    seen.kinds[kind] += 1
    if answer.status_code != 200:
        seen.mistakes.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        return
    content = answer.json()
    lists = [(user, content["items"])] if kind == "one" else []
    if kind == "batch":
        lists = [(who, each["items"]) for who, each in zip((user, other), content["answers"], strict=True)]
    if wrong := mismatch(answer, lists, expected):
        seen.mistakes.append(f"{kind}: {wrong}")
    seen.answers[content["version"]] += 1


async def load(
    url: str, expected: dict[str, Any], runs: Sequence[Path], enough: Callable[[Outcome], bool], every: int
) -> Outcome:
    """Ask from several clients, while another switches the bundle every so many of their answers."""
    seen = Outcome()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def worker(seed: int) -> None:
            rng = random.Random(seed)
            while not enough(seen):
                await ask(client, expected, rng, seen)

        async def switch() -> None:
            place, asked = 0, 0
            while not enough(seen):
                if (now := sum(seen.kinds.values())) < asked + every:
                    await asyncio.sleep(0.01)
                    continue
                place, asked = place + 1, now
                before = time.monotonic()
                answer = await client.post("/reload", json={"bundle": runs[place % 2].name})
                seen.swaps.append(time.monotonic() - before)
                if answer.status_code != 200:
                    seen.mistakes.append(f"reload: {answer.status_code} {answer.text[:200]}")

        await asyncio.gather(switch(), *(worker(seed) for seed in range(WORKERS)))
    return seen


def measure(runs: Sequence[Path], enough: Callable[[Outcome], bool], every: int) -> Outcome:
    """Serve the first of two runs and switch between them under load.

    Args:
        runs: both in one folder.
        enough: says when to stop.
        every: answers, from one switch to the next.
    """
    users = random.Random(0).sample(users_of(runs[0]), k=min(NUM_USERS, len(users_of(runs[0]))))
    expected = dict(expected_of(run, users) for run in runs)
    with serving(runs[0], f"bundles_root='{runs[0].parent}'", "console=quiet") as url:
        return asyncio.run(load(url, expected, runs, enough, every))


def users_of(run: Path) -> list[Any]:
    """Return users who can be given K items that they do not have."""
    retriever = Retriever.open(bundle_in(run))
    return [
        each for each in retriever.user_ids if len(set(retriever.history(each))) + K <= retriever.num_items
    ]
