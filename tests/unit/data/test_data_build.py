import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from forks import Fork

from twotower.config.errors import InputError
from twotower.data.audit import audit_table
from twotower.data.build_dataset import build_dataset, cache_key
from twotower.data.sources.source import Source
from twotower.data.sources.synthetic import Synthetic
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.temporal import Temporal
from twotower.data.splits.user_holdout import UserHoldout
from twotower.data.tables import Tables

SMALL = {"num_users": 60, "num_items": 40, "num_interactions": 600, "latent_dim": 4}
DAY = 86_400


class Given(Source):
    def __init__(self, log, items=None):
        super().__init__(self.Config())
        self.log = log
        self.items = items
        self.loads = 0

    def load(self):
        self.loads += 1
        frame = pd.DataFrame(self.log, columns=["user_id", "item_id", "timestamp"])
        items = self.items or {"item_id": ["c", "a", "b", "never"], "tags": [["x"], ["y", "x"], [], ["z"]]}
        names = {name: name for name in ("interactions", "users", "items")}
        return Tables(frame, pd.DataFrame({"user_id": [20, 10, 30]}), pd.DataFrame(items), names, "item_id")

    def fingerprint(self):
        return json.dumps([self.log, self.items])


BY_HAND = [
    (10, "a", 10 * DAY),
    (20, "b", 5 * DAY),
    (10, "b", 10 * DAY),
    (10, "c", 85 * DAY),
    (10, "a", 95 * DAY),
    (20, "c", 100 * DAY),
    (30, "a", 99 * DAY),
]


@pytest.mark.parametrize(
    ("split", "days"),
    [
        (Temporal.Config(test=10, valid=40), 15),  # from day 45 to 60
        (Temporal.Config(test=10, valid=80), 28),
        (Temporal.Config(test=40, valid=6), 1),
        (Temporal.Config(test=0.34, valid=0.34, unit="share"), 10),
        (LeaveOneOut.Config(), 28),  # no common window
    ],
)
def test_the_horizon_is_the_length_of_the_validation_window(split, days, tmp_path):
    log = [(10, "a", DAY), (10, "b", 50 * DAY), (10, "c", 90 * DAY)]
    log += [(20, "a", 2 * DAY), (20, "b", 60 * DAY), (20, "c", 95 * DAY)]
    assert build_dataset(Given(log), split.build(), tmp_path).horizon_days == days


def test_by_hand(tmp_path):
    source = Given(BY_HAND)
    dataset = build_dataset(source, Temporal(Temporal.Config(test=10, valid=10)), tmp_path)
    assert dataset.users.values.tolist() == [10, 20, 30]
    assert dataset.items.values.tolist() == ["a", "b", "c", "never"]
    assert dataset.user_table["user_id"].tolist() == [10, 20, 30]
    assert dataset.item_table["item_id"].tolist() == ["a", "b", "c", "never"]
    assert [list(tags) for tags in dataset.item_table["tags"]] == [["y", "x"], [], ["x"], ["z"]]
    assert dataset.item_label == "item_id"
    assert dataset.train.items.tolist() == [1, 2, 2]
    assert dataset.valid.users.tolist() == [1]
    assert dataset.test.users.tolist() == [2, 3]
    assert dataset.test.target_items.tolist() == [3, 1]
    assert dataset.audit == {
        "split": "temporal",
        "interactions": 7,
        "users": 3,
        "items": 4,
        "density": 7 / 12,
        "first_time": "1970-01-06 00:00:00",
        "last_time": "1970-04-11 00:00:00",
        "train_interactions": 3,
        "valid_interactions": 1,
        "test_interactions": 2,
        "valid_users": 1,
        "test_users": 2,
        "cold_users": 1,
        "cold_items": 1,
        "repeat_targets": 1,
        "unused_interactions": 0,
        "equal_timestamp_rate": 1 / 4,
        "future_leak_rate": 0.0,
        "valid_from": "1970-03-22 00:00:01",
        "test_from": "1970-04-01 00:00:01",
    }


def test_a_hidden_test_split_gives_histories_and_no_targets(tmp_path):
    dataset = build_dataset(Given(BY_HAND), Temporal(Temporal.Config(test=15, valid=10)), tmp_path)
    hidden = dataset.with_hidden_test()
    assert hidden.fingerprint == dataset.fingerprint
    assert hidden.test.history.items.tolist() == dataset.test.history.items.tolist()
    for name in ("users", "target_offsets", "target_items", "context", "labelled", "is_repeat"):
        with pytest.raises(InputError, match="test=reveal reads the test targets"):
            getattr(hidden.test, name)


def test_future_leaks_are_counted(tmp_path):
    log = [(10, item, time) for item, time in (("a", 1), ("b", 2), ("c", 3))]
    log += [(20, item, time) for item, time in (("a", 11), ("b", 12), ("c", 13))]
    dataset = build_dataset(
        Given([(u, i, t * DAY) for u, i, t in log]), LeaveOneOut(LeaveOneOut.Config()), tmp_path
    )
    assert (
        dataset.audit["future_leak_rate"] == 0.5
    )  # 20's train interaction at 11 is later than 10's target at 3


def test_the_second_time_opens_the_cache(tmp_path):
    source, split = Given(BY_HAND), Temporal(Temporal.Config(test=10, valid=10))
    first, second = (build_dataset(source, split, tmp_path) for _ in range(2))
    assert source.loads == 1
    assert first.fingerprint == second.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == [cache_key(source, split)]
    assert (
        build_dataset(source, Temporal(Temporal.Config(test=9, valid=10)), tmp_path).fingerprint
        != first.fingerprint
    )
    assert source.loads == 2


def test_a_log_that_changes_while_it_is_read_is_refused_and_not_stored(tmp_path):
    class Replaced(Given):
        def load(self):
            self.log = BY_HAND[1:]
            return super().load()

    split = Temporal(Temporal.Config(test=10, valid=10))
    with pytest.raises(InputError, match="interactions: a file of the data changed while it was read; run"):
        build_dataset(Replaced(BY_HAND), split, tmp_path)
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    changed = build_dataset(Given(BY_HAND[1:]), split, tmp_path)
    assert build_dataset(Given(BY_HAND), split, tmp_path).fingerprint != changed.fingerprint


def test_a_data_set_is_known_by_its_values_alone(tmp_path):
    class Elsewhere(Given):
        def load(self):
            tables = super().load()
            return dataclasses.replace(
                tables, source_paths={name: f"new {name}" for name in tables.source_paths}
            )

    split = Temporal(Temporal.Config(test=10, valid=10))
    same = {
        build_dataset(source, split, tmp_path / "a").fingerprint
        for source in (Given(BY_HAND), Elsewhere(BY_HAND), Given([*BY_HAND[3:], *BY_HAND[:3]]))
    }
    assert len(same) == 1
    items = {"item_id": ["c", "a", "b", "never"], "tags": [["x"], ["x", "y"], [], ["z"]]}
    others = [
        build_dataset(source, split, tmp_path / "b").fingerprint
        for source in (Given(BY_HAND[1:]), Given(BY_HAND, items), Given([*BY_HAND[:-1], (30, "b", 99 * DAY)]))
    ]
    assert len({*same, *others}) == 4


def test_a_data_set_does_not_depend_on_the_writer_of_its_missing_values(tmp_path):
    codes = pd.Series([5, None, 7, None], dtype="Int64")
    items = pd.DataFrame({"item_id": ["c", "a", "b", "never"], "code": codes, "price": codes / 2})
    Given(BY_HAND).load().interactions.to_csv(tmp_path / "log.csv", index=False)
    items.to_csv(tmp_path / "items.csv", index=False)
    for use_dictionary in (True, False):
        items.to_parquet(tmp_path / f"{use_dictionary}.parquet", index=False, use_dictionary=use_dictionary)
    prints = set()
    for name in ("items.csv", "True.parquet", "False.parquet"):
        paths = {"interactions_path": str(tmp_path / "log.csv"), "items_path": str(tmp_path / name)}
        source, split = TableFiles(TableFiles.Config(**paths)), Temporal(Temporal.Config(test=10, valid=10))
        prints.add(build_dataset(source, split, tmp_path / "cache").fingerprint)
    assert len(prints) == 1


def test_other_code_builds_again_and_equal_values_are_the_same_data(tmp_path, monkeypatch):
    source, split = Given(BY_HAND), Temporal(Temporal.Config(test=10, valid=10))
    first = build_dataset(source, split, tmp_path)
    counted = []
    monkeypatch.setattr(
        "twotower.data.build_dataset.code_fingerprint", lambda modules: counted.append(modules)
    )
    again = build_dataset(source, split, tmp_path)
    assert counted == [["test_data_build", "twotower.data.splits.temporal", "twotower.data.build_dataset"]]
    assert source.loads == 2
    assert again.fingerprint == first.fingerprint
    assert len(list(tmp_path.iterdir())) == 2


def test_rebuild_replaces_a_stored_data_set(tmp_path):
    source, split = Given(BY_HAND), Temporal(Temporal.Config(test=10, valid=10))
    first = build_dataset(source, split, tmp_path)
    assert build_dataset(source, split, tmp_path, rebuild=True).fingerprint == first.fingerprint
    assert source.loads == 2
    key = source.fingerprint()
    source.fingerprint = lambda: key  # a loader that says nothing of its change
    source.log = BY_HAND[1:]
    assert build_dataset(source, split, tmp_path).fingerprint == first.fingerprint
    changed = build_dataset(source, split, tmp_path, rebuild=True)
    assert changed.fingerprint != first.fingerprint
    assert build_dataset(source, split, tmp_path).fingerprint == changed.fingerprint
    with pytest.raises(InputError, match="was changed while a run used it; run again"):
        _ = first.test


DAMAGE = [
    ("valid/users.npy", "flip"),
    ("valid/target_items.npy", "remove"),
    ("test/target_offsets.npy", "truncate"),
    ("history_train/times.npy", "flip"),
    ("items.parquet", "flip"),
    ("meta.json", "truncate"),
    ("meta.json", "remove"),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damaged_data_sets_are_built_again(tmp_path, caplog, name, damage):
    source, split = Given(BY_HAND), Temporal(Temporal.Config(test=10, valid=10))
    first = build_dataset(source, split, tmp_path)
    [folder] = tmp_path.iterdir()
    victim, content = folder / name, (folder / name).read_bytes()
    middle = len(content) // 2
    changed = {"truncate": content[:-2], "flip": content[:middle] + bytes([content[middle] ^ 1])}
    victim.unlink() if damage == "remove" else victim.write_bytes(
        changed[damage] + (content[middle + 1 :] if damage == "flip" else b"")
    )
    second = build_dataset(source, split, tmp_path)
    assert second.train.items.tolist() == [1, 2, 2]
    assert second.test.target_items.tolist() == [3, 1]
    assert second.fingerprint == first.fingerprint
    assert source.loads == 2
    assert {each.name for each in tmp_path.iterdir()} == {folder.name, ".cache.lock"}
    assert f"{folder}: this stored data set is damaged, and is built again" in caplog.text


def test_test_arrays_are_opened_only_when_asked_for(tmp_path, monkeypatch):
    dataset = build_dataset(Synthetic(Synthetic.Config(**SMALL)), UserHoldout(UserHoldout.Config()), tmp_path)
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **how: opened.append(path.parent.name) or load(path, **how))
    assert len(dataset.valid.users)
    assert opened == []
    assert len(dataset.test.users)
    assert set(opened) == {"test", "history_test"}


def test_arrays_are_memory_mapped_and_cannot_be_written(tmp_path):
    dataset = build_dataset(Synthetic(Synthetic.Config(**SMALL)), Temporal(Temporal.Config()), tmp_path)
    for array in (dataset.train.items, dataset.train.times, dataset.test.target_items):
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable
    assert not list(tmp_path.rglob("*.pkl"))


def test_two_processes_build_at_once(tmp_path):
    def build():
        return build_dataset(
            Synthetic(Synthetic.Config(**SMALL)), Temporal(Temporal.Config()), tmp_path / "c"
        )

    processes = [Fork(build, tmp_path / name) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    (folder,) = (tmp_path / "c").iterdir()
    meta = (folder / "meta.json").read_text()
    assert build().audit["interactions"] == SMALL["num_interactions"]
    assert (folder / "meta.json").read_text() == meta


def test_several_threads_rebuild_at_once(tmp_path):
    source, split = Synthetic.Config(**SMALL).build(), LeaveOneOut.Config().build()
    first = build_dataset(source, split, tmp_path).fingerprint
    with ThreadPoolExecutor(3) as threads:
        built = threads.map(lambda _: build_dataset(source, split, tmp_path, rebuild=True), range(24))
        assert {each.fingerprint for each in built} == {first}


def test_files_of_nested_settings_are_in_the_fingerprint(tmp_path):
    class Nested(Given):
        class Config(Source.Config):
            places: dict[str, list[str]]

        def __init__(self, config):
            Source.__init__(self, config)

        fingerprint = Source.fingerprint

    path = tmp_path / "log.txt"
    path.write_text("1")
    source = Nested(Nested.Config(places={"logs": [str(path), "no path"]}))
    before = source.fingerprint()
    assert source.files() == [path]
    path.write_text("2")
    assert source.fingerprint() != before


def test_a_column_of_mixed_kinds_is_refused_by_name(tmp_path):
    items = {"item_id": ["a", "b", "c"], "size": [1, "large", 2.5]}
    with pytest.raises(InputError, match=r"items: .*size.*one kind"):
        build_dataset(Given(BY_HAND, items), Temporal(Temporal.Config(test=10, valid=10)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_audit_for_the_console():
    audit = {
        "equal_timestamp_rate": 0.53214,
        "extra_fact": 3,
        "users": 6040,
        "split": "x",
        "seen_filter": True,
    }
    assert audit_table(audit) == [
        ("equal-timestamp rate", "53.214%"),
        ("extra fact", "3"),
        ("users", "6,040"),
        ("split", "x"),
        ("seen-filter", "on"),
    ]


@pytest.mark.parametrize("cached", [False, True], ids=["new", "from the cache"])
def test_needs_are_asked_before_anything_is_built(tmp_path, monkeypatch, cached):
    source, split = Synthetic(Synthetic.Config(**SMALL)), Temporal(Temporal.Config())
    if cached:
        build_dataset(source, split, tmp_path)

    def burn(*_):
        raise AssertionError("the log is built")

    monkeypatch.setattr("twotower.data.load_source.build_interactions", burn)
    with pytest.raises(InputError) as caught:
        build_dataset(
            source,
            split,
            tmp_path,
            needs=lambda table, frame, source_path: [f"{table} {len(frame)}", source_path],
        )
    assert str(caught.value).splitlines()[0] == "4 mistakes in the data"
    assert f"  users {SMALL['num_users']}" in str(caught.value).splitlines()
