"""A log of the user's own through the real commands: events that only train, small splits, orders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from in_process import run_script
from quick import POPULARITY_ONLY

from twotower.bundle.read import read_bundle
from twotower.data.actions import POSITIVE

SMALL = (
    "features=item_id",
    "trainer=smoke",
    "initialization=random",
    "embedding_dim=8",
    "user_tower.widths=[8]",
)


def train(log: pd.DataFrame, folder: Path, *words: str) -> Any:
    log.to_csv(folder / "log.csv", index=False)
    return run_script(
        "train",
        "data=table_files",
        f"data.interactions_path={folder}/log.csv",
        f"output_root={folder}/outputs",
        *SMALL,
        *words,
    )


def result_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("outputs/default/*/result.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def views_and_purchases() -> pd.DataFrame:
    """40 users of 4 groups see 20 of the 30 items of their group, each once, and buy some of them."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 20)
    items = np.concatenate([user % 4 * 30 + rng.permutation(30)[:20] for user in range(40)])
    return pd.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "timestamp": 1_600_000_000 + np.arange(len(users)) * 3600,
            "act": np.where(rng.random(len(users)) < 0.3, "buy", "view"),
        }
    )


def test_views_train_and_purchases_are_the_test(tmp_path: Path) -> None:
    log = views_and_purchases()
    done = train(
        log,
        tmp_path,
        "data.event_column=act",
        "data.events={buy: {}, view: {role: train, weight: 0.2}}",
        "split=leave_one_out",
        "objective=next_item",
        *POPULARITY_ONLY,
        "metrics.ks=[5]",
        "trainer.monitor=valid/recall_at_5",
    )
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    audit, bought = result["data"]["audit"], log["act"] == "buy"
    assert audit["positive_interactions"] == bought.sum()
    assert audit["train_only"] == (~bought).sum()
    buyers = log[bought].groupby("user_id").size()
    assert audit["test_users"] == (buyers >= 3).sum()  # a view is no target
    (bundle,) = tmp_path.glob("outputs/default/*/bundle")
    history = read_bundle(bundle).history
    assert history.roles is not None
    assert (
        0 < (np.asarray(history.roles) == POSITIVE).mean() < 1
    )  # views are in histories, not filtered as seen


def small_log(num_tested: int) -> pd.DataFrame:
    """60 users who take items of their group, of whom some come again in the last month."""
    log = views_and_purchases().drop(columns="act")
    log["timestamp"] = 1_600_000_000 + np.arange(len(log)) % 20 * 86_400
    again = pd.DataFrame({"user_id": range(40), "item_id": [user % 4 * 30 for user in range(40)]})
    valid = again.assign(timestamp=1_600_000_000 + 50 * 86_400)
    test = again.iloc[:num_tested].assign(item_id=again["item_id"] + 1, timestamp=1_600_000_000 + 80 * 86_400)
    return pd.concat([log, valid, test], ignore_index=True)


def test_a_split_that_is_too_small_to_tell_models_apart_is_a_warning(tmp_path: Path) -> None:
    num_tested = 3
    words = ("data.repeats=keep", "metrics.ks=[5,100]", "trainer.monitor=valid/recall_at_100")
    done = train(small_log(num_tested), tmp_path, *words)
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    found = result["power"]
    (folder,) = tmp_path.glob("outputs/default/*")
    assert found["test"]["difference"] is None  # three users are too few for any difference
    assert {split: each["num_users"] for split, each in found.items()} == {"valid": 40, "test": num_tested}
    values = {name: each["valid/recall_at_100"] for name, each in result["baselines"].items()}
    best, other = found["test"]["pair"]  # those that differ from the best in too few users are left out
    assert max(values.values()) == values[best] >= values[other]
    said = f"{num_tested} test users can show no difference in recall@100"
    assert f"WARNING twotower: {said}" in (folder / "train.log").read_text()
