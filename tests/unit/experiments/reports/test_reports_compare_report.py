import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from run_maker import make_run

from twotower.config.errors import InputError
from twotower.evaluation.power import detectable_differences
from twotower.experiments.compare.command import KEYS, run_command, split_arguments
from twotower.experiments.compare.comparison import Comparison, compare
from twotower.experiments.compare.output_forms import as_csv, as_json, as_markdown
from twotower.experiments.compare.page import as_html, page_data

KEY, FIRST = "test/recall_at_20", "first_place_at_20"
LOW = [0.125, 0.25, 0.375, 0.5, 0.125, 0.25, 0.375, 0.5]


def verdicts(comparison: Comparison) -> dict[str, str]:
    """The verdict of each row by name, in the order of the table."""
    return dict(zip(comparison.rows["name"], comparison.rows["verdict"], strict=True))


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (
            ({"first_place": False}, {}),
            ("better (one seed)", "worse (one seed)"),
        ),  # the other run does not record it
        (({"first_place": True}, {"first_place": True}), ("worse (one seed)", "better (one seed)")),
        (({"first_place": None}, {"first_place": None}), ("lower (one seed)", "higher (one seed)")),
        (({"first_place": False}, {"first_place": True}), ("lower (one seed)", "higher (one seed)")),
    ],
)
def test_runs_record_which_direction_of_a_metric_is_better(
    tmp_path: Path, recorded: tuple[dict[str, Any], dict[str, Any]], expected: tuple[str, str]
) -> None:
    high = [value + 0.125 for value in LOW]
    runs = [
        write_run(tmp_path / name, values, valid=valid, loss=name, higher_is_better=known, column=FIRST)
        for name, values, valid, known in (("low", LOW, 0.5, recorded[0]), ("high", high, 0.25, recorded[1]))
    ]
    low, best = (compare(runs, metric=FIRST, baseline=name) for name in ("high", "low"))
    assert (verdicts(low)["low"], verdicts(best)["high"]) == expected
    unnamed = compare(runs, metric=FIRST)
    if expected == ("better (one seed)", "worse (one seed)"):
        assert list(verdicts(unnamed)) == ["high", "low"]
        assert unnamed.baseline_reason == "the best by valid first_place@20, not by the test split"
        assert "lower is better" in as_html(unnamed)
    elif expected == ("lower (one seed)", "higher (one seed)"):
        assert unnamed.baseline_reason.startswith("the first; valid first_place@20 has no better direction")
        assert json.loads(as_json(unnamed))["higher_is_better"] is None
        assert "no direction is better" in as_html(unnamed)


def test_seeds_of_one_configuration_are_never_better(tmp_path: Path) -> None:
    high = [value + 0.125 for value in LOW]
    runs = [
        write_run(tmp_path / "first", LOW, valid=1.0),
        write_run(tmp_path / "seed", high, seed=2),
        write_run(tmp_path / "equal", LOW, seed=3),
        write_run(tmp_path / "repeated", [value + 0.25 for value in LOW]),
    ]
    assert verdicts(compare(runs)) == {
        "first": "the baseline",
        "seed": "differs by seed",
        "repeated": "differs, though repeated",
        "equal": "the same in every user",
    }


def test_a_difference_within_the_variation_over_seeds_is_marked(tmp_path: Path) -> None:
    """The standard deviation over seeds is 0.125: single runs may differ by 0.3536, baselines by 0.25."""
    shifts = {"x1": 0.0, "x2": 0.125, "x3": 0.25}
    runs = [
        write_run(tmp_path / name, [value + more for value in LOW], seed=seed, loss="x", valid=more)
        for seed, (name, more) in enumerate(shifts.items())
    ]
    runs.append(write_run(tmp_path / "near", LOW, loss="near"))
    runs.append(write_run(tmp_path / "far", [value + 0.75 for value in LOW], loss="far"))
    found = compare(runs, baseline="x3")
    assert found.noise == pytest.approx((0.125, 3))
    reasons = dict(zip(found.rows["name"], found.rows["reason"], strict=True))
    assert reasons["near"] == "within the variation over seeds: sd 0.1250 over 3 seeds"
    assert reasons["far"] == ""
    assert verdicts(found)["far"] == "better (one seed)"


def test_the_baseline_is_chosen_by_validation_and_the_right_way_round(tmp_path: Path) -> None:
    def run(name: str, valid: float, latency: float, recall: float = 1.0) -> Path:
        index = {"latency_ms_p50": latency, "recall_at_100": recall}
        return write_run(tmp_path / name, LOW, valid=valid, loss=name, index=index)

    runs = [run("a", 0.2, 3.0), run("b", 0.3, 2.0), run("c", 0.1, 1.0)]
    best = compare(runs)
    assert (best.baseline, best.rows["name"][0]) == (0, "b")
    assert best.baseline_reason == "the best by valid recall@20, not by the test split"
    fastest = compare(runs, metric="index/latency_ms_p50")
    assert fastest.rows["name"][fastest.baseline or 0] == "c"
    equal = compare([run("d", 0.5, 1.0, 0.9), run("e", 0.5, 1.0, 1.0)])
    assert verdicts(equal)["e"] == "the baseline"


def write_run(
    folder: Path, values: Sequence[float], *, seed: int = 1, valid: float = 0.5, **more: Any
) -> Path:
    column, loss, table = more.pop("column", "recall_at_20"), more.pop("loss", "a"), more.pop("table", {})
    metrics = {f"valid/{column}": valid, f"test/{column}": float(np.mean(values)), "test/coverage_at_20": 0.5}
    result: dict[str, Any] = {"status": "ok", "seed": seed, "metrics": metrics}
    result |= {"data": {"fingerprint": "d", "audit": {"seen_filter": True}}}
    result |= {"higher_is_better": {"recall": True, "coverage": True}} | more
    make_run(folder, result, seed=seed, loss=loss)
    table = {"user_id": range(len(values)), column: values, "list_hash": 0} | table
    pd.DataFrame(table).to_parquet(folder / "per_user.parquet", index=False)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs over eight users: b is better than a by 1/8 in every user; c is a again."""
    return [
        write_run(tmp_path / "a", LOW, loss="<i>|x"),
        write_run(tmp_path / "b", [value + 0.125 for value in LOW], loss="y", valid=0.75),
        write_run(tmp_path / "c", LOW, loss="z"),
    ]


def test_runs_of_windows_have_means_and_agreement(tmp_path: Path) -> None:
    def windows(*figures: float, summary: bool = True) -> dict[str, Any]:
        entries = [
            {"window": number, "test_from": f"day {number}", "metrics": {f"valid/{name}": 1.0, KEY: figure}}
            for number, figure in enumerate(figures, 1)
        ]
        mean = {"metrics": {KEY: {"mean": float(np.mean(figures)), "sd": 0.1}}} if summary else {}
        return {"windows": entries, "windows_summary": mean}

    name = KEY.removeprefix("test/")
    runs = [
        write_run(tmp_path / "a", LOW, loss="a", **windows(0.1, 0.3)),
        write_run(tmp_path / "b", LOW, loss="b", **windows(0.2, 0.5)),
        write_run(tmp_path / "c", LOW, loss="c", **windows(0.3, 0.4)),
        write_run(tmp_path / "d", LOW, loss="d", **windows(0.9, 0.9, summary=False)),  # one has failed
    ]
    report = compare(runs, metric=f"mean_{KEY}")
    assert dict(zip(report.rows["name"], report.rows[f"mean_{KEY}"], strict=True)) == pytest.approx(
        {"a": 0.2, "b": 0.35, "c": 0.35, "d": np.nan}, nan_ok=True
    )
    assert any(
        "Kendall's tau of 3 runs by recall@20 between 2 windows: 0.33 (1:" in note for note in report.notes
    )
    other = write_run(tmp_path / "e", LOW, loss="e", **windows(0.1))
    assert f"mean_{KEY} is not comparable between runs with other windows (split=rolling)" in (
        compare([*runs, other], metric=f"mean_{KEY}").notes
    )


def test_the_spread_over_windows_is_compared_with_the_best_mean_on_validation(tmp_path: Path) -> None:
    valid = KEY.replace("test/", "valid/")
    for name, mean in (("low", 0.1), ("high", 0.3)):
        summary = {"metrics": {key: {"mean": mean, "sd": mean / 10} for key in (KEY, valid)}}
        entries = [{"window": 1, "test_from": "day 1", "metrics": {valid: mean, KEY: mean}}]
        write_run(tmp_path / name, LOW, loss=name, windows=entries, windows_summary=summary)
    report = compare([tmp_path / "low", tmp_path / "high"], metric=f"sd_{KEY}")
    assert list(report.rows["name"]) == ["high", "low"]
    assert report.baseline == 0


def test_a_column_that_is_named_twice_is_shown_once(runs: list[Path]) -> None:
    report = compare(runs, columns=["coverage_at_20", "coverage@20", "test/coverage_at_20"])
    assert report.columns == ["test/coverage_at_20"]
    assert len(json.loads(as_json(report))["rows"]) == len(runs)


def test_a_whole_comparison_by_hand(runs: list[Path]) -> None:
    report = compare(runs)
    assert list(report.rows["name"]) == ["b", "a", "c"]
    assert report.baseline == 0
    assert list(report.rows["verdict"]) == ["the baseline", "worse (one seed)", "worse (one seed)"]
    # a and c have the same values: one test, in which 2 of 2^8 sign vectors reach the sum.
    assert report.num_tests == 1
    found = report.rows.loc[1]
    assert list(found[["difference", "low", "high"]]) == pytest.approx([-0.125] * 3)
    assert found["corrected_p_value"] == 2 / 2**8
    assert report.keys == ["loss"]
    assert any(note.startswith("(one seed): the test is over users") for note in report.notes)


def test_epochs_kept_are_a_column_and_a_note(tmp_path: Path) -> None:
    for name, epochs in (("a", 0), ("b", 3), ("c", 0)):
        write_run(tmp_path / name, LOW, loss=name, training={"epochs": epochs})
    report = compare([tmp_path / name for name in "abc"])
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(as_csv(report)))}
    assert {name: float(row["training/epochs_kept"]) for name, row in rows.items()} == {
        "a": 0,
        "b": 3,
        "c": 0,
    }
    head, _, *table = as_markdown(report).splitlines()
    at = head.split(" | ").index("epochs kept")
    assert [row.split(" | ")[at] for row in table[:3]] == ["0", "3", "0"]
    assert "epochs kept" in [column["heading"] for column in page_data(report)["columns"]]
    assert any(note.startswith("2 of 3 runs kept the initial embeddings") for note in report.notes)


def test_main_effects_are_on_the_page_and_below_the_table(tmp_path: Path) -> None:
    for name, valid in (("a1", 0.25), ("b1", 0.5), ("a2", 0.25), ("b2", 0.625)):
        write_run(tmp_path / name, LOW, loss=name[0], seed=int(name[1]), valid=valid, overrides=["loss=x"])
    report = compare([tmp_path])
    line = "effect on valid recall@20: loss=b  +0.3125 against a (2 of 2 pairs agree)"
    assert line in page_data(report)["summary"]
    assert f"- {line}" in as_markdown(report).splitlines()


def test_rows_that_tie_name_the_command_for_more_seeds(tmp_path: Path) -> None:
    shift = np.array([0.25, -0.25] * 4)
    typed = ["loss=a", "name=two words", "seed=7"]
    tied = [
        write_run(tmp_path / "best", LOW, valid=1.0, overrides=typed),
        write_run(tmp_path / "tied", LOW + shift, loss="b"),
    ]
    command = "twotower train loss=a 'name=two words' seeds=3"
    note = f"1 rows tie with the baseline: train each with three seeds, as {command}"
    assert note in compare(tied).notes
    seeds = [
        write_run(tmp_path / f"{loss}{seed}", LOW + sign * shift, loss=loss, seed=seed)
        for loss, sign in (("a", 0), ("b", 1))
        for seed in (8, 9)
    ]
    assert not any("tie" in note for note in compare([*tied, *seeds], by="configuration").notes)


def test_towers_under_other_indexes_are_tested_by_exact_search(tmp_path: Path) -> None:
    """Columns of `test_exact/` are there where the index is not exact; else those of `test/` are meant."""
    low = [0.125, 0.25, 0.375, 0.5] * 2
    high = [value + 0.125 for value in low]
    metrics = {"valid/recall_at_20": 0.5, "test/recall_at_20": 0.3125, "test_exact/recall_at_20": 0.4375}
    codes = write_run(
        tmp_path / "codes", low, loss="y", table={"test_exact/recall_at_20": high}, metrics=metrics
    )
    runs = [write_run(tmp_path / "exact", low, valid=0.75), codes]
    served, exact = (compare(runs, metric=metric) for metric in (None, "test_exact/recall_at_20"))
    assert list(served.rows[KEY]) == [0.3125, 0.3125]
    assert list(verdicts(exact).items()) == [
        ("exact", "the baseline"),
        ("codes", "better (one seed)"),
    ]


def test_power_and_equivalence_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """400 users who differ by 1/8 to either side: the standard error is 1/160, 2.8 of them are .0175."""
    low = np.tile(LOW, 50)
    noise = np.tile([0.125, -0.125], 200)
    runs = [write_run(tmp_path / "base", low, valid=0.75)]
    runs += [
        write_run(tmp_path / name, low + noise + more, loss=name)
        for name, more in (("near", 0.005), ("far", 0.1))
    ]
    table = compare(runs).rows.set_index("name")
    assert table.loc["near", "verdict"] == "no difference shown"
    # `far` is shown, so Holm tests `near` at .05.
    assert table.loc["near", "detectable_difference"] == pytest.approx(0.0175, rel=0.02)
    assert table.loc["near", "users_needed"] == pytest.approx(400 * 3.5**2, rel=0.04)
    needed = table.loc["near", "users_needed"]
    assert detectable_differences((noise + 0.005)[None], needed)[0] == pytest.approx(0.005, rel=0.02)
    assert np.isnan(table.loc["far", "detectable_difference"])
    assert table.loc["far", "users_needed"] is None
    lines = as_markdown(compare(runs))
    assert "| detectable | users needed |" in lines
    assert "| 4,800 | no difference shown |" in lines

    # The error with two more users, who differ by 1 and -1, is .00716: p is .018, and .036 of two tests.
    small = compare(runs, min_effect=0.02).rows.set_index("name")
    assert dict(small["verdict"]) == {
        "base": "the baseline",
        "near": "equivalent",
        "far": "better (one seed)",
    }
    assert small.loc["near", "equivalence_p_value"] == pytest.approx(0.037, abs=0.002)
    assert small.loc["far", "equivalence_p_value"] == 1
    large = compare(runs, min_effect=0.2).rows.set_index("name")
    assert (large.loc["far", "verdict"], large.loc["far", "reason"]) == (
        "better (one seed)",
        "smaller than min_effect",
    )
    assert (
        compare(runs, min_effect=0.01).rows.set_index("name").loc["near", "verdict"] == "no difference shown"
    )
    assert run_command([*map(str, runs), "min_effect=0.02", "tests=false"], "") == 0
    assert "min_effect has no effect: no difference is tested" in capsys.readouterr().out


def test_gains_and_losses_that_cancel_up_to_rounding_need_no_number_of_users(tmp_path: Path) -> None:
    gains = np.array([1 / 3, 0.2, 0.25, 0.1, 1 / 7])
    changes = (
        np.random.default_rng(seed).permutation(np.concatenate([gains, -gains, np.zeros(190)]))
        for seed in range(100)
    )
    values = next(each for each in changes if each.mean() != 0)
    sides = {"base": np.maximum(-values, 0), "other": np.maximum(values, 0)}
    runs = [write_run(tmp_path / name, each, loss=name) for name, each in sides.items()]
    table = compare(runs).rows.set_index("name")
    assert table.loc["other", "verdict"] == "no difference shown"
    assert table.loc["other", "users_needed"] is None


def test_metrics_of_the_whole_catalogue_have_no_test(runs: list[Path]) -> None:
    report = compare(runs, metric="coverage_at_20")
    assert report.num_tests == 0
    assert set(report.rows["reason"][report.rows["difference"].notna()]) == {
        "per_user.parquet has no column coverage_at_20; a figure of the whole catalogue has none"
    }
    report = compare(runs, metric="valid/recall_at_20")
    assert "valid/recall_at_20 is no mean over users of the test split" in report.notes[0]
    assert report.rows["verdict"][1] == ""


def test_per_user_values_of_another_evaluation_are_refused(runs: list[Path]) -> None:
    table = pd.DataFrame({"user_id": range(8), "recall_at_20": [0.9] * 8, "list_hash": 0})
    table.to_parquet(runs[0] / "per_user.parquet", index=False)
    row = compare(runs).rows.set_index("name").loc["a"]
    assert row["verdict"] == "not tested"
    assert row["reason"] == f"its per-user values do not average to its {KEY}"


def test_names_that_look_like_markup_or_formulas_are_escaped(runs: list[Path], tmp_path: Path) -> None:
    named = runs[0].rename(tmp_path / "<script>alert(1)")
    notes = ["=HYPERLINK(1)", "-2+3", "-0.1"]
    for folder, note, rate in zip((named, *runs[1:]), notes, (-0.1, 2.5, 2.5), strict=True):
        settings = yaml.safe_load((folder / "config.yaml").read_text()) | {"note": note, "rate": rate}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    report = compare([named, *runs[1:]])
    rows = {row["note"]: row for row in csv.DictReader(io.StringIO(as_csv(report)))}
    assert rows.keys() == {"'=HYPERLINK(1)", "'-2+3", "-0.1"}
    assert [rows[note]["settings.rate"] for note in ("'=HYPERLINK(1)", "-0.1")] == ["-0.1", "2.5"]
    assert rows["'=HYPERLINK(1)"]["settings.loss"] == "<i>|x"
    assert "&lt;i>\\|x" in as_markdown(report)
    page = as_html(report)
    assert "<script>alert" not in page
    assert '"name": "\\u003cscript>alert(1)"' in page
    assert "\\u003ci>|x" in page


def test_a_file_that_cannot_be_written_is_an_input_error(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"csv=.*cannot be written .*name another file"):
        run_command([str(runs[0]), f"csv={tmp_path}/file/r.csv"], "")


def test_the_page_without_plotly_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"html= needs plotly.*'twotower\[report\]'"):
        run_command([str(tmp_path / "missing"), f"html={tmp_path}/r.html"], "")


VARIED = {
    "optimizer.learning_rate": 0.0161234,
    "optimizer.weight_decay": 0.5,
    "loss.temperature": 0.535,
    "history.power": 0.25,
    "history.dropout": 0.75,
    "user_tower.input_dropout": 0.125,
    "index.num_subquantizers": 8,
    "embedding_dim": 32,
    "objective.recency_half_life_days": 90.5,
}


def trials_of(folder: Path) -> list[Path]:
    """Three trials of a search over nine keys, each of which is other in every one."""
    made = []
    for number in range(3):
        values = {key: value * (number + 1) for key, value in VARIED.items()}
        typed = [f"{key}={value}" for key, value in values.items()]
        name = f"{number:04d}_lr{values['optimizer.learning_rate']}"
        run = write_run(folder / name, [0.125 * number, 0.5, 0.25], valid=0.25 + number / 8, overrides=typed)
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "note": f"try {number}", **values}))
        made.append(run)
    return made


@pytest.mark.parametrize("columns", [80, 130])
def test_a_terminal_shows_the_settings_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    made = trials_of(tmp_path / "tpe-sweep")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run_command([str(run) for run in made], "") == 0
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    table, _, below = printed.partition("#1 ")
    path = str(tmp_path)  # a word that is never broken, however long
    assert max(len(line) for line in table.splitlines() if path not in line) <= columns
    short = {"lr": 0.0161, "wd": 0.5, "temp": 0.535, "power": 0.25, "dropout": 0.75, "recency": 90.5}
    short |= {"pq": 8, "dim": 32, "input_dropout": 0.125}
    if columns == 80:
        words = {f"{key}{str(value).removeprefix('0')}" for key, value in short.items()}
    else:  # a column each
        words = {*map(str, short.values()), *short.keys()}
    assert set(table.split()) >= words | {"recall@20", "valid", "difference", "shown"}
    head = table.splitlines()[:2]
    assert head[1].index("recall@20") < head[0].index("valid") < head[1].index("verdict")  # side by side
    assert "recall@20 recall@20 difference" in " ".join(head[1].split())
    assert "0000_lr0.0161234" not in table
    assert "0000_lr0.0161234" in below
    assert "not shown" not in below
    assert "note: 0001_lr0.0322468: try 1" in below
    assert not any(len(line) > columns and " " in line.strip() for line in printed.splitlines())


def test_rows_are_sorted_by_validation_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the test split would sort them the other way round; what has no such figure comes later."""
    made = [
        write_run(tmp_path / name, [test] * 4, valid=valid, loss=name, **more)
        for name, valid, test, more in (
            ("a", 0.25, 0.75, {}),
            ("b", 0.75, 0.25, {}),
            ("c", 0.5, 0.5, {"baselines": {"ease": {KEY: 0.875}}}),
        )
    ]
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command([*map(str, made), "with_baselines=true", "tests=false"], "") == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("#")).split()[:4] == ["#", "built", "in", "loss"]
    assert any(line.split()[:2] == ["4", "ease"] for line in lines)
    report = compare(made, with_baselines=True, tests=False)
    order = ["b", "c", "a", "ease"]
    assert list(report.rows["name"]) == order
    assert report.baseline == 0
    assert [row["name"] for row in csv.DictReader(io.StringIO(as_csv(report)))] == order
    assert [row["name"] for row in json.loads(as_json(report))["rows"]] == order
    lines = as_markdown(report).splitlines()
    names = [line.split(" | ")[-1].removesuffix(" |") for line in lines[2:6]]
    assert names == order
    assert "- rows: sorted by valid recall@20" in lines
    heading = lines[0].split(" | ")
    assert heading.index("valid recall@20") + 1 == heading.index("recall@20")
    assert [row["name"] for row in page_data(report)["rows"]] == order


def test_a_built_in_baseline_is_of_a_run_that_has_its_figure(tmp_path: Path) -> None:
    """The first run of the folder may hide the test split, or lack the metric."""
    hidden = {"valid/recall_at_20": 0.25}
    shown = write_run(
        tmp_path / "b",
        [value + 0.5 for value in LOW],
        baselines={"ease": hidden | {KEY: float(np.mean(LOW))}},
    )
    table = {"user_id": range(len(LOW)), "baseline": "ease", "recall_at_20": LOW, "list_hash": 0}
    pd.DataFrame(table).to_parquet(shown / "per_user_baselines.parquet", index=False)
    first = write_run(tmp_path / "a", LOW, loss="b", baselines={"ease": hidden})
    report = compare([first, shown], baseline="ease")
    found = report.rows.set_index("name").loc["b"]
    assert (found["verdict"], found["difference"]) == ("better (one seed)", pytest.approx(0.5))


def test_a_default_without_a_yaml_key_is_shown(tmp_path: Path) -> None:
    stated, left_out = (write_run(tmp_path / name, [0.5] * 4) for name in "ab")
    result = json.loads((left_out / "result.json").read_text())
    result["defaults"] = {"loss.power": 4.0, "loss.other": 7}
    (left_out / "result.json").write_text(json.dumps(result))
    (stated / "config.yaml").write_text("seed: 1\nloss: a\nloss.power: 2.0\n")
    report = compare([stated, left_out], tests=False)
    assert report.keys == ["loss.power"]  # the other one is stated nowhere
    assert dict(zip(report.rows["name"], report.rows["settings.loss.power"], strict=True)) == {
        "a": 2.0,
        "b": 4.0,
    }
    (stated / "config.yaml").write_text("seed: 1\nloss: a\nloss.power: 4.0\n")
    assert compare([stated, left_out], tests=False).keys == []


def jobs_of(folder: Path) -> list[Path]:
    """Six jobs over temperatures and indexes, of which those of one temperature share towers."""
    made = []
    for temperature in (0.5, 1.0, 2.0):
        for index in ("FlatIP", "IVFFlat"):
            figures = {"recall_at_100": 0.9731, "latency_ms_p50": 0.051, "bytes_per_item": 264.125}
            typed = [f"{key}=x" for key in ("loss.temperature", "objective.recency", "index")]
            values = [temperature / 8, 0.5, 0.25]
            lists = {"list_hash": [int(temperature * 8)] * 3}
            run = write_run(
                folder / f"{temperature}{index}", values, index=figures, overrides=typed, table=lists
            )
            settings = {"seed": 1, "loss.temperature": temperature, "objective.recency": 180 + temperature}
            (run / "config.yaml").write_text(yaml.safe_dump(settings | {"index": index}))
            made.append(run)
    return made


@pytest.mark.parametrize(("columns", "terminal"), [(80, True), (120, False), (None, False)])
def test_no_width_wraps_a_verdict_and_120_columns_have_the_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int | None,
    terminal: bool,
) -> None:
    made = jobs_of(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    assert run_command([str(run) for run in made], "") == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    heading = next(at for at, line in enumerate(lines) if line.lstrip().startswith("#"))
    rows = lines[heading + 1 : heading + 7]
    verdicts = [*["no difference shown"] * 4, "the baseline", "the same in every user"]
    assert sorted(next(word for word in verdicts if word in row) for row in rows) == verdicts
    assert ("bytes/item" in lines[heading]) == (columns != 80)
    if columns is not None:  # as wide as a pipe's COLUMNS say, too
        assert all(len(line) <= columns for line in lines if str(tmp_path) not in line)
    else:
        assert any(len(line) > 120 for line in lines)


def test_the_page_has_all_varied_keys_in_full(tmp_path: Path) -> None:
    made = trials_of(tmp_path / "tpe-sweep")
    report = compare(made)
    data = page_data(report)
    assert "lr.0484" in data["rows"][0]["label"].split()
    assert as_html(report).count("try 1") == 1
    assert {column["title"] for column in data["columns"] if "title" in column} == VARIED.keys()
    headings = [column["heading"] for column in data["columns"]]
    at = [headings.index(each) for each in ("dim", "valid recall@20", "recall@20", "verdict")]
    assert at == sorted(at)
    assert at[2] == at[1] + 1
    for run in made:  # a note on all runs is shown once
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(re.sub("try .", "quick looks", text))
    report = compare(made)
    assert as_html(report).count("quick looks") == as_markdown(report).count("quick looks") == 1
    assert [row["note"] for row in json.loads(as_json(report))["rows"]] == ["quick looks"] * 3


def test_help_begins_with_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"], "Compare runs.\n\n  an example") == 0
    printed = capsys.readouterr().out
    assert "  an example" in printed
    assert all(f"  {key} " in printed for key in KEYS)


def test_a_folder_name_may_contain_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seed=1").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["seed=1", "a/dim=2,loss=x", "a/dim=*", "baseline=seed=1", "csv=a/b=c.csv"]
    assert split_arguments(words) == (
        ["seed=1", "a/dim=2,loss=x", "a/dim=*"],
        {"baseline": "seed=1", "csv": "a/b=c.csv"},
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["outputs", "--baseline", "ease"], "--baseline: write baseline=..."),
        (["outputs", "--metrik"], "unknown flag; did you mean 'metric'?"),
        (["outputs", "metrik=x"], "metrik: unknown key; did you mean 'metric'?"),
        (["outputs", "seed=*"], "(a path: ./seed=*)"),
        (["outputs", "tests=perhaps"], "tests=perhaps: expected a valid boolean"),
        (["outputs", "min_effect=0"], "min_effect=0: expected greater than 0"),
        (["outputs", "by=seed"], "by=seed: expected 'run' or 'configuration'"),
        (["tests=false"], "name a run, a sweep, a folder above them"),
    ],
)
def test_unknown_arguments_have_suggestions(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        run_command(words, "")
