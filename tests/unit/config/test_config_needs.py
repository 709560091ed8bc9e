"""Requirements of losses, of metrics that choose the epoch and of context features: checked before data."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from torch import Tensor

from twotower.commands.compose import load_settings
from twotower.commands.conf import plain_file
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.negatives.in_batch import InBatch
from twotower.model.towers.tower import Tower

Refusal = Callable[..., str]
COSINE = ("loss._target_=strangers.cosine_contrastive.CosineContrastive", "~loss.temperature")
UNIT = ("user_tower.normalize=l2", "item_tower.normalize=l2", "item_bias=none")
FIRST = "metrics.kinds.first={_target_:strangers.first_place.FirstPlace}"
VECTORS = (
    "loss: CosineContrastive needs unit_vectors, which these towers do not provide; "
    "set user_tower.normalize=l2 and set item_tower.normalize=l2"
)
MLP = plain_file("user_tower/mlp").keys() - {"_target_"}
CATEGORY = "_target_:twotower.model.features.categorical.Categorical"
DEVICE = f"+features.context.device={{{CATEGORY},column:device,dim:4}}"
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
    load_settings("train", [*COSINE, *UNIT])


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
    load_settings("train", [*COSINE, *UNIT[1:], *(text.format("OwnUnitTower") for text in own)])


@pytest.mark.parametrize("monitor", ["valid/gini_at_20", "valid/first_place_at_20"])
def test_metrics_with_a_direction_can_choose_the_epoch(monitor: str) -> None:
    load_settings("train", [FIRST, f"trainer.monitor={monitor}"])


def test_metrics_without_a_direction_cannot_choose_the_epoch(only_line: Refusal) -> None:
    line = only_line("trainer.monitor=valid/novelty_at_20")
    assert line.startswith("trainer.monitor: novelty does not say whether higher or lower is better")
    assert "valid/gini_at_20" in line
    assert "valid/novelty_at_10" not in line


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    log = tmp_path / "log.csv"
    columns = {"user_id": [1], "item_id": [2], "timestamp": [3], "device": ["phone"], "act": ["buy"]}
    pd.DataFrame(columns).to_csv(log, index=False)
    names = ["data=table_files", f"data.interactions_path={log}", "data.context_columns=[device]"]
    return [*names, "features=item_id"]


def test_context_features_can_be_of_any_kind(mine: list[str]) -> None:
    when = "+features.context.when={_target_:twotower.model.features.request_time.RequestTime,day:2}"
    settings = load_settings("train", [*mine, DEVICE, when])
    assert settings["features"]["context"].keys() == {"device", "when"}


def test_unknown_context_columns_are_refused(only_line: Refusal, mine: list[str]) -> None:
    hour = only_line(*mine, f"+features.context.hour={{{CATEGORY},column:devices,dim:4}}")
    expected = "features.context.hour.column: the context columns of this data have no column 'devices'"
    assert hour == f"{expected}; did you mean 'device'? valid: device"
    none = only_line("data=synthetic", "features=item_id", DEVICE)
    assert none.startswith("features.context.device.column: ")
    assert none.endswith("none are valid here")
    own = only_line(*mine, "+features.context.own={_target_:twotower.model.features.id.Id,column:item_id}")
    assert own.startswith("features.context.own: a context has no id")


def test_feature_names_are_unique(only_line: Refusal, mine: list[str]) -> None:
    of_history = only_line(*mine, DEVICE.replace("context.device", "context.history"))
    assert of_history == "features.context.history: this name is used by the history encoder; choose another"
    when = "{_target_:twotower.model.features.request_time.RequestTime}"
    twice = only_line(*mine, f"+features.user.when={when}", f"+features.context.when={when}")
    assert twice == "features.context.when: this name is used by a feature of users; choose another"


def test_the_item_tower_sees_no_context(only_line: Refusal, mine: list[str]) -> None:
    residual = only_line(*mine, DEVICE, "item_tower.residual=device")
    assert residual.startswith("item_tower.residual: 'device' is no input of this tower")
    load_settings("train", [*mine, DEVICE, "user_tower.residual=device"])


def test_events_of_histories_require_an_event_column(only_line: Refusal, mine: list[str]) -> None:
    none = only_line(*mine, "+history.events=true")
    assert none.startswith("history.events: this data has no events")
    load_settings("train", [*mine, "+history.events=true", "data.event_column=act"])
    unread = "history.events: history.length is 0; set history.events=false"
    alone = ("history=none", "user_tower.residual=null", "user_tower.widths=[]")
    assert only_line(*mine, DEVICE, *alone, "+history.events=true") == unread


ENSEMBLE = ("history=sasrec", "objective=sequence", "history.members=2", "embedding_dim=65")


def test_what_an_ensemble_cannot_do_is_refused_with_a_remedy(only_line: Refusal) -> None:
    load_settings("train", [*ENSEMBLE])
    assert only_line(*ENSEMBLE[:-1]) == (
        "history.members: does not divide the 63 columns of the towers; set embedding_dim=65"
    )
    matryoshka = only_line(*ENSEMBLE[:-1], "item_bias=none", "loss=matryoshka")
    assert matryoshka.endswith("needs one_member, which these towers do not provide; set history.members=1")
    cosines = only_line(*ENSEMBLE[:-1], *COSINE, *UNIT)
    assert cosines.endswith("needs unit_vectors, which these towers do not provide; set history.members=1")
