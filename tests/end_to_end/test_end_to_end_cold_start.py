"""Items kept from training: what a run with `split=item_cold` measures, keeps and shows of them."""

from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import services
from in_process import run_script
from quick import QUICK
from tiny_runs import job_settings, result_in

from twotower.bundle.read import read_bundle
from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.jobs.evaluate import reevaluate, reindex
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import train

SMALL = [
    "data=synthetic",
    "data.num_users=400",
    "data.num_items=200",
    "data.num_interactions=8000",
    "split=item_cold",
    "split.unit=share",
    "split.test=0.2",
    "split.valid=0.1",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=100",
    "index=flat_ip",
    "reuse=false",
    "console=quiet",
    *QUICK,
]


def settings_of(root: Path, *overrides: str) -> dict[str, Any]:
    return job_settings(*SMALL, f"output_root={root}", *overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    folder = root / "default" / "first"
    assert train(RunConfig.composed(settings_of(root)), folder) == 0
    return folder


def newest(run: Path, before: set[Path]) -> Path:
    (folder,) = set(run.parent.iterdir()) - before
    return folder


def test_cold_items_reach_neither_training_nor_histories(run: Path) -> None:
    config = RunConfig.composed(settings_of(run.parents[1]))
    dataset = build_dataset(config.data.build(), config.split.build(), run.parents[1] / ".cache")
    found, model = result_in(run)["cold_start"], read_bundle(run / "bundle").model
    cold = np.setdiff1d(np.arange(1, 201), dataset.train_and_valid.items)
    assert len(cold) == found["num_cold_items"] >= dataset.audit["held_out_items"] == 40
    for log in (dataset.train, dataset.valid.history, dataset.test.history):
        assert not np.isin(log.items, cold).any()
    assert not model.trained_items[cold].any()
    assert np.isin(cold, dataset.test.target_items).sum() > 20
    known = set(model.items.features["item_id"].state.values)
    assert known.isdisjoint(dataset.items.ids(cold).tolist())


def test_it_is_what_the_whole_evaluation_found_of_the_same_items(run: Path) -> None:
    result = result_in(run)
    found, slices = result["cold_start"], result["slices"]["test"]["item_cold"]
    for part in ("cold", "warm"):
        assert found["num_users"][part] == slices[part]["num_users"]
        for key, value in found["model"][part].items():
            assert value == pytest.approx(slices[part][key], abs=2e-3), (part, key)
    for key, value in found["model"]["all"].items():
        assert value == pytest.approx(result["metrics"][f"test/{key}"], abs=2e-3)
        low, high = found["intervals"]["model"]["all"][key]
        assert low <= value <= high
    assert found["content"]["cold"]["recall_at_100"] > found["random"]["cold"]["recall_at_100"] > 0


def test_another_index_and_other_metrics_measure_it_again(run: Path) -> None:
    before = set(run.parent.iterdir())
    assert reindex(run, {"index": load_settings("train", [*SMALL, "index=ivf_flat"])["index"]}) == 0
    folder = newest(run, before)
    again, first = result_in(folder)["cold_start"], result_in(run)["cold_start"]
    assert again["content"] == first["content"]
    assert again["model"]["cold"]["recall_at_100"] == pytest.approx(
        first["model"]["cold"]["recall_at_100"], abs=0.1
    )
    before = set(run.parent.iterdir())
    asked = load_settings("train", [*SMALL, "metrics.ks=[5,20]"])
    assert reevaluate(run, {key: asked[key] for key in ("metrics", "baselines")}) == 0
    found = result_in(newest(run, before))["cold_start"]
    assert list(found["model"]["cold"]) == ["recall_at_5", "recall_at_20"]
    assert found["model"]["cold"]["recall_at_20"] == first["model"]["cold"]["recall_at_20"]


def test_tensorboard_and_compare_show_it(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    cold = result_in(run)["cold_start"]
    for who, part in (("model", "cold"), ("content", "warm"), ("random", "all")):
        (scalar,) = events.Scalars(f"cold_start/{who}/{part}/recall_at_20")
        assert scalar.value == pytest.approx(cold[who][part]["recall_at_20"], rel=1e-6)
    shown = run_script("compare", run, "markdown=-").stdout
    heading, _, line, *_ = shown.splitlines()
    cells = dict(zip(heading.split(" | "), line.split(" | "), strict=True))
    assert cells["cold recall@20"] == f"{cold['model']['cold']['recall_at_20']:.4f}"
    assert cells["content cold recall@20"] == f"{cold['content']['cold']['recall_at_20']:.4f}"


def test_clients_of_the_service_get_the_metrics_of_the_record(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "serving", forks.serving)
    recorded, told = services.compare(run)
    assert recorded["test/recall_at_20"] > 0
    assert told == pytest.approx(recorded, abs=services.TOLERANCE)


def test_an_index_too_large_for_the_known_items_is_refused_before_training(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "metrics.ks=[20,170]")
    with pytest.raises(InputError, match=r"metrics\.ks: 170 is above the 1[56]\d items"):
        train(RunConfig.composed(settings), tmp_path / "default" / "large")
