"""The run that trained the towers of a run, and the settings that tell configurations apart."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.experiments.runs.result import Result, open_result
from twotower.experiments.runs.run import Run
from twotower.experiments.runs.run_files import RESULT


def find_trainer(folder: Path, result: Result | None = None) -> Path:
    """Return the run that trained the towers of a run: itself, or the run whose towers it reuses."""
    result = result or open_result(folder)
    source = result.training_reused_from or result.bundle_rebuilt_from
    return folder if source is None else find_trainer(named_run(folder, source))


def named_run(folder: Path, source: str) -> Path:
    """Return the run that a run names: the path is from its working folder, or it is next to the run."""
    path = Path(source)
    return path if (path / RESULT).is_file() else folder.parent / path.name


def configuration_settings(folder: Path, settings: Mapping[str, Any], result: Result) -> dict[str, Any]:
    """Return settings that are equal for towers of equal trainings, however they are measured and bundled.

    The filter of seen items changes towers, so the one of their training is added. A rebuilt bundle has the
    warm start of its towers.
    """
    trained = settings
    if result.training_reused_from or result.bundle_rebuilt_from:
        with contextlib.suppress(InputError):  # the run was deleted
            trained = Run.open(find_trainer(folder, result), None).settings
    metrics = trained.get("metrics")
    others = {key: value for key, value in settings.items() if key != WARM_START}
    start = {WARM_START: trained[WARM_START]} if WARM_START in trained else {}
    filter_seen = metrics.get("filter_seen", True) if isinstance(metrics, Mapping) else None
    return others | start | {"filter_seen": filter_seen}
