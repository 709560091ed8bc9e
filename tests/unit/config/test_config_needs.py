"""What a loss needs of towers, and which metrics may choose the epoch: told before any data is read."""

from collections.abc import Callable

import pytest
from torch import Tensor

from twotower.commands.compose import checked
from twotower.commands.conf import plain_file
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.negatives.in_batch import InBatch
from twotower.towers.tower import Tower

Refusal = Callable[..., str]
COSINE = ("loss._target_=strangers.cosine_contrastive.CosineContrastive", "~loss.temperature")
UNIT = ("user_tower.normalize=l2", "item_tower.normalize=l2", "item_bias=none")
FIRST = "metrics.kinds.first={_target_:strangers.first_place.FirstPlace}"
VECTORS = (
    "loss: CosineContrastive needs unit_vectors, which these towers do not provide; "
    "set user_tower.normalize=l2 and set item_tower.normalize=l2"
)
MLP = plain_file("user_tower/mlp").keys() - {"_target_"}
BIAS = "loss: CosineContrastive needs no_item_bias, which these towers do not provide; set item_bias=none"


class Demanding(SampledSoftmax):
    class Config(SampledSoftmax.Config):
        @property
        def needs(self) -> frozenset[str]:
            return frozenset({"log_q", "unit_vectors"})


class Silent(InBatch):
    """One that says nothing of its q."""

    class Config(InBatch.Config):
        @property
        def provides(self) -> frozenset[str]:
            return frozenset()


class OwnTower(Tower):
    """Somebody else's, that says nothing of its output."""

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        return next(iter(blocks.values()))


class OwnUnitTower(OwnTower):
    """One that says it."""

    class Config(OwnTower.Config):
        @property
        def provides(self) -> frozenset[str]:
            return frozenset({"unit_vectors"})


def test_all_unmet_needs_of_a_loss_are_reported_with_a_remedy(refusal: Refusal) -> None:
    assert refusal(*COSINE).split("\n")[1:] == [f"  {VECTORS}", f"  {BIAS}"]


def test_a_loss_with_its_needs_met_is_accepted() -> None:
    checked("train", [*COSINE, *UNIT])


def test_needs_of_towers_and_negatives_are_reported_together(refusal: Refusal) -> None:
    needs = "loss._target_=test_config_needs.Demanding"
    lines = refusal(
        needs, "item_bias=none", "negatives=in_batch", "negatives._target_=test_config_needs.Silent"
    ).split("\n")[1:]
    assert [line.split(",")[0].strip() for line in lines] == [
        "loss: Demanding needs unit_vectors",
        "loss: Demanding needs log_q",
    ]


def test_a_third_party_tower_declares_what_it_provides(only_line: Refusal) -> None:
    taken = ("user_tower.widths=[]", *(f"~user_tower.{key}" for key in MLP))  # Hydra deletes no null
    own = ["user_tower._target_=test_config_needs.{}", *taken]
    silent = [text.format("OwnTower") for text in own]
    assert only_line(*COSINE, *UNIT[1:], *silent).endswith("choose a user_tower of unit vectors")
    checked("train", [*COSINE, *UNIT[1:], *(text.format("OwnUnitTower") for text in own)])


@pytest.mark.parametrize("monitor", ["valid/gini_at_20", "valid/first_place_at_20"])
def test_metrics_with_a_direction_can_choose_the_epoch(monitor: str) -> None:
    checked("train", [FIRST, f"trainer.monitor={monitor}"])


def test_metrics_without_a_direction_cannot_choose_the_epoch(only_line: Refusal) -> None:
    line = only_line("trainer.monitor=valid/novelty_at_20")
    assert line.startswith("trainer.monitor: novelty does not say whether higher or lower is better")
    assert "valid/gini_at_20" in line
    assert "valid/novelty_at_10" not in line
