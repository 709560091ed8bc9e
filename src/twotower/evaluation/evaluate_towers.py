"""Evaluation of towers by exact search."""

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.labelled import scored_labels
from twotower.evaluation.predict import encode_catalogue, rank_all
from twotower.evaluation.ranking import item_popularity
from twotower.towers.two_tower import TwoTower


def evaluate_towers(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, temperature: float
) -> Report:
    """Evaluate towers by exact search.

    Args:
        model: the towers.
        holdout: the split.
        evaluator: computes the metrics.
        interactions: training interactions, from which popularity is counted.
        temperature: see `scored_labels`.
    """
    items = encode_catalogue(model)
    _, top = rank_all(model, items, holdout, evaluator.max_k, evaluator.filters_seen(holdout), "evaluation")
    scored = scored_labels(model, items, holdout, temperature) if evaluator.label_metrics else None
    return evaluator.evaluate(top, holdout, item_popularity(interactions, len(items)), scored)
