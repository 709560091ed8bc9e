"""Specs: from plain dictionaries to objects and back."""

from pathlib import Path

import pytest
import torch

from twotower.config.errors import InputError
from twotower.config.spec import TARGET, locate
from twotower.model.losses.bce import Bce
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.negatives.uniform import Uniform

BCE = "twotower.model.losses.bce.Bce"


def test_the_class_that_a_spec_names_is_built() -> None:
    loss = Loss.Config.model_validate({TARGET: BCE, "negative_weight": 3}).build()
    assert isinstance(loss, Bce)
    assert loss.config.negative_weight == 3


def test_run_time_values_are_positional_arguments() -> None:
    spec = {TARGET: "twotower.model.negatives.uniform.Uniform", "num_negatives": 4}
    negatives = NegativeSampler.Config.model_validate(spec).build(torch.full((11,), 0.1))
    assert isinstance(negatives, Uniform)
    assert (negatives.num_items, negatives.config.num_negatives) == (10, 4)


def test_a_config_returns_its_spec() -> None:
    spec = {TARGET: BCE, "temperature": 2.0, "learned_temperature": False, "negative_weight": 1.0}
    assert Bce.Config(temperature=2.0).spec() == spec
    assert locate(BCE) is Bce


@pytest.mark.parametrize(
    "target",
    ["Bce", "x.", "twotower.model.losses.bce.bce_block", "os.path.join"],
)
def test_invalid_targets_are_refused(target: str) -> None:
    with pytest.raises(InputError, match="_target_"):
        locate(target)


def test_invalid_specs_are_refused() -> None:
    with pytest.raises(InputError, match="loss: expected a choice with a _target_"):
        Loss.Config.from_spec({}, "loss")
    with pytest.raises(InputError, match="is not a NegativeSampler"):
        NegativeSampler.Config.from_spec({TARGET: BCE}, "negatives")


def test_a_failing_import_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_library\n\nclass Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"importing needs_more failed .*no_such_library"):
        locate("needs_more.Mine")
