"""Which settings become hyper-parameters, and which runs are one group."""

from typing import Any

import pytest

from twotower.experiments.hparams import hparams_of, trial_id

SETTINGS: dict[str, Any] = {
    "data": {"_target_": "twotower.data.sources.synthetic.Synthetic", "num_users": 300},
    "features": {"user": {"country": {"_target_": "x.Categorical", "dim": 8}}},
    "user_tower": {"_target_": "twotower.towers.mlp.Mlp", "widths": [128, 64], "normalise": "none"},
    "loss": {"_target_": "twotower.losses.in_batch_softmax.InBatchSoftmax", "temperature": 0.1},
    "index": {"_target_": "twotower.index.ivf_flat.IVFFlat", "target_recall": 0.9},
    "trainer": {"_target_": "x.TrainerChoice", "max_epochs": 3, "refit": False},
    "baselines": {},
    "name": "default",
    "output_root": "outputs",
    "seed": 42,
    "embedding_dim": 64,
}
SHOWN = {
    "data": "Synthetic",
    "user_tower": "Mlp",
    "user_tower.widths": "[128, 64]",
    "loss": "InBatchSoftmax",
    "loss.temperature": 0.1,
    "index": "IVFFlat",
    "trainer.max_epochs": 3,
    "embedding_dim": 64,
}


def test_what_a_user_always_wants_with_its_own_types() -> None:
    found = hparams_of(SETTINGS, [])
    assert found == SHOWN
    assert type(found["embedding_dim"]) is int


@pytest.mark.parametrize(
    ("override", "more"),
    [
        ("index=ivf_flat", {}),
        ("index.target_recall=0.9", {"index.target_recall": 0.9}),
        ("++trainer.refit=false", {"trainer.refit": False}),
        ("+experiment=movielens_1m", {"experiment": "movielens_1m"}),
        ("features=synthetic", {"features": "synthetic"}),
        ("baselines=none", {"baselines": "none"}),
        ("~baselines.ease", {"baselines.ease": "(removed)"}),
        ("features.user.country.dim=8", {"features.user.country.dim": 8}),
        ("seed=7", {}),
        ("output_root=/tmp/x", {}),
        ("hydra.job.num=3", {}),
        ("launcher.num_workers=3", {}),
    ],
)
def test_what_was_typed(override: str, more: dict[str, Any]) -> None:
    assert hparams_of(SETTINGS, [override]) == SHOWN | more


def test_seeds_and_places_share_a_trial_and_nothing_else_does() -> None:
    trial = trial_id(SETTINGS)
    assert trial.split()[1:] == ["Synthetic", "InBatchSoftmax", "IVFFlat", "64"]
    assert trial_id(SETTINGS | {"seed": 1, "name": "other", "output_root": "/tmp"}) == trial
    for change in ({"embedding_dim": 65}, {"loss": SETTINGS["loss"] | {"temperature": 0.2}}):
        assert trial_id(SETTINGS | change) != trial
