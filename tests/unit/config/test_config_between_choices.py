"""Choices that are sound alone and wrong together, told before any data is read."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from twotower.commands.compose import checked

Refusal = Callable[..., str]
SYNTHETIC = "data=synthetic"
CASES: dict[str, tuple[str, ...]] = {
    "user tower without an input": (
        "data=synthetic features=item_id history=none user_tower.residual=null user_tower.widths=[]",
        "features.user",
        "the user tower has no input; add a feature",
    ),
    "residual of a history that is not there": (
        "history=none",
        "user_tower.residual",
        "'history' is no input of this tower; it has country, request_time",
    ),
    "walkthrough through columns that are not there": (
        "data=founding_model walkthrough=founding_model +walkthrough.new_item.colour=red",
        "walkthrough.new_item",
        "the items of this data have no column 'colour'",
    ),
    "monitor that is not logged": (
        "trainer.monitor=valid/recal_at_20",
        "trainer.monitor",
        "'valid/recal_at_20' is not logged",
        "'valid/recall_at_20'?",
    ),
    "monitor of labels that are not there": (
        "trainer.monitor=valid/auc",
        "trainer.monitor",
        "'valid/auc' needs labels",
        "no impressions without a click",
        "did you mean 'valid/m",
    ),
    "shown negatives that are not there": (
        "negatives=impressions_and_uniform",
        "negatives",
        "the data has no impressions without a click",
        "data.label_threshold",
        "use negatives=uniform",
    ),
    "shown negatives beside shown negatives": (
        "data=movielens_1m data.label_threshold=4 objective=next_item negatives=impressions "
        "negatives.shared={_target_:twotower.negatives.impressions.Impressions,shared:null}",
        "negatives.shared",
        "already gives query negatives",
    ),
    "a source beside shown negatives that is too large": (
        "data=synthetic data.labels=clicks objective=next_item negatives=impressions "
        "negatives.shared={_target_:twotower.negatives.catalogue.Catalogue,max_items:999}",
        "negatives.shared",
        "1,000 items",
    ),
    "loss whose needs are not met": (
        "loss=psl user_tower.normalize=l2 item_tower.normalize=l2",
        "loss",
        "Psl needs no_item_bias",
        "set item_bias=none",
    ),
    "trend behind a learned temperature": (
        "item_bias=trend loss.learned_temperature=true",
        "item_bias",
        "set loss.learned_temperature=false",
    ),
    "requests and shown negatives": (
        "data=synthetic data.labels=clicks objective=next_basket negatives=impressions",
        "objective",
        "next_basket does not learn from impressions without a click",
        "use objective=next_item, or negatives=catalogue",
    ),
    "PQ that does not divide": (
        "index=ivf_pq index.num_subquantizers=24",
        "index.num_subquantizers",
        "24 does not divide the embedding dimension 64",
        "choose 16 or 32",
    ),
    "more cells than items": (
        "data=synthetic index=ivf_flat index.nlist=5000",
        "index.nlist",
        "5000 cells",
        "1000 vectors",
    ),
    "more probes than cells": (
        "index=ivf_flat index.nlist=10 index.nprobe=11",
        "index.nprobe",
        "11 is above the number of cells 10",
    ),
    "catalogue too large to score whole": (
        "data=synthetic negatives.max_items=999",
        "negatives",
        "1,000 items",
        "negatives=mixed",
    ),
    "column that is not there": (
        "features.item.price.column=prize",
        "features.item.price.column",
        "items",
        "no column 'prize'",
        "'price'?",
    ),
    "name no module can have": (
        "features.user.items={_target_:twotower.features.categorical.Categorical,column:country,dim:2}",
        "features.user.items",
        "this name is taken",
    ),
    "reserved column": (
        "features.user.t={_target_:twotower.features.numeric.Numeric,column:request_time}",
        "features.user.t",
        "is reserved for",
    ),
    "request of an item": (
        "features.item.t={_target_:twotower.features.request_time.RequestTime}",
        "features.item.t",
        "belongs to the users",
    ),
    "matrix that is not there": (
        "features.item.v={_target_:twotower.features.vector.Vector,column:price,path:no.npy}",
        "features.item.v.path",
        "there is no file no.npy",
    ),
    "split that is not given": ("split=given", "split", "no split", "data.split_column"),
    "more interactions than pairs": (
        "data=synthetic data.num_interactions=9000000",
        "data.num_interactions",
        "at most half of all pairs",
    ),
    "sparse table, optimizer that takes none": (
        "features.item.item_id.sparse=true optimizer=adagrad optimizer.weight_decay=0.1",
        "optimizer",
        "Adagrad with these settings does not support sparse gradients",
        "features.item.item_id.sparse",
    ),
    "sparse bias, optimizer that takes none": (
        "item_bias=popularity item_bias.sparse=true optimizer=adagrad optimizer.weight_decay=0.1",
        "optimizer",
        "set optimizer.weight_decay=0, or item_bias.sparse=false",
        "item_bias.sparse",
    ),
    "sparse history without a table": (
        "history.sparse=true",
        "history.sparse",
        "no embedding table",
    ),
    "sparse table, clipped": (
        "features.item.item_id.sparse=true trainer.gradient_clip_val=1",
        "trainer.gradient_clip_val",
        "sparse",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_one_mistake_is_reported(only_line: Refusal, case: tuple[str, ...]) -> None:
    overrides, key, *parts = case
    line = only_line(*overrides.split())
    assert line.startswith(f"{key}: ")
    for part in parts:
        assert part in line


def test_mistakes_between_choices_are_reported_together(refusal: Refusal) -> None:
    message = refusal(
        SYNTHETIC,
        "index=ivf_pq",
        "index.num_subquantizers=7",
        "index.nlist=2000",
        "metrics.ks=[1001]",
        "user_tower.residual=x",
        *("loss=psl", "user_tower.normalize=l2", "item_tower.normalize=l2"),
    )
    assert message.startswith("6 mistakes in ")
    for key in (
        "index.num_subquantizers",
        "index.nlist",
        "metrics.ks",
        "user_tower.residual",
        "loss",
        "trainer.monitor",
    ):
        assert f"\n  {key}: " in message


def test_files_and_columns_of_the_user_s_own_data(only_line: Refusal, tmp_path: Path) -> None:
    missing = only_line("data=table_files", f"data.interactions_path={tmp_path}/no.csv")
    assert missing.startswith("data.interactions_path: ")
    assert "no.csv" in missing
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    pd.DataFrame({"user_id": [1], "item_id": [2], "when": [3]}).to_csv(log, index=False)
    pd.DataFrame({"item_id": [2], "colour": ["red"]}).to_csv(items, index=False)
    mine = ["data=table_files", f"data.interactions_path={log}", f"data.items_path={items}"]
    column = only_line(*mine)
    assert column.startswith("data.timestamp_column: ")
    assert "'timestamp'" in column
    mine.append("data.timestamp_column=when")
    checked("train", mine)
    feature = only_line(
        *mine, "features.item.hue={_target_:twotower.features.categorical.Categorical,column:color,dim:4}"
    )
    assert feature.startswith("features.item.hue.column: ")
    assert "'colour'?" in feature


def test_settings_that_need_times_name_the_alternative(refusal: Refusal, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("1 2\n")
    pairs = ("data=pairs", f"data.path={log}")
    when = "features.user.when={_target_:twotower.features.request_time.RequestTime}"
    message = refusal(*pairs, when, "objective=recent_interactions", "objective.max_age_days=9")
    assert message.startswith("7 mistakes in ")
    for key, remedy in (
        ("split", "use split=leave_one_out or split=user_holdout"),
        ("item_bias", "use item_bias=popularity"),
        ("objective.recency_half_life_days", "set objective.recency_half_life_days=null"),
        ("objective.max_age_days", "set objective.max_age_days=null"),
        ("features.user.when", "leave it out: '~features.user.when'"),
        ("baselines.recent_popularity", "leave it out: '~baselines.recent_popularity'"),
        ("baselines.trend_ease", "leave it out: '~baselines.trend_ease'"),
    ):
        assert f"\n  {key}: needs times, which this data does not have; {remedy}" in message
    assert "\n  split: needs times" in refusal("experiment=no_times", *pairs, "split=item_cold")
    checked("train", ["experiment=no_times", *pairs])
    table = tmp_path / "log.csv"
    pd.DataFrame({"user_id": [1], "item_id": [2]}).to_csv(table, index=False)
    mine = ("data=table_files", f"data.interactions_path={table}", "data.timestamp_column=null")
    checked("train", ["experiment=no_times", *mine])
    assert refusal(*mine).count("needs times") == 6
