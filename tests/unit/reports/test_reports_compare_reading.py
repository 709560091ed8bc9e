import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from twotower.config.errors import InputError
from twotower.reports.compare.comparison import differing_keys, telling_keys
from twotower.reports.compare.entries import (
    Entry,
    by_configuration,
    column_of,
    configuration_entries,
    default_metric,
    known_key,
    label,
    validation_key,
    written,
)
from twotower.reports.compare.paired import luck, spreads
from twotower.reports.compare.per_user import UnpairedError, other_users, read_values
from twotower.reports.compare.record import (
    NOTHING,
    RunRecord,
    display_names,
    largest_group,
    other_data,
    read_run,
    run_folders,
)
from twotower.runs.directions import higher_is_better
from twotower.runs.result import Result
from twotower.runs.result_parts import Data

RESULT: dict[str, Any] = {
    "status": "ok",
    "metrics": {"test/recall_at_20": 0.25},
    "index": {"ok": True, "bytes_per_item": 64},
}


def make_run(folder: Path, result: object = None, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 1} | settings), encoding="utf-8")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def record(
    name: str,
    value: float = 0.5,
    *,
    data: str = "d",
    seen: bool = True,
    overrides: list[str] = [],  # noqa: B006
    **settings: Any,
) -> RunRecord:
    of_data = Data(fingerprint=data, audit={"seen_filter": seen})
    result = Result(status="ok", data=of_data, seed=settings.get("seed", 1), overrides=overrides)
    configuration = str(sorted((key, each) for key, each in settings.items() if key != "seed"))
    figures = {"test/recall_at_20": value}
    return RunRecord(Path(name), settings, result, "ok", "", configuration, figures)


def test_runs_are_found_below_folders_but_not_inside_runs_bundles_or_hidden_folders(tmp_path: Path) -> None:
    run = make_run(tmp_path / "sweep" / "dim=[1,2]")
    make_run(run / "bundle")
    (run / "bundle" / "manifest.json").write_text("{}", encoding="utf-8")
    make_run(tmp_path / ".cache" / "x")
    other = make_run(tmp_path / "b" / "1")
    assert run_folders([str(tmp_path)]) == ([other, run], [])
    # A name with brackets is taken as it stands, not as a pattern.
    assert run_folders([str(run)])[0] == [run]
    assert run_folders([str(run / "config.yaml")])[0] == [run]
    assert run_folders([f"{tmp_path}/b/*", f"{tmp_path}/b/1"])[0] == [other]


def test_a_bundle_or_a_stray_file_is_no_run(tmp_path: Path) -> None:
    bundle = make_run(tmp_path / "run" / "bundle")
    (bundle / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"a bundle, not a run; name the folder that it is in"):
        run_folders([str(bundle)])
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="a file, not a run"):
        run_folders([str(tmp_path / "notes.txt")])


@pytest.mark.parametrize(
    ("result", "state", "problem"),
    [
        (None, "unended", "has not ended"),
        ([], "damaged", "result.json is damaged: it says no status"),
        ({"status": "ok"}, "damaged", "result.json is damaged: it has no metrics"),
        (
            {"status": "ok", "metrics": [1]},
            "damaged",
            "result.json is damaged: metrics: Input should be a valid dictionary",
        ),
        ({"status": "failed", "error": "E:\n two  lines"}, "failed", "failed: E: two lines"),
        ({"status": "pruned", "training": {"epochs": 3}}, "pruned", "pruned at epoch 3"),
        ({"status": "pruned"}, "pruned", "pruned"),
        (RESULT | {"status": "index_rejected"}, "index_rejected", "index rejected"),
        (
            {"status": "later"},
            "damaged",
            "result.json is damaged: status: Input should be 'ok', 'index_rejected', 'failed' or 'pruned'",
        ),
        (RESULT, "ok", ""),
    ],
)
def test_the_state_of_a_run(tmp_path: Path, result: object, state: str, problem: str) -> None:
    found = read_run(make_run(tmp_path / "run", result))
    assert (found.state, found.problem) == (state, problem)


def test_numbers_that_no_file_can_hold(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", RESULT | {"metrics": {"test/a": 0.5, "test/b": float("nan")}}, limit=float("inf")
    )
    found = read_run(run)
    assert set(found.figures) == {"test/a", "test_exact/a", "index/bytes_per_item"}
    assert found.settings["limit"] == "inf"


def test_figures_have_their_group_and_are_numbers() -> None:
    assert Result(**RESULT).figures() == {
        "test/recall_at_20": 0.25,
        "test_exact/recall_at_20": 0.25,  # as of runs that do not say it
        "index/bytes_per_item": 64.0,
    }
    served = Result(**RESULT | {"metrics": {"test/recall_at_20": 0.25, "test_exact/recall_at_20": 0.5}})
    assert served.figures()["test_exact/recall_at_20"] == 0.5


def test_runs_are_of_one_configuration_if_only_the_seed_and_the_name_differ(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / "1", RESULT, seed=1, loss="a", name="x")),
        read_run(make_run(tmp_path / "2", RESULT, seed=2, loss="a", name="y", output_root="there")),
        read_run(make_run(tmp_path / "3", RESULT, seed=1, loss="b")),
    ]
    assert [len(group) for group in by_configuration(runs)] == [2, 1]


def test_a_run_that_goes_on_joins_its_configuration_and_is_not_in_the_mean(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / "1", RESULT, seed=1)),
        read_run(make_run(tmp_path / "2", RESULT | {"metrics": {"test/recall_at_20": 0.75}}, seed=2)),
        read_run(make_run(tmp_path / "3", None, seed=3)),
    ]
    entries, notes = configuration_entries(runs, display_names(runs))
    assert [(entry.name, entry.seeds) for entry in entries] == [("1 (2 seeds)", [1, 2])]
    assert entries[0].figures["test/recall_at_20"] == 0.5
    assert notes == ["3: has not ended; not in the mean of 1 (2 seeds)"]


def test_names_are_what_is_below_the_folder_of_all() -> None:
    names = display_names([record("/o/a/1"), record("/o/a/2"), record("/o/b/1")])
    assert list(names.values()) == ["a/1", "a/2", "b/1"]
    assert list(display_names([record("/o/a/1")]).values()) == ["1"]


def test_settings_that_differ_come_in_telling_order() -> None:
    runs = [
        record(
            "1",
            overrides=["embedding_dim=32"],
            seed=1,
            index="Flat",
            embedding_dim=32,
            console="rich",
            **{"metrics.x": 1},
        ),
        record("2", seed=2, index="IVF", **{"index.nlist": 8}, embedding_dim=32),
        record("3", seed=3, index="IVF", **{"index.nlist": 9}, embedding_dim=64),
    ]
    assert differing_keys(runs)[:3] == ["embedding_dim", "index", "index.nlist"]
    # What only changes the measuring comes late; what only changes the console is left out.
    assert differing_keys(runs)[3:] == ["metrics.x", "seed"]
    # `index.nlist` settles `index`, not the other way round, so both are told here.
    assert telling_keys(["index", "index.nlist"], runs) == ["index", "index.nlist"]
    assert telling_keys(["index.nlist", "index"], runs) == ["index.nlist"]
    assert telling_keys(["index", "metrics.x"], runs, most=1) == ["index"]
    # What was varied is told however many there are, and though another key settles it.
    assert telling_keys(["index", "index.nlist", "embedding_dim"], runs, most=0) == ["embedding_dim"]


def test_settings_as_text() -> None:
    run = RunRecord(Path("a"), {"a": True, "b": 1e-05, "c": 0.1, "d": 3}, NOTHING, "ok")
    assert [run.shown(key) for key in "abcde"] == ["true", "1e-05", "0.1", "3", "–"]


@pytest.mark.parametrize(
    ("key", "higher", "column", "valid", "heading"),
    [
        ("test/recall_at_20", True, "recall_at_20", "valid/recall_at_20", "recall@20"),
        ("test/gini_at_20", False, "gini_at_20", "valid/gini_at_20", "gini@20"),
        ("valid/ndcg_at_20", True, None, "valid/ndcg_at_20", "valid ndcg@20"),
        ("index/latency_ms_p50", False, None, "index/latency_ms_p50", "p50 ms"),
        ("index/bytes_per_item", False, None, "index/bytes_per_item", "bytes/item"),
        ("timing/train_seconds", False, None, "timing/train_seconds", "timing train_seconds"),
        ("index/recall_at_100", True, None, "index/recall_at_100", "index recall@100"),
        ("index/recall_at_100_by_row", True, None, "index/recall_at_100_by_row", "index recall@100_by_row"),
        ("index/num_vectors", None, None, "index/num_vectors", "index num_vectors"),
        ("test/novelty_at_20", None, "novelty_at_20", "valid/novelty_at_20", "novelty@20"),
    ],
)
def test_what_a_figure_is(
    key: str, higher: bool | None, column: str | None, valid: str, heading: str
) -> None:
    assert (higher_is_better(key), column_of(key), validation_key(key), label(key)) == (
        higher,
        column,
        valid,
        heading,
    )


def test_figures_are_found_by_short_names() -> None:
    runs = [RunRecord(Path("a"), {}, NOTHING, "ok", figures=Result(**RESULT).figures())]
    assert known_key("recall@20", "metric", runs) == "test/recall_at_20"
    assert known_key("bytes_per_item", "metric", runs) == "index/bytes_per_item"
    with pytest.raises(InputError, match="did you mean 'index/bytes_per_item'"):
        known_key("index/byte_per_item", "metric", runs)
    with pytest.raises(InputError, match="none of these runs has ended"):
        known_key("recall@20", "metric", [RunRecord(Path("a"), {}, NOTHING, "failed")])
    assert default_metric(runs) == "test/recall_at_20"


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.1235"), (264.0, "264.0"), (1234567.0, "1,234,567"), (None, "")]
)
def test_figures_as_text(value: float | None, text: str) -> None:
    assert written("test/recall_at_20", value) == text
    assert written("index/latency_ms_p50", 0.0625) == "0.062"


def test_what_other_data_is_said_to_be() -> None:
    one = record("1", **{"split.test": 28})
    assert other_data(one, record("2", **{"split.test": 28})) == ""
    assert (
        other_data(one, record("2", data="e", **{"split.test": 14}))
        == "other split: split.test 28 against 14"
    )
    same_settings = record("2", data="e", **{"split.test": 28})
    assert "other data" in other_data(record("1", **{"split.test": 28}), same_settings)
    assert "seen items are filtered in one" in other_data(one, record("2", seen=False))
    nameless = RunRecord(Path("3"), {}, Result(status="ok"), "ok")
    assert "does not say which data" in other_data(one, nameless)
    assert largest_group([record("1", data="e"), one, record("2")]) == [one, record("2")]
    assert largest_group([nameless]) == []


def test_spread_over_seeds_by_hand() -> None:
    runs = [record(f"{seed}", value, seed=seed) for seed, value in enumerate((0.1, 0.2, 0.3))]
    runs += [record("x", 0.5, loss="b", seed=1), record("y", 0.9, loss="b", seed=1)]
    found = spreads(runs, "test/recall_at_20")
    assert len(found) == 1
    spread = next(iter(found.values()))
    assert (spread.mean, spread.sd, spread.num_seeds) == pytest.approx((0.2, 0.1, 3))
    pooled = luck([spread, spread])
    assert pooled is not None
    assert (pooled.sd, pooled.num_seeds, pooled.reach) == pytest.approx((0.1, 3, 2 * 2**0.5 * 0.1))
    assert luck([]) is None


def entry_of(folder: Path) -> Entry:
    return Entry(folder.name, "run", (RunRecord(folder, {}, NOTHING, "ok"),), {})


def write_users(folder: Path, users: object, values: object) -> Entry:
    folder.mkdir(parents=True)
    pd.DataFrame({"user_id": users, "recall": values}).to_parquet(folder / "per_user.parquet", index=False)
    return entry_of(folder)


def test_values_are_read_in_the_order_of_their_users(tmp_path: Path) -> None:
    table = read_values(write_users(tmp_path / "a", [3, 1, 2], [0.3, 0.1, 0.2]), "recall")
    assert (table.users.tolist(), table.values.tolist()) == ([1, 2, 3], [[0.1, 0.2, 0.3]])
    table = read_values(write_users(tmp_path / "b", ["y", "x"], [1, 0]), "recall")
    assert (table.users.tolist(), table.values.tolist()) == (["x", "y"], [[0.0, 1.0]])


@pytest.mark.parametrize(
    ("users", "values", "told"),
    [
        ([1, 1], [0.1, 0.2], "names a user twice"),
        ([1, 2], [0.1, None], "recall is not a number for every user"),
        ([1, 2], ["a", "b"], "recall is not a number for every user"),
        ([], [], "has no user"),
    ],
)
def test_values_that_cannot_be_paired(tmp_path: Path, users: list[int], values: list[Any], told: str) -> None:
    with pytest.raises(UnpairedError, match=told):
        read_values(write_users(tmp_path / "a", users, values), "recall")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    entry = write_users(tmp_path / "a", [1], [0.5])
    with pytest.raises(UnpairedError, match=r"per_user\.parquet has no column ndcg"):
        read_values(entry, "ndcg")
    with pytest.raises(UnpairedError, match=r"it has no per_user\.parquet"):
        read_values(entry_of(tmp_path), "recall")
    (tmp_path / "a" / "per_user.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnpairedError, match=r"per_user\.parquet is damaged"):
        read_values(entry, "recall")


def test_how_users_differ() -> None:
    assert other_users(np.array([1, 2]), np.array([1, 2])) == ""
    assert other_users(np.array([1, 2]), np.array([1])) == "other users (2 against 1)"
    assert other_users(np.array([1, 2]), np.array([1, 3])) == "other users (also 2, but not the same)"
    assert other_users(np.array([1]), np.array(["1"])) == "other users (also 1, but not the same)"
