"""The main job on a small made-up data set, through the same functions the commands call."""

import contextlib
import io
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import run_script
from quick import QUICK
from tiny_runs import job_settings, result_in

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.config.exits import Stopped
from twotower.experiments.console.rich import Rich
from twotower.experiments.runs.baseline_comparison import suggestion, worse_than_baseline
from twotower.experiments.runs.result import Result, read_result
from twotower.jobs.evaluate import reevaluate, reindex
from twotower.jobs.rerun import rerun
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import resume, train
from twotower.serving.retriever import Retriever

SMALL = [
    "data=synthetic",
    "data.num_users=400",
    "data.num_items=150",
    "data.num_interactions=8000",
    "objective.batch_size=256",
    "objective.epoch_requests=2560",
    "trainer.max_epochs=3",
    "trainer.checkpoint_every_steps=7",
    "trainer.probe_steps=16",
    "trainer.initial_share=0",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=100",
    "index=ivf_flat",
    "reuse=false",
]
TINY = [
    "data.num_users=60",
    "data.num_items=60",
    "data.num_interactions=1200",
    "objective.epoch_requests=512",
    "metrics.ks=[10,20]",
    *QUICK,
    "index=flat_ip",
]


def settings_of(root: Path, *overrides: str) -> dict[str, Any]:
    return job_settings(*SMALL, f"output_root={root}", *overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    folder = root / "default" / "first"
    assert train(RunConfig.composed(settings_of(root)), folder) == 0
    return folder


@pytest.fixture
def unfinished(run: Path, tmp_path: Path) -> Path:
    """A copy of the run without its result, as if it had been killed at its end."""
    folder = tmp_path / "default" / "copy"
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    return folder


def derived(run: Path, before: set[Path]) -> tuple[Path, dict[str, Any]]:
    (folder,) = set(run.parent.iterdir()) - before
    return folder, result_in(folder)


def test_a_run_folder_holds_everything(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    files = {"config.yaml", "overrides.yaml", "result.json", "train.log", "checkpoints", "bundle"}
    assert names >= files | {"per_user.parquet", "per_user_baselines.parquet"}
    assert any("tfevents" in name for name in names)
    # Weights only: what a resumed training needs is deleted once there is nothing to resume.
    checkpoints = {path.relative_to(run / "checkpoints").as_posix() for path in run.rglob("*.ckpt")}
    assert checkpoints == {"fit/final.ckpt", "refit/final.ckpt"}
    result = result_in(run)
    assert result.keys() >= {"fingerprint", "seed", "versions", "data", "intervals", "slices", "training"}
    assert result["timing"].keys() == {"train_seconds", "examples_per_second", "total_seconds"}
    assert (result["status"], result["training"]["refit"], result["index"]["ok"]) == ("ok", True, True)
    assert result["index"]["recall_at_100"] >= 0.95
    names = {
        "popularity",
        "recent_popularity",
        "ease",
        "trend_ease",
        "item_knn",
        "content_knn",
        "transitions",
    }
    assert set(result["baselines"]) == names
    for values in result["baselines"].values():
        assert values.keys() == {key for key in result["metrics"] if not key.startswith("test_exact/")}
    popularity = result["baselines"]["popularity"]
    assert result["metrics"]["test/recall_at_20"] > popularity["test/recall_at_20"]
    table = pd.read_parquet(run / "per_user.parquet")
    for key in ("recall_at_20", "ndcg_at_10", "mrr_at_50"):
        assert table[key].mean() == pytest.approx(result["metrics"][f"test/{key}"], abs=1e-12)
    retriever = Retriever.open(run / "bundle")
    assert all(len(retriever.recommend(user, k=10)) == 10 for user in table["user_id"].head(20).tolist())


def test_a_run_behind_a_baseline_on_validation_ends_with_what_to_try(run: Path) -> None:
    found = worse_than_baseline(read_result(run) or Result(status="failed"))
    lines = [
        line.partition("WARNING twotower: ")[2]
        for line in (run / "train.log").read_text().splitlines()
        if "is better than the towers" in line
    ]
    assert lines == ([f"{found[1]}; try {suggestion(advice(found[0]), settings_of(run))}"] if found else [])


def advice(name: str) -> str:
    return RunConfig.from_settings(load_settings("train", SMALL)).baselines.by_name[name].suggestion


@pytest.mark.parametrize(
    "name", ["popularity", "recent_popularity", "bought_before", "trend_ease", "content_knn"]
)
def test_what_is_to_be_tried_can_be_typed(name: str) -> None:
    load_settings("train", [*SMALL, *advice(name).split()])


def test_a_run_is_repeated_to_the_bit_and_never_overwritten(run: Path) -> None:
    before, runs = (run / "result.json").read_bytes(), set(run.parent.iterdir())
    assert rerun(run) == 0
    _, again = derived(run, runs)
    assert (again["rerun_of"], again["reproduced"]) == (str(run), True)
    assert again["metrics"] == result_in(run)["metrics"]
    with pytest.raises(InputError, match="never overwritten"):
        train(RunConfig.composed(settings_of(run.parents[1])), run)
    with pytest.raises(InputError, match="has ended"):
        resume(run)
    assert (run / "result.json").read_bytes() == before


def test_reindex_reuses_the_towers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = {"index": load_settings("train", [*SMALL, "index=flat_ip"])["index"]}
    before = set(run.parent.iterdir())
    assert reindex(run, index) == 0
    folder, result = derived(run, before)
    assert result["training_reused_from"] == str(run)
    assert result["metrics"] == result_in(run)["metrics"]
    assert (result["index"]["type"], result["index"]["recall_at_100"]) == ("flat_ip", 1.0)
    assert not (folder / "checkpoints").exists()
    monkeypatch.setattr("twotower.data.sources.synthetic.FIRST_TIME", 10**9)  # same arguments, other content
    monkeypatch.setattr("twotower.data.build_dataset.code_fingerprint", lambda modules: "other code")
    with pytest.raises(InputError, match="the data or the split has changed since"):
        reindex(run, index)


def test_an_index_is_chosen_by_measurement_and_by_targets(run: Path) -> None:
    limits = ("index.max_label_loss=0.9", "index.target_recall=0.9", "index.candidates=[flat_ip,ivf_sq]")
    before = set(run.parent.iterdir())
    assert reindex(run, {"index": load_settings("train", [*SMALL, "index=auto", *limits])["index"]}) == 0
    folder, result = derived(run, before)
    index, choice = result["index"], result["index"]["choice"]
    best = choice["candidates"][0]
    assert {each["kind"] for each in choice["candidates"]} == {"flat_ip", "ivf_sq"}
    assert index["type"] == best["kind"]
    assert index["bytes_per_item"] == pytest.approx(best["bytes_per_item"], rel=0.05)
    exact = next(each for each in choice["candidates"] if each["kind"] == "flat_ip")
    assert (exact["label_difference"], exact["label_loss"]) == (0.0, 0.0)
    console = io.StringIO()
    with contextlib.redirect_stdout(console):
        Rich(has_details=True).result(Result(**result), folder, "outputs")
    assert f"best of {len(choice['candidates'])} candidates" in " ".join(console.getvalue().split())


def test_rejected_index_exits_3_and_keeps_everything(run: Path) -> None:
    index = load_settings("train", [*SMALL, "index=ivf_pq", "index.num_subquantizers=2", "index.num_bits=4"])
    before = set(run.parent.iterdir())
    assert reindex(run, {"index": index["index"] | {"target_recall": 1.0, "min_recall": 0.999}}) == 3
    folder, result = derived(run, before)
    assert result["status"] == "index_rejected"
    assert result["index"]["problems"]
    assert (folder / "bundle" / "manifest.json").is_file()
    refused = run_script("serve", f"bundle={folder}")
    assert refused.returncode == 2
    assert "below index.min_recall 0.999" in refused.stderr
    assert "set allow_rejected_index=true" in refused.stderr
    console = io.StringIO()
    with contextlib.redirect_stdout(console):
        Rich().result(Result(**result), folder, "outputs")
    assert f"twotower reindex run={folder} index=flat_ip" in console.getvalue()
    assert "twotower serve" not in console.getvalue()


def test_evaluating_again_keeps_validation_figures_and_names_baselines_without_time(run: Path) -> None:
    limits = ["baselines.minutes=1e-9", "baselines.item_knn.max_items=1"]
    asked = load_settings("train", [*SMALL, "metrics.ks=[5,20]", *limits])
    before = set(run.parent.iterdir())
    assert reevaluate(run, {key: asked[key] for key in ("metrics", "baselines")}) == 0
    folder, again = derived(run, before)
    first = result_in(run)
    assert again["metrics"]["test/recall_at_20"] == first["metrics"]["test/recall_at_20"]
    assert "test/recall_at_5" in again["metrics"]
    assert "test/recall_at_50" not in again["metrics"]
    for name in ("metrics", "intervals"):
        kept = {key: value for key, value in first[name].items() if key.startswith("valid/")}
        assert kept
        assert kept.items() <= again[name].items()
    assert again["fingerprint"] != first["fingerprint"]
    assert again["baselines"] == {}
    assert set(again["baselines_skipped"]) == set(first["baselines"])
    said = "baselines that did not fit into baselines.minutes=1e-09: popularity, recent_popularity, ease"
    log = (folder / "train.log").read_text()
    assert said in log
    assert re.search(r"baseline item_knn left out: \d+ items are above max_items = 1", log)
    assert log.count(" left out:") == 1


def test_the_settings_that_tuning_chose_are_those_of_the_test_split(run: Path) -> None:
    first = result_in(run)
    tuned = first["baselines_tuning"]
    assert set(tuned) == {"recent_popularity", "ease", "trend_ease", "item_knn", "transitions"}
    for name, each in tuned.items():
        best = max(each["tried"], key=lambda tried: tried["value"] or 0.0)
        assert first["baselines"][name]["valid/recall_at_20"] == best["value"]
        assert each["complete"]
    chosen = [
        f"baselines.{name}.{setting}={value!r}"
        for name, each in tuned.items()
        for setting, value in each["chosen"].items()
    ]
    asked = load_settings("train", [*SMALL, "baselines=fixed", *chosen])
    before = set(run.parent.iterdir())
    assert reevaluate(run, {"baselines": asked["baselines"]}) == 0
    _, again = derived(run, before)
    assert (again["baselines"], again["baselines_tuning"]) == (first["baselines"], {})
    log = (run / "train.log").read_text()
    assert re.search(
        r"baselines: tuned 5 of 7 on validation in \d+\.\d s \(\d\d settings by recall@20\)", log
    )


def test_a_run_that_is_stopped_during_its_baselines_leaves_its_bundle(
    run: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(unfinished / "bundle")
    with monkeypatch.context() as patch:
        patch.setattr("twotower.job.evaluate_baselines", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            resume(unfinished)
    assert not (unfinished / "result.json").exists()
    user = pd.read_parquet(unfinished / "per_user.parquet")["user_id"][0]
    assert len(Retriever.open(unfinished / "bundle").recommend(user, k=10)) == 10
    assert resume(unfinished) == 0
    again, first = result_in(unfinished), result_in(run)
    assert (again["metrics"], again["baselines"]) == (first["metrics"], first["baselines"])


def test_damaged_checkpoints_and_other_data_are_refused(run: Path, unfinished: Path) -> None:
    fingerprint, final = unfinished / "checkpoints" / "data_fingerprint", "checkpoints/fit/final.ckpt"
    before = fingerprint.read_text()
    fingerprint.write_text("another")
    with pytest.raises(InputError, match="the data has changed since this run was started"):
        resume(unfinished)
    fingerprint.write_text(before)
    content = bytearray((unfinished / final).read_bytes())
    content[len(content) // 2] ^= 1
    (unfinished / final).write_bytes(content)
    with pytest.raises(InputError, match=r"final\.ckpt: damaged.*; delete .*fit, and resume="):
        resume(unfinished)
    shutil.rmtree((unfinished / final).parent)
    assert resume(unfinished) == 0
    again, first = result_in(unfinished), result_in(run)
    assert (again["metrics"], again["curves"]) == (first["metrics"], first["curves"])


def test_a_training_that_diverges_says_what_to_do(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, *TINY, "optimizer.learning_rate=1e30", "trainer.refit=false")
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: the training diverged"):
        train(RunConfig.composed(settings), tmp_path / "default" / "diverges")


def test_half_precision_trains_on_a_cpu(tmp_path: Path) -> None:
    typed = ("trainer.precision=bf16-mixed", "trainer.max_epochs=1", "trainer.refit=false")
    config = RunConfig.composed(settings_of(tmp_path, *TINY, *typed))
    assert train(config, tmp_path / "default" / "precise") == 0


def test_training_stops_without_improvement_and_the_refit_has_as_many_epochs(tmp_path: Path) -> None:
    folder = tmp_path / "default" / "stops"
    typed = ["trainer.patience=1", "trainer.patience_steps=0", "trainer.max_epochs=10"]
    typed += ["optimizer.learning_rate=1e-12", "trainer.initial_share=0"]
    assert train(RunConfig.composed(settings_of(tmp_path, *TINY, *typed)), folder) == 0
    assert result_in(folder)["training"]["epochs"] == 1
    log = (folder / "train.log").read_text()
    assert len(re.findall(r"fit \d+/\d+ ", log)) == 2 + 1, log
    assert "no improvement (patience 1): training stops, epoch 1 kept" in log
