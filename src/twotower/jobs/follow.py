"""The processes of a training: rank 0 starts other ranks, which compute the same and write nothing."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.config.trust import targets
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluate_towers import encode_catalogue, rank_all
from twotower.evaluation.evaluator import Evaluator
from twotower.experiments.runs.tower_origin import find_trainer
from twotower.jobs.open_run import build_evaluator, load_dataset
from twotower.jobs.run_config import RunConfig, WarmStartRunConfig
from twotower.jobs.run_context import RunContext
from twotower.parallel.launched import launched_size
from twotower.parallel.processes import join, processes, run_follower
from twotower.parallel.ranks import broadcast_json, rank
from twotower.training.callbacks.curves import TrialPruned, synchronized
from twotower.training.fit import TrainContext
from twotower.training.train_towers import TrainedTowers, train_towers
from twotower.training.warm_start import read_parent, warm_start

LOG = logging.getLogger("twotower")


@contextlib.contextmanager
def training_processes(job: RunContext, trains: bool, has_callback: bool) -> Iterator[None]:
    """Let the other processes train and evaluate together with this one in the block.

    Args:
        job: of rank 0.
        trains: False: nothing is trained, and processes that a launcher has started end.
        has_callback: whether an epoch callback may stop the training.
    """
    trainer = job.config.trainer
    with contextlib.ExitStack() as group:
        if trains or launched_size() > 1:
            group.enter_context(processes(trainer.devices, trainer.num_nodes, follow, job.run.folder))
            plan = {  # read by `follow`
                "settings": job.config.settings,
                "overrides": list(job.config.overrides),
                "folder": str(job.run.folder.absolute()),
                "data": job.dataset.identity,
                "has_callback": has_callback,
            }
            broadcast_json(plan if trains else None)
        if not trains:
            group.close()
        yield


def follow() -> None:
    """Train and evaluate together with rank 0, which says what."""
    plan = broadcast_json(None)
    if plan is None:  # nothing is trained
        return
    LOG.addHandler(logging.NullHandler())  # rank 0 has the same messages
    config = RunConfig.composed(plan["settings"], plan["overrides"]).with_epoch_monitor()
    dataset = load_dataset(config, rebuild=False)  # rank 0 has just written the cache
    if dataset.identity != plan["data"]:
        raise InputError(f"data: rank {rank()} reads other data than rank 0; copy the files of rank 0 to it")
    evaluator = build_evaluator(config, dataset)
    callback = synchronized(None) if plan["has_callback"] else None
    # Rank 0 rehearses the index; all compute the first loss.
    context = TrainContext(config.trainer, Path(plan["folder"]), lambda: None, callback)
    try:
        trained = _train(config, dataset, evaluator, context)
    except TrialPruned:
        return
    # As `index_model` and `measure_quality` of rank 0 do.
    for holdout in (dataset.valid, *([] if config.is_test_hidden else [dataset.test])):
        rank_all(trained.model, encode_catalogue(trained.model, evaluator.division), holdout, evaluator, "")


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
