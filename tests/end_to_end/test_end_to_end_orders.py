"""Logs in the benchmarks' own layouts: an order and no times, repeats that are kept, two files of lists."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import run_script

from twotower.serving.browser import Browser
from twotower.serving.retriever import Retriever

SMALL = (
    "experiment=no_times",
    "trainer=smoke",
    "trainer.progress_bar=false",
    "embedding_dim=8",
    "objective.batch_size=64",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    "index=flat_ip",
    "reuse=false",
)
NUM_USERS, NUM_ITEMS = 60, 40


def lines_of_habit() -> list[str]:
    """Pairs in order: users take four favourites again and again, and now and then something else."""
    rng = np.random.default_rng(0)
    favourites = rng.integers(1, NUM_ITEMS + 1, (NUM_USERS, 4))
    lines = []
    for _ in range(15):
        for user in range(NUM_USERS):
            any_item = int(rng.integers(1, NUM_ITEMS + 1))
            item = any_item if rng.random() < 0.3 else int(rng.choice(favourites[user]))
            lines.append(f"u{user + 1:02d} {item}")
    return lines


def trained(root: Path, *overrides: str) -> tuple[dict[str, Any], Path, str]:
    done = run_script("train", *SMALL, "console=full", f"output_root={root}", *overrides)
    assert done.returncode == 0, done.stderr
    (result,) = root.glob("*/*/result.json")
    return json.loads(result.read_text()), result.parent, done.stderr + done.stdout


@pytest.fixture(scope="module")
def habits(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    folder = tmp_path_factory.mktemp("habits")
    (folder / "log.txt").write_text("\n".join(lines_of_habit()) + "\n")
    return trained(folder / "out", "data=pairs", f"data.path={folder / 'log.txt'}", "data.repeats=keep")


def test_repeats_in_an_order_without_times(habits: tuple[dict[str, Any], Path, str]) -> None:
    result, _, said = habits
    audit = result["data"]["audit"]
    assert audit["order"] == "rows"
    assert audit["seen_filter"] is False
    assert (audit["valid_interactions"], audit["test_interactions"]) == (NUM_USERS, NUM_USERS)
    assert audit["repeats_kept"] > NUM_USERS
    assert not {"first_time", "equal_timestamp_rate", "future_leak_rate"} & audit.keys()
    assert set(result["baselines"]) == {"popularity", "bought_before", "ease", "item_knn"}
    baselines = {name: values["test/recall_at_20"] for name, values in result["baselines"].items()}
    assert baselines["bought_before"] > baselines["popularity"]
    slices = result["slices"]["test"]["target_repeat"]
    assert slices["new"]["num_targets"] + slices["repeated"]["num_targets"] == NUM_USERS
    of_habit = result["baseline_slices"]["bought_before"]
    assert of_habit["repeated"]["recall_at_20"] > of_habit["new"]["recall_at_20"]
    assert result["baseline_slices"].keys() == result["baselines"].keys()
    for words in ("order", "seen-filter", "bought_before"):
        assert words in said


def test_its_bundle_recommends_what_a_user_has_unless_asked(
    habits: tuple[dict[str, Any], Path, str],
) -> None:
    retriever = Retriever.open(habits[1] / "bundle")
    everything = [each.item_id for each in retriever.recommend("u01", 100)]
    assert len(everything) == retriever.num_items
    had = {int(line.split()[1]) for line in lines_of_habit() if line.startswith("u01 ")}
    left = [each.item_id for each in retriever.recommend("u01", 100, exclude_seen=True)]
    assert set(everything) - set(left) == had


def test_events_come_after_the_places_of_the_log(habits: tuple[dict[str, Any], Path, str]) -> None:
    retriever = Retriever.open(habits[1] / "bundle")
    before = [each.score for each in retriever.recommend("u01", 3)]
    now = int(time.time())
    retriever.add_event("u01", 7, now)
    assert [each.score for each in retriever.recommend("u01", 3)] != before
    newest, *older = Browser(retriever).user("u01")["history"]
    assert (newest["item_id"], newest["time"]) == ("7", now)
    assert len(older) == 14  # of fifteen, the last is what was to be predicted
    assert all(each["time"] is None for each in older)


def test_lists_in_two_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    drawn = [rng.permutation(NUM_ITEMS)[:12] for _ in range(NUM_USERS)]
    train = [" ".join(map(str, [user, *items[:10]])) for user, items in enumerate(drawn)]
    test = [" ".join(map(str, [user, *items[10:]])) if user else "0" for user, items in enumerate(drawn)]
    paths = []
    for name, lines in (("train", train), ("test", test)):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
        paths.append(f"data.{name}_path={tmp_path / f'{name}.txt'}")
    result, _, _ = trained(
        tmp_path / "out", "data=item_lists", *paths, "split=given", "split.valid_share=0.2"
    )
    audit = result["data"]["audit"]
    assert audit["order"] == "none (drawn)"
    assert audit["valid_share_of_train"] == 0.2
    assert (audit["users"], audit["items"], audit["interactions"]) == (NUM_USERS, NUM_ITEMS, 718)
    parts = [audit[f"{part}_interactions"] for part in ("train", "valid", "test")]
    assert parts == [NUM_USERS * 8, NUM_USERS * 2, 118]
    assert audit["seen_filter"] is True
    assert set(result["baselines"]) == {"popularity", "ease", "item_knn"}
    assert "target_repeat" not in result["slices"]["test"]
    assert result["baseline_slices"] == {}


def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("1 2\n1 3 4\n")
    done = run_script(
        "train", *SMALL, f"output_root={tmp_path}", "data=pairs", f"data.path={tmp_path}/log.txt"
    )
    assert done.returncode == 2
    assert f"{tmp_path}/log.txt: line 2: expected a user and an item, found 3 fields" in done.stderr
