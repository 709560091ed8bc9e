"""Embeddings with labels, in files that TensorBoard's projector reads."""

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
"""As many as a float32 is told by. `add_embedding` of torch asks each number for its digits, ten times as
long, and writes twice as many."""


def write_projector(folder: Path, name: str, vectors: np.ndarray, labels: Sequence[str]) -> None:
    """Write what the projector shows of a run.

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
