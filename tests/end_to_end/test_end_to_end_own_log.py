"""A log of the user's own through the real commands: events that only train, small splits, orders."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_process import run_command, run_script
from quick import POPULARITY_ONLY, QUICK

from twotower.bundle.read import read_bundle
from twotower.commands import conf
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


def news_clicks() -> pd.DataFrame:
    """Clicks of 40 users on the 30 articles of their region; each row has a session, a device and a place."""
    rng = np.random.default_rng(1)
    users, sessions = np.repeat(np.arange(40), 15), np.repeat(np.arange(200), 3)
    seconds = 1_600_000_000 + rng.permutation(200)[sessions] * 3600 + np.tile(np.arange(3) * 60, 200)
    taken = [user % 2 * 30 + rng.permutation(30)[:15] for user in range(40)]
    return pd.DataFrame(
        {
            "user_id": users,
            "session_id": 1_600_000_000_000_000 + sessions,
            "session_start": (seconds - 60) * 1000,
            "session_size": 3,
            "click_article_id": np.concatenate(taken),
            "click_timestamp": seconds * 1000,
            "click_environment": np.where(sessions % 50, 4, 2),
            "click_deviceGroup": sessions % 3 + 1,
            "click_os": sessions % 7,
            "click_country": np.where(sessions % 10, 1, 11),
            "click_region": users % 2 + 1,
            "click_referrer_type": sessions % 5 + 1,
        }
    )


def test_init_and_training_on_clicks_of_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked; the command that is printed trains, and the towers read the context."""
    monkeypatch.chdir(tmp_path)
    news_clicks().to_csv("clicks.csv", index=False)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    done = run_command("init", "clicks.csv", "--name", "news")
    assert done.returncode == 0, done.stderr
    _, *words = shlex.split(done.stdout.splitlines()[-1].removeprefix("next: "))
    small = ("trainer=smoke", "embedding_dim=8", "user_tower.widths=[8]", *QUICK)
    done = run_command(*words, *small)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("outputs/news/*/result.json")
    assert "no effect" not in (path.parent / "train.log").read_text()
    context = read_bundle(path.parent / "bundle").model.contexts.features
    assert context["click_region"].state.values == [1, 2]
    assert len(context) == 6
