"""The result of a run, and the reader and writer of `result.json`."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from twotower.config.errors import InputError
from twotower.evaluation.user_values import metric_k, metric_name
from twotower.experiments.runs.fingerprint import fingerprint as fingerprint_of
from twotower.experiments.runs.higher_is_better import INDEX_DIFFERENCE, INDEX_FIGURES, higher_is_better
from twotower.experiments.runs.provenance import peak_rss_bytes, versions
from twotower.experiments.runs.result_parts import (
    Ancestry,
    BenchmarkRecord,
    Data,
    FeatureImportance,
    NewItemCurve,
    Power,
    Provenance,
    ResultPart,
    SplitLooks,
    Training,
)
from twotower.experiments.runs.run_files import CONFIG, RESULT, require_run
from twotower.files.atomic import write_text_atomically
from twotower.files.plain_values import load_json, read_yaml

FORMAT_VERSION = 2
"""Stored as `format_version`; other versions are refused."""
Status = Literal["ok", "index_rejected", "failed", "pruned"]
VALID, BEST_VALID = "valid/", "best_valid/"
TEST, TEST_EXACT = "test", "test_exact"
"""Prefixes of test metrics: of the lists that the index serves, and of exact search."""
EPOCHS_KEPT = "training/epochs_kept"
"""Figure: number of epochs of the kept towers; 0 if these are the initial embeddings."""
TARGET_REPEAT = "target_repeat"  # slices of new and of repeated targets
COLD_START = {"model": "two towers", "content": "content neighbors", "random": "random (expected)"}
"""Models that are evaluated on cold items, and their names in tables."""


class Result(BaseModel):
    """Result of a run: status, metrics, baselines, index, timing and provenance.

    Keys that `result.json` lacks, as after a failure, have their defaults. The names of metrics are
    `valid/<metric>_at_<k>`, `test/...` (lists that the index serves) and `test_exact/...` (exact search);
    label metrics have no k. Runs with equal `fingerprint` have equal settings and data, those with equal
    `configuration` except for the seed; with equal `training_fingerprint` they can share towers, with equal
    `evaluation_fingerprint` they are measured in the same way.
    """

    model_config = ResultPart.model_config

    status: Status
    error: str | None = None
    seed: int | None = None
    fingerprint: str = ""
    configuration: str | None = None
    training_fingerprint: str = ""
    evaluation_fingerprint: str = ""
    overrides: list[str] = []
    defaults: dict[str, bool | int | float | str] = {}
    """Defaults of settings that the YAML does not state, by flat key."""
    provenance: Provenance = Provenance()
    data: Data = Data()
    benchmark: BenchmarkRecord | None = None
    higher_is_better: dict[str, bool | None] = {}
    training: Training = Training()
    curves: dict[str, list[float]] = {}
    timing: dict[str, float] = {}
    training_reused_from: str | None = None
    bundle_rebuilt_from: str | None = None
    ancestry: Ancestry | None = None
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    slices: dict[str, dict[str, dict[str, dict[str, int | float | None]]]] = {}
    """Split -> group -> slice -> metric -> value."""
    evaluated: dict[str, dict[str, int]] = {}
    feature_importance: FeatureImportance | None = None
    """None if the towers read nothing besides ids and the history."""
    new_items: NewItemCurve | None = None
    """None if the validation split has no new item, or `new_items` has no boost."""
    baselines: dict[str, dict[str, float]] = {}
    baselines_skipped: dict[str, str] = {}
    baselines_tuning: dict[str, dict[str, Any]] = {}
    """Name -> `chosen` settings, `tried` settings with their values on the validation split, `seconds`, and
    whether the tuning is `complete`."""
    baseline_slices: dict[str, dict[str, dict[str, int | float | None]]] = {}
    """Name -> `new` and `repeated` test targets -> metrics; only if repeats are kept."""
    power: dict[str, Power] = {}
    """Split -> the difference that it can show; empty without baselines or values per user."""
    test_looks: SplitLooks | None = None
    cold_start: dict[str, Any] | None = None
    windows: list[dict[str, Any]] = []
    """An entry per window of split=rolling, the oldest first; see `runs.windows`."""
    windows_summary: dict[str, Any] = {}
    index: dict[str, Any] = {}
    versions: dict[str, str] = {}
    peak_rss_bytes: int | None = None
    rerun_of: str | None = None
    reproduced: bool | None = None
    warnings: list[str] = []
    """Warnings of the run, in order."""
    folder: Path = Field(default=Path(), exclude=True)
    """Folder of the run, set by `open_result`; not stored in the file."""

    def __repr__(self) -> str:
        """Return status, the main metric on both splits, the best baseline and the folder."""
        monitor = self.training.monitor or "valid/recall_at_20"
        test = monitor.replace(VALID, f"{TEST}/", 1)
        parts = [f"status={self.status!r}"]
        parts += [f"error={self.error!r}"] if self.error else []
        parts += [f"{key}={self.metrics[key]:.4f}" for key in (monitor, test) if key in self.metrics]
        baselines = {name: values[test] for name, values in self.baselines.items() if test in values}
        if baselines:
            worst_first = higher_is_better(test, [self.higher_is_better]) is False
            best = (min if worst_first else max)(baselines, key=lambda name: baselines[name])
            parts.append(f"best_baseline={best!r} ({baselines[best]:.4f})")
        parts += [f"warnings={len(self.warnings)}"] if self.warnings else []
        return f"Result({', '.join([*parts, f'folder={str(self.folder)!r}'])})"

    __str__ = __repr__

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the run, as its config.yaml holds them."""
        return dict(read_yaml(self.folder / CONFIG, "restore the file"))

    @property
    def finished(self) -> bool:
        """Whether the run completed, so that its metrics are final."""
        return self.status in ("ok", "index_rejected")

    @property
    def has_failed(self) -> bool:
        """Whether the run or one of the older windows in its folder failed, so that it can be resumed."""
        return self.status == "failed" or any(
            entry["status"] == "failed" and entry["folder"].startswith("windows/") for entry in self.windows
        )

    @property
    def is_test_hidden(self) -> bool:
        """Whether the run completed without looking at the test split (`test=hidden`)."""
        return self.finished and not any(key.startswith(f"{TEST}/") for key in self.metrics)

    @property
    def generation(self) -> int:
        """Number of trainings of these towers so far."""
        return self.ancestry.generation if self.ancestry else 1

    def plain(self, *keys: str) -> dict[str, Any]:
        """Return the recorded values of these keys, or of all keys."""
        return self.model_dump(exclude_unset=True, include=set(keys) or None)

    def update(self, **changes: Any) -> "Result":
        """Return this result with some values replaced and validated."""
        return Result(**(self.plain() | changes))

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Return whether settings belong to this run, and were not edited after it."""
        return self.fingerprint == fingerprint_of(settings, self.data.identity)

    def ended(self, status: Status, **parts: Any) -> "Result":
        """Return this result with more of its parts, as of a run that ends now, in this process."""
        return self.update(status=status, **parts, versions=versions(), peak_rss_bytes=peak_rss_bytes())

    def tuned_settings(self) -> str:
        """Return the settings that tuning chose for the baselines, as `ease regularization=160`."""
        return ", ".join(
            " ".join([name, *(f"{setting}={value:.3g}" for setting, value in tuning["chosen"].items())])
            for name, tuning in self.baselines_tuning.items()
        )

    def cold_start_figures(self) -> dict[str, float]:
        """Return recall on items held out of training by key, as `cold_start/model/cold/recall_at_20`."""
        return {
            f"cold_start/{model}/{part}/{key}": value
            for model in COLD_START
            for part, values in _items((self.cold_start or {}).get(model))
            for key, value in _items(values)
        }

    def window_figures(self) -> dict[str, float | None]:
        """Return `mean_` and `sd_` over windows of each metric, as `mean_valid/recall_at_20`."""
        over_windows = self.windows_summary.get("metrics", {})
        return {f"{part}_{key}": each[part] for part in ("mean", "sd") for key, each in over_windows.items()}

    def figures(self) -> dict[str, float]:
        """Return every finite number by key, such as `test/recall_at_20`, `index/latency_ms_p50`.

        The test metrics of a run without `test_exact/` metrics are by exact search.
        """
        exact = {
            key.replace(TEST, TEST_EXACT, 1): value
            for key, value in self.metrics.items()
            if key.startswith(f"{TEST}/")
        }
        values: dict[str, Any] = exact | self.metrics | self.cold_start_figures() | self.window_figures()
        for group, part in (("index", self.index), ("timing", self.timing)):
            values |= {f"{group}/{key}": value for key, value in part.items()}
        values |= self._epochs_kept()
        return {key: float(value) for key, value in values.items() if is_number(value)}

    def _epochs_kept(self) -> dict[str, Any]:
        return {EPOCHS_KEPT: self.training.epochs} if self.metrics else {}

    def reused_curves(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield (step, figures) of the curves if another run trained the towers, at the end of each epoch."""
        if self.training_reused_from is None:
            return
        for epoch in range(max(map(len, self.curves.values()), default=0)):
            figures = {tag: values[epoch] for tag, values in self.curves.items() if epoch < len(values)}
            yield (epoch + 1) * (self.training.epoch_steps or 1) - 1, figures

    def final_figures(self) -> dict[str, float]:
        """Return the figures that a sweep and TensorBoard show.

        These are the test metrics at the k of the monitored metric, the monitored metric by exact search, and
        the monitored metric of the best checkpoint as `best_valid/...` (`valid/...` is the curve). A pruned
        run has only its best validation metric.
        """
        monitor = self.training.monitor
        k = metric_k(monitor)
        metrics = self.metrics or {
            key: (min if higher_is_better(key, [self.higher_is_better]) is False else max)(values)
            for key, values in self.curves.items()
            if key.startswith(VALID) and values
        }
        metrics = _at(k, metrics)
        exact = f"{TEST_EXACT}/{monitor.removeprefix(VALID)}"
        shown = {"recall", "ndcg", metric_name(monitor)}
        differences = _at(k, self.index.get("label_difference", {}))
        figures = {
            **{
                best_key(key): value
                for key, value in metrics.items()
                if key.startswith(VALID) and monitor in ("", key)
            },
            **{key: value for key, value in metrics.items() if key.startswith(f"{TEST}/") or key == exact},
            **_at(k, self.cold_start_figures() | self.window_figures()),
            **{f"index/{key}": self.index.get(key) for key in INDEX_FIGURES},
            **{
                f"{INDEX_DIFFERENCE}{key}": value
                for key, value in differences.items()
                if metric_name(key) in shown
            },
            **{f"timing/{key}": value for key, value in self.timing.items()},
            **self._epochs_kept(),
        }
        return {key: float(value) for key, value in figures.items() if value is not None}


def open_result(folder: Path) -> Result:
    """Read the result of a run that has ended, with its folder. Raises InputError for any other folder."""
    require_run(folder)
    result = read_result(folder)
    if result is None:
        raise InputError(
            f"{folder}: this run has not ended; finish it with twotower train "
            f"resume={shlex.quote(str(folder))}"
        )
    return result.model_copy(update={"folder": folder})


def read_result(folder: Path) -> Result | None:
    """Read a run's `result.json`; None if the run has not ended. Raises InputError for an unusable file."""
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        content = load_json(path)
        if not isinstance(content, dict) or "status" not in content:
            raise ValueError("it has no status")
        version = content.pop("format_version", None)
        if version == FORMAT_VERSION:
            return Result(**content)
    except ValueError as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else error
        raise InputError(
            f"{path}: damaged ({why}); delete this file, and resume={shlex.quote(str(folder))} continues the "
            "run (in a sweep, retry_failed=true does both)"
        ) from error
    raise InputError(
        f"{path}: format_version is {version!r:.9}; this version of twotower reads {FORMAT_VERSION} "
        "only. Train again (twotower train), or use the version of twotower that wrote the run"
    )


def read_finished_result(folder: Path, key: str = "") -> Result:
    """Read the result of a finished run; messages begin with the `key` of the command line that named it."""
    name = f"{key}={folder}" if key else str(folder)
    try:
        result = open_result(folder)
    except InputError as error:
        raise InputError(f"{name}: {str(error).removeprefix(f'{folder}: ')}") from error
    if result.status == "pruned":
        raise InputError(f"{name}: this run was pruned; name another run")
    if not result.finished:
        raise InputError(
            f"{name}: this run failed; finish it with twotower train resume={shlex.quote(str(folder))}"
        )
    return result


def read_result_or_failure(folder: Path) -> Result | None:
    """Read a run's `result.json`; a damaged file gives a result with the status `failed`."""
    try:
        return read_result(folder)
    except InputError as error:
        return Result(status="failed", error=str(error))


def write_result(folder: Path, result: Result) -> None:
    """Write a run's `result.json` atomically."""
    content = {"format_version": FORMAT_VERSION} | result.plain()
    write_text_atomically(folder / RESULT, json.dumps(content, indent=2, allow_nan=False))


def best_key(key: str) -> str:
    """Return the key of a final figure: `best_valid/...` for `valid/...`."""
    return BEST_VALID + key.removeprefix(VALID) if key.startswith(VALID) else key


def is_number(value: object) -> bool:
    """Return whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, Mapping) else ()


def _at(k: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values at k and those without a k; all if k is empty."""
    return {key: value for key, value in values.items() if not k or metric_k(key) in ("", k)}
