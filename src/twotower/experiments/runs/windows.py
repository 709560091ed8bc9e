"""Windows of a run with `split=rolling`: the entry of each in `result.json`, and their summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twotower.experiments.runs.result import TEST, VALID, Result
from twotower.experiments.runs.sections import by_exact_search

TOWERS = "two towers"
OF_DATA = ("valid_from", "test_from", "last_time", "train_interactions", "valid_users", "test_users")
"""Figures of the audit that are part of an entry."""


def window_entry(window: int, folder: str, result: Result) -> dict[str, Any]:
    """Return the entry of a window (1 is the oldest) from the result of its run; metrics by exact search."""
    quality = {"metrics": result.metrics, "intervals": {}, "slices": {}}
    return {
        "window": window,
        "folder": folder,
        "status": result.status,
        "error": result.error,
        **{key: result.data.audit.get(key) for key in OF_DATA},
        "epochs": result.training.epochs,
        "seconds": result.timing.get("total_seconds"),
        "metrics": by_exact_search(quality)["metrics"],
        "baselines": result.baselines,
    }


def by_model(entries: Sequence[Mapping[str, Any]], key: str) -> pd.DataFrame:
    """Return a metric of the towers and of the baselines, a row per window and a column per model."""
    rows = [
        {name: values.get(key) for name, values in {TOWERS: each["metrics"], **each["baselines"]}.items()}
        for each in entries
    ]
    return pd.DataFrame(rows, dtype=float)


def baseline_means(entries: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """Return the mean over windows of each baseline that has this metric in all windows."""
    means = by_model(entries, key).dropna(axis="columns").mean()
    return {str(name): float(value) for name, value in means.items() if name != TOWERS}


def summarize_windows(entries: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Return mean and spread of each metric over the windows, and how stable the ranking of models is.

    Empty if a window has failed, because a mean over the others would not be comparable.

    Returns:
        `metrics`: key -> `mean`, `sd` (None for one window), `min` and `max`. `kendall_tau`: of the ranking
        of the towers and the baselines by the metric `kind`: `valid` and `test` between windows,
        `valid_and_test` between the splits of a window; means over all pairs, None without any.
    """
    if not entries or any(entry["status"] not in ("ok", "index_rejected") for entry in entries):
        return {}
    by_window = pd.DataFrame([entry["metrics"] for entry in entries]).dropna(axis="columns")
    statistics = by_window.agg(["mean", "std", "min", "max"]).rename(index={"std": "sd"}).astype(object)
    valid, test = by_model(entries, f"{VALID}{kind}"), by_model(entries, f"{TEST}/{kind}")
    within = [agreement(pd.DataFrame([valid.loc[window], test.loc[window]])) for window in valid.index]
    known = [tau for tau in within if tau is not None]
    both = float(np.mean(known)) if known else None
    return {
        "metrics": statistics.where(statistics.notna(), None).to_dict(),
        "kendall_tau": {"valid": agreement(valid), "test": agreement(test), "valid_and_test": both},
    }


def agreement(values: pd.DataFrame) -> float | None:
    """Return Kendall's tau-b of the ranking of the columns, the mean over pairs of rows.

    Columns with a missing value are left out. None without two columns and a pair of rows that rank them.
    """
    table = values.dropna(axis="columns")
    taus = table.T.corr("kendall").to_numpy()[np.triu_indices(len(table), 1)]
    known = taus[np.isfinite(taus)]
    return float(known.mean()) if len(known) else None
