"""Contexts of requests, events and overridden features: the same numbers offline and through a service."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from in_process import run_script
from quick import QUICK

from twotower.bundle.read import Bundle, read_bundle
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluate_towers import encode_catalogue, encode_holdout, rank_all
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.recall import Recall
from twotower.jobs.run_config import RunConfig
from twotower.model.towers.user_batch import UserBatch
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

CATEGORY = "_target_: twotower.model.features.categorical.Categorical"
U, N, K = 40, 30, 30


def log_of(folder: Path) -> None:
    """Users with a country; what was done, and on which device at which hour."""
    rng = np.random.default_rng(0)
    num = 900
    users, device = rng.integers(0, U, num), rng.choice(["phone", "desk", "tablet"], num)
    log = {
        "user_id": [f"u{user:02d}" for user in users],
        "item_id": [
            f"i{item:02d}" for item in (users + 10 * (device == "desk") + rng.integers(0, 8, num)) % N
        ],
        "timestamp": 1_600_000_000 + np.sort(rng.integers(0, 10**6, num)),
        "act": rng.choice(["buy", "view", "skip", "ping"], num, p=[0.5, 0.35, 0.1, 0.05]),
        "device": np.where(rng.random(num) < 0.05, "", device),
        "hour": rng.integers(0, 24, num),
    }
    pd.DataFrame(log).to_csv(folder / "log.csv", index=False)
    countries = {"user_id": [f"u{user:02d}" for user in range(U)], "country": rng.choice(["DE", "FR"], U)}
    pd.DataFrame(countries).to_csv(folder / "users.csv", index=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real command."""
    folder = tmp_path_factory.mktemp("context")
    log_of(folder)
    roles = {"buy": "positive", "view": "history", "skip": "negative", "ping": "ignored"}
    trained = run_script(
        "train",
        "data=table_files",
        "user_tower.widths=[16]",
        f"data.interactions_path={folder}/log.csv",
        f"data.users_path={folder}/users.csv",
        "data.event_column=act",
        "data.context_columns=[device,hour]",
        f"data.events={{{', '.join(f'{word}: {{role: {role}}}' for word, role in roles.items())}}}",
        "features=item_id",
        f"features.user.country={{{CATEGORY}, column: country, dim: 4}}",
        f"features.context.device={{{CATEGORY}, column: device, dim: 4}}",
        "features.context.hour={_target_: twotower.model.features.numeric.Numeric, column: hour}",
        "features.context.when={_target_: twotower.model.features.request_time.RequestTime, week: 1}",
        "history.events=true",
        "split=leave_one_out",
        "metrics.ks=[5]",
        "trainer=smoke",
        *QUICK,
        "trainer.monitor=valid/recall_at_5",
        f"output_root={folder}/outputs",
    )
    assert trained.returncode == 0, trained.stderr
    (bundle,) = folder.glob("outputs/**/bundle")
    return bundle.parent


@pytest.fixture(scope="module")
def dataset(run: Path) -> RetrievalDataset:
    config = RunConfig.from_settings(yaml.safe_load((run / "config.yaml").read_text()))
    return build_dataset(config.data.build(), config.split.build(), Path(config.output_root) / ".cache")


def context_of(dataset: RetrievalDataset, position: int) -> dict[str, Any]:
    """What a client would send of a request of the test split."""
    assert dataset.context_table is not None
    row = dataset.context_table.iloc[int(dataset.test.context[position]) - 1]
    return {name: None if pd.isna(value) else value for name, value in row.to_dict().items()}


def requests_of(dataset: RetrievalDataset, **given: Any) -> list[dict[str, Any]]:
    """The requests of the test split, as a client would send them."""
    test = dataset.test
    return [
        {
            "user_id": str(dataset.users.ids([int(user)])[0]),
            "request_time": int(test.request_times[position]),
            "context": context_of(dataset, position),
            "k": K,
            **given,
        }
        for position, user in enumerate(test.users)
    ]


def through_http(run: Path, bodies: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Ask the service in this process for all at once."""

    async def asked(live: LiveService) -> httpx.Response:
        app = create_app(live, ServiceConfig(bundle=str(run), console="quiet"))
        told: asyncio.Queue[Any] = asyncio.Queue()
        answers: asyncio.Queue[Any] = asyncio.Queue()
        lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, told.get, answers.put))
        await told.put({"type": "lifespan.startup"})
        await answers.get()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/recommend/batch", json={"requests": bodies})
        await told.put({"type": "lifespan.shutdown"})
        await lifespan
        return answer

    with closing(LiveService(run, run / "bundle", None)) as live:
        answer = asyncio.run(asked(live))
    assert answer.status_code == 200, answer.text
    return [each["items"] for each in answer.json()["answers"]]


def check(found: list[list[Any]], expected: np.ndarray, dataset: RetrievalDataset) -> None:
    """Compare scores by item with what all items score, [Q, N]."""
    assert found
    for items, scores in zip(found, expected, strict=True):
        plain = [each if isinstance(each, dict) else vars(each) for each in items]
        rows = dataset.items.rows([each["item_id"] for each in plain])
        assert len(rows) == K
        np.testing.assert_allclose([each["score"] for each in plain], scores[rows - 1], atol=1e-6, rtol=1e-6)


def overridden(bundle: Bundle, dataset: RetrievalDataset, country: str) -> torch.Tensor:
    """Embed the users of the test split, [Q, D], as if all were of one country."""
    model, test = bundle.model, dataset.test
    users = np.asarray(test.users, dtype=np.int64)
    rows, times = test.history.last(users, model.history.config.length)
    events = test.history.last_events(users, model.history.config.length)
    contexts = model.contexts.gather(torch.from_numpy(np.array(test.context, dtype=np.int64)))
    features = contexts | model.users.encode([{"country": country}] * len(users))
    arrays = rows, times, np.array(test.request_times, dtype=np.int64), events
    with torch.inference_mode():
        return model.encode_users(UserBatch.from_features(features, *map(torch.from_numpy, arrays)))


def test_offline_through_the_retriever_and_through_http(run: Path, dataset: RetrievalDataset) -> None:
    bundle = read_bundle(run / "bundle")
    items, test = encode_catalogue(bundle.model), dataset.test
    every = np.arange(len(test.users))
    users = {None: encode_holdout(bundle.model, test, every), "FR": overridden(bundle, dataset, "FR")}
    assert (users[None] - users["FR"]).abs().max() > 1e-3  # some are of Germany
    retriever = Retriever.open(run / "bundle")
    for country, embeddings in users.items():
        given = {} if country is None else {"features": {"country": country}}
        bodies = requests_of(dataset, exclude_seen=False, **given)
        expected = (embeddings @ items.T).numpy()
        alone = [retriever.answer_one(Request(**body)) for body in bodies]
        check(alone, expected, dataset)
        check(retriever.answer([Request(**body) for body in bodies]), expected, dataset)
        check(through_http(run, bodies), expected, dataset)


def test_what_is_ranked_offline_is_recommended(run: Path, dataset: RetrievalDataset) -> None:
    """What a user has bought is filtered in both, and what was only looked at is not."""
    bundle = read_bundle(run / "bundle")
    evaluator = Evaluator.Config(ks=[5], kinds={"recall": Recall.Config()}).build()
    _, expected = rank_all(bundle.model, encode_catalogue(bundle.model), dataset.test, evaluator, "test")
    retriever = Retriever.open(run / "bundle")
    found = retriever.answer([Request(**body | {"k": 5}) for body in requests_of(dataset)])
    rows = [dataset.items.rows([each.item_id for each in items]).tolist() for items in found]
    assert rows == expected.tolist()


def test_the_context_is_learned_from_and_recorded(run: Path, dataset: RetrievalDataset) -> None:
    bundle = read_bundle(run / "bundle")
    assert bundle.model.contexts.features["device"].state.values == ["desk", "phone", "tablet"]
    assert bundle.manifest.event_types == ["buy", "ping", "skip", "view"]
    unknown = dict.fromkeys(("device", "hour"))
    retriever = Retriever.open(run / "bundle")
    told, silent = (
        retriever.recommend("u01", K, context=context, exclude_seen=False)
        for context in ({"device": "desk", "hour": 3}, unknown)
    )
    assert [each.score for each in told] != [each.score for each in silent]
    assert [each.score for each in silent] == [
        each.score for each in retriever.recommend("u01", K, exclude_seen=False)
    ]
