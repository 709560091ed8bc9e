"""What makes two runs the same: their configuration and their data."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from twotower.config.spec import TARGET, class_of

DEFAULT_MONITOR = "valid/recall_at_20"
"""What `TrainerChoice` monitors if nothing else is said."""

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
"""Root keys that change where a run is kept or what it prints, not what it computes."""

AFTER_TRAINING = NOT_SHAPING | {"index", "baselines", "metrics"}
"""Root keys that leave the towers as they are, but for the metric that chooses the epoch.

`new_items` is none of them: validations see new items as they are served, so it can change the best epoch.
"""

DATA_KEYS = frozenset({"data", "split"})
"""Root keys that shape the data set alone: once there, its content tells what they came to."""

TRAINER_NOT_SHAPING = {"log_every_steps", "checkpoint_every_steps", "keep_optimizer_state", "progress_bar"}


def fingerprint(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return a SHA-256 over everything that shapes a run's numbers."""
    shaping = {key: value for key, value in settings.items() if key not in NOT_SHAPING}
    text = json.dumps([shaping, data_fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def configuration(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return the fingerprint without the seed: equal for the seeds of one configuration."""
    return fingerprint({key: value for key, value in settings.items() if key != "seed"}, data_fingerprint)


def shaping_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the settings that shapes the towers.

    Of the metrics that is the one that chooses the best epoch, and whether seen items are filtered.
    """
    from twotower.evaluation.user_values import name_of  # with NumPy, which `--help` need not wait for
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
            if monitor.startswith("valid/") and name_of(monitor) == class_of(spec, Metric).name
        ],
        "filter_seen": settings["metrics"].get("filter_seen", True),
    }


def key_of(override: str) -> str:
    """Return the key that an override is about: `loss.temperature` of `+loss.temperature=1`."""
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
