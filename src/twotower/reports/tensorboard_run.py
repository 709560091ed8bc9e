"""What a run writes for TensorBoard in addition to the curves."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from torch.utils.tensorboard import FileWriter, SummaryWriter

from twotower.reports.hparams import final_metrics, hyperparameters, trial_id
from twotower.runs.outcome import Ending
from twotower.runs.result import Result
from twotower.training.scalars import curve_tags

STATUS = {
    "ok": api_pb2.STATUS_SUCCESS,
    "index_rejected": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
}
"""TensorBoard has no status for interrupted and pruned runs and shows them as unknown."""

MAX_PROJECTED = 2_000
SESSION = ".session"
"""Suffix of the event file with the hyper-parameters, the final figures and the status of the run."""


class TensorBoardRun:
    """Hyper-parameters, status, figures and embeddings of one run in TensorBoard.

    The run is a session of HPARAMS: one start summary, and one end summary with the true status. There is no
    experiment summary: TensorBoard reads one of several at random and loses the columns that only other runs
    have. Without one, the columns are the union over all runs, with every scalar; `curve_tags` explains their
    order. TensorBoard reads the first summary of a session only, so the session has its own event file, which
    is replaced when the run ends or is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = SummaryWriter(str(folder))
        self.hparams: dict[str, Any] = {}
        self.columns: dict[str, float] = {}
        self.trial = ""
        self.started = time.time()
        self.outcome: Ending = "failed"

    def __enter__(self) -> Self:
        """Open; the session counts as failed unless `outcome` is set before the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.outcome = "interrupted"
        elif kind is not None:
            self.outcome = "failed"
        figures = [
            Summary(value=[Summary.Value(tag=tag, simple_value=value)]) for tag, value in self.columns.items()
        ]
        self._write_session({"status": self.outcome}, *figures, _end(self.outcome))
        self.writer.close()

    def start(self, settings: Mapping[str, Any], config_text: str, overrides: Iterable[str] = ()) -> None:
        """Write the hyper-parameters, and the composed settings as text."""
        self.hparams = dict(hyperparameters(settings, overrides))
        self.trial = trial_id(settings, self.folder.name)
        self._write_session({})
        self.writer.add_text("config", f"```yaml\n{config_text}\n```")
        self.writer.flush()

    def result(self, result: Result) -> None:
        """Write the curves of towers that another run trained; the final figures follow at the end."""
        monitor = result.training.monitor
        for step, figures in result.reused_curves():
            for key, value in figures.items():
                for tag in curve_tags(key, monitor):
                    self.writer.add_scalar(tag, value, step)
        self.columns, self.outcome = final_metrics(result), result.status

    def projector(self, vectors: np.ndarray, labels: list[str]) -> None:
        """Write a labelled sample of item embeddings for the projector."""
        step = max(1, len(vectors) // MAX_PROJECTED)
        names = [" ".join(str(text).split()) or "?" for text in labels[::step]]
        self.writer.add_embedding(vectors[::step], names, tag="items")

    def _write_session(self, status: Mapping[str, str], *summaries: Summary) -> None:
        """Write the session to an event file of its own, in place of the earlier one."""
        for file in self.folder.glob(f"*{SESSION}"):
            file.unlink()
        start = summary_v2.hparams_pb(
            {**self.hparams, **status}, trial_id=self.trial, start_time_secs=self.started
        )
        writer = FileWriter(str(self.folder), filename_suffix=SESSION)
        for summary in (start, *summaries):
            writer.add_summary(summary)
        writer.close()


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
