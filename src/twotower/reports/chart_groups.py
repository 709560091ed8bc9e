"""How TensorBoard's custom-scalars tab groups the curves."""

from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import custom_scalars

from twotower.runs.fingerprint import DEFAULT_MONITOR

Charts = dict[str, list[str]]
VALID_KINDS = ("recall", "ndcg", "mrr", "coverage")


def layout_pb(settings: Mapping[str, Any]) -> Summary:
    """Return the layout as a summary; TensorBoard merges those of all runs, equal charts into one."""
    layout = {
        category: {title: ["Multiline", [f"^{tag}$" for tag in tags]] for title, tags in charts.items()}
        for category, charts in charts_of(settings).items()
    }
    return custom_scalars(layout)


def charts_of(settings: Mapping[str, Any]) -> dict[str, Charts]:
    """Return category -> chart title -> patterns of tags, at the k of the metric that chooses."""
    trainer = settings.get("trainer", {})
    monitor = str(trainer.get("monitor", DEFAULT_MONITOR))
    k = monitor.rpartition("_at_")[2]
    valid = {f"{kind}@{k}": [f"valid/{kind}_at_{k}"] for kind in VALID_KINDS}
    chosen = {monitor.removeprefix("valid/").replace("_at_", "@"): [monitor]}
    groups = {
        "train": {
            "loss": ["train/loss"],
            "learning rate": ["train/learning_rate"],
            "temperature": ["train/temperature"],
        },
        "valid": chosen | valid,
        "index": {
            "recall against exact search": ["index/recall_at_100"],
            "latency of one query, ms": ["index/latency_ms_p(50|99)"],
            "bytes an item": ["index/bytes_per_item"],
            f"cost on recall@{k}": [f"index/drop_recall_at_{k}"],
        },
        "health of the embeddings": {
            "effective rank": ["health/(user|item)_effective_rank"],
            "mean cosine": ["health/(user|item)_mean_cosine"],
            "share of users whose first item is the same": ["health/top_1_share"],
        },
    }
    return groups | ({"refit": {"loss": ["refit-train/loss"]}} if trainer.get("refit", True) else {})
