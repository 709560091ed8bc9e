"""How well items are found that training never saw, put in as a live service puts them in.

Beside it, content alone: items as vectors of what they say of themselves, users as the mean of their items.

Shapes: N items, Q users of the test split, B of a chunk, D embedding, V components of the content.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.history import History
from twotower.data.tables import ITEM_ID
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import indexed_top, tuned_index
from twotower.evaluation.predict import CHUNK, encode_catalogue, encode_every_user
from twotower.evaluation.ranking import item_popularity, rank, targets_of, values_inside
from twotower.evaluation.top_k import top_k_of
from twotower.evaluation.user_values import UserValues, intervals_of, key_of, means_of
from twotower.features.dense import Dense
from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.index.index import Index
from twotower.metrics.recall import Recall
from twotower.towers.two_tower import TwoTower


def content_of(items: FeatureTable, known: NDArray[np.bool_]) -> sparse.csr_array | None:
    """Return the content of the catalogue as unit vectors [N, V], None where items have nothing but an id.

    It is what the item tower reads, but for the id. Words, tags and categories become TF-IDF (each counts
    once an item); they and given vectors are scaled to length 1, so that each feature weighs the same. Plain
    numbers are read, standardised, only where there is nothing else: beside words they drown them (Online
    Retail with the price: recall@20 of cold items .036 rather than .050). Document counts, means and
    deviations are those of the items [N] `known` to training.
    """
    bags, numbers = [], []
    for name, encoded in items.every_row().items():
        feature, values = items.features[name], encoded.cpu().numpy()
        if isinstance(feature, Dense):
            bags.append(unit(sparse.csr_array(values)))
        elif np.issubdtype(values.dtype, np.floating):
            numbers.append(_standardised(values, known))
        elif not isinstance(feature, Id):
            bags.append(_tf_idf(values, known))
    blocks = bags or numbers
    return unit(sparse.csr_array(sparse.hstack(blocks))) if blocks else None


def _content_top(content: sparse.csr_array, holdout: Holdout, evaluator: Evaluator) -> NDArray[np.int64]:
    """Return the items most alike (cosine) to the mean of a user's items, [Q, max_k] rows, best first.

    Users without a history are recommended nothing: rows 0.
    """

    def score(queries: slice) -> torch.Tensor:
        users = holdout.users[queries]
        scores = (_taken_by(users, holdout.history, content.shape[0]) @ content @ content.T).toarray()
        scores[holdout.history.counts()[users] == 0] = -np.inf
        return torch.from_numpy(scores.astype(np.float32))

    exclude = evaluator.excluded(holdout)
    rows, _ = top_k_of(score, len(holdout.users), content.shape[0], evaluator.max_k, exclude)
    return rows


def _taken_by(users: np.ndarray, history: History, num_items: int) -> sparse.csr_array:
    """Return how often users [B] took each item, [B, N]: a multiple of the mean, which ranks alike."""
    positions, rows = history.flat(users)
    counts = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_array((counts, (positions, rows - 1)), shape=(len(users), num_items))


def unit(vectors: sparse.csr_array) -> sparse.csr_array:
    """Return rows [N, V] scaled to length 1; zero rows stay zero."""
    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.where(norms > 0, norms, 1.0)) @ vectors)


def _tf_idf(bags: np.ndarray, known: NDArray[np.bool_]) -> sparse.csr_array:
    """Return bags of rows [N, W], 0 = padding, as unit vectors; a component that no known item has is 0."""
    places = np.nonzero(bags)
    components = bags[places].astype(np.int64)
    shape = len(bags), int(components.max(initial=0)) + 1
    there = sparse.csr_array((np.ones(len(components)), (places[0], components)), shape=shape)
    there.data[:] = 1.0
    documents: NDArray[np.float64] = np.asarray(there[known].sum(axis=0)).ravel()
    idf = np.where(documents > 0, 1 + np.log((1 + known.sum()) / (1 + documents)), 0.0)
    return unit(sparse.csr_array(there @ sparse.diags_array(idf)))


def _standardised(numbers: np.ndarray, known: NDArray[np.bool_]) -> sparse.csr_array:
    """Return numbers [N, W] in standard deviations from the mean; those that never vary are 0."""
    wide = numbers.astype(np.float64)
    deviation = wide[known].std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return sparse.csr_array((wide - wide[known].mean(axis=0)) * scale)


OfParts = dict[str, UserValues]  # cold, warm, all -> the values of the users who have a target there, by key
RECALL = Recall(Recall.Config())


def cold_start(
    model: TwoTower, config: Index.Config, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, Any]:
    """Return recall on cold, warm and all items of the test split, of the towers and of what knows less.

    Cold items are those without an interaction before the test split: the split held them out, or nobody had
    them yet. The lists are over the whole catalogue; each part averages over the users with a target in it.
    Parts without any target are left out. The model is fitted on all that came before the test split.

    Returns:
        `model`, `content` (nearest neighbours by content; absent where items are known by id alone) and
        `random` (expected), each part -> `recall_at_20` and the like; `intervals` of the first two;
        `num_cold_items`, and `num_users` and `num_targets` by part.
    """
    holdout, num_bootstrap = dataset.test, evaluator.config.num_bootstrap
    popularity = item_popularity(dataset.train_and_valid, len(dataset.items))
    is_cold = np.concatenate([[False], popularity[1:] == 0])
    targets = targets_of(holdout, len(dataset.items))
    parts = {"cold": is_cold, "warm": popularity > 0, "all": np.arange(len(is_cold)) > 0}
    counts = {part: targets.counts(among=mask) for part, mask in parts.items()}
    counts = {part: each for part, each in counts.items() if each.any()}
    parts = {part: mask for part, mask in parts.items() if part in counts}
    index = live_index(model, config, dataset, np.flatnonzero(is_cold))
    tops = {"model": indexed_top(index, encode_every_user(model, holdout), holdout, evaluator)}
    content = content_of(model.items, popularity[1:] > 0)
    if content is not None:
        tops["content"] = _content_top(content, holdout, evaluator)
    values: dict[str, OfParts] = {who: {} for who in tops}
    for who, top in tops.items():
        ranking = rank(top, targets, popularity)
        for part, mask in parts.items():
            values[who][part], _ = values_inside(ranking, targets, mask, [RECALL], evaluator.ks)
    drawn = expected_recalls(_candidates_left(holdout, evaluator, len(dataset.items)), counts, evaluator.ks)
    return {
        **{who: {part: means_of(of) for part, of in found.items()} for who, found in values.items()},
        "random": {part: means_of(of) for part, of in drawn.items()},
        "intervals": {
            who: {part: intervals_of(of, num_bootstrap) for part, of in found.items() if num_bootstrap}
            for who, found in values.items()
        },
        "num_cold_items": int(is_cold.sum()),
        "num_users": {part: int((each > 0).sum()) for part, each in counts.items()},
        "num_targets": {part: int(each.sum()) for part, each in counts.items()},
    }


def live_index(
    model: TwoTower, config: Index.Config, dataset: RetrievalDataset, cold: NDArray[np.int64]
) -> Index:
    """Build and tune an index without the cold items, then add these as a running service adds new ones."""
    vectors = encode_catalogue(model).cpu().numpy()
    warm = np.setdiff1d(np.arange(1, len(vectors) + 1), cold)
    index, _ = tuned_index(config, vectors[warm - 1], warm, encode_every_user(model, dataset.valid))
    if len(cold):
        index.add(embed_as_new(model, dataset.item_table.iloc[cold - 1]), cold)
    return index


@torch.inference_mode()
def embed_as_new(model: TwoTower, table: pd.DataFrame) -> NDArray[np.float32]:
    """Embed items from their raw content with the unknown id and a new item's bias, float32 [n, D]."""
    records: list[Any] = table[sorted(model.items.columns - {ITEM_ID})].to_dict("records")
    device, found = model.trained_items.device, []
    for start in range(0, len(records), CHUNK):
        encoded = model.items.encode(records[start : start + CHUNK])
        moved = {name: values.to(device) for name, values in encoded.items()}
        found.append(model.encode_item_features(moved).float().cpu().numpy())
    return np.concatenate(found)


def expected_recalls(
    left: NDArray[np.int64], counts: Mapping[str, NDArray[np.int64]], ks: list[int]
) -> OfParts:
    """Return the exact expected recall of k different items drawn at random from those `left` [Q] to a user.

    Each of R targets (`counts`: part -> [Q]) is drawn with probability k / left, so that R k / left are.
    """
    found: OfParts = {part: {} for part in counts}
    for part, each in counts.items():
        asked, choice = each[each > 0], np.maximum(left[each > 0], 1)
        for k in ks:
            share = np.minimum(k, choice) / choice
            found[part][key_of(RECALL, k)] = asked * share / np.minimum(asked, k)
    return found


def _candidates_left(holdout: Holdout, evaluator: Evaluator, num_items: int) -> NDArray[np.int64]:
    seen = evaluator.excluded(holdout)
    left = np.full(len(holdout.users), num_items)
    if seen is not None:
        distinct = np.unique(np.stack(seen), axis=1)
        left -= np.bincount(distinct[0], minlength=len(left))
    return left
