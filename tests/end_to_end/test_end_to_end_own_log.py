"""A log of the user's own through the real commands: events that only train, small splits, orders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from in_process import run_script

from twotower.bundle.read import read_bundle

SMALL = ("features=item_id", "trainer=smoke", "start=random", "embedding_dim=8", "user_tower.widths=[8]")


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
    assert history.positive is not None
    assert 0 < np.asarray(history.positive).mean() < 1  # views are in histories, not filtered as seen
