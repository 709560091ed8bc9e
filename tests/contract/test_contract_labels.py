"""Every loss with every source of negatives, on a log with labels and weights: what fits runs.

Towers are two tables of unit vectors, so that any loss may have them.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from variants import specs_of

from twotower.config.choice_context import ChoiceContext
from twotower.data.interactions import Interactions
from twotower.model.losses.batch_loss import BatchLoss
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.model.towers.item_bias.no_bias import NoBias
from twotower.model.towers.user_batch import UserBatch
from twotower.training.module import RetrievalModule
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice

NUM_USERS, NUM_ITEMS, DIM = 6, 20, 4
ONLY_IMPRESSIONS, WEIGHTLESS = {17, 18}, {19, 20}
LOSSES, NEGATIVES = (
    {name: kind.Config.from_spec(spec, f"{group}={name}") for name, spec in specs_of(group).items()}
    for group, kind in (("loss", Loss), ("negatives", NegativeSampler))
)
PAIRS = [(loss, negatives) for loss in LOSSES for negatives in NEGATIVES]


def log_of() -> Interactions:
    """Each user has liked eight items, the last with weight 0, and was shown six, the last with weight 0."""
    liked = [[(3 * user + step) % 16 + 1 for step in range(7)] + [19] for user in range(NUM_USERS)]
    passed = [
        [(3 * user + 8 + step) % 16 + 1 for step in range(3)] + [17, 18, 20] for user in range(NUM_USERS)
    ]

    def part(lists: list[list[int]]) -> Interactions:
        size = len(lists[0])
        users, items = np.repeat(np.arange(1, NUM_USERS + 1), size), np.concatenate(lists)
        history = Interactions.from_rows(users, items, np.tile(np.arange(size), NUM_USERS), NUM_USERS)
        weights = np.tile(np.append(np.linspace(1, 2, size - 1), 0), NUM_USERS).astype(np.float32)
        return dataclasses.replace(history, weights=weights)

    return dataclasses.replace(part(liked), impressions=part(passed))


class Tables(nn.Module):
    num_members = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.users = nn.Embedding(NUM_USERS + 1, DIM)
        self.items = nn.Embedding(NUM_ITEMS + 1, DIM)
        self.item_bias = NoBias(NoBias.Config(), NUM_ITEMS)

    def encode_both(self, item_rows: Tensor, batch: UserBatch) -> tuple[Tensor, Tensor]:
        users, items = self.users(batch.rows), self.items(item_rows)
        return nn.functional.normalize(users, dim=1), nn.functional.normalize(items, dim=1)


def fits(loss: Loss.Config, negatives: NegativeSampler.Config) -> bool:
    return not [*negatives.problems(ChoiceContext({"loss": loss}))] and loss.needs <= {
        "unit_vectors",
        "no_item_bias",
        "one_member",
        *negatives.provides,
    }


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
def test_a_step_learns_from_what_it_should(loss: str, negatives: str) -> None:
    of_loss, of_negatives = LOSSES[loss], NEGATIVES[negatives]
    if not fits(of_loss, of_negatives):
        assert of_negatives.max_impressions() or of_negatives.refreshed_every()  # others do for every loss
        assert of_loss.impressions == "nothing" or of_negatives.refreshed_every()
        return
    log = log_of()
    objective = Objective.Config.model_validate(
        specs_of("objective")["next_item"] | {"batch_size": 30}
    ).build()
    num_impressions = of_negatives.max_impressions()
    batches = objective.batches(
        log,
        history=MeanPooling.Config(length=3, strict=False),
        seed=2,
        with_impressions=bool(num_impressions) and of_loss.impressions == "examples",
    )
    frequencies = objective.frequencies(log, NUM_ITEMS)
    assert frequencies[[*WEIGHTLESS, *ONLY_IMPRESSIONS]].tolist() == [0] * 4
    towers, sampler = Tables(), of_negatives.build(frequencies)
    if of_loss.impressions == "query_negatives":
        sampler.read_interactions(log)
    module = RetrievalModule(
        BatchLoss(towers, sampler, of_loss.build()),  # type: ignore[arg-type]
        OptimizerChoice.Config.model_validate(specs_of("optimizer")["adamw"]).build(),
        len(batches),
        0,
    )
    touched: set[int] = set()
    for batch in batches:
        module.on_train_batch_start(batch, 0)
        value = module.batch_loss(batch)
        assert value.shape == ()
        assert value.isfinite()
        value.backward()
        assert towers.items.weight.grad.isfinite().all()
        assert towers.users.weight.grad.isfinite().all()
    touched = set(towers.items.weight.grad.abs().sum(1).nonzero().flatten().tolist())
    assert 0 not in touched
    assert not touched & WEIGHTLESS  # as an example, as a candidate or as a shown negative
    assert (touched & ONLY_IMPRESSIONS == ONLY_IMPRESSIONS) == bool(num_impressions)


def test_some_of_them_fit() -> None:
    for name, config in LOSSES.items():
        shown = [negatives for negatives in NEGATIVES.values() if negatives.max_impressions()]
        assert any(fits(config, negatives) for negatives in shown) == (config.impressions != "nothing"), name
