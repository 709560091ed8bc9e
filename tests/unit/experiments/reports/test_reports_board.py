"""What a TensorBoard server, asked over HTTP, finds of twelve jobs of a sweep, none of them real."""

import contextlib
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twotower.experiments.runs.outcome import Outcome, make_outcome
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.result_parts import Training
from twotower.experiments.tensorboard.tensorboard_run import TensorBoardRun, write_sweep_summaries
from twotower.training.scalars import Scalars

SWEEP = "default/by_index"
PNG = b"\x89PNG\r\n\x1a\n"
METRIC = "valid/recall_at_20"
STATUSES = ["UNKNOWN", "SUCCESS", "FAILURE", "RUNNING"]


def settings_of(dim: int, index: str, seed: int = 42, **more: Any) -> dict[str, Any]:
    return {
        "data": {"_target_": "x.Synthetic"},
        "loss": {"_target_": "x.SampledSoftmax", "temperature": 0.1},
        "index": {"_target_": f"x.{index}"},
        "trainer": {"_target_": "x.TrainerChoice", "max_epochs": 2, "monitor": METRIC},
        "embedding_dim": dim,
        "seed": seed,
        **more,
    }


def result_of(valid: float, status: str = "ok", **more: Any) -> Result:
    figures = {
        METRIC: valid,
        "valid/recall_at_10": valid / 2,
        "test/recall_at_20": valid - 0.0625,
        "test_exact/recall_at_20": valid - 0.03125,
    }
    index = {
        "recall_at_100": 1 - valid / 4,
        "latency_ms_p50": valid,
        "bytes_per_item": 256 * valid,
        "dim": 64,
    }
    whole = {
        "status": status,
        "metrics": figures,
        "training": {"monitor": METRIC, "epoch_steps": 10, "epochs": 0},
    }
    whole["index"] = index | {
        "label_difference": {"recall_at_20": 0.0},
        "label_difference_interval": {},
        "recall_k": 100,
    }
    whole |= {"timing": {"total_seconds": 2.0}, "curves": {METRIC: [0.03125, valid]}}
    return Result(**(whole | more))


ENDED_WELL = {
    **{f"dim{dim},index={index}": (dim, index, 42) for dim in (16, 32) for index in ("A", "B", "C")},
    **{f"dim64,index=A,seed{seed}": (64, "A", seed) for seed in (1, 2)},
}
"""Eight jobs, of which the first of each width trained; the last two are seeds of one configuration."""

TRAINED = ("index=A", "dim64")
COLUMNS = [
    " best_valid/monitor",
    " index/bytes_per_item",
    " index/latency_ms_p50",
    " index/recall_at_100",
    " test/monitor",
    " test_exact/monitor",
    " timing/total_seconds",
]
CURVES = ["1 monitor/valid/recall_at_20", "2 train/loss", "3 valid/recall_at_20", "5 health/top_1_share"]


def value_of(name: str) -> float:
    return (1 + list(ENDED_WELL).index(name)) / 16


def typed(name: str) -> list[str]:
    dim, index, seed = ENDED_WELL[name]
    return [f"embedding_dim={dim}", f"index={index}", f"seed={seed}"]


def trained(name: str) -> bool:
    return any(word in name for word in TRAINED)


def end_with(error: BaseException, folder: Path, settings: dict[str, Any], overrides: list[str]) -> None:
    with contextlib.suppress(type(error)), TensorBoardRun(folder) as board:
        board.start(settings, "x: 1", overrides)
        raise error


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve jobs: eight ended well, the others each in their own way."""
    folder = tmp_path_factory.mktemp("outputs") / SWEEP
    outcomes: list[Outcome] = []
    for name, (dim, index, seed) in ENDED_WELL.items():
        with TensorBoardRun(folder / name) as board:
            board.start(settings_of(dim, index, seed), "x: 1", typed(name))
            more = {} if trained(name) else {"training_reused_from": "another"}
            result = result_of(value_of(name), **more)
            outcomes.append(make_outcome(name, folder / name, result, 1.0, False))
            if trained(name):  # as the trainer does
                trainer = Scalars(folder / name, "", METRIC)
                for step, value in zip((9, 19), result.curves[METRIC], strict=True):
                    figures = {METRIC: value, "health/top_1_share": 0.5, "train/loss": 7.0, "epoch": 1.0}
                    trainer.log_metrics(figures, step)
                trainer.experiment.close()
            board.result(result)
    with TensorBoardRun(folder / "rejected") as board:
        board.start(settings_of(8, "A"), "x: 1", ["embedding_dim=8"])
        board.result(Result(status="index_rejected", index={"recall_at_100": 0.125}))
    end_with(ValueError("no"), folder / "failed", settings_of(8, "A", more=True), ["more=true"])
    with TensorBoardRun(folder / "pruned") as board:
        board.start(settings_of(8, "B"), "x: 1", ["embedding_dim=8"])
        pruned = Result(status="pruned", curves={METRIC: [0.25]}, training=Training(monitor=METRIC))
        board.result(pruned.update(training_reused_from="itself"))  # which writes the curve
    interrupted = settings_of(8, "C", other="text")
    end_with(KeyboardInterrupt(), folder / "interrupted", interrupted, ["other=text"])
    write_sweep_summaries(folder, outcomes[:3], METRIC, ())
    write_sweep_summaries(folder, outcomes, METRIC, ["best        one", "next        two"])
    return folder


class Server:
    """A TensorBoard of its own process."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address

    def get(self, path: str, **query: str | int) -> bytes:
        """Return what is served under a path of the data API."""
        with urllib.request.urlopen(f"{self.address}data/{path}?{urllib.parse.urlencode(query)}") as found:
            return bytes(found.read())

    def ask(self, path: str, question: dict[str, Any]) -> Any:
        """Return the answer to a question posted as JSON."""
        posted = urllib.request.Request(
            f"{self.address}data/{path}",
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(posted) as found:
            return json.load(found)


@pytest.fixture(scope="module")
def server(sweep: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep.parents[1]), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--reload_interval", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if address := re.search(r"http://\S+", line):
            break
    assert address is not None
    yield Server(process, address[0])
    process.terminate()
    process.communicate()


def run_of(session: str) -> str:
    return session.removeprefix(f"{SWEEP}/")


@pytest.fixture(scope="module")
def groups(server: Server) -> dict[str, dict[str, Any]]:
    """The rows of the HPARAMS tab, by the names of their runs."""
    question = {"allowedStatuses": [f"STATUS_{each}" for each in STATUSES], "sliceSize": 100}
    found = server.ask("plugin/hparams/session_groups", question)["sessionGroups"]
    return {";".join(run_of(session["name"]) for session in group["sessions"]): group for group in found}


@pytest.fixture(scope="module")
def columns(server: Server) -> Any:
    return server.ask("plugin/hparams/experiment", {})


def test_each_job_is_one_run_named_by_its_folder(server: Server) -> None:
    names = {*ENDED_WELL, "rejected", "failed", "pruned", "interrupted"}
    assert set(json.loads(server.get("runs"))) == {f"{SWEEP}/{name}" for name in names} | {SWEEP}


def shown_first(tag: str) -> list[tuple[bool, float, str]]:
    """Return the place of a tag in TIME SERIES: digits first, as numbers, then all other characters."""
    parts = re.findall(r"/|\d+|.", tag)
    return [
        (not (part == "/" or part.isdigit()), float(part) if part.isdigit() else 0, part) for part in parts
    ]


def test_time_series_opens_on_the_monitored_curve_and_ends_with_the_final_figures(server: Server) -> None:
    of_runs = json.loads(server.get("plugin/timeseries/tags"))["scalars"]["runTagInfo"].values()
    tags = {tag for of_run in of_runs for tag in of_run}
    assert sorted(tags, key=shown_first) == [*CURVES, *COLUMNS]


def test_jobs_with_reused_towers_have_curves(server: Server) -> None:
    tags = json.loads(server.get("plugin/scalars/tags"))
    for tag in (f"1 monitor/{METRIC}", f"3 {METRIC}"):
        with_curve = {run.removeprefix(f"{SWEEP}/") for run, of_run in tags.items() if tag in of_run}
        assert with_curve == {*ENDED_WELL, "pruned"}
        for name in ENDED_WELL:
            points = json.loads(server.get("plugin/scalars/scalars", run=f"{SWEEP}/{name}", tag=tag))
            assert [(step, value) for _, step, value in points] == [(9, 0.03125), (19, value_of(name))]


def test_each_job_is_one_session_and_seeds_form_a_group(groups: Any) -> None:
    assert sum(len(group["sessions"]) for group in groups.values()) == 12
    assert len(groups) == 11
    seeds = groups["dim64,index=A,seed1;dim64,index=A,seed2"]
    mean = (value_of("dim64,index=A,seed1") + value_of("dim64,index=A,seed2")) / 2
    assert metrics_of(seeds)[" best_valid/monitor"] == pytest.approx(mean)
    assert seeds["name"].split()[0] == "dim64,index=A"
    assert {group["name"].split()[0] for name, group in groups.items() if name in ENDED_WELL} == {
        name for name in ENDED_WELL if "seed" not in name
    }


def test_finished_sessions_have_all_shown_columns(columns: Any, groups: Any) -> None:
    """TensorBoard shows five of each, and leaves a session out of the coordinates that lacks one."""
    shown = [each["name"]["tag"] for each in columns["metricInfos"][:5]]
    settings = [each["name"] for each in columns["hparamInfos"][:5]]
    assert shown == COLUMNS[:5]  # before the curves, and validation before test
    assert settings[:2] == ["embedding_dim", "index"]  # what varies comes first
    for name in list(ENDED_WELL)[:6]:
        found, value = metrics_of(groups[name]), value_of(name)
        assert {*shown} <= found.keys()
        assert found[" index/recall_at_100"] == pytest.approx(1 - value / 4)
        assert found[" test/monitor"] == pytest.approx(value - 0.0625)
        assert {*settings} <= groups[name]["hparams"].keys()


def metrics_of(group: Any) -> dict[str, float]:
    return {each["name"]["tag"]: each["value"] for each in group["metricValues"]}


def test_status_of_each_job(groups: Any) -> None:
    found = {
        name: (group["sessions"][0]["status"].removeprefix("STATUS_"), group["hparams"]["status"])
        for name, group in groups.items()
    }
    assert found.pop("rejected") == ("SUCCESS", "index_rejected")
    assert found.pop("failed") == ("FAILURE", "failed")
    assert found.pop("pruned") == ("UNKNOWN", "pruned")
    assert found.pop("interrupted") == ("UNKNOWN", "interrupted")
    assert set(found.values()) == {("SUCCESS", "ok")}
    for group in groups.values():
        for session in group["sessions"]:
            assert 0 < session["startTimeSecs"] <= session["endTimeSecs"]


def test_no_column_is_lost_and_each_has_its_type(columns: Any) -> None:
    types = {each["name"]: each["type"].removeprefix("DATA_TYPE_") for each in columns["hparamInfos"]}
    assert types == {
        "data": "STRING",
        "embedding_dim": "FLOAT64",
        "epochs kept": "FLOAT64",  # also if it is 0
        "index": "STRING",
        "index.num_subquantizers": "STRING",
        "index.target_recall": "STRING",
        "loss": "STRING",
        "loss.temperature": "FLOAT64",
        "more": "BOOL",  # only the failed job has it
        "other": "STRING",  # only the interrupted one
        "status": "STRING",
        "trainer.max_epochs": "FLOAT64",
        "trainer.monitor": "STRING",
    }
    assert [each["name"]["tag"] for each in columns["metricInfos"]] == [*COLUMNS, *CURVES]
    assert {each["name"].get("group", "") for each in columns["metricInfos"]} == {""}


def test_layout_of_the_custom_scalars(server: Server) -> None:
    layout = json.loads(server.get("plugin/custom_scalars/layout"))
    charts = {group["title"]: [chart["title"] for chart in group["chart"]] for group in layout["category"]}
    assert list(charts) == ["train", "valid", "health of the embeddings", "refit"]
    assert charts["valid"] == ["recall@20", "ndcg@20", "mrr@20", "coverage@20"]
    run = f"{SWEEP}/dim16,index=B"
    (tag,) = layout["category"][1]["chart"][0]["multiline"]["tag"]
    found = json.loads(server.get("plugin/custom_scalars/scalars", run=run, tag=tag))
    assert found["regex_valid"]
    assert list(found["tag_to_events"]) == [f"3 {METRIC}"]


def test_the_last_lines_of_a_sweep_are_text(server: Server) -> None:
    shown = server.get("plugin/text/text", run=SWEEP, tag="sweep/summary/text_summary", markdown="false")
    assert "best        one\\nnext        two" in shown.decode()


def test_a_sweep_has_one_figure(server: Server) -> None:
    tags = json.loads(server.get("plugin/images/tags"))
    assert {run: list(of_run) for run, of_run in tags.items()} == {SWEEP: ["sweep/pareto"]}
    (image,) = json.loads(server.get("plugin/images/images", run=SWEEP, tag="sweep/pareto", sample=0))
    data = server.get("plugin/images/individualImage", **dict(urllib.parse.parse_qsl(image["query"])))
    assert data.startswith(PNG)


def test_an_active_run_has_no_end(tmp_path: Path) -> None:
    """The session file is replaced, so the earlier end is removed."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "events.out.tfevents.1.session").write_bytes(b"as it once was")
    for outcome in ("failed", "ok"):
        with TensorBoardRun(folder) as board:
            board.start(settings_of(8, "A"), "x: 1")
            (begun,) = folder.rglob("*.session")
            assert b"session_end_info" not in begun.read_bytes()
            board.outcome = outcome  # type: ignore[assignment]
        (ended,) = folder.rglob("*.session")
        assert b"session_end_info" in ended.read_bytes()
        assert outcome.encode() in ended.read_bytes()
