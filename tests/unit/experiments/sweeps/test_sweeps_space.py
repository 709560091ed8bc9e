"""From what is typed to Optuna's distributions, from trials to the next one, and the best of them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_search import DIM, RATE, request_of, run, settings_of
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from twotower.commands.overrides import parse_axis
from twotower.config.errors import InputError
from twotower.experiments.sweeps.axis import Axis
from twotower.experiments.sweeps.search import Search
from twotower.experiments.sweeps.study import Space

Params = Mapping[str, Any]
RATES = Axis("optimizer.learning_rate", interval=(1e-4, 1e-2), is_log=True)
DIMS = Axis("embedding_dim", ("128", "32", "64"))
LOSS = Axis("loss", ("in_batch_softmax", "bce"))
LAYERS = Axis("layers", interval=(1, 3))


@given(st.floats(1e-6, 1e6), st.floats(0, 1), st.floats(1.0001, 1e3))
def test_a_value_as_text_stays_in_its_interval(low: float, share: float, factor: float) -> None:
    high = low * factor
    axis = Axis("x", interval=(low, high))
    value = min(low + share * (high - low), high)
    (text,) = Space([axis]).texts({"x": value})
    written = float(text.removeprefix("x="))
    assert low <= written <= high
    assert math.isclose(written, value, rel_tol=1e-5)


def test_every_choice_and_every_end_is_in_a_corner() -> None:
    corners = Space([RATES, LOSS, DIMS]).corners()
    assert corners[0] == ("embedding_dim=32", "loss=in_batch_softmax", "optimizer.learning_rate=0.0001")
    assert corners[-1] == ("embedding_dim=128", "loss=bce", "optimizer.learning_rate=0.01")
    assert len(corners) == len(set(corners)) == 5
    texts = {text for corner in corners for text in corner}
    assert texts == {*corners[0], *corners[-1]}


def test_a_space_without_real_intervals_is_finite() -> None:
    assert Space([DIMS, LOSS, LAYERS]).size() == 18
    assert len({tuple(params.items()) for params in Space([DIMS, LOSS, LAYERS]).every()}) == 18
    assert Space([DIMS, RATES]).size() is None
    assert Space([Axis("embedding_dim", ("32", "32"))]).size() == 1


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Axis("x", interval=(1.0, 0.5)), "x: the interval from 1.0 to 0.5 is empty"),
        (Axis("x", interval=(0.0, 0.5), is_log=True), "x: a logarithmic scale cannot contain 0.0"),
        (Axis("x"), "x: expected values or an interval with two ends"),
        (Axis("x", interval=(0.0, math.inf)), "x: expected values or an interval with two ends"),
        (Axis("seed", ("1", "2")), "seed: a search over seeds finds a lucky seed"),
    ],
)
def test_an_invalid_space_is_refused(axis: Axis, words: str) -> None:
    with pytest.raises(InputError, match="the keys of this search") as error:
        Space([axis, DIMS])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0.1, 0.9)", FloatDistribution(0.1, 0.9)),
        ("interval(0, 1)", FloatDistribution(0.0, 1.0)),
        ("tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(16, 128))", IntDistribution(16, 128)),
        ("tag(log, int(interval(16, 128)))", IntDistribution(16, 128, log=True)),
        ("128,32,64", IntDistribution(0, 2)),  # places in their order
        ("range(1, 5)", IntDistribution(0, 3)),
        ("0.5", IntDistribution(0, 0)),
        ("relu,gelu", CategoricalDistribution(("relu", "gelu"))),
        ("[64],[128]", CategoricalDistribution(("[64]", "[128]"))),
        ("1,none", CategoricalDistribution(("1", "none"))),
        ("1,inf", CategoricalDistribution(("1", "inf"))),
    ],
)
def test_axes_become_distributions(text: str, distribution: object) -> None:
    assert Space([parse_axis("x", text)]).distributions == {"x": distribution}


def test_the_ends_of_an_interval_are_written_as_fractions() -> None:
    """So that a key that takes whole numbers only refuses them at once, not each of a hundred proposals."""
    space = Space([parse_axis("x", "interval(16, 128)")])
    assert space.corners() == [("x=16.0",), ("x=128.0",)]
    assert space.texts({"x": 64.0}) == ("x=64.0",)
    assert Space([parse_axis("x", "int(interval(16, 128))")]).corners() == [("x=16",), ("x=128",)]


def test_the_interval_in_an_error_message_can_be_searched(tmp_path: Path) -> None:
    def compose(overrides: Any) -> dict[str, Any]:
        settings = settings_of(overrides)
        if not str(settings.get("embedding_dim", "1")).isdigit():
            raise InputError("embedding_dim: expected a valid integer")
        return settings

    with pytest.raises(InputError, match="no key varies") as refused:
        Search.Config().build(request_of(tmp_path / "none", {}))
    example = str(refused.value).split("'")[1]
    key, _, text = example.partition("=")
    job = Search.Config().build(request_of(tmp_path / "one", {key: text}, compose)).next([])
    assert job is not None
    with pytest.raises(
        InputError, match=r"corners of this search; nothing was run(.|\n)*expected a valid integer"
    ):
        Search.Config().build(request_of(tmp_path / "other", {"embedding_dim": "interval(16, 128)"}, compose))


class Stubborn(Search):
    """Always proposes the first configuration."""

    class Config(Search.Config):
        """No further settings."""

    def sampler(self, seed: int) -> BaseSampler:
        class First(RandomSampler):
            def sample_independent(self, *arguments: Any) -> Any:
                return 0

        return First(seed=seed)


def test_a_sampler_that_repeats_itself_is_followed_by_the_rest_of_a_finite_space(tmp_path: Path) -> None:
    plan = Stubborn.Config(num_trials=6).build(request_of(tmp_path, {RATE: "0.1,0.01", DIM: "16,32,64"}))
    assert len({job.overrides for job in run(plan)}) == 6
