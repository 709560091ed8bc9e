"""Runs the baselines over a holdout, with the same evaluator as the model."""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, OutOfTime
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.top_k import top_k_by
from twotower.files.atomic import write_atomically, write_text_atomically
from twotower.files.code import OWN, code_fingerprint
from twotower.files.plain_values import fingerprint_values

MIN_SECONDS = 0.5  # lists that are computed faster are not stored
OUT_OF_TIME = "did not fit into baselines.minutes; raise that, or leave it out with '~baselines.{}'"


@dataclass(frozen=True)
class BaselineReports:
    """Reports of the baselines of a split by name, reasons of skipped ones, and those out of time."""

    reports: dict[str, Report]
    skipped: dict[str, str]
    out_of_time: tuple[str, ...] = ()


class ListCache:
    """Lists of baselines in a folder, keyed by everything that they depend on.

    Damaged files are computed again. Baselines of other packages are not cached, because they may read other
    files. `key` has the other values that the lists depend on: data, split, number of items per list.
    """

    def __init__(self, folder: Path, key: tuple[str | int | bool, ...]) -> None:
        self._folder, self._key = folder, key

    def take(self, config: Baseline.Config, make: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the lists [Q, K] of item rows of a baseline: the cached ones, or the result of `make`."""
        path = self._path(config, ".npz")
        if path is None:
            return make()
        # No file, or a damaged one: a zip file has check sums.
        damaged = contextlib.suppress(OSError, ValueError, EOFError, BadZipFile)
        with damaged, path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return np.asarray(stored["rows"], dtype=np.int64)
        began = time.monotonic()
        made = make()
        if time.monotonic() - began >= MIN_SECONDS:
            write_atomically(path, lambda temporary: np.savez(temporary, rows=made.astype(np.int32)))
        return made

    def take_value(
        self, config: Baseline.Config, evaluator: Evaluator, make: Callable[[], float | None]
    ) -> float | None:
        """Return the value of the only metric of an evaluator: the cached one, or the result of `make`."""
        kinds = evaluator.config.kinds.values()
        metric = evaluator.config.plain(), _code(*(kind.owner.__module__ for kind in kinds))
        path = self._path(config, ".json", *metric)
        if path is None:
            return make()
        with contextlib.suppress(OSError, ValueError, KeyError):
            return None if (value := json.loads(path.read_text())["value"]) is None else float(value)
        made = make()
        write_text_atomically(path, json.dumps({"value": made}))
        return made

    def _path(self, config: Baseline.Config, suffix: str, *key: Any) -> Path | None:
        """Return the file of a baseline; None if it is of another package."""
        kind = config.owner
        if kind.__module__.partition(".")[0] != OWN:
            return None
        code = _code(kind.__module__, __name__)
        settings = config.model_dump(mode="json")
        values = [kind.__module__, kind.__qualname__, settings, code, *self._key, *key]
        return self._folder / f"{fingerprint_values(values)}{suffix}"


@functools.cache
def _code(*modules: str) -> str:
    return code_fingerprint(modules)


def run_baselines(
    configs: Mapping[str, Baseline.Config],
    past: BaselineData,
    holdout: Holdout,
    evaluator: Evaluator,
    cache: ListCache | None = None,
) -> BaselineReports:
    """Fit each baseline and evaluate its lists on a holdout.

    The lists of baselines that read content are not cached.

    Raises:
        InputError: a setting does not suit the data.
    """
    reports: dict[str, Report] = {}
    skipped, out_of_time = {}, []
    for name, config in configs.items():
        if not config.applies_to(holdout) or (config.reads_content and past.content is None):
            continue
        if reason := config.skip_reason(past.num_items):
            skipped[name] = reason
            continue
        rank = functools.partial(rank_by_baseline, name, config, evaluator, holdout, past)
        try:
            rows = rank() if cache is None or config.reads_content else cache.take(config, rank)
        except OutOfTime:
            skipped[name] = OUT_OF_TIME.format(name)
            out_of_time.append(name)
            continue
        reports[name] = evaluator.evaluate(rows, holdout, past.row_popularity)
    return BaselineReports(reports, skipped, tuple(out_of_time))


def request_time(holdout: Holdout, train: Interactions) -> int:
    """Return the request time of all users if it is the same, else one second after the last interaction."""
    first, last = holdout.request_times.min(), holdout.request_times.max()
    return int(last) if first == last else int(train.times.max(initial=0)) + 1


def rank_by_baseline(
    name: str, config: Baseline.Config, evaluator: Evaluator, holdout: Holdout, past: BaselineData
) -> NDArray[np.int64]:
    """Fit a baseline and return the item rows [Q, K] of its lists."""
    baseline = config.build()
    try:
        baseline.fit(past)
    except InputError as error:
        raise InputError(f"baselines.{name}.{error}") from error
    num_users = len(holdout.users)
    with Progress(f"baseline {name}: ranking the catalogue for users", num_users) as advance:

        def score(queries: slice) -> torch.Tensor:
            advance(queries.start)
            past.budget.check()
            return torch.from_numpy(baseline.scores(holdout.history, holdout.users[queries]))

        rows, _ = top_k_by(score, num_users, past.num_items, evaluator.max_k, evaluator.excluded(holdout))
    return rows
