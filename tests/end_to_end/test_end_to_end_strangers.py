"""A loss and a metric of somebody else's in whole runs: one may run away, the other is better when low."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import run_script
from quick import QUICK
from strangers import neighbor_graph
from strangers.cosine_contrastive import CosineContrastive
from tiny_runs import job_settings

from twotower.commands import conf
from twotower.commands.conf import CONF
from twotower.config.errors import InputError
from twotower.experiments.compare.figure_names import format_figure
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import train

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective.batch_size=256",
    "objective.epoch_requests=1024",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    *QUICK,
    "console=quiet",
]
MONITOR = "valid/first_place_at_20"


class Careless(CosineContrastive):
    """It needs unit vectors and does not say so."""

    class Config(CosineContrastive.Config):
        @property
        def needs(self) -> frozenset[str]:
            return frozenset()


def settings_of(root: Path, loss: str, *overrides: str) -> dict[str, Any]:
    own = [f"loss._target_={loss}", "~loss.temperature", f"output_root={root}", *overrides]
    return job_settings(*TINY, *own)


@pytest.mark.parametrize("refit", [False, True])
def test_a_loss_that_runs_away_ends_the_training_and_says_so(tmp_path: Path, refit: bool) -> None:
    wild = (
        "user_tower.widths=[128]",
        "item_tower.widths=[]",
        "history.dropout=0.0",
        "item_bias=popularity",
        "optimizer.learning_rate=0.1",
        f"trainer.refit={refit}",
    )
    settings = settings_of(tmp_path, "test_end_to_end_strangers.Careless", *wild)
    folder = tmp_path / "default" / "careless"
    with pytest.raises(InputError, match=r"loss: the training diverged, the loss fell from 0\.\d+ to -"):
        train(RunConfig.composed(settings), folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "failed"
    assert "item_bias=none" in result["error"]
    assert not (folder / "bundle").exists()


def test_given_what_it_needs_it_trains(tmp_path: Path) -> None:
    unit = ("user_tower.normalize=l2", "item_tower.normalize=l2", "item_bias=none", "trainer.max_epochs=3")
    settings = settings_of(tmp_path, "strangers.cosine_contrastive.CosineContrastive", *unit)
    folder = tmp_path / "default" / "careful"
    assert train(RunConfig.composed(settings), folder) == 0
    losses = json.loads((folder / "result.json").read_text())["curves"]["train/loss"]
    assert all(0 <= loss <= 3 for loss in losses)


def without_strangers(name: str, *arguments: str) -> str:
    """Run a command where their classes cannot be imported."""
    environment = os.environ | {"PYTHONPATH": ""}
    command = [sys.executable, str(CONF.parent / "scripts" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_metric_that_is_better_when_low_chooses_epochs_trials_and_runs(tmp_path: Path) -> None:
    search = (
        "sweep=random",
        "sweep.num_trials=2",
        "trainer.max_epochs=3",
        "trainer.refit=false",
    )
    own = ("metrics.kinds.first={_target_:strangers.first_place.FirstPlace}", f"trainer.monitor={MONITOR}")
    done = run_script("train", *TINY, *search, *own, f"output_root={tmp_path}", "name=t")
    assert done.returncode == 0, done.stdout + done.stderr
    results = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("t/*/0*/result.json")}
    assert len(results) == 2
    for result in results.values():
        curve = result["curves"][MONITOR]
        assert result["higher_is_better"]["first_place"] is False
        assert result["training"]["epochs"] == int(np.argmin(curve)) + 1
        assert result["metrics"][MONITOR] == pytest.approx(min(curve), abs=1e-6)
    reached = {name: result["metrics"][MONITOR] for name, result in results.items()}
    best = min(reached, key=lambda name: reached[name])
    found = json.loads(next(tmp_path.glob("t/*/sweep.json")).read_text())["search"]
    assert (found["metric"], found["direction"]) == (MONITOR, "minimize")
    assert found["best"]["job"] == best
    assert re.search(rf"best +{best} .*{format_figure(MONITOR, reached[best])}", done.stdout)
    compared = without_strangers("compare.py", f"{tmp_path}/t", "metric=first_place_at_20", "json=-")
    report = json.loads(compared)
    values = [row[MONITOR] for row in report["rows"]]
    assert report["higher_is_better"] is False
    assert values == sorted(values)
    assert report["baseline"].endswith(best)
    for row in report["rows"]:
        if row["verdict"].startswith(("better", "worse")):
            assert row["verdict"].startswith("better") == (row["difference"] < 0)


def test_an_index_of_somebody_else_passes_the_checks_on_made_up_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "OTHERS", (Path(neighbor_graph.__file__).parent / "conf",))
    words = ["trainer.max_epochs=1", "trainer.refit=false", "index=neighbor_graph"]
    done = run_script("train", *TINY, *words, f"output_root={tmp_path}")
    assert done.returncode == 0, done
    (result,) = tmp_path.glob("default/*/result.json")
    assert json.loads(result.read_text())["index"]["recall_at_100"] > 0.99
