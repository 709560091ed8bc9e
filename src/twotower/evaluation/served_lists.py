"""The lists that a service returns: candidates of the index, rescored with exact vectors.

Shapes: N items, Q users of a holdout, b of a group, M candidates, D embedding.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator, Report, join_reports
from twotower.evaluation.predict import encode_catalogue, encode_every_user
from twotower.evaluation.ranking import item_popularity, without_seen
from twotower.evaluation.top_k import ExcludedPairs, exact_top_k
from twotower.index.ground_truth import SCAN_SHARE
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower

VALUES_AT_ONCE = 2**24  # of candidates' vectors; as float32 they are 64 MiB


def evaluate_index(
    model: TwoTower, index: Index, holdout: Holdout, evaluator: Evaluator, interactions: Interactions
) -> Report:
    """Evaluate the lists of a service over an index, with one request of k items for each k.

    Metrics of labels are left out: they do not depend on the index. Popularity is counted in `interactions`.
    """
    items, users = encode_catalogue(model).cpu(), torch.from_numpy(encode_every_user(model, holdout))
    popularity, excluded = item_popularity(interactions, len(items)), evaluator.excluded(holdout)
    tops = {k: served_top(index, items, users, k, excluded) for k in evaluator.ks}
    return join_reports([evaluator.at(k).evaluate(top, holdout, popularity) for k, top in tops.items()])


def served_top(
    index: Index, items: Tensor, users: Tensor, k: int, excluded: ExcludedPairs | None
) -> NDArray[np.int64]:
    """Return the item rows [Q, k] that a service recommends, best first, 0 where no item is left.

    Like `serving.top_items`, it fetches k items and as many more as are excluded from the index, and orders
    them by exact scores. All items are scored if that is a large share of the catalogue, if the searched
    cells have fewer than k items, or if the index is exact (the result is the same). The item of row r stands
    at r - 1 of `items` [N, D].
    """
    none = np.zeros(0, dtype=np.int64)
    num_items, num_users = len(items), len(users)
    owners, rows = np.unique(np.stack(excluded or (none, none)), axis=1)
    ends = np.cumsum(np.bincount(owners, minlength=num_users))
    wanted = np.diff(ends, prepend=0) + min(k, num_items)
    top = np.zeros((num_users, k), dtype=np.int64)
    is_scanned = (wanted >= SCAN_SHARE * num_items) | index.is_exact

    def seen_by(group: NDArray[np.int64]) -> ExcludedPairs:
        """Return the excluded items of a group, by position in the group."""
        sizes = wanted[group] - min(k, num_items)
        firsts = np.repeat(ends[group] - np.cumsum(sizes), sizes)
        return np.repeat(np.arange(len(group)), sizes), rows[firsts + np.arange(sizes.sum())]

    with Progress("index: recommending to users", num_users) as advance:
        num_done = 0
        for group in _groups(np.where(is_scanned, 0, wanted), items.shape[1]):
            advance(num_done)
            num_done += len(group)
            found = index.search(users[group].numpy(), int(wanted[group].max())).rows.copy()
            found[np.arange(found.shape[1]) >= wanted[group][:, None]] = 0
            candidates = without_seen(found, seen_by(group), num_items, found.shape[1])
            top[group] = _best(candidates, items, users[group], k)
            is_scanned[group] |= (candidates > 0).sum(axis=1) < k
    scanned = np.flatnonzero(is_scanned)
    if len(scanned):
        top[scanned], _ = exact_top_k(users[scanned], items, k, seen_by(scanned))
    return top


def _groups(sizes: NDArray[np.int64], dim: int) -> Iterator[NDArray[np.int64]]:
    """Yield groups of users with similar numbers of candidates, so that memory is bounded."""
    powers = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    for power in np.unique(powers[sizes > 0]):
        group = np.flatnonzero((powers == power) & (sizes > 0))
        yield from np.array_split(group, -(-(len(group) * dim << int(power)) // VALUES_AT_ONCE))


def _best(candidates: NDArray[np.int64], items: Tensor, users: Tensor, k: int) -> NDArray[np.int64]:
    """Return the k best candidates [b, M] of users [b, D] by exact scores, equal ones lower row first."""
    rows = torch.from_numpy(np.sort(candidates, axis=1))
    scores = torch.einsum("bmd,bd->bm", items[(rows - 1).clamp(min=0)], users)
    order = scores.masked_fill_(rows == 0, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :k]
    best = rows.gather(1, order).numpy()
    return np.pad(best, ((0, 0), (0, k - best.shape[1])))
