"""Made-up run folders for tests of the comparison, without training.

Per-user values are made as recall is: of each user's few to many targets some are found. Which ones depends
mostly on the user and the target, which all runs share, and a little on the seed.

Four seeds of the default run on the bundled data set had means .123 to .134, sd .0048 over seeds, sd .17
over users, 36 % of users at 0, skewness 2.6, and correlated .72 to .79 with one another. These have mean
.12, sd .18 over users, 49 % at 0, skewness 2.3, and correlate .69 to .82.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from twotower.experiments.runs.result import FORMAT_VERSION

NUM_USERS = 1445
COLUMNS = ("recall_at_20", "ndcg_at_20")
INDEXES = {
    "FlatIP": (1.0, 0.062, 264.0),
    "IVFFlat": (0.9987, 0.043, 268.4),
    "IVFSQ": (0.9986, 0.041, 140.4),
    "IVFPQ": (0.9501, 0.049, 62.3),
}
BASELINES = {"popularity": 0.4, "recent_popularity": 0.83, "ease": 0.93}
SLOTS = 20
SAME = 0.83
"""Share of the variance of a target's luck that all runs have in common."""


class Users:
    """Made-up users, the same for all runs of a test."""

    def __init__(self, seed: int = 0, num_users: int = NUM_USERS) -> None:
        generator = np.random.default_rng(seed)
        self.ids = np.sort(generator.choice(20_000, num_users, replace=False))
        self.targets = np.clip(generator.lognormal(2.4, 1.1, num_users).astype(int), 1, None)
        self.ease = generator.gamma(0.9, 0.13, num_users).clip(0, 0.95)
        self.luck = generator.standard_normal((num_users, SLOTS))

    def recall(self, quality: float, seed: int, same: float = SAME) -> np.ndarray:
        """Return recall [Q] of a run of this quality (1 = usual)."""
        from scipy.special import ndtr

        own = np.random.default_rng([seed, 77]).standard_normal(self.luck.shape)
        uniform = ndtr(np.sqrt(same) * self.luck + np.sqrt(1 - same) * own)
        slots = np.minimum(self.targets, SLOTS)[:, None]
        found = (uniform < (quality * self.ease)[:, None]) & (np.arange(SLOTS) < slots)
        return found.sum(axis=1) / slots[:, 0]


def settings_of(**changes: Any) -> dict[str, Any]:
    """Return a resolved configuration; `index=IVFPQ` and `loss=Bce` by class name, others by their key."""
    settings: dict[str, Any] = {
        "data": {"_target_": "twotower.data.sources.synthetic.Synthetic", "num_users": NUM_USERS},
        "split": {"_target_": "twotower.data.splits.temporal.Temporal", "test": 28, "valid": 28},
        "user_tower": {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [128], "dropout": 0.5},
        "loss": {"_target_": "twotower.model.losses.x.SampledSoftmax", "temperature": 1.0},
        "optimizer": {"_target_": "twotower.training.optimizers.adamw.AdamW", "learning_rate": 0.01},
        "index": {"_target_": "twotower.index.x.FlatIP"},
        "output_root": "outputs",
        "name": "made_up",
        "seed": 42,
        "embedding_dim": 64,
        "debug": False,
    }
    for key, value in changes.items():
        *path, name = key.split(".")
        place = settings
        for part in path:
            place = place.setdefault(part, {})
        place[name] = {"_target_": f"twotower.{key}.x.{value}"} if key in ("index", "loss") else value
    return settings


def write_run(
    folder: Path,
    users: Users,
    values: np.ndarray | None,
    *,
    data: str = "d" * 64,
    seen_filter: bool = True,
    changes: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
) -> Path:
    """Write one run folder; without values only its config.yaml, as of a run that goes on.

    Args:
        folder: of the run.
        users: whom the values belong to.
        values: [Q] recall of each user.
        data: fingerprint of data and split.
        seen_filter: whether seen items were filtered.
        changes: of the configuration.
        result: keys of result.json to add or replace.
    """
    settings = settings_of(**(changes or {}))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    if values is None:
        return folder
    table = {"recall_at_20": values, "ndcg_at_20": values * 0.9}
    table |= {"list_hash": users.ids + (settings["index"]["_target_"].endswith("IVFPQ"))}
    pd.DataFrame({"user_id": users.ids, **table}).to_parquet(folder / "per_user.parquet", index=False)
    made = {name: users.recall(quality, 10**6) for name, quality in BASELINES.items()}
    tables = [
        pd.DataFrame({"baseline": name, "user_id": users.ids, "recall_at_20": value})
        for name, value in made.items()
    ]
    pd.concat(tables).to_parquet(folder / "per_user_baselines.parquet", index=False)
    mean = float(values.mean())
    content = _result(settings, mean, {key: float(value.mean()) for key, value in made.items()})
    content["data"] = {"fingerprint": data, "audit": {"split": "temporal", "seen_filter": seen_filter}}
    (folder / "result.json").write_text(
        json.dumps({"format_version": FORMAT_VERSION} | content | (result or {}), indent=2), encoding="utf-8"
    )
    return folder


def _result(settings: dict[str, Any], mean: float, baselines: dict[str, float]) -> dict[str, Any]:
    recall, latency, size = INDEXES[settings["index"]["_target_"].rpartition(".")[2]]
    shape = np.array([0.5, 0.72, 0.85, 0.93, 0.97, 0.99, 1.0, 0.995])
    jitter = 1 + 0.03 * np.sin(settings["seed"])
    parts = {
        "item_popularity": {"head": 1.3, "mid": 0.75, "tail": 0.2},
        "item_cold": {"cold": 0.15, "warm": 1.02},
        "user_activity": {"cold": 0.7, "low": 1.1, "mid": 1.05, "high": 1.15},
    }
    slices = {
        group: {
            name: {"recall_at_20": mean * factor * jitter, "num_users": 300, "num_targets": 900}
            for name, factor in named.items()
        }
        for group, named in parts.items()
    }
    return {
        "status": "ok",
        "seed": settings["seed"],
        "metrics": {
            "valid/recall_at_20": mean * 0.94 * jitter,
            "test/recall_at_20": mean,
            "test/ndcg_at_20": mean * 0.9,
            "test/coverage_at_20": 0.14,
        },
        "higher_is_better": {"recall": True, "ndcg": True, "coverage": True},
        "intervals": {"test/recall_at_20": [mean - 0.009, mean + 0.009]},
        "slices": {"test": slices},
        "baselines": {
            name: {"valid/recall_at_20": value * 0.94, "test/recall_at_20": value}
            for name, value in baselines.items()
        },
        "training": {"epochs": len(shape)},
        "timing": {"train_seconds": 47.5, "total_seconds": 60.1},
        "index": {
            "type": settings["index"]["_target_"].rpartition(".")[2],
            "recall_at_100": recall,
            "latency_ms_p50": latency * jitter,
            "bytes_per_item": size * settings["embedding_dim"] / 64,
            "label_difference": {"recall_at_20": mean * (recall - 1) / 2},
            "ok": True,
        },
        "curves": {
            "valid/recall_at_20": (mean * 0.94 * jitter * shape).tolist(),
            "train/loss": (7.4 - 2.1 * shape * jitter).tolist(),
        },
    }
