"""What a run writes for TensorBoard beside its curves."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from torch.utils.tensorboard import SummaryWriter

from twotower.experiments.figures import recall_versus_latency
from twotower.experiments.fingerprint import flat

Outcome = Literal["ok", "failed", "index_rejected"]
MAX_PROJECTED = 2_000
OUTCOME = ".outcome"
"""Ends the name of the event file that says how a run ended, and nothing else."""


class Board:
    """The TensorBoard side of a run.

    HPARAMS is fed by one start summary and one hand-built end summary with the true outcome, and no
    experiment summary: TensorBoard then shows the union of all runs' columns with their real types.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # TensorBoard believes the first end that it reads: a run that is resumed must not keep the old one.
        for ended in folder.glob(f"*{OUTCOME}"):
            ended.unlink()
        self.writer = SummaryWriter(str(folder))
        self.trial = folder.parent.name
        self.outcome: Outcome = "failed"

    def __enter__(self) -> "Board":
        """Open; unless `outcome` is set before the end, the session counts as failed."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the session with how it ended."""
        self._end()
        self.writer.close()

    def start(self, settings: Mapping[str, Any], config_text: str) -> None:
        """Write the hyper-parameters and the resolved config as text."""
        self._add(summary_v2.hparams_pb(flat(settings), trial_id=self.trial))
        self.writer.add_text("config", f"```yaml\n{config_text}\n```")
        self.writer.flush()

    def metrics(self, values: Mapping[str, float]) -> None:
        """Write final metrics as scalars, which are the HPARAMS tab's columns."""
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, 0)

    def index_curve(
        self, points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
    ) -> None:
        """Draw recall against latency over the search arguments tried."""
        if points:
            self.writer.add_figure(
                "index/recall_versus_latency", recall_versus_latency(points, target_recall, chosen)
            )

    def projector(self, vectors: np.ndarray, labels: list[str]) -> None:
        """Put a labelled sample of item embeddings into the projector."""
        step = max(1, len(vectors) // MAX_PROJECTED)
        self.writer.add_embedding(vectors[::step], [_one_line(text) for text in labels[::step]], tag="items")

    def _end(self) -> None:
        status = api_pb2.STATUS_FAILURE if self.outcome == "failed" else api_pb2.STATUS_SUCCESS
        ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        data = plugin_data_pb2.HParamsPluginData(session_end_info=ended)
        summary = Summary()
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(data),
            tensor=metadata.NULL_TENSOR,
        )
        with SummaryWriter(str(self.folder), filename_suffix=OUTCOME) as writer:
            writer._get_file_writer().add_summary(summary)

    def _add(self, summary: Any) -> None:
        self.writer._get_file_writer().add_summary(summary)


def _one_line(text: str) -> str:
    return " ".join(str(text).split()) or "?"
