"""A job that reuses a training equals the same job alone, whatever its fingerprint leaves out."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import job_settings, result_in

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.conf import shape
from twotower.experiments.runs.fingerprint import AFTER_TRAINING, IRRELEVANT_TRAINER_KEYS
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import train

TYPED = [
    "data=synthetic",
    "data.num_users=120",
    "data.num_items=60",
    "data.num_interactions=1500",
    "split=item_cold",
    "trainer=smoke",
    "initialization=random",
    "objective.batch_size=128",
    "objective.epoch_requests=512",
    "user_tower.widths=null",
    "item_tower.widths=null",
    "console=silent",
    "metrics.ks=[5,20]",
    "metrics.num_bootstrap=0",
    "metrics.importance_repeats=0",
    "index=flat_ip",
    "baselines=all_time",
    "baselines.tune=false",
]
OTHER_VALUES = {
    "name": "name=other",
    "note": "note=other",
    "console": "console=jsonl",
    "debug": "debug=true",
    "cache": "cache=false",
    "tracker": "tracker=csv",
    "trainer.log_every_steps": "trainer.log_every_steps=1",
    "trainer.checkpoint_every_steps": "trainer.checkpoint_every_steps=1",
    "trainer.progress_bar": "trainer.progress_bar=false",
    "index": "index=ivf_flat",
    "metrics": "metrics=published metrics.ks=[20]",
    "baselines": "baselines=standard baselines.tune=true",
    "test": "test=hidden",
}
"""Key that no fingerprint of a training has -> another value of it, as typed."""
FIGURES = ("index", "metrics", "baselines", "test")
NO_FIGURES = [key for key in OTHER_VALUES if key not in FIGURES]
"""Keys that change no figure; one job changes them all."""
NOT_TRIED = {"reuse", "output_root", "benchmark"}
"""Without reuse, or under another root, there is nothing to reuse; the others need data of their own."""


def measured(typed: list[str], root: Path) -> dict[str, Any]:
    """Run a job, and return its figures and the digests of what it serves."""
    settings = job_settings(*TYPED, *typed, f"output_root={root}")
    folder = root / "jobs" / hashlib.sha256(" ".join(typed).encode()).hexdigest()[:8]
    train(RunConfig.composed(settings, typed), folder)
    result = result_in(folder)
    served = [
        folder / "bundle" / name for name in ("towers.safetensors", "item_embeddings.npy", "index.faiss")
    ]
    return {
        "reused": "training_reused_from" in result,
        "metrics": result["metrics"],
        "baselines": result["baselines"],
        "cold_start": result.get("cold_start"),
        "epochs": result["training"]["epochs"],
        "monitored": result["curves"]["valid/recall_at_20"],
        "index_recall": [point["recall"] for point in result["index"]["points"]],
        "served": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in served},
    }


def test_every_key_without_a_place_in_the_fingerprint_is_tried() -> None:
    groups, keys = shape("train")
    omitted = (AFTER_TRAINING & (groups | keys)) - SWEEP_ONLY - NOT_TRIED
    assert set(OTHER_VALUES) == omitted | {f"trainer.{key}" for key in IRRELEVANT_TRAINER_KEYS}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with the training that every job below can reuse."""
    folder = tmp_path_factory.mktemp("trained")
    assert not measured([], folder)["reused"]
    return folder


@pytest.mark.parametrize("keys", [*([key] for key in FIGURES), NO_FIGURES], ids="-".join)
def test_a_job_that_reuses_a_training_equals_the_job_alone(
    root: Path, tmp_path: Path, keys: list[str]
) -> None:
    typed = [text for key in keys for text in OTHER_VALUES[key].split()]
    in_sweep, alone = measured(typed, root), measured(typed, tmp_path)
    assert (in_sweep.pop("reused"), alone.pop("reused")) == (True, False)
    assert in_sweep == alone


def test_jobs_with_other_choices_for_new_items_train_for_themselves(root: Path, tmp_path: Path) -> None:
    """Validations rank new items as they are served, so another choice can make another epoch the best."""
    without, with_boost = (measured([f"new_items.boost={boost}"], root) for boost in (0, 3))
    assert with_boost["cold_start"]["model"] != without["cold_start"]["model"]
    assert not with_boost["reused"]
    assert with_boost == measured(["new_items.boost=3"], tmp_path)
    assert with_boost["metrics"]["valid/recall_at_20"] == pytest.approx(
        max(with_boost["monitored"]), rel=1e-6
    )
