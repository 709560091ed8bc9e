"""What TensorBoard itself finds in run folders, read with its own readers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from google.protobuf import text_format
from quick import QUICK
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util import tensor_util
from tiny_runs import job_settings, result_in

from twotower.config.errors import InputError
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import train

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective=next_item",
    "objective.batch_size=512",
    "trainer.max_epochs=2",
    "trainer.refit=false",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=0",
    *QUICK,
    "index=ivf_flat",
    "index.min_recall=0.01",
]
EVERYTHING = dict.fromkeys(("scalars", "images", "tensors"), 0)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: one done, one failed."""
    root = tmp_path_factory.mktemp("outputs")
    runs = root / "default"
    overrides = [*TINY, f"output_root={root}"]
    assert train(RunConfig.composed(job_settings(*overrides), overrides), runs / "done") == 0
    overrides.append("split.test=10000")
    with pytest.raises(InputError):
        train(RunConfig.composed(job_settings(*overrides), overrides), runs / "failed")
    return root


@pytest.fixture(scope="module")
def done(root: Path) -> Path:
    return root / "default" / "done"


@pytest.fixture(scope="module")
def events(done: Path) -> EventAccumulator:
    found = EventAccumulator(str(done), EVERYTHING)
    found.Reload()
    return found


def values_of(events: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in events.Scalars(tag)]


def test_the_result_has_the_defaults_that_the_settings_leave_out(done: Path) -> None:
    settings, defaults = yaml.safe_load((done / "config.yaml").read_text()), result_in(done)["defaults"]
    assert "learned_temperature" not in settings["loss"]
    assert defaults["loss.learned_temperature"] is False
    assert "loss.temperature" not in defaults  # stated


def test_curves(events: EventAccumulator, done: Path) -> None:
    tags = set(events.Tags()["scalars"])
    assert {"2 train/loss", "2 train/learning_rate", "2 train/temperature"} <= tags
    assert {"5 health/user_effective_rank", "5 health/item_mean_cosine", "5 health/top_1_share"} <= tags
    recall = events.Scalars("1 monitor/valid/recall_at_20")
    assert values_of(events, "3 valid/recall_at_20") == [event.value for event in recall]
    assert len(recall) == 2
    assert recall[0].step < recall[1].step
    best = result_in(done)["metrics"]["valid/recall_at_20"]
    assert max(event.value for event in recall) == pytest.approx(best, abs=1e-6)
    for tag in tags:
        assert np.isfinite(values_of(events, tag)).all(), tag
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag


def test_final_figures_are_those_of_the_result(events: EventAccumulator, done: Path) -> None:
    result = result_in(done)
    metrics, index = result["metrics"], result["index"]
    expected = {
        "best_valid/monitor": metrics["valid/recall_at_20"],
        "test/monitor": metrics["test/recall_at_20"],
        "test_exact/monitor": metrics["test/recall_at_20"],
        **{f"index/{key}": index[key] for key in ("recall_at_100", "latency_ms_p50", "bytes_per_item")},
        "timing/total_seconds": result["timing"]["total_seconds"],
    }
    assert {tag: values_of(events, f" {tag}") for tag in expected} == {
        tag: [pytest.approx(value, rel=1e-6)] for tag, value in expected.items()
    }


def test_figure_of_the_index(events: EventAccumulator) -> None:
    assert events.Tags()["images"] == ["index/recall_versus_latency"]
    (image,) = events.Images("index/recall_versus_latency")
    assert image.encoded_image_string.startswith(PNG)
    assert (image.width, image.height) == (700, 450)


def test_config_as_text(events: EventAccumulator, done: Path) -> None:
    (event,) = events.Tensors("config/text_summary")
    text = tensor_util.make_ndarray(event.tensor_proto)[0].decode()
    assert text.startswith("```yaml\n")
    assert text.endswith("\n```")
    shown = yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```"))
    assert shown == yaml.safe_load((done / "config.yaml").read_text())


def test_projector_has_labelled_item_embeddings(done: Path) -> None:
    config = text_format.Parse((done / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    vectors = np.loadtxt(done / embedding.tensor_path, delimiter="\t")
    expected = np.load(done / "bundle" / "item_embeddings.npy", allow_pickle=False)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-7)
    items = pd.read_parquet(done / "bundle" / "items.parquet")
    label = json.loads((done / "bundle" / "manifest.json").read_text())["item_label"]
    labels = (done / embedding.metadata_path).read_text().splitlines()
    assert labels == items[label].tolist()


def test_the_session_of_each_run_has_its_status(root: Path) -> None:
    """What the HPARAMS tab shows of sessions: tests/unit/experiments/reports/test_reports_board.py."""
    for name, status in (("done", b"ok"), ("failed", b"failed")):
        (session,) = (root / "default" / name).glob("*.session")
        content = session.read_bytes()
        assert status in content
        assert b"session_end_info" in content
        assert (b"split.test" in content) == (name == "failed")  # typed there only
