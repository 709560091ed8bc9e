"""Which way a figure of a run is better: a metric as its run recorded it, all else as is said here."""

from collections.abc import Iterable, Mapping

from twotower.evaluation.user_values import name_of

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
"""What of an index is measured; the rest of its report is settings, or equal in all runs on the same data."""

INDEX_RECALL = "index/recall_at_100"
INDEX_COSTS = ("index/latency_ms_p50", "index/bytes_per_item")
INDEX_DIFFERENCE = "index/difference_"
"""Before a metric of the validation split: its value through the index less its value by exact search."""

OTHER_FIGURES = {
    "index/recall_at_100_by_row": True,
    "timing/train_seconds": False,
    "timing/total_seconds": False,
    "timing/examples_per_second": True,
    "train/loss": False,
    "train/epoch_loss": False,
}
FIGURES = {f"index/{name}": higher for name, higher in INDEX_FIGURES.items()} | OTHER_FIGURES
OF_COLD_START = "cold_start/"
"""Recall, all of it."""

BEFORE_IT_WAS_RECORDED: dict[str, bool | None] = {
    **dict.fromkeys(("recall", "ndcg", "mrr", "hit_rate", "precision", "map", "coverage"), True),
    "gini": False,
}
"""Metrics of results that do not say it; of others nobody knows."""


def higher_is_better(key: str, recorded: Iterable[Mapping[str, bool | None]] = ()) -> bool | None:
    """Say whether the higher of two figures is the better one; None where neither is, or nobody knows.

    `recorded` is what the runs that have it recorded of their metrics by name, whose classes may be
    elsewhere; if they contradict one another, nobody knows.
    """
    if key in FIGURES:
        return FIGURES[key]
    if key.startswith(OF_COLD_START):
        return True
    name = name_of(key)
    said = [found[name] for found in recorded if name in found]
    if not said:
        return BEFORE_IT_WAS_RECORDED.get(name)
    return next((way for way in (True, False) if all(each is way for each in said)), None)
