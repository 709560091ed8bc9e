"""From trained towers to a built, tuned and checked index: the same after training and for a re-index.

Shapes: N items, Q holdout users, D embedding.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.predict import encode_catalogue, rank_all
from twotower.evaluation.ranking import without_seen
from twotower.evaluation.user_values import name_of
from twotower.index.check import IndexReport, check
from twotower.index.exact import Truth
from twotower.index.index import Index
from twotower.index.tune import OperatingPoint, tune
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
LONG_TO_BUILD = 300_000  # vectors: Faiss does not say how far it is
RECALL_K = 100
MAX_QUERIES = 4_000
DROP_METRICS = ("recall", "ndcg")


@dataclass(frozen=True)
class Indexed:
    """An index of the catalogue and what was found out about it."""

    index: Index
    vectors: np.ndarray
    report: IndexReport


def index_catalogue(
    model: TwoTower,
    config: Index.Config,
    holdout: Holdout,
    evaluator: Evaluator,
    popularity: np.ndarray,
    cuts: Sequence[Callable[[Tensor], Tensor]] = (),
) -> Indexed:
    """Embed the catalogue, build the index, choose its search arguments and check it.

    The queries are users of the holdout. Search arguments are chosen on one half of them, the figures
    reported come from the other; targets and popularity [N + 1] judge what the index costs in metrics.
    Each cut makes shorter embeddings, of which an index is built too, for the report alone.
    """
    items = encode_catalogue(model)
    users, exact_top = rank_all(
        model, items, holdout, evaluator.max_k, evaluator.filters_seen(holdout), "index"
    )
    exact = evaluator.means(exact_top, holdout, popularity)

    def judged(items: Tensor, users: Tensor) -> Indexed:
        vectors, queries = items.numpy(), users.numpy()
        rows = np.arange(1, len(vectors) + 1, dtype=np.int64)
        tuning, checking = queries[::2], queries[1::2][:MAX_QUERIES]
        checking = checking if len(checking) else tuning[:MAX_QUERIES]
        index, points = tuned_index(config, vectors, rows, tuning)
        report = check(index, vectors, rows, checking, RECALL_K, points=points)
        indexed = evaluator.means(indexed_top(index, queries, holdout, evaluator), holdout, popularity)
        # What is lost when the index answers instead of exact search, of whole embeddings.
        drop = {key: exact[key] - indexed[key] for key in exact if name_of(key) in DROP_METRICS}
        return Indexed(index, vectors, dataclasses.replace(report, label_metric_drop=drop))

    whole = judged(items, users)
    shorter = [judged(cut(items), cut(users)).report for cut in cuts]
    return dataclasses.replace(whole, report=dataclasses.replace(whole.report, shorter=shorter))


def tuned_index(
    config: Index.Config, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray
) -> tuple[Index, list[OperatingPoint]]:
    """Build an index of vectors [N, D] and choose its search arguments; returns what was measured too."""
    index = config.for_size(len(vectors)).build()
    if len(vectors) >= LONG_TO_BUILD:
        LOG.info("index: building %s of %s vectors", index.kind, f"{len(vectors):,}")
    index.build(vectors, rows)
    return index, tune(index, Truth.of(vectors, rows, queries[:MAX_QUERIES], RECALL_K))


def indexed_top(index: Index, queries: np.ndarray, holdout: Holdout, evaluator: Evaluator) -> np.ndarray:
    """Return what the index recommends [Q, max_k], fetching as many more as a user has seen items."""
    k = evaluator.max_k
    pairs = evaluator.excluded(holdout)
    if pairs is None:
        everything: np.ndarray = np.maximum(index.search(queries, k).rows, 0)
        return everything
    seen = np.bincount(pairs[0], minlength=len(queries))
    before = np.cumsum(seen) - seen
    found = np.zeros((len(queries), k), dtype=np.int64)
    # In groups of like histories, so that one long history does not widen everybody's search.
    order = np.argsort(seen, kind="stable")
    groups = [group for group in np.array_split(order, max(1, len(order) // 256)) if len(group)]
    with Progress("index: recommending to users", len(groups)) as tell:
        for number, group in enumerate(groups):
            tell(number)
            sizes = seen[group]
            fetched = index.search(queries[group], min(k + int(sizes.max()), index.num_vectors)).rows
            places = np.arange(sizes.sum()) + np.repeat(before[group] - np.cumsum(sizes) + sizes, sizes)
            of_group = np.repeat(np.arange(len(group)), sizes), np.asarray(pairs[1])[places]
            found[group] = without_seen(fetched, of_group, index.num_vectors, k)
    return found
