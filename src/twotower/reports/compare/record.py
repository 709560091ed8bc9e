"""What is read of one run: its configuration and its result, or what is wrong with them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twotower.files.plain_values import load_json, load_yaml
from twotower.runs.directions import RECORDED
from twotower.runs.fingerprint import fingerprint, flat
from twotower.runs.outcome import FINISHED, cold_start_figures
from twotower.runs.run_files import CONFIG, RESULT

Scalar = bool | int | float | str
UNENDED, DAMAGED = "unended", "damaged"
OF_DATA = "data", "split"


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it.

    Args:
        folder: of the run.
        settings: flattened configuration, empty if config.yaml is damaged.
        result: what result.json holds, empty if it is missing or damaged.
        state: `ok`, `index_rejected`, `failed`, `pruned`, `unended` or `damaged`.
        problem: what is wrong, in words, where something is.
        configuration: equal for runs whose settings differ in the seed alone, if in anything.
        figures: every figure by key: `test/recall_at_20`, `index/latency_ms_p50`, `timing/train_seconds`.
    """

    folder: Path
    settings: Mapping[str, Scalar]
    result: Mapping[str, Any]
    state: str
    problem: str = ""
    configuration: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the run ended with metrics."""
        return self.state in FINISHED

    @property
    def seed(self) -> int | None:
        """Return the seed, None if the run does not say."""
        seed = self.result.get("seed", self.settings.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def data(self) -> tuple[str, str]:
        """Return what must be equal for figures to be comparable: data with split, and the seen filter."""
        data = self.result.get("data") or {}
        return str(data.get("fingerprint")), str((data.get("audit") or {}).get("seen_filter"))


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder; what is damaged is said in the record and never raises."""
    try:
        settings = _settings(folder / CONFIG)
        plain = {key: _finite(value) for key, value in flat(settings).items()}
    except (ValueError, TypeError) as error:
        return RunRecord(folder, {}, {}, DAMAGED, f"{CONFIG} is damaged: {error}")
    # Computed even where the run recorded it: an older run may have counted other keys as shaping.
    configuration = fingerprint({key: value for key, value in settings.items() if key != "seed"}, "")
    if not (folder / RESULT).is_file():
        return RunRecord(folder, plain, {}, UNENDED, "has not ended", configuration)
    try:
        result = _result(folder / RESULT)
    except ValueError as error:
        return RunRecord(folder, plain, {}, DAMAGED, f"{RESULT} is damaged: {error}", configuration)
    state = str(result["status"])
    return RunRecord(
        folder,
        plain,
        result,
        state,
        _problem(state, result),
        configuration,
        figures_of(result) if state in FINISHED else {},
    )


def figures_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a result by key; all but metrics with their group before the name."""
    found = dict(result.get("metrics") or {}) | cold_start_figures(result)
    for group in ("index", "timing"):
        found |= {f"{group}/{key}": value for key, value in (result.get(group) or {}).items()}
    return {key: float(value) for key, value in found.items() if is_number(value)}


def is_number(value: object) -> bool:
    """Say whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Scalar) -> Scalar:
    """Return a setting as it is, but infinity as text, which JSON has no number for."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _settings(path: Path) -> dict[str, Any]:
    settings = load_yaml(path)
    if not isinstance(settings, dict):
        raise ValueError("it holds no mapping of settings")
    return settings


def _result(path: Path) -> dict[str, Any]:
    result = load_json(path)
    if not isinstance(result, dict) or not isinstance(result.get("status"), str):
        raise ValueError("it says no status")
    for key, kind in {
        "metrics": dict,
        "index": dict,
        "timing": dict,
        "data": dict,
        "baselines": dict,
        "cold_start": dict,
        RECORDED: dict,
    }.items():
        if not isinstance(result.get(key) or kind(), kind):
            raise ValueError(f"{key!r} is no mapping")
    if result["status"] in FINISHED and not result.get("metrics"):
        raise ValueError("it has no metrics")
    return result


def _problem(state: str, result: Mapping[str, Any]) -> str:
    if state == "failed":
        return f"failed: {_one_line(result.get('error') or 'it does not say why')}"
    if state == "pruned":
        epochs = (result.get("training") or {}).get("epochs")
        return "pruned" if epochs is None else f"pruned at epoch {epochs}"
    if state == "index_rejected":
        return "index rejected"
    return "" if state == "ok" else f"unknown status {state!r}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def display_names(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Return a short name of each run: its path below the deepest folder that holds all of them."""
    parts = [record.folder.resolve().parts for record in records]
    shared = 0
    for level in zip(*(each[:-1] for each in parts), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return {record.folder: "/".join(each[shared:]) for record, each in zip(records, parts, strict=True)}
