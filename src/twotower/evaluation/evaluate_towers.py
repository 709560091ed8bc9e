"""Evaluation of towers by exact search, and of the labelled examples of a holdout.

Shapes: E examples, U users, N items, D embedding.
"""

import numpy as np
import torch
from torch import Tensor

from twotower.data.dataset import Holdout, Labelled
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.predict import encode_at, encode_catalogue, rank_all
from twotower.evaluation.ranking import item_popularity
from twotower.metrics.label_metric import Scored
from twotower.towers.two_tower import TwoTower

SCORED_AT_ONCE, ENCODED_AT_ONCE = 2**16, 2**10


def evaluate_towers(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, temperature: float
) -> Report:
    """Evaluate towers by exact search; popularity is counted in the training `interactions`."""
    items = encode_catalogue(model)
    _, top = rank_all(model, items, holdout, evaluator.max_k, evaluator.filters_seen(holdout), "evaluation")
    scored = scored_labels(model, items, holdout, temperature) if evaluator.label_metrics else None
    return evaluator.evaluate(top, holdout, item_popularity(interactions, len(items)), scored)


def scored_labels(model: TwoTower, items: Tensor, holdout: Holdout, temperature: float) -> Scored | None:
    """Score the labelled examples of a holdout, each at its own time and in its own context.

    Users have the history of the holdout and are embedded once for each time and context. A probability is
    the sigmoid of score / temperature of the loss. None if the holdout has no labels.

    Args:
        items: [N, D] the catalogue, as `encode_catalogue` gives it.
    """
    examples = holdout.labelled
    if examples is None:
        return None
    users, times = np.asarray(examples.users, dtype=np.int64), np.asarray(examples.times, dtype=np.int64)
    asked = [users, times, *([] if examples.context is None else [np.asarray(examples.context, np.int64)])]
    distinct, inverse = np.unique(np.stack(asked, axis=1), axis=0, return_inverse=True)
    chunks = np.split(distinct, range(ENCODED_AT_ONCE, len(distinct), ENCODED_AT_ONCE))
    embeddings = torch.cat([encode_at(model, holdout.history, *chunk.T) for chunk in chunks])
    pairs = torch.from_numpy(np.stack([inverse.reshape(-1), np.asarray(examples.items, np.int64) - 1]))
    scores = [
        (embeddings[user] * items[item]).sum(1).cpu().numpy()
        for user, item in (part.to(items.device) for part in pairs.split(SCORED_AT_ONCE, dim=1))
    ]
    return _scored(examples, np.concatenate(scores).astype(np.float64) / temperature)


def unscored(holdout: Holdout) -> Scored | None:
    """Return the labelled examples of a holdout as if all had the same score."""
    examples = holdout.labelled
    return None if examples is None else _scored(examples, np.zeros(len(examples.labels)))


def _scored(examples: Labelled, logits: np.ndarray) -> Scored:
    weights = np.ones(len(logits)) if examples.weights is None else np.asarray(examples.weights, np.float64)
    numbers = np.unique(np.asarray(examples.users), return_inverse=True)[1]
    return Scored(numbers.astype(np.int64), np.asarray(examples.labels, dtype=np.bool_), logits, weights)
