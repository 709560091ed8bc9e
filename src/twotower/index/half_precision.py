"""Vectors stored as 16-bit floats."""

from typing import Any

import faiss
import numpy as np

from twotower.config.errors import InputError

HALF_PRECISION: Any = faiss.ScalarQuantizer.QT_fp16
LARGEST_FLOAT16 = 65504.0


def check_half_precision(vectors: np.ndarray, largest: float = LARGEST_FLOAT16) -> None:
    """Raise InputError for vectors with a value beyond the largest."""
    found = max(float(vectors.max(initial=0.0)), -float(vectors.min(initial=0.0)))  # without a copy
    if found > largest:
        raise InputError(
            f"item vectors: value {found:.6g} is beyond half precision ({largest:.0f}); normalize the towers'"
            " output or choose index=ivf_flat"
        )
