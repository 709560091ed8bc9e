"""A data set is the same to the last bit, whether its log is in memory or read by batches."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.given import Given
from twotower.data.splits.item_cold import ItemCold
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.temporal import Temporal
from twotower.data.splits.user_holdout import UserHoldout

T = 1_700_000_000
SHARES = {"unit": "share", "test": 0.2, "valid": 0.2}
SPLITS = [
    LeaveOneOut(LeaveOneOut.Config()),
    Temporal(Temporal.Config(test=3.0, valid=3.0)),
    Temporal(Temporal.Config(**SHARES)),
    UserHoldout(UserHoldout.Config(share=0.6, fold_in=0.5)),
    ItemCold(ItemCold.Config(**SHARES, share=0.3)),
    Given(Given.Config()),
]
EXTRAS = {
    "split": st.sampled_from(["train", "train", "valid", "test"]),
    "label": st.sampled_from([0, 1, 1]),
    "weight": st.sampled_from([0.0, 0.5, 2.0]),
    "event": st.sampled_from(["view", "click", "buy"]),
    "device": st.sampled_from(["phone", "desk"]),
}
EVENTS = {
    "view": {"role": "history"},
    "click": {"role": "positive"},
    "buy": {"role": "positive", "weight": 2.0},
}


@st.composite
def cases(draw):
    """Settings of `table_files`, the frames of its files, and a split."""
    number = draw(st.integers(6, 40))
    column = lambda values: draw(st.lists(values, min_size=number, max_size=number))  # noqa: E731
    widths = draw(st.sampled_from([1, 10**15]))  # close ids, and far ones
    log = pd.DataFrame(
        {
            "user_id": [each * widths for each in column(st.integers(-2, 3))],
            "item_id": column(st.integers(1, 6)),
            "timestamp": [T + day * 86_400 for day in column(st.integers(0, 20))],
        }
    )
    if draw(st.booleans()):
        log["item_id"] = (
            log["item_id"]
            .map(lambda item: f"i{item}" * (item % 3 + 1))
            .astype(draw(st.sampled_from(["str", "category"])))
        )
    chosen = draw(st.sets(st.sampled_from(sorted(EXTRAS)))) if draw(st.booleans()) else set()
    for name in sorted(chosen):
        log[name] = column(EXTRAS[name])
    arguments = {f"{name}_column": name for name in chosen - {"device"}}
    arguments |= {"context_columns": ["device"]} if "device" in chosen else {}
    arguments |= {"events": EVENTS} if "event" in chosen else {}
    arguments |= {"repeats": draw(st.sampled_from(["drop", "keep"]))}
    frames = {}
    if draw(st.booleans()):
        users = log["user_id"].drop_duplicates().iloc[1:]
        frames["users"] = pd.DataFrame({"user_id": users, "age": np.arange(len(users))})
        arguments["missing_users"] = draw(st.sampled_from(["unknown", "unknown", "refuse"]))
    if draw(st.booleans()):
        items = [*log["item_id"].astype(log["item_id"].dtype).drop_duplicates()]
        frames["items"] = pd.DataFrame({"item_id": items, "size": np.arange(len(items)) / 2})
    if draw(st.integers(0, 3)) == 0:
        arguments["timestamp_column"] = None
    cuts = sorted(draw(st.lists(st.integers(0, number), max_size=2)))
    parts = [log.iloc[a:b] for a, b in zip([0, *cuts], [*cuts, number], strict=True)]
    return arguments, parts, frames, draw(st.sampled_from(SPLITS))


def built(case, folder: Path, longest: int, block_rows: int) -> dict | str:
    arguments, parts, frames, split = case
    log = folder / "log"
    log.mkdir(exist_ok=True)
    for number, part in enumerate(parts):
        part.to_parquet(log / f"{number}.parquet", index=False, row_group_size=5)
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    paths = {f"{name}_path": str(folder / f"{name}.parquet") for name in frames}
    source = TableFiles(TableFiles.Config(interactions_path=str(log), **paths, **arguments))
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as cache:
        patched.setattr("twotower.data.interaction_files.MAX_ROWS_IN_MEMORY", longest)
        patched.setattr("twotower.data.blocks.BLOCK_ROWS", block_rows)
        patched.setattr("twotower.data.interaction_files.MIN_MERGED", block_rows)
        patched.setattr("twotower.data.build_dataset.cache_key", lambda *_: "key")
        patched.setattr("os.fsync", lambda _: None)
        more = {f"{name}_column" for name in EXTRAS} | {"context_columns"}
        assert (source.interaction_files() is not None) == (longest == 0 and not more & set(arguments))
        try:
            dataset = build_dataset(source, split, Path(cache) / "cache")
        except InputError as error:
            return str(error).partition(", ")[0]  # which row comes first is told of batches
        assert dataset.open_interactions is not None
        assert len(dataset.test.users)
        (meta,) = Path(cache).glob("cache/*/meta.json")
        assert len(list((Path(cache) / "cache").iterdir())) == 1
        return json.loads(meta.read_text())


@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_by_batches_and_in_memory_are_one(case):
    with tempfile.TemporaryDirectory() as folder:
        assert built(case, Path(folder), 0, 3) == built(case, Path(folder), 10**9, 10**6)


def test_a_dictionary_may_hold_values_without_a_row(tmp_path):
    rows = pd.DataFrame({"user_id": [1, 1, 1], "item_id": ["a", "b", "c"], "timestamp": [T, T + 1, T + 2]})
    rows["item_id"] = rows["item_id"].astype(pd.CategoricalDtype(["a", "b", "c", ""]))
    case = {}, [rows], {}, SPLITS[0]
    assert built(case, tmp_path, 0, 3) == built(case, tmp_path, 10**9, 10**6)
    assert isinstance(built(case, tmp_path, 0, 3), dict)


def test_a_source_that_loads_in_its_own_way_is_loaded(tmp_path, monkeypatch):
    class Own(TableFiles):
        def load(self):
            return super().load()

    monkeypatch.setattr("twotower.data.interaction_files.MAX_ROWS_IN_MEMORY", 0)
    pd.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [T]}).to_parquet(tmp_path / "log.parquet")
    config = TableFiles.Config(interactions_path=str(tmp_path / "log.parquet"))
    assert TableFiles(config).interaction_files() is not None
    assert Own(config).interaction_files() is None
