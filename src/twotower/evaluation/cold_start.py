"""Recall of items without training interactions, added to the index as a live service adds them.

Compared with content alone: items as vectors of their features, users as the mean of their items.

Shapes: N items, Q users of the test split, B of a block, D embedding, V components of the content.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.tables import ITEM_ID
from twotower.evaluation.evaluate_towers import encode_catalogue, encode_every_user
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import served_top, tuned_index
from twotower.evaluation.item_content import content_scores, item_content
from twotower.evaluation.metrics.metric import Ranking
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.ranking import item_popularity, num_targets, part_values, rank
from twotower.evaluation.top_k import top_k_by
from twotower.evaluation.user_values import UserValues, mean_intervals, mean_values, metric_key
from twotower.index.index import Index
from twotower.model.towers.two_tower import ROWS_AT_ONCE, TwoTower, score

Score = Callable[[slice], torch.Tensor]
"""Slice of users -> their scores of every item, float32 [B, N]."""
RECALL = Recall(Recall.Config())
ALONE = "_alone"  # suffix of parts with lists over their own items only


def cold_start(
    model: TwoTower, config: Index.Config, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, Any]:
    """Return recall on cold, warm and all items of the test split, of towers, content and random lists.

    Cold items have no interaction before the test split. The lists are over the whole catalogue; `cold_alone`
    and `warm_alone` rank cold or warm items only. Parts without a target are left out.

    Returns:
        `model`, `content` (absent if items have ids only) and `random` (expected), each part -> values such
        as `recall_at_20`; `intervals` of the first two; `num_cold_items`, `num_users`, `num_targets`.
    """
    holdout, k, num_bootstrap = dataset.test, evaluator.max_k, evaluator.config.num_bootstrap
    popularity = item_popularity(dataset.train_and_valid, len(dataset.items))
    excluded = evaluator.excluded(holdout)
    is_item = np.arange(len(popularity)) > 0
    cold, warm = is_item & (popularity == 0), popularity > 0
    masks = {"cold": cold, "warm": warm, "all": is_item, f"cold{ALONE}": cold, f"warm{ALONE}": warm}
    users = torch.from_numpy(encode_every_user(model, holdout))
    index, vectors = live_index(model, config, dataset, np.flatnonzero(cold))
    items = torch.from_numpy(vectors)
    full_ranking = rank(served_top(index, items, users, k, excluded), holdout, popularity)
    parts = {name: part for name, mask in masks.items() if (part := mask[full_ranking.relevant]).any()}

    def best(scorer: Score, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the best-scored items of a mask [N + 1], rows [Q, k]."""
        return top_k_by(scorer, len(holdout.users), len(mask) - 1, k, excluded, ~mask[1:])[0]

    def recalls(scorer: Score, full_ranking: Ranking) -> dict[str, UserValues]:
        """Return the values of each part; `full_ranking` has lists over the catalogue."""
        values = {}
        for name, part in parts.items():
            is_alone = name.endswith(ALONE)
            ranking = rank(best(scorer, masks[name]), holdout, popularity) if is_alone else full_ranking
            values[name] = part_values(dict.fromkeys(evaluator.ks, ranking), part, [RECALL])
        return values

    values = {"model": recalls(lambda queries: score(users[queries], items), full_ranking)}
    content = item_content(model.items, ~cold[1:])
    if content is not None:
        by_content = content_scorer(content, holdout)
        values["content"] = recalls(by_content, rank(best(by_content, is_item), holdout, popularity))
    counts = {name: num_targets(full_ranking, part) for name, part in parts.items()}
    values["random"] = {}
    for name, each in counts.items():
        candidates = masks[name] if name.endswith(ALONE) else is_item
        left = np.full(len(holdout.users), candidates.sum())
        if excluded is not None:
            left -= np.bincount(excluded[0][candidates[excluded[1]]], minlength=len(left))
        values["random"][name] = expected_recalls(left, each, evaluator.ks)
    return {
        **{who: {part: mean_values(of) for part, of in found.items()} for who, found in values.items()},
        "intervals": {
            who: {part: mean_intervals(of, num_bootstrap) for part, of in found.items() if num_bootstrap}
            for who, found in values.items()
            if who != "random"
        },
        "num_cold_items": int(cold.sum()),
        "num_users": {part: int((each > 0).sum()) for part, each in counts.items()},
        "num_targets": {part: int(each.sum()) for part, each in counts.items()},
    }


def content_scorer(content: sparse.csr_array, holdout: Holdout) -> Score:
    """Return the scorer of items by cosine to the mean of a user's items; without a history all are -inf."""
    content = content.astype(np.float32)

    def cosines(queries: slice) -> torch.Tensor:
        users = holdout.users[queries]
        scores = content_scores(content, holdout.history, users)
        scores[holdout.history.counts()[users] == 0] = -np.inf
        return torch.from_numpy(scores)

    return cosines


def live_index(
    model: TwoTower, config: Index.Config, dataset: RetrievalDataset, cold: NDArray[np.int64]
) -> tuple[Index, NDArray[np.float32]]:
    """Return an index, tuned without cold items, which are then added as by a service, and its vectors."""
    vectors: NDArray[np.float32] = encode_catalogue(model).cpu().numpy()
    warm = np.setdiff1d(np.arange(1, len(vectors) + 1), cold)
    users = encode_every_user(model, dataset.valid)
    if getattr(config, "max_label_loss", None):  # which would need lists of targets without cold items
        config = config.model_copy(update={"max_label_loss": None})
    index, *_ = tuned_index(config, vectors[warm - 1], warm, users)
    if len(cold):
        vectors[cold - 1] = embed_new_items(model, dataset.item_table.iloc[cold - 1])
        index.add(vectors[cold - 1], cold)
    return index, vectors


@torch.inference_mode()
def embed_new_items(model: TwoTower, table: pd.DataFrame) -> NDArray[np.float32]:
    """Embed items from their raw content with the unknown id and a new item's bias, float32 [n, D]."""
    records: list[Any] = table[sorted(model.items.columns - {ITEM_ID})].to_dict("records")
    device, found = model.trained_items.device, []
    for start in range(0, len(records), ROWS_AT_ONCE):
        encoded = model.items.encode(records[start : start + ROWS_AT_ONCE])
        moved = {name: values.to(device) for name, values in encoded.items()}
        found.append(model.encode_item_features(moved).float().cpu().numpy())
    return np.concatenate(found)


def expected_recalls(candidates: NDArray[np.int64], targets: NDArray[np.int64], ks: list[int]) -> UserValues:
    """Return the expected recall of k random items out of the candidates of each user with targets.

    A target is drawn with probability k / number of candidates. Both arguments are counts [Q].
    """
    candidates, targets = np.maximum(candidates[targets > 0], 1), targets[targets > 0]
    return {
        metric_key(RECALL, k): targets * (np.minimum(k, candidates) / candidates) / np.minimum(targets, k)
        for k in ks
    }
