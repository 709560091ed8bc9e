"""Evaluation of towers: embeddings of items and users, lists by exact search, scores of labelled examples.

Shapes: N items, D embedding, Q users of a holdout, b users of a chunk, E labelled examples.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.division import WHOLE, Division
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.metrics.label_metric import Scored
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.top_k import exact_top_k
from twotower.model.towers.two_tower import ROWS_AT_ONCE, TwoTower, pair_scores
from twotower.model.towers.user_batch import UserBatch

RANKED_AT_ONCE = 4096
PLACES_AT_ONCE = 2**14  # of histories that are encoded: where they are long, there are fewer users
SCORED_AT_ONCE = 2**16


def evaluate_towers(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, temperature: float
) -> Report:
    """Evaluate towers by exact search; `interactions` are the training interactions, for popularity."""
    items = encode_catalogue(model, evaluator.division)
    _, top = rank_all(model, items, holdout, evaluator, "evaluation")
    scored = scored_labels(model, items, holdout, temperature) if evaluator.label_metrics else None
    return evaluator.evaluate(top, holdout, item_popularity(interactions, len(items)), scored)


@torch.inference_mode()
def encode_catalogue(model: TwoTower, division: Division = WHOLE) -> Tensor:
    """Embed every item; the item of row r stands at r - 1. Returns float32 [N, D].

    Processes that train together embed a share each, and all return the whole.
    """
    training = model.training
    model.eval()
    device = model.trained_items.device
    rows = torch.arange(1, len(model.trained_items), device=device)[
        division.share(len(model.trained_items) - 1)
    ]
    embeddings = torch.cat([model.encode_items(chunk).float() for chunk in rows.split(ROWS_AT_ONCE)])
    model.train(training)
    return division.gather_rows(embeddings)


def encode_holdout(model: TwoTower, holdout: Holdout, positions: np.ndarray) -> Tensor:
    """Embed users at positions [b] of a holdout at their request times. Returns float32 [b, D]."""
    return encode_users(model, holdout.history, *holdout_requests(holdout, positions))


def encode_every_user(model: TwoTower, holdout: Holdout) -> NDArray[np.float32]:
    """Embed all users of a holdout. Returns float32 [Q, D]."""
    return encode_holdout(model, holdout, np.arange(len(holdout.users))).cpu().numpy()


@torch.inference_mode()
def encode_users(
    model: TwoTower, history: Interactions, users: np.ndarray, times: np.ndarray, context: np.ndarray | None
) -> Tensor:
    """Embed users with a history; see `user_batches`. Returns float32 [b, D]."""
    training = model.training
    model.eval()
    embeddings, vectors = None, shared_history_vectors(model, len(users))
    for positions, batch in user_batches(model, history, users, times, context):
        found = model.encode_users(batch, vectors).float()
        if embeddings is None:
            embeddings = found.new_empty((len(users), *found.shape[1:]))
        embeddings[torch.from_numpy(positions)] = found
    model.train(training)
    assert embeddings is not None
    return embeddings


def shared_history_vectors(model: TwoTower, num_users: int) -> Tensor | None:
    """Return what the histories of all batches read, if they read the item tower; else None.

    None also if the users have fewer items than the catalogue: then each batch encodes its own.
    """
    config = model.history.config
    if not config.reads_towers or num_users * config.length < len(model.trained_items):
        return None
    return model.history_vectors()


def holdout_requests(
    holdout: Holdout, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the users at positions [b] of a holdout, with the times and contexts of their requests."""
    context = None if holdout.context is None else holdout.context[positions]
    return holdout.users[positions], holdout.request_times[positions], context


def user_batches(
    model: TwoTower,
    history: Interactions,
    users: np.ndarray,
    times: np.ndarray,
    context: np.ndarray | None,
) -> Iterator[tuple[NDArray[np.int64], UserBatch]]:
    """Yield users [b] with a history, at the times and in the contexts [b] of requests, for the towers.

    Users with histories of similar length are in one batch, so that little of it is padding.

    Yields:
        The positions [n] of the users of a batch among those given, and the batch. At least one batch.
    """
    users, longest = np.asarray(users, dtype=np.int64), model.history.config.length
    lengths = np.minimum(history.offsets[users + 1] - history.offsets[users], longest)
    rest = np.argsort(-lengths, kind="stable")
    while True:
        length = max(int(lengths[rest[0]]) if len(rest) else 0, min(1, longest))
        size = min(ROWS_AT_ONCE, max(1, PLACES_AT_ONCE // max(1, length)))
        positions, rest = rest[:size], rest[size:]
        chosen = users[positions]
        rows, row_times = history.last(chosen, length)
        events = history.last_events(chosen, length)
        batch = UserBatch(
            torch.from_numpy(chosen),
            torch.from_numpy(rows),
            torch.from_numpy(row_times),
            torch.from_numpy(np.asarray(times[positions], dtype=np.int64)),
            None if context is None else torch.from_numpy(np.asarray(context[positions], dtype=np.int64)),
            None if events is None else torch.from_numpy(events),
        )
        yield positions, batch.to(model.trained_items.device)
        if not len(rest):
            return


def rank_all(
    model: TwoTower,
    items: Tensor,
    holdout: Holdout,
    evaluator: Evaluator,
    what: str,
    chunk: int = RANKED_AT_ONCE,
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the embeddings [Q, D] of the users of a holdout and their best items of [N, D], rows [Q, max_k].

    `what` names the work in progress lines; `chunk` users are ranked at once. Processes that train together
    rank for a share of the users each, and all return the whole.
    """
    found, division = [], evaluator.division
    own = division.share(len(holdout.users))
    own_positions = np.arange(own.start, own.stop)
    with Progress(f"{what}: ranking the catalogue for users", len(own_positions)) as advance:
        for positions in np.split(own_positions, range(chunk, len(own_positions), chunk)):
            users = encode_holdout(model, holdout, positions)
            exclude = evaluator.excluded(holdout, positions)
            found.append((users, exact_top_k(users, items, evaluator.max_k, exclude)[0]))
            advance(int(positions.max(initial=-1)) + 1)  # of rank 0, which alone shows progress
    users = division.gather_rows(torch.cat([users for users, _ in found]))
    rows = division.gather_rows(torch.from_numpy(np.concatenate([rows for _, rows in found])))
    return users, rows.numpy()


def scored_labels(model: TwoTower, items: Tensor, holdout: Holdout, temperature: float) -> Scored | None:
    """Score the labelled examples of a holdout with the catalogue [N, D]; None if it has no labels.

    Users are embedded once for each time and context of successive examples, with the history of the holdout.
    """
    examples, scored = holdout.labelled, unscored(holdout)
    if examples is None or scored is None:
        return None
    asked = [examples.users, examples.times, *([] if examples.context is None else [examples.context])]
    requests = np.stack([np.asarray(each, dtype=np.int64) for each in asked], axis=1)
    rows, scores = np.asarray(examples.items, dtype=np.int64) - 1, []
    for start in range(0, len(requests), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        distinct, inverse = np.unique(requests[part], axis=0, return_inverse=True)
        users, times, *context = distinct.T
        embeddings = encode_users(model, holdout.history, users, times, *(context or [None]))
        chosen, found = (
            torch.from_numpy(each).to(items.device) for each in (inverse.reshape(-1), rows[part])
        )
        scores.append(pair_scores(embeddings[chosen], items[found]).cpu().numpy())
    return replace(scored, logits=np.concatenate(scores).astype(np.float64) / temperature)


def unscored(holdout: Holdout) -> Scored | None:
    """Return the labelled examples of a holdout as if all had the same score."""
    if (examples := holdout.labelled) is None:
        return None
    labels = np.asarray(examples.labels, dtype=np.bool_)
    _, users = np.unique(examples.users, return_inverse=True)
    weights = np.ones(len(labels)) if examples.weights is None else np.asarray(examples.weights, np.float64)
    return Scored(users.astype(np.int64), labels, np.zeros(len(labels)), weights)
