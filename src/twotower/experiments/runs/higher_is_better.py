"""Whether higher values of a figure are better."""

from collections.abc import Iterable, Mapping

from twotower.evaluation.user_values import metric_name

INDEX_FIGURES = {
    "recall_at_100": True,
    "missing_rate": False,
    "latency_ms_p50": False,
    "latency_ms_p99": False,
    "queries_per_second": True,
    "build_seconds": False,
    "index_bytes": False,
    "bytes_per_item": False,
}
"""Measurements of an index; the rest of its report is settings, or equal in all runs on the same data."""

INDEX_RECALL = "index/recall_at_100"
INDEX_COSTS = ("index/latency_ms_p50", "index/bytes_per_item")
INDEX_DIFFERENCE = "index/difference_"
"""Prefix of a validation metric: its value through the index minus its value by exact search."""

FIGURES = {f"index/{name}": higher for name, higher in INDEX_FIGURES.items()} | {
    "timing/train_seconds": False,
    "timing/total_seconds": False,
    "timing/examples_per_second": True,
    "train/loss": False,
    "train/epoch_loss": False,
}
"""Key of a figure that is no metric -> whether higher is better."""


def higher_is_better(key: str, recorded: Iterable[Mapping[str, bool | None]] = ()) -> bool | None:
    """Return whether higher values of a figure are better; None if it has no direction or it is unknown.

    `recorded` has the direction of each metric by name, as runs recorded it. If runs contradict one another,
    it is unknown.
    """
    if key in FIGURES:
        return FIGURES[key]
    if key.startswith("sd_"):  # over windows
        return False
    if key.startswith("cold_start/"):  # recall on items that were held out of training
        return True
    name = metric_name(key)
    directions = {metrics[name] for metrics in recorded if name in metrics}
    return directions.pop() if len(directions) == 1 else None
