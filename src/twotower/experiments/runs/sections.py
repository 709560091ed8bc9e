"""The sections of a run's `result.json`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twotower.config.spec import TARGET
from twotower.data.dataset import RetrievalDataset
from twotower.experiments.runs.fingerprint import (
    DATA_KEYS,
    changed_keys,
    configuration_fingerprint,
    epoch_monitor,
    fingerprint,
    training_settings,
    unstated_defaults,
)
from twotower.experiments.runs.provenance import evaluation_fingerprint, provenance, training_fingerprint
from twotower.experiments.runs.result import TARGET_REPEAT, TEST, TEST_EXACT, Result
from twotower.experiments.runs.result_parts import Data

if TYPE_CHECKING:  # they import torch
    from twotower.evaluation.baselines.baseline_runner import BaselineReports
    from twotower.evaluation.evaluator import Report

QUALITY = (
    *("metrics", "intervals", "slices", "evaluated", "feature_importance", "new_items"),
    *("baselines", "baselines_skipped", "baselines_tuning", "baseline_slices", "power"),
)
"""Keys of metrics. Of these, only the values of `test` depend on the index (see `through_index`)."""
TOWER_SECTIONS = (*QUALITY, "training", "curves", "timing", "windows", "windows_summary")
"""Keys that describe the towers and their quality, independent of the index."""


def identity(settings: Mapping[str, Any], data_identity: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return fingerprints, seed, overrides and provenance of a run. A failed run has them too."""
    return {
        "fingerprint": fingerprint(settings, data_identity),
        "configuration": configuration_fingerprint(settings, data_identity),
        "training_fingerprint": training_identity(settings, data_identity),
        "evaluation_fingerprint": evaluation_fingerprint(settings),
        "seed": settings["seed"],
        "overrides": list(overrides),
        "defaults": unstated_defaults(settings),
        "provenance": provenance(),
    }


def training_identity(settings: Mapping[str, Any], data_identity: str) -> str:
    """Return the fingerprint of a training; runs with equal ones share their towers."""
    shaping = {key: value for key, value in training_settings(settings).items() if key not in DATA_KEYS}
    return training_fingerprint(shaping, data_identity)


def data_record(dataset: RetrievalDataset, seen_filter: bool) -> dict[str, Any]:
    """Return the sizes of the data and the audit of its split."""
    return {
        "users": len(dataset.users),
        "items": len(dataset.items),
        "interactions": int(dataset.audit["interactions"]),
        "fingerprint": dataset.fingerprint,
        "feature_files": dict(dataset.feature_files),
        "audit": dict(dataset.audit) | {"seen_filter": seen_filter},
    }


def changed_data(recorded: Data, dataset: RetrievalDataset) -> str | None:
    """Return what has changed since a run recorded its data, in words; None if nothing has."""
    if recorded.fingerprint != dataset.fingerprint:
        return "the data or the split"
    if recorded.feature_files != dataset.feature_files:
        return f"the file of features.{changed_keys(recorded.feature_files, dataset.feature_files)}"
    return None


def quality_record(valid: "Report | None", test: "Report | None") -> dict[str, Any]:
    """Return metrics, intervals, slices and sizes of the splits."""
    record: dict[str, Any] = {"metrics": {}, "intervals": {}, "slices": {}, "evaluated": {}}
    for split, report in (("valid", valid), (TEST, test)):
        if report is not None:
            record["metrics"] |= _prefixed(split, report.metrics)
            record["intervals"] |= _prefixed(split, report.intervals)
            record["slices"][split] = report.slices
            sizes = {"users": report.num_users, "targets": report.num_targets}
            labelled = {"labelled": report.num_labelled} if report.num_labelled else {}
            record["evaluated"][split] = sizes | labelled
    return record


def baselines_record(valid: "BaselineReports", test: "BaselineReports") -> dict[str, Any]:
    """Return the baselines' metrics under the same keys as the towers', and which were skipped."""
    metrics: dict[str, dict[str, float]] = {}
    for split, baselines in (("valid", valid), (TEST, test)):
        for name, report in baselines.reports.items():
            metrics.setdefault(name, {}).update(_prefixed(split, report.metrics))
    repeats = {name: report.slices.get(TARGET_REPEAT) for name, report in test.reports.items()}
    return {
        "baselines": metrics,
        "baselines_skipped": {**valid.skipped, **test.skipped},
        "baseline_slices": {name: slices for name, slices in repeats.items() if slices is not None},
    }


def through_index(quality: Mapping[str, Any], served: "Report | None") -> dict[str, Any]:
    """Return the quality of towers with the test metrics of the lists that their index serves.

    Those by exact search, in `quality`, move to `test_exact`. An exact index has no report `served`: it
    serves the same lists, and only the metrics are repeated.
    """
    by_index: dict[str, dict[str, Any]] = {"metrics": {}}
    if served is not None:
        by_index = {
            "metrics": _prefixed(TEST, served.metrics),
            "intervals": _prefixed(TEST, served.intervals),
            "slices": {TEST: served.slices},
        }
    return dict(quality) | {
        key: quality[key] | _rename_split(quality[key], TEST, TEST_EXACT) | values
        for key, values in by_index.items()
    }


def by_exact_search(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `through_index`: return the quality of towers by exact search."""
    exact = dict(quality)
    for part in ("metrics", "intervals", "slices"):
        others = {key: value for key, value in quality[part].items() if not _is_split(key, TEST_EXACT)}
        exact[part] = others | _rename_split(quality[part], TEST_EXACT, TEST)
    return exact


def _rename_split(values: Mapping[str, Any], split: str, name: str) -> dict[str, Any]:
    """Return the values of a split under another name of the split."""
    return {name + key.removeprefix(split): value for key, value in values.items() if _is_split(key, split)}


def _is_split(key: str, split: str) -> bool:
    return key.partition("/")[0] == split


def without_validation(copied: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections of an earlier run without figures of its towers on the validation split."""
    others = {key: value for key, value in copied.items() if key not in ("feature_importance", "new_items")}
    curves = {tag: values for tag, values in copied["curves"].items() if not _is_split(tag, "valid")}
    index = dict(copied["index"]) | {"label_difference": {}, "label_difference_interval": {}}
    return others | {"curves": curves, "index": index}


def with_validation_figures(before: Result, quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the quality of towers, completed with an earlier run's validation results."""
    earlier = before.plain("metrics", "intervals", "slices", "evaluated")
    return dict(quality) | {
        name: {key: value for key, value in values.items() if key.startswith("valid")} | quality[name]
        for name, values in earlier.items()
    }


def training_record(
    settings: Mapping[str, Any], epochs: int, refit: bool, temperature: float | None = None
) -> dict[str, Any]:
    """Return epochs, objective and monitor of the training."""
    known = {} if temperature is None else {"temperature": temperature}
    return known | {
        "epochs": epochs,
        "refit": refit,
        "fitted_on": "train + valid, for the epochs that were best on valid" if refit else "train",
        "objective": {key: value for key, value in settings["objective"].items() if key != TARGET},
        "monitor": epoch_monitor(settings),
    }


def _prefixed(split: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{split}/{key}": value for key, value in values.items()}
