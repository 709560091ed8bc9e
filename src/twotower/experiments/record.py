"""`result.json`: what every other tool reads of a run."""

from collections.abc import Mapping
from typing import Any

from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.baselines.run import BaselineReports
from twotower.evaluation.report import Report
from twotower.experiments.run import machine
from twotower.spec import TARGET

Settings = Mapping[str, Any]
OF_A_RUN = {"status", "index", "versions", "peak_rss_bytes"}
"""Keys that another run's result never lends."""


def data_record(dataset: RetrievalDataset, seen_filter: bool) -> dict[str, Any]:
    """Return the sizes of the data and the audit of its split."""
    return {
        "users": len(dataset.users),
        "items": len(dataset.items),
        "interactions": int(dataset.audit["interactions"]),
        "fingerprint": dataset.fingerprint,
        "audit": dict(dataset.audit) | {"seen_filter": seen_filter},
    }


def quality_record(
    valid: Report | None, test: Report, baselines: Mapping[str, BaselineReports]
) -> dict[str, Any]:
    """Return metrics, intervals and slices of both splits, and the baselines' metrics under the same keys.

    Args:
        valid: of the validation split, or None where the towers have seen it.
        test: of the test split.
        baselines: `valid` and `test` -> reports.
    """
    reports = {name: report for name, report in (("valid", valid), ("test", test)) if report is not None}
    of_baselines: dict[str, dict[str, float]] = {}
    for split, found in baselines.items():
        for name, report in found.reports.items():
            of_baselines.setdefault(name, {}).update(_prefixed(split, report.metrics))
    return {
        "metrics": _joined({split: report.metrics for split, report in reports.items()}),
        "intervals": _joined({split: report.intervals for split, report in reports.items()}),
        "slices": {split: report.slices for split, report in reports.items()},
        "evaluated": {
            split: {"users": report.num_users, "targets": report.num_targets}
            for split, report in reports.items()
        },
        "baselines": of_baselines,
        "baselines_skipped": dict(baselines["test"].skipped),
    }


def with_valid_of(before: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result whose validation figures, where it has none of its own, are an earlier run's."""
    kept = {
        name: {key: value for key, value in before[name].items() if key.startswith("valid")} | result[name]
        for name in ("metrics", "intervals", "slices", "evaluated")
    }
    return {**result, **kept}


def training_record(settings: Settings, epochs: int, refit: bool) -> dict[str, Any]:
    """Say how the weights came about."""
    return {
        "epochs": epochs,
        "refit": refit,
        "fitted_on": "train + valid, for the epochs that were best on valid" if refit else "train",
        "objective": {key: value for key, value in settings["objective"].items() if key != TARGET},
        "monitor": settings["trainer"].get("monitor", "valid/recall_at_20"),
    }


def timing_record(seconds: float, interactions: int) -> dict[str, float]:
    """Return what the training took."""
    return {
        "train_seconds": round(seconds, 3),
        "interactions_per_second": round(interactions / max(seconds, 1e-9), 1),
    }


def whole(result: Mapping[str, Any], status: str, total_seconds: float) -> dict[str, Any]:
    """Return the finished record, the status first."""
    timing = dict(result["timing"]) | {"total_seconds": round(total_seconds, 3)}
    return {"status": status, **result, "timing": timing} | machine()


def final_scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the final figures as TensorBoard scalars, which become the HPARAMS tab's columns.

    Of the metrics the two smallest k; `result.json` has them all. The validation figures are the best
    checkpoint's, under `best_valid/`, since `valid/` is the curve.
    """
    ks = sorted({int(key.rpartition("_at_")[2]) for key in result["metrics"]})[:2]
    quality = {
        key.replace("valid/", "best_valid/"): value
        for key, value in result["metrics"].items()
        if int(key.rpartition("_at_")[2]) in ks
    }
    index = result["index"]
    numbers = {
        f"index/{key}": float(value)
        for key, value in index.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    drops = {f"index/drop_{key}": value for key, value in index["label_metric_drop"].items()}
    timing = {f"timing/{key}": value for key, value in result["timing"].items()}
    return quality | numbers | drops | timing


def _prefixed(split: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{split}/{key}": value for key, value in values.items()}


def _joined(of_splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: value for split, values in of_splits.items() for key, value in _prefixed(split, values).items()
    }
