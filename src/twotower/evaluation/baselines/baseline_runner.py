"""Runs the baselines over a holdout, with the same evaluator as the model."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from twotower.evaluation.top_k import ExcludedPairs, top_k_by
from twotower.files.atomic import write_atomically
from twotower.files.code import OWN, code_fingerprint
from twotower.files.plain_values import fingerprint_values

cached_fingerprint = functools.cache(code_fingerprint)
MIN_SECONDS = 0.5  # lists that are computed faster are not stored
OUT_OF_TIME = "did not fit into baselines.minutes; raise that, or leave it out with '~baselines.{}'"


@dataclass(frozen=True)
class BaselineReports:
    """Reports of baselines on a split by name, the settings of all, and the reasons of skipped ones.

    `tuning` has the chosen settings, the tried ones with their values, seconds, and whether all were tried.
    """

    configs: Mapping[str, Baseline.Config]
    reports: Mapping[str, Report]
    skipped: Mapping[str, str]
    out_of_time: Sequence[str] = ()
    tuning: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineCache:
    """Lists of baselines and their metrics in a folder, by everything that they depend on.

    Baselines of other packages and those that read content are not cached, because they may read other files.

    Args:
        folder: of the files; damaged files are computed again. None: nothing is cached.
        key: the values that all lists depend on: data, split, number of items per list.
    """

    folder: Path | None = None
    key: tuple[str | int | bool, ...] = ()

    def get_or_compute(
        self, config: Baseline.Config, make: Callable[[], np.ndarray], metrics: Evaluator.Config | None = None
    ) -> np.ndarray:
        """Return the cached result of `make`, which depends on a baseline and perhaps on metrics."""
        choices = [config, *(metrics.kinds.values() if metrics else ())]
        modules = tuple(choice.owner.__module__ for choice in choices)
        is_foreign = not modules[0].startswith(f"{OWN}.")
        if self.folder is None or is_foreign or any(choice.reads_content for choice in choices):
            return make()
        code = cached_fingerprint((*modules, __name__))
        values = [config.spec(), metrics and metrics.plain(), code, *self.key]
        path = self.folder / f"{fingerprint_values(values)}.npz"
        damaged = contextlib.suppress(OSError, ValueError, EOFError, KeyError, BadZipFile)
        with damaged, path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # has check sums
            return np.asarray(stored["made"])
        began = time.monotonic()
        made = make()
        if metrics or time.monotonic() - began >= MIN_SECONDS:
            write_atomically(path, lambda temporary: np.savez(temporary, made=made))
        return made


@dataclass(frozen=True)
class BaselineRunner:
    """Fits baselines on the past and evaluates their lists for the users of a holdout."""

    past: BaselineData
    holdout: Holdout
    evaluator: Evaluator
    cache: BaselineCache = BaselineCache()

    def run(self, configs: Mapping[str, Baseline.Config]) -> BaselineReports:
        """Run each baseline; raises InputError if a setting does not suit the data."""
        reports: dict[str, Report] = {}
        skipped, out_of_time = {}, []
        for name, config in configs.items():
            applies = config.applies_to(self.holdout, self.past)
            if not applies or (config.reads_content and self.past.content is None):
                continue
            if reason := config.skip_reason(self.past):
                skipped[name] = reason
                continue
            try:
                rows = self.cache.get_or_compute(config, functools.partial(self.rank, name, config))
            except OutOfTime:
                skipped[name] = OUT_OF_TIME.format(name)
                out_of_time.append(name)
                continue
            reports[name] = self.evaluator.evaluate(rows, self.holdout, self.past.row_popularity)
        return BaselineReports(configs, reports, skipped, out_of_time)

    def rank(self, name: str, config: Baseline.Config) -> NDArray[np.int32]:
        """Fit a baseline and return the item rows [Q, K] of its lists."""
        past, holdout, baseline = self.past, self.holdout, config.build()
        try:
            baseline.fit(past)
        except InputError as error:
            raise InputError(f"baselines.{name}.{error}") from error
        num_users, num_items, evaluator = len(holdout.users), past.num_items, self.evaluator
        shared, excluded = baseline.shared_scores(), evaluator.excluded(holdout)
        if shared is not None:
            past.budget.check()
            return rank_shared(shared, num_users, evaluator.max_k, excluded).astype(np.int32)
        with Progress(f"baseline {name}: ranking the catalogue for users", num_users) as advance:

            def score(queries: slice) -> torch.Tensor:
                advance(queries.start)
                past.budget.check()
                return torch.from_numpy(baseline.scores(holdout.history, holdout.users[queries]))

            rows, _ = top_k_by(score, num_users, num_items, evaluator.max_k, excluded)
        return rows.astype(np.int32)


def rank_shared(
    scores: NDArray[np.float32], num_users: int, k: int, exclude: ExcludedPairs | None
) -> NDArray[np.int64]:
    """Return the lists [Q, k] of users with the same scores [N], from the items that can be in one."""
    owners, rows = exclude or (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    length = k + int(np.bincount(owners, minlength=1).max())
    best = np.sort(np.argsort(-scores, kind="stable")[:length])
    places = np.searchsorted(best, rows - 1).clip(max=len(best) - 1)
    inside = best[places] == rows - 1
    chosen = torch.from_numpy(scores[best])

    def score(queries: slice) -> torch.Tensor:
        return chosen.repeat(queries.stop - queries.start, 1)

    top, _ = top_k_by(score, num_users, len(best), k, (owners[inside], places[inside] + 1))
    return np.where(top > 0, best[top - 1] + 1, 0)


def request_time(holdout: Holdout, train: Interactions) -> int:
    """Return the request time of all users if it is the same, else one second after the last interaction."""
    first, last = holdout.request_times.min(), holdout.request_times.max()
    return int(last) if first == last else int(train.times.max(initial=0)) + 1
