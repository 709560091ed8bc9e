from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_maker import make_run

from twotower.config.errors import InputError
from twotower.experiments.compare.comparison import compare
from twotower.experiments.compare.figure_names import (
    find_figure,
    format_figure,
    heading,
    per_user_column,
    validation_key,
)
from twotower.experiments.compare.paired import UnpairedError, read_column
from twotower.experiments.compare.run_frame import figures_in, read_runs, run_folders, setting_text
from twotower.experiments.runs.fingerprint import fingerprint
from twotower.experiments.runs.result import Result

RESULT: dict[str, Any] = {
    "status": "ok",
    "metrics": {"test/recall_at_20": 0.25},
    "index": {"ok": True, "bytes_per_item": 64},
}


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
    with pytest.raises(InputError, match=r"a bundle, not a run; name its parent folder"):
        run_folders([str(run / "bundle")])
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="a file, not a run"):
        run_folders([str(tmp_path / "notes.txt")])


def test_settings_that_were_edited_after_the_run_are_named(tmp_path: Path) -> None:
    recorded = {"fingerprint": fingerprint({"seed": 1, "dim": 8}, "d"), "data": {"fingerprint": "d"}}
    run = make_run(tmp_path / "run", RESULT | recorded, dim=8)
    assert read_runs([run])["problem"][0] == ""
    (run / "config.yaml").write_text("{seed: 1, dim: 4}")
    assert read_runs([run])["problem"][0] == "its config.yaml was edited after the run"


@pytest.mark.parametrize(
    ("result", "state", "problem"),
    [
        (None, "unended", "has not ended"),
        ([], "unreadable", "result.json: damaged (it has no status)"),
        ({"status": "ok"}, "unreadable", "result.json: damaged (it has no metrics)"),
        (
            {"status": "ok", "metrics": [1]},
            "unreadable",
            "result.json: damaged (metrics: Input should be a valid dictionary)",
        ),
        ({"status": "failed", "error": "E:\n two  lines"}, "failed", "failed: E: two lines"),
        ({"status": "pruned", "training": {"epochs": 3}}, "pruned", "pruned at epoch 3"),
        ({"status": "pruned"}, "pruned", "pruned"),
        (RESULT | {"status": "index_rejected"}, "index_rejected", "index rejected"),
        (
            {"status": "later"},
            "unreadable",
            "result.json: damaged (status: Input should be 'ok', 'index_rejected', 'failed' or 'pruned')",
        ),
        (RESULT, "ok", ""),
    ],
)
def test_the_state_of_a_run(tmp_path: Path, result: object, state: str, problem: str) -> None:
    runs = read_runs([make_run(tmp_path / "run", result)])
    assert (runs["state"][0], runs["problem"][0]) == (state, problem)


def test_infinity_and_nan_are_texts(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", RESULT | {"metrics": {"test/a": 0.5, "test/b": float("nan")}}, limit=float("inf")
    )
    found = read_runs([run])
    assert set(figures_in(found)) == {"test/a", "test_exact/a", "index/bytes_per_item"}
    assert found["settings.limit"][0] == "inf"


def result_of(value: float, seen: bool = True, data: str = "d", **more: Any) -> dict[str, Any]:
    metrics = {"test/recall_at_20": value, "valid/recall_at_20": value}
    return {
        "status": "ok",
        "metrics": metrics,
        "data": {"fingerprint": data, "audit": {"seen_filter": seen}},
    } | more


def test_a_configuration_is_its_settings_without_seed_and_name(tmp_path: Path) -> None:
    """A run that has not ended joins its configuration and is not in the mean."""
    runs = [
        make_run(tmp_path / "1", result_of(0.25), seed=1, loss="a", name="x"),
        make_run(tmp_path / "2", result_of(0.75), seed=2, loss="a", name="y", output_root="there"),
        make_run(tmp_path / "3", None, seed=3, loss="a"),
        make_run(tmp_path / "4", result_of(0.125), seed=1, loss="b"),
    ]
    found = compare(runs, by="configuration", tests=False)
    assert list(found.rows["name"]) == ["1 (2 seeds)", "4"]
    assert list(found.rows["seeds"]) == [(1, 2), (1,)]
    assert list(found.rows["test/recall_at_20"]) == [0.5, 0.125]
    assert found.keys == ["loss"]
    assert "3: has not ended; not in the mean of 1 (2 seeds)" in found.notes
    spread = found.rows.loc[0, ["seed_mean", "seed_sd", "num_seeds"]]
    assert list(spread) == pytest.approx([0.5, 0.125**0.5, 2])


def test_settings_that_differ_are_sorted_by_importance(tmp_path: Path) -> None:
    typed = result_of(0.5, overrides=["embedding_dim=32"])
    runs = [
        make_run(tmp_path / "1", typed, index="Flat", embedding_dim=32, console="full", metrics={"x": 1}),
        make_run(tmp_path / "2", result_of(0.5), seed=2, index="IVF", embedding_dim=32, nlist=8),
        make_run(tmp_path / "3", result_of(0.5), seed=3, index="IVF", embedding_dim=64, nlist=9),
    ]
    found = compare(runs, tests=False)
    # What only changes the evaluation comes late; what only changes the console is left out.
    assert found.keys == ["embedding_dim", "nlist", "index", "metrics.x", "seed"]
    # A typed key is always shown; of the others, `nlist` determines `index`.
    assert found.main_keys == ["embedding_dim", "nlist"]


def test_settings_of_a_run_with_a_damaged_result_are_read(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / loss, result_of(0.5), loss=loss, dim=8) for loss in "ab"]
    found = compare([*runs, make_run(tmp_path / "damaged", [], loss="a", dim=8)], tests=False)
    assert found.keys == ["loss"]
    assert list(found.rows["state"]) == ["ok", "ok", "unreadable"]


@pytest.mark.parametrize(
    ("key", "column", "valid", "title"),
    [
        ("test/recall_at_20", "recall_at_20", "valid/recall_at_20", "recall@20"),
        ("valid/ndcg_at_20", None, "valid/ndcg_at_20", "valid ndcg@20"),
        ("mean_test/ndcg_at_20", None, "mean_valid/ndcg_at_20", "mean test ndcg@20"),
        ("sd_valid/ndcg_at_20", None, "mean_valid/ndcg_at_20", "sd valid ndcg@20"),
        ("index/latency_ms_p50", None, "index/latency_ms_p50", "p50 ms"),
        ("timing/train_seconds", None, "timing/train_seconds", "timing train_seconds"),
        ("index/recall_at_100_by_row", None, "index/recall_at_100_by_row", "index recall@100_by_row"),
        ("cold_start/model/cold/recall_at_20", None, "valid/recall_at_20", "cold recall@20"),
    ],
)
def test_properties_of_figures(key: str, column: str | None, valid: str, title: str) -> None:
    assert (per_user_column(key), validation_key(key), heading(key)) == (column, valid, title)


def test_figures_have_short_names() -> None:
    known = list(Result(**RESULT).figures())
    assert find_figure("recall@20", "metric", known) == "test/recall_at_20"
    assert find_figure("bytes_per_item", "metric", known) == "index/bytes_per_item"
    with pytest.raises(InputError, match="did you mean 'index/bytes_per_item'"):
        find_figure("index/byte_per_item", "metric", known)
    with pytest.raises(InputError, match="none of these runs has ended"):
        find_figure("recall@20", "metric", [])


def test_values_as_text() -> None:
    values = (0.12345, 264.0, 1234567.0, None)
    texts = ["0.1235", "264.0", "1,234,567", ""]
    assert [format_figure("test/recall_at_20", value) for value in values] == texts
    assert format_figure("index/latency_ms_p50", 0.0625) == "0.062"
    assert list(map(setting_text, (True, 1e-05, 0.1, 3, None))) == ["true", "1e-05", "0.1", "3", "–"]


def test_runs_on_other_data_are_not_comparable(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "base", result_of(0.5), split={"test": 28}),
        make_run(tmp_path / "same", result_of(0.25), split={"test": 28}, loss="b"),
        make_run(tmp_path / "content", result_of(0.25, data="f"), split={"test": 28}),
        make_run(tmp_path / "seen", result_of(0.25, seen=False), split={"test": 28}),
        make_run(tmp_path / "unknown", {"status": "ok", "metrics": result_of(0.5)["metrics"]}),
    ]
    rows = compare(runs, tests=False).rows.set_index("name")
    assert rows.index[0] == "base"  # of the largest group
    assert rows["verdict"]["same"] == ""
    assert set(rows["verdict"][["content", "seen", "unknown"]]) == {"not comparable"}
    assert rows["reason"]["content"] == "other data: its content has changed"
    assert "seen items are filtered in one" in rows["reason"]["seen"]
    assert "does not record its data" in rows["reason"]["unknown"]


def write_users(path: Path, users: object, values: object) -> Path:
    pd.DataFrame({"user_id": users, "recall": values}).to_parquet(path, index=False)
    return path


def test_values_are_read_in_the_order_of_their_users(tmp_path: Path) -> None:
    users, values = read_column(write_users(tmp_path / "a", [3, 1, 2], [0.3, 0.1, 0.2]), "recall")
    assert (users.tolist(), values.tolist()) == ([1, 2, 3], [0.1, 0.2, 0.3])
    users, values = read_column(write_users(tmp_path / "b", ["y", "x"], [1, 0]), "recall")
    assert (users.tolist(), values.tolist()) == (["x", "y"], [0.0, 1.0])


@pytest.mark.parametrize(
    ("users", "values", "message"),
    [
        ([1, 1], [0.1, 0.2], "names a user twice"),
        ([1, 2], [0.1, None], "recall is not a number for every user"),
        ([1, 2], ["a", "b"], "recall is not a number for every user"),
        ([], [], "has no user"),
    ],
)
def test_values_that_cannot_be_paired(
    tmp_path: Path, users: list[int], values: list[Any], message: str
) -> None:
    with pytest.raises(UnpairedError, match=message):
        read_column(write_users(tmp_path / "a", users, values), "recall")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_users(tmp_path / "per_user.parquet", [1], [0.5])
    with pytest.raises(UnpairedError, match=r"per_user\.parquet has no column ndcg"):
        read_column(path, "ndcg")
    with pytest.raises(UnpairedError, match="it has no other"):
        read_column(tmp_path / "other", "recall")
    path.write_bytes(b"PAR1")
    with pytest.raises(UnpairedError, match=r"per_user\.parquet is damaged"):
        read_column(path, "recall")


def test_a_benchmark_is_one_setting(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", RESULT, benchmark={"name": "mine", "fixed": {"data": {"a": 1}}})
    found = read_runs([run])
    assert [key for key in found if key.startswith("settings.benchmark")] == ["settings.benchmark"]
    assert found["settings.benchmark"][0] == "mine"
