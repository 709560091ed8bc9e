"""The part of the processes other than rank 0 in a training: they compute the same, and write nothing."""

import logging
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.config.trust import targets
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluate_towers import encode_catalogue, rank_all
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import metric_data
from twotower.experiments.runs.tower_origin import find_trainer
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig, WarmStartRunConfig
from twotower.parallel.processes import join, run_follower
from twotower.parallel.ranks import from_first, rank
from twotower.training.callbacks.curves import TrialPruned, agreed
from twotower.training.fit import TrainContext
from twotower.training.train_towers import TrainedTowers, train_towers
from twotower.training.warm_start import read_parent, warm_start

LOG = logging.getLogger("twotower")


def follow() -> None:
    """Train and evaluate together with rank 0, which says what."""
    told = from_first(None)
    if told is None:  # nothing is trained
        return
    LOG.addHandler(logging.NullHandler())  # rank 0 has the same messages
    config = RunConfig.composed(told["settings"], told["overrides"]).with_epoch_monitor()
    dataset = load_dataset(config, rebuild=False)  # rank 0 has just written the cache
    if dataset.identity != told["data"]:
        raise InputError(f"data: rank {rank()} reads other data than rank 0; copy the files of rank 0 to it")
    evaluator = config.evaluated_metrics().build(metric_data(dataset, config.features.item))
    callback = agreed(None) if told["has_callback"] else None
    # Rank 0 rehearses the index; all compute the first loss.
    context = TrainContext(config.trainer, Path(told["folder"]), lambda: None, callback)
    try:
        trained = _train(config, dataset, evaluator, context)
    except TrialPruned:
        return
    # As `index_model` and `evaluate_on_test` of rank 0 do.
    for holdout in (dataset.valid, *([] if config.is_test_hidden else [dataset.test])):
        rank_all(trained.model, encode_catalogue(trained.model), holdout, evaluator, "")


def _train(
    config: RunConfig, dataset: RetrievalDataset, evaluator: Evaluator, context: TrainContext
) -> TrainedTowers:
    if not isinstance(config, WarmStartRunConfig):
        return train_towers(config, dataset, evaluator, context)
    parent = read_parent(find_trainer(Path(config.warm_start.run)), [*targets(config.settings)])
    return warm_start(config, dataset, evaluator, parent, config.warm_start, context)[0]


def follow_launcher() -> int:
    """Run the part of a rank that a launcher has started; returns the exit status."""
    join()
    run_follower(follow)
    return DONE
