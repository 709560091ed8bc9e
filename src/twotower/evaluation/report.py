"""What an evaluation found."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Report:
    """The quality of one set of lists on one holdout.

    Args:
        metrics: key such as `recall_at_20` -> mean over users, or the value over the catalogue.
        per_user: one line per evaluated user: `user` (row) and a column for each per-user key.
        intervals: per-user key -> [low, high], the 95 % bootstrap interval of its mean.
        slices: group -> slice -> keys plus `num_users` and `num_targets`; empty slices are left out.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    intervals: dict[str, list[float]]
    slices: dict[str, dict[str, dict[str, float]]]
    num_users: int
    num_targets: int
