"""What a run and a sweep write for TensorBoard beside the curves, and how it groups these."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars

from twotower.evaluation.user_values import k_of
from twotower.reports.hparams import columns_of, hparams_of, trial_id
from twotower.reports.pareto import points_of
from twotower.reports.plots import pareto, png_of, recall_versus_latency
from twotower.reports.projector import write_projector
from twotower.runs.fingerprint import DEFAULT_MONITOR
from twotower.runs.outcome import Ending, Outcome
from twotower.runs.result import Result
from twotower.training.scalars import curve_tags

VALID_KINDS = ("recall", "ndcg", "mrr", "coverage")


def _layout(settings: Mapping[str, Any]) -> Summary:
    """Return what groups the curves; TensorBoard merges those of all runs, equal charts into one."""
    trainer = settings.get("trainer", {})
    monitor = str(trainer.get("monitor", DEFAULT_MONITOR))
    k = k_of(monitor) or k_of(DEFAULT_MONITOR)
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
            "spread of norms": ["health/(user|item)_norm_spread"],
            "uniformity": ["health/(user|item)_uniformity"],
            "alignment": ["health/alignment"],
            "share of users whose first item is the same": ["health/top_1_share"],
        },
    }
    if trainer.get("refit", True):
        groups["refit"] = {"loss": ["refit-train/loss"]}
    return custom_scalars(
        {
            category: {
                title: ["Multiline", [f"^\\d+ {tag}$" for tag in tags]] for title, tags in charts.items()
            }
            for category, charts in groups.items()
        }
    )


STATUS = {
    "ok": api_pb2.STATUS_SUCCESS,
    "index_rejected": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
}
"""What TensorBoard calls it; it has no word for the others, which it shows as unknown."""

MAX_PROJECTED, RGBA = 2_000, 4
OF_SWEEP = ".sweep"
SESSION = ".session"
"""Ends the name of the event file that holds the hyper-parameters, the figures and the status of the run."""

EARLIER_SESSION = "for-hparams"
"""Folder of this file in runs of earlier versions."""


class TensorBoardRun:
    """The TensorBoard side of a run.

    The run is a session of HPARAMS: one start summary, and one hand-built end summary with the true status.
    It has no experiment summary: of several TensorBoard reads one at random, and loses the columns that only
    other runs have. Without one the columns are the union of all runs', with their types, and every scalar of
    the run; `curve_tags` explains their order. TensorBoard reads the first summary of a session, so it is a
    file of its own, which is replaced when the run ends or is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._forget_session()
        self.writer = SummaryWriter(str(folder))
        self.hparams: dict[str, Any] = {}
        self.columns: dict[str, float] = {}
        self.trial = ""
        self.started = time.time()
        self.outcome: Ending = "failed"

    def __enter__(self) -> Self:
        """Open; unless `outcome` is set before the end, the session counts as failed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.outcome = "interrupted"
        elif kind is not None:
            self.outcome = "failed"
        self._forget_session()
        figures = [
            Summary(value=[Summary.Value(tag=tag, simple_value=value)]) for tag, value in self.columns.items()
        ]
        self._write_session(self._start({"status": self.outcome}), *figures, _end(self.outcome))
        self.writer.close()

    def start(self, settings: Mapping[str, Any], config_text: str, overrides: Iterable[str] = ()) -> None:
        """Write the hyper-parameters, the layout of the curves, and the resolved config as text."""
        self.hparams = dict(hparams_of(settings, overrides))
        self.trial = trial_id(settings, self.folder.name)
        self._write_session(self._start({}))
        self._add(_layout(settings))
        self.writer.add_text("config", f"```yaml\n{config_text}\n```")
        self.writer.flush()

    def result(self, result: Result) -> None:
        """Write the curves of towers that another run trained; the final figures are written at the end."""
        monitor = result.training.monitor
        for step, figures in result.reused_curves():
            for key, value in figures.items():
                for tag in curve_tags(key, monitor):
                    self.writer.add_scalar(tag, value, step)
        self.columns, self.outcome = columns_of(result), result.status

    def index_curve(
        self, points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
    ) -> None:
        """Draw recall against latency over the search arguments tried."""
        if points:
            figure = recall_versus_latency(points, target_recall, chosen)
            self._add(_image("index/recall_versus_latency", figure))

    def projector(self, vectors: np.ndarray, labels: list[str]) -> None:
        """Put a labelled sample of item embeddings into the projector."""
        step = max(1, len(vectors) // MAX_PROJECTED)
        names = [" ".join(str(text).split()) or "?" for text in labels[::step]]
        write_projector(self.folder, "items", vectors[::step], names)

    def _start(self, more: Mapping[str, str]) -> Summary:
        return summary_v2.hparams_pb(
            {**self.hparams, **more}, trial_id=self.trial, start_time_secs=self.started
        )

    def _forget_session(self) -> None:
        for folder in (self.folder, self.folder / EARLIER_SESSION):
            for file in folder.glob(f"*{SESSION}"):
                file.unlink()

    def _write_session(self, *summaries: Summary) -> None:
        with SummaryWriter(str(self.folder), filename_suffix=SESSION) as writer:
            for summary in summaries:
                writer._get_file_writer().add_summary(summary)

    def _add(self, summary: Any) -> None:
        self.writer._get_file_writer().add_summary(summary)


def draw_sweep(folder: Path, outcomes: Sequence[Outcome], metric: str) -> None:
    """Draw what the jobs of a sweep reach against what their indexes cost, as a run in the sweep's folder.

    A sweep that goes on replaces the figure.
    """
    words, points = points_of(outcomes, metric)
    for file in folder.glob(f"*{OF_SWEEP}"):
        file.unlink()
    if points:
        with SummaryWriter(str(folder), filename_suffix=OF_SWEEP) as writer:
            writer._get_file_writer().add_summary(_image("sweep/pareto", pareto(points, words)))


def _image(tag: str, figure: Figure) -> Summary:
    """Return a figure as an image; `add_figure` of torch loses what is clear in it."""
    png, width, height = png_of(figure)
    image = Summary.Image(width=width, height=height, colorspace=RGBA, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _end(outcome: str) -> Summary:
    status = STATUS.get(outcome, api_pb2.STATUS_UNKNOWN)
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=ended)
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary
