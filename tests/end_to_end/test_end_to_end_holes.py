"""A log of which a third of the users have attributes, with gaps, from tables to a service."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_script
from quick import QUICK

from twotower.serving.retriever import Retriever

KINDS = "_target_:twotower.model.features"
NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 60, 30, 1200
DAY = 86_400
FEATURES = [
    f"features.user.age={{{KINDS}.numeric.Numeric,column:age}}",
    f"features.user.segment={{{KINDS}.categorical.Categorical,column:segment,dim:2}}",
    f"features.user.income={{{KINDS}.binned.Binned,column:income,dim:2}}",
    f"features.user.langs={{{KINDS}.tags.Tags,column:langs,dim:2}}",
    f"features.user.empty={{{KINDS}.categorical.Categorical,column:empty,dim:2}}",
    f"features.item.name={{{KINDS}.text.HashedText,column:name,dim:2}}",
    f"features.item.price={{{KINDS}.numeric.Numeric,column:price}}",
]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    log = {
        "user_id": rng.integers(1, NUM_USERS + 1, NUM_INTERACTIONS),
        "item_id": rng.integers(1, NUM_ITEMS + 1, NUM_INTERACTIONS),
        "timestamp": 1_700_000_000 + rng.integers(0, 120 * DAY, NUM_INTERACTIONS),
    }
    known = np.arange(3, NUM_USERS + 1, 3)  # every third; user 1 is none of them
    users = {
        "user_id": known,
        "age": pd.array([None if user % 4 == 0 else user for user in known.tolist()], dtype="Int64"),
        "segment": pd.array([None if user % 5 == 0 else user % 3 for user in known.tolist()], dtype="Int64"),
        "income": [None if user % 2 else user / 2 for user in known.tolist()],
        "langs": [None if user % 2 else "en|de" for user in known.tolist()],
        "empty": [None] * len(known),
    }
    items = np.arange(2, NUM_ITEMS + 1)  # all but item 1
    table = {
        "item_id": items,
        "name": [None if item % 4 == 0 else f"thing {item % 3}" for item in items.tolist()],
        "price": [None if item % 7 == 0 else item / 2 for item in items.tolist()],
    }
    for name, columns in {"log": log, "users": users, "items": table}.items():
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)
    return [
        *("data=table_files", "features=table_files", f"output_root={tmp_path / 'outputs'}"),
        *(f"data.{table}_path={tmp_path / file}.csv" for table, file in TABLES.items()),
        *("data.item_label=name", "data.tag_columns=[langs]", *FEATURES),
        *("split.test=20", "split.valid=20", "objective=next_item", "objective.batch_size=128"),
        *("embedding_dim=8", "user_tower.widths=[8]", "item_tower.widths=[8]", "trainer=smoke"),
        *("trainer.max_epochs=1", "trainer.monitor=valid/recall_at_5", "trainer.progress_bar=false"),
        *("index=flat_ip", "metrics.ks=[5]", "metrics.num_bootstrap=0", *QUICK, "console=quiet"),
    ]


TABLES = {"interactions": "log", "users": "users", "items": "items"}


def test_a_third_of_the_users_with_gaps_is_normal(arguments: list[str], tmp_path: Path) -> None:
    left = run_script("train", *arguments)
    assert left.returncode == 0, left.stderr
    (run,) = (tmp_path / "outputs" / "default").iterdir()
    data = json.loads((run / "result.json").read_text())["data"]
    assert (data["audit"]["users_without_row"], data["audit"]["items_without_row"]) == (40, 1)
    assert (data["users"], data["items"]) == (60, 30)
    trained = Retriever.open(run / "bundle")
    assert trained.label(1) is None
    assert trained.item(1)["features"] == {"name": None, "price": None}
    assert trained.item(2)["features"] == {"name": "thing 2", "price": 1.0}
    assert trained.put_item(1000, {})
    assert trained.put_item(1001, {"price": None})
    assert trained.put_item(1002, {"price": 3})
    scores = {each.item_id: each.score for each in trained.recommend(1, k=33, exclude_seen=False)}
    assert scores[1000] == pytest.approx(scores[1001])  # without a feature, or with one of nothing


def test_all_that_is_refused_is_one_message_before_the_log_is_built(
    arguments: list[str], tmp_path: Path
) -> None:
    users = pd.read_csv(tmp_path / "users.csv", dtype=object)
    users.loc[1, "income"] = "much"
    users.to_csv(tmp_path / "users.csv", index=False)
    strict = [argument.replace("column:", "missing:refuse,column:") for argument in arguments]
    left = run_script("train", *strict, "data.missing_users=refuse", "data.missing_items=refuse")
    assert left.returncode == 2
    lines = left.stderr.splitlines()
    assert lines[0] == "error: 10 mistakes in the data"
    for line in (
        "log.csv: column 'user_id', line 2: ",
        "log.csv: column 'item_id', line ",
        "users.csv: column 'age', user_id 12: expected a finite number, found nothing (NaN) (5 such rows",
        "users.csv: column 'segment', user_id 15: expected text or a finite number, found nothing (NaN)",
        "users.csv: column 'income', user_id 3: expected a finite number, found nothing (NaN)",
        "users.csv: column 'income', user_id 6: expected a finite number, found 'much'",
        "users.csv: column 'langs', user_id 3: ",
        "users.csv: column 'empty', user_id 3: ",
        "items.csv: column 'name', item_id 4: ",
        "items.csv: column 'price', item_id 7: ",
    ):
        assert f"\n  {tmp_path}/{line}" in left.stderr, line
    assert not list((tmp_path / "outputs" / ".cache").glob("*/meta.json"))
