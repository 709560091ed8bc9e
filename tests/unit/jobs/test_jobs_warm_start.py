"""What a warm start takes over from the choices of its parent."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twotower.commands.compose import load_run_config
from twotower.jobs import train_run
from twotower.jobs.train_run import warm_start

ADAGRAD = {"_target_": "twotower.training.optimizers.adagrad.Adagrad", "learning_rate": 0.05}


@pytest.mark.parametrize(
    ("changes", "overrides", "rate"),
    [
        ({}, [], 0.125),
        ({}, ["optimizer.learning_rate=0.5"], 0.5),
        ({"optimizer": ADAGRAD}, [], 0.05),  # the choice of another class does not fit it
    ],
)
def test_chosen_values_are_those_of_the_same_optimizer(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], overrides: list[str], rate: float
) -> None:
    settings = load_run_config(["data=synthetic", *overrides]).settings
    training = SimpleNamespace(chosen={"optimizer.learning_rate": 0.125})
    parent = SimpleNamespace(generation=0, training=training)
    trained: list[Any] = []
    monkeypatch.setattr(train_run, "read_finished_result", lambda *_: parent)
    monkeypatch.setattr(train_run.Run, "open", lambda *_: SimpleNamespace(settings=settings, overrides=[]))
    monkeypatch.setattr(train_run, "train", lambda config, *_, **__: trained.append(config))
    start = {"warm_start": {"run": "before", "epochs": 1, "replay": 0.1}}
    warm_start(Path("before"), {**changes, **start}, overrides)
    assert trained[0].optimizer.learning_rate == rate
