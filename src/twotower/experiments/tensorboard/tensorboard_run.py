"""What a run and a sweep write for TensorBoard in addition to the curves."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import text as text_summary

from twotower.evaluation.user_values import metric_k
from twotower.experiments.compare.figure_names import heading
from twotower.experiments.runs.fingerprint import DEFAULT_MONITOR, epoch_monitor
from twotower.experiments.runs.outcome import Ending, Outcome, pareto_points
from twotower.experiments.runs.result import EPOCHS_KEPT, Result
from twotower.experiments.runs.run_files import read_varied_keys
from twotower.experiments.tensorboard.hparams import final_metrics, hyperparameters, trial_id
from twotower.experiments.tensorboard.plots import (
    feature_importance,
    new_item_curve,
    pareto,
    recall_versus_latency,
    to_png,
)
from twotower.training.scalars import curve_tags

VALID_KINDS = ("recall", "ndcg", "mrr", "coverage")


def _layout(settings: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return the charts that group curves: category -> title -> chart.

    TensorBoard merges the charts of all runs; equal ones become one.
    """
    trainer = settings.get("trainer", {})
    monitor = epoch_monitor({"trainer": trainer})
    k = metric_k(monitor) or metric_k(DEFAULT_MONITOR)
    valid = {f"{kind}@{k}": [f"valid/{kind}_at_{k}"] for kind in VALID_KINDS}
    chosen = {monitor.removeprefix("valid/").replace("_at_", "@"): [monitor]}
    groups = {
        "train": {
            "loss": ["train/loss"],
            "learning rate": ["train/learning_rate"],
            "temperature": ["train/temperature"],
        },
        "valid": chosen | valid,
        "health of the embeddings": {
            "effective rank": ["health/(user|item)_effective_rank"],
            "mean cosine": ["health/(user|item)_mean_cosine"],
            "uniformity": ["health/(user|item)_uniformity"],
            "alignment": ["health/alignment"],
            "share of users whose first item is the same": ["health/top_1_share"],
        },
    }
    if trainer.get("refit", True):
        groups["refit"] = {"loss": ["refit-train/loss"]}
    return {
        category: {title: ["Multiline", [f"^\\d+ {tag}$" for tag in tags]] for title, tags in charts.items()}
        for category, charts in groups.items()
    }


STATUS = {
    "ok": api_pb2.STATUS_SUCCESS,
    "index_rejected": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
}
"""TensorBoard has no status for interrupted and pruned runs and shows them as unknown."""

MAX_PROJECTED, RGBA = 2_000, 4
WINDOWS = "7 windows"
"""Group of curves over windows, after the curves of the training; see `curve_tags`."""
SWEEP_SUFFIX = ".sweep"
LAB_SUFFIX = ".index_lab"
SESSION = ".session"
"""Suffix of the event file with the hyper-parameters, the final figures and the status of the run."""


class TensorBoardRun:
    """Hyper-parameters, status, figures and images of one run in TensorBoard.

    The run is a session of HPARAMS: one start summary, and one end summary with the true status. There is no
    experiment summary: TensorBoard reads one of several at random and loses the columns that only other runs
    have. Without one, the columns are the union over all runs, with every scalar; `curve_tags` explains their
    order. TensorBoard reads the first summary of a session only, so the session has its own event file, which
    is replaced when the run ends or is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _replace(folder, SESSION)
        self.writer = SummaryWriter(str(folder))
        self.hparams: dict[str, Any] = {}
        self.columns: dict[str, float] = {}
        self.kept: dict[str, float] = {}
        self.trial = ""
        self.started = time.time()
        self.outcome: Ending = "failed"

    def __enter__(self) -> Self:
        """Open; the session counts as failed unless `outcome` is set before the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.outcome = "failed" if issubclass(kind, Exception) else "interrupted"
        if kind is not None or not self.columns:  # else `result` has ended the session
            self._end_session()
        self.writer.close()

    def start(self, settings: Mapping[str, Any], config_text: str, overrides: Sequence[str] = ()) -> None:
        """Write the hyper-parameters, the charts that group curves, and the composed settings as text."""
        self.hparams = dict(hyperparameters(settings, overrides, read_varied_keys(self.folder.parent)))
        self.trial = trial_id(settings, self.folder.name, overrides)
        self._write_session({})
        self.writer.add_custom_scalars(_layout(settings))
        self.writer.add_text("config", f"```yaml\n{config_text}\n```")
        self.writer.flush()

    def result(self, result: Result) -> None:
        """Write the final figures, the charts of features and new items, curves of towers of another run, and
        metrics by window."""
        monitor = result.training.monitor
        if result.feature_importance:
            self._draw("features/importance", feature_importance(result.feature_importance))
        if result.new_items and "new" in result.new_items.own():
            self._draw("new_items/recall_by_boost", new_item_curve(result.new_items))
        if tuned := result.tuned_settings():
            self.writer.add_text("baselines", f"tuned on validation: {tuned}")
        for step, figures in result.reused_curves():
            for key, value in figures.items():
                for tag in curve_tags(key, monitor):
                    self.writer.add_scalar(tag, value, step)
        shown = (monitor, monitor.replace("valid/", "test/"))
        for entry in result.windows:
            for key in (key for key in shown if key in entry["metrics"]):
                self.writer.add_scalar(f"{WINDOWS}/{key}", entry["metrics"][key], entry["window"])
        self.columns, self.outcome = final_metrics(result), result.status
        if EPOCHS_KEPT in (figures := result.final_figures()):
            self.kept = {heading(EPOCHS_KEPT): figures[EPOCHS_KEPT]}
        self._end_session()
        self.writer.flush()

    def index_curve(
        self, points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
    ) -> None:
        """Draw recall against latency for each setting of the search arguments."""
        if points:
            self._draw("index/recall_versus_latency", recall_versus_latency(points, target_recall, chosen))

    def projector(self, vectors: np.ndarray, labels: list[str]) -> None:
        """Write a labelled sample of item embeddings for the projector."""
        step = max(1, math.ceil(len(vectors) / MAX_PROJECTED))
        names = [" ".join(str(text).split()) or "?" for text in labels[::step]]
        self.writer.add_embedding(vectors[::step], names, tag="items")

    def _draw(self, tag: str, figure: Figure) -> None:
        assert self.writer.file_writer is not None
        self.writer.file_writer.add_summary(_image(tag, figure))

    def _end_session(self) -> None:
        figures = [
            Summary(value=[Summary.Value(tag=tag, simple_value=value)]) for tag, value in self.columns.items()
        ]
        self._write_session({**self.kept, "status": self.outcome}, *figures, _end(self.outcome))

    def _write_session(self, status: Mapping[str, str | float], *summaries: Summary) -> None:
        start = summary_v2.hparams_pb(
            {**self.hparams, **status}, trial_id=self.trial, start_time_secs=self.started
        )
        _replace(self.folder, SESSION, start, *summaries)


def write_sweep_summaries(
    folder: Path, outcomes: Sequence[Outcome], metric: str, lines: Iterable[str]
) -> None:
    """Write the last lines of a sweep, and draw its metric against latency and size of the indexes.

    They are a run in the sweep's folder; a resumed sweep replaces it.
    """
    title, points = pareto_points(outcomes, metric)
    images = [_image("sweep/pareto", pareto(points, title))] if points else []
    text = text_summary("sweep/summary", "```text\n" + "\n".join(lines) + "\n```")
    _replace(folder, SWEEP_SUFFIX, *images, text)


def write_lab_summaries(folder: Path, figures: Mapping[str, Figure], texts: Mapping[str, str]) -> None:
    """Write figures and texts in Markdown by tag to an event file of a folder."""
    images = [_image(tag, figure) for tag, figure in figures.items()]
    _replace(folder, LAB_SUFFIX, *images, *(text_summary(tag, text) for tag, text in texts.items()))


def _replace(folder: Path, suffix: str, *summaries: Summary) -> None:
    """Write summaries to an event file of their own, in place of the earlier one."""
    for file in folder.glob(f"*{suffix}"):
        file.unlink()
    if not summaries:
        return
    writer = FileWriter(str(folder), filename_suffix=suffix)
    for summary in summaries:
        writer.add_summary(summary)
    writer.close()


def _image(tag: str, figure: Figure) -> Summary:
    """Return a figure as an image; `SummaryWriter.add_figure` makes its background opaque."""
    png, width, height = to_png(figure)
    image = Summary.Image(width=width, height=height, colorspace=RGBA, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _end(outcome: str) -> Summary:
    status = STATUS.get(outcome, api_pb2.STATUS_UNKNOWN)
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=ended)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
