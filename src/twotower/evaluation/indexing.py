"""Build, tune and check an index of trained towers, and the lists that a service returns with it.

Shapes: N items, Q users of a holdout, b of a group, M candidates, D embedding.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions, expand_ranges
from twotower.evaluation.evaluate_towers import encode_catalogue, encode_every_user, rank_all
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.ranking import item_popularity, pair_keys
from twotower.evaluation.top_k import ExcludedPairs, exact_top_k
from twotower.evaluation.user_values import mean_intervals, mean_values
from twotower.index.check import IndexReport, check
from twotower.index.choice import IndexChoice, Measurement
from twotower.index.ground_truth import (
    RECALL_K,
    SCAN_SHARE,
    GroundTruth,
    contains,
    evenly_spaced,
    similar_sizes,
    split_queries,
)
from twotower.index.index import Index
from twotower.index.label_lists import LabelLists
from twotower.index.tune import tune
from twotower.model.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
LONG_TO_BUILD = 300_000  # vectors; Faiss does not report progress
LABEL_K, MAX_LISTS = 20, 2_000
"""k of the recall of targets by which `index=auto` judges, and number of users whose lists it compares."""
MAX_QUERIES = 4_000
VALUES_AT_ONCE = 2**24  # of candidates' vectors; as float32 they are 64 MiB


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

    One half of the users of the holdout fits and tunes the index, the other half measures. The report has
    the metrics of the lists that a service returns minus the metrics of exact search.

    Args:
        truncations: functions that shorten embeddings (Matryoshka); the report has an index for each.
    """
    items = encode_catalogue(model, evaluator.division)
    users, exact_top = rank_all(model, items, holdout, evaluator, "index")
    exact, excluded = evaluator.values(exact_top, holdout, popularity), evaluator.excluded(holdout)

    def build(items: Tensor, users: Tensor, is_whole: bool) -> Indexed:
        vectors, dim = items.numpy(), items.shape[1]
        rows = np.arange(1, len(vectors) + 1, dtype=np.int64)
        tuning, checking = users[::2].numpy(), users[1::2].numpy().reshape(-1, dim)[:MAX_QUERIES]
        checking = checking if len(checking) else tuning.reshape(-1, dim)[:MAX_QUERIES]
        label_k = min(LABEL_K, evaluator.max_k)
        labels = functools.partial(_label_lists, users, exact_top, holdout, excluded, label_k, len(vectors))
        index, points, choice = tuned_index(config, vectors, rows, tuning, labels)
        report = check(index, vectors, rows, checking, RECALL_K, points, choice)
        served = exact
        if not (is_whole and index.is_exact):  # else it returns the lists of exact search
            lists = {k: served_top(index, items, users, k, excluded) for k in evaluator.ks}
            served = evaluator.values(lists, holdout, popularity)
        difference = {key: served[key] - exact[key] for key in exact}
        report = dataclasses.replace(
            report,
            label_difference=mean_values(difference),
            label_difference_interval=mean_intervals(difference, evaluator.config.num_bootstrap),
        )
        return Indexed(index, vectors, report)

    full_index = build(items, users, is_whole=True)
    shorter = [build(truncate(items), truncate(users), is_whole=False).report for truncate in truncations]
    return dataclasses.replace(full_index, report=dataclasses.replace(full_index.report, shorter=shorter))


def tuned_index(
    config: Index.Config,
    vectors: np.ndarray,
    rows: np.ndarray,
    queries: np.ndarray,
    labels: Callable[[], LabelLists] | None = None,
) -> tuple[Index, list[Measurement], IndexChoice | None]:
    """Build an index of vectors [N, D] that fits one half of users [Q, (I,) D], and tune it with the other.

    Returns the index, the measured search arguments, and the candidates of `index=auto`.
    """
    fitted, tuning = split_queries(queries)
    chosen = config.choose_for(vectors, fitted, labels)
    index, choice = chosen.build(), chosen.choice
    if choice:
        num_tried, sampled = len(choice.candidates), f"{choice.num_sampled:,}"
        LOG.debug("index: %s, of %d candidates from %s items", choice.candidates[0].name, num_tried, sampled)
    if len(vectors) >= LONG_TO_BUILD:
        LOG.info("index: building %s of %s vectors", index.kind, f"{len(vectors):,}")
    index.build(vectors, rows)
    truth = GroundTruth.search(vectors, rows, tuning[:MAX_QUERIES], RECALL_K)
    return index, tune(index, truth), choice


def _label_lists(
    users: Tensor,
    top: NDArray[np.int64],
    holdout: Holdout,
    excluded: ExcludedPairs | None,
    k: int,
    num_items: int,
) -> LabelLists:
    """Return the first 2k of exact lists [Q, K]. Evenly spaced users stand for all with targets there."""
    top = top[:, : 2 * k]
    num_users, width = len(top), int(max(top.max(initial=0), holdout.target_items.max(initial=0)))
    owners = np.repeat(np.arange(num_users), np.diff(holdout.target_offsets))
    targets = np.unique(pair_keys(owners, holdout.target_items, width))
    counts = np.bincount(targets // (width + 1), minlength=num_users)
    is_target = contains(targets, pair_keys(np.arange(num_users)[:, None], top, width)) & (top > 0)
    with_targets = np.flatnonzero(is_target.any(axis=1))
    kept = with_targets[evenly_spaced(len(with_targets), MAX_LISTS)]
    share = len(kept) / max(1, len(with_targets)) * num_users
    num_fetched = k + np.bincount(excluded[0] if excluded else [], minlength=num_users)[kept]
    return LabelLists(
        queries=users[torch.from_numpy(kept)].numpy(),
        items=top[kept].astype(np.int64) - 1,
        weights=is_target[kept] / (np.minimum(k, counts[kept, None]) * share),
        num_fetched=np.where(num_fetched < SCAN_SHARE * num_items, num_fetched, 0),
        k=k,
    )


def evaluate_index(
    model: TwoTower, index: Index, holdout: Holdout, evaluator: Evaluator, interactions: Interactions
) -> Report:
    """Evaluate the lists of a service over an index, with one request of k items for each k.

    Metrics of labels are left out: they do not depend on the index.
    """
    items, users = encode_catalogue(model).cpu(), torch.from_numpy(encode_every_user(model, holdout))
    popularity, excluded = item_popularity(interactions, len(items)), evaluator.excluded(holdout)
    lists = {k: served_top(index, items, users, k, excluded) for k in evaluator.ks}
    return evaluator.evaluate(lists, holdout, popularity)


def served_top(
    index: Index, items: Tensor, users: Tensor, k: int, excluded: ExcludedPairs | None
) -> NDArray[np.int64]:
    """Return the item rows [Q, k] that a service recommends, best first, 0 where no item is left.

    Like `serving.top_items`, it fetches k items and as many more as are excluded from the index, and orders
    them by exact scores. All items are scored if that is a large share of the catalogue, if the searched
    lists have fewer than k items, or if the index is exact (the result is the same). The item of row r stands
    at r - 1 of `items` [N, D].
    """
    none = np.zeros(0, dtype=np.int64)
    num_items, num_users = len(items), len(users)
    owners, rows = excluded or (none, none)
    counts = np.bincount(owners, minlength=num_users)
    starts, wanted = np.cumsum(counts) - counts, counts + min(k, num_items)
    top = np.zeros((num_users, k), dtype=np.int64)
    is_scanned = (wanted >= SCAN_SHARE * num_items) | index.is_exact

    def seen_by(group: NDArray[np.int64]) -> ExcludedPairs:
        """Return the excluded items of a group, by position in the group."""
        positions, places = expand_ranges(starts[group], counts[group])
        return positions, rows[places]

    with Progress("index: recommending to users", num_users) as advance:
        num_done = 0
        for group in _groups(np.where(is_scanned, 0, wanted), users.shape[1]):
            advance(num_done)
            num_done += len(group)
            found = _fetch(index, users[group], wanted[group])
            keys = pair_keys(np.arange(len(group))[:, None], found, num_items)
            found[contains(pair_keys(*seen_by(group), num_items), keys)] = 0
            top[group] = _best(found, items, users[group], k)
            is_scanned[group] |= (found > 0).sum(axis=1) < k
    scanned = np.flatnonzero(is_scanned)
    if len(scanned):
        top[scanned], _ = exact_top_k(users[scanned], items, k, seen_by(scanned))
    return top


def _fetch(index: Index, users: Tensor, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows [b, M] that the index finds, of each user `wanted` [b]; 0 for none."""
    found: NDArray[np.int64] = np.maximum(index.search(users.numpy(), int(wanted.max())).rows, 0)
    found[np.arange(found.shape[1]) >= wanted[:, None]] = 0
    return found


def _groups(sizes: NDArray[np.int64], dim: int) -> Iterator[NDArray[np.int64]]:
    """Yield groups of users with similar numbers of candidates, so that memory is bounded."""
    for group in similar_sizes(sizes):
        num_values = len(group) * dim * int(sizes[group].max())
        yield from np.array_split(group, -(-num_values // VALUES_AT_ONCE))


def _best(candidates: NDArray[np.int64], items: Tensor, users: Tensor, k: int) -> NDArray[np.int64]:
    """Return the k best candidates [b, M] of users [b, D] by exact scores, equal ones lower row first."""
    rows = torch.from_numpy(np.sort(candidates, axis=1))
    vectors = items[(rows - 1).clamp(min=0)]
    scores = torch.einsum("bmd,bd->bm", vectors, users)
    order = scores.masked_fill_(rows == 0, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :k]
    best = rows.gather(1, order).numpy()
    return np.pad(best, ((0, 0), (0, k - best.shape[1])))
