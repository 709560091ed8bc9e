"""Fingerprints of the settings and the data of a run, and its settings as flat values."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import MEAN_VALID
from twotower.config.spec import TARGET, locate, locate_class
from twotower.files.plain_values import fingerprint_values

DEFAULT_MONITOR = "valid/recall_at_20"
"""Default of `trainer.monitor`."""

IRRELEVANT_KEYS = {
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
    "tracker",
}
"""Root keys that change where a run is stored or what it prints, not what it computes."""

EVALUATION_KEYS = {"metrics", "baselines", "benchmark", "test"}
"""Root keys that change what is measured of a model, not the model."""

AFTER_TRAINING = IRRELEVANT_KEYS | EVALUATION_KEYS | {"index"}
"""Root keys that do not change the towers, except for the metric that chooses the epoch.

`new_items` is not among them: validation scores new items as served, so it can change the best epoch.
"""

DATA_KEYS = frozenset({"data", "split"})
"""Root keys that only shape the data set; the fingerprint of its content replaces them."""

IRRELEVANT_TRAINER_KEYS = {"log_every_steps", "checkpoint_every_steps", "progress_bar"}


def fingerprint(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return the SHA-256 of the data and of every setting that changes the numbers of a run."""
    shaping = {key: value for key, value in settings.items() if key not in IRRELEVANT_KEYS}
    return fingerprint_values([shaping, data_fingerprint])


def configuration_fingerprint(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return the fingerprint of a configuration, equal for its seeds.

    Paths of the data are left out, because the fingerprint of the data covers the content of the files.
    Settings of the trainer that only report are left out, too.
    """
    shaping = {key: value for key, value in settings.items() if key != "seed"}
    for group, is_left_out in (
        ("data", lambda key: key.endswith("path")),
        ("trainer", IRRELEVANT_TRAINER_KEYS.__contains__),
    ):
        if isinstance(values := shaping.get(group), Mapping):
            shaping[group] = {key: value for key, value in values.items() if not is_left_out(key)}
    return fingerprint(shaping, data_fingerprint)


def training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change the towers.

    Of `metrics`, only the metric that chooses the best epoch and `filter_seen` are included.
    """
    from twotower.evaluation.user_values import metric_name  # imports NumPy, which `--help` does not need

    shaping = {key: value for key, value in settings.items() if key not in AFTER_TRAINING}
    monitor = epoch_monitor(settings)
    shaping["trainer"] = {
        key: value for key, value in settings["trainer"].items() if key not in IRRELEVANT_TRAINER_KEYS
    } | {"monitor": monitor}
    return shaping | {
        "monitored": [
            spec
            for name, spec in metric_settings(settings).items()
            if monitor.startswith("valid/") and metric_name(monitor) == name
        ],
        "filter_seen": settings["metrics"].get("filter_seen", True),
    }


def metric_settings(settings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of each metric by its name in results, such as `recall`."""
    from twotower.evaluation.metrics.metric import Metric

    return {locate_class(spec, Metric).name: spec for spec in settings["metrics"]["kinds"].values()}


def epoch_monitor(settings: Mapping[str, Any]) -> str:
    """Return the metric that chooses the epoch: `trainer.monitor`, or the metric that it averages."""
    monitor: str = settings["trainer"].get("monitor", DEFAULT_MONITOR)
    return monitor.replace(MEAN_VALID, "valid/")


def override_key(override: str) -> str:
    """Return the key of an override: `loss.temperature` for `+loss.temperature=1`."""
    return override.lstrip("+~").partition("=")[0]


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the keys whose values differ, separated by commas."""
    return ", ".join(sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return nested settings as dotted key -> plain value; lists become JSON text.

    A `_target_` becomes the value of its parent key, as a class name without its module: `index -> IVFFlat`.
    """
    values: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if key == TARGET and prefix:
            values[prefix.rstrip(".")] = str(value).rpartition(".")[2]
            continue
        if isinstance(value, Mapping) and value:
            values |= flatten(value, f"{path}.")
        elif isinstance(value, bool | int | float | str):
            values[path] = value
        else:
            values[path] = json.dumps(value)
    return values


def unstated_defaults(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return dotted key -> default of every setting that the YAML of a run does not state.

    Imports the classes of the settings. Defaults that are objects are skipped.
    """
    return flatten(dict(_defaults(settings, "")))


def _defaults(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _defaults(value, f"{prefix}{key}.")
    try:
        component: Any = locate(values[TARGET])
        fields = component.Config.model_fields
    except (InputError, KeyError, AttributeError):  # not the settings of a component
        return
    for name, field in fields.items():
        if name not in values and not field.is_required():
            default = field.get_default(call_default_factory=True)
            if default is None or isinstance(default, bool | int | float | str | list | tuple):
                yield f"{prefix}{name}", default
