"""Two-tower retrieval: settings in YAML; trained towers, a checked index, a comparable run and a bundle out.

    >>> import twotower as tt
    >>> config = tt.load_config(["data=synthetic", "trainer=smoke"])
    >>> result = tt.train(config)
    >>> result.metrics["test/recall_at_20"]
    >>> tt.open_bundle(result.folder).recommend(user_id=7, k=10)
    >>> tt.compare(["outputs/default"])

Importing this package loads no library; each function imports what it needs.
"""

import importlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twotower.config.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from twotower.experiments.runs.result import Result
    from twotower.jobs.run_config import RunConfig
    from twotower.serving.retriever import Retriever

# Read by the OpenMP runtimes of torch and Faiss when they load: on a busy machine waiting threads that spin
# make both several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read by torch at its first allocation: blocks from 2 MB on lie in large pages of memory, where the system
# leaves that to programs. Small ones took an eighth of a training step.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Read by ONNX Runtime when it is imported: from version 1.29 on it keeps a telemetry file open and uploads
# what is in it. Calling its `disable_telemetry_events` later leaves the file open.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Result",
    "Retriever",
    "RunConfig",
    "__version__",
    "compare",
    "load_config",
    "open_bundle",
    "open_run",
    "train",
]
_TYPES = {
    "Result": "twotower.experiments.runs.result",
    "Retriever": "twotower.serving.retriever",
    "RunConfig": "twotower.jobs.run_config",
}
"""Type of the public API -> its module."""


def load_config(overrides: Sequence[str] = ()) -> "RunConfig":
    """Compose and check the settings of a run, as `twotower train` does with its arguments.

    Args:
        overrides: as typed after `twotower train`, one value each, as in `["data=synthetic", "seed=1"]`.

    Returns:
        Typed settings; read them as attributes, `config.loss.temperature`.

    Raises:
        InputError: lists every mistake with its key, before any data is read.
    """
    from twotower.commands.compose import load_run_config

    return load_run_config(overrides)


def train(config: "RunConfig") -> "Result":
    """Train two towers, index the items, evaluate on the test split and write a bundle.

    Args:
        config: from `load_config`.

    Returns:
        What was measured; `result.folder` is the new run's folder.

    Raises:
        InputError: the data contradicts the settings.
        KeyboardInterrupt: Ctrl-C or SIGTERM stopped the training; the message says how to resume it.
    """
    from twotower.config.exits import Stopped
    from twotower.experiments.runs.result import open_result
    from twotower.jobs.train_run import train_in_new_folder

    try:
        folder, _ = train_in_new_folder(config)
    except Stopped as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    return open_result(folder)


def open_run(path: str | Path) -> "Result":
    """Read the result of a run that has ended.

    Args:
        path: folder of a run, or `outputs/.../latest` for the newest run that has ended.

    Raises:
        InputError: the folder contains no run, or the run has not ended.
    """
    from twotower.experiments.runs.result import open_result
    from twotower.experiments.runs.run_files import resolve_latest

    return open_result(Path(resolve_latest(str(path), Path("outputs"), "result")))


def open_bundle(path: str | Path, trusted_packages: Collection[str] = ()) -> "Retriever":
    """Verify and open the bundle of a run.

    Args:
        path: folder of a run or of a bundle, or `outputs/.../latest` for the newest bundle to serve.
        trusted_packages: packages whose classes the bundle may name, besides `twotower`. Their code is run.

    Returns:
        A retriever: `recommend`, `similar`, `add_item`, `add_event` and more.

    Raises:
        InputError: the folder contains no bundle, or a file of it is damaged.
    """
    from twotower.bundle.layout import BUNDLE
    from twotower.experiments.runs.run_files import is_run, resolve_latest
    from twotower.serving.retriever import Retriever

    folder = Path(resolve_latest(str(path), Path("outputs"), "bundle"))
    return Retriever.open(folder / BUNDLE if is_run(folder) else folder, trusted_packages)


def compare(
    paths: str | Path | Sequence[str | Path],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    with_baselines: bool = False,
    by: Literal["run", "configuration"] = "run",
    tests: bool = True,
    min_effect: float | None = None,
) -> "pd.DataFrame":
    """Compare runs, as `twotower compare` does.

    Args:
        paths: runs, sweeps, folders above them, or globs.
        metric: figure to compare by; None for recall@20 on the test split.
        baseline: run or built-in baseline to compare with; None for the best run by validation.
        with_baselines: whether to add the built-in baselines as rows.
        by: a row per run, or per configuration with the means over its seeds.
        tests: whether to test differences, from the values of each user.
        min_effect: smallest difference of the metric that matters; smaller ones can be equivalent.

    Returns:
        A row per run by name, the best on the validation split first. Columns: `kind`, `folder`, `state`,
        `seeds`, `note`; `settings.<key>` for settings that differ; figures such as `test/recall_at_20` and
        `index/latency_ms_p50`; mean and deviation over seeds; `difference` from the baseline with its 95 %
        interval (`low`, `high`), `p_value`, `corrected_p_value` (Holm); where no difference is shown,
        `detectable_difference` (with a power of 80 %) and `users_needed` (to show the one observed);
        `equivalence_p_value` (Holm), `verdict` and `reason`.

    Raises:
        InputError: a path contains no run, or no run has this metric or name.
    """
    from twotower.experiments.compare.comparison import compare as compare_runs

    comparison = compare_runs(
        [paths] if isinstance(paths, str | Path) else paths,
        metric=metric,
        baseline=baseline,
        with_baselines=with_baselines,
        by=by,
        tests=tests,
        min_effect=min_effect,
    )
    return comparison.table().set_index("name").infer_objects()


def __getattr__(name: str) -> Any:
    """Import the types of the public API when they are used first."""
    if module := _TYPES.get(name):
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'twotower' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
