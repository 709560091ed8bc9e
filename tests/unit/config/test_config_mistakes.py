"""Each mistake of a configuration is reported before data is read, with its key and what to do about it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

from twotower.commands.compose import load_settings
from twotower.config.component import Config
from twotower.config.reading import read

Refusal = Callable[..., str]
SYNTHETIC = "data=synthetic"
MISTAKES = r"""
embeding_dim=3
    embeding_dim: unknown key ... 'embedding_dim'?
learning_rate=0.01
    learning_rate: unknown key; write optimizer.learning_rate=0.01
epochs=3
    epochs: unknown key; write trainer.max_epochs=3
embedding_dim=[16,32]
    embedding_dim: expected a valid integer ... to train with each value, write -m embedding_dim=16,32
user_tower.widths=64
    user_tower.widths: expected a valid list ... write user_tower.widths=[64]
loss=mine
    loss: unknown choice 'mine' ... write the file ... loss/mine.yaml
loss@x=bce
    loss@x=bce: expected group=choice without @; write loss=bce
los=bce
    los: unknown key ... 'loss'?
loss.temprature=0.1
    loss.temprature: unknown key ... 'temperature'?
++loss.temprature=1
    loss.temprature: unknown key ... 'temperature'?
+model=x
    model: unknown key ... valid: baselines, benchmark, cache, console
loss=bce loss.log_q_correction=true
    loss.log_q_correction: unknown key
item_bias=none item_bias.half_life_days=1
    item_bias.half_life_days: unknown key; none are valid here
seed=abc
    seed: expected a valid integer ... 'abc'
loss.temperature=warm
    loss.temperature: expected a valid number ... 'warm'
history.length=2.5
    history.length: expected a valid integer ... 2.5
loss.temperature=nan
    loss.temperature: expected a finite number
user_tower.widths=[64,-2]
    user_tower.widths.1: greater than 0 ... got -2
objective.recency_half_life_days=monthly
    objective.recency_half_life_days: expected a valid number or 'auto', got 'monthly'
loss=in_batch_softmx
    loss: unknown choice 'in_batch_softmx' ... 'in_batch_softmax'? ... bce
loss=null
    loss: unknown choice ... valid: bce
~loss
    loss: expected a choice with a _target_
objective.batch_size=8 ~negatives
    negatives: expected a choice
user_tower.activation=rellu
    user_tower.activation: unknown choice 'rellu' ... 'relu'? ... gelu
loss._target_=twotower.model.losses.bce.Bces
    loss._target_: there is no class 'twotower.model.losses.bce.Bces'; did you mean 'Bce'?
loss=bce loss._target_=twotower.index.kinds.flat_ip.FlatIP
    loss._target_: is not a Loss
loss._target_=twotower.model.losses.loss.Loss
    loss._target_: name a subclass
metrics.kinds.recall._target_=twotower.model.losses.bce.Bce
    metrics.kinds.recall._target_: is not a Metric
features.item.descripton.dim=8
    features.item.descripton: expected a choice with a _target_, got {'dim': 8}; did you mean 'description'?
+features.items=null
    features.items: did you mean 'item'?
features.item.price.buckets=3
    features.item.price.buckets: unknown key
user_tower.widths=???
    user_tower.widths: required, but not set
loss.temperature=${no.such.key}
    loss.temperature: 'no.such.key' not found
metrics.ks=[10,${nowhere}]
    metrics.ks.1: 'nowhere' not found
loss.temperature=0.1,0.2
    loss.temperature: --multirun
loss
    loss: expected key=value
metrics.ks=[10
    metrics.ks=[10: metrics.ks
split.valid=1e300
    split.valid: less than or equal to 1000000000000000000000000000000, got 1e+300
history.length=2147483648
    history.length: less than or equal to 10000, got 2147483648
user_tower.widths=[64,100000]
    user_tower.widths.1: less than or equal to 4096
user_tower.widths=[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8]
    user_tower.widths: at most 32 items
metrics.num_bootstrap=10000000
    metrics.num_bootstrap: less than or equal to 100000
metrics.num_bootstrap=1
    metrics.num_bootstrap: expected 0 (no intervals) or at least 100
seeds=10001
    seeds: less than or equal to 10000
data=synthetic features=item_id history=none user_tower.residual=null user_tower.widths=[]
    features.user: the user tower has no input; add a feature
history=none
    user_tower.residual: 'history' is no input of this tower; set it to country or request_time or null
trainer.monitor=valid/recal_at_20
    trainer.monitor: 'valid/recal_at_20' is not logged ... 'valid/recall_at_20'?
trainer.monitor=valid/auc
    trainer.monitor: 'valid/auc' needs labels ... no impressions without a click ... did you mean 'valid/m
negatives=impressions_and_uniform
    negatives: the data has no impressions without a click ... data.label_threshold ...
    use negatives=uniform
data=movielens_1m data.label_threshold=4 objective=next_item negatives=impressions
negatives.shared={_target_:twotower.model.negatives.impressions.Impressions,shared:null}
    negatives.shared: already gives query negatives
data=synthetic data.labels=clicks objective=next_item negatives=impressions
negatives.shared={_target_:twotower.model.negatives.catalogue.Catalogue,max_items:999}
    negatives.shared: 1,000 items
loss=psl user_tower.normalize=l2 item_tower.normalize=l2
    loss: Psl needs no_item_bias ... set item_bias=none
item_bias=trend loss.learned_temperature=true
    item_bias: set loss.learned_temperature=false
item_bias=trend loss=matryoshka
    loss: set item_bias=none
data=synthetic data.labels=clicks objective=next_basket negatives=impressions
    objective: next_basket does not learn from impressions without a click ...
    use objective=next_item, or negatives=catalogue
index=ivf_pq index.num_subquantizers=24
    index.num_subquantizers: 24 does not divide the embedding dimension 64 ... choose 16 or 32
data=synthetic index=ivf_flat index.nlist=5000
    index.nlist: 5000 lists ... 1000 vectors
index=ivf_flat index.nlist=10 index.nprobe=11
    index.nprobe: 11 is above the number of lists 10
data=synthetic negatives.max_items=999
    negatives: 1,000 items ... negatives=mixed
features.item.price.column=prize
    features.item.price.column: items ... no column 'prize' ... 'price'?
features.user.items={_target_:twotower.model.features.categorical.Categorical,column:country,dim:2}
    features.user.items: this name is taken
features.user.t={_target_:twotower.model.features.numeric.Numeric,column:request_time}
    features.user.t: is reserved for
features.item.t={_target_:twotower.model.features.request_time.RequestTime}
    features.item.t: belongs to the users
features.item.v={_target_:twotower.model.features.vector.Vector,column:price,path:no.npy}
    features.item.v.path: there is no file no.npy
split=given
    split: no split ... data.split_column
data=synthetic data.num_interactions=9000000
    data.num_interactions: at most half of all pairs
features.item.item_id.sparse=true optimizer=adagrad optimizer.weight_decay=0.1
    optimizer: Adagrad with these settings does not support sparse gradients ...
    features.item.item_id.sparse
item_bias=popularity item_bias.sparse=true optimizer=rowwise_adagrad optimizer.weight_decay=0.1
    optimizer: set optimizer.weight_decay=0, or item_bias.sparse=false ... item_bias.sparse
history.sparse=true
    history.sparse: no embedding table
features.item.item_id.sparse=true trainer.gradient_clip_val=1
    trainer.gradient_clip_val: sparse
"""
"""Overrides, and indented the message that names their mistake, of which ... are left out."""
CASES = re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", MISTAKES, re.MULTILINE)


@pytest.mark.parametrize(
    ("overrides", "expected"), CASES, ids=[overrides.split()[-1] for overrides, _ in CASES]
)
def test_one_mistake_is_reported(only_line: Refusal, overrides: str, expected: str) -> None:
    line = only_line(*overrides.split())
    key, _, message = expected.strip().partition(": ")
    assert line.startswith(f"{key}: ")
    for part in message.split("..."):
        assert part.strip() in line


def keys_in(message: str) -> set[str]:
    return {line.strip().split(": ")[0] for line in message.split("\n")[1:]}


def test_all_mistakes_in_one_message(refusal: Refusal) -> None:
    message = refusal(
        "embeding_dim=32",
        "seed=x",
        "loss=bec",
        "loss.temprature=1",
        "metrics.ks=[10,${nope}]",
        "user_tower.activation=rellu",
        "[",
    )
    assert message.startswith("7 mistakes in ")
    names = {"embeding_dim", "seed", "loss", "loss.temprature", "metrics.ks.1", "["}
    assert keys_in(message) == names | {"user_tower.activation"}
    assert keys_in(refusal("embeding_dim=32", "loss.temperature=hot")) == {"embeding_dim", "loss.temperature"}


def test_all_wrong_values_of_choices_in_one_message(refusal: Refusal) -> None:
    message = refusal(
        "user_tower.activation=rellu",
        "item_tower.dropout=2",
        "split.test=x",
        "index.target_recall=abc",
        "features.item.price.column=7",
    )
    assert message.startswith("5 mistakes in ")
    assert {"item_tower.dropout", "features.item.price.column"} <= keys_in(message)


def test_a_failed_composition_hides_no_other_mistake(refusal: Refusal) -> None:
    message = refusal("loss=bec", "seed=1,2", "data@x=nope")
    assert "\n  loss: unknown choice 'bec'" in message
    assert "\n  seed: several values are a sweep" in message


def test_commands_that_start_from_a_run_have_fewer_keys(refusal: Refusal) -> None:
    assert "run: " in refusal(command="reindex")
    message = refusal("run=x", "seed=3", "index=ivf_pk", "size=large", "loss=bce", command="reindex")
    for key in ("seed", "size", "loss"):
        assert f"\n  {key}: unknown key; valid: console, debug, index, run, trusted_packages" in message
    assert "\n  index: unknown choice 'ivf_pk'; did you mean 'ivf_pq'?" in message


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
    load_settings("train", mine)
    feature = only_line(
        *mine,
        "features.item.hue={_target_:twotower.model.features.categorical.Categorical,column:color,dim:4}",
    )
    assert feature.startswith("features.item.hue.column: ")
    assert "'colour'?" in feature


def test_settings_that_need_times_name_the_alternative(refusal: Refusal, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("1 2\n")
    pairs = ("data=pairs", f"data.path={log}")
    when = "features.user.when={_target_:twotower.model.features.request_time.RequestTime}"
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
    load_settings("train", ["experiment=no_times", *pairs])
    table = tmp_path / "log.csv"
    pd.DataFrame({"user_id": [1], "item_id": [2]}).to_csv(table, index=False)
    mine = ("data=table_files", f"data.interactions_path={table}", "data.timestamp_column=null")
    load_settings("train", ["experiment=no_times", *mine])
    assert refusal(*mine).count("needs times") == 6


class Alternatives(Config):
    number: int | Literal["auto"] | None
    names: list[Literal["a", "b"]] | Literal["auto"] = "auto"
    only_literals: Literal["a"] | Literal["b"] = "a"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"number": "x"}, ["number: expected a valid integer"]),
        ({"number": 1, "names": ["c"]}, ["names.0: unknown choice 'c'"]),
        ({"number": 1, "names": "c"}, ["names: expected a valid list or 'auto', got 'c'"]),
        ({"number": 1, "only_literals": "c"}, ["only_literals.literal['a']", "only_literals.literal['b']"]),
    ],
)
def test_a_value_of_several_types_is_one_mistake_and_none_is_lost(
    values: dict[str, Any], expected: list[str]
) -> None:
    _, problems = read(Alternatives, values)
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert f"{problem.key}: {problem.message}".startswith(start)
