"""A training that goes on from another run's towers, on data that has grown: one phase, a few epochs."""

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np
import torch

from twotower.config.run_keys import WarmStart
from twotower.config.spec import TARGET
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.build_index import BuildIndex
from twotower.training.callbacks.rehearsal import Rehearsal
from twotower.training.carry import carry_towers, optimizer_start
from twotower.training.module import RetrievalModule
from twotower.training.parent import Parent, events_before, new_interactions, refuse_leak, rows_before
from twotower.training.parts import build_batches, build_module, fit_contexts, fit_features
from twotower.training.phase_files import FIT, REFIT, same_data
from twotower.training.phases import Trained, evaluate_valid, run_phase, trained_of
from twotower.training.replay import Replay
from twotower.training.train_context import TrainContext
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class Growth:
    """What data has more than that of the run gone on from."""

    new_users: int
    new_items: int
    new_interactions: int
    """Of those that are trained on."""


def growth_of(parent: Parent, dataset: RetrievalDataset, num_new: int) -> Growth:
    """Count what is new."""
    users, items = rows_before(dataset.users, parent.users), rows_before(dataset.items, parent.items)
    return Growth(int((users == 0).sum()), int((items == 0).sum()), num_new)


def warm_start(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    parent: Parent,
    how: WarmStart,
    context: TrainContext,
) -> tuple[Trained, Growth]:
    """Train a parent's towers further.

    Where the settings ask for a refit, on train + valid for all epochs, as the parent's last phase was;
    otherwise on train, and the best of the epochs on the validation split is kept.

    Args:
        config: of the training; widths, features and so on are the parent's.
        dataset: grown.
        evaluator: of the validation split.
        parent: what is gone on from.
        how: how long, and how much of the old is shown again.
        context: settings, folder and callbacks.

    Raises:
        InputError: nothing is new, or the parent was trained on what is to be a test.
    """
    refit = config.trainer.refit
    for window in ("test",) if refit else ("test", "valid"):
        refuse_leak(parent, dataset, getattr(dataset, window), window)
    interactions = dataset.train_and_valid if refit else dataset.train
    # Of what was shown in vain no run keeps a list: it is new where it is later than what was trained on.
    shown_at = np.zeros(0) if interactions.impressions is None else np.asarray(interactions.impressions.times)
    is_new = new_interactions(parent, dataset, interactions)
    nothing = (
        f"data: {parent.folder} was trained on all examples that this run would be, of {len(interactions):,} "
        "interactions; bring newer data (twotower train rebuild_bundle= makes a bundle without training)"
    )
    replay = Replay(is_new, how.replay, shown_at > parent.interactions.times.max(), nothing)
    growth = growth_of(parent, dataset, int(is_new.sum()))
    same_data(context.folder, dataset.identity)
    constant = config.optimizer.model_copy(update={"schedule": "constant"})
    config, decided = config.model_copy(update={"optimizer": constant}).of_log(interactions)
    batches = build_batches(config, interactions, replay.order)
    module = _module(config, dataset, interactions, evaluator, parent, replay, len(batches))
    module.chosen |= decided
    LOG.info(
        "goes on from %s: %d new users, %d new items, %d new interactions; %d examples an epoch",
        *(parent.folder, growth.new_users, growth.new_items, growth.new_interactions, batches.order.size),
    )
    trainer = context.trainer.model_copy(update={"max_epochs": how.epochs})
    context = dataclasses.replace(context, trainer=trainer)
    last = BuildIndex(context.index_catalogue)
    callbacks = [Rehearsal(context.rehearse_index, batches), last]
    fitted = run_phase(context, module, batches, REFIT if refit else FIT, callbacks)
    valid = None if refit else evaluate_valid(module, dataset, evaluator)
    trained = trained_of(module, [fitted], lambda _: valid)
    trained = dataclasses.replace(trained, refit=refit, indexed=last.indexed)
    return trained, growth


def _module(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions,
    evaluator: Evaluator,
    parent: Parent,
    replay: Replay,
    epoch_batches: int,
) -> RetrievalModule:
    judge = None if config.trainer.refit else evaluator
    module = build_module(config, dataset, interactions, epoch_batches, judge, parent.model, replay.shares)
    rows, events = _rows_before(dataset, parent)
    moved = carry_towers(module.model, parent.model, rows, events, interactions)
    origins = {f"model.{name}": places for name, places in moved.items()}
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    module.load_state_dict({key: parent.loss[key] for key in learned & parent.loss.keys()}, strict=False)
    if parent.optimizer is None:
        LOG.info(
            "the optimizer starts with a new state: %s holds no state of it "
            "(trainer.keep_optimizer_state=true keeps it)",
            parent.folder,
        )
    elif parent.optimizer[0] == config.optimizer.spec()[TARGET]:
        module.start_optimizer = optimizer_start(module, origins, parent.optimizer[1])
    return module


def extend_towers(config: TrainingConfig, dataset: RetrievalDataset, parent: Parent) -> TwoTower:
    """Return a parent's towers for grown data, as they are: new items by their content, and untrained."""
    nobody, features, width = np.zeros(0, dtype=np.int64), config.features, config.tower_width
    users = fit_features(features.user, dataset.user_table, nobody, "users", width, parent.model.users)
    items = fit_features(features.item, dataset.item_table, nobody, "items", width, parent.model.items)
    contexts = fit_contexts(config, dataset, None, parent.model.contexts)
    rows, events = _rows_before(dataset, parent)
    nothing = torch.zeros(len(rows) + 1, dtype=torch.bool)
    model = config.build_towers(users, items, nothing, contexts, len(events))
    carry_towers(model, parent.model, rows, events, None)
    return model.eval()


def _rows_before(dataset: RetrievalDataset, parent: Parent) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows that today's items and kinds of events had, 0 for new ones."""
    items, events = rows_before(dataset.items, parent.items), events_before(dataset, parent)
    return torch.from_numpy(items), torch.from_numpy(events)
