"""Windows of a run with `split=rolling`: the entry of each in `result.json`, and their summary."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twotower.runs.result import TEST, TEST_EXACT, VALID, Result

TOWERS = "two towers"
OF_DATA = ("valid_from", "test_from", "last_time", "train_interactions", "valid_users", "test_users")
"""Figures of the audit that are part of an entry."""


def window_entry(window: int, folder: str, result: Result) -> dict[str, Any]:
    """Return the entry of a window: data, metrics by exact search, baselines and time of its run.

    Args:
        window: its number; 1 is the oldest.
        folder: of its run, relative to that of the newest window.
        result: of its run.
    """
    exact = {
        key: result.metrics.get(key.replace(f"{TEST}/", f"{TEST_EXACT}/", 1), value)
        for key, value in result.metrics.items()
        if not key.startswith(f"{TEST_EXACT}/")
    }
    return {
        "window": window,
        "folder": folder,
        "status": result.status,
        **({"error": result.error} if result.error else {}),
        **{key: result.data.audit[key] for key in OF_DATA if key in result.data.audit},
        "epochs": result.training.epochs,
        "seconds": result.timing.get("total_seconds"),
        "metrics": exact,
        "baselines": result.baselines,
    }


def summarize_windows(entries: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Return mean and spread of each metric over the windows, and how stable the ranking of models is.

    Args:
        entries: see `window_entry`.
        kind: metric that ranks the towers and the baselines, such as `recall_at_20`.

    Returns:
        `metrics`: key -> `mean`, `sd` (None for one window), `min` and `max`. `kendall_tau`: of the ranking
        by this metric, `valid` and `test` are means over pairs of windows, `valid_and_test` is the mean over
        windows of the agreement of both splits; None without two models or two windows. Empty if a window
        has failed, because a mean over the others would not be comparable.
    """
    if not entries or any(entry["status"] not in ("ok", "index_rejected") for entry in entries):
        return {}
    by_window = pd.DataFrame([entry["metrics"] for entry in entries]).dropna(axis="columns")
    metrics = {
        str(key): {
            "mean": float(values.mean()),
            "sd": float(values.std()) if len(values) > 1 else None,
            "min": float(values.min()),
            "max": float(values.max()),
        }
        for key, values in by_window.items()
    }
    models = [{TOWERS: entry["metrics"], **entry["baselines"]} for entry in entries]
    valid, test = (
        pd.DataFrame(
            [{name: each.get(key) for name, each in window.items()} for window in models], dtype=float
        )
        for key in (f"{VALID}{kind}", f"{TEST}/{kind}")
    )
    within = [agreement(pd.DataFrame([valid.loc[window], test.loc[window]])) for window in valid.index]
    known = [tau for tau in within if tau is not None]
    taus = {
        "valid": agreement(valid),
        "test": agreement(test),
        "valid_and_test": float(np.mean(known)) if known else None,
    }
    return {"metrics": metrics, "kendall_tau": taus}


def agreement(values: pd.DataFrame) -> float | None:
    """Return Kendall's tau-b of the ranking of the columns, the mean over pairs of rows.

    Columns with a missing value are left out. None without two columns and a pair of rows that rank them.
    """
    from scipy.stats import kendalltau

    table = values.dropna(axis="columns").to_numpy(dtype=float)
    if table.shape[1] < 2:
        return None
    taus = [kendalltau(one, other).statistic for one, other in itertools.combinations(table, 2)]
    known = [float(tau) for tau in taus if np.isfinite(tau)]
    return float(np.mean(known)) if known else None
