"""The main job on a small made-up data set, through the same functions the commands call."""

import contextlib
import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import run_script

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import checked
from twotower.config.errors import InputError
from twotower.config.exits import Stopped
from twotower.pipeline import quality
from twotower.pipeline.reevaluate import reevaluate, reindex
from twotower.pipeline.run_config import RunConfig
from twotower.pipeline.train_run import resume, train
from twotower.reports.console.rich import Rich
from twotower.runs.result import Result, read_result
from twotower.runs.worse_than_baseline import suggestion, worse_than_baseline
from twotower.serving.retriever import Retriever

SMALL = [
    "data=synthetic",
    "data.num_users=600",
    "data.num_items=250",
    "data.num_interactions=12000",
    "objective.batch_size=256",
    "objective.epoch_requests=4096",
    "trainer.max_epochs=3",
    "trainer.checkpoint_every_steps=7",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=100",
    "index=ivf_flat",
    "reuse=false",
]
BOUGHT = {"status", "fingerprint", "seed", "versions", "data", "metrics", "intervals", "baselines", "index"}


def settings_of(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    settings = checked("train", [*SMALL, f"output_root={tmp_path}", *overrides])
    return {key: value for key, value in settings.items() if key not in SWEEP_ONLY}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    folder = root / "default" / "first"
    assert train(RunConfig.composed(settings_of(root)), folder) == 0
    return folder


def result_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def test_run_folder_holds_everything(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.yaml",
        "overrides.yaml",
        "result.json",
        "train.log",
        "checkpoints",
        "per_user.parquet",
        "per_user_baselines.parquet",
        "bundle",
    }
    # Weights only: what a resumed training needs is deleted once there is nothing to resume.
    checkpoints = {path.relative_to(run / "checkpoints").as_posix() for path in run.rglob("*.ckpt")}
    assert checkpoints == {"fit/final.ckpt", "refit/final.ckpt"}
    assert any("tfevents" in name for name in names)
    assert "hparams.yaml" not in names
    result = result_of(run)
    assert result.keys() >= BOUGHT | {"timing", "peak_rss_bytes", "slices", "training"}
    assert result["timing"].keys() == {"train_seconds", "examples_per_second", "total_seconds"}
    assert result["status"] == "ok"
    assert result["training"]["refit"] is True
    assert result["index"]["ok"] is True
    assert result["index"]["recall_at_100"] >= 0.95
    names = {"popularity", "recent_popularity", "ease", "trend_ease", "item_knn", "content_knn"}
    assert set(result["baselines"]) == names
    for values in result["baselines"].values():
        assert values.keys() == {key for key in result["metrics"] if not key.startswith("test_exact/")}


def test_a_run_behind_a_baseline_on_validation_ends_with_what_to_try(run: Path) -> None:
    found = worse_than_baseline(read_result(run) or Result(status="failed"))
    warnings = [
        line for line in (run / "train.log").read_text().splitlines() if "is better than the towers" in line
    ]
    assert [line.partition("WARNING twotower: ")[2] for line in warnings] == (
        [f"{found[1]}; try {suggestion(checked_lesson(found[0]), settings_of(run))}"] if found else []
    )


def checked_lesson(name: str) -> str:
    """Return what is to be tried, once it is known that it can be typed."""
    config = RunConfig.from_settings(checked("train", SMALL)).baselines.by_name[name]
    checked("train", [*SMALL, *config.suggestion().split()])
    return config.suggestion()


@pytest.mark.parametrize(
    "name", ["popularity", "recent_popularity", "bought_before", "trend_ease", "content_knn"]
)
def test_what_is_to_be_tried_can_be_typed(name: str) -> None:
    checked_lesson(name)


def test_model_beats_popularity(run: Path) -> None:
    result = result_of(run)
    popularity = result["baselines"]["popularity"]
    assert result["metrics"]["test/recall_at_20"] > popularity["test/recall_at_20"]


def test_per_user_values_average_to_the_metrics(run: Path) -> None:
    table = pd.read_parquet(run / "per_user.parquet")
    result = result_of(run)
    for key in ("recall_at_20", "ndcg_at_10", "mrr_at_50"):
        assert table[key].mean() == pytest.approx(result["metrics"][f"test/{key}"], abs=1e-12)


def test_same_settings_give_the_same_numbers(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "default" / "again"
    assert train(RunConfig.composed(settings_of(tmp_path)), again) == 0
    first, second = result_of(run), result_of(again)
    assert first["metrics"] == second["metrics"]
    assert first["fingerprint"] == second["fingerprint"]


def test_run_folder_is_never_overwritten(run: Path) -> None:
    before = (run / "result.json").read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        train(RunConfig.composed(settings_of(run.parents[1])), run)
    with pytest.raises(InputError, match="has ended"):
        resume(run)
    assert (run / "result.json").read_bytes() == before


def test_reindex_reuses_the_towers(run: Path) -> None:
    index = checked("train", [*SMALL, "index=flat_ip"])["index"]
    before = set(run.parent.iterdir())
    assert reindex(run, {"index": index}) == 0
    (folder,) = set(run.parent.iterdir()) - before
    result = result_of(folder)
    assert result["training_reused_from"] == str(run)
    assert result["metrics"] == result_of(run)["metrics"]
    assert result["index"]["type"] == "flat_ip"
    assert result["index"]["recall_at_100"] == 1.0
    assert not (folder / "checkpoints").exists()


def test_rejected_index_exits_3_and_keeps_everything(run: Path) -> None:
    index = checked("train", [*SMALL, "index=ivf_pq", "index.num_subquantizers=2", "index.num_bits=4"])[
        "index"
    ]
    before = set(run.parent.iterdir())
    assert reindex(run, {"index": index | {"target_recall": 1.0, "min_recall": 0.999}}) == 3
    (folder,) = set(run.parent.iterdir()) - before
    result = result_of(folder)
    assert result["status"] == "index_rejected"
    assert result["index"]["problems"]
    assert (folder / "bundle" / "manifest.json").is_file()
    refused = run_script("serve", f"bundle={folder}")
    assert refused.returncode == 2
    assert f"reached {result['index']['recall_at_100']:.4f}, target 1.0000" in refused.stderr
    assert "set allow_rejected_index=true" in refused.stderr
    console = io.StringIO()
    with contextlib.redirect_stdout(console):
        Rich().result(Result(**result), folder, "outputs")
    assert f"twotower reindex run={folder} index=flat_ip" in console.getvalue()
    assert "twotower serve" not in console.getvalue()


def test_evaluate_again_with_other_metrics(run: Path) -> None:
    changes = {
        "metrics": checked("train", [*SMALL, "metrics.ks=[5,20]"])["metrics"],
        "baselines": checked("train", SMALL)["baselines"],
    }
    before = set(run.parent.iterdir())
    assert reevaluate(run, changes) == 0
    (folder,) = set(run.parent.iterdir()) - before
    result = result_of(folder)
    assert result["metrics"]["test/recall_at_20"] == result_of(run)["metrics"]["test/recall_at_20"]
    assert "test/recall_at_5" in result["metrics"]


def test_bundle_recommends_what_the_evaluation_saw(run: Path) -> None:
    retriever = Retriever.open(run / "bundle")
    table = pd.read_parquet(run / "per_user.parquet")
    users = table["user_id"].head(20)
    assert all(len(retriever.recommend(user, k=10)) == 10 for user in users.tolist())


def test_failed_run_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "default" / "fails"
    settings = settings_of(tmp_path, "split.test=10000", "split.valid=1")
    with pytest.raises(InputError):
        train(RunConfig.composed(settings), folder)
    result = result_of(folder)
    assert result["status"] == "failed"
    assert "InputError" in result["error"]
    assert "Traceback" in (folder / "train.log").read_text()


def test_evaluating_again_keeps_the_first_phase_s_validation_figures(run: Path) -> None:
    changes = {key: checked("train", [*SMALL, "metrics.ks=[10,20]"])[key] for key in ("metrics", "baselines")}
    before = set(run.parent.iterdir())
    assert reevaluate(run, changes) == 0
    (folder,) = set(run.parent.iterdir()) - before
    first, again = result_of(run), result_of(folder)
    for name in ("metrics", "intervals"):
        kept = {key: value for key, value in first[name].items() if key.startswith("valid/")}
        assert kept
        assert kept.items() <= again[name].items()
    assert "test/recall_at_50" not in again["metrics"]
    assert again["fingerprint"] != first["fingerprint"]


def test_towers_are_not_used_with_other_data(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.data.sources.synthetic.FIRST_TIME", 10**9)  # same arguments, other content
    monkeypatch.setattr("twotower.data.build_dataset.code_fingerprint", lambda modules: "other code")
    with pytest.raises(InputError, match="content or split has changed since"):
        reindex(run, {"index": checked("train", [*SMALL, "index=flat_ip"])["index"]})


def test_a_run_is_not_resumed_on_other_data(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "default" / "moved"
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "data_fingerprint").write_text("another")
    with pytest.raises(InputError, match="the data has changed since this run was started"):
        resume(folder)


def test_a_run_that_is_stopped_during_its_baselines_leaves_its_bundle(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "default" / "stopped"
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "bundle")
    with monkeypatch.context() as patch:
        patch.setattr(quality, "run_baselines", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            resume(folder)
    assert not (folder / "result.json").exists()
    user = pd.read_parquet(folder / "per_user.parquet")["user_id"][0]
    assert len(Retriever.open(folder / "bundle").recommend(user, k=10)) == 10
    assert resume(folder) == 0
    again, first = result_of(folder), result_of(run)
    assert [again[key] for key in ("metrics", "baselines")] == [
        first[key] for key in ("metrics", "baselines")
    ]


def test_baselines_that_do_not_fit_into_their_time_are_named(run: Path) -> None:
    changes = {
        key: checked("train", [*SMALL, "baselines.minutes=1e-9"])[key] for key in ("metrics", "baselines")
    }
    before = set(run.parent.iterdir())
    assert reevaluate(run, changes) == 0
    (folder,) = set(run.parent.iterdir()) - before
    result = result_of(folder)
    assert result["baselines"] == {}
    assert set(result["baselines_skipped"]) == set(result_of(run)["baselines"])
    said = "baselines that did not fit into baselines.minutes=1e-09: popularity, recent_popularity, ease"
    assert said in (folder / "train.log").read_text()


def test_a_damaged_checkpoint_is_named_and_its_phase_is_begun_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "default" / "damaged"
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    final = folder / "checkpoints" / "fit" / "final.ckpt"
    content = bytearray(final.read_bytes())
    content[len(content) // 2] ^= 1
    final.write_bytes(content)
    with pytest.raises(InputError, match=r"final\.ckpt: damaged.*; delete .*fit, and resume="):
        resume(folder)
    shutil.rmtree(final.parent)
    assert resume(folder) == 0
    again, first = result_of(folder), result_of(run)
    assert [again[key] for key in ("metrics", "curves")] == [first[key] for key in ("metrics", "curves")]


def test_a_training_that_diverges_says_what_to_do(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "optimizer.learning_rate=1e30", "trainer.refit=false")
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: the training diverged"):
        train(RunConfig.composed(settings), tmp_path / "default" / "diverges")


@pytest.mark.parametrize("precision", ["auto", "bf16-mixed"])
def test_every_other_precision_a_cpu_has(tmp_path: Path, precision: str) -> None:
    settings = settings_of(
        tmp_path, f"trainer.precision={precision}", "trainer.max_epochs=1", "trainer.refit=false"
    )
    assert train(RunConfig.composed(settings), tmp_path / "default" / "precise") == 0


def test_what_is_fitted_again_takes_the_epochs_that_were_best_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "default" / "least"
    still = ["optimizer.learning_rate=1e-12", "trainer.patience=1", "trainer.patience_steps=0"]
    assert train(RunConfig.composed(settings_of(tmp_path, *still)), folder) == 0
    assert result_of(folder)["training"]["epochs"] == 1
    lines = (folder / "train.log").read_text().splitlines()
    assert sum("fit epoch" in line for line in lines) == 2 + 1, lines
