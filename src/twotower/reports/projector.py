"""Embeddings with labels for TensorBoard's projector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twotower.files.atomic import write_text_atomically

CONFIG = """embeddings {{
  tensor_name: "{name}:00000"
  metadata_path: "00000/{name}/metadata.tsv"
  tensor_path: "00000/{name}/tensors.tsv"
}}
"""
DIGITS = "%.9g"
"""Digits that determine a float32. `SummaryWriter.add_embedding` writes twice as many and takes ten times as
long."""


def write_projector(folder: Path, name: str, vectors: np.ndarray, labels: Sequence[str]) -> None:
    """Write the files of the projector into the folder of a run.

    Args:
        folder: of the run.
        name: of the embeddings.
        vectors: float32 [N, D].
        labels: N, without line breaks.
    """
    line = "\t".join([DIGITS] * vectors.shape[1])
    rows = "".join(f"{line % tuple(row)}\n" for row in vectors.tolist())
    write_text_atomically(folder / "00000" / name / "tensors.tsv", rows)
    write_text_atomically(folder / "00000" / name / "metadata.tsv", "".join(f"{each}\n" for each in labels))
    write_text_atomically(folder / "projector_config.pbtxt", CONFIG.format(name=name))
