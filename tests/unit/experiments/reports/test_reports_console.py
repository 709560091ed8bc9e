"""What each console prints, and what the importing of it leaves out."""

import io
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
from rich.console import Console as Screen

from twotower.experiments.console.console import Console
from twotower.experiments.console.console_tables import result_tables
from twotower.experiments.console.rich import Rich, make_console
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.runs.outcome import Outcome
from twotower.experiments.runs.result import Result

METRIC = "valid/recall_at_20"
SWEEP = Path("outputs/default/by_index")
INDEX = {
    "type": "ivf_flat",
    "factory": "IVF8,Flat",
    "search_args": {"nprobe": 4},
    "recall_k": 100,
    "recall_at_100": 0.98,
    "label_difference": {"recall_at_20": -0.001},
    "label_difference_interval": {"recall_at_20": [-0.002, 0.0005]},
    "latency_ms_p50": 0.05,
    "latency_ms_p99": 0.09,
    "queries_per_second": 1000.0,
    "index_bytes": 2640,
    "bytes_per_item": 264.0,
    "points": [{"recall": 1.0}],
    "ok": True,
    "problems": [],
}
RESULT = Result(
    **{
        "status": "ok",
        "seed": 42,
        "training": {"monitor": METRIC},
        "metrics": {"valid/recall_at_20": 0.3, "test/recall_at_20": 0.25, "test/ndcg_at_20": 0.125},
        "intervals": {"test/recall_at_20": [0.2, 0.3]},
        "baselines": {"popularity": {"test/recall_at_20": 0.2}},
        "baselines_tuning": {
            "ease": {"chosen": {"regularization": 160.0}},
            "trend": {"chosen": {"days": 1 / 24}},
        },
        "index": INDEX,
        "timing": {"total_seconds": 4.0},
        "slices": {"test": {}},
    }
)


def outcome(name: str, valid: float | None, status: str = "ok", **more: Any) -> Outcome:
    figures = {} if valid is None else {"best_valid/recall_at_20": valid, "test/recall_at_20": 1.0 - valid}
    values: dict[str, Any] = {"seconds": 2.0, "reused_from": None, "error": None, "skipped": False} | more
    return Outcome(name=name, status=status, figures=figures, folder=SWEEP / name, **values)


BAD = "InputError: split: no [bold]such[/bold] day\n{line 2}"
OUTCOMES = [
    outcome("a", 0.25, skipped=True),
    outcome("b", 0.375, seconds=61.0),
    outcome("c", 0.5, "index_rejected", error="recall 0.2 is below 0.8"),
    outcome("d", 0.625, "pruned"),
    outcome("e", None, "failed", error=BAD),
    outcome("f", 0.3125, reused_from="outputs/default/by_index/b"),
]


def run_sweep(console: Console, folder: Path = SWEEP) -> None:
    with console:
        console.sweep_started(folder, len(OUTCOMES), METRIC)
        for each in OUTCOMES:
            if not each.skipped:
                console.job_started(each.name)
            console.job_ended(each)
        console.sweep_ended(SweepSummary(folder, METRIC, OUTCOMES, 75.0))


def row_of(text: str, job: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{job}  ")]
    return line.split()


def test_rich_without_a_terminal_is_plain_lines_then_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(make_console("brief"))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    before, _, table = text.partition("5 jobs by valid recall@20\n")
    assert str(SWEEP) in before.splitlines()[0]
    ended = [line for line in before.splitlines() if "/6 jobs" in line]
    assert [line.split()[3] for line in ended] == list("abcdef")
    assert "0.2500  done before" in ended[0]
    assert "1 min 01 s" in ended[1]
    assert BAD in before
    assert f"towers of {SWEEP}/b" in ended[5]
    assert all("left" in line for line in ended[1:-1])
    names = [line.split()[0] for line in table.splitlines()[1:6]]
    assert names == ["c", "b", "f", "a", "d"]  # the pruned one is last, though its validation is highest
    assert row_of(table, "b") == ["b", "ok", "0.3750", "0.6250", "61.0"]
    assert row_of(table, "a")[-1] == "before"
    assert BAD in table
    assert str(SWEEP / "e" / "train.log") in table
    assert "best        b  valid recall@20 0.3750" in table.splitlines()
    assert "1 min 15 s" in table


def index_job(name: str, difference: float, latency: float, size: float, status: str = "ok") -> Outcome:
    figures = {
        "best_valid/recall_at_20": 0.5,
        "index/difference_recall_at_20": difference,
        "index/recall_at_100": 0.9,
        "index/latency_ms_p50": latency,
        "index/bytes_per_item": size,
    }
    return Outcome(name, status, 1.0, figures, None, SWEEP / name, None, False)  # type: ignore[arg-type]


INDEXES = [
    index_job("beaten", -0.125, 0.2, 264.0),
    index_job("rejected", -0.25, 0.01, 8.0, "index_rejected"),
    index_job("codes", -0.125, 0.1, 72.0),
    index_job("whole", 0.0, 0.2, 264.0),
]


def test_a_sweep_over_indexes_ends_with_a_pareto_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for mode in ("brief", "quiet", "jsonl"):
        with make_console(mode) as console:
            console.sweep_started(SWEEP, 4, METRIC)
            console.sweep_ended(SweepSummary(SWEEP, METRIC, INDEXES, 2.0))
        text = capsys.readouterr().out
        if mode == "jsonl":
            ended = json.loads(text.splitlines()[-1])
            assert (ended["best"], ended["pareto"]) == (None, ["whole", "codes"])
            continue
        pareto = [line.split() for line in text.splitlines() if line.startswith("pareto")]
        assert [line[1] for line in pareto] == ["whole", "codes"]
        assert {"0.3750", "0.9000", "0.100", "72.0"} <= set(pareto[1])
        assert "3 ok, 1 index_rejected" in text
        assert "best  " not in text
        if mode == "brief":
            table = text.partition("4 jobs by valid recall@20")[2].partition("pareto")[0]
            rows = [line.split()[:3:2] for line in table.splitlines()[-4:]]
            assert [each[0] for each in rows] == ["whole", "codes", "beaten", "rejected"]
            assert [each[1] for each in rows] == ["0.5000", "0.3750", "0.3750", "0.2500"]
            assert "index recall" not in table  # which is equal in all jobs


def test_rich_in_a_terminal_closes_its_live_view_on_an_error(tmp_path: Path) -> None:
    console, screen = Rich(), io.StringIO()
    console.screen = Screen(file=screen, force_terminal=True, width=120, height=20)

    def interrupted() -> None:
        with console:
            console.sweep_started(tmp_path, 3, METRIC)
            console.job_ended(OUTCOMES[0])
            console.job_started("b")
            console.progress.refresh()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = screen.getvalue()
    assert "1/3 jobs" in text
    assert "best so far 0.2500" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_rich_result_has_model_baselines_index_and_next_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my runs" / "x"
    tiny_bundle.write(folder / "bundle")
    metrics = RESULT.metrics | {"test_exact/recall_at_20": 0.26, "test_exact/ndcg_at_20": 0.13}
    result = RESULT.update(metrics=metrics, slices={"test": {}, "test_exact": {}})
    make_console("full").result(result, folder, "outputs")
    printed = capsys.readouterr().out.splitlines()
    lines = [" ".join(line.split()) for line in printed]
    for line in (
        "two towers 0.2500 0.1250",
        "95 % interval ± 0.0500",
        "by exact search 0.2600 0.1300",
        "popularity 0.2000",
        "tuned on validation: ease regularization=160, trend days=0.0417",
        "kind ivf_flat (IVF8,Flat), searching nprobe 4",
        "metrics recall@20 -0.0010 [-0.0020, +0.0005] against exact search",
    ):
        assert line in lines
    assert printed[-4:] == [
        f"run folder  {folder}",
        f"compare     twotower compare '{folder.parent}'",
        "curves      tensorboard --logdir outputs",
        f"serve       twotower serve bundle='{folder}'",
    ]


NAMES = ("popularity", "random", *(f"model_{number}" for number in range(7)))
IMPORTANCE = {
    "metric": "recall_at_20",
    "repeats": 5,
    "num_users": {"all": 10},
    "values": {"all": 0.3},
    "drops": {"history": {"all": [0.1, 0.01]}},
}


def printed(console: Console, result: Result, capsys: pytest.CaptureFixture[str]) -> list[str]:
    console.audit([("log", "3 users")], [("users", "3"), ("density", "1 %")])
    console.result(result, Path("outputs/x"), "outputs")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0]
    assert [line.rstrip() for line in lines] == lines
    return lines


def test_brief_has_the_best_baselines_and_full_has_all_figures(capsys: pytest.CaptureFixture[str]) -> None:
    baselines = {name: {"test/recall_at_20": 0.2 + 0.01 * rank} for rank, name in enumerate(NAMES)}
    training = {"monitor": METRIC, "epochs": 2, "refit": True}
    result = RESULT.update(baselines=baselines, training=training, feature_importance=IMPORTANCE)
    brief, full = (printed(make_console(mode), result, capsys) for mode in ("brief", "full"))
    assert [line for line in brief if line] == [
        *("data", "log  3 users", "test split"),
        *brief[brief.index("test split") + 1 :][:11],
        *(
            "index",
            "kind  ivf_flat, recall@100 0.9800 (recall@20 -0.0010 [-0.0020, +0.0005] against exact search), "
            "checks ok",
            "cost  0.050 ms a query, 264 bytes an item",
        ),
        *("next", "run folder  outputs/x", "compare     twotower compare outputs"),
        "curves      tensorboard --logdir outputs",
    ]
    rows = brief[brief.index("test split") + 2 :][:10]
    assert [row.split()[0] for row in rows[2:8]] == list(NAMES[-6:])
    kept = "two towers: epoch 2 kept, then trained again on train and validation"
    assert rows[8:] == [kept, "3 more baselines in train.log"]
    table = full[full.index("test split") + 2 :]
    assert [row.split()[0] for row in table[2:11]] == list(NAMES)
    assert table[11] == kept
    for line in ("split audit", "density  1 %", "throughput  1,000 queries/s in a batch"):
        assert line in full
    assert any(line.startswith("features: drop of recall@20") for line in full)


def test_brief_leaves_out_baselines_if_a_bundle_was_rebuilt(capsys: pytest.CaptureFixture[str]) -> None:
    rebuilt = RESULT.update(bundle_rebuilt_from="outputs/y")
    for mode, is_shown in (("brief", False), ("full", True)):
        lines = printed(make_console(mode), rebuilt, capsys)
        assert any(line.startswith("two towers") for line in lines)
        assert any(line.startswith("popularity") for line in lines) == is_shown


def test_an_index_may_have_no_differences(capsys: pytest.CaptureFixture[str]) -> None:
    result = RESULT.update(index=INDEX | {"label_difference": {}})
    assert "kind  ivf_flat, recall@100 0.9800, checks ok" in printed(make_console("brief"), result, capsys)
    assert "metrics     not measured against exact search" in printed(make_console("full"), result, capsys)


def test_the_kept_weights_may_be_the_initial_ones(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(make_console("brief"), RESULT.update(training={"epochs": 0}), capsys)
    assert "two towers: kept the initial embeddings" in lines
    mixed = {"epochs": 3, "chosen": {"trainer.initial_share": 0.25}}
    lines = printed(make_console("brief"), RESULT.update(training=mixed), capsys)
    assert "two towers: epoch 3 kept, with 0.25 of the initial embeddings" in lines


def test_the_next_commands_fit_the_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my runs" / "x"
    tiny_bundle.write(folder / "bundle", held_out=222)

    def shown(status: str) -> str:
        make_console("brief").result(RESULT.update(status=status), folder, "outputs")
        return capsys.readouterr().out

    text = shown("ok")
    assert f"twotower train rebuild_bundle='{folder}'" in text
    assert f"serve       twotower serve bundle='{folder}'" in text.splitlines()
    shutil.rmtree(folder)
    tiny_bundle.write(folder / "bundle", held_out=222, rejected=True)
    text = shown("index_rejected")
    assert f"twotower reindex run='{folder}' index=flat_ip" in text
    assert "twotower serve" not in text


@pytest.mark.parametrize("mode", ["brief", "full", "quiet", "jsonl"])
def test_a_result_without_metrics_is_shown(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_console(mode).result(Result(status="failed", error="ValueError: no"), Path("outputs/x"), "outputs")
    shown = capsys.readouterr()
    assert "failed" in shown.out
    assert "ValueError: no" in shown.out + shown.err


def test_quiet_is_one_line_and_failures_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console("quiet")
    console.say("hello")
    console.audit([("log", "3 users")], [("users", "3")])
    console.result(RESULT, Path("outputs/default/x"), "outputs")
    assert capsys.readouterr() == (
        "ok  test/recall_at_20 0.2500  test/ndcg_at_20 0.1250  index/recall_at_100 0.9800  "
        "index/latency_ms_p50 0.0500  outputs/default/x\n",
        "",
    )
    at_10 = RESULT.update(
        training={"monitor": "valid/mrr_at_10"},
        metrics={"valid/mrr_at_10": 0.5, "test/mrr_at_10": 0.375, "test/ndcg_at_10": 0.25} | RESULT.metrics,
    )
    for result, figures in (
        (at_10, "test/mrr_at_10 0.3750  test/ndcg_at_10 0.2500"),
        (RESULT.update(metrics={METRIC: 0.3}), "best_valid/recall_at_20 0.3000"),  # the test split is hidden
    ):
        console.result(result, Path("outputs/default/x"), "outputs")
        assert capsys.readouterr().out.startswith(f"ok  {figures}  index/recall_at_100 0.9800")
    run_sweep(console)
    shown = capsys.readouterr()
    end, best = shown.out.splitlines()
    assert best.split() == ["best", "b", "valid", "recall@20", "0.3750"]
    assert all(text in end for text in ("3 ok", "1 index_rejected", "1 pruned", "1 failed", str(SWEEP)))
    assert shown.err.startswith("e failed: InputError: split")
    assert str(SWEEP / "e" / "train.log") in shown.err
    console.sweep_ended(SweepSummary(SWEEP, METRIC, [OUTCOMES[4]], 1.0))
    (end,) = capsys.readouterr().out.splitlines()
    assert "1 failed" in end


def log_with(console: Console, level: int, message: str, **extra: Any) -> None:
    logger = logging.Logger("twotower")
    logger.addHandler(console)
    logger.log(level, message, extra=extra)


def test_streams_of_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for mode, level, out, err in (
        ("brief", logging.INFO, "hello\n", ""),
        ("brief", logging.DEBUG, "", ""),
        ("full", logging.DEBUG, "hello\n", ""),
        ("jsonl", logging.DEBUG, "", ""),
        ("quiet", logging.INFO, "", ""),
        ("brief", logging.WARNING, "warning: hello\n", ""),
        ("quiet", logging.WARNING, "", "warning: hello\n"),
        ("silent", logging.INFO, "", ""),
        ("silent", logging.WARNING, "", "warning: hello\n"),
    ):
        log_with(make_console(mode), level, "hello")
        log_with(make_console(mode), level, "for the file", for_file=True)
        assert capsys.readouterr() == (out, err), mode


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = capsys.readouterr().out.split("\n")
    assert lines.pop() == ""
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_jsonl_has_the_events_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(make_console("jsonl"))
    found = events(capsys)
    assert [event["event"] for event in found] == [
        "sweep_started",
        "job_ended",
        *["job_started", "job_ended"] * 5,
        "sweep_ended",
    ]
    assert all(event["time"].startswith("20") for event in found)
    assert found[-1]["best"] == "b"
    assert found[-1]["value"] == 0.375
    assert found[-1]["counts"] == {"ok": 3, "index_rejected": 1, "pruned": 1, "failed": 1}
    assert found[-1]["failed"][0]["error"] == BAD
    assert found[1]["skipped"] is True


def test_jsonl_is_valid_for_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console("jsonl")
    odd = 'quote " backslash \\ newline \n tab \t \u2028 日本 \ud800 \x00'
    console.say(odd)
    log_with(
        console, logging.INFO, "epoch", fields={"epoch": 1, "loss": math.nan, "best": -math.inf, "event": "x"}
    )
    log_with(console, logging.WARNING, "careful %s", folder=Path("x"))
    log_with(console, logging.INFO, "for the file", for_file=True)
    console.audit([("log", "3 users")], [("users", "3")])
    console.result(RESULT.update(metrics={"test/recall_at_20": math.nan}), Path("outputs/x"), "outputs")
    said, epoch, warning, audit, result = events(capsys)
    assert said["text"] == odd
    assert (epoch["event"], epoch["epoch"], epoch["loss"], epoch["best"]) == ("epoch", 1, None, None)
    assert (warning["event"], warning["level"]) == ("log", "warning")
    assert audit["rows"] == {"users": "3"}
    assert result["metrics"] == {"test/recall_at_20": None}
    assert "points" not in result["index"]
    assert result["index"]["bytes_per_item"] == 264.0


def test_windows_are_rows_next_to_the_baseline_that_is_best_on_valid() -> None:
    def entry(window: int, valid: float, **more: Any) -> dict[str, Any]:
        figures = {"valid/recall_at_20": valid, "test/recall_at_20": valid + 0.1}
        baselines = {"ease": {**figures, "valid/recall_at_20": 0.25}, "popularity": figures}
        dates = {"valid_from": "2020-01-01 00:00:00", "test_from": "2020-01-29 00:00:00", "error": None}
        return {"window": window, "metrics": figures, "baselines": baselines, **dates} | more

    failed = entry(1, 0.0, metrics={}, baselines={}, valid_from=None, error="it diverged")
    windows = [entry(2, 0.5), entry(3, 0.125)]
    taus = {"kendall_tau": {"valid": 1.0, "test": None}}
    means = {"metrics": {"valid/recall_at_20": {"mean": 0.3125, "sd": None}}}
    known = {"higher_is_better": {"recall": True}}
    (done,) = result_tables(Result(status="ok", windows=windows, windows_summary=means | taus, **known))
    cells = [list(column.cells) for column in done.columns]
    assert cells[0] == ["2", "3", "mean", "sd", "Kendall's tau"]
    assert cells[1][:2] == ["2020-01-01"] * 2
    assert cells[3] == ["0.5000", "0.1250", "0.3125", "", "1.00"]
    assert cells[5][:2] == ["0.5000", "0.2500"]
    assert cells[7][:2] == ["popularity", "ease"]
    (broken,) = result_tables(Result(status="ok", windows=[failed, *windows]))
    first = [next(iter(column.cells)) for column in broken.columns]
    assert first == ["1", "", "2020-01-29", *[""] * 4, "it diverged"]


def test_metrics_of_labels_have_a_table_of_their_own() -> None:
    metrics = {"test/recall_at_20": 0.2, "test/auc": 0.7, "test/log_loss": 0.37}
    _, labels = result_tables(Result(status="ok", metrics=metrics, evaluated={"test": {"labelled": 1_200}}))
    assert labels.title == "labels: 1,200 examples of the test split"
    assert [str(column.header) for column in labels.columns][1:] == ["auc", "log_loss"]
