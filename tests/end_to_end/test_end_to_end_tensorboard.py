"""What TensorBoard itself finds in run folders, read with its own readers and its own HPARAMS backend."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from google.protobuf import text_format
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util import tensor_util

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import checked
from twotower.config.errors import InputError
from twotower.pipeline.reevaluate import reindex
from twotower.pipeline.run_config import RunConfig
from twotower.pipeline.train_run import train
from twotower.reports.tensorboard_run import TensorBoardRun

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
    "index=ivf_flat",
    "index.min_recall=0.01",
]
EVERYTHING = dict.fromkeys(("scalars", "images", "tensors"), 0)
PNG = b"\x89PNG\r\n\x1a\n"


def job_settings(overrides: list[str]) -> dict[str, Any]:
    return {key: value for key, value in checked("train", overrides).items() if key not in SWEEP_ONLY}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs: done, failed, and the first with an index that is rejected."""
    root = tmp_path_factory.mktemp("outputs")
    runs = root / "default"
    overrides = [*TINY, f"output_root={root}"]
    assert train(RunConfig.composed(job_settings(overrides), overrides), runs / "done") == 0
    overrides.append("split.test=10000")
    with pytest.raises(InputError):
        train(RunConfig.composed(job_settings(overrides), overrides), runs / "failed")
    coarse = ["index=ivf_pq", "index.num_subquantizers=1", "index.num_bits=4"]
    coarse += ["index.target_recall=1.0", "index.min_recall=1.0"]
    index = checked("train", [*TINY[:4], *coarse])["index"]
    before = set(runs.iterdir())
    assert reindex(runs / "done", {"index": index}) == 3
    (rejected,) = set(runs.iterdir()) - before
    rejected.rename(runs / "rejected")
    return root


@pytest.fixture(scope="module")
def done(root: Path) -> Path:
    return root / "default" / "done"


@pytest.fixture(scope="module")
def events(done: Path) -> EventAccumulator:
    found = EventAccumulator(str(done), EVERYTHING)
    found.Reload()
    return found


def result_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_text()))


def values_of(events: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in events.Scalars(tag)]


def test_the_result_has_the_defaults_that_the_settings_leave_out(done: Path) -> None:
    settings, defaults = yaml.safe_load((done / "config.yaml").read_text()), result_of(done)["defaults"]
    assert "learned_temperature" not in settings["loss"]
    assert defaults["loss.learned_temperature"] is False
    assert "loss.temperature" not in defaults  # stated


def test_nothing_of_lightning_or_the_old_layout_is_left(done: Path) -> None:
    assert not (done / "tensorboard").exists()
    assert not (done / "hparams.yaml").exists()


def test_curves(events: EventAccumulator, done: Path) -> None:
    tags = set(events.Tags()["scalars"])
    assert {"2 train/loss", "2 train/learning_rate", "2 train/temperature"} <= tags
    assert {"5 health/user_effective_rank", "5 health/item_mean_cosine", "5 health/top_1_share"} <= tags
    recall = events.Scalars("1 monitor/valid/recall_at_20")
    assert values_of(events, "3 valid/recall_at_20") == [event.value for event in recall]
    assert len(recall) == 2
    assert recall[0].step < recall[1].step
    best = result_of(done)["metrics"]["valid/recall_at_20"]
    assert max(event.value for event in recall) == pytest.approx(best, abs=1e-6)
    for tag in tags:
        assert np.isfinite(values_of(events, tag)).all(), tag
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag


def test_towers_of_another_run_have_its_curves_at_its_steps(events: EventAccumulator, root: Path) -> None:
    reused = EventAccumulator(str(root / "default" / "rejected"), EVERYTHING)
    reused.Reload()
    for tag in ("1 monitor/valid/recall_at_20", "3 valid/recall_at_20", "3 valid/ndcg_at_20"):
        points = [[(event.step, event.value) for event in each.Scalars(tag)] for each in (events, reused)]
        assert points[0] == points[1], tag
    assert len(reused.Scalars("2 train/loss")) == 2


def test_final_figures_are_those_of_the_result(events: EventAccumulator, done: Path) -> None:
    result = result_of(done)
    assert values_of(events, " best_valid/monitor") == pytest.approx(
        [result["metrics"]["valid/recall_at_20"]], rel=1e-6
    )
    for name in ("test/monitor", "test_exact/monitor"):
        assert values_of(events, f" {name}") == pytest.approx(
            [result["metrics"]["test/recall_at_20"]], rel=1e-6
        )
    for key in ("recall_at_100", "latency_ms_p50", "bytes_per_item"):
        assert values_of(events, f" index/{key}") == pytest.approx([result["index"][key]], rel=1e-6)
    total_seconds = result["timing"]["total_seconds"]
    assert values_of(events, " timing/total_seconds") == pytest.approx([total_seconds], rel=1e-6)


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


Rows = dict[str, api_pb2.SessionGroup]


def read_hparams(root: Path) -> tuple[api_pb2.Experiment, Rows]:
    """Return what the HPARAMS tab is given: its columns, and its rows by the run's name."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(root))
    multiplexer.Reload()
    backend = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(root))))
    ask = context.RequestContext()
    experiment = backend.experiment_from_metadata(
        ask,
        "",
        True,
        backend.hparams_metadata(ask, ""),
        backend.hparams_from_data_provider(ask, "", None),
    )
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100, allowed_statuses=api_pb2.Status.values(), include_metrics=True
    )
    found = Handler(ask, backend, "", request).run().session_groups
    assert all(len(group.sessions) == 1 for group in found)
    assert {group.sessions[0].name for group in found} == set(multiplexer.Runs())  # one run a job
    return experiment, {Path(group.sessions[0].name).name: group for group in found}


@pytest.fixture(scope="module")
def hparams(root: Path) -> tuple[api_pb2.Experiment, Rows]:
    return read_hparams(root)


def test_columns_of_hparams_have_their_types(hparams: Any) -> None:
    types = {info.name: info.type for info in hparams[0].hparam_infos}
    for name, kind in (
        ("trainer.refit", api_pb2.DATA_TYPE_BOOL),
        ("embedding_dim", api_pb2.DATA_TYPE_FLOAT64),
        ("data.num_users", api_pb2.DATA_TYPE_FLOAT64),
        ("loss.temperature", api_pb2.DATA_TYPE_FLOAT64),
        ("loss", api_pb2.DATA_TYPE_STRING),
        ("index", api_pb2.DATA_TYPE_STRING),
        ("user_tower.widths", api_pb2.DATA_TYPE_STRING),
        ("status", api_pb2.DATA_TYPE_STRING),
    ):
        assert types[name] == kind, name
    assert api_pb2.DATA_TYPE_UNSET not in types.values()
    assert not types.keys() & {"seed", "output_root", "debug"}


def test_hparams_begins_with_validation_and_has_the_curves_last(hparams: Any) -> None:
    tags = [info.name.tag for info in hparams[0].metric_infos]
    assert tags[:7] == [
        " best_valid/monitor",
        " index/bytes_per_item",
        " index/latency_ms_p50",
        " index/recall_at_100",
        " test/monitor",
        " test_exact/monitor",
        " timing/total_seconds",
    ]
    assert {tag[0] for tag in tags[7:]} == set("1235")  # the curves


def test_rows_of_hparams_say_how_each_run_ended(hparams: Any) -> None:
    groups = hparams[1]
    ended = {
        name: (group.sessions[0].status, group.hparams["status"].string_value)
        for name, group in groups.items()
    }
    assert ended == {
        "done": (api_pb2.STATUS_SUCCESS, "ok"),
        "failed": (api_pb2.STATUS_FAILURE, "failed"),
        "rejected": (api_pb2.STATUS_SUCCESS, "index_rejected"),
    }
    for group in groups.values():
        (session,) = group.sessions
        assert 0 < session.start_time_secs <= session.end_time_secs
    assert groups["done"].hparams["index"].string_value == "IVFFlat"
    assert groups["rejected"].hparams["index"].string_value == "IVFPQ"
    assert groups["done"].hparams["trainer.refit"].bool_value is False
    assert "split.test" not in groups["done"].hparams
    assert groups["failed"].hparams["split.test"].number_value == 10_000


def test_rows_of_hparams_have_the_final_metrics(hparams: Any, root: Path) -> None:
    groups = hparams[1]
    for name in ("done", "rejected"):
        result = result_of(root / "default" / name)
        shown = {value.name.tag: value.value for value in groups[name].metric_values}
        assert shown[" test/monitor"] == pytest.approx(result["metrics"]["test/recall_at_20"], rel=1e-6)
        assert shown[" index/recall_at_100"] == pytest.approx(result["index"]["recall_at_100"], rel=1e-6)
    assert list(groups["failed"].metric_values) == []


def test_a_run_that_failed_and_was_resumed_ends_well(tmp_path: Path) -> None:
    settings = {"index": "IVFFlat", "trainer": {"refit": False}}
    folder = tmp_path / "default" / "run"
    statuses = []
    for outcome in ("failed", "ok"):
        with TensorBoardRun(folder) as board:
            board.start(settings, "index: IVFFlat")
            running = read_hparams(tmp_path)[1]["run"].sessions[0].status
            board.outcome = outcome
        ended = read_hparams(tmp_path)[1]["run"].sessions[0].status
        statuses += [running, ended]
    assert statuses == [
        api_pb2.STATUS_UNKNOWN,
        api_pb2.STATUS_FAILURE,
        api_pb2.STATUS_UNKNOWN,
        api_pb2.STATUS_SUCCESS,
    ]
