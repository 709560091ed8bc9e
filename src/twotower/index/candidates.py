"""Predict from a sample of the items what indexes of all of them cost, and choose one.

The sample uses the nlist of the full index. Of the 100 best items of a query, a sample of n of N items has
100 n / N on average, so recall is measured at that k. Times and bytes are measured with half of the sample
and with all of it, and grow linearly from there on.

Shapes: N items, n of a sample, Q queries, D embedding.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.index.centroids import count_found, find_centroids
from twotower.index.choice import Budgets, Candidate, IndexChoice
from twotower.index.ground_truth import RECALL_K, GroundTruth, evenly_spaced, k_of_sample, split_queries
from twotower.index.index import Chosen, Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.hnsw_sq import HNSWSQ
from twotower.index.kinds.ivf import IVF, POINTS_PER_CENTROID, automatic_nlist
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_pq_fastscan import IVFPQFastScan
from twotower.index.kinds.ivf_rabitq import IVFRaBitQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.label_lists import LabelLists
from twotower.index.rehearsal import save_and_load
from twotower.index.tune import SATURATED, choose_point, measure_recall, recall_curve, refine, time_searches

REPEATS, NUM_ALONE, FEW_QUERIES, MAX_QUERIES, SEED = 5, 200, 50, 1000, 0

Settings = tuple[type[Index], dict[str, Any]]


def kinds_to_try(dim: int) -> Mapping[str, list[Settings]]:
    """Return kind -> settings to try, without a number of clusters."""
    codes = sorted({parts for parts in (dim // 2, dim // 4, dim // 8) if parts and dim % parts == 0}) or [dim]
    return {
        "flat_ip": [(FlatIP, {})],
        "ivf_sq": [(IVFSQ, {})],
        "ivf_flat": [(IVFFlat, {})],
        "ivf_pq": [(IVFPQ, {"num_subquantizers": parts}) for parts in codes],
        "ivf_pq_fastscan": [(IVFPQFastScan, {"num_candidates": number}) for number in (2, 8)],
        "ivf_rabitq": [(IVFRaBitQ, {})],
        "hnsw": [(HNSW, {})],
        "hnsw_sq": [(HNSWSQ, {})],
    }


def nlists_to_try(num_items: int) -> list[int]:
    """Return half, once and twice the usual number of clusters."""
    usual = automatic_nlist(num_items)
    most = max(1, num_items // POINTS_PER_CENTROID)
    return sorted({max(1, usual // 2), usual, min(2 * usual, most)})


def measure_candidates(
    configs: Sequence[Index.Config],
    vectors: np.ndarray,
    queries: np.ndarray,
    num_sampled: int,
    target_recall: float,
    budgets: Budgets,
    labels: LabelLists | None = None,
) -> Chosen:
    """Build candidates from evenly spaced items and predict their costs for all of them.

    The first kind of IVF is tried with several numbers of clusters, which fit the queries or the items alone,
    and the other kinds with the best of these; if another kind is best, it is tried with the other clusters,
    too. The best two are timed again, interleaved.

    Args:
        configs: settings without a number of clusters; those that do not fit the vectors are left out.
        num_sampled: at least as many as the clusters need are taken.
        labels: targets in the exact lists of users; a candidate can lose some of them.

    Raises:
        InputError: no settings fit.
    """
    started, (num_items, dim) = time.perf_counter(), vectors.shape
    fitting = [config for config in configs if not config.size_problems(dim, num_items)]
    if not fitting:
        first = configs[0].size_problems(dim, num_items)[0][1]
        raise InputError(f"index.candidates: none fits {num_items:,} vectors of dimension {dim} ({first})")
    nlists = nlists_to_try(num_items)
    sample = _Sample(vectors, queries, max(num_sampled, POINTS_PER_CENTROID * nlists[-1]), labels)
    clusters = [{"nlist": nlist, "fit_queries": fits} for nlist, fits in product(nlists, (True, False))]
    first_ivf = next((config for config in fitting if isinstance(config, IVF.Config)), None)
    trials: list[_Trial] = []  # the best first

    def try_settings(config: Index.Config, updates: Sequence[Mapping[str, Any]]) -> None:
        for update in updates:
            trials.append(sample.predict(config, config.model_copy(update=dict(update)), target_recall))
            trials.sort(key=lambda trial: trial.candidate.order(target_recall, budgets))
            for trial in trials[2:]:
                trial.indexes.clear()  # memory

    def best_clusters() -> dict[str, Any]:
        spec = next(trial.candidate.spec for trial in trials if "nlist" in trial.candidate.spec)
        return {name: spec[name] for name in ("nlist", "fit_queries")}

    with Progress("index: measuring candidates", len(fitting)) as advance:
        for number, config in enumerate(fitting):
            advance(number)
            if not isinstance(config, IVF.Config):
                try_settings(config, [{}])
            else:
                try_settings(config, clusters if config is first_ivf else [best_clusters()])
        best = trials[0].given
        if isinstance(best, IVF.Config) and best is not first_ivf:
            tried = best_clusters()
            try_settings(best, [each for each in clusters if each != tried])
    sample.time_trials(trials[:2])
    candidates = [trial.candidate for trial in trials]
    seconds = time.perf_counter() - started
    choice = IndexChoice.of(candidates, sample.size, seconds, target_recall, budgets)
    config = Index.Config.model_validate(choice.candidates[0].spec)
    return Chosen(config, choice, sample.centroids(config))


@dataclass
class _Trial:
    """A candidate with its indexes of half of the sample and of all of it, which may be the same.

    Attributes:
        given: its settings, except the settings of its clusters.
    """

    given: Index.Config
    candidate: Candidate
    indexes: list[Index]


class _Sample:
    """Evenly spaced items in random order; half of the queries place clusters, the other half measures."""

    def __init__(
        self, vectors: np.ndarray, queries: np.ndarray, size: int, labels: LabelLists | None
    ) -> None:
        self.labels, self.num_items, self.size = labels, len(vectors), min(size, len(vectors))
        order = np.random.default_rng(SEED).permutation(self.size)
        positions = evenly_spaced(self.num_items, self.size)[order]
        fitted, measured = split_queries(queries)
        k = k_of_sample(self.size, self.num_items)
        self.truth = GroundTruth.search(vectors[positions], np.arange(self.size), measured[:MAX_QUERIES], k)
        self.num_found = count_found(self.truth.vectors, fitted, self.num_items)
        self._centroids: dict[tuple[int, bool], np.ndarray] = {}
        if labels:
            absent = np.setdiff1d(labels.items, np.append(positions, -1))
            rows = np.full(self.num_items + 1, -1)  # the last one for position -1
            rows[np.append(positions, absent)] = np.arange(self.size + len(absent))
            self.labels, self.added = replace(labels, items=rows[labels.items]), vectors[absent]

    def centroids(self, config: Index.Config) -> np.ndarray | None:
        """Return the centroids [nlist, D] for these settings; None unless they are of an IVF."""
        if not isinstance(config, IVF.Config):
            return None
        key = config.nlist or 1, config.fit_queries
        if key not in self._centroids:
            num_found = self.num_found if config.fit_queries else None
            self._centroids[key] = find_centroids(self.truth.vectors, key[0], num_found)
        return self._centroids[key]

    def extrapolate(self, at_half: float, at_size: float) -> float:
        """Return a cost of all items from the costs of the first half of the sample and of the sample."""
        slope = max(0.0, at_size - at_half) / max(1, self.size - self.size // 2)
        return at_size + slope * (self.num_items - self.size)

    def predict(self, given: Index.Config, config: Index.Config, target: float) -> _Trial:
        """Build indexes, choose their search argument, and predict the costs of an index of all items."""

        def build(number: int) -> Index:
            index = config.build()
            index.centroids = self.centroids(config)
            index.build(self.truth.vectors[:number], self.truth.rows[:number])
            return index

        large = build(self.size)
        small = build(self.size // 2) if self.size < self.num_items else large
        measure = functools.partial(measure_recall, large, self.truth)
        points = refine(recall_curve(large, measure, min(target, SATURATED), beyond=1), measure, target)
        chosen = choose_point(points, target)
        for index in (small, large):
            index.set_search_args(chosen.search_args)
        difference, interval = self._label_difference(large)
        exact = self.labels.recall if self.labels else 0.0
        candidate = Candidate(
            kind=large.kind,
            spec=config.spec(),
            search_args=chosen.search_args,
            recall=chosen.recall,
            bytes_per_item=self.extrapolate(small.num_bytes, large.num_bytes) / self.num_items,
            build_seconds=self.extrapolate(small.build_seconds, large.build_seconds),
            points=points,
            label_difference=difference,
            label_difference_interval=interval,
            label_loss=-(difference or 0.0) / exact if exact else 0.0,
        )
        trial = _Trial(given, candidate, [small, large])
        self.time_trials([trial])
        return trial

    def time_trials(self, trials: Sequence[_Trial]) -> None:
        """Set the predicted times of candidates, by processor time; the indexes are timed interleaved."""
        k, queries = min(RECALL_K, max(1, self.size // 2)), self.truth.queries
        batches = [
            (index, queries[: FEW_QUERIES if trial.indexes[1].is_exact else None])
            for trial in trials
            for index in trial.indexes
        ]
        seconds, _ = time_searches(batches, k, REPEATS, clock=time.thread_time)
        for trial, (at_half, at_size) in zip(trials, seconds.min(axis=0).reshape(-1, 2), strict=True):
            singles = [(trial.indexes[1], query[None]) for query in queries[:NUM_ALONE]]
            alone = float(np.median(time_searches(singles, k, clock=time.thread_time)[0]))
            cost = self.extrapolate(float(at_half), float(at_size))
            latency = 1000 * (alone + cost - float(at_size))
            trial.candidate = replace(trial.candidate, queries_per_second=1 / cost, latency_ms=latency)

    def _label_difference(self, index: Index) -> tuple[float | None, tuple[float, float]]:
        """Return what an index of the sample costs on labels, once the items of the lists are added."""
        if self.labels is None:
            return None, (0.0, 0.0)
        if len(self.added):
            index = save_and_load(index)  # the index itself is timed again
            index.add(self.added, self.size + np.arange(len(self.added)))
        return self.labels.difference(index.search, index.is_exact)
