"""Build, tune and check an index of trained towers.

Shapes: N items, Q holdout users, D embedding.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from twotower.data.dataset import Holdout
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.predict import encode_catalogue, rank_all
from twotower.evaluation.served_lists import served_top
from twotower.evaluation.user_values import UserValues, mean_intervals, mean_values
from twotower.index.check import IndexReport, OperatingPoint, check, tune
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
LONG_TO_BUILD = 300_000  # vectors; Faiss does not report progress
RECALL_K = 100
MAX_QUERIES = 4_000


@dataclass(frozen=True)
class Indexed:
    """An index of the catalogue with its vectors and report."""

    index: Index
    vectors: np.ndarray
    report: IndexReport


def index_catalogue(
    model: TwoTower,
    config: Index.Config,
    holdout: Holdout,
    evaluator: Evaluator,
    popularity: np.ndarray,
    truncations: Sequence[Callable[[Tensor], Tensor]] = (),
) -> Indexed:
    """Embed the catalogue, build the index, choose its search arguments and check it.

    The queries are users of the holdout: one half chooses the search arguments, the other half measures. The
    report has the metrics of the lists that a service returns minus those of exact search.

    Args:
        popularity: [N + 1] interactions of each item row.
        truncations: functions that shorten embeddings (Matryoshka); an index of each is built for the report.
    """
    items = encode_catalogue(model)
    users, exact_top = rank_all(
        model, items, holdout, evaluator.max_k, evaluator.filters_seen(holdout), "index"
    )
    exact, excluded = evaluator.values(exact_top, holdout, popularity), evaluator.excluded(holdout)

    def build(items: Tensor, users: Tensor, is_whole: bool) -> Indexed:
        vectors, queries = items.numpy(), users.numpy()
        rows = np.arange(1, len(vectors) + 1, dtype=np.int64)
        tuning, checking = queries[::2], queries[1::2][:MAX_QUERIES]
        checking = checking if len(checking) else tuning[:MAX_QUERIES]
        index, points = tuned_index(config, vectors, rows, tuning)
        report = check(index, vectors, rows, checking, RECALL_K, points=points)
        served: UserValues = {}
        if is_whole and index.is_exact:  # it returns the lists of exact search
            served = exact
        else:
            for k in evaluator.ks:
                top = served_top(index, items, users, k, excluded)
                served |= evaluator.at(k).values(top, holdout, popularity)
        difference = {key: served[key] - exact[key] for key in exact}
        report = dataclasses.replace(
            report,
            label_difference=mean_values(difference),
            label_difference_interval=mean_intervals(difference, evaluator.config.num_bootstrap),
        )
        return Indexed(index, vectors, report)

    whole = build(items, users, is_whole=True)
    shorter = [build(truncate(items), truncate(users), is_whole=False).report for truncate in truncations]
    return dataclasses.replace(whole, report=dataclasses.replace(whole.report, shorter=shorter))


def tuned_index(
    config: Index.Config, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray
) -> tuple[Index, list[OperatingPoint]]:
    """Build an index of vectors [N, D] and choose its search arguments; returns it and the measurements."""
    index = config.for_size(len(vectors)).build()
    if len(vectors) >= LONG_TO_BUILD:
        LOG.info("index: building %s of %s vectors", index.kind, f"{len(vectors):,}")
    index.build(vectors, rows)
    return index, tune(index, GroundTruth.search(vectors, rows, queries[:MAX_QUERIES], RECALL_K))
