"""Fingerprints of runs: over their settings and their data."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from twotower.config.spec import TARGET, class_of

DEFAULT_MONITOR = "valid/recall_at_20"
"""Default of `trainer.monitor`."""

NOT_SHAPING = {
    "name",
    "note",
    "output_root",
    "debug",
    "run",
    "console",
    "reuse",
    "cache",
    "retry_failed",
    "seeds",
    "trusted_packages",
    "walkthrough",
    "tracker",
}
"""Root keys that change where a run is stored or what it prints, not what it computes."""

AFTER_TRAINING = NOT_SHAPING | {"index", "baselines", "metrics"}
"""Root keys that do not change the towers, except for the metric that chooses the epoch.

`new_items` is not among them: validation scores new items as served, so it can change the best epoch.
"""

DATA_KEYS = frozenset({"data", "split"})
"""Root keys that only shape the data set; the fingerprint of its content replaces them."""

TRAINER_NOT_SHAPING = {"log_every_steps", "checkpoint_every_steps", "keep_optimizer_state", "progress_bar"}


def fingerprint(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return a SHA-256 over every setting that changes the numbers of a run, and its data."""
    shaping = {key: value for key, value in settings.items() if key not in NOT_SHAPING}
    text = json.dumps([shaping, data_fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def configuration(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return the fingerprint without the seed: equal for the seeds of one configuration."""
    return fingerprint({key: value for key, value in settings.items() if key != "seed"}, data_fingerprint)


def shaping_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change the towers.

    Of the metrics, these are the one that chooses the best epoch and the filter of seen items.
    """
    from twotower.evaluation.user_values import metric_name  # with NumPy, which `--help` need not wait for
    from twotower.metrics.metric import Metric

    shaping = {key: value for key, value in settings.items() if key not in AFTER_TRAINING}
    shaping["trainer"] = {
        key: value for key, value in settings["trainer"].items() if key not in TRAINER_NOT_SHAPING
    }
    kinds = settings["metrics"]["kinds"].values()
    monitor = settings["trainer"].get("monitor", DEFAULT_MONITOR)
    return shaping | {
        "monitored": [
            spec
            for spec in kinds
            if monitor.startswith("valid/") and metric_name(monitor) == class_of(spec, Metric).name
        ],
        "filter_seen": settings["metrics"].get("filter_seen", True),
    }


def key_of(override: str) -> str:
    """Return the key of an override: `loss.temperature` for `+loss.temperature=1`."""
    return override.lstrip("+~").partition("=")[0]


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the keys whose values differ, as a message lists them."""
    return ", ".join(sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)))


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flatten nested settings to `key.path -> plain value`; lists become text, nothing is dropped.

    A choice's `_target_` stands under the choice's own key, as the bare class name: `index -> IVFFlat`.
    """
    found: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if key == TARGET and prefix:
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
            continue
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}.")
        elif isinstance(value, bool | int | float | str):
            found[path] = value
        else:
            found[path] = json.dumps(value)
    return found
